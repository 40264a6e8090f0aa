"""Metrics and the protocols of the papers."""
