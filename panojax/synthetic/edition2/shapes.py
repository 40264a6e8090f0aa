"""Meshes for what is worn: sheets and tubes laid around a head or a neck. World units."""

from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter1d

from panojax.synthetic.edition2.growth import unit
from panojax.synthetic.edition2.solid import Solid
from panojax.synthetic.meshes import Floats, Ints, vertex_normals
from panojax.synthetic.scene import Part

CENTRE = np.array([0, 0.06, -0.01], np.float32)  # of the head: rays to hats start here
WHITE = np.full((1, 1, 4), 255, np.uint8)


def sheet_triangles(rows: int, columns: int, closed: bool) -> Ints:
    """Triangles of a grid (rows, columns) of vertices; `closed` joins the last column to the first."""
    row, column = np.meshgrid(np.arange(rows - 1), np.arange(columns if closed else columns - 1), indexing="ij")
    after = (column + 1) % columns
    a, b = row * columns + column, row * columns + after
    c, d = a + columns, b + columns
    return np.stack([a, c, b, b, c, d], axis=-1).reshape(-1, 3).astype(np.int32)


def mesh_part(points: Floats, triangles: Ints, kind: str, label: str, uniforms: dict[str, Any], **options: Any) -> Part:
    """A part from vertices (n, 3); texture coordinates are the grid's where `uv` (n, 2) is given."""
    points = points.astype(np.float32)
    normals = vertex_normals(points, triangles)
    uv = options.pop("uv", np.zeros((len(points), 2), np.float32))
    return Part(
        kind=kind,
        label=label,
        positions=points,
        normals=normals,
        tangents=normals,
        rest=points,
        uv=uv,
        paint=np.zeros((len(points), 4), np.float32),
        triangles=triangles,
        picture=WHITE,
        picture_name="white",
        uniforms=uniforms,
        **options,
    )


def sheet_part(
    grid: Floats, kind: str, label: str, uniforms: dict[str, Any], *, closed: bool = False, **options: Any
) -> Part:
    """A part from a grid (rows, columns, 3) of vertices, normals turned away from the head's middle."""
    rows, columns = grid.shape[:2]
    triangles = sheet_triangles(rows, columns, closed)
    points = grid.reshape(-1, 3)
    normals = vertex_normals(points.astype(np.float32), triangles)
    if ((points - CENTRE) * normals).sum() < 0:
        triangles = triangles[:, ::-1].copy()
    around = np.broadcast_to(np.linspace(0, 2 * np.pi, columns), (rows, columns))
    along = np.broadcast_to(np.linspace(0, 1, rows)[:, None], (rows, columns))
    uv = np.stack([around, along], axis=-1).reshape(-1, 2).astype(np.float32)
    return mesh_part(points, triangles, kind, label, uniforms, uv=uv, **options)


def tube(
    path: Floats, radius: Any, *, sides: int = 7, closed: bool = False, flat: float = 1.0, up: Any = (0, 1, 0)
) -> tuple[Floats, Ints]:
    """Vertices and triangles of a tube about a path (m, 3); `radius` (m,) or one; `flat` squeezes it across `up`."""
    m = len(path)
    if closed:
        tangent = np.roll(path, -1, 0) - np.roll(path, 1, 0)
    else:
        tangent = np.gradient(path, axis=0)
    tangent = unit(tangent.astype(np.float32))
    first = unit(np.cross(tangent, np.asarray(up, np.float32)) + 1e-6)
    second = np.cross(first, tangent)
    angle = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    size = np.broadcast_to(np.asarray(radius, np.float32), (m,))[:, None, None]
    ring = flat * np.cos(angle)[None, :, None] * first[:, None] + np.sin(angle)[None, :, None] * second[:, None]
    points = (path[:, None] + size * ring).reshape(-1, 3).astype(np.float32)
    rows = np.concatenate([np.arange(m), [0]]) if closed else np.arange(m)
    index = (rows[:, None] * sides + np.arange(sides)[None]).astype(np.int32)
    after = np.roll(index, -1, axis=1)
    a, b, c, d = index[:-1], after[:-1], index[1:], after[1:]
    triangles = np.stack([a, b, c, b, d, c], axis=-1).reshape(-1, 3)
    return points, triangles


def joined(pieces: list[tuple[Floats, Ints]]) -> tuple[Floats, Ints]:
    """Several meshes as one."""
    starts = np.cumsum([0, *(len(points) for points, _ in pieces)])
    points = np.concatenate([points for points, _ in pieces])
    triangles = np.concatenate([index + start for (_, index), start in zip(pieces, starts)])
    return points.astype(np.float32), triangles.astype(np.int32)


def reach_out(start: Floats, directions: Floats, solid: Solid, off: Any, first: float = 0.2) -> Floats:
    """Distances (...) along unit `directions` (..., 3) from `start` to where `solid` is `off` away."""
    reach = np.full(directions.shape[:-1], first, np.float32)
    for _ in range(6):
        distance, outward = solid.look(start + reach[..., None] * directions)
        slope = np.maximum((outward * directions).sum(-1), 0.4)
        reach = np.clip(reach + (off - distance) / slope, 0.02, 0.55)
    return reach


def head_directions(azimuth: Floats, polar: Floats) -> Floats:
    """Unit directions: azimuth from the face to the left, polar from the crown. Radians."""
    return np.stack([np.sin(azimuth) * np.sin(polar), np.cos(polar), np.cos(azimuth) * np.sin(polar)], axis=-1).astype(
        np.float32
    )


def dome(solid: Solid, off: float, rim: Any, *, columns: int = 72, rows: int = 22, smooth: float = 2.0) -> Floats:
    """A cap (rows, columns, 3) `off` outside the head from the crown to the heights `rim(azimuth)` (world y)."""
    azimuth = np.linspace(0, 2 * np.pi, columns, endpoint=False).astype(np.float32)
    polar = np.radians(np.linspace(0, 128, 46)).astype(np.float32)
    directions = head_directions(*np.meshgrid(azimuth, polar))
    reach = reach_out(CENTRE, directions, solid, np.float32(off))
    reach = gaussian_filter1d(gaussian_filter1d(reach, smooth, axis=1, mode="wrap"), 1.2, axis=0, mode="nearest")
    surface = CENTRE + reach[..., None] * directions
    above = surface[..., 1] > rim(azimuth)[None]
    last = above.shape[0] - 1 - above[::-1].argmax(axis=0)
    after = np.minimum(last + 1, len(polar) - 1)
    column = np.arange(columns)
    y0, y1 = surface[last, column, 1], surface[after, column, 1]
    share = np.clip((y0 - rim(azimuth)) / np.maximum(y0 - y1, 1e-5), 0, 1)
    end = gaussian_filter1d(last + share, 1.5, mode="wrap")
    at = np.linspace(0, 1, rows)[:, None] * end[None]
    low = np.minimum(at.astype(int), len(polar) - 2)
    part = (at - low)[..., None].astype(np.float32)
    return surface[low, column[None]] * (1 - part) + surface[low + 1, column[None]] * part
