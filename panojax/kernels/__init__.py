"""Faster twins of plain computations, and the storage they read."""
