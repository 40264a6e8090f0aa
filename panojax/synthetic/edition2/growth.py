"""Hair as curves: guides grown step by step over the head, strands mixed from them, waves and clumps laid on.

World units; one unit is 500 mm. A strand is a polyline (points, 3) from root to tip.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from panojax.synthetic.edition2 import scalp
from panojax.synthetic.edition2.people import Style
from panojax.synthetic.edition2.scalp import Roots
from panojax.synthetic.edition2.solid import Solid, dot
from panojax.synthetic.meshes import Floats
from panojax.synthetic.paint import azimuth_of, ramp

MM = 0.002  # world units
STEPS = 18  # of a guide
UP, AHEAD, LEFT = (np.array(v, np.float32) for v in ((0, 1, 0), (0, 0, 1), (1, 0, 0)))


@dataclass(frozen=True)
class Strands:
    """Polylines of one material."""

    label: str  # in scene.PARTS
    points: Floats  # (strands, points, 3)
    width: float  # world units, at the root
    tint: Floats  # (strands, 3) factors on the colour
    fine: Floats | None = None  # (strands,) factors on the width
    taper: float = 0.35  # share of the width that is left at the tip
    uniforms: dict[str, Any] = field(default_factory=dict)  # of the shader: colours, gloss, thickness


@dataclass(frozen=True)
class Landmarks:
    """Places on a head, world units."""

    brow: float  # y
    eyes: float  # y
    chin: float  # y
    ear: Floats  # (3,) the left ear's upper edge
    crown: Floats  # (3,)
    face: float  # z of the forehead


def unit(vectors: Floats) -> Floats:
    """`vectors` (..., 3) of length 1."""
    return vectors / np.sqrt(dot(vectors, vectors) + np.float32(1e-12))[..., None]


def along_surface(vectors: Floats, outward: Floats) -> Floats:
    """The unit part of `vectors` that is tangent to the surface with normals `outward`."""
    return unit(vectors - dot(vectors, outward)[..., None] * outward)


def smooth(values: Floats, low: float, high: float) -> Floats:
    """`paint.ramp` in float32."""
    return ramp(values, low, high).astype(np.float32)


def cross(a: Floats, b: Floats) -> Floats:
    """`np.cross` of (..., 3), faster."""
    ax, ay, az = a[..., 0], a[..., 1], a[..., 2]
    bx, by, bz = b[..., 0], b[..., 1], b[..., 2]
    return np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], axis=-1)


@dataclass(frozen=True)
class Ground:
    """The roots of one head's hair, all arrays per root of the pool."""

    roots: Roots
    places: Floats  # (n, 3)
    outward: Floats  # (n, 3)
    azimuth: Floats  # (n,) degrees from the face
    top: Floats  # (n,) 0 sides .. 1 top
    above: Floats  # (n,) mm above the hair line
    random: Floats  # (n, 4) in 0..1


def hair_ground(assets: Path, points: Floats, normals: Floats, seed: int) -> Ground:
    """The scalp's roots on the head whose vertices lie at `points`."""
    roots = scalp.scalp_roots(assets)
    azimuth = azimuth_of(roots.rest).astype(np.float32)
    line = np.interp(azimuth, scalp.paint.AZIMUTHS, scalp.paint.HAIR_LINE).astype(np.float32)
    outward = unit(roots.on(normals))
    rng = np.random.default_rng(seed)
    return Ground(
        roots=roots,
        places=roots.on(points).astype(np.float32),
        outward=outward.astype(np.float32),
        azimuth=azimuth,
        top=smooth(outward[:, 1], 0.10, 0.90),
        above=(roots.rest[:, 1] - line) * 100,
        random=rng.random((len(roots.rest), 4), np.float32),
    )


