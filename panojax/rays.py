"""Rays, and depths along them. The leading axes `...` are any batch; "over the batch" means over all of them."""

import jax
import jax.numpy as jnp

from panojax.camera import unpack


def camera_rays(label: jax.Array, resolution: int) -> tuple[jax.Array, jax.Array]:
    """Rays through the pixel centres (i + 0.5) / R of cameras [..., 25], row by row.

    Returns:
      Origins [..., R * R, 3] and unit directions [..., R * R, 3] in the world.
    """
    side = (jnp.arange(resolution, dtype=label.dtype) + 0.5) / resolution
    y, x = jnp.meshgrid(side, side, indexing="ij")
    return pixel_rays(label, jnp.stack([x.ravel(), y.ravel()], axis=-1))


def pixel_rays(label: jax.Array, positions: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Rays of cameras [..., 25] through positions [M, 2], (x, y) in units of the picture's side: two [..., M, 3]."""
    cam2world, lens = unpack(label)
    x, y = positions[:, 0], positions[:, 1]
    fx, skew, cx, fy, cy = (lens[..., i, j, None] for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2)))
    in_y = (y - cy) / fy
    in_x = (x - cx - skew * in_y) / fx
    # Sums, not a product of matrices, so that XLA for GPUs makes rays where they are used.
    right, below, ahead = jnp.moveaxis(cam2world[..., None, :3, :3], -1, 0)
    directions = in_x[..., None] * right + in_y[..., None] * below + ahead
    directions = directions / jnp.linalg.norm(directions, axis=-1, keepdims=True)
    origins = jnp.broadcast_to(cam2world[..., None, :3, 3], directions.shape)
    return origins, directions


def project(label: jax.Array, points: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Where a camera [25] sees points [M, 3] of the world: the inverse of `pixel_rays`.

    Returns:
      Positions [M, 2], (x, y) in units of the picture's side, at most a side away from the picture; (-1, -1) for points
      behind the camera. Distances [M] from the camera, in world units.
    """
    cam2world, lens = unpack(label)
    local = jnp.einsum("mi,ij->mj", points - cam2world[:3, 3], cam2world[:3, :3], precision=jax.lax.Precision.HIGHEST)
    front = local[:, 2] > 1e-3
    x, y = jnp.moveaxis(local[:, :2] / jnp.where(front, local[:, 2], 1.0)[:, None], -1, 0)
    positions = jnp.stack([lens[0, 0] * x + lens[0, 1] * y + lens[0, 2], lens[1, 1] * y + lens[1, 2]], axis=-1)
    positions = jnp.where(front[:, None], jnp.clip(positions, -1, 2), -1.0)
    return positions, jnp.linalg.norm(local, axis=-1)


def box_range(origins: jax.Array, directions: jax.Array, side: float) -> tuple[jax.Array, jax.Array]:
    """Where rays [..., 3] enter and leave the origin-centred cube of `side`: two [...].

    Rays that miss it take the least entry as their start and, as the reference does, the greatest *entry* as their
    end, over all rays of the batch that hit it.
    """
    inverse = 1 / jnp.where(directions == 0, 1e-20, directions)
    low, high = (-side / 2 - origins) * inverse, (side / 2 - origins) * inverse
    enter = jnp.max(jnp.minimum(low, high), axis=-1)
    leave = jnp.min(jnp.maximum(low, high), axis=-1)
    hit = enter <= leave
    first = jnp.min(jnp.where(hit, enter, jnp.inf))
    last = jnp.max(jnp.where(hit, enter, -jnp.inf))
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
    above = _count_up_to(cdf, uniforms)
    below = jnp.maximum(above - 1, 0)
    above = jnp.minimum(above, pdf.shape[-1])
    cdf_below, cdf_above = (_pick(cdf, index) for index in (below, above))
    width = cdf_above - cdf_below
    width = jnp.where(width < 1e-5, 1.0, width)
    near, far = (_pick(midpoints, index) for index in (below, above))
    return near + (uniforms - cdf_below) / width * (far - near)


def _count_up_to(rising: jax.Array, values: jax.Array) -> jax.Array:
    """How many of `rising` [..., S] are at most each of values [..., F]: [..., F], by binary search."""
    size = 1 << rising.shape[-1].bit_length()
    padded = jnp.concatenate([rising, jnp.full((*rising.shape[:-1], size - rising.shape[-1]), jnp.inf)], axis=-1)
    count = jnp.zeros(values.shape, jnp.int32)
    while size > 1:
        size //= 2
        more = count + size
        count = jnp.where(_pick(padded, more - 1) <= values, more, count)
    return count


def _pick(table: jax.Array, index: jax.Array) -> jax.Array:
    """`jnp.take_along_axis` along the last axis, in bounds; from one flat table, so that XLA for GPUs makes it where it
    is used."""
    flat = jnp.ravel(table)
    first = jnp.arange(flat.size // table.shape[-1], dtype=jnp.int32).reshape(*table.shape[:-1], 1) * table.shape[-1]
    return flat.at[first + index].get(mode="promise_in_bounds", wrap_negative_indices=False)
