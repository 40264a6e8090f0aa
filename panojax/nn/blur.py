"""A Gaussian blur of arrays of any axes."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def gaussian_blur(x: jax.Array, *, sigma: float, radius: int, axes: Sequence[int], border: str) -> jax.Array:
    """x under a Gaussian of 2 radius + 1 steps along some axes, normalised.

    Args:
      sigma: standard deviation in steps; static.
      axes: one after the other.
      border: what lies beyond it, as `jnp.pad` calls it: "edge", "reflect", or "constant" for 0.
    """
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    weights = (weights / weights.sum()).astype(np.float32)
    mode: Any = border
    for axis in axes:
        size = x.shape[axis]
        padded = jnp.pad(x, [(radius, radius) if i == axis else (0, 0) for i in range(x.ndim)], mode=mode)
        x = sum(
            (w * jax.lax.slice_in_dim(padded, i, i + size, axis=axis) for i, w in enumerate(weights)),
            jnp.zeros_like(x),
        )
    return x
