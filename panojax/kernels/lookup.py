"""Lookups in grids of texels, trilinear and bilinear: one way for values, one for gradients.

A grid is [P, D, H, W, C]: P planes, each with D slices. A point with coordinates in [-1, 1] reads each plane, texel
centres at half pixels, zeros outside. `axes` says per plane which coordinate runs along W, H and D.
"""

import functools
from collections.abc import Sequence
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero

from panojax.kernels.differentiation import unless_differentiated


def texel_coordinates(points: jax.Array, shape: Sequence[int], axes: Sequence[Sequence[Any]]) -> jax.Array:
    """Where points [..., 3] in [-1, 1] fall on [3, D, H, W]: [3, ..., 3] in texels (w, h, d), 0 a first centre."""
    _, depth, height, width = shape
    size = jnp.array([width, height, depth], points.dtype)
    per_plane = jnp.stack([_along(points, order) for order in axes])
    return ((per_plane + 1) * size - 1) / 2


def _along(points, order):
    """Coordinates [..., 3] of points along one plane's axes, see `fields.trigrid`."""
    if isinstance(order[0], int):
        return points[..., jnp.array(order)]
    return jnp.stack([sum(factor * points[..., i] for i, factor in enumerate(row) if factor) for row in order], axis=-1)


def sample_planes(
    planes: jax.Array, points: jax.Array, axes: Sequence[Sequence[Any]], *, depth_interpolation: bool = True
) -> jax.Array:
    """Features [3, M, C] in float32 of points [M, 3] on each plane of [3, D, H, W, C]."""
    sample = unless_differentiated(_sample, _sample_by_corners)
    return sample((axes, depth_interpolation), planes, points)


def _sample(options, planes, points):
    """`sample_planes` where no gradient is wanted, from seven numbers for each point and plane.

    They are the row of the first of its texels in the flattened table, from which the others' follow, and the weights
    of both sides along each axis. Weights of texels outside are 0, and their rows any: XLA reads the nearest there is,
    for which rows without a sign need one comparison and not two.
    """
    axes, depth_interpolation = options
    _, depth, height, width, channels = planes.shape
    coordinates = texel_coordinates(points, planes.shape[:4], axes)
    if not depth_interpolation:
        coordinates = coordinates.at[..., 2].set(0.0)
    plane = jnp.arange(len(planes), dtype=jnp.int32)[:, None]
    wholes, sides = zip(*(_sides(coordinates[..., i], size) for i, size in enumerate((width, height, depth))))
    first = (((plane * depth + wholes[2]) * height + wholes[1]) * width + wholes[0]).astype(jnp.uint32)
    # Without the barrier, XLA computes these anew for each channel, which takes several times as long.
    table = planes.reshape(-1, channels)
    table, first, (across, down, inward) = jax.lax.optimization_barrier((table, first, sides))

    def add_sides(weights, sides):
        return sum(weight[..., None] * side for weight, side in zip(weights, sides))

    def line(y, z):
        after_first = ((z * height + y) * width + x for x in range(2))
        return add_sides(across, (_read(table, first + np.uint32(after)) for after in after_first))

    layers = range(2 if depth_interpolation else 1)
    return add_sides(inward, (add_sides(down, (line(y, z) for y in range(2))) for z in layers))


def _sides(position, size):
    """The texel before a position, and the weights of that texel and of the next: 0 where there is none."""
    whole, rest = _whole_and_rest(position)
    before = jnp.where((whole >= 0) & (whole < size), 1 - rest, 0.0)
    after = jnp.where((whole >= -1) & (whole < size - 1), rest, 0.0)
    return whole, (before, after)


def _sample_by_corners(options, planes, points):
    """By `_corners`, whose rows off the planes take no part in the gradient's scatter."""
    rows, weights = _corners(planes.shape, points, *options)
    return _add_rows(planes.reshape(-1, planes.shape[-1]), rows, weights)


def _corners(shape, points, axes, depth_interpolation):
    """The texels around points [M, 3], as rows of the flattened [3 * D * H * W, C] table, and their weights.

    A list of [3, M] of each, by corner. A texel outside has the row behind the last one and weight 0.
    """
    n_planes, depth, height, width, _ = shape
    coordinates = texel_coordinates(points, shape[:4], axes)
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
        rows.append(jnp.where(inside, row, n_planes * depth * height * width))
        weights.append(jnp.where(inside, weight, 0.0))
    # Without the barrier, XLA computes rows and weights anew for each channel, which takes several times as long.
    return jax.lax.optimization_barrier((rows, weights))


def _whole_and_rest(x):
    whole = jnp.floor(x)
    return whole.astype(jnp.int32), x - whole


@jax.custom_jvp
def _add_rows(table, rows, weights):
    """Rows of the table [N, C] added by weight: lists of rows and of weights [...] -> float32 [..., C]."""
    return _add_in_turn(table, rows, weights)


@functools.partial(_add_rows.defjvp, symbolic_zeros=True)
def _add_rows_jvp(primals, tangents):
    table, rows, weights = primals
    table_change, _, weights_change = tangents
    value = _add_rows(*primals)
    change = jnp.zeros_like(value)
    if not isinstance(table_change, SymbolicZero):
        change += _add(table_change.astype(jnp.float32), rows, weights)
    if not all(isinstance(x, SymbolicZero) for x in weights_change):
        change += _add(
            table, rows, [jnp.zeros(x.shape, x.dtype) if isinstance(x, SymbolicZero) else x for x in weights_change]
        )
    return value, change


def _add(table, rows, weights):
    rows, weights = (jax.lax.optimization_barrier(jnp.stack(x)) for x in (rows, weights))  # once, not for each channel
    return jax.lax.platform_dependent(table, rows, weights, cpu=_add_in_turn, default=_add_at_once)


def _add_in_turn(table, rows, weights):
    return sum(_read(table, row) * weight[..., None] for row, weight in zip(rows, weights))


def _add_at_once(table, rows, weights):
    """The same by one gather, so that its gradient is one scatter into one array of zeros, which suits GPUs."""
    return jnp.sum(_read(table, rows) * weights[..., None], axis=0)


def _read(table, rows):
    """Rows in float32. For a row that is not there XLA reads the last one, and a gradient scatters nothing."""
    dims = jax.lax.GatherDimensionNumbers(offset_dims=(rows.ndim,), collapsed_slice_dims=(0,), start_index_map=(0,))
    shape = (1, table.shape[1])
    return jax.lax.gather(table, rows[..., None], dims, shape, mode="promise_in_bounds").astype(jnp.float32)
