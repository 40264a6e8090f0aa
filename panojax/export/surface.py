"""A mesh made ready for export: fewer triangles, normals, and points spread over it."""

import dataclasses

import numpy as np

from panojax.errors import InputError
from panojax.export.mesh import Mesh
from panojax.extras import need


@dataclasses.dataclass(frozen=True)
class Surface:
    """Triangles with normals.

    Attributes:
      vertices: float64 [V, 3] in world units.
      faces: int64 [F, 3], counter-clockwise seen from outside.
      normals: float64 [V, 3], unit length, outward.
    """

    vertices: np.ndarray
    faces: np.ndarray
    normals: np.ndarray

    @property
    def areas(self) -> np.ndarray:
        """Areas of the triangles [F]."""
        return np.linalg.norm(_crosses(self.vertices, self.faces), axis=-1) / 2


def closed_surface(vertices: np.ndarray, faces: np.ndarray) -> Surface:
    """A Surface from vertices [V, 3] and faces [F, 3]; a vertex's normal is the mean of its triangles', by area."""
    vertices, faces = np.asarray(vertices, np.float64), np.asarray(faces, np.int64)
    normals = np.zeros_like(vertices)
    crosses = _crosses(vertices, faces)
    for corner in range(3):
        np.add.at(normals, faces[:, corner], crosses)
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    return Surface(vertices, faces, np.where(length > 0, normals / np.maximum(length, 1e-300), (0.0, 0.0, 1.0)))


def simplify(mesh: Mesh | Surface, faces: int) -> Surface:
    """A mesh with about `faces` triangles, or as it is where it has fewer.

    Source: quadric edge collapse, by the package fast-simplification.

    Raises:
      InputError: fewer than 100 triangles are asked for, or the package is not installed.
    """
    check_faces(faces)
    if len(mesh.faces) <= faces:
        return closed_surface(mesh.vertices, mesh.faces)
    simplification = need("fast_simplification", "simplifying meshes")
    vertices, kept = simplification.simplify(mesh.vertices, mesh.faces, target_count=faces)
    return closed_surface(vertices, kept)


def check_faces(faces: int) -> None:
    """Raises InputError for a number of triangles that makes no head."""
    if not 100 <= faces <= 2_000_000:
        raise InputError(f"faces must be 100 to 2000000 triangles, got {faces}")


def sample_surface(surface: Surface, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Points spread evenly over a surface, the same ones every time.

    They are at equal steps of the area counted triangle by triangle, and at quasi-random places in each.

    Returns:
      Points [count, 3] and unit normals [count, 3], interpolated between the vertices'.

    Raises:
      InputError: `count` is not positive.
    """
    if count < 1:
        raise InputError(f"count must be at least 1 point, got {count}")
    passed = np.cumsum(surface.areas)
    face = np.searchsorted(passed, (np.arange(count) + 0.5) / count * passed[-1])
    # The fractional parts of multiples of the plastic number's powers fill the square evenly (R2 sequence).
    plastic = 1.324717957244746
    u, v = ((0.5 + np.arange(count) / plastic**power) % 1 for power in (1, 2))
    folded = u + v > 1
    u, v = np.where(folded, 1 - u, u), np.where(folded, 1 - v, v)
    return interpolate(surface, face, np.stack([1 - u - v, u, v], axis=-1))


def interpolate(surface: Surface, face: np.ndarray, barycentric: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points [M, 3] and unit normals [M, 3] at barycentric coordinates [M, 3] of triangles [M]."""
    corners = surface.faces[face]
    points = np.einsum("mk,mki->mi", barycentric, surface.vertices[corners])
    normals = np.einsum("mk,mki->mi", barycentric, surface.normals[corners])
    return points, normals / np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)


def _crosses(vertices, faces):
    """Cross products [F, 3] of two sides: outward, twice the area long."""
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    return np.cross(b - a, c - a)
