"""Readers of PyTorch checkpoints, without PyTorch and without executing anything in them."""
