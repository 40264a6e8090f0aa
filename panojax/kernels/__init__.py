"""Faster twins of plain computations, and the storage that they read.

`docs/kernels.md` says of each what its plain form is, where it is faster and by how much, and what measures it again.
Nothing here knows of networks, heads or files: only jax, numpy, flax and `panojax.errors` are imported.
"""

from panojax.kernels.packing import pack, unpack
from panojax.kernels.preparation import is_prepared, once, prepare, reorder_outputs

__all__ = ["is_prepared", "once", "pack", "prepare", "reorder_outputs", "unpack"]
