"""An identity's head as triangles, textures and materials in world units, ready for a renderer."""

from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from panojax.synthetic import paint
from panojax.synthetic.cameras import WORLD_UNITS_PER_METRE
from panojax.synthetic.identity import Identity, Light, Shirt
from panojax.synthetic.meshes import (
    BACK,
    CHIN,
    CROWN,
    FACE,
    Floats,
    Ints,
    Proxy,
    Surface,
    drop_pieces,
    fit_proxy,
    keep_triangles,
    read_proxy,
    surface_normals,
    vertex_normals,
)
from panojax.synthetic.pictures import (
    LUMINANCE,
    Bytes,
    hair_picture,
    iris_picture,
    picture_mean,
    read_picture,
    skin_colour,
    skin_picture,
)
from panojax.synthetic.shape import body_positions, read_body

UNITS_PER_DECIMETRE = 0.1 * WORLD_UNITS_PER_METRE
UNITS_PER_MILLIMETRE = 0.001 * WORLD_UNITS_PER_METRE

# The index is the label's value; hats and glasses are worn by the second edition's heads only.
PARTS = ("background", "skin", "hair", "eyes", "clothes", "teeth", "brows", "beard", "hat", "glasses")

UNDERGROWTH = {"afro01": 5.0}  # mm of fur below a style that does not cover the scalp
HAIRLINE_GAPS = {"afro01": 12.0}  # mm that a style ends below the hair line, in front
SMALLEST_PIECE = {"long01": 200}  # corners; its loose strands are thinner than a sample and draw as dashes
METERED = 0.42  # radiance of skin that the camera aims at
METERING = 0.45  # how far it goes towards that from the scene's own

BUST_DEPTH = 4.0  # decimetres kept below the chin
WIDEST = 0.385, 0.20  # world units: |x| of shoulders is bent below the first, from the second on
HANG = 0.8  # how much of what the bend takes off goes down
NECK_FOOT = 0.62  # decimetres below the chin, about where a shirt's collar lies

MOUTH_OPENERS = ("jawOpen", "mouthUpperUpLeft", "mouthLowerDownLeft", "mouthFunnel")  # face units that show teeth


@dataclass(frozen=True)
class Part:
    """Triangles of one material. `kind` picks the shading (shaders.KINDS), `label` is the part's name in PARTS."""

    kind: str
    label: str
    positions: Floats  # (corners, 3) world units
    normals: Floats  # (corners, 3)
    tangents: Floats  # (corners, 3) along the strands of hair
    rest: Floats  # (corners, 3) world units on the undeformed head: where noise is looked up
    uv: Floats  # (corners, 2)
    paint: Floats  # (corners, 4) of skin: see paint.py; of fur: its cover; of hair: the card's own normal
    triangles: Ints  # (triangles, 3)
    picture: Bytes  # (height, width, 4)
    picture_name: str = ""  # pictures with a name are the same for all heads
    uniforms: dict[str, Any] = field(default_factory=dict)
    layers: int = 1  # shells of fur
    sees_through: bool = False  # has soft alpha
    casts: bool = True


@dataclass(frozen=True)
class Scene:
    """All parts of a head, the light on it, and numbers for skin that every part's shader needs."""

    parts: tuple[Part, ...]
    identity: Identity
    uniforms: dict[str, Any]


def head_frame(neutral: Floats) -> Floats:
    """The world's origin (3,) in decimetres: midway between chin and crown, face and back of the head."""
    middle = 0.5 * (neutral[CHIN] + neutral[CROWN])
    depth = 0.5 * (neutral[FACE, 2] + neutral[BACK, 2])
    return np.array([0.0, middle[1], depth], np.float32)


def lower_arms(points: Floats) -> Floats:
    """World points with |x| bent smoothly below WIDEST and what is bent away added downwards.

    MakeHuman's arms reach sideways, out of the generator's cube; so they hang.
    """
    limit, start = WIDEST
    over = np.maximum(np.abs(points[:, 0]) - start, 0)
    kept = (limit - start) * (1 - np.exp(-over / (limit - start)))
    x = points[:, 0] - np.sign(points[:, 0]) * (over - kept)
    return np.column_stack([x, points[:, 1] - HANG * (over - kept), points[:, 2]]).astype(np.float32)


def to_world(points: Floats, origin: Floats) -> Floats:
    """Decimetres to world units."""
    return ((points - origin) * UNITS_PER_DECIMETRE).astype(np.float32)