def hair_density(rest: Floats, style: Style) -> NDArray[np.float32]:
    """How much hair grows, 0..1 (n,), at rest positions (decimetres): its line, with corners, and bald places."""
    azimuth = azimuth_of(rest).astype(np.float32)
    line = np.interp(azimuth, scalp.paint.AZIMUTHS, scalp.paint.HAIR_LINE)
    corner = np.exp(-(((azimuth - 38) / 13) ** 2))
    peak = np.exp(-((azimuth / 9) ** 2))
    front = 1 - ramp(azimuth, 45, 72)
    line = line + 0.01 * (style.recession * front + style.temples * corner - style.peak * peak)
    line = line + 0.01 * style.nape_line * ramp(azimuth, 110, 140)
    ragged = 0.035 * scalp.smooth_noise(rest, 0.10, style.seed) + 0.02 * scalp.smooth_noise(rest, 0.035, style.seed + 1)
    above = ramp(rest[:, 1] - line + ragged, -0.05, 0.06)
    to_crown = np.sqrt(((rest - np.array([0.0, 8.42, 0.25], np.float32)) ** 2).sum(axis=1)) * 100
    bald = 1 - ramp(to_crown + 8 * scalp.smooth_noise(rest, 0.3, style.seed + 2), style.bald - 10, style.bald + 14)
    return (above * (1 - style.baldness * bald)).astype(np.float32)


def root_lengths(ground: Ground, style: Style) -> Floats:
    """Millimetres (n,) that the hair of each root is long, before level cuts."""
    back = smooth(ground.azimuth, 85, 135)
    low = style.side * (1 - back) + style.back * back
    lengths = low * (1 - ground.top) + style.top * ground.top
    front = ground.top * (1 - smooth(ground.azimuth, 35, 80))
    lengths = lengths * (1 - front) + style.front * front
    if style.fade > 0:
        start = style.fade_from + 12 * smooth(ground.azimuth, 100, 150)
        grown = smooth(ground.above - start, 0, style.fade)
        sides = (1 - front) if style.front > 8 else np.ones_like(front)
        lengths = lengths * (1 - sides) + (1.2 + (lengths - 1.2) * grown) * sides
    return lengths.astype(np.float32)


def fringe_of(ground: Ground, style: Style) -> NDArray[np.bool_]:
    """Which roots (n,) belong to the fringe."""
    if style.fringe <= 0:
        return np.zeros(len(ground.top), bool)
    wide = style.fringe_width + 8 * (ground.random[:, 1] - 0.5)
    return (ground.azimuth < wide) & (ground.above < style.fringe)


def comb(style: Style, ground: Ground, at: NDArray[np.int32], marks: Landmarks) -> "Comb":
    """The flow of the roots `at`."""
    fringe = fringe_of(ground, style)[at]
    x = ground.places[at, 0]
    bent = style.part * MM + style.part_bend * MM * np.sin(40 * ground.places[at, 2])
    side = np.where(x > bent, 1.0, -1.0).astype(np.float32)
    behind = smooth(ground.azimuth[at], 95, 140)
    away = side if style.parted > 0.5 else np.where(x > 0, 1.0, -1.0).astype(np.float32)
    forward = 40 + 35 * ground.random[ground.roots.guides[0], 0]
    slide = np.where(ground.azimuth[at] < forward, 1.0, -1.0).astype(np.float32)
    return Comb(style, marks, side, fringe, behind, away, slide)


@dataclass(frozen=True)
class Comb:
    """Which way hair of each guide wants to lie where it is."""

    style: Style
    marks: Landmarks
    side: Floats
    fringe: NDArray[np.bool_]
    behind: Floats
    away: Floats  # the side of the face to which hair is kept
    slide: Floats  # forward (+) or back over the shoulders

    def groups(self) -> NDArray[np.int32]:
        """Strands are mixed from guides of the same group only."""
        parted = (self.side > 0) & (self.style.parted > 0.5)
        behind = (self.behind > 0.5) & ~self.fringe
        return np.where(behind, 4, parted + 2 * self.fringe).astype(np.int32)

    def field(self, points: Floats, outward: Floats) -> Floats:
        """Unit directions (n, 3) along the head's surface."""
        style, top = self.style, smooth(outward[:, 1], 0.25, 0.85)[:, None]
        down = -UP * (1 - 0.6 * top)
        away = points - (self.marks.crown + np.array([style.whorl * MM, 0, -0.09], np.float32))
        away = unit(away) + style.swirl * np.cross(UP, unit(away)).astype(np.float32)
        fall = style.parted * self.side[:, None] * LEFT * (0.15 + top) + style.sweep * AHEAD
        back = np.minimum(away, np.array([9, 9, -0.15], np.float32)) + 0.3 * self.side[:, None] * LEFT
        fall = fall * (1 - self.behind)[:, None] + self.behind[:, None] * back
        mixed = style.radial * away + (1 - style.radial) * fall + style.across * LEFT * top + down
        front = AHEAD * 1.0 - UP * 0.5 + style.fringe_sweep * LEFT
        mixed = np.where(self.fringe[:, None], front, mixed)
        return along_surface(mixed.astype(np.float32), outward)


