"""Losses, and the frozen networks that some of them compare by."""
