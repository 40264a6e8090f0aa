"""Clothes over the shoulders: shirts, collars with ties, jackets, hoods and scarves, fitted to a body."""

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import gaussian_filter1d

from panojax.synthetic.edition2 import shapes
from panojax.synthetic.edition2.growth import MM, unit
from panojax.synthetic.edition2.people import Clothes
from panojax.synthetic.edition2.shapes import mesh_part, sheet_part, tube
from panojax.synthetic.edition2.solid import Solid
from panojax.synthetic.identity import Colour
from panojax.synthetic.meshes import Floats, vertex_normals
from panojax.synthetic.scene import NECK_FOOT, UNITS_PER_DECIMETRE, Part, body_part, lower_bound, neckline
from panojax.synthetic.shape import read_body

if TYPE_CHECKING:
    from panojax.synthetic.edition2.scene import Body

GARMENTS = ("shirt", "collar", "suit", "jacket", "hoodie", "scarf", "turtleneck")
PATTERNS = ("plain", "melange", "stripes", "checks", "dots")
NECK_Z = -0.035  # of the neck's axis


def fabric(
    colour: Colour, second: Colour, pattern: str = "plain", period: float = 20.0, bump: float = 0.5
) -> dict[str, Any]:
    """Uniforms of cloth."""
    return {
        "colour": colour,
        "second": second,
        "finish": (float(PATTERNS.index(pattern)), 1.0 / (period * MM), bump, 0.0),
    }


def torso(body: "Body", weights: Floats, off: float, uniforms: dict[str, Any]) -> Part:
    """Cloth over chest and shoulders, `off` mm outside the body."""
    tights = read_body(body.assets).groups["helper-tights"]
    normals = vertex_normals(body.points, tights.vertices[tights.triangles])
    points = (body.points + normals * (off * MM)).astype(np.float32)
    surface = lower_bound(tights, points, body.lowest)
    picture = np.full((1, 1, 4), 255, np.uint8)
    return body_part(
        surface, points, normals, body.rest, weights, kind="cloth", label="clothes", picture=picture, uniforms=uniforms
    )


def collar_parts(
    solid: Solid, foot: float, colour: Colour, off: float, rng: np.random.Generator, stand: float
) -> list[Part]:
    """A shirt's collar: a band about the neck that folds over, open in front."""
    gap = np.radians(rng.uniform(6, 22))
    azimuth = np.linspace(gap, 2 * np.pi - gap, 60).astype(np.float32)
    back = 0.5 - 0.5 * np.cos(azimuth)  # 0 in front, 1 behind
    low = foot - 8 * MM + 22 * MM * back
    high = low + (stand * 0.75 + 0.25 * stand * back) * MM
    rows = []
    for share, away in ((0.0, off), (0.5, off), (1.0, off - 1)):
        heights = low + share * (high - low)
        rows.append(ring_at(solid, heights, azimuth, away * MM))
    top, leaf = rows[-1], []
    points_down = 16 * np.exp(-(((np.minimum(azimuth, 2 * np.pi - azimuth) - gap) / 0.33) ** 2)) * rng.uniform(0.6, 1.8)
    for share in (0.12, 0.4, 0.7, 1.0):
        heights = high - share * (stand * 0.95 + points_down) * MM
        leaf.append(ring_at(solid, heights, azimuth, (off + 2 + 4.5 * share) * MM))
    grid = np.stack([*rows, top + np.array([0, 1.5 * MM, 0]), *leaf])
    plain = fabric(colour, colour, bump=0.2)
    return [sheet_part(gaussian_filter1d(grid, 1.0, axis=1, mode="nearest"), "cloth", "clothes", plain)]


def ring_at(solid: Solid, heights: Floats, azimuth: Floats, off: float) -> Floats:
    """Points (columns, 3) around the neck, one at each height and azimuth."""
    directions = np.stack([np.sin(azimuth), np.zeros_like(azimuth), np.cos(azimuth)], -1).astype(np.float32)
    starts = np.stack([np.zeros_like(azimuth), heights, np.full_like(azimuth, NECK_Z)], -1).astype(np.float32)
    reach = shapes.reach_out(starts, directions, solid, np.float32(off), 0.10)
    return starts + reach[:, None] * directions


