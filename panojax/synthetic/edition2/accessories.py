"""Glasses, hats, scarves on the head and earrings, fitted to a head."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from panojax.synthetic.edition2 import shapes
from panojax.synthetic.edition2.growth import MM, Ground, Landmarks, smooth, unit
from panojax.synthetic.edition2.people import Wear
from panojax.synthetic.edition2.shapes import CENTRE, joined, mesh_part, sheet_part, tube
from panojax.synthetic.edition2.solid import Solid
from panojax.synthetic.meshes import Floats
from panojax.synthetic.scene import Part

if TYPE_CHECKING:
    from panojax.synthetic.edition2.scene import Body

# Frames: half width and height in mm, roundness (2: an ellipse), how much narrower below, rise of the outer corner,
# radius of the rim in mm, which part of the rim there is.
FRAMES: dict[str, tuple[float, float, float, float, float, float, str]] = {
    "round": (23.5, 22.0, 2.0, 0.0, 0.0, 0.9, "full"),
    "oval": (25.0, 18.0, 2.2, 0.0, 0.0, 0.9, "full"),
    "rectangle": (26.5, 16.0, 4.5, 0.04, 0.0, 1.5, "full"),
    "square": (26.0, 20.5, 4.0, 0.06, 0.0, 2.1, "full"),
    "wayfarer": (26.5, 20.0, 3.2, 0.14, 2.0, 2.3, "full"),
    "cat": (26.5, 18.5, 2.8, 0.12, 5.0, 1.9, "full"),
    "aviator": (27.5, 23.5, 2.5, 0.16, -1.0, 0.8, "full"),
    "half": (26.5, 16.5, 3.6, 0.04, 0.0, 1.1, "upper"),
    "rimless": (25.5, 17.0, 3.0, 0.03, 0.0, 0.0, "none"),
    "large": (29.0, 25.0, 2.6, 0.05, 1.0, 1.7, "full"),
}
HATS = (
    "beanie", "slouch", "cap", "cap_back", "bucket", "fedora", "sun", "beret", "turban", "hijab", "headscarf",
    "headband",
)  # fmt: skip
COVERS = ("hijab",)  # what leaves no hair to be seen
EARRINGS = ("stud", "hoop", "drop")


def outline(frame: str, count: int = 40) -> Floats:
    """Points (count, 2) of a lens's rim in mm: x outwards from the lens's middle, y up."""
    wide, high, power, narrow, rise, _, _ = FRAMES[frame]
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    c, s = np.cos(angle), np.sin(angle)
    x = np.sign(c) * np.abs(c) ** (2 / power) * wide
    y = np.sign(s) * np.abs(s) ** (2 / power) * high
    x = x * (1 + narrow * y / high)
    y = y + rise * np.clip(x / wide, 0, 1) ** 2 * (y > -0.3 * high)
    return np.stack([x, y], axis=1).astype(np.float32)


def glasses_parts(body: "Body", wear: Wear, eyes: tuple[Floats, Floats], solid: Solid) -> list[Part]:
    """Frame and lenses before the eyes, whose centres `eyes` are (left, right)."""
    frame = wear.glasses
    wide, _, _, _, _, rim, which = FRAMES[frame]
    flat = outline(frame) * MM
    middle = 0.5 * (eyes[0] + eyes[1])
    apart = max(0.5 * float(eyes[0][0] - eyes[1][0]), (wide + 7) * MM)
    tilt, wrap = np.radians(8.0), np.radians(5.0)

    def placed(side: float, at: Floats, forward: float) -> Floats:
        x, y = at[:, 0], at[:, 1] - 2 * MM
        world_x = side * (apart + x * np.cos(wrap))
        world_z = forward + y * np.sin(tilt) - np.maximum(x, -wide * MM) * np.sin(wrap)
        return np.stack([world_x, middle[1] + y * np.cos(tilt), world_z], axis=1).astype(np.float32)

    forward = float(middle[2]) + 20 * MM
    for _ in range(12):  # as close as face and brows let it be
        rims = np.concatenate([placed(1, 1.02 * flat, forward), placed(-1, 1.02 * flat, forward)])
        if solid.look(rims)[0].min() > 0.8 * MM:
            break
        forward += 1.5 * MM
    pieces = []
    for side in (1.0, -1.0):
        ring = placed(side, flat, forward)
        if which == "full":
            pieces.append(tube(ring, rim * MM, closed=True, up=(0, 0, 1)))
        elif which == "upper":
            upper = flat[flat[:, 1] > -0.25 * flat[:, 1].max()]
            order = np.argsort(np.arctan2(upper[:, 1] + 0.02, upper[:, 0]))
            pieces.append(tube(placed(side, upper[order], forward), rim * MM, up=(0, 0, 1)))
        outer = ring[np.abs(ring[:, 0]).argmax()]
        hinge = outer + np.array([side * 3.0 * MM, 4 * MM, -2 * MM], np.float32)
        ear = body.marks.ear * np.array([side, 1, 1], np.float32)
        over = np.array([ear[0] + side * 0.5 * MM, ear[1] - 1 * MM, ear[2]], np.float32)
        behind = over + np.array([-side * 2 * MM, -26 * MM, -14 * MM], np.float32)
        t = np.linspace(0, 1, 14)[:, None].astype(np.float32)
        arm = hinge * (1 - t) + over * t
        arm = arm + (side * np.array([1, 0, 0], np.float32)) * (4 * MM * np.sin(np.pi * t))
        arm = solid.push(arm.astype(np.float32), np.float32(1.2 * MM))
        arm = np.concatenate([outer[None], arm, behind[None]])
        thin = max(rim, 0.7)
        pieces.append(tube(arm, thin * MM, flat=0.6 if thin > 1.2 else 1.0))
    inner = [placed(side, np.array([[-wide * 0.97 * MM, 3.5 * MM]], np.float32), forward)[0] for side in (1.0, -1.0)]
    t = np.linspace(0, 1, 9)[:, None].astype(np.float32)
    bridge = inner[0] * (1 - t) + inner[1] * t + np.array([0, 2.5, 1.5], np.float32) * MM * np.sin(np.pi * t)
    pieces.append(tube(bridge.astype(np.float32), max(rim, 0.8) * MM))
    points, triangles = joined(pieces)
    metal = 1.0 if rim < 1.0 else 0.0
    dark = tuple(0.25 * c for c in wear.glasses_colour)
    pattern = 1.0 if metal == 0 and wear.seed % 4 == 0 else 0.0
    finish = (pattern, metal, 0.22 if metal else 0.16, 0.0)
    material = {"colour": wear.glasses_colour, "second": dark, "finish": finish}
    parts = [mesh_part(points, triangles, "hard", "glasses", material)]
    lenses = []
    for side in (1.0, -1.0):
        ring = placed(side, flat, forward)
        centre = ring.mean(axis=0) + np.array([0, 0, 1.0 * MM], np.float32)
        fan = np.stack([np.zeros(len(ring)), 1 + np.arange(len(ring)), 1 + np.roll(np.arange(len(ring)), -1)], 1)
        lenses.append((np.concatenate([centre[None], ring]), fan.astype(np.int32)))
    points, triangles = joined(lenses)
    if wear.lens_tint > 0.75:
        uniforms: dict[str, Any] = {"colour": wear.lens, "finish": (0.0, 0.0, 0.04, 0.0)}
        parts.append(mesh_part(points, triangles, "hard", "glasses", uniforms))
    else:
        uniforms = {"colour": wear.lens, "extra": (wear.lens_tint, 0.0, 0.0, 0.0)}
        parts.append(mesh_part(points, triangles, "lens", "glasses", uniforms, sees_through=True, casts=False))
    return parts


def rim_heights(hat: str, marks: Landmarks, seed: int) -> Any:
    """Where a hat ends: world y as a function of azimuth (radians from the face)."""
    rng = np.random.default_rng(seed)
    front, side, back = {
        "beanie": (26, 14, -26),
        "slouch": (34, 8, -22),
        "cap": (38, 26, 2),
        "cap_back": (44, 24, 2),
        "bucket": (34, 16, 0),
        "fedora": (40, 24, 8),
        "sun": (40, 20, 4),
        "beret": (48, 30, 10),
        "turban": (36, 10, -28),
        "headscarf": (44, 6, -44),
        "hijab": (40, 0, -60),
        "headband": (30, 22, 0),
    }[hat]
    front = front + rng.uniform(-6, 8)

    def rim(azimuth: Any) -> Any:
        c = np.cos(azimuth)
        level = np.where(c > 0, side + (front - side) * c**2, side + (back - side) * c**2)
        return (marks.brow + level * MM).astype(np.float32)

    return rim


def hidden_roots(wear: Wear, ground: Ground, marks: Landmarks) -> NDArray[np.bool_]:
    """Roots (n,) of hair that a hat presses away: all but a band along its edge."""
    if not wear.hat:
        return np.zeros(len(ground.top), bool)
    if wear.hat in COVERS:
        return np.ones(len(ground.top), bool)
    if wear.hat == "headband":
        return np.zeros(len(ground.top), bool)
    away = ground.places - CENTRE
    rim = rim_heights(wear.hat, marks, wear.seed)(np.arctan2(away[:, 0], away[:, 2]))
    return ground.places[:, 1] > rim + 5 * MM


def under_hat(wear: Wear, curves: Floats, solid: Solid, marks: Landmarks) -> Floats:
    """Strands (n, k, 3) pressed to the head wherever they are above a hat's edge."""
    if not wear.hat or wear.hat in COVERS:
        return curves
    away = curves - CENTRE
    rim = rim_heights(wear.hat, marks, wear.seed)(np.arctan2(away[..., 0], away[..., 2]))
    above = smooth(curves[..., 1] - rim, -9 * MM, 1 * MM)
    if wear.hat == "headband":
        above = above * (1 - smooth(curves[..., 1] - rim, 22 * MM, 30 * MM))
    distance, outward = solid.look(curves)
    return curves - (above * np.maximum(distance - 2.5 * MM, 0))[..., None] * outward


