"""How light thins inside hair: a grid of hair's density, and what reaches each cell from all around."""

import numpy as np

from panojax.synthetic.cameras import Doubles
from panojax.synthetic.edition2.growth import Strands
from panojax.synthetic.edition2.solid import Solid, dot
from panojax.synthetic.meshes import Floats

SIDE = 44  # cells
LOW, HIGH = np.array([-0.44, -0.60, -0.44], np.float32), np.array([0.44, 0.34, 0.44], np.float32)
OPAQUE = 0.30  # optical depth of a cell in which hair covers a whole face of it: less than 1, light is scattered on
SCATTERED = 0.16  # share of the surround that reaches any depth
DIRECTIONS = np.array(
    [[x, y, z] for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1) if abs(x) + abs(y) + abs(z) in (1, 3)],
    np.float64,
)  # towards the 6 faces and 8 corners of a cube


def cells_of(points: Floats) -> np.ndarray:
    """Flat cell numbers (...) of points (..., 3)."""
    at = ((points - LOW) * (SIDE / (HIGH - LOW))).astype(np.int32).clip(0, SIDE - 1)
    return (at[..., 0] * SIDE + at[..., 1]) * SIDE + at[..., 2]


def density_grid(strands: list[Strands]) -> Floats:
    """Area of hair per area of a cell's face (SIDE,) * 3."""
    total = np.zeros(SIDE**3, np.float32)
    cell = (HIGH - LOW) / SIDE
    for piece in strands:
        every = max(1, len(piece.points) // 4000)
        points = piece.points[::every]
        steps = np.diff(points, axis=1)
        lengths = np.sqrt(dot(steps, steps))
        middles = 0.5 * (points[:, 1:] + points[:, :-1])
        area = lengths * piece.width * 0.7 * every
        total += np.bincount(cells_of(middles).reshape(-1), area.reshape(-1), SIDE**3).astype(np.float32)
    return total.reshape(SIDE, SIDE, SIDE) / float(cell[0] * cell[1])


def transmittances(density: Floats, solid: Solid) -> Floats:
    """Share of light (14, SIDE, SIDE, SIDE) that reaches each cell from each of DIRECTIONS."""
    axes = [low + (np.arange(SIDE, dtype=np.float32) + 0.5) * (high - low) / SIDE for low, high in zip(LOW, HIGH)]
    inside = solid.look(np.stack(np.meshgrid(*axes, indexing="ij"), -1))[0] < -0.012
    depth = density * OPAQUE
    passed = np.exp(-depth).astype(np.float32)
    slanted = np.exp(-depth * np.float32(np.sqrt(3) * 0.8))
    blocked = np.where(inside, np.float32(0.03), 1)
    result = np.ones((len(DIRECTIONS), SIDE, SIDE, SIDE), np.float32)
    for light, direction in enumerate(DIRECTIONS):
        through = passed if np.abs(direction).sum() == 1 else slanted
        axis = int(np.abs(direction).argmax())
        order = range(SIDE - 2, -1, -1) if direction[axis] > 0 else range(1, SIDE)
        step = int(direction[axis])
        lit, fade = np.moveaxis(result[light], axis, 0), np.moveaxis(through * blocked, axis, 0)
        shift = tuple(-int(direction[k]) for k in range(3) if k != axis)
        for i in order:
            before = lit[i + step] * fade[i + step]
            if shift != (0, 0):
                before = np.roll(before, shift, axis=(0, 1))
            lit[i] = before
        half = np.sqrt(np.moveaxis(through, axis, 0))
        lit *= half
    return result


def hair_ambient(strands: list[Strands], solid: Solid, radiance: Floats) -> list[Floats]:
    """Light (n, k, 3) about each strand's points from the surround; `radiance` (14, 3) from each of DIRECTIONS."""
    passed = transmittances(density_grid(strands), solid)
    weights = np.where(np.abs(DIRECTIONS).sum(1) == 1, 0.4, 0.45).astype(np.float32)
    weights /= weights.sum()
    shares = (weights[:, None] * radiance).astype(np.float32)
    flat = SCATTERED + (1 - SCATTERED) * passed.reshape(len(DIRECTIONS), -1)
    whole = (flat.T @ shares).astype(np.float32)  # (cells, 3)
    result = []
    rng = np.random.default_rng(3)
    for piece in strands:
        jitter = rng.uniform(-0.5, 0.5, (len(piece.points), 1, 3)).astype(np.float32) * (HIGH - LOW) / SIDE
        result.append(whole[cells_of(piece.points + jitter)])
    return result


def directions() -> Doubles:
    """DIRECTIONS as unit vectors (14, 3)."""
    return DIRECTIONS / np.linalg.norm(DIRECTIONS, axis=1, keepdims=True)
