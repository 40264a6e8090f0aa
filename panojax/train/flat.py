"""A tree of arrays, end to end in a few vectors.

An encoder's parameters are some 700 arrays, each four times in a training state. Handing 3,000 arrays to a step and
back takes the host 20 ms, and their update thousands of small kernels. As vectors they are 44 arrays.
"""

import itertools
import math
from typing import Any

import jax
from flax import struct

# Arrays to a vector. A GPU's kernel takes few more at a time.
GROUP = 64


@struct.dataclass
class Flat:
    """A tree of arrays of one type.

    Attributes:
      vectors: the arrays in the tree's order, each with its rows first, `GROUP` of them to a vector.
      shapes: of the arrays.
      structure: of the tree.
    """

    vectors: tuple[jax.Array, ...]
    shapes: tuple[tuple[int, ...], ...] = struct.field(pytree_node=False)
    structure: Any = struct.field(pytree_node=False)

    def tree(self) -> Any:
        """The tree that `flatten` was given."""
        return _tree(self)


@jax.jit
def flatten(tree: Any) -> Flat:
    """The arrays of a tree as vectors."""
    leaves, structure = jax.tree.flatten(tree)
    groups = [leaves[i : i + GROUP] for i in range(0, len(leaves), GROUP)]
    vectors = tuple(jax.lax.concatenate([x.reshape(-1) for x in group], 0) for group in groups)
    return Flat(vectors, tuple(x.shape for x in leaves), structure)


@jax.jit
def _tree(flat: Flat) -> Any:
    leaves = []
    for i, vector in enumerate(flat.vectors):
        shapes = flat.shapes[i * GROUP : (i + 1) * GROUP]
        ends = itertools.accumulate(map(math.prod, shapes))
        leaves += [vector[end - math.prod(shape) : end].reshape(shape) for shape, end in zip(shapes, ends)]
    return jax.tree.unflatten(flat.structure, leaves)
