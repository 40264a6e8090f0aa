"""Editing heads: parts of other heads, directions in the space of style codes, and heads in between."""