def cloth(colours: Any, *, ribs: float = 0.0, bump: float = 0.5) -> dict[str, Any]:
    """Uniforms of a plain or ribbed fabric."""
    finish = (5.0, ribs, bump, 0.0) if ribs else (0.0, 1.0, bump, 0.0)
    second = tuple(0.72 * c for c in colours[0]) if ribs else colours[1]
    return {"colour": colours[0], "second": second, "finish": finish}


def brim(edge: Floats, width: Any, drop: Any, rows: int = 6) -> Floats:
    """A brim (rows, columns, 3) that leaves the ring `edge` (columns, 3) by `width` (columns,) and falls by `drop`."""
    out = edge - CENTRE
    out[:, 1] = 0
    out = unit(out)
    t = np.linspace(0, 1, rows)[:, None, None].astype(np.float32)
    width, drop = (np.broadcast_to(np.asarray(v, np.float32), len(edge))[None, :, None] for v in (width, drop))
    down = np.array([0, -1, 0], np.float32)
    return edge[None] + t * width * out[None] + (0.4 * t + 0.6 * t * t) * drop * down


def hat_parts(body: "Body", wear: Wear, solid: Solid) -> list[Part]:
    """A hat, a scarf on the head, or a headband."""
    rng = np.random.default_rng(wear.seed + 1)
    hat, marks, colours = wear.hat, body.marks, wear.hat_colours
    if hat == "hijab":
        return hijab_parts(body, wear, solid, rng)
    rim = rim_heights(hat, marks, wear.seed)
    grid = shapes.dome(solid, {"beret": 5, "turban": 10, "headscarf": 3.5, "headband": 4}.get(hat, 5.5) * MM, rim)
    rows, columns = grid.shape[:2]
    t = np.linspace(0, 1, rows)[:, None].astype(np.float32)  # 0 at the crown
    azimuth = np.linspace(0, 2 * np.pi, columns, endpoint=False)[None].astype(np.float32)
    out = unit(grid - CENTRE)
    up = np.array([0, 1, 0], np.float32)
    if hat == "headband":
        band = grid[int(rows * 0.74) :] + 2.5 * MM * out[int(rows * 0.74) :]
        return [sheet_part(band, "cloth", "hat", cloth(colours, bump=0.3), closed=True)]
    if hat in ("beanie", "slouch"):
        slack = rng.uniform(6, 22) if hat == "beanie" else rng.uniform(22, 38)
        back = rng.uniform(0, 0.4) if hat == "beanie" else 1.0
        lift = (1 - t) ** 2 * slack * MM
        grid = grid + lift[..., None] * (0.6 * up - back * np.array([0, 0, 1], np.float32) + 0.3 * out)
        ribs = float(rng.choice([0.0, 60.0, 90.0]))
        parts = [sheet_part(grid, "cloth", "hat", cloth(colours, ribs=ribs), closed=True)]
        if rng.random() < 0.7:
            first = int(rows * 0.72)
            cuff = grid[first:] + (3.5 * MM) * out[first:]
            lip = grid[-1:] + 0.5 * MM * out[-1:]
            cuff = np.concatenate([grid[first : first + 1], cuff, lip])
            own = (colours[1], colours[1]) if wear.seed % 3 == 0 else colours
            parts.append(sheet_part(cuff, "cloth", "hat", cloth(own, ribs=75.0), closed=True))
        if hat == "beanie" and rng.random() < 0.2:
            ball = sphere(grid[0].mean(axis=0) + 12 * MM * up, rng.uniform(14, 22) * MM, rng)
            parts.append(mesh_part(*ball, "cloth", "hat", cloth((colours[1], colours[1]), bump=1.5)))
        return parts
    if hat in ("cap", "cap_back"):
        turned = np.pi if hat == "cap_back" else 0.0
        front = np.cos(azimuth - turned)
        grid = grid + (10 * MM * smooth(front, 0.0, 1.0) * np.sin(np.pi * t).clip(0) ** 0.8)[..., None] * out
        edge = grid[-1].copy()
        lean = np.arctan2(np.sin(azimuth[0] - turned), np.cos(azimuth[0] - turned))
        inside = np.abs(lean) < 1.12
        order = np.argsort(lean[inside])
        edge, lean = edge[inside][order], lean[inside][order]
        reach = rng.uniform(58, 72) * MM * np.maximum(np.cos(lean / 1.12 * np.pi / 2), 0) ** 0.55
        visor = forward_visor(edge, reach, -1.0 if turned else 1.0, rng.uniform(8, 24) * MM, lean)
        below = tuple(0.5 * c for c in colours[1])
        return [
            sheet_part(grid, "cloth", "hat", cloth(colours), closed=True),
            sheet_part(visor, "cloth", "hat", cloth((colours[wear.seed % 2],) * 2, bump=0.1)),
            sheet_part(visor - 2.0 * MM * up, "cloth", "hat", cloth((below, below), bump=0.1)),
        ]
    if hat in ("bucket", "fedora", "sun"):
        tall = {"bucket": 14, "fedora": 20, "sun": 14}[hat] * MM
        flat = smooth(1 - t, 0.15, 0.75)
        grid = grid + (flat * tall * 0.9)[..., None] * up + (0.4 * tall * np.sin(np.pi * t))[..., None] * out
        if hat == "fedora":  # the crease along the top
            crease = (1 - t) ** 2 * np.exp(-((grid[..., 0] / 0.03) ** 2)) * 12 * MM
            grid = grid - crease[..., None] * up
        width = {"bucket": (34, 44), "fedora": (38, 52), "sun": (62, 92)}[hat]
        wide = rng.uniform(*width) * MM
        drop = {"bucket": 0.85, "fedora": 0.12, "sun": 0.35}[hat] * wide
        wave = 1 + 0.25 * np.sin(2 * azimuth[0] + rng.uniform(0, 6))
        ring = brim(grid[-1], wide * 0.95 if hat == "bucket" else wide, drop * wave)
        parts = [
            sheet_part(grid, "cloth", "hat", cloth(colours, bump=0.3), closed=True),
            sheet_part(ring, "cloth", "hat", cloth(colours, bump=0.3), closed=True),
        ]
        if hat != "bucket":
            band = grid[int(rows * 0.78) :] + 1.5 * MM * out[int(rows * 0.78) :]
            parts.append(sheet_part(band, "cloth", "hat", cloth((colours[1], colours[1]), bump=0.1), closed=True))
        return parts
    if hat == "beret":
        lean = rng.choice([-1, 1]) * np.array([1, 0, 0], np.float32) - 0.4 * np.array([0, 0, 1], np.float32)
        bulge = np.sin(np.pi * np.minimum(t * 1.15, 1)).clip(0) ** 0.7 * 24 * MM
        grid = grid + bulge[..., None] * unit(out * np.array([1, 0.25, 1], np.float32))
        grid = grid + (1 - t)[..., None] * 10 * MM * lean
        return [sheet_part(grid, "cloth", "hat", cloth(colours, bump=0.5), closed=True)]
    # A turban or a scarf tied behind: folds that cross the head.
    folds = 4.0 if hat == "turban" else 1.5
    phase = 9 * t + 1.6 * np.sin(azimuth + rng.uniform(0, 6)) + 0.6 * np.sin(3 * azimuth)
    grid = grid + (folds * MM * np.sin(2.2 * phase) * np.sin(np.pi * np.minimum(1.2 * t, 1)))[..., None] * out
    parts = [sheet_part(grid, "cloth", "hat", cloth(colours, bump=0.8), closed=True)]
    if hat == "turban":
        knot = sphere(grid[int(rows * 0.6), 0] + 2 * MM * out[int(rows * 0.6), 0], 15 * MM, rng)
        if rng.random() < 0.5:
            parts.append(mesh_part(*knot, "cloth", "hat", cloth(colours, bump=0.8)))
    else:
        behind = grid[int(rows * 0.93), columns // 2]
        parts.append(mesh_part(*sphere(behind, 11 * MM, rng), "cloth", "hat", cloth(colours, bump=0.8)))
    return parts


def forward_visor(edge: Floats, reach: Floats, way: float, bow: float, lean: Floats) -> Floats:
    """A cap's visor (rows, columns, 3): straight ahead from its `edge`, lower at its sides."""
    t = np.linspace(0, 1, 7)[:, None, None].astype(np.float32)
    ahead = np.array([0, -0.10, way], np.float32)
    sag = (bow * (np.abs(lean) / 1.12) ** 2 * 0.5)[None, :, None] * np.array([0, -1, 0], np.float32)
    return (edge[None] + t * reach[None, :, None] * ahead + t**1.5 * sag).astype(np.float32)


def sphere(centre: Floats, radius: float, rng: np.random.Generator) -> tuple[Floats, Any]:
    """A lumpy ball."""
    azimuth, polar = np.meshgrid(np.linspace(0, 2 * np.pi, 18, endpoint=False), np.linspace(0.02, np.pi - 0.02, 12))
    size = radius * (1 + 0.06 * rng.normal(size=azimuth.shape))
    points = centre + size[..., None] * shapes.head_directions(azimuth, polar)
    return points.reshape(-1, 3).astype(np.float32), shapes.sheet_triangles(12, 18, True)[:, ::-1].copy()


def hijab_parts(body: "Body", wear: Wear, solid: Solid, rng: np.random.Generator) -> list[Part]:
    """A scarf around head and neck that leaves the face free."""
    columns = 90
    polar = np.radians(np.linspace(1, 172, 56)).astype(np.float32)
    forehead, chin = np.radians(rng.uniform(46, 54)), np.radians(rng.uniform(146, 152))
    t = np.clip((polar - forehead) / (chin - forehead), 0, 1)
    open_ = np.radians(rng.uniform(50, 57)) * np.sin(np.pi * t).clip(0) ** 0.42
    share = np.linspace(0, 1, columns).astype(np.float32)
    azimuth = open_[:, None] + (2 * np.pi - 2 * open_[:, None]) * share[None]
    directions = shapes.head_directions(azimuth, np.broadcast_to(polar[:, None], azimuth.shape))
    reach = np.full(azimuth.shape, 0.5, np.float32)  # from outside, so that chin and shoulders carry it
    for _ in range(14):
        distance, _ = solid.look(CENTRE + reach[..., None] * directions)
        reach = reach - np.maximum(distance - 6 * MM, -0.02) * 0.8
    reach = np.clip(reach, 0.05, 0.46)
    reach = gaussian_filter(reach, (1.3, 2.0), mode="nearest")
    phase = 5 * polar[:, None] + 1.5 * np.sin(azimuth + rng.uniform(0, 6)) + 0.5 * np.sin(4 * azimuth)
    reach = reach + (1.6 + 2.2 * smooth(polar, 1.6, 2.4)[:, None]) * MM * np.sin(2.5 * phase)
    grid = CENTRE + reach[..., None] * directions
    x = np.clip(grid[..., 0], -0.36, 0.36)
    grid = np.stack([x, np.maximum(grid[..., 1], -0.56), np.clip(grid[..., 2], -0.36, 0.36)], -1).astype(np.float32)
    uniforms = cloth(wear.hat_colours, bump=0.7)
    rim_rows = (open_ > 0.02).nonzero()[0]
    edge = np.concatenate([grid[rim_rows, 0], grid[rim_rows[::-1], -1]])
    edge = gaussian_filter1d(edge, 1.0, axis=0, mode="wrap")
    points, triangles = tube(edge, 2.2 * MM, closed=True, up=(0, 0, 1))
    return [sheet_part(grid, "cloth", "hat", uniforms), mesh_part(points, triangles, "cloth", "hat", uniforms)]


def earring_parts(body: "Body", wear: Wear, lobes: tuple[Floats, Floats]) -> list[Part]:
    """Earrings below the `lobes` (left, right)."""
    rng = np.random.default_rng(wear.seed + 2)
    size = rng.uniform(6, 22) * MM
    pieces = []
    for side, lobe in zip((1.0, -1.0), lobes):
        if wear.earrings == "stud":
            points, triangles = sphere(lobe + np.array([side * 1.5, 3, 1], np.float32) * MM, 2.6 * MM, rng)
        elif wear.earrings == "hoop":
            angle = np.linspace(0, 2 * np.pi, 28, endpoint=False)
            ring = np.stack([0 * angle, size * (np.cos(angle) - 1), size * np.sin(angle)], 1)
            ring = (lobe + np.array([side * 2, 3, 0]) * MM + ring).astype(np.float32)
            points, triangles = tube(ring, 0.9 * MM, closed=True, up=(1, 0, 0))
        else:
            t = np.linspace(0, 1, 8)[:, None]
            line = lobe + np.array([side * 2, 2, 1]) * MM - t * np.array([0, size * 1.6, 0])
            swell = (0.6 + 3.2 * np.sin(np.pi * np.linspace(0, 1, 8)) ** 2 * (np.linspace(0, 1, 8) > 0.4)) * MM
            points, triangles = tube(line.astype(np.float32), swell.astype(np.float32), up=(1, 0, 0))
        pieces.append((points, triangles))
    points, triangles = joined(pieces)
    uniforms = {"colour": wear.earring_colour, "second": wear.earring_colour, "finish": (0.0, 1.0, 0.2, 0.0)}
    return [mesh_part(points, triangles, "hard", "clothes", uniforms, casts=False)]
