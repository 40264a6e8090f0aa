"""A head of the second edition as meshes, strands and light in world units, ready for its renderer."""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from panojax.synthetic import paint
from panojax.synthetic.edition2 import accessories, garments, growth, hair, lighting
from panojax.synthetic.edition2.growth import MM, Landmarks, Strands
from panojax.synthetic.edition2.lighting import Surround
from panojax.synthetic.edition2.people import Clothes, Hair, Light, Person
from panojax.synthetic.edition2.solid import Solid, grid_points, make_solid
from panojax.synthetic.meshes import CHIN, CROWN, FACE, Floats, fit_proxy, vertex_normals
from panojax.synthetic.pictures import (
    LUMINANCE,
    Bytes,
    iris_picture,
    picture_mean,
    read_picture,
    skin_colour,
    skin_picture,
)
from panojax.synthetic.scene import (
    BUST_DEPTH,
    MOUTH_OPENERS,
    PARTS,
    UNITS_PER_DECIMETRE,
    Part,
    body_part,
    fitted_part,
    head_frame,
    lower_arms,
    lower_bound,
    read_fitted,
    to_world,
)
from panojax.synthetic.shape import body_positions, read_body

__all__ = ["PARTS", "Head", "build_head"]

IRIS_SIDE = 384  # pixels
EYE_VERTICES = slice(14598, 14670)
EAR_FOOT, FLAT_EARS = 0.138, 0.35  # world units: how far ears stand out to hair, which hides or parts around them
METERED = 0.40  # radiance of skin that the camera aims at
METERING = 0.58  # how far it goes towards that from the scene's own
WIDEST, BENT = 0.35, 0.24  # world units: hair's |x|, |z| is bent below the first, from the second on
HIGHEST, RISING = 0.322, 0.262  # likewise its height


@dataclass(frozen=True)
class Head:
    """All of a head: meshes, strands, its light, what hair collides with."""

    parts: tuple[Part, ...]
    strands: tuple[Strands, ...]
    person: Person
    surround: Surround
    solid: Solid
    uniforms: dict[str, Any]


@dataclass(frozen=True)
class Body:
    """A head's body mesh in world units, and what is measured on it."""

    assets: Path
    points: Floats  # (19158, 3)
    normals: Floats  # (19158, 3)
    rest: Floats  # (19158, 3)
    decimetres: Floats  # (19158, 3) before the frame: what fitted parts are bound to
    origin: Floats  # (3,)
    marks: Landmarks
    lowest: float


def build_body(assets: Path, person: Person) -> Body:
    """The body of `person`."""
    mesh = read_body(assets)
    neutral, body = body_positions(assets, person.shape)
    origin = head_frame(neutral)
    points = lower_arms(to_world(body, origin))
    surface = mesh.groups["body"]
    normals = vertex_normals(points, surface.vertices[surface.triangles])
    eyes = to_world(body[EYE_VERTICES], origin).mean(axis=0)
    chin = float(to_world(neutral[CHIN : CHIN + 1], origin)[0, 1])
    ears, _ = paint._regions(assets)
    ear = points[(ears > 0.5) & (points[:, 0] > 0)]
    marks = Landmarks(
        brow=float(eyes[1] + 22 * MM),
        eyes=float(eyes[1]),
        chin=chin,
        ear=ear[ear[:, 1].argmax()],
        crown=points[CROWN],
        face=float(points[FACE, 2]),
    )
    rest = to_world(mesh.positions, head_frame(mesh.positions))
    lowest = chin - BUST_DEPTH * UNITS_PER_DECIMETRE
    return Body(assets, points, normals, rest, body, origin, marks, lowest)


def head_solid(body: Body, shirt: Clothes) -> Solid:
    """What hair collides with: the skin with flat ears, and clothes below the neck."""
    off = shirt.looseness + {"suit": 9.0, "jacket": 9.0, "hoodie": 6.0}.get(shirt.garment, 3.0)
    heights = grid_points()[0][0, :, 0, 1]
    cloth = growth.smooth(-heights, -(body.marks.chin - 0.07), -(body.marks.chin - 0.14))
    ears, _ = paint._regions(body.assets)
    x = body.points[:, 0]
    flat = np.sign(x) * np.minimum(np.abs(x), EAR_FOOT + FLAT_EARS * np.maximum(np.abs(x) - EAR_FOOT, 0))
    points = body.points.copy()
    points[:, 0] = x + ears * (flat - x)
    return make_solid(body.assets, points.astype(np.float32), (cloth * off * MM).astype(np.float32))