def strand_tangents(positions: Floats, surface: Surface) -> Floats:
    """Unit directions (corners, 3) along which the texture's v grows: the strands of MakeHuman's hair run along v."""
    corners = positions[surface.vertices]
    a, b, c = (surface.triangles[:, k] for k in range(3))
    edges = corners[b] - corners[a], corners[c] - corners[a]
    steps = surface.uv[b] - surface.uv[a], surface.uv[c] - surface.uv[a]
    area = steps[0][:, 0] * steps[1][:, 1] - steps[1][:, 0] * steps[0][:, 1]
    along = (edges[1] * steps[0][:, :1] - edges[0] * steps[1][:, :1]) * np.sign(area)[:, None]
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    sums = np.zeros_like(corners)
    for k in range(3):
        np.add.at(sums, surface.triangles[:, k], along)
    return (sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-9)).astype(np.float32)


def outward_normals(positions: Floats, normals: Floats) -> Floats:
    """Hair cards have two sides: turn their normals away from the head's middle and round them, so that hair shades as
    a body.
    """
    outward = positions / np.maximum(np.linalg.norm(positions, axis=1, keepdims=True), 1e-9)
    side = np.sign((normals * outward).sum(axis=1, keepdims=True))
    mixed = 0.6 * normals * np.where(side == 0, 1, side) + outward
    return (mixed / np.maximum(np.linalg.norm(mixed, axis=1, keepdims=True), 1e-9)).astype(np.float32)


@cache
def read_fitted(path: Path) -> Proxy:
    """`read_proxy`, once per process, without loose strands where they are too thin to draw."""
    proxy = read_proxy(path)
    return replace(proxy, surface=drop_pieces(proxy.surface, SMALLEST_PIECE.get(path.stem, 0)))


def camera_gain(light: Light, skin: tuple[float, float, float]) -> tuple[float, float, float]:
    """Factors from radiance to the tone curve: metered half-way on the skin (its mean, linear), then the light's own
    stops.
    """
    falling = 0.5 * (np.array(light.sky) + np.array(light.ground)) + 0.5 * np.array(light.colours[0])
    metered = (METERED / float(LUMINANCE @ (falling * skin))) ** METERING
    red, green, blue = np.array(light.white_balance) * metered * 2.0**light.exposure
    return float(red), float(green), float(blue)


def fitted_part(
    proxy: Proxy, body: Floats, origin: Floats, kind: str, label: str, picture: Bytes, **options: Any
) -> Part:
    """A proxy on a body (positions in decimetres) as a Part; hair gets rounded normals and the scale in `options`."""
    scale = options.pop("scale", (1.0, 1.0, 1.0))
    positions = (to_world(fit_proxy(proxy, body), origin) * np.array(scale, np.float32)).astype(np.float32)
    surface = proxy.surface
    corners = positions[surface.vertices]
    normals = surface_normals(positions, surface)
    return Part(
        kind=kind,
        label=label,
        positions=corners,
        normals=outward_normals(corners, normals) if kind == "hair" else normals,
        tangents=strand_tangents(positions, surface) if kind == "hair" else normals,
        rest=corners,
        uv=surface.uv,
        paint=np.column_stack([normals, np.zeros(len(corners))]).astype(np.float32),
        triangles=surface.triangles,
        picture=picture,
        **options,
    )


def body_part(surface: Surface, points: Floats, normals: Floats, rest: Floats, weights: Floats, **options: Any) -> Part:
    """A part of the body mesh from per-vertex arrays in world units."""
    at = surface.vertices
    return Part(
        positions=points[at],
        normals=normals[at],
        tangents=normals[at],
        rest=rest[at],
        uv=surface.uv,
        paint=weights[at],
        triangles=surface.triangles,
        **options,
    )


def lower_bound(surface: Surface, points: Floats, lowest: float) -> Surface:
    """The triangles of a surface that lie above `lowest` (world units)."""
    return keep_triangles(surface, points[surface.vertices[surface.triangles], 1].min(axis=1) > lowest)


def neckline(shirt: Shirt, foot: float) -> tuple[float, float, float, float]:
    """Cut of a shirt (y0, bow, slope, z0), world units: cloth above y0 + bow x^2 + slope (z - z0) is away.

    `foot`: the neck's.
    """
    depth = shirt.depth
    return {
        "crew": (foot + 0.035 - 0.02 * depth, 0.5, -0.42, 0.02),
        "v": (foot + 0.01 - 0.05 * depth, 6.0, -0.5, 0.02),
        "boat": (foot - 0.005, 1.4 + depth, -0.25, 0.02),
        "high": (foot + 0.085 + 0.03 * depth, 0.0, -0.28, 0.0),
    }[shirt.neckline]


