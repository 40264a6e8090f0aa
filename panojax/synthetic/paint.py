"""Where on the skin hair, beard, lips and flush are: a weight per vertex of the base mesh, from its rest position.

Rest positions are the base mesh's own (decimetres, see meshes.py), so that one map fits every head.
"""

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from panojax.synthetic.meshes import Floats, read_target
from panojax.synthetic.shape import read_body

AXIS = (0.0, 0.55)  # x and z of the vertical line that azimuths are measured around

# Heights (decimetres) of lines around the head at azimuths in degrees from the face (0) to the back (180).
AZIMUTHS = (0, 20, 35, 45, 55, 62, 70, 80, 88, 100, 112, 125, 150, 180)
HAIR_LINE = (8.02, 8.05, 8.02, 7.90, 7.62, 7.42, 7.18, 7.08, 7.20, 7.20, 7.00, 6.82, 6.64, 6.60)
BEARD_TOP = (6.82, 6.82, 6.74, 6.74, 6.86, 7.02, 7.18, 7.22, 7.10, 6.6, 6.0, 6.0, 6.0, 6.0)
BEARD_FOOT = (5.98, 5.98, 6.00, 6.06, 6.16, 6.24, 6.36, 6.55, 6.80, 7.0, 7.0, 7.0, 7.0, 7.0)
HAIR_SOFTNESS, BEARD_SOFTNESS = 0.12, 0.16
GOATEE, FULL_BEARD = 27.0, 92.0  # azimuths that beards reach back to
FLUSH_SPOTS = ((0.40, 6.95, 1.35, 0.30), (0.0, 6.92, 1.75, 0.20), (0.0, 6.25, 1.5, 0.14))  # x, y, z, radius; x mirrored
LIP_TARGETS = ("mouth/mouth-upperlip-volume-incr", "mouth/mouth-lowerlip-volume-incr")
EAR_TARGETS = ("ears/l-ear-scale-incr", "ears/r-ear-scale-incr")


def azimuth_of(rest: Floats) -> NDArray[np.float64]:
    """Degrees (vertices,) from straight ahead, 0..180, around AXIS."""
    return np.degrees(np.arctan2(np.abs(rest[:, 0] - AXIS[0]), rest[:, 2] - AXIS[1]))


def ramp(values: NDArray[np.floating], low: float, high: float) -> NDArray[np.float64]:
    """Smooth step from 0 at `low` to 1 at `high`."""
    t = np.clip((values.astype(np.float64) - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def support(assets: Path, names: tuple[str, ...], count: int) -> NDArray[np.float64]:
    """How much each vertex (count,) is moved by any of the targets, 1 at the most moved one of each."""
    weights = np.zeros(count)
    for name in names:
        vertices, moves = read_target(assets / f"targets/{name}.target.gz")
        lengths = np.linalg.norm(moves, axis=1)
        weights[vertices] = np.maximum(weights[vertices], lengths / max(lengths.max(), 1e-9))
    return weights


def scalp_weights(rest: Floats, ears: NDArray[np.float64], raised: float) -> NDArray[np.float64]:
    """Where head hair grows, 0..1 (vertices,); `raised` (mm) moves the line up in front, as in receding hair."""
    azimuth = azimuth_of(rest)
    line = np.interp(azimuth, AZIMUTHS, HAIR_LINE) + 0.01 * raised * (1 - ramp(azimuth, 40, 75))
    above = ramp(rest[:, 1] - line, -HAIR_SOFTNESS, HAIR_SOFTNESS)
    return above * (1 - ears)


def beard_weights(
    rest: Floats, ears: NDArray[np.float64], lips: NDArray[np.float64], cover: float
) -> NDArray[np.float64]:
    """Where a beard grows, 0..1 (vertices,); `cover` 0 leaves moustache and chin, 1 takes the cheeks too."""
    azimuth = azimuth_of(rest)
    below = ramp(np.interp(azimuth, AZIMUTHS, BEARD_TOP) - rest[:, 1], -BEARD_SOFTNESS * 0.5, BEARD_SOFTNESS)
    above = ramp(rest[:, 1] - np.interp(azimuth, AZIMUTHS, BEARD_FOOT), -BEARD_SOFTNESS, BEARD_SOFTNESS)
    widest = GOATEE + (FULL_BEARD - GOATEE) * cover
    side = 1 - ramp(azimuth, widest - 9, widest + 9)
    front = ramp(rest[:, 2] - np.interp(azimuth, (0, 45, 70), (0.95, 0.75, 0.40)), 0.0, 0.25)
    return below * above * side * front * (1 - ears) * (1 - ramp(lips, 0.25, 0.55))


def flush_weights(rest: Floats, ears: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where blood shows, 0..1 (vertices,): cheeks, tip of the nose, chin, ears."""
    weights = 0.7 * ears
    mirrored = np.stack([np.abs(rest[:, 0]), rest[:, 1], rest[:, 2]], axis=1)
    for x, y, z, radius in FLUSH_SPOTS:
        squared = ((mirrored - (x, y, z)) ** 2).sum(axis=1)
        weights = np.maximum(weights, np.exp(-squared / (2 * radius**2)))
    return weights


def ear_weights(rest: Floats, moved: NDArray[np.float64]) -> NDArray[np.float64]:
    """What stands off the skull, 0..1 (vertices,), of the vertices that the ear targets move (`moved`, see support)."""
    off = ramp(np.abs(rest[:, 0]), 0.69, 0.76) * (1 - ramp(rest[:, 1], 7.40, 7.50))
    return ramp(moved, 0.08, 0.3) * off


@cache
def _regions(assets: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rest = read_body(assets).positions
    return ear_weights(rest, support(assets, EAR_TARGETS, len(rest))), support(assets, LIP_TARGETS, len(rest))


def paint_weights(assets: Path, *, hairline: float, beard_cover: float) -> Floats:
    """Scalp, beard, lips and flush weights (19158, 4) in 0..1 on the base mesh."""
    rest = read_body(assets).positions
    ears, lips = _regions(assets)
    columns = (
        scalp_weights(rest, ears, hairline),
        beard_weights(rest, ears, lips, beard_cover),
        ramp(lips, 0.2, 0.5),
        flush_weights(rest, ears),
    )
    return np.stack(columns, axis=1).astype(np.float32)
