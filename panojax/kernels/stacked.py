"""Networks of one architecture as one, their variables stacked along a new leading axis.

Plain form: one network after the other. Faster on accelerators, whose small batches are bound by launches: all at once
by `vmap`, half as many kernels for two networks, and half as many arrays to hand over.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from panojax.kernels.convolution import MatrixKernel


def join(*networks: Any) -> Any:
    """Stacks the variables of networks of one architecture."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *networks)


def part(stacked: Any, which: int) -> Any:
    """The variables of one network, or one of several results."""
    return jax.tree.map(lambda x: x[which], stacked)


def on_each(function: Callable[..., Any], count: int, variables: Any, *data: Any) -> Any:
    """`function` of one network's variables and data, for each of `count` networks.

    Args:
      function: of (variables, *data), pure.
      count: how many networks there are.
      variables: stacked as `join` does; those of a single network are not.
      data: trees of arrays [count, ...].

    Returns:
      What `function` gives, with a leading axis of `count`.
    """
    if count == 1:
        return jax.tree.map(lambda x: x[None], function(variables, *part(data, 0)))
    kernels = jax.tree.leaves(variables, is_leaf=_is_matrix)
    if any(map(_is_matrix, kernels)):  # prepared for an accelerator: the other way need not be traced
        return jax.vmap(function)(variables, *data)
    return jax.lax.platform_dependent(
        variables,
        *data,
        cpu=lambda *arguments: jax.lax.map(lambda one: function(*one), arguments),
        default=lambda variables, *data: jax.vmap(function)(_with_matrix_kernels(variables), *data),
    )


def _is_matrix(leaf: Any) -> bool:
    return isinstance(leaf, MatrixKernel)


def _with_matrix_kernels(stacked: Any) -> Any:
    """Stacked variables whose convolutions' kernels, "kernel" [count, h, h, I, O], are `MatrixKernel`s."""

    def convert(path, leaf):
        kernel = getattr(path[-1], "key", None) == "kernel" and jnp.ndim(leaf) == 5
        return MatrixKernel(leaf) if kernel else leaf

    return jax.tree.map_with_path(convert, stacked)
