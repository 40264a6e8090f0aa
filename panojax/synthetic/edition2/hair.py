"""The strands of one head: loose, tied or roped hair, and beards."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from panojax.synthetic import paint
from panojax.synthetic.edition2 import growth, scalp
from panojax.synthetic.edition2.growth import MM, STEPS, Ground, Landmarks, Strands, unit
from panojax.synthetic.edition2.people import Face, Hair, Style
from panojax.synthetic.edition2.solid import Solid
from panojax.synthetic.meshes import Floats

POINTS = 290_000  # of all strands of a head: what more would need is spread over fewer, wider ones
TAIL_STRANDS = 3200
STRAY = 2.2  # power of a random number that says how far a strand lies off its guides: few are strays
Rng = np.random.Generator


def points_per_strand(style: Style, longest: float) -> int:
    """How many points a strand needs to follow its waves."""
    needed = 5 + longest / 22
    if style.wave > 0:
        needed = max(needed, 4.6 * longest / style.wave_length)
    if style.curl > 0:
        needed = max(needed, 4.4 * longest / style.curl_length)
    return int(np.clip(needed, 4, 34))


def tints(hair: Hair, clumps: NDArray[np.int32], rng: Rng) -> Floats:
    """Factors (n, 3) on the colour of each strand: its own lightness and its lock's, a little hue."""
    own = rng.normal(0, hair.variation, len(clumps))
    lock = rng.normal(0, hair.streaks, int(clumps.max(initial=0)) + 1)[clumps]
    hue = rng.normal(0, 0.05, len(clumps))[:, None] * np.array([1.0, 0.1, -0.9])
    return np.exp((own + lock)[:, None] + hue).clip(0.3, 2.6).astype(np.float32)


def cut_shares(style: Style, curves: Floats, fringe: NDArray[np.bool_], marks: Landmarks, loose: Floats) -> Floats:
    """Shares (n,) of each curve's points that the cut leaves; `loose` (n, 2) in 0..1."""
    ends = 1 - style.layers * loose[:, 0] ** 1.5
    tilt = style.level_tilt * np.minimum(marks.ear[2] - curves[:, -1, 2], 0.25)
    height = marks.chin - (style.level + style.ragged * (loose[:, 1] - 0.5)) * MM + np.maximum(tilt, -0.02)
    ends = np.minimum(ends, growth.level_cut(curves, height.astype(np.float32)))
    if fringe.any():
        open_ = style.fringe_open * np.abs(curves[fringe, -1, 0] / (50 * MM))
        level = marks.eyes + (style.fringe_level + 5 * (loose[fringe, 1] - 0.5) - open_) * MM
        ends[fringe] = np.minimum(ends[fringe], growth.level_cut(curves[fringe], level.astype(np.float32)))
    return ends.astype(np.float32)


