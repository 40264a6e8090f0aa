"""What is read from disk and written to it: pictures, arrays, models, heads, videos."""