def camera_gain(light: Light, surround: Surround, skin: Floats) -> tuple[float, float, float]:
    """Factors from radiance to the tone curve: metered most of the way on the face's skin, then the light's stops."""
    falling = (
        lighting.irradiance(surround.radiance, (0, 0.2, 0.98)) + surround.key_colour * max(surround.key[2], 0.1) * 0.8
    )
    metered = (METERED / max(float(LUMINANCE @ (falling * skin)), 1e-4)) ** METERING
    red, green, blue = np.array(light.white_balance) * metered * 2.0**light.exposure
    return float(red), float(green), float(blue)


@cache
def small_iris(assets: Path, iris: str) -> Bytes:
    """An eye's texture, untinted, at the size that pictures of heads can show."""
    whole = iris_picture(assets, iris, (1.0, 1.0, 1.0))
    return np.asarray(Image.fromarray(whole).resize((IRIS_SIDE, IRIS_SIDE), Image.Resampling.BOX))


def tinted_iris(assets: Path, iris: str, tint: tuple[float, float, float]) -> Bytes:
    """An eye's texture with its coloured pixels tinted."""
    rgba = small_iris(assets, iris).astype(np.float32)
    coloured = np.clip((rgba[..., :3].max(axis=-1) - rgba[..., :3].min(axis=-1)) / 35, 0, 1)[..., None]
    rgb = rgba[..., :3] * (1 + coloured * (np.array(tint, np.float32) - 1))
    return np.dstack([np.clip(rgb, 0, 255), rgba[..., 3]]).astype(np.uint8)


def small_parts(body: Body, person: Person) -> list[Part]:
    """Eyes, brows, lashes, and teeth."""
    face, assets = person.face, body.assets

    def part(folder: str, name: str, kind: str, label: str, picture: Bytes, **uniforms: Any) -> Part:
        proxy = read_fitted(assets / f"{folder}/{name}.json")
        options = {"sees_through": kind in ("thin", "eyes"), "casts": False}
        kept = "" if folder == "eyes" else f"{folder}/{name}"
        return fitted_part(
            proxy, body.decimetres, body.origin, kind, label, picture, uniforms=uniforms, picture_name=kept, **options
        )

    def picture(folder: str, name: str) -> Bytes:
        return read_picture(assets / f"{folder}/{name}.png")

    iris = tinted_iris(assets, face.iris, face.iris_tint)
    density, lash_density = (face.brow_density, 0.0, 0.0, 0.0), (face.lash_density, 0.0, 0.0, 0.0)
    brows, lashes = picture("eyebrows", face.brows), picture("eyelashes", face.lashes)
    small = [
        part("eyes", "HighPolyEyes", "eyes", "eyes", iris, colour=(0.66, 0.63, 0.61)),
        part("eyebrows", face.brows, "thin", "brows", brows, colour=face.brow_colour, extra=density),
        part("eyelashes", face.lashes, "thin", "brows", lashes, colour=(0.012,) * 3, extra=lash_density),
    ]
    if any(person.shape.expression.get(unit, 0.0) > 0.02 for unit in MOUTH_OPENERS):
        small.append(
            part("teeth", face.teeth, "teeth", "teeth", picture("teeth", face.teeth), colour=(0.80, 0.74, 0.64))
        )
    return small


def worn_parts(body: Body, person: Person, solid: Solid) -> list[Part]:
    """Hat, glasses and earrings."""
    wear, parts = person.wear, []
    if wear.hat:
        parts += accessories.hat_parts(body, wear, solid)
    if wear.glasses:
        balls = to_world(fit_proxy(read_fitted(body.assets / "eyes/HighPolyEyes.json"), body.decimetres), body.origin)
        middles = [
            0.5 * (ball.min(axis=0) + ball.max(axis=0)) for ball in (balls[balls[:, 0] > 0], balls[balls[:, 0] < 0])
        ]
        parts += accessories.glasses_parts(body, wear, (middles[0], middles[1]), solid)
    if wear.earrings:
        ears, _ = paint._regions(body.assets)
        both = [body.points[(ears > 0.5) & (side * body.points[:, 0] > 0)] for side in (1, -1)]
        lobes = [ear[ear[:, 1].argmin()] for ear in both]
        parts += accessories.earring_parts(body, wear, (lobes[0], lobes[1]))
    return parts


