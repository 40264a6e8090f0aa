"""Cameras around a head in panojax's convention, and points in and out of their pictures.

World: x to the person's left, y up, z out of the face; the head's centre at the origin. A label is 25 numbers: the row-
major 4 x 4 camera-to-world matrix (camera axes x right, y down, z forward), then the 3 x 3 intrinsics divided by the
picture's size.
"""

import math

import numpy as np
from numpy.typing import NDArray

RADIUS = 2.7  # world units from the origin to every camera
FOCAL = 1 / (math.tan(18.837 * 3.14159 / 360) * 1.414)  # 4.2634 picture widths, with PanoHead's own rounding
WORLD_UNITS_PER_METRE = 2.0  # a picture spans RADIUS / FOCAL = 0.633 units, 317 mm, at the origin
ELEVATIONS = (-30.0, 40.0)  # degrees, positive above the head

Doubles = NDArray[np.float64]


def camera_label(yaw: float, elevation: float) -> Doubles:
    """Label (25,) of a camera that looks at the origin from RADIUS. Radians; yaw 0 sees the face, positive from its
    left.

    Yaw is EG3D's; elevation is the true angle above the horizon, where EG3D's pitch p puts a camera at height -2 p /
    pi.
    """
    away = np.array([math.sin(yaw) * math.cos(elevation), math.sin(elevation), math.cos(yaw) * math.cos(elevation)])
    right = np.array([math.cos(yaw), 0.0, -math.sin(yaw)])
    cam2world = np.eye(4)
    cam2world[:3, 0] = right
    cam2world[:3, 1] = np.cross(-away, right)
    cam2world[:3, 2] = -away
    cam2world[:3, 3] = RADIUS * away
    intrinsics = np.array([[FOCAL, 0, 0.5], [0, FOCAL, 0.5], [0, 0, 1]])
    return np.concatenate([cam2world.reshape(-1), intrinsics.reshape(-1)])


def sample_cameras(rng: np.random.Generator, views: int) -> Doubles:
    """Labels (views, 25): yaws spread over the circle, elevations over ELEVATIONS, one per stratum of each, paired at
    random.
    """
    yaws = 2 * math.pi * (rng.random() + (np.arange(views) + rng.random(views)) / views)
    low, high = np.radians(ELEVATIONS)
    elevations = low + (high - low) * (rng.permutation(views) + rng.random(views)) / views
    return np.stack([camera_label(math.remainder(yaw, 2 * math.pi), up) for yaw, up in zip(yaws, elevations)])


def split_label(label: Doubles) -> tuple[Doubles, Doubles]:
    """Camera-to-world (4, 4) and normalised intrinsics (3, 3) of a label (25,)."""
    return label[:16].reshape(4, 4), label[16:].reshape(3, 3)


def yaw_elevation(label: Doubles) -> tuple[float, float]:
    """The radians that `camera_label` was given, yaw in [-pi, pi]."""
    x, y, z = split_label(label)[0][:3, 3]
    return math.atan2(x, z), math.asin(y / math.sqrt(x * x + y * y + z * z))


def pixel_directions(label: Doubles, size: int) -> Doubles:
    """Unit directions (size, size, 3) in the world of the rays through pixel centres; row 0 is the picture's top."""
    cam2world, intrinsics = split_label(label)
    centres = (np.arange(size) + 0.5) / size
    x = (centres[None, :] - intrinsics[0, 2]) / intrinsics[0, 0]
    y = (centres[:, None] - intrinsics[1, 2]) / intrinsics[1, 1]
    local = np.stack([*np.broadcast_arrays(x, y), np.ones((size, size))], axis=-1)
    local /= np.linalg.norm(local, axis=-1, keepdims=True)
    return local @ cam2world[:3, :3].T


def unproject(depth: NDArray[np.float32], label: Doubles) -> Doubles:
    """World points (n, 3) of the pixels with depth > 0.

    `depth` (size, size): distance along the pixel's ray, world units.
    """
    seen = depth > 0
    return split_label(label)[0][:3, 3] + pixel_directions(label, depth.shape[0])[seen] * depth[seen, None]
