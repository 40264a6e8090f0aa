"""Small arrays of a tree in one: each array costs a call of a jitted function some microseconds.

Plain form: the tree as it is. `unpack`, at the entry of what takes the tree, gives it back.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct


@struct.dataclass
class PackedTree:
    """A tree of arrays whose vectors are one array.

    Attributes:
      vectors: all float32 vectors of each stacked network one after the other, [count, ...].
      rest: the other leaves in their order.
      tree: the tree's structure.
      sizes: of each leaf: a vector's size, or 0.
    """

    vectors: jax.Array
    rest: tuple[jax.Array, ...]
    tree: Any = struct.field(pytree_node=False)
    sizes: tuple[int, ...] = struct.field(pytree_node=False)


@jax.jit
def pack(variables: Any) -> PackedTree:
    """Packs variables of stacked networks: all leaves have the leading axis of `count`."""
    leaves, tree = jax.tree.flatten(variables)
    sizes = tuple(leaf.shape[1] if leaf.ndim == 2 and leaf.dtype == jnp.float32 else 0 for leaf in leaves)
    vectors = [leaf for leaf, size in zip(leaves, sizes) if size]
    rest = tuple(leaf for leaf, size in zip(leaves, sizes) if not size)
    return PackedTree(jnp.concatenate(vectors, axis=1), rest, tree, sizes)


def unpack(variables: Any) -> Any:
    """The tree that was packed; any other one as it is."""
    if not isinstance(variables, PackedTree):
        return variables
    vectors = iter(jax.lax.split(variables.vectors, [size for size in variables.sizes if size], axis=1))
    rest = iter(variables.rest)
    return jax.tree.unflatten(variables.tree, [next(vectors if size else rest) for size in variables.sizes])