def tie_parts(solid: Solid, foot: float, colour: Colour, off: float) -> list[Part]:
    """A tie: its knot between the collar's points, and what hangs from it."""
    heights = foot + np.linspace(2, -110, 16) * MM
    wide = np.interp(np.arange(16), [0, 2, 3, 5, 15], [11, 8, 7, 11, 32])
    rows = []
    for height, width in zip(heights, wide):
        across = np.linspace(-1, 1, 7) * width * MM
        start = np.stack([across, np.full(7, height), np.full(7, NECK_Z)], -1).astype(np.float32)
        ahead = np.broadcast_to(np.array([0, 0, 1], np.float32), start.shape)
        bulge = 3.5 if height > foot - 14 * MM else 1.5
        reach = shapes.reach_out(start, ahead, solid, np.float32((off + bulge) * MM), 0.12)
        rows.append(start + reach[:, None] * ahead)
    grid = gaussian_filter1d(np.stack(rows), 1.0, axis=0, mode="nearest")
    return [sheet_part(grid, "cloth", "clothes", fabric(colour, colour, bump=0.15))]


def roll_part(solid: Solid, foot: float, shirt: Clothes, rng: np.random.Generator, kind: str) -> Part:
    """A thick roll about the neck: a scarf, or a hood that lies on the shoulders."""
    azimuth = np.linspace(0, 2 * np.pi, 80, endpoint=False).astype(np.float32)
    back = 0.5 - 0.5 * np.cos(azimuth)
    if kind == "scarf":
        heights = foot + (6 + 26 * back + 5 * np.sin(2 * azimuth + rng.uniform(0, 6))) * MM
        radius = (19 + 4 * np.sin(3 * azimuth + rng.uniform(0, 6)) + 3 * np.sin(7 * azimuth)) * MM
    else:
        heights = foot + (-22 + 48 * back) * MM
        radius = (9 + 17 * back**2 + 1.5 * np.sin(5 * azimuth)) * MM
    ring = ring_at(solid, heights.astype(np.float32), azimuth, 0.0)
    out = unit((ring - np.array([0, 0, NECK_Z], np.float32)) * np.array([1, 0, 1], np.float32))
    path = ring + out * (0.9 * radius[:, None])
    path = gaussian_filter1d(path, 2.0, axis=0, mode="wrap")
    points, triangles = tube(path.astype(np.float32), radius, sides=20, closed=True)
    middle = np.repeat(path, 20, axis=0)
    around = points - middle
    lean = np.arctan2(around[:, 1], np.linalg.norm(around[:, [0, 2]], axis=1) + 1e-6)
    fold = 1 + 0.13 * np.sin(6 * lean + 3 * np.repeat(azimuth, 20))
    points = (middle + around * fold[:, None]).astype(np.float32)
    colours = shirt.colours if kind == "hood" else (shirt.tie, shirt.inner)
    pattern = "plain" if kind == "hood" else shirt.pattern
    return mesh_part(points, triangles, "cloth", "clothes", fabric(*colours, pattern, shirt.period, 0.9))


