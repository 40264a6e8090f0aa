"""The second edition of the synthetic heads: hair of strands, environments, glasses, hats and clothes."""