def keep_off_face(points: Floats, side: Floats, marks: Landmarks, gap: float, fringe: NDArray[np.bool_]) -> Floats:
    """Moves points (n, 3) that hang before the face outwards to |x| = gap (world units) on their `side`."""
    near = 0.02 - 0.07 * smooth(marks.chin + 0.03 - points[:, 1], 0.0, 0.05)  # the neck lies further back
    front = ramp(points[:, 2] - near, 0.0, 0.08) * smooth(marks.brow + 0.085 - points[:, 1], 0.0, 0.06)
    wanted = side * np.maximum(side * points[:, 0], gap)
    x = points[:, 0] + front * (wanted - points[:, 0]) * ~fringe
    return np.column_stack([x, points[:, 1], points[:, 2]]).astype(np.float32)


def grow(style: Style, ground: Ground, solid: Solid, marks: Landmarks, lengths: Floats, volume: Floats) -> Floats:
    """Guide curves (guides, STEPS, 3). `lengths` mm (guides,), `volume`: mm off the head (guides,)."""
    at = ground.roots.guides
    flow = comb(style, ground, at, marks)
    start, normal = ground.places[at], ground.outward[at]
    error = solid.look(start)[0]
    whole = (lengths * MM / (STEPS - 1))[:, None].astype(np.float32)
    lift = np.radians(style.lift * (1 - 0.35 * (1 - ground.top[at])) * np.where(flow.fringe, 0.7, 1.0))[:, None]
    quiff = np.radians(style.quiff) * (ground.top[at] * (1 - smooth(ground.azimuth[at], 20, 75)))[:, None]
    lift = np.minimum(lift + quiff, np.pi / 2).astype(np.float32)
    direction = unit(np.cos(lift) * flow.field(start, normal) + np.sin(lift) * normal)
    points, grown = [start], np.zeros(len(at), np.float32)
    point = start
    gap = style.face_gap * MM
    for size in np.linspace(0.4, 1.6, STEPS - 1, dtype=np.float32):  # short steps where hair leaves the head
        step = whole * size
        distance, outward = solid.look(point)
        near = np.exp(-np.maximum(distance, 0) / (45 * MM))[:, None]
        follow = style.follow * near * flow.field(point, outward)
        heavy = style.gravity * np.minimum(grown / 50, 2.0)[:, None]
        off = volume * MM * (1 - np.exp(-grown / 10)) + 0.6 * MM + error * np.exp(-grown / 25)
        cling = style.cling * np.clip((distance - off) / (14 * MM), 0, 1.5)[:, None]
        pulled = follow - heavy * UP - cling * outward + (1 - near) * 0.15 * normal * style.spring
        # On the shoulders hair slides to the back, from beside the face to the front.
        lies = smooth(outward[:, 1], 0.25, 0.7) * smooth(-point[:, 1], -(marks.chin - 0.02), -(marks.chin - 0.10))
        pulled = pulled + (2.2 * lies * flow.slide)[:, None] * AHEAD
        low = smooth(marks.chin + 0.06 - point[:, 1], 0.0, 0.10) * smooth(np.abs(point[:, 0]), 0.15, 0.25)
        pulled = pulled - (0.6 * low * np.sign(point[:, 0]))[:, None] * LEFT
        bend = np.minimum(step / (style.stiffness * MM), 0.9)
        direction = unit(direction * (1 - bend) + pulled * bend)
        moved = point + step * direction
        grown = grown + step[:, 0] / MM
        moved = solid.push(keep_off_face(moved, flow.away, marks, gap, flow.fringe), off.astype(np.float32))
        direction = unit(moved - point)
        point = point + step * direction
        points.append(point)
    return np.stack(points, axis=1)


