"""Which texels of the tri-grid a view sees, and the two ways to stitch a visible and an occluded head."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from panojax.camera import FOV_DEGREES, RADIUS, focal_from_fov, pixel_rays
from panojax.fields.trigrid import texel_coordinates

# Neighbouring pixels whose depths differ by more than this many pixel widths lie on different surfaces.
MAX_SLOPE = 6.0


def occlusion_mask(
    depth: jax.Array,
    weight: jax.Array,
    camera: jax.Array,
    *,
    shape: Sequence[int],
    axes: Sequence[Sequence[int]],
    box_warp: float = 1.0,
    threshold: float = 0.5,
    depth_interpolation: bool = True,
) -> jax.Array:
    """The texels that a view does not see, for one example.

    Every foreground pixel is unprojected; on each plane, the texels that its trilinear lookup reads are visible. Depth
    maps are coarser than texels, so the surface between neighbouring foreground pixels is filled with points of
    interpolated depth, about one a texel, except across jumps of depth, and single texels left out are closed. More
    foreground pixels never make fewer texels visible.

    Args:
      depth: distance along each pixel's normalised ray [R, R] or [R, R, 1].
      weight: opacity [R, R] or [R, R, 1]; foreground is above `threshold`.
      camera: label [25] that the depth was rendered from.
      shape: the tri-grid's [3, D, H, W].
      axes: per plane, the coordinates along width, height and depth.
      box_warp: side of the cube that the planes cover.

    Returns:
      [3, D, H, W] float32, 1 = occluded, 0 = visible.

    Source: dual-encoder inversion, section 3.3 (the occlusion mask O).
    """
    resolution = depth.shape[0]
    depth, foreground = depth.reshape(resolution, resolution), weight.reshape(resolution, resolution) > threshold
    distances, valid, positions = _densify(
        depth, foreground, camera, _points_per_pixel(resolution, shape[-1], box_warp)
    )
    origins, directions = pixel_rays(camera, positions)
    points = (origins + distances.reshape(-1, 1) * directions) * (2 / box_warp)
    _, slices, height, width = shape
    cell = jnp.floor(texel_coordinates(points, shape, axes)).astype(jnp.int32) + 1
    if not depth_interpolation:
        cell = cell.at[..., 2].set(1)
    # Cell i lies between texels i - 1 and i, so planes of n texels have n + 1 cells; points outside them are dropped.
    size = jnp.array([width, height, slices], jnp.int32)
    inside = jnp.all((cell >= 0) & (cell <= size), axis=-1) & valid.reshape(-1)
    plane = jnp.arange(shape[0], dtype=jnp.int32)[:, None]
    row = ((plane * (slices + 1) + cell[..., 2]) * (height + 1) + cell[..., 1]) * (width + 1) + cell[..., 0]
    cells = jnp.zeros(shape[0] * (slices + 1) * (height + 1) * (width + 1), bool)
    row = jnp.where(inside, row, cells.size).reshape(shape[0], *distances.shape)
    cells = cells.at[_without_repeats(row, cells.size)].set(True, mode="drop")
    visible = cells.reshape(shape[0], slices + 1, height + 1, width + 1)
    for axis in (1, 2, 3):
        n = visible.shape[axis]
        low, high = (jax.lax.slice_in_dim(visible, i, n - 1 + i, axis=axis) for i in (0, 1))
        visible = low | high
    return 1.0 - _close(visible.astype(jnp.float32))


def _without_repeats(row: jax.Array, nothing: int) -> jax.Array:
    """Cells of points [3, M, M] with `nothing` in place of those that the point to the left or above has, too.

    Of each cell at least one point stays. Most points have such a neighbour, and a GPU writes them one by one.
    """
    left, above = ((0, 0, 0), (0, 0, 0), (1, -1, 0)), ((0, 0, 0), (1, -1, 0), (0, 0, 0))
    repeats = [jax.lax.pad(row, jnp.int32(nothing), shift) == row for shift in (left, above)]
    return jnp.where(repeats[0] | repeats[1], nothing, row)


def _close(mask: jax.Array) -> jax.Array:
    """Morphological closing by 3 x 3 texels of masks [3, D, H, W] in {0, 1}: fills pinholes, grows nothing else."""
    window, strides = (1, 1, 3, 3), (1, 1, 1, 1)
    grown = jax.lax.reduce_window(mask, 0.0, jax.lax.max, window, strides, "SAME")
    return jax.lax.reduce_window(grown, 1.0, jax.lax.min, window, strides, "SAME")


def _points_per_pixel(resolution: int, texels: int, box_warp: float) -> int:
    """Points along a pixel's side that leave at most a texel between them on the steepest surface that is filled."""
    texels_per_pixel = RADIUS / focal_from_fov(FOV_DEGREES) / resolution * texels / box_warp
    return max(1, math.ceil(MAX_SLOPE * texels_per_pixel))


def _densify(depth, foreground, camera, factor):
    """Bilinear depths on a grid `factor` times as fine: depths and validity [M, M], positions [M * M, 2]."""
    resolution = depth.shape[0]
    fine = np.arange((resolution - 1) * factor + 1) / factor
    low = np.floor(fine).astype(np.int32)
    high, fraction = np.ceil(fine).astype(np.int32), (fine - low).astype(np.float32)
    corners = [depth[rows][:, columns] for rows in (low, high) for columns in (low, high)]
    kept = [foreground[rows][:, columns] for rows in (low, high) for columns in (low, high)]
    across, down = fraction[None, :], fraction[:, None]
    top = corners[0] * (1 - across) + corners[1] * across
    bottom = corners[2] * (1 - across) + corners[3] * across
    distances = top * (1 - down) + bottom * down
    nearest = jnp.minimum(jnp.minimum(corners[0], corners[1]), jnp.minimum(corners[2], corners[3]))
    farthest = jnp.maximum(jnp.maximum(corners[0], corners[1]), jnp.maximum(corners[2], corners[3]))
    pixel_width = nearest / (jnp.abs(camera[16]) * resolution)
    valid = kept[0] & kept[1] & kept[2] & kept[3] & (farthest - nearest <= MAX_SLOPE * pixel_width)
    side = (fine + 0.5).astype(np.float32) / resolution
    y, x = jnp.meshgrid(side, side, indexing="ij")  # by JAX: NumPy's would be megabytes of the compiled program
    return distances, valid, jnp.stack([x.ravel(), y.ravel()], axis=-1)
