"""A signed distance to the head and shoulders, so that hair stays outside them and clothes hide what is below.

It is worked out once on the base mesh; on a head it is looked up where the head's own deformation came from.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from scipy.ndimage import map_coordinates
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree

from panojax.synthetic.meshes import Floats, Ints, vertex_normals
from panojax.synthetic.scene import head_frame, lower_arms, to_world
from panojax.synthetic.shape import read_body

CELL = 0.018  # world units
LOW, HIGH = np.array([-0.42, -0.58, -0.44]), np.array([0.42, 0.44, 0.44])
COARSE = 2  # cells of the distance grid per cell of the deformation's


def dot(a: Floats, b: Floats) -> Floats:
    """Products (...) of vectors (..., 3); several times as fast as a sum over so short an axis."""
    return np.einsum("...i,...i->...", a, b)


@dataclass(frozen=True)
class Solid:
    """Signed distance (world units, positive outside) with its gradient on a grid: (x, y, z, 4)."""

    field: Floats

    def look(self, points: Floats) -> tuple[Floats, Floats]:
        """Distances (...) and unit outward directions (..., 3) at `points` (..., 3): first order about the cells."""
        shape = np.array(self.field.shape[:3])
        at = (points - LOW.astype(np.float32)) * np.float32(1 / CELL)
        cell = np.clip(np.rint(at).astype(np.int32), 0, (shape - 1).astype(np.int32))
        flat = (cell[..., 0] * shape[1] + cell[..., 1]) * shape[2] + cell[..., 2]
        found = self.field.reshape(-1, 4)[flat]
        gradient = found[..., 1:]
        step = (at - cell) * np.float32(CELL)
        return found[..., 0] + dot(gradient, step), gradient

    def push(self, points: Floats, offset: Floats | float) -> Floats:
        """`points` (..., 3) moved outwards until they are `offset` (...) from the surface."""
        distance, outward = self.look(points)
        return points + np.maximum(offset - distance, 0)[..., None] * outward


def grid_points() -> tuple[Floats, tuple[int, int, int]]:
    """World positions (x, y, z, 3) of the grid's nodes, and the grid's shape."""
    axes = [np.arange(low, high, CELL, dtype=np.float32) for low, high in zip(LOW, HIGH)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    nx, ny, nz = points.shape[:3]
    return points, (nx, ny, nz)


def rest_points(assets: Path) -> Floats:
    """All vertices of the base mesh in world units, arms hanging."""
    positions = read_body(assets).positions
    return lower_arms(to_world(positions, head_frame(positions)))


@cache
def base_distance(assets: Path) -> tuple[Floats, Ints, csr_matrix]:
    """Of the base mesh: signed distance on the grid, the vertices that deform it, their weights per coarse node."""
    mesh, rest = read_body(assets).groups["body"], rest_points(assets)
    triangles = mesh.vertices[mesh.triangles]
    near = rest[triangles][..., 1].max(axis=1) > LOW[1] - 0.1
    triangles = triangles[near]
    normals = vertex_normals(rest, triangles)
    corners, facing = rest[triangles], normals[triangles]
    samples = [corners.reshape(-1, 3), corners.mean(axis=1), *(corners[:, [k, (k + 1) % 3]].mean(1) for k in range(3))]
    directions = [facing.reshape(-1, 3), facing.mean(axis=1), *(facing[:, [k, (k + 1) % 3]].mean(1) for k in range(3))]
    cloud, normal = np.concatenate(samples), np.concatenate(directions)
    points, shape = grid_points()
    # Far from the surface the distance of every second node will do.
    tree, half = cKDTree(cloud), points[::2, ::2, ::2]
    rough = tree.query(half.reshape(-1, 3))[0].reshape(half.shape[:3])
    distance = _doubled(rough, shape).reshape(-1)
    outside = np.sign(_doubled(np.sign(_along(tree, half, cloud, normal)[0]) * rough, shape)).reshape(-1)
    near = np.flatnonzero(distance < 3.0 * CELL)
    along, exact = _along(tree, points.reshape(-1, 3)[near], cloud, normal)
    signed = outside * distance
    signed[near] = np.sign(along) * np.where(np.abs(along) < 0.03, np.maximum(np.abs(along), exact * 0.5), exact)
    vertices = np.unique(triangles)
    coarse = points[::COARSE, ::COARSE, ::COARSE].reshape(-1, 3)
    spread, index = cKDTree(rest[vertices]).query(coarse, k=8)
    weights = 1 / (spread + 0.004) ** 2
    weights /= weights.sum(axis=1, keepdims=True)
    rows = np.repeat(np.arange(len(coarse)), 8)
    matrix = csr_matrix((weights.reshape(-1), (rows, index.reshape(-1))), shape=(len(coarse), len(vertices)))
    return signed.reshape(shape).astype(np.float32), vertices.astype(np.int32), matrix.astype(np.float32)


def _along(tree: cKDTree, points: Floats, cloud: Floats, normal: Floats) -> tuple[Floats, Floats]:
    """Heights (...) of points (..., 3) over the planes of the nearest samples, and distances to the nearest."""
    distance, found = tree.query(points, k=3)
    heights = ((points[..., None, :] - cloud[found]) * normal[found]).sum(-1).mean(-1)
    return heights, distance[..., 0]


def _doubled(values: Floats, shape: tuple[int, ...]) -> Floats:
    """Values of every second node at all of them."""
    index = np.indices(shape, dtype=np.float32) / 2
    return map_coordinates(values, index, order=1, mode="nearest", output=np.float32)


def make_solid(assets: Path, points: Floats, padding: Floats | None = None) -> Solid:
    """The distance to a head whose vertices lie at `points` (19158, 3), world units.

    `padding`: how far the surface is grown at each of the grid's heights (y,), as clothes do.
    """
    base, vertices, matrix = base_distance(assets)
    shape = base.shape
    moves = (matrix @ (points - rest_points(assets))[vertices]).astype(np.float32)
    coarse = tuple(-(-n // COARSE) for n in shape)
    moves = moves.reshape(*coarse, 3)
    index = np.indices(shape, dtype=np.float32)
    fine = np.stack([_upsample(moves[..., k], shape) for k in range(3)])
    distance = map_coordinates(base, index - fine / np.float32(CELL), order=1, mode="nearest", output=np.float32)
    # What is left at the skin itself, where the distance should be 0, is taken off around it.
    at = np.clip((points[vertices] - LOW.astype(np.float32)) / np.float32(CELL), 0, np.array(shape) - 1.001).T
    left = map_coordinates(distance, at.astype(np.float32), order=1, output=np.float32)
    distance -= _upsample((matrix @ left).reshape(coarse), shape)
    if padding is not None:
        distance -= padding[None, :, None]
    gradient = np.stack(np.gradient(distance), axis=-1)
    length = np.sqrt(dot(gradient, gradient))[..., None]
    return Solid(np.concatenate([distance[..., None], gradient / np.maximum(length, 1e-6)], axis=-1))


def _upsample(values: Floats, shape: tuple[int, ...]) -> Floats:
    """A coarse grid at the places of the fine one, linearly, an axis at a time."""
    for axis, count in enumerate(shape):
        at = np.minimum(np.arange(count) / COARSE, values.shape[axis] - 1)
        low = np.minimum(at.astype(int), values.shape[axis] - 2)
        share = (at - low).astype(np.float32).reshape([-1 if k == axis else 1 for k in range(3)])
        values = np.take(values, low, axis) * (1 - share) + np.take(values, low + 1, axis) * share
    return values
