"""Where hair is rooted: a fixed pool of places on the base mesh's scalp and jaw, the same on every head."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from panojax.synthetic import paint
from panojax.synthetic.meshes import Floats, Ints
from panojax.synthetic.shape import read_body

POOL = 38000  # roots on the scalp
BEARD_POOL = 24000
GUIDES = 480
NEIGHBOURS = 5  # guides that a strand may be mixed from
CLUMPS = (70, 160, 400, 1100, 3000)  # numbers of clumps that a head may have
LOWEST = -14.0  # mm: how far below the usual hair line roots are kept


@dataclass(frozen=True)
class Roots:
    """Places on triangles of the body, in an order in which the first n are spread evenly for every n."""

    vertices: Ints  # (n, 3) of the base mesh
    shares: Floats  # (n, 3) barycentric
    rest: Floats  # (n, 3) rest position, decimetres
    guides: Ints  # (guides,) which roots grow guide curves
    mixed: Ints  # (n, NEIGHBOURS) nearest guides, nearest first
    distances: Floats  # (n, NEIGHBOURS) to them, decimetres
    clumps: dict[int, tuple[Ints, Ints]]  # number of clumps: (the root in each one's middle, the clump of each root)

    def on(self, vertex_values: Floats) -> Floats:
        """Values (n, channels) at the roots from values at the base mesh's vertices."""
        corners = (vertex_values[self.vertices[:, k]] * self.shares[:, k : k + 1] for k in range(3))
        return sum(corners, np.float32(0))


def farthest(points: Floats, count: int) -> Ints:
    """Indices of `count` points, each the farthest from those before."""
    chosen = np.zeros(count, np.int32)
    nearest = np.full(len(points), np.inf, np.float32)
    for i in range(1, count):
        nearest = np.minimum(nearest, ((points - points[chosen[i - 1]]) ** 2).sum(axis=1))
        chosen[i] = nearest.argmax()
    return chosen


def scatter(rest: Floats, triangles: Ints, count: int, seed: int) -> tuple[Ints, Floats]:
    """`count` even places on triangles (t, 3): their vertices (count, 3) and barycentric shares (count, 3)."""
    rng = np.random.default_rng(seed)
    a, b, c = (rest[triangles[:, k]] for k in range(3))
    areas = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    ends = np.cumsum(areas) / areas.sum()
    at = np.searchsorted(ends, (np.arange(count) + rng.random(count)) / count).clip(0, len(triangles) - 1)
    u, v = np.sqrt(rng.random(count)), rng.random(count)
    shares = np.stack([1 - u, u * (1 - v), u * v], axis=1).astype(np.float32)
    order = rng.permutation(count)
    return triangles[at][order], shares[order]


def _roots(rest: Floats, triangles: Ints, count: int, seed: int, guides: int) -> Roots:
    vertices, shares = scatter(rest, triangles, count, seed)
    places = (rest[vertices] * shares[..., None]).sum(axis=1).astype(np.float32)
    chosen = farthest(places[: 12 * guides], guides)
    distances, mixed = cKDTree(places[chosen]).query(places, k=NEIGHBOURS)
    clumps = {}
    for number in CLUMPS:
        centres = farthest(places[:6000], number) if number < 1000 else np.arange(number, dtype=np.int32)
        clumps[number] = centres, cKDTree(places[centres]).query(places)[1].astype(np.int32)
    return Roots(vertices, shares, places, chosen, mixed.astype(np.int32), distances.astype(np.float32), clumps)


@cache
def scalp_roots(assets: Path) -> Roots:
    """The pool of the head hair's roots; made once per process."""
    body = read_body(assets)
    mesh, rest = body.groups["body"], body.positions
    ears, _ = paint._regions(assets)
    weights = paint.scalp_weights(rest, ears, LOWEST)
    triangles = mesh.vertices[mesh.triangles]
    return _roots(rest, triangles[weights[triangles].min(axis=1) > 0.3], POOL, 1, GUIDES)


@cache
def beard_roots(assets: Path) -> Roots:
    """The pool of beards' roots."""
    body = read_body(assets)
    mesh, rest = body.groups["body"], body.positions
    ears, lips = paint._regions(assets)
    weights = paint.beard_weights(rest, ears, lips, 1.0)
    triangles = mesh.vertices[mesh.triangles]
    return _roots(rest, triangles[weights[triangles].max(axis=1) > 0.1], BEARD_POOL, 2, 160)


def smooth_noise(points: Floats, scale: float, seed: int) -> NDArray[np.float32]:
    """Noise (n,) of about -1..1 that varies over `scale` (in the points' unit): a sum of random waves."""
    rng = np.random.default_rng(seed)
    waves = rng.normal(0, 2.5 / scale, (5, 3)).astype(np.float32)
    phases = rng.uniform(0, 2 * np.pi, 5).astype(np.float32)
    return np.sin(points @ waves.T + phases).mean(axis=1) * np.float32(1.65)
