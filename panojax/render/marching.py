"""Volume rendering along rays."""

import jax
import jax.numpy as jnp

from panojax.kernels.activations import softplus
from panojax.kernels.sorting import in_rising_order


def interval_weights(densities: jax.Array, depths: jax.Array) -> jax.Array:
    """Weights [..., S - 1] of the intervals between samples: densities (before softplus) and rising depths [..., S].

    Density = softplus(mean of both ends - 1), alpha = 1 - exp(-density * length), times the transmittance before it.
    Source: mip-NeRF's marcher as EG3D uses it (MipRayMarcher2).
    """
    lengths = depths[..., 1:] - depths[..., :-1]
    middle = (densities[..., 1:] + densities[..., :-1]) / 2
    alphas = 1 - jnp.exp(-softplus(middle - 1) * lengths)
    passed = jnp.cumprod(1 - alphas + 1e-10, axis=-1)
    transmittance = jnp.concatenate([jnp.ones_like(passed[..., :1]), passed[..., :-1]], axis=-1)
    return alphas * transmittance


def sample_weights(
    densities: jax.Array, depths: jax.Array, *, ordered: bool = False
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Marches through samples in any order: densities, depths [..., S].

    A colour counts half in each of the two intervals it ends, so colours need not be sorted: only their weights are.
    `ordered` takes the samples as they come.

    Returns:
      Per sample, its weight in the colour [..., S], in the order given; per ray, the sum of all weights [...] and the
      expected depth [...], infinite where nothing was hit.
    """
    if ordered:
        return _march_rising(densities, depths)
    return in_rising_order(_march_rising, densities, depths)


def _march_rising(densities, depths):
    """Per sample, half the weight of both its intervals; per ray, the sum of all weights and the expected depth."""
    intervals = interval_weights(densities, depths)
    total = jnp.sum(intervals, axis=-1)
    weighted = jnp.sum(intervals * (depths[..., 1:] + depths[..., :-1]) / 2, axis=-1)
    # Sums below 0 are of depths that fall, the reference's mark of rays that all miss the box.
    depth = jnp.where(total != 0, weighted / jnp.where(total != 0, total, 1.0), jnp.inf)
    edge = jnp.zeros_like(intervals[..., :1])
    halves = (jnp.concatenate([edge, intervals], axis=-1) + jnp.concatenate([intervals, edge], axis=-1)) / 2
    return halves, total, depth


def clip_depth(depth: jax.Array, depths: jax.Array) -> jax.Array:
    """Expected depths clipped to the nearest and farthest sample of the whole batch."""
    return jnp.clip(depth, jnp.min(depths), jnp.max(depths))
