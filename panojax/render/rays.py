"""Where rays meet the box, and depths along them. Leading axes `...` are any batch; "over the batch": over them all."""

import jax
import jax.numpy as jnp

from panojax.kernels.sorting import count_up_to, pick


def box_range(origins: jax.Array, directions: jax.Array, side: float) -> tuple[jax.Array, jax.Array]:
    """Where rays [..., 3] enter and leave the origin-centred cube of `side`: two [...].

    Rays that miss it take the least entry as their start and, as the reference does, the greatest *entry* as their
    end, over all rays of the batch that hit it; where none does, -1 and -2, the reference's mark of a miss.
    """
    inverse = 1 / jnp.where(directions == 0, 1e-20, directions)
    low, high = (-side / 2 - origins) * inverse, (side / 2 - origins) * inverse
    enter = jnp.max(jnp.minimum(low, high), axis=-1)
    leave = jnp.min(jnp.maximum(low, high), axis=-1)
    hit = enter < leave
    any_hit = jnp.any(hit)
    first = jnp.where(any_hit, jnp.min(jnp.where(hit, enter, jnp.inf)), -1.0)
    last = jnp.where(any_hit, jnp.max(jnp.where(hit, enter, -jnp.inf)), -2.0)
    return jnp.where(hit, enter, first), jnp.where(hit, leave, last)


def stratified_depths(start: jax.Array, end: jax.Array, uniforms: jax.Array, *, disparity: bool = False) -> jax.Array:
    """One depth in each of S strata: start, end [...] and uniforms [..., S] in [0, 1) -> [..., S].

    `disparity` spreads the strata evenly in 1 / depth.
    """
    samples = uniforms.shape[-1]
    steps = jnp.arange(samples, dtype=uniforms.dtype) / (samples - 1)
    start, end = start[..., None], end[..., None]
    if disparity:
        position = steps + uniforms / (samples - 1)
        return 1 / ((1 - position) / start + position / end)
    # In this order, the rounding is the reference's; a texel is only some thousand roundings of a depth wide.
    return start + steps * (end - start) + uniforms * ((end - start) / (samples - 1))


def importance_depths(depths: jax.Array, weights: jax.Array, uniforms: jax.Array) -> jax.Array:
    """Depths [..., F] drawn where the coarse weights [..., S - 1] between depths [..., S] are large, by uniforms [...,
    F].

    The weights are smoothed (max-pool 2, average-pool 2, + 0.01) and inverted as a CDF over the intervals' midpoints.
    No gradient flows through the draws.
    """
    depths, weights = jax.lax.stop_gradient((depths, weights))
    edge = jnp.full_like(weights[..., :1], -jnp.inf)
    padded = jnp.concatenate([edge, weights, edge], axis=-1)
    peaks = jnp.maximum(padded[..., 1:], padded[..., :-1])
    smooth = (peaks[..., 1:] + peaks[..., :-1]) / 2 + 0.01
    midpoints = (depths[..., 1:] + depths[..., :-1]) / 2
    pdf = smooth[..., 1:-1] + 1e-5
    pdf = pdf / jnp.sum(pdf, axis=-1, keepdims=True)
    cdf = jnp.concatenate([jnp.zeros_like(pdf[..., :1]), jnp.cumsum(pdf, axis=-1)], axis=-1)
    above = count_up_to(cdf, uniforms)
    below = jnp.maximum(above - 1, 0)
    above = jnp.minimum(above, pdf.shape[-1])
    cdf_below, cdf_above = (pick(cdf, index) for index in (below, above))
    width = cdf_above - cdf_below
    width = jnp.where(width < 1e-5, 1.0, width)
    near, far = (pick(midpoints, index) for index in (below, above))
    return near + (uniforms - cdf_below) / width * (far - near)
