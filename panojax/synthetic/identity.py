"""Who a head is: every parameter of one identity.

Colours are linear RGB reflectances in 0..1 unless said otherwise; lengths are in millimetres.
"""

from dataclasses import asdict, dataclass
from typing import Any

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Shape:
    """Macro and detail shape: weights of MakeHuman targets come from these (see shape.py)."""

    male: float  # 0 female .. 1 male
    age: float  # years
    ancestry: dict[str, float]  # african, asian, caucasian: sum 1
    muscle: float  # 0..1
    weight: float  # 0..1
    details: dict[str, float]  # target path below targets/: weight
    expression: dict[str, float]  # face unit: weight


@dataclass(frozen=True)
class Skin:
    """The skin's texture is a mix of two skins times a tint; gloss is the strength of its highlights."""

    names: tuple[str, str]
    mix: float  # share of the second
    tint: Colour  # factors
    gloss: float
    roughness: float
    redness: float  # flush of cheeks, nose and ears
    lips: Colour  # factors on the lips
    freckles: float  # 0..1
    noise_seed: int


@dataclass(frozen=True)
class Hair:
    """Head hair.

    A style is one of MakeHuman's, "fur" or "bald"; scalp is how dense hair looks painted on the skin below.
    """

    style: str
    colour: Colour
    tip_colour: Colour
    gloss: float
    contrast: float  # of the strands in the texture
    scale: Colour  # factors along x, y, z about the head's centre
    cut: float  # mm below the chin where longer hair ends; 1000: uncut
    fringe: float  # mm above the eyes where a fringe ends; -1000: uncut
    fur_length: float  # mm, "fur" only
    fur_clump: float  # mm, size of the tufts
    scalp: float  # 0..1
    hairline: float  # mm that the hair line of "fur" and of painted hair moves up
    noise_seed: int


@dataclass(frozen=True)
class Face:
    """Small parts: iris, brows, lashes, teeth, beard."""

    iris: str
    iris_tint: Colour
    brows: str
    brow_colour: Colour
    brow_density: float
    lashes: str
    lash_density: float
    teeth: str
    beard_colour: Colour
    stubble: float  # 0..1 painted
    beard_length: float  # mm; 0: none
    beard_cover: float  # 0 chin only .. 1 full


@dataclass(frozen=True)
class Shirt:
    """Cloth over the shoulders."""

    neckline: str
    depth: float  # mm that the neckline lies below the neck's foot in front
    colours: tuple[Colour, Colour]
    pattern: str
    period: float  # mm
    looseness: float  # mm off the skin


@dataclass(frozen=True)
class Light:
    """Lights fixed to the world: three directional ones (the first throws shadows), sky and ground; then the camera's
    answer.
    """

    directions: tuple[Colour, Colour, Colour]  # unit vectors towards the light, world axes
    colours: tuple[Colour, Colour, Colour]  # irradiance
    softness: float  # of the shadow's edge, mm
    sky: Colour
    ground: Colour
    exposure: float  # stops
    white_balance: Colour  # factors
    contrast: float  # of the tone curve
    saturation: float


@dataclass(frozen=True)
class Identity:
    """All parameters of a head."""

    number: int
    seed: int
    split: str
    shape: Shape
    skin: Skin
    hair: Hair
    face: Face
    shirt: Shirt
    light: Light


def as_json(identity: Identity) -> dict[str, Any]:
    """The parameters as plain lists, numbers and strings."""
    return asdict(identity)