def mix(ground: Ground, kept: NDArray[np.int32], guides: Floats, groups: NDArray[np.int32]) -> Floats:
    """Strands (kept, STEPS, 3): each a mean of the nearest guides of its group, moved to its root."""
    roots = ground.roots
    neighbours, distances = roots.mixed[kept], roots.distances[kept]
    same = groups[roots.guides][neighbours] == groups[kept][:, None]
    # Guides that part ways are not mixed: their mean would run through the head.
    moved = (guides[:, STEPS // 2] - guides[:, 0])[neighbours]
    first = np.take_along_axis(moved, same.argmax(axis=1)[:, None, None], axis=1)
    apart = np.sqrt(dot(moved - first, moved - first))
    same = same & (apart < 0.25 * np.sqrt(dot(first, first)) + 20 * MM)
    weights = same / (distances + 0.02) ** 2
    weights[~same.any(axis=1), 0] = 1.0
    weights = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    moves = (guides - guides[:, :1]).reshape(len(guides), -1)
    ends = np.arange(len(kept) + 1) * scalp.NEIGHBOURS
    mixed = csr_matrix((weights.reshape(-1), neighbours.reshape(-1), ends), shape=(len(kept), len(guides))) @ moves
    return mixed.reshape(len(kept), -1, 3) + ground.places[kept][:, None]


def resample(curves: Floats, ends: Floats, count: int) -> Floats:
    """Curves (n, k, 3) at `count` even places from the root to the share `ends` (n,) of their points."""
    steps = curves.shape[1] - 1
    at = np.clip(ends, 0.02, 1.0)[:, None] * np.linspace(0, steps, count, dtype=np.float32)
    low = np.minimum(at.astype(np.int32), steps - 1)
    share = (at - low)[..., None].astype(np.float32)
    flat = curves.reshape(-1, 3)
    index = low + (np.arange(len(curves), dtype=np.int32) * (steps + 1))[:, None]
    return flat[index] * (1 - share) + flat[index + 1] * share


def level_cut(curves: Floats, height: Floats) -> Floats:
    """Shares (n,) of curves (n, k, 3) that lie before they first fall below `height` (n,)."""
    below = curves[..., 1] < height[:, None]
    first = np.where(below.any(axis=1), below.argmax(axis=1), curves.shape[1] - 1)
    rows = np.arange(len(curves))
    before = np.maximum(first - 1, 0)
    y0, y1 = curves[rows, before, 1], curves[rows, first, 1]
    part = np.where(below.any(axis=1), (y0 - height) / np.maximum(y0 - y1, 1e-5), 1.0)
    return ((before + np.clip(part, 0, 1)) / (curves.shape[1] - 1)).astype(np.float32)


def frames(curves: Floats, reference: Floats) -> tuple[Floats, Floats]:
    """Two unit vectors (n, k, 3) across each curve; `reference` (n, 3) lies between them and the curve."""
    tangent = np.empty_like(curves)
    tangent[:, 1:-1] = curves[:, 2:] - curves[:, :-2]
    tangent[:, 0], tangent[:, -1] = curves[:, 1] - curves[:, 0], curves[:, -1] - curves[:, -2]
    tangent = unit(tangent)
    first = unit(cross(tangent, reference[:, None]))
    return first, cross(first, tangent)


def arc_lengths(curves: Floats) -> Floats:
    """Millimetres (n, k) from the root along each curve."""
    steps = np.diff(curves, axis=1)
    steps = np.sqrt(dot(steps, steps)) / np.float32(MM)
    return np.concatenate([np.zeros((len(curves), 1), np.float32), np.cumsum(steps, axis=1)], axis=1)


def curl(curves: Floats, style: Style, phase: Floats, loose: Floats, outward: Floats) -> Floats:
    """Curves with waves (in a plane) and curls (helices) whose phase (n,) clumps share."""
    if style.wave <= 0 and style.curl <= 0 and style.frizz <= 0:
        return curves
    rng = np.random.default_rng(style.seed + 5)
    reference = unit(outward + rng.normal(0, 0.35, outward.shape).astype(np.float32))
    across, out = frames(curves, reference)
    length = arc_lengths(curves)
    grown = np.clip(length / np.float32(style.settle), 0, 1)
    moved = curves
    if style.wave > 0:
        angle = 2 * np.pi * length / style.wave_length + phase[:, None]
        size = (style.wave * MM * (0.7 + 0.6 * loose))[:, None] * grown
        moved = moved + (size * np.sin(angle))[..., None] * across + (0.4 * size * np.cos(angle))[..., None] * out
    if style.curl > 0:
        angle = 2 * np.pi * length / style.curl_length + 1.7 * phase[:, None]
        size = (style.curl * MM * (0.6 + 0.8 * loose))[:, None] * grown
        moved = moved + (size * np.sin(angle))[..., None] * across + (size * np.cos(angle))[..., None] * out
    if style.frizz > 0:
        waves = rng.normal(0, 1, (2, len(curves), 1)).astype(np.float32)
        angle = length * (0.12 + 0.05 * waves[0]) + 6.3 * waves[1]
        size = (style.frizz * MM * (loose**2 * 2))[:, None] * grown
        moved = moved + (size * np.sin(angle))[..., None] * across + (size * np.sin(1.3 * angle + 2))[..., None] * out
    return moved


def clump(curves: Floats, middles: Floats, pull: float, start: float) -> Floats:
    """Curves drawn towards the `middles` (n, k, 3) of their clumps, from the share `start` of their length on."""
    t = np.linspace(0, 1, curves.shape[1], dtype=np.float32)
    share = pull * ramp(t, start - 0.3, start + 0.5).astype(np.float32)
    return curves + share[None, :, None] * (middles - curves)


def plait(middles: Floats, count: int, rope: float, plaited: bool, rng: np.random.Generator) -> Floats:
    """Strands around the middle curves (m, k, 3): `count` each, in a rope of `rope` mm, plaited or felted."""
    k = middles.shape[1]
    reference = unit(rng.normal(0, 1, (len(middles), 3)).astype(np.float32))
    across, out = frames(middles, reference)
    length = arc_lengths(middles)[:, None]
    shape = (len(middles), count, 1)
    turn, radius = rng.uniform(0, 2 * np.pi, shape), np.sqrt(rng.uniform(0.05, 1, shape))
    if plaited:
        third = (np.arange(count) % 3 * 2 * np.pi / 3)[None, :, None]
        angle = 2 * np.pi * length / (5.5 * rope) + third
        x = 0.75 * np.cos(angle) + 0.45 * radius * np.cos(turn)
        y = 0.42 * np.sin(2 * angle) + 0.45 * radius * np.sin(turn)
    else:
        angle = turn + length / (2.2 * rope) * (0.5 + 0.3 * rng.normal(size=shape))
        x, y = radius * np.cos(angle), radius * np.sin(angle)
    thin = rope * MM * (1 - 0.55 * np.linspace(0, 1, k) ** 4)
    moved = middles[:, None] + (thin * x)[..., None] * across[:, None] + (thin * y)[..., None] * out[:, None]
    return moved.reshape(-1, k, 3).astype(np.float32)


def gather(ground: Ground, kept: NDArray[np.int32], solid: Solid, goal: Floats, volume: float) -> Floats:
    """Strands (kept, STEPS, 3) drawn tightly over the head to `goal` (3,) or (kept, 3)."""
    start = ground.places[kept]
    centre = np.array([0, 0.06, -0.01], np.float32)
    a, b = start - centre, np.broadcast_to(goal, start.shape) - centre
    t = np.linspace(0, 1, STEPS, dtype=np.float32)[None, :, None]
    cosine = dot(unit(a), unit(b)).clip(-0.999, 0.999)
    angle = np.arccos(cosine)[:, None, None]
    slerp = (np.sin((1 - t) * angle) * unit(a)[:, None] + np.sin(t * angle) * unit(b)[:, None]) / np.sin(angle)
    radii = np.linalg.norm(a, axis=1)[:, None, None] * (1 - t) + np.linalg.norm(b, axis=1)[:, None, None] * t
    points = (centre + slerp * radii).astype(np.float32)
    off = (0.8 + (volume * (0.3 + ground.random[kept, 2]))[:, None] * np.sin(np.pi * t[..., 0]).clip(0) ** 0.6) * MM
    rise = smooth(t[..., 0], 0.8, 1.0)
    for _ in range(2):
        distance, outward = solid.look(points)
        wanted = np.where(rise > 0, np.maximum(off, distance * rise), off)
        points = points + (wanted - distance)[..., None] * outward
    points[:, 0] = start
    return points
