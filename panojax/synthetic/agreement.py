"""Do the views of a head agree? Their depths, put into the world by their labels, must lie on one surface."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from panojax.errors import InputError
from panojax.synthetic.cameras import WORLD_UNITS_PER_METRE, unproject

HEAD_WIDTH = 0.150 * WORLD_UNITS_PER_METRE  # world units: an adult's head is about 150 mm wide
NEIGHBOURS = 8  # points that a local plane is laid through


def plane_distances(points: NDArray[np.float64], neighbours: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance (n,) of `points` (n, 3) from the planes of least squares through their `neighbours` (n, k, 3)."""
    centres = neighbours.mean(axis=1)
    spread = neighbours - centres[:, None]
    normals = np.linalg.eigh(np.einsum("nki,nkj->nij", spread, spread))[1][:, :, 0]
    return np.abs(((points - centres) * normals).sum(axis=1))


def view_disagreement(
    labels: NDArray[np.floating], depth: NDArray[np.float32], *, per_view: int = 2000
) -> tuple[float, float]:
    """Median distances of a view's points from all other views' points, as shares of HEAD_WIDTH.

    First to the nearest point, which pixels bound from below (one of 256 spans 0.8% of the width); then to the plane
    through the NEIGHBOURS nearest ones, which true labels bring near zero. `labels` (views, 25), `depth` (views, size,
    size) along the pixels' rays in world units, 0 where nothing is seen. At most `per_view` points of each view are
    asked for, evenly spread over the picture; all points of the others are searched. InputError for fewer than two
    views, or an empty one.
    """
    if len(labels) < 2 or len(labels) != len(depth):
        raise InputError(f"labels and depth must be those of two or more views, got {len(labels)} and {len(depth)}")
    clouds = [unproject(view, np.asarray(label, np.float64)) for label, view in zip(labels, depth)]
    if empty := [i for i, cloud in enumerate(clouds) if not len(cloud)]:
        raise InputError(f"depth must show something in every view, got nothing in views {empty}")
    nearest, to_surface = [], []
    for i, cloud in enumerate(clouds):
        others = np.concatenate(clouds[:i] + clouds[i + 1 :])
        asked = cloud[:: max(1, len(cloud) // per_view)]
        distances, found = cKDTree(others).query(asked, k=NEIGHBOURS)
        nearest.append(distances[:, 0])
        to_surface.append(plane_distances(asked, others[found]))
    return float(np.median(np.concatenate(nearest)) / HEAD_WIDTH), float(
        np.median(np.concatenate(to_surface)) / HEAD_WIDTH
    )
