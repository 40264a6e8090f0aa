"""Colours of points on a surface, gathered from the pictures that show them."""

import numpy as np
from scipy import ndimage, sparse, spatial

from panojax.errors import InputError
from panojax.export.surface import Surface, closed_surface, sample_surface
from panojax.export.views import Views, project
from panojax.terminal.bars import bar

# Points that stand for the surface in the depth test.
OCCLUDERS = 300_000
MAX_DEPTH_SIDE = 512
# Surfaces seen at a flatter angle than this cosine give no colour.
GRAZING = 0.15
# So many points that are seen colour one that is not.
NEIGHBOURS = 12
# Pieces of a surface that no picture shows are left away from this share of its area on. Smaller ones are creases,
# which take their neighbours' colours.
HIDDEN = 0.005


def shown_surface(surface: Surface, views: Views, *, progress: bool = False) -> Surface:
    """A surface without its larger pieces that no picture shows, such as the cut through the neck and what lies below
    the pictures: they have no colour of their own.

    Args:
      progress: show a bar on stderr.

    Raises:
      InputError: no picture shows any of it.
    """
    corners = surface.faces
    points, normals = surface.vertices[corners].mean(1), surface.normals[corners].mean(1)
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)
    seen = np.zeros(len(points), bool)
    for shown, _, strength in _looks(surface, points, normals, views, progress=progress, sharpness=1.0):
        seen[shown] |= strength > 0
    if not seen.any():
        raise InputError("views must show the surface, got none that does")
    hidden = np.flatnonzero(~seen)
    piece, areas = _pieces(corners[hidden], len(surface.vertices)), surface.areas
    size = np.bincount(piece, areas[hidden])
    kept = seen.copy()
    kept[hidden] = size[piece] < HIDDEN * areas.sum()
    used, faces = np.unique(corners[kept], return_inverse=True)
    return closed_surface(surface.vertices[used], faces.reshape(-1, 3))


def _pieces(faces, count):
    """Which connected piece each triangle [F, 3] of `count` vertices belongs to: [F], numbers from 0."""
    ends = np.concatenate([faces[:, :2], faces[:, 1:]])
    links = sparse.coo_matrix((np.ones(len(ends), bool), (ends[:, 0], ends[:, 1])), (count, count))
    _, piece = sparse.csgraph.connected_components(links, directed=False)
    return np.unique(piece[faces[:, 0]], return_inverse=True)[1]


def gather_colours(
    surface: Surface, points: np.ndarray, normals: np.ndarray, views: Views, *, sharpness: float = 4.0, progress=False
) -> tuple[np.ndarray, np.ndarray]:
    """The mean colour of each point over the pictures that show it.

    A picture shows a point that lies in it, faces it, and has no part of the surface before it (a depth test against
    the surface itself). It counts by the cosine of the angle between normal and line of sight, above a least one, to
    the power `sharpness`, and by the square of the opacity there, above half of the greatest one: a pixel that is half
    background has half its colour. Points that no picture shows take the mean colour of the nearest ones that
    are, by their distance.

    Args:
      surface: what may stand between camera and point.
      points, normals: [M, 3] on the surface, normals of unit length.
      sharpness: larger ones mix less and show more of the seams between pictures.
      progress: show a bar on stderr.

    Returns:
      Colours float32 [M, 3] in [0, 255], and which points were shown [M].

    Raises:
      InputError: no picture shows any of the points.
    """
    total, colours = np.zeros(len(points)), np.zeros((len(points), 3))
    looks = _looks(surface, points, normals, views, progress=progress, sharpness=sharpness)
    for image, (shown, positions, strength) in zip(views.images, looks):
        total[shown] += strength
        colours[shown] += strength[:, None] * sample_picture(image, positions)
    seen = total > 1e-9
    if not seen.any():
        raise InputError("views must show the surface, got none that does")
    colours[seen] /= total[seen, None]
    if not seen.all():
        # The mean of several, the nearer the more, as a single one would be drawn out into a stripe.
        count = min(NEIGHBOURS, int(seen.sum()))
        distances, nearest = spatial.cKDTree(points[seen]).query(points[~seen], k=[*range(1, count + 1)])
        weights = 1 / np.maximum(distances, 1e-6) ** 2
        found = np.einsum("mk,mkc->mc", weights, colours[seen][nearest])
        colours[~seen] = found / weights.sum(-1, keepdims=True)
    return colours.astype(np.float32), seen


def _looks(surface, points, normals, views, *, sharpness, progress):
    """For each picture the points [M] that it shows, where these lie in it [K, 2], and how much it counts there [K]."""
    blockers, _ = sample_surface(surface, OCCLUDERS)
    spacing = np.sqrt(surface.areas.sum() / OCCLUDERS)
    densest = max(float(views.opacity.max()), 1e-6)
    frames = bar(views.labels, desc="colours", unit="view", hidden=not progress)
    for label, opacity in zip(frames, views.opacity):
        shown, cosine = shown_points(blockers, points, normals, label, spacing)
        positions, _ = project(points[shown], label)
        solid = sample_picture(opacity[..., None], positions)[:, 0] / densest
        yield shown, positions, (cosine[shown] - GRAZING) ** sharpness * np.maximum(2 * solid - 1, 0) ** 2


def shown_points(
    blockers: np.ndarray, points: np.ndarray, normals: np.ndarray, label: np.ndarray, spacing: float
) -> tuple[np.ndarray, np.ndarray]:
    """Which points [M, 3] a camera [25] sees, and the cosines [M] between their normals and the lines of sight.

    Args:
      blockers: points [B, 3] that cover the surface, `spacing` world units apart.
    """
    positions, depths = project(points, label)
    sight = np.asarray(label[:16], np.float64).reshape(4, 4)[:3, 3] - points
    cosine = np.sum(normals * sight, -1) / np.linalg.norm(sight, axis=-1)
    facing = (cosine > GRAZING) & (depths > 0) & ((positions >= 0) & (positions < 1)).all(-1)
    # Pixels of the depth test are three spacings wide, so that a surface leaves none of them empty.
    focal, distance = abs(float(label[16])), float(np.median(depths))
    side = int(np.clip(distance / (focal * 3 * spacing), 8, MAX_DEPTH_SIDE))
    at, depth = project(blockers, label)
    inside = ((at >= 0) & (at < 1)).all(-1) & (depth > 0)
    nearest = np.full(side * side, np.inf)
    np.minimum.at(nearest, _cells(at[inside], side), depth[inside])
    # Across a pixel, a surface that is seen at an angle recedes by the tangent of that angle.
    tangent = np.sqrt(np.maximum(1 - cosine**2, 0)) / np.maximum(cosine, GRAZING)
    tolerance = distance / (focal * side) * (1 + 1.5 * tangent)
    shown = facing.copy()
    shown[facing] = depths[facing] <= nearest[_cells(positions[facing], side)] + tolerance[facing]
    return shown, cosine


def _cells(positions, side):
    """Indices [M] of the pixels of a side x side picture at positions [M, 2] in [0, 1)."""
    columns, rows = (positions * side).astype(np.int64).T
    return rows * side + columns


def sample_picture(picture: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Bilinear values [M, C] of a picture [H, W, C] at positions [M, 2], (x, y) in units of its sides."""
    height, width = picture.shape[:2]
    at = [positions[:, 1] * height - 0.5, positions[:, 0] * width - 0.5]
    channels = np.moveaxis(picture.astype(np.float32), -1, 0)
    return np.stack([ndimage.map_coordinates(channel, at, order=1, mode="nearest") for channel in channels], axis=-1)
