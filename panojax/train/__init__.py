"""Losses, critics, optimisers and train steps."""
