"""The dual encoder: two encoders of one architecture, "visible" and "occluded", as one.

Their variables are stacked along a new leading axis of 2, in this order. That halves the number of arrays, and on GPUs
the number
of kernels: small batches are bound by launches.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

VISIBLE, OCCLUDED = 0, 1


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