def lapel_parts(solid: Solid, foot: float, colour: Colour, off: float, rng: np.random.Generator) -> list[Part]:
    """A jacket's collar behind the neck, running into lapels that meet on the chest."""
    azimuth = np.linspace(np.radians(14), 2 * np.pi - np.radians(14), 70).astype(np.float32)
    back = 0.5 - 0.5 * np.cos(azimuth)
    aside = np.degrees(np.minimum(azimuth, 2 * np.pi - azimuth))
    rise = np.interp(aside, [14, 30, 60, 100, 180], [-75, -38, -4, 16, 24])
    wide = np.interp(aside, [14, 30, 48, 70, 180], [30, 34, 26, 22, 24])
    rows = []
    for share in (0.0, 0.25, 0.6, 1.0):
        heights = foot + (rise - share * wide * (0.35 + 0.65 * back)) * MM
        turned = azimuth + np.sign(np.pi - azimuth) * share * np.radians(13) * (1 - back)
        away = (off + 3 - 2 * abs(share - 0.4)) * MM
        rows.append(ring_at(solid, heights.astype(np.float32), turned.astype(np.float32), away))
    grid = gaussian_filter1d(np.stack(rows), 1.2, axis=1, mode="nearest")
    return [sheet_part(grid, "cloth", "clothes", fabric(colour, colour, bump=0.25))]


def clothes_parts(body: "Body", shirt: Clothes, solid: Solid, weights: Floats) -> list[Part]:
    """All cloth of a garment. `solid`: the body without clothes."""
    rng = np.random.default_rng(shirt.seed)
    foot = body.marks.chin - NECK_FOOT * UNITS_PER_DECIMETRE
    garment, loose = shirt.garment, shirt.looseness
    outer = fabric(*shirt.colours, shirt.pattern, shirt.period)
    inner = fabric(shirt.inner, shirt.inner, bump=0.3)
    cuts = neckline(shirt, foot)  # type: ignore[arg-type]
    crew = (foot + 0.035, 0.5, -0.42, 0.02)
    if garment in ("suit", "jacket"):
        low = (foot - 0.055, 9.0, -0.55, 0.02)
        parts = [torso(body, weights, loose + 5, outer | {"cuts": low})]
        parts += [torso(body, weights, loose, inner | {"cuts": crew})]
        parts += lapel_parts(solid, foot, shirt.colours[0], loose + 7, rng)
        if garment == "suit":
            parts += collar_parts(solid, foot, shirt.inner, loose + 1, rng, rng.uniform(26, 36))
            if rng.random() < 0.6:
                parts += tie_parts(solid, foot, shirt.tie, loose + 1.5)
        return parts
    if garment == "collar":
        stand = rng.uniform(22, 36)
        return [
            torso(body, weights, loose, outer | {"cuts": crew}),
            *collar_parts(solid, foot, shirt.colours[0] if rng.random() < 0.7 else shirt.inner, loose + 1, rng, stand),
        ]
    if garment == "hoodie":
        return [torso(body, weights, loose + 2, outer | {"cuts": crew}), roll_part(solid, foot, shirt, rng, "hood")]
    if garment == "scarf":
        return [torso(body, weights, loose, outer | {"cuts": crew}), roll_part(solid, foot, shirt, rng, "scarf")]
    if garment == "turtleneck":
        azimuth = np.linspace(0, 2 * np.pi, 64, endpoint=False).astype(np.float32)
        back = 0.5 - 0.5 * np.cos(azimuth)
        low, high = foot - 30 * MM + 20 * MM * back, foot + (rng.uniform(24, 40) + 12 * back) * MM
        # Up along the neck, over the edge, and down again outside: shares of the height, mm off the neck.
        profile = (0, 0.5), (0.3, 0.5), (0.7, 0.5), (1.0, 0.5), (1.03, 2.5), (0.8, 4.0), (0.45, 4.5), (0.3, 3.5)
        rows = [
            ring_at(solid, (low + share * (high - low)).astype(np.float32), azimuth, (loose + away) * MM)
            for share, away in profile
        ]
        second = tuple(0.8 * c for c in shirt.colours[0])
        ribbed = {"colour": shirt.colours[0], "second": second, "finish": (5.0, 90.0, 0.2, 0.0)}
        grid = gaussian_filter1d(np.stack(rows), 1.0, axis=1, mode="wrap")
        return [
            torso(body, weights, loose, fabric(shirt.colours[0], shirt.colours[0]) | {"cuts": crew}),
            sheet_part(grid, "cloth", "clothes", ribbed, closed=True),
        ]
    return [torso(body, weights, loose, outer | {"cuts": cuts})]
