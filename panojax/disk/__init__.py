"""Files and folders as such: read with care, written whole or not at all, filled by one process at a time."""
