"""Which cells of a representation a view leaves unseen, and how frontally it sees others, from its depth."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from panojax.camera import FOV_DEGREES, RADIUS, focal_from_fov, pixel_rays
from panojax.fields.local_branch import GRAZING, facing, sample_map
from panojax.fields.representation import Representation

# Neighbouring pixels whose depths differ by more than this many pixel widths lie on different surfaces.
MAX_SLOPE = 6.0


def occlusion_mask(
    field: Representation,
    depth: jax.Array,
    weight: jax.Array,
    camera: jax.Array,
    *,
    box_warp: float = 1.0,
    threshold: float | jax.Array = 0.5,
) -> jax.Array:
    """The cells that a view does not see, for one example.

    Every foreground pixel is unprojected; what its lookup reads is visible. Depth maps are coarser than texels, so the
    surface between neighbouring foreground pixels is filled with points of interpolated depth, about one a texel,
    except across jumps of depth. More foreground pixels never make fewer texels visible.

    Args:
      field: the representation.
      depth: distance along each pixel's normalised ray [R, R] or [R, R, 1].
      weight: opacity [R, R] or [R, R, 1]; foreground is above `threshold`.
      camera: label [25] that the depth was rendered from.
      box_warp: side of the cube that the representation covers.

    Returns:
      float32 [*field.cells], for a tri-grid [3, D, H, W]: 1 = occluded, 0 = visible.

    Source: dual-encoder inversion, section 3.3 (the occlusion mask O).
    """
    points, valid, _ = _surface(field, depth, weight, camera, box_warp, threshold)
    return field.unseen(points, valid)


def frontal_mask(
    field: Representation,
    depth: jax.Array,
    weight: jax.Array,
    camera: jax.Array,
    *,
    box_warp: float = 1.0,
    threshold: float | jax.Array = 0.5,
) -> jax.Array:
    """How frontally a view shows cells, for one example; arguments as `occlusion_mask`.

    Returns:
      float32 [*field.cells]: 0 where the view does not see a cell, else the greatest cosine between the surface's
      normal and the viewing ray, at least `GRAZING`.
    """
    points, valid, positions = _surface(field, depth, weight, camera, box_warp, threshold)
    cosines = sample_map(facing(depth, weight, camera)[..., None], positions).reshape(valid.shape)
    return jnp.maximum(field.shown(points, cosines, valid), GRAZING) * (1 - field.unseen(points, valid))


def _surface(field, depth, weight, camera, box_warp, threshold):
    """Points of the surface that a view shows [M, M, 3], the box being [-1, 1], validity [M, M], and where the view has
    them [M * M, 2]."""
    resolution = depth.shape[0]
    depth, foreground = depth.reshape(resolution, resolution), weight.reshape(resolution, resolution) > threshold
    per_pixel = _points_per_pixel(resolution, field.resolution, box_warp)
    distances, valid, positions = _densify(depth, foreground, camera, per_pixel)
    origins, directions = pixel_rays(camera, positions)
    points = (origins + distances.reshape(-1, 1) * directions) * (2 / box_warp)
    return points.reshape(*valid.shape, 3), valid, positions


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
