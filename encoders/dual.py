"""The dual encoder: two encoders of one architecture, "visible" and "occluded", as one.

Their variables are stacked along a new leading axis of 2, in this order. That halves the number of arrays, and on GPUs
the number of kernels: small batches are bound by launches.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

VISIBLE, OCCLUDED = 0, 1
# In place of a convolution's kernel [..., H, W, I, O]: {this: the kernel as [..., O, H, W, I]}.
OUTPUT_FIRST = "output_first"


def join(visible: Any, occluded: Any) -> Any:
    """Stacks the variables of two encoders of one configuration."""
    return jax.tree.map(lambda a, b: jnp.stack([a, b]), visible, occluded)


def part(both: Any, which: int) -> Any:
    """The variables of one encoder, `VISIBLE` or `OCCLUDED`."""
    return jax.tree.map(lambda x: x[which], both)


def on_both(function: Callable[..., Any], *stacked: Any) -> Any:
    """`function` of one encoder's variables and data, for both; all arrays of the arguments and of the result have the
    leading axis of 2.

    On accelerators as one batched computation, on CPUs, where grouped convolutions are slow, one after the other.
    """
    return jax.lax.platform_dependent(
        *stacked,
        cpu=lambda *args: jax.lax.map(lambda one: function(*one), args),
        default=jax.vmap(function),
    )


def store_kernels(variables: Any, dtype: str, output_first: bool) -> Any:
    """The variables with their convolutions' kernels in a type, and maybe in the order of axes that cuDNN reads.

    That order is of logical axes: arrays of another memory layout cost each call of a jitted function 5 us of
    Python apiece.
    """

    def one(path, leaf):
        if getattr(path[-1], "key", None) != "kernel" or jnp.ndim(leaf) < 4:
            return leaf
        kernel = jnp.asarray(leaf, dtype)
        product = any(str(key.key).startswith("styles.") for key in path)  # of matrices, which reads them as they are
        return {OUTPUT_FIRST: jnp.moveaxis(kernel, -1, -4)} if output_first and not product else kernel

    return jax.tree_util.tree_map_with_path(one, variables)


def plain_kernels(variables: Any) -> Any:
    """Variables as the modules take them, from those of `store_kernels` or from plain ones."""

    def stored(node):
        return isinstance(node, dict) and node.keys() == {OUTPUT_FIRST}

    def one(node):
        return jnp.moveaxis(node[OUTPUT_FIRST], -4, -1) if stored(node) else node

    return jax.tree.map(one, variables, is_leaf=stored)