def hair_part(assets: Path, identity: Identity, expressive: Floats, origin: Floats) -> Part:
    """The head hair of one of MakeHuman's styles, cut and scaled."""
    hair = identity.hair
    proxy = read_fitted(assets / f"hair/{hair.style}.json")
    eyes = to_world(expressive[14598:14670], origin).mean(axis=0)
    chin = to_world(expressive[CHIN : CHIN + 1], origin)[0]
    cut = chin[1] - hair.cut * UNITS_PER_MILLIMETRE
    fringe = eyes[1] + hair.fringe * UNITS_PER_MILLIMETRE
    uniforms = {
        "colour": hair.colour,
        "second": hair.tip_colour,
        "finish": (0.0, 0.0, 0.05 * hair.gloss, 45.0),
        "extra": (hair.contrast, 0.012, 0.0, 0.0),
        "cuts": (float(cut), float(fringe), float(eyes[2]) - 0.02, 0.115),
    }
    picture = hair_picture(assets / f"hair/{hair.style}.png")
    name = f"hair/{hair.style}"
    options = {"uniforms": uniforms, "sees_through": True, "scale": hair.scale, "picture_name": name}
    return fitted_part(proxy, expressive, origin, "hair", "hair", picture, **options)


def small_parts(assets: Path, identity: Identity, body: Floats, origin: Floats) -> list[Part]:
    """Eyes, brows, lashes, and teeth."""
    face = identity.face

    def part(folder: str, name: str, kind: str, label: str, picture: Bytes, **uniforms: Any) -> Part:
        proxy = read_fitted(assets / f"{folder}/{name}.json")
        options = {"sees_through": kind in ("thin", "eyes"), "casts": False}
        kept = "" if folder == "eyes" else f"{folder}/{name}"
        return fitted_part(proxy, body, origin, kind, label, picture, uniforms=uniforms, picture_name=kept, **options)

    def picture(folder: str, name: str) -> Bytes:
        return read_picture(assets / f"{folder}/{name}.png")

    iris = iris_picture(assets, face.iris, face.iris_tint)
    brows, lashes, teeth = face.brows, face.lashes, face.teeth
    density = (face.brow_density, 0.0, 0.0, 0.0)
    lash_density = (face.lash_density, 0.0, 0.0, 0.0)
    white = (0.72, 0.70, 0.68)
    small = [
        part("eyes", "HighPolyEyes", "eyes", "eyes", iris, colour=white, finish=(0.0, 0.0, 0.5, 300.0)),
        part("eyebrows", brows, "thin", "brows", picture("eyebrows", brows), colour=face.brow_colour, extra=density),
        part(
            "eyelashes", lashes, "thin", "brows", picture("eyelashes", lashes), colour=(0.012,) * 3, extra=lash_density
        ),
    ]
    if any(identity.shape.expression.get(unit, 0.0) > 0.02 for unit in MOUTH_OPENERS):
        tooth = picture("teeth", teeth)
        small.append(part("teeth", teeth, "teeth", "teeth", tooth, colour=(1.0,) * 3, finish=(0, 0, 0.12, 60.0)))
    return small


def fur_part(skin: Part, label: str, weights: Floats, length: float, grain: float, colours: Any, comb: Any) -> Part:
    """Hair grown on the skin as shells of up to `length` mm with tufts of `grain` mm where `weights` (corners,) is over
    0.
    """
    keep = weights[skin.triangles].max(axis=1) > 0.02
    corners, inverse = np.unique(skin.triangles[keep], return_inverse=True)
    painted = np.zeros((len(corners), 4), np.float32)
    painted[:, 0] = weights[corners]
    return Part(
        kind="fur",
        label=label,
        positions=skin.positions[corners],
        normals=skin.normals[corners],
        tangents=skin.normals[corners],
        rest=skin.rest[corners],
        uv=skin.uv[corners],
        paint=painted,
        triangles=inverse.reshape(-1, 3).astype(np.int32),
        picture=np.full((1, 1, 4), 255, np.uint8),
        layers=int(np.clip(4 + 0.7 * length, 5, 16)),
        uniforms={
            "colour": colours[0],
            "second": colours[1],
            "finish": (0.0, 0.0, 0.03, 20.0),
            "fur_length": length * UNITS_PER_MILLIMETRE,
            "fur_grain": (1.0 / (grain * UNITS_PER_MILLIMETRE), 0.0),
            "fur_comb": comb,
        },
    )


