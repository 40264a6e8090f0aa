"""The tri-grid: three axis-aligned planes with D depth slices each, and lookups in it.

Planes are [3, D, H, W, C]. A point with coordinates in [-1, 1] reads each plane trilinearly, texel centres at half
pixels, zeros outside. `axes` says per plane which coordinate (0 x, 1 y, 2 z) runs along W, H and D.
"""

from collections.abc import Sequence
from itertools import product

import jax
import jax.numpy as jnp


def planes_from_image(image: jax.Array, depth: int) -> jax.Array:
    """[..., H, W, 3 * C * D] in the networks' channel order (plane, channel, slice) -> planes [..., 3, D, H, W, C]."""
    *lead, h, w, channels = image.shape
    split = image.reshape(*lead, h, w, 3, channels // (3 * depth), depth)
    n = len(lead)
    return split.transpose(*range(n), n + 2, n + 4, n, n + 1, n + 3)


def image_from_planes(planes: jax.Array) -> jax.Array:
    """The inverse of `planes_from_image`."""
    *lead, _, _, h, w, _ = planes.shape
    n = len(lead)
    return planes.transpose(*range(n), n + 2, n + 3, n, n + 4, n + 1).reshape(*lead, h, w, -1)


def texel_coordinates(points: jax.Array, shape: Sequence[int], axes: Sequence[Sequence[int]]) -> jax.Array:
    """Where points [..., 3] in [-1, 1] fall on [3, D, H, W]: [3, ..., 3] in texels (w, h, d), 0 a first centre."""
    _, depth, height, width = shape
    size = jnp.array([width, height, depth], points.dtype)
    per_plane = jnp.stack([points[..., jnp.array(order)] for order in axes])
    return ((per_plane + 1) * size - 1) / 2


def sample_planes(
    planes: jax.Array, points: jax.Array, axes: Sequence[Sequence[int]], *, depth_interpolation: bool = True
) -> jax.Array:
    """Features [3, M, C] in float32 of points [M, 3] on each plane of [3, D, H, W, C].

    Rows of all channels are gathered from the flattened [3 * D * H * W, C] table, one per corner of the lookup.
    """
    n_planes, depth, height, width, channels = planes.shape
    table = planes.reshape(-1, channels)
    coordinates = texel_coordinates(points, planes.shape[:4], axes)
    (x, x_rest), (y, y_rest), (z, z_rest) = (_whole_and_rest(coordinates[..., i]) for i in range(3))
    plane = jnp.arange(n_planes, dtype=jnp.int32)[:, None]
    rows, weights = [], []
    for dx, dy, dz in product(range(2), range(2), range(2 if depth_interpolation else 1)):
        column, line = x + dx, y + dy
        layer = z + dz if depth_interpolation else jnp.zeros_like(z)
        weight = (x_rest if dx else 1 - x_rest) * (y_rest if dy else 1 - y_rest)
        if depth_interpolation:
            weight = weight * (z_rest if dz else 1 - z_rest)
        inside = (column >= 0) & (column < width) & (line >= 0) & (line < height) & (layer >= 0) & (layer < depth)
        row = ((plane * depth + layer) * height + line) * width + column
        rows.append(jnp.where(inside, row, len(table)))
        weights.append(jnp.where(inside, weight, 0.0))
    return jax.lax.platform_dependent(table, rows, weights, cpu=_add_in_turn, default=_add_at_once)


def _whole_and_rest(x):
    whole = jnp.floor(x)
    return whole.astype(jnp.int32), x - whole


def _add_in_turn(table, rows, weights):
    """Rows of the table added by weight; those that it does not have count 0. XLA for CPUs is faster so."""
    return sum(_rows(table, row, "fill") * weight[..., None] for row, weight in zip(rows, weights))


def _add_at_once(table, rows, weights):
    """The same by one gather, so that the gradient is one scatter, into one array of zeros.

    Rows that are not there need no test of their own: XLA reads the last one for them, which has weight 0, and its
    scatter leaves them out.
    """
    return jnp.sum(_rows(table, jnp.stack(rows), "promise_in_bounds") * jnp.stack(weights)[..., None], axis=0)


def _rows(table, row, mode):
    return table.at[row].get(mode=mode, fill_value=0, wrap_negative_indices=False).astype(jnp.float32)


def sample_trigrid(
    planes: jax.Array, points: jax.Array, axes: Sequence[Sequence[int]], *, depth_interpolation: bool = True
) -> jax.Array:
    """Features [M, C] in float32 of points [M, 3] in [-1, 1]: the mean over the planes [3, D, H, W, C].

    PyTorch counterpart: grid_sample(padding_mode="zeros", align_corners=False) on each plane.
    """
    return jnp.mean(sample_planes(planes, points, axes, depth_interpolation=depth_interpolation), axis=0)


def select_trigrid(
    visible: jax.Array,
    occluded: jax.Array,
    points: jax.Array,
    axes: Sequence[Sequence[int]],
    *,
    depth_interpolation: bool = True,
) -> jax.Array:
    """Features [M, C]: on each plane `visible`'s lookup where it is not zero, else `occluded`'s; then the mean.

    `visible` is zero in the texels that the input view does not see. Source: the dual encoder's second stitching rule.
    """
    seen = sample_planes(visible, points, axes, depth_interpolation=depth_interpolation)
    hidden = sample_planes(occluded, points, axes, depth_interpolation=depth_interpolation)
    return jnp.mean(jnp.where(seen != 0, seen, hidden), axis=0)
