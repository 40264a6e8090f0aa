"""A head as points with colours and normals."""

import dataclasses

import numpy as np

from panojax.errors import InputError
from panojax.export.colours import gather_colours, shown_surface
from panojax.export.mesh import extract_mesh
from panojax.export.surface import closed_surface, sample_surface
from panojax.export.views import surround, take_views
from panojax.generators.generator import Head
from panojax.params import Params

MAX_POINTS = 1_000_000
PITCHES = -30.0, 0.0, 30.0  # degrees


@dataclasses.dataclass(frozen=True)
class PointCloud:
    """Points on a head's surface.

    Attributes:
      points: float32 [N, 3] in world units; y is up, the face looks along +z.
      normals: float32 [N, 3], unit length, outward.
      colours: uint8 [N, 3], sRGB.
    """

    points: np.ndarray
    normals: np.ndarray
    colours: np.ndarray


def point_cloud(
    params: Params, head: Head, count: int = 10_000, *, views: int = 24, resolution: int | None = None
) -> PointCloud:
    """Points spread evenly over what pictures show of a head's surface, the same ones every time, in their colours.

    Args:
      count: of points, 1 to 1,000,000.
      views: pictures around the head that give the colours.
      resolution: grid points of the mesh along each side; None is two a texel, at most 256.

    Raises:
      InputError: a number is out of range, or the head has no surface.
    """
    if not 1 <= count <= MAX_POINTS:
        raise InputError(f"count must be 1 to {MAX_POINTS} points, got {count}")
    labels = surround(views, PITCHES, params.config.generator)
    side = resolution or min(256, 2 * params.config.generator.field.resolution)
    mesh = extract_mesh(params, head, resolution=side)
    pictures = take_views(params, head, labels)
    surface = shown_surface(closed_surface(mesh.vertices, mesh.faces), pictures)
    points, normals = sample_surface(surface, count)
    colours, _ = gather_colours(surface, points, normals, pictures)
    rounded = np.round(np.clip(colours, 0, 255)).astype(np.uint8)
    return PointCloud(points.astype(np.float32), normals.astype(np.float32), rounded)