def bend_inside(points: Floats) -> Floats:
    """Strands bent smoothly so that they stay in the picture and in the generator's cube."""

    def bent(values: Floats, start: float, end: float) -> Floats:
        over = np.maximum(np.abs(values) - start, 0) / (end - start)
        return np.sign(values) * (np.minimum(np.abs(values), start) + (end - start) * (1 - np.exp(-over)))

    # What rises too high is shortened as a whole, so that tall hair stays round.
    top, root = points[..., 1].max(axis=1), points[:, 0, 1]
    over = np.where(top > RISING, bent(top, RISING, HIGHEST), top)
    share = np.clip(np.where(over < top, (over - root) / np.maximum(top - root, 1e-4), 1), 0.2, 1)[:, None, None]
    points = points[:, :1] + share * (points - points[:, :1])
    x, y, z = bent(points[..., 0], BENT, WIDEST), points[..., 1], bent(points[..., 2], BENT, WIDEST)
    return np.stack([x, y, z], axis=-1).astype(np.float32)


def grown_hair(body: Body, person: Person, solid: Solid) -> list[Strands]:
    """Head hair and beard with their materials."""
    ground = growth.hair_ground(body.assets, body.points, body.normals, person.hair.form.seed)
    hidden = accessories.hidden_roots(person.wear, ground, body.marks)
    strands = hair.head_hair(person.hair, ground, solid, body.marks, hidden)
    strands = [
        replace(piece, points=accessories.under_hat(person.wear, piece.points, solid, body.marks)) for piece in strands
    ]
    strands += hair.beard_strands(body.assets, person.face, body.points, body.normals, solid)
    return [
        replace(piece, points=bend_inside(piece.points), uniforms=material(person, piece.label)) for piece in strands
    ]


def material(person: Person, label: str) -> dict[str, Any]:
    """Uniforms of strands of the head's hair or the beard."""
    own: Hair = person.hair
    if label == "beard":
        return {"colour": person.face.beard_colour, "second": person.face.beard_colour, "gloss": 0.5, "thickness": 40.0}
    return {"colour": own.colour, "second": own.tip_colour, "gloss": own.gloss, "thickness": 24.0}


def build_head(assets: Path, person: Person) -> Head:
    """Assemble the head of `person` from an assets folder (see assets.open_assets)."""
    mesh, body = read_body(assets), build_body(assets, person)
    solid = head_solid(body, person.shirt)
    face, form, shirt = person.face, person.hair.form, person.shirt
    weights = paint.paint_weights(assets, hairline=0.0, beard_cover=face.beard_cover)
    weights[:, 0] = growth.hair_density(mesh.positions, form) * (0.5 + 0.5 * form.density)

    picture = skin_picture(assets, person.skin.names, person.skin.mix)
    colour = skin_colour(picture, person.skin.tint)
    skin = body_part(
        lower_bound(mesh.groups["body"], body.points, body.lowest),
        body.points,
        body.normals,
        body.rest,
        weights,
        kind="skin",
        label="skin",
        picture=picture,
        uniforms={"colour": colour},
    )
    bare = make_solid(assets, body.points)
    strands = grown_hair(body, person, solid)
    rng = np.random.default_rng(form.seed)
    surround = lighting.surround_of(person.light, assets)
    mean = (picture_mean(picture) * colour).astype(np.float32)
    return Head(
        parts=(
            *garments.clothes_parts(body, shirt, bare, weights),
            skin,
            *small_parts(body, person),
            *worn_parts(body, person, bare),
        ),
        strands=tuple(strands),
        person=person,
        surround=surround,
        solid=solid,
        uniforms={
            "seed": tuple(rng.uniform(-50, 50, 3)),
            "hair_paint": (*(0.75 * c for c in person.hair.colour), person.hair.scalp),
            "beard_paint": (*(0.6 * c for c in face.beard_colour), face.stubble),
            "lips": person.skin.lips,
            "blush": (person.skin.redness, person.skin.freckles),
            "oil": (person.skin.gloss, 1.0),
            "camera_gain": camera_gain(person.light, surround, mean),
        },
    )