def loose_hair(style: Style, ground: Ground, kept: NDArray[np.int32], solid: Solid, marks: Landmarks) -> Floats:
    """Strands (kept, points, 3) that fall as they are combed; ropes, where the style has them."""
    lengths = growth.root_lengths(ground, style)
    at = ground.roots.guides
    shelf = (0.25 + 0.75 * ground.top[at]) * style.volume
    if style.parted > 0.5:  # hair is flat where it is parted
        shelf *= 0.35 + 0.65 * growth.smooth(np.abs(ground.places[at, 0] - style.part * MM), 4 * MM, 45 * MM)
    shelf = np.where(growth.fringe_of(ground, style)[at], np.minimum(0.35 * shelf, 4.0), shelf)
    guides = growth.grow(style, ground, solid, marks, lengths[at], shelf)
    everyone = np.arange(len(lengths), dtype=np.int32)
    flow = growth.comb(style, ground, everyone, marks)
    groups, fringe = flow.groups(), flow.fringe.copy()
    nearby = groups[at][ground.roots.mixed]
    lone = ~(nearby == groups[:, None]).any(axis=1)  # no guide of their group is near: they join the nearest one
    groups[lone], fringe[lone] = nearby[lone, 0], flow.fringe[at][ground.roots.mixed[lone, 0]]
    centres, member = ground.roots.clumps[style.clumps]
    rng = np.random.default_rng(style.seed + 9)

    def laid(which: NDArray[np.int32], spread: float) -> tuple[Floats, Floats]:
        curves = growth.mix(ground, which, guides, groups)
        loose = ground.random[which]
        ends = cut_shares(style, curves, fringe[which], marks, loose[:, 1:3])
        t = np.linspace(0, 1, STEPS, dtype=np.float32)
        off = style.thickness * spread * (loose[:, 3:] ** STRAY) * np.minimum(4 * t, 1)[None]
        _, outward = solid.look(curves)
        return curves + (off * MM)[..., None].astype(np.float32) * outward, ends

    longest = float(np.percentile(lengths[kept], 90)) if len(kept) else 1.0
    shown = min(longest, 260.0 + style.level) if style.level < 500 else longest
    count = points_per_strand(style, shown)
    if style.rope > 0:
        ropes = centres[np.isin(centres, kept) | (rng.random(len(centres)) < 2)]
        ropes = ropes[growth_mask(ground, style)[ropes]]
        curves, ends = laid(ropes, 1.0)
        middles = growth.resample(curves, ends, max(count, 24))
        middles = solid.push(middles, np.float32(style.rope * 0.9 * MM))
        return growth.plait(middles, max(style.strands // max(len(ropes), 1), 24), style.rope, style.plaited, rng)
    room = POINTS // count
    kept_now = kept[:room]
    curves, ends = laid(kept_now, 1.0)
    curves = growth.resample(curves, ends, count)
    if style.clump > 0 and longest > 8:
        middle_curves, middle_ends = laid(centres, 0.5)
        middles = growth.resample(middle_curves, middle_ends, count)[member[kept_now]]
        together = (groups[centres][member[kept_now]] == groups[kept_now])[:, None, None]
        near = np.abs(middles[:, :1] - curves[:, :1]).max(axis=-1, keepdims=True) < 25 * MM
        pull = style.clump if longest > 45 or style.lift > 55 else min(style.clump, 0.35)
        curves = growth.clump(curves, np.where(together & near, middles, curves), pull, style.clump_start)
    phase = rng.uniform(0, 2 * np.pi, len(centres)).astype(np.float32)[member[kept_now]]
    phase = phase + 0.7 * (ground.random[kept_now, 2] - 0.5)
    curves = growth.curl(curves, style, phase.astype(np.float32), ground.random[kept_now, 1], ground.outward[kept_now])
    return outside(curves, solid)


def growth_mask(ground: Ground, style: Style) -> NDArray[np.bool_]:
    """Which roots of the pool carry hair."""
    density = growth.hair_density(ground.roots.rest, style) * style.density
    return density > 0.05 + 0.9 * ground.random[:, 0]


def outside(curves: Floats, solid: Solid, offset: float = 0.5) -> Floats:
    """Curves (n, k, 3) pushed out of the head, as far as their own roots are from what `solid` takes for it."""
    distance, outward = solid.look(curves)
    fades = np.linspace(1, 0, curves.shape[1], dtype=np.float32) ** 2
    wanted = np.float32(offset * MM) + np.minimum(distance[:, :1], 0) * fades
    moved = curves + np.maximum(wanted - distance, 0)[..., None] * outward
    moved[:, 0] = curves[:, 0]
    return moved


def gather_point(name: str, solid: Solid, marks: Landmarks, side: float) -> tuple[Floats, Floats]:
    """Where hair is tied (3,), 6 mm off the head, and the direction out of the head there."""
    aim = {
        "high": (0.0, 0.75, -0.70),
        "mid": (0.0, 0.30, -1.0),
        "low": (0.0, -0.32, -1.0),
        "top": (0.0, 1.0, -0.12),
        "half": (0.0, 0.55, -0.9),
        "side": (0.80, -0.30, -0.62),
        "sides": (0.80, -0.15, -0.60),
        "low_sides": (0.62, -0.52, -0.70),
        "horns": (0.62, 0.85, -0.15),
        "rows": (0.0, 0.0, -1.0),
    }[name]
    direction = unit(np.array(aim, np.float32) * np.array([side, 1, 1], np.float32))
    point = np.array([0, 0.06, -0.01], np.float32) + 0.2 * direction
    for _ in range(3):
        distance, outward = solid.look(point[None])
        point = point + (6 * MM - distance[0]) * outward[0]
    return point, outward[0]


def hanging_curve(start: Floats, direction: Floats, length: float, solid: Solid, off: float, weight: float) -> Floats:
    """A curve (STEPS, 3) that leaves `start` along `direction` and sags, `off` mm outside the head."""
    step = length * MM / (STEPS - 1)
    points, heading = [start], direction
    for _ in range(STEPS - 1):
        heading = unit(heading - growth.UP * min(weight * step / (16 * MM), 0.8))
        moved = solid.push((points[-1] + step * heading)[None], np.float32(off * MM))[0]
        heading = unit(moved - points[-1])
        points.append(points[-1] + step * heading)
    return np.stack(points).astype(np.float32)


def tail_strands(style: Style, goal: Floats, outward: Floats, solid: Solid, rng: Rng) -> Floats:
    """What hangs from a tie or is wound about it: strands (n, k, 3)."""
    count = TAIL_STRANDS
    if style.tail == "bun":
        return bun(style, goal, outward, rng, count)
    rise = 0.5 if style.gather in ("high", "top") else 0.15
    direction = unit(outward + rise * growth.UP)
    thick = 11.0 if style.tail == "braid" else 9.0
    middle = hanging_curve(goal, direction, style.tail_length, solid, thick + 2, 0.7)
    if style.tail == "braid":
        curves = growth.plait(growth.resample(middle[None], np.ones(1), 34), 1300, 12.0, True, rng)
        return outside(curves, solid)
    reference = unit(rng.normal(size=(1, 3)).astype(np.float32))
    across, out = growth.frames(middle[None], reference)
    t = np.linspace(0, 1, STEPS, dtype=np.float32)
    gain = {"straight": 1.0, "soft": 1.1, "wavy": 1.4, "curly": 2.0, "ringlets": 2.0, "coily": 2.6}[style.texture]
    wide = thick * MM * (0.75 + gain * 1.3 * np.sin(np.pi * np.minimum(t * 1.15, 1) ** 0.7) * (1 - 0.4 * t))
    if style.tail == "ropes":
        number = 34
        turn, radius = rng.uniform(0, 2 * np.pi, (number, 1)), np.sqrt(rng.random((number, 1)))
        shift = (radius * wide * np.cos(turn))[..., None] * across + (radius * wide * np.sin(turn))[..., None] * out
        middles = outside((middle[None] + shift).astype(np.float32), solid, 3.0)
        ends = 1 - 0.25 * rng.random(number)
        return growth.plait(growth.resample(middles, ends.astype(np.float32), 30), 60, style.rope, style.plaited, rng)
    turn, radius = rng.uniform(0, 2 * np.pi, (count, 1)), np.sqrt(rng.random((count, 1)))
    shift = (radius * wide * np.cos(turn))[..., None] * across + (radius * wide * np.sin(turn))[..., None] * out
    ends = (1 - 0.3 * rng.random(count) ** 2).astype(np.float32)
    points = points_per_strand(style, style.tail_length)
    curves = growth.resample((middle[None] + shift).astype(np.float32), ends, points)
    phase = (np.floor(turn[:, 0] * 6) * 2.4 + np.floor(radius[:, 0] * 4) * 1.1).astype(np.float32)
    curves = growth.curl(curves, style, phase, rng.random(count, np.float32), np.broadcast_to(reference, (count, 3)))
    return outside(curves, solid)


def bun(style: Style, goal: Floats, outward: Floats, rng: Rng, count: int) -> Floats:
    """Hair wound to a ball of `tail_length` mm about a tie."""
    size = style.tail_length * MM
    across = unit(np.cross(outward, growth.UP + 0.3 * growth.LEFT).astype(np.float32))
    other = np.cross(across, outward)
    t = np.linspace(0, 1, 14)[None]
    turn = rng.uniform(0, 2 * np.pi, (count, 1)) + t * rng.uniform(1.2, 3.0, (count, 1))
    latitude = rng.uniform(-0.9, 1.2, (count, 1)) + 0.25 * np.sin(3 * t + 6 * rng.random((count, 1)))
    radius = size * (1 - 0.18 * rng.random((count, 1)) ** 2 + 0.05 * np.sin(5 * latitude + 2 * turn))
    flat = np.cos(latitude) * radius
    points = (flat * np.cos(turn))[..., None] * across + (flat * np.sin(turn))[..., None] * other
    points = points + (0.8 * np.sin(latitude) * radius + 0.62 * size)[..., None] * outward
    curves = (goal + points).astype(np.float32)
    phase = (latitude[:, 0] * 9).astype(np.float32)
    calm = replace(style, curl=0.5 * style.curl, wave=0.5 * style.wave, settle=5.0)
    return growth.curl(curves, calm, phase, rng.random(count, np.float32), np.broadcast_to(outward, (count, 3)))


def tied_hair(style: Style, ground: Ground, kept: NDArray[np.int32], solid: Solid, marks: Landmarks) -> list[Floats]:
    """Strands of hair that is tied: what is drawn to the ties, what hangs from them, and what stays loose."""
    rng = np.random.default_rng(style.seed + 11)
    everyone = np.arange(len(ground.top), dtype=np.int32)
    flow = growth.comb(style, ground, everyone, marks)
    free = flow.fringe
    if style.gather == "half":
        free = free | (ground.above < 48) & (ground.top < 0.75)
    # Hair before the ears is too short to be tied: it would lie over them.
    burns = (ground.azimuth > 58) & (ground.azimuth < 98) & (ground.above < 14) & ~free
    loose, tied = kept[free[kept]], kept[~free[kept] & ~burns[kept]]
    both = style.gather in ("sides", "low_sides", "horns")
    sides = (1.0, -1.0) if both else (1.0 if style.seed % 2 else -1.0,)
    pieces: list[Floats] = []
    if style.gather == "rows":
        return rows(style, ground, solid, rng)
    for side in sides:
        goal, outward = gather_point(style.gather, solid, marks, side)
        mine = tied[flow.side[tied] == side] if both else tied
        mine = mine[: POINTS // STEPS // 2]
        if style.rope > 0:
            centres = ground.roots.clumps[style.clumps][0]
            centres = centres[growth_mask(ground, style)[centres]]
            ropes = growth.gather(ground, centres, solid, goal, style.volume)
            ropes = solid.push(ropes, np.float32(0.8 * style.rope * MM))
            pieces.append(growth.plait(ropes, 50, style.rope * 0.8, style.plaited, rng))
        else:
            inner = (goal + rng.normal(0, 3 * MM, (len(mine), 3))).astype(np.float32)
            curves = growth.gather(ground, mine, solid, inner, style.volume)
            small = replace(style, curl=0.3 * style.curl, wave=0.4 * style.wave)
            phase = ground.random[mine, 2] * 3
            curves = growth.curl(curves, small, phase, ground.random[mine, 1], ground.outward[mine])
            pieces.append(outside(curves, solid))
        pieces.append(tail_strands(style, goal, outward, solid, rng))
    if len(loose) > 20:
        rest = style if style.gather == "half" else replace(style, side=130.0, back=130.0)
        pieces.append(loose_hair(rest, ground, loose, solid, marks))
    return pieces


def rows(style: Style, ground: Ground, solid: Solid, rng: Rng) -> list[Floats]:
    """Cornrows: braids that lie on the head from the forehead to the nape, and hang on from there."""
    number = int(rng.integers(8, 14))
    centre = np.array([0, 0.06, -0.01], np.float32)
    carries = ground.places[growth_mask(ground, style)][:3000]
    pieces = []
    for lean in np.radians(np.linspace(-86, 86, number)):
        theta = np.radians(np.linspace(25, 172, 44))
        arc = np.stack([np.sin(lean) * np.sin(theta), np.cos(lean) * np.sin(theta), np.cos(theta)], 1)
        points = (centre + 0.2 * arc).astype(np.float32)
        for _ in range(3):
            distance, outward = solid.look(points)
            points = points + (0.7 * style.rope * MM - distance)[:, None] * outward
        near = np.sqrt(((points[:, None] - carries[None]) ** 2).sum(-1)).min(axis=1) < 9 * MM
        if near.sum() < 8:
            continue
        first, last = near.argmax(), len(near) - near[::-1].argmax()
        line = points[first:last]
        if style.tail_length > 60:
            heading = unit(line[-1] - line[-3])
            hanging = hanging_curve(line[-1], heading, style.tail_length * rng.uniform(0.7, 1), solid, style.rope, 0.9)
            line = np.concatenate([line, hanging[1:]])
        steps = len(line) - 1
        wanted = np.linspace(0, steps, 40)
        low = np.minimum(wanted.astype(int), steps - 1)
        middle = line[low] + (wanted - low)[:, None].astype(np.float32) * (line[low + 1] - line[low])
        pieces.append(growth.plait(middle[None].astype(np.float32), 150, style.rope, True, rng))
    return pieces


def head_hair(hair: Hair, ground: Ground, solid: Solid, marks: Landmarks, hidden: NDArray[np.bool_]) -> list[Strands]:
    """The strands of the head's hair; `hidden` roots (n,), below a hat, carry none."""
    style = hair.form
    grows = growth_mask(ground, style) & ~hidden
    kept = np.flatnonzero(grows[: int(style.strands * 1.1)]).astype(np.int32)
    if len(kept) < 50 or hair.style == "bald":
        return []
    pieces = tied_hair(style, ground, kept, solid, marks) if style.gather else [
        loose_hair(style, ground, kept, solid, marks)
    ]  # fmt: skip
    rng = np.random.default_rng(style.seed + 13)
    strands = []
    for curves in pieces:
        if not len(curves):
            continue
        locks = np.arange(len(curves)) // 60 if style.rope else None
        if locks is None:
            member = ground.roots.clumps[400][1]
            locks = member[kept[: len(curves)]] if len(curves) <= len(kept) else rng.integers(0, 400, len(curves))
        fewer = len(kept) / len(curves) if len(curves) < 0.8 * len(kept) and not style.rope else 1.0
        width = style.width * min(fewer**0.4, 1.35)
        taper = 0.8 if style.rope else 0.45
        fine = rng.uniform(0.75, 1.25, len(curves)).astype(np.float32)
        if len(curves) <= len(kept) and not style.rope:
            fine *= 1.1 - 0.6 * ground.random[kept[: len(curves)], 3] ** 2  # strays are single hairs
        strands.append(Strands("hair", curves, width * MM, tints(hair, np.asarray(locks), rng), fine, taper))
    return strands


def beard_strands(assets: Path, face: Face, points: Floats, normals: Floats, solid: Solid) -> list[Strands]:
    """A beard's hairs, grown one by one: down and outwards, away from the philtrum above the lips."""
    if face.beard_length <= 0:
        return []
    roots = scalp.beard_roots(assets)
    rng = np.random.default_rng(face.beard_seed)
    rest = roots.rest
    weights = roots.on(paint.paint_weights(assets, hairline=0.0, beard_cover=face.beard_cover)[:, 1:2])[:, 0]
    azimuth = paint.azimuth_of(rest)
    above_lip = growth.smooth(rest[:, 1], 6.55, 6.65) * (1 - growth.smooth(azimuth, 22, 30))
    if face.beard == "moustache":
        weights = weights * (above_lip > 0.5)
    if face.beard == "circle":
        weights = weights * (azimuth < 30)
    ragged = 0.2 * scalp.smooth_noise(rest, 0.15, face.beard_seed)
    mine = np.flatnonzero(weights + ragged > 0.25 + 0.6 * rng.random(len(rest)))
    start, outward = roots.on(points)[mine].astype(np.float32), unit(roots.on(normals)[mine].astype(np.float32))
    low = growth.smooth(-rest[mine, 1], -6.75, -6.2)
    chin = low * (1 - growth.smooth(azimuth[mine], 40, 80))
    lip = above_lip[mine]
    length = face.beard_length * (0.35 + 0.65 * chin) * (0.7 + 0.6 * rng.random(len(mine)))
    length = np.where(lip > 0.5, np.minimum(length, 6 + 0.15 * face.beard_length), length)
    side = np.sign(start[:, :1]) * growth.LEFT
    flow = -growth.UP + lip[:, None] * 1.3 * side + 0.25 * (1 - lip[:, None]) * side * (azimuth[mine, None] > 40)
    flow = unit(flow.astype(np.float32) + rng.normal(0, 0.13, start.shape).astype(np.float32))
    count = int(np.clip(4 + face.beard_length / 8, 4, 14))
    step = (length * MM / (count - 1))[:, None].astype(np.float32)
    lift = (0.35 + 0.25 * rng.random((len(mine), 1))).astype(np.float32)
    heading = unit(growth.along_surface(flow, outward) + lift * outward)
    error = solid.look(start)[0]
    line, point = [start], start
    for i in range(1, count):
        heading = unit(heading + 0.35 * flow + rng.normal(0, 0.07, start.shape).astype(np.float32))
        moved = solid.push(point + step * heading, (error * (1 - i / count) + 0.5 * MM).astype(np.float32))
        line.append(moved)
        point = moved
    curves = np.stack(line, axis=1)
    if face.beard_length > 5:
        centres, member = roots.clumps[400]
        start_of = np.full(len(rest), -1)
        start_of[mine] = np.arange(len(mine))
        leader = start_of[centres[member[mine]]]
        curves = growth.clump(curves, np.where((leader >= 0)[:, None, None], curves[leader], curves), 0.45, 0.5)
    tint = np.exp(rng.normal(0, 0.28, (len(mine), 1)) + rng.normal(0, 0.05, (len(mine), 3))).astype(np.float32)
    return [Strands("beard", curves, 0.42 * MM, tint, None, 0.4)]
