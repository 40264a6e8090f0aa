"""Cameras and their labels.

A label is 25 numbers: the row-major 4 x 4 cam2world matrix, then the row-major 3 x 3 intrinsics in units of the
picture's side. Camera axes are OpenCV's (x right, y down, z forward); in the world y is up and the face looks along
+z. Angles are in radians. `yaw` turns the camera around the head, 0 is in front of the face and pi/2 where x is
greatest. `pitch` is EG3D's: positive looks from below, and the sine of the elevation is -2 pitch / pi, so that uniform
pitches are uniform on the sphere.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from panojax.arrays import AnyArray, Float
from panojax.errors import InputError

RADIUS = 2.7
FOV_DEGREES = 18.837

# Entries of cam2world that a left-right mirror negates.
_MIRRORED = np.ones(25, np.float32)
_MIRRORED[[1, 2, 3, 4, 8]] = -1


def focal_from_fov(fov_degrees: float) -> float:
    """Focal length in units of the picture's side, from the field of view across its diagonal (EG3D's rule)."""
    return 1 / (math.tan(fov_degrees * 3.14159 / 360) * 1.414)


def intrinsics(fov_degrees: float = FOV_DEGREES) -> jax.Array:
    """[3, 3] intrinsics with the principal point in the middle."""
    return jnp.asarray(_lens(fov_degrees))


def _lens(fov_degrees: float) -> np.ndarray:
    focal = focal_from_fov(fov_degrees)
    return np.array([[focal, 0, 0.5], [0, focal, 0.5], [0, 0, 1]], np.float32)


def label(
    cam2world: Float[AnyArray, "*batch 4 4"], intrinsics: Float[AnyArray, "*lens 3 3"]
) -> Float[jax.Array, "*batch 25"]:
    """Joins cam2world [..., 4, 4] and intrinsics [..., 3, 3] into labels [..., 25]."""
    joined: jax.Array = _join(jnp, cam2world, intrinsics)
    return joined


def _join(xp, cam2world, lens):
    """See `label`; by NumPy or JAX."""
    lead = xp.broadcast_shapes(cam2world.shape[:-2], lens.shape[:-2])
    parts = [xp.broadcast_to(m, (*lead, *m.shape[-2:])).reshape(*lead, -1) for m in (cam2world, lens)]
    return xp.concatenate(parts, axis=-1)


def unpack(label: Float[AnyArray, "*batch 25"]) -> tuple[Float[AnyArray, "*batch 4 4"], Float[AnyArray, "*batch 3 3"]]:
    """Splits labels [..., 25] into cam2world [..., 4, 4] and intrinsics [..., 3, 3]."""
    lead = label.shape[:-1]
    return label[..., :16].reshape(*lead, 4, 4), label[..., 16:].reshape(*lead, 3, 3)


def look_at(
    yaw, pitch=0.0, *, radius=RADIUS, pivot=(0.0, 0.0, 0.0), fov_degrees=FOV_DEGREES, degrees: bool = False
) -> Float[jax.Array, "*batch 25"]:
    """Label [..., 25] of a camera at `radius` around the origin that looks at `pivot`.

    Args:
      yaw, pitch: angles [...] in radians, see the module's docstring; in degrees, as the commands take them, with
        `degrees`.
      radius: distance from the origin, in world units.
      pivot: the point that is looked at, [3].
      fov_degrees: field of view across the diagonal, a Python number.
      degrees: yaw and pitch are in degrees.

    Source: EG3D's LookAtPoseSampler.
    """
    # Known angles by NumPy: JAX would compile a program for each of some twenty operations.
    known = not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((yaw, pitch, radius, pivot)))
    xp: Any = np if known else jnp
    yaw, pitch = xp.broadcast_arrays(xp.asarray(yaw, xp.float32), xp.asarray(pitch, xp.float32))
    if degrees:
        yaw, pitch = xp.radians(yaw), xp.radians(pitch)
    height = xp.clip(-2 * pitch / np.pi, -1 + 1e-5, 1 - 1e-5)
    ground = xp.sqrt(1 - height**2)
    origin = radius * xp.stack([ground * xp.sin(yaw), height, ground * xp.cos(yaw)], axis=-1)
    forward = _unit(xp.asarray(pivot, xp.float32) - origin)
    right = _unit(xp.cross(forward, xp.array([0.0, 1.0, 0.0], xp.float32)))
    down = xp.cross(forward, right)
    rotation = xp.stack([right, down, forward, origin], axis=-1)
    bottom = xp.broadcast_to(xp.array([0.0, 0, 0, 1], xp.float32), (*yaw.shape, 1, 4))
    cam2world = xp.concatenate([rotation, bottom], axis=-2)
    return jnp.asarray(_join(xp, cam2world, _lens(fov_degrees)), jnp.float32)


def orbit(
    n: int = 120,
    *,
    pitch: float = 0.0,
    radius: float = RADIUS,
    fov_degrees: float = FOV_DEGREES,
    yaw: float = 0.0,
    degrees: bool = False,
) -> Float[jax.Array, "n 25"]:
    """Labels [n, 25] of a full turn around the head that begins at `yaw`; see `look_at`."""
    if n < 1:
        raise InputError(f"n must be at least 1 camera, got {n}")
    if degrees:
        pitch, yaw = math.radians(pitch), math.radians(yaw)
    yaws = yaw + np.arange(n) * (2 * np.pi / n)
    return look_at(yaws, pitch, radius=radius, fov_degrees=fov_degrees)


def front() -> Float[jax.Array, " 25"]:
    """The canonical front camera [25]."""
    return look_at(0.0)


def mirror(label: Float[AnyArray, "*batch 25"]) -> Float[jax.Array, "*batch 25"]:
    """Labels [..., 25] of the same cameras for pictures flipped left to right."""
    return jnp.asarray(label) * _MIRRORED


def check_label(label, name: str = "camera") -> np.ndarray:
    """A label from outside as float32 [25], or an InputError that says what is wrong with it.

    Raises:
      InputError: not 25 finite numbers, a rotation that is not orthonormal, a bottom row that is not (0, 0, 0, 1), or
        intrinsics without focal lengths.
    """
    try:
        values = np.asarray(label, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{name} must be 25 numbers (16 extrinsics, then 9 intrinsics), got {label!r:.80}") from None
    if values.shape != (25,):
        raise InputError(f"{name} must be 25 numbers (16 extrinsics, then 9 intrinsics), got shape {values.shape}")
    finite = np.abs(values) <= np.finfo(np.float32).max
    if not finite.all():
        raise InputError(f"{name} must be finite, got {np.count_nonzero(~finite)} NaN or infinite numbers")
    matrix, lens = values[:16].reshape(4, 4), values[16:].reshape(3, 3)
    rotation = matrix[:3, :3]
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > 1e-2 or np.linalg.det(rotation) < 0:
        raise InputError(f"{name} must hold a rotation in its first three rows and columns, got {rotation.tolist()}")
    if np.abs(matrix[3] - (0, 0, 0, 1)).max() > 1e-4:
        raise InputError(f"{name} must have the bottom row 0 0 0 1, got {matrix[3].tolist()}")
    if min(abs(lens[0, 0]), abs(lens[1, 1])) < 1e-3 or np.abs(lens[2] - (0, 0, 1)).max() > 1e-4:
        raise InputError(
            f"{name} must hold invertible intrinsics (focal lengths, bottom row 0 0 1), got {lens.tolist()}"
        )
    return values.astype(np.float32)


def _unit(vector):
    xp: Any = np if isinstance(vector, np.ndarray) else jnp
    return vector / xp.linalg.norm(vector, axis=-1, keepdims=True)


def camera_rays(
    label: Float[AnyArray, "*batch 25"], resolution: int
) -> tuple[Float[jax.Array, "*batch rays 3"], Float[jax.Array, "*batch rays 3"]]:
    """Rays through the pixel centres (i + 0.5) / R of cameras [..., 25], row by row.

    Returns:
      Origins [..., R * R, 3] and unit directions [..., R * R, 3] in the world.
    """
    side = (jnp.arange(resolution, dtype=label.dtype) + 0.5) / resolution
    y, x = jnp.meshgrid(side, side, indexing="ij")
    return pixel_rays(label, jnp.stack([x.ravel(), y.ravel()], axis=-1))


def pixel_rays(
    label: Float[AnyArray, "*batch 25"], positions: Float[AnyArray, "M 2"]
) -> tuple[Float[jax.Array, "*batch M 3"], Float[jax.Array, "*batch M 3"]]:
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


def project(
    label: Float[AnyArray, " 25"], points: Float[AnyArray, "M 3"]
) -> tuple[Float[jax.Array, "M 2"], Float[jax.Array, " M"]]:
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
