"""The dual encoder: two encoders of one architecture, "visible" and "occluded", as one.

Their variables are stacked along a new leading axis of 2, in this order. That halves the number of arrays, and on GPUs
the number of kernels: small batches are bound by launches.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from panojax.encoders.folding import fold
from panojax.fields.representation import Representation
from panojax.kernels.convolution import MatrixKernel
from panojax.kernels.stacked import join, part

__all__ = ["OCCLUDED", "VISIBLE", "Stored", "join", "part", "plain", "store"]

VISIBLE, OCCLUDED = 0, 1


@struct.dataclass
class Stored:
    """Variables as inference reads them: `store` makes them, `plain` gives them as the modules take them.

    Attributes:
      vectors: all vectors in one array [2, ...]: each array costs a call of a jitted function some microseconds.
      rest: what else there is, in the order of `layout`'s leaves.
      layout: the tree of the variables.
      sizes: of each leaf: a vector's size, or 0.
      output_first: whether convolutions' kernels, all that has five axes, are kept as [2, O, H, W, I].
    """

    vectors: jax.Array
    rest: tuple[jax.Array, ...]
    layout: Any = struct.field(pytree_node=False)
    sizes: tuple[int, ...] = struct.field(pytree_node=False)
    output_first: bool = struct.field(pytree_node=False)


@functools.partial(jax.jit, static_argnames=("dtype", "field", "output_first"))
def store(variables: dict[str, Any], dtype: str, field: Representation, output_first: bool) -> Stored:
    """Both encoders' variables folded, see `folding.fold`, maybe with kernels in the order of axes that cuDNN reads.

    That order is of logical axes: arrays of another memory layout cost each call of a jitted function 5 us of
    Python apiece.
    """
    folded = {name: jax.vmap(lambda one: fold(one, dtype, field))(network) for name, network in variables.items()}
    leaves, layout = jax.tree.flatten(folded)
    vectors, rest, sizes = [], [], []
    for leaf in leaves:
        if leaf.ndim == 2 and leaf.dtype == jnp.float32:
            vectors.append(leaf)
            sizes.append(leaf.shape[1])
        else:
            rest.append(jnp.moveaxis(leaf, -1, 1) if output_first and leaf.ndim == 5 else leaf)
            sizes.append(0)
    return Stored(jnp.concatenate(vectors, axis=1), tuple(rest), layout, tuple(sizes), output_first)


def plain(variables: Any) -> Any:
    """Variables as the modules take them, from `Stored` ones or from plain ones."""
    if not isinstance(variables, Stored):
        return variables
    vectors = iter(jax.lax.split(variables.vectors, [size for size in variables.sizes if size], axis=1))
    rest, leaves = iter(variables.rest), []
    for size in variables.sizes:
        leaf = next(vectors if size else rest)
        leaves.append(MatrixKernel(leaf, output_first=True) if variables.output_first and leaf.ndim == 5 else leaf)
    return jax.tree.unflatten(variables.layout, leaves)
