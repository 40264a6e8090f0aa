"""Who a head of the second edition is: every parameter that the first edition (identity.py) does not have.

Colours are linear RGB reflectances in 0..1 unless said otherwise; lengths are in millimetres, angles in degrees.
"""

from dataclasses import asdict, dataclass
from typing import Any

from panojax.synthetic.identity import Colour, Shape, Skin


@dataclass(frozen=True)
class Style:
    """How head hair is cut, combed and curled. `cut` and `texture` name the entries of styles.py that it came from."""

    cut: str
    texture: str
    seed: int
    # Lengths of the hair over the forehead, on top, at the sides and behind.
    front: float = 40.0
    top: float = 40.0
    side: float = 30.0
    back: float = 30.0
    fade: float = 0.0  # height over which the sides grow from shaved to their length; 0: they do not
    fade_from: float = 0.0  # how far above the hair line that starts
    level: float = 1e4  # how far below the chin all hair ends
    level_tilt: float = 0.0  # rise of that level per mm towards the back: an A-line bob
    ragged: float = 6.0  # spread of that level
    layers: float = 0.15  # share by which strands of one place differ in length
    # The fringe: height of its roots above the hair line (0: none), width, where it ends above the eyes, sideways flow.
    fringe: float = 0.0
    fringe_width: float = 45.0
    fringe_level: float = 12.0
    fringe_sweep: float = 0.0
    fringe_open: float = 0.0  # how much longer it is 50 mm to the side
    # The flow: a parting, the whorl at the crown, forward (+) or backward (-), to the left (+) or right.
    part: float = 0.0
    part_bend: float = 0.0
    parted: float = 0.0
    radial: float = 1.0
    whorl: float = 0.0
    swirl: float = 0.2
    sweep: float = 0.0
    across: float = 0.0
    # The body: angles at the roots, how hair clings, sags and bends, how far it stands off.
    lift: float = 25.0
    quiff: float = 0.0
    follow: float = 1.0
    cling: float = 0.7  # pull back to the head where hair stands off further than its volume
    gravity: float = 0.6
    stiffness: float = 25.0
    spring: float = 0.0
    volume: float = 8.0
    thickness: float = 6.0
    face_gap: float = 62.0
    # Curls: sizes and lengths of waves and helices, loose noise, how far from the root they are whole.
    wave: float = 0.0
    wave_length: float = 60.0
    curl: float = 0.0
    curl_length: float = 25.0
    frizz: float = 0.4
    settle: float = 60.0
    clumps: int = 1100
    clump: float = 0.3
    clump_start: float = 0.5
    rope: float = 0.0  # radius of locs or braids; 0: none
    plaited: bool = False
    # Tied hair: where to, what hangs there, how long it is.
    gather: str = ""
    tail: str = ""
    tail_length: float = 0.0
    # The hair line: how far it has gone back, corners, peak; the nape's; a bald place about the crown.
    recession: float = 0.0
    temples: float = 0.0
    peak: float = 0.0
    nape_line: float = 0.0
    bald: float = 30.0
    baldness: float = 0.0
    strands: int = 16000
    width: float = 0.9
    density: float = 1.0


@dataclass(frozen=True)
class Hair:
    """Head hair: its style, colours and gloss. `style` is "cut/texture", or "bald"."""

    style: str
    colour: Colour
    tip_colour: Colour
    variation: float  # of lightness from strand to strand, a factor's sigma
    streaks: float  # of lightness between locks
    gloss: float
    scalp: float  # 0..1 how dense hair looks painted on the skin below
    form: Style


@dataclass(frozen=True)
class Face:
    """Iris, brows, lashes, teeth, beard."""

    iris: str
    iris_tint: Colour
    brows: str
    brow_colour: Colour
    brow_density: float
    lashes: str
    lash_density: float
    teeth: str
    beard: str  # kind, see styles.BEARDS
    beard_colour: Colour
    stubble: float  # 0..1 painted
    beard_length: float  # of the chin's hair; 0: none
    beard_cover: float  # 0 chin only .. 1 full
    beard_seed: int


@dataclass(frozen=True)
class Wear:
    """What is worn on the head; empty names: nothing."""

    glasses: str
    glasses_colour: Colour
    lens: Colour  # transmittance
    lens_tint: float  # 0 clear .. 1 sunglasses
    hat: str
    hat_colours: tuple[Colour, Colour]
    earrings: str
    earring_colour: Colour
    seed: int


@dataclass(frozen=True)
class Clothes:
    """Cloth over the shoulders, and what lies around the neck: see garments.py."""

    garment: str
    neckline: str
    depth: float
    colours: tuple[Colour, Colour]
    inner: Colour  # of a shirt below a jacket
    tie: Colour
    pattern: str
    period: float
    looseness: float
    seed: int


@dataclass(frozen=True)
class Light:
    """Light fixed to the world: an environment or lamps; then the camera's answer."""

    environment: str  # name of a map of the assets; "": lamps
    turn: float  # of the map around the vertical
    strength: float  # irradiance / pi from the front that the map is scaled to
    neutral: float  # 0..1 how far the map's cast is taken off
    directions: tuple[Colour, Colour, Colour]  # of lamps: unit vectors towards them
    colours: tuple[Colour, Colour, Colour]
    sky: Colour
    ground: Colour
    softness: float  # of the shadow's edge
    exposure: float  # stops
    white_balance: Colour
    contrast: float
    saturation: float


@dataclass(frozen=True)
class Person:
    """All parameters of a head of the second edition."""

    number: int
    seed: int
    split: str
    edition: int
    shape: Shape
    skin: Skin
    hair: Hair
    face: Face
    wear: Wear
    shirt: Clothes
    light: Light


def as_json(person: Person) -> dict[str, Any]:
    """The parameters as plain lists, numbers and strings."""
    return asdict(person)