def build_scene(assets: Path, identity: Identity) -> Scene:
    """Assemble the head of `identity` from an assets folder (see assets.open_assets)."""
    mesh = read_body(assets)
    neutral, body = body_positions(assets, identity.shape)
    origin = head_frame(neutral)
    points = lower_arms(to_world(body, origin))
    rest = to_world(mesh.positions, head_frame(mesh.positions))
    face, hair, shirt = identity.face, identity.hair, identity.shirt
    hairline = hair.hairline - HAIRLINE_GAPS.get(hair.style, 0.0)
    weights = paint.paint_weights(assets, hairline=hairline, beard_cover=face.beard_cover)
    chin = to_world(neutral[CHIN : CHIN + 1], origin)[0, 1]
    lowest = chin - BUST_DEPTH * UNITS_PER_DECIMETRE

    picture = skin_picture(assets, identity.skin.names, identity.skin.mix)
    colour = skin_colour(picture, identity.skin.tint)
    skin_surface = lower_bound(mesh.groups["body"], points, lowest)
    skin_normals = vertex_normals(points, mesh.groups["body"].vertices[mesh.groups["body"].triangles])
    skin = body_part(
        skin_surface,
        points,
        skin_normals,
        rest,
        weights,
        kind="skin",
        label="skin",
        picture=picture,
        uniforms={
            "colour": colour,
            "finish": (0.0, 0.0, 0.05 * identity.skin.gloss, 6.0 / identity.skin.roughness**2),
        },
    )
    tights = mesh.groups["helper-tights"]
    cloth_normals = vertex_normals(points, tights.vertices[tights.triangles])
    cloth_points = points + cloth_normals * (shirt.looseness * UNITS_PER_MILLIMETRE)
    foot = chin - NECK_FOOT * UNITS_PER_DECIMETRE
    cloth = body_part(
        lower_bound(tights, points, lowest),
        cloth_points.astype(np.float32),
        cloth_normals,
        rest,
        weights,
        kind="cloth",
        label="clothes",
        picture=np.full((1, 1, 4), 255, np.uint8),
        uniforms={
            "colour": shirt.colours[0],
            "second": shirt.colours[1],
            "finish": (
                float(("plain", "melange", "stripes", "checks", "dots").index(shirt.pattern)),
                1.0 / (shirt.period * UNITS_PER_MILLIMETRE),
                0.02,
                12.0,
            ),
            "cuts": neckline(shirt, float(foot)),
        },
    )
    parts = []  # what covers much comes first: it saves shading what lies behind
    if face.beard_length > 0:
        colours = (face.beard_colour, tuple(1.25 * c for c in face.beard_colour))
        parts.append(fur_part(skin, "beard", skin.paint[:, 1], face.beard_length, 2.2, colours, (0.0, -0.9, 0.15)))
    if length := hair.fur_length if hair.style == "fur" else UNDERGROWTH.get(hair.style, 0.0):
        colours, comb = (hair.colour, hair.tip_colour), (0.0, -0.15, 0.0)
        parts.append(fur_part(skin, "hair", skin.paint[:, 0], length, hair.fur_clump, colours, comb))
    if hair.style not in ("fur", "bald"):
        parts.append(hair_part(assets, identity, body, origin))
    parts += [cloth, skin, *small_parts(assets, identity, body, origin)]
    rng = np.random.default_rng(hair.noise_seed)
    skin_seed = np.random.default_rng(identity.skin.noise_seed)
    return Scene(
        parts=tuple(parts),
        identity=identity,
        uniforms={
            "seed": tuple(rng.uniform(-50, 50, 3) + skin_seed.uniform(-50, 50, 3)),
            "hair_paint": (*(0.8 * c for c in hair.colour), hair.scalp),
            "beard_paint": (*(0.6 * c for c in face.beard_colour), face.stubble),
            "lips": identity.skin.lips,
            "camera_gain": camera_gain(identity.light, tuple(picture_mean(picture) * colour)),
            "blush": (identity.skin.redness, identity.skin.freckles),
        },
    )
