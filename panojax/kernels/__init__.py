"""Faster twins of plain computations, and the storage that they read.

Nothing here knows of networks, heads or files: only jax, numpy, flax and `panojax.errors` are imported.
"""

from panojax.kernels.packing import pack, unpack
from panojax.kernels.preparation import is_prepared, once, prepare, reorder_outputs

__all__ = ["is_prepared", "once", "pack", "prepare", "reorder_outputs", "unpack"]
