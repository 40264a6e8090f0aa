"""How identities are drawn: from (seed, identity number) and nothing else.

Each group of choices has its own stream of random numbers, so that a new choice in one leaves the others as they were.
Units are those of identity.py; angles are in degrees.
"""

import zlib
from typing import Any

import numpy as np

from panojax.synthetic import assets, splits
from panojax.synthetic.identity import Colour, Face, Hair, Identity, Light, Shape, Shirt, Skin

Rng = np.random.Generator

# Detail targets in opposing pairs, by region: (endings, stems). Left ones ("l-") are mirrored to the right. Left out
# are those that move or turn the whole head or a whole feature sideways.
DETAILS: dict[str, tuple[tuple[str, str], ...]] = {
    "cheek": (("decr incr", "l-cheek-bones l-cheek-inner l-cheek-volume"), ("down up", "l-cheek-trans")),
    "chin": (
        (
            "decr incr",
            "chin-bones chin-cleft chin-height chin-jaw-drop chin-prognathism chin-prominent chin-width",
        ),
    ),
    "ears": (
        ("decr incr", "l-ear-flap l-ear-lobe l-ear-scale l-ear-scale-depth l-ear-scale-vert l-ear-wing"),
        ("backward forward", "l-ear-rot l-ear-trans"),
        ("down up", "l-ear-trans"),
    ),
    "eyebrows": (("down up", "eyebrows-angle eyebrows-trans"), ("backward forward", "eyebrows-trans")),
    "eyes": (
        ("decr incr", "l-eye-bag l-eye-bag-height l-eye-height1 l-eye-height2 l-eye-height3 l-eye-scale"),
        ("in out", "l-eye-bag l-eye-epicanthus l-eye-push1 l-eye-push2 l-eye-trans"),
        ("down up", "l-eye-corner1 l-eye-corner2 l-eye-eyefold-angle l-eye-eyefold l-eye-trans"),
        ("concave convex", "l-eye-eyefold"),
    ),
    "forehead": (
        ("decr incr", "forehead-nubian forehead-scale-vert forehead-temple"),
        ("backward forward", "forehead-trans"),
    ),
    "head": (("decr incr", "head-back-scale-depth head-fat"),),
    "mouth": (
        ("down up", "mouth-angles mouth-lowerlip-ext mouth-lowerlip-middle mouth-trans mouth-upperlip-ext"),
        ("down up", "mouth-upperlip-middle"),
        ("decr incr", "mouth-cupidsbow mouth-cupidsbow-width mouth-lowerlip-height mouth-lowerlip-volume"),
        ("decr incr", "mouth-lowerlip-width mouth-philtrum-volume mouth-scale-depth mouth-scale-horiz"),
        ("decr incr", "mouth-scale-vert mouth-upperlip-height mouth-upperlip-volume mouth-upperlip-width"),
        ("in out", "mouth-dimples mouth-laugh-lines"),
        ("backward forward", "mouth-trans"),
    ),
    "neck": (("decr incr", "measure-neck-circ neck-double neck-scale-depth neck-scale-horiz"),),
    "nose": (
        ("down up", "nose-base nose-nostrils-angle nose-point nose-trans"),
        ("compress uncompress", "nose-compression"),
        ("concave convex", "nose-curve"),
        ("decr incr", "nose-flaring nose-greek nose-hump nose-nostrils-width nose-point-width nose-scale-depth"),
        ("decr incr", "nose-scale-horiz nose-scale-vert nose-septumangle nose-volume nose-width1 nose-width2"),
        ("decr incr", "nose-width3"),
        ("backward forward", "nose-trans"),
    ),
}
HEAD_SHAPES = ("diamond", "invertedtriangular", "oval", "rectangular", "round", "square", "triangular")
EAR_SHAPES = ("pointed", "round", "square", "triangle")
DETAIL_SIGMA = 0.22  # at 0.35 heads turn grotesque
ASYMMETRY_SIGMA = 0.03
DETAIL_MEANS = {"eyebrows-angle": 0.3}  # the base mesh looks stern

HAIR_COLOURS: dict[str, Colour] = {
    "black": (0.014, 0.012, 0.011),
    "dark brown": (0.038, 0.022, 0.014),
    "brown": (0.080, 0.043, 0.024),
    "light brown": (0.150, 0.088, 0.048),
    "dark blond": (0.245, 0.160, 0.088),
    "blond": (0.430, 0.310, 0.175),
    "auburn": (0.125, 0.040, 0.018),
    "red": (0.270, 0.085, 0.028),
}
GREY: Colour = (0.42, 0.41, 0.40)
HAIR_COLOUR_WEIGHTS = {
    "african": (0.75, 0.20, 0.04, 0.005, 0.0, 0.0, 0.005, 0.0),
    "asian": (0.70, 0.22, 0.06, 0.01, 0.0, 0.0, 0.01, 0.0),
    "caucasian": (0.10, 0.20, 0.22, 0.16, 0.12, 0.10, 0.05, 0.05),
}
IRIS_WEIGHTS = {
    "african": (0.0, 0.0, 0.78, 0.18, 0.0, 0.02, 0.0, 0.0, 0.02),
    "asian": (0.0, 0.0, 0.78, 0.18, 0.0, 0.02, 0.02, 0.0, 0.0),
    "caucasian": (0.14, 0.09, 0.20, 0.15, 0.09, 0.11, 0.09, 0.05, 0.08),
}
# "fur": short hair grown on the skin, of any length up to a small afro; "bald": none.
HAIR_STYLES = (*assets.HAIR, "fur", "bald")
#                  Braid  afro  bob1  bob2  long  pony  sh1   sh2   sh3   sh4   fur   bald
HAIR_WEIGHTS = {
    "female": (0.13, 0.04, 0.13, 0.11, 0.21, 0.15, 0.02, 0.04, 0.13, 0.02, 0.07, 0.01),
    "male": (0.01, 0.04, 0.01, 0.01, 0.05, 0.04, 0.19, 0.17, 0.08, 0.19, 0.23, 0.08),
}
STYLE_SIZES = {"afro01": (0.92, 0.97), "bob01": (0.93, 0.99)}  # these two are wider than the picture would like
NECKLINES = ("crew", "v", "boat", "high")
PATTERNS = ("plain", "melange", "stripes", "checks", "dots")


def stream(seed: int, number: int, purpose: str) -> Rng:
    """The random numbers of one purpose ("hair", "cameras", ...) of one identity."""
    return np.random.default_rng([seed, number, zlib.crc32(purpose.encode())])


def _colour(values: Any) -> Colour:
    red, green, blue = (round(float(value), 5) for value in values)
    return red, green, blue


def _number(value: Any) -> float:
    return round(float(value), 5)


def _clipped(rng: Rng, mean: float, sigma: float, low: float, high: float) -> float:
    return _number(np.clip(rng.normal(mean, sigma), low, high))


def _pick(rng: Rng, names: tuple[str, ...], weights: Any = None) -> str:
    shares = None if weights is None else np.asarray(weights, float) / np.sum(weights)
    return names[int(rng.choice(len(names), p=shares))]


def sample_details(rng: Rng) -> dict[str, float]:
    """Weights in 0..1 of detail targets: one of each opposing pair, left and right nearly alike."""
    weights: dict[str, float] = {}
    for region, rows in DETAILS.items():
        for endings, stems in rows:
            low, high = endings.split()
            for stem in stems.split():
                value = np.clip(rng.normal(DETAIL_MEANS.get(stem, 0.0), DETAIL_SIGMA), -0.75, 0.75)
                sides = (stem, "r" + stem[1:]) if stem.startswith("l-") else (stem,)
                for side in sides:
                    sided = value + (rng.normal(0, ASYMMETRY_SIGMA) if len(sides) == 2 else 0.0)
                    weights[f"{region}/{side}-{high if sided > 0 else low}"] = _number(abs(sided))
    weights[f"head/head-{_pick(rng, HEAD_SHAPES)}"] = _number(rng.beta(1.2, 2.0) * 0.8)
    ear, weight = _pick(rng, EAR_SHAPES), _number(rng.uniform(0, 0.35))
    return weights | {f"ears/{side}-ear-shape-{ear}": weight for side in "lr"}


def sample_expression(rng: Rng) -> dict[str, float]:
    """Weights of face units: mostly a quiet face, sometimes a smile, a frown, raised brows or an open mouth; and a
    gaze.
    """
    both = {"mouthSmile": 0.0, "mouthFrown": 0.0, "browDown": 0.0, "browOuterUp": 0.0, "eyeSquint": 0.0, "eyeWide": 0.0}
    units = {"browInnerUp": 0.0, "jawOpen": 0.0, "mouthPucker": 0.0, "mouthShrugLower": 0.0, "mouthFunnel": 0.0}
    mood = _pick(rng, ("quiet", "smile", "grin", "frown", "surprise", "talk"), (0.4, 0.25, 0.12, 0.07, 0.06, 0.10))
    if mood == "quiet":
        both |= {"mouthSmile": rng.uniform(0.0, 0.2)}
    if mood in ("smile", "grin"):
        both |= {"mouthSmile": rng.uniform(0.2, 0.7), "eyeSquint": rng.uniform(0.0, 0.35)}
    if mood == "grin":
        both |= {"mouthUpperUp": rng.uniform(0.15, 0.45), "mouthLowerDown": rng.uniform(0.05, 0.3)}
        units |= {"jawOpen": rng.uniform(0.02, 0.2)}
    if mood == "frown":
        both |= {"mouthFrown": rng.uniform(0.1, 0.5), "browDown": rng.uniform(0.1, 0.6)}
    if mood == "surprise":
        both |= {"browOuterUp": rng.uniform(0.2, 0.6), "eyeWide": rng.uniform(0.1, 0.5)}
        units |= {"browInnerUp": rng.uniform(0.2, 0.7), "jawOpen": rng.uniform(0.05, 0.35)}
    if mood == "talk":
        units |= {"jawOpen": rng.uniform(0.05, 0.3), "mouthFunnel": rng.uniform(0, 0.3)}
        both |= {"mouthUpperUp": rng.uniform(0, 0.25), "mouthLowerDown": rng.uniform(0, 0.3)}
    both["eyeBlink"] = np.clip(rng.normal(0.06, 0.08), 0, 0.35)
    units["browInnerUp"] += max(0.0, rng.normal(0.15, 0.14))
    units["mouthShrugLower"] = max(0.0, rng.normal(0, 0.08))
    weights = dict(units)
    for name, value in both.items():
        for side in ("Left", "Right"):
            weights[name + side] = np.clip(value + rng.normal(0, 0.03), 0, 1) if value else 0.0
    across, up = rng.normal(0, 0.18), rng.normal(0, 0.12)
    weights |= {
        f"eyeLook{'Out' if across > 0 else 'In'}Left": abs(across),
        f"eyeLook{'In' if across > 0 else 'Out'}Right": abs(across),
    }
    weights |= {f"eyeLook{'Up' if up > 0 else 'Down'}{side}": abs(up) for side in ("Left", "Right")}
    return {name: _number(value) for name, value in weights.items() if value > 1e-3}


def sample_shape(rng: Rng) -> Shape:
    """Sex, age, ancestry, build, details, expression."""
    male = rng.beta(0.35, 0.35)
    age = rng.choice(
        [rng.uniform(8, 18), rng.uniform(18, 40), rng.uniform(40, 65), rng.uniform(65, 85)], p=(0.08, 0.47, 0.29, 0.16)
    )
    ancestry = rng.dirichlet((0.4, 0.4, 0.4))
    return Shape(
        male=_number(male),
        age=_number(age),
        ancestry=dict(zip(("african", "asian", "caucasian"), map(_number, ancestry))),
        muscle=_clipped(rng, 0.5 + 0.1 * (male - 0.5), 0.17, 0.05, 0.95),
        weight=_clipped(rng, 0.5, 0.2, 0.05, 1.0),
        details=sample_details(rng),
        expression=sample_expression(rng),
    )


def sample_skin(rng: Rng, shape: Shape, split: str) -> Skin:
    """Two skins near the shape's age, sex and ancestry, and how the mix is tinted."""
    sex = "male" if shape.male > 0.5 else "female"

    def pick() -> str:
        years = shape.age + rng.normal(0, 6)
        age = "young" if years < 36 else "middleage" if years < 56 else "old"
        ancestry = _pick(rng, tuple(shape.ancestry), [weight + 0.01 for weight in shape.ancestry.values()])
        name = f"{age}_{ancestry}_{sex}"
        if name in splits.TEST_ONLY_SKINS and split != "test":
            name = f"{'middleage' if age != 'middleage' else 'young'}_{ancestry}_{sex}"
        return name

    names = pick(), pick()
    if split == "test" and rng.random() < 0.5:
        names = (_pick(rng, tuple(name for name in splits.TEST_ONLY_SKINS if name.endswith(f"_{sex}"))), names[1])
    level, warmth = rng.normal(0, 0.17), rng.normal(0, 0.05)
    tint = np.exp(
        level * np.array([0.6, 0.95, 1.15] if level < 0 else [0.6, 0.75, 0.8])
        + warmth * np.array([1.0, 0.0, -1.0])
        + rng.normal(0, 0.02, 3)
    )
    lipstick = sex == "female" and shape.age > 16 and rng.random() < 0.4
    lips = (
        rng.uniform((0.75, 0.35, 0.35), (1.05, 0.75, 0.85))
        if lipstick
        else rng.uniform((0.95, 0.8, 0.8), (1.1, 1.0, 1.0))
    )
    return Skin(
        names=names,
        mix=_number(rng.beta(0.6, 0.6) * 0.5),
        tint=_colour(np.clip(tint, 0.45, 1.5)),
        gloss=_number(rng.uniform(0.3, 1.3)),
        roughness=_number(rng.uniform(0.32, 0.55)),
        redness=_number(rng.beta(1.5, 3)),
        lips=_colour(lips),
        freckles=_number(rng.beta(1, 2) if rng.random() < 0.25 else 0.0),
        noise_seed=int(rng.integers(2**31)),
    )


def sample_hair_colour(rng: Rng, shape: Shape) -> tuple[Colour, Colour]:
    """Colour at the roots and at the tips: natural by ancestry, greying with age, rarely dyed."""
    ancestry = _pick(rng, tuple(shape.ancestry), list(shape.ancestry.values()))
    natural = np.array(HAIR_COLOURS[_pick(rng, tuple(HAIR_COLOURS), HAIR_COLOUR_WEIGHTS[ancestry])])
    dyed = rng.random()
    if dyed < 0.12 and shape.age > 16:
        natural = np.array(HAIR_COLOURS[_pick(rng, tuple(HAIR_COLOURS))])
    if dyed < 0.02:
        natural = rng.uniform(0.02, 0.5, 3)
    grey = np.clip(rng.normal((shape.age - 52) / 28, 0.3), 0, 1) * (dyed >= 0.12)
    root = natural * np.exp(rng.normal(0, 0.18) + rng.normal(0, 0.12) * np.array([1.0, 0.0, -1.0]))
    root = root * (1 - grey) + np.array(GREY) * grey * rng.uniform(0.5, 1.15)
    tip = root * np.exp(rng.normal(0.12, 0.15)) * (1.0, 0.97, 0.92)
    return _colour(np.clip(root, 0.008, 0.75)), _colour(np.clip(tip, 0.008, 0.8))


def sample_hair(rng: Rng, shape: Shape, split: str) -> Hair:
    """Style, colour, gloss, size and cut of the head hair."""
    sex = "male" if shape.male > 0.5 else "female"
    weights = np.array(HAIR_WEIGHTS[sex])
    weights[HAIR_STYLES.index("afro01")] *= 0.25 + 4 * shape.ancestry["african"]
    weights[HAIR_STYLES.index("fur")] *= 0.7 + 1.5 * shape.ancestry["african"]
    weights[HAIR_STYLES.index("bald")] *= 0.1 + max(0.0, (shape.age - 25) / 30)
    held_out = np.isin(HAIR_STYLES, splits.TEST_ONLY_HAIR)
    if split != "test":
        weights[held_out] = 0
    elif rng.random() < 0.5:
        weights[~held_out] = 0
    style = _pick(rng, HAIR_STYLES, weights)
    root, tip = sample_hair_colour(rng, shape)
    curly = rng.random() < shape.ancestry["african"]
    longest = 28.0 if curly else 9.0
    cut = rng.uniform(-25, 130) if rng.random() < 0.6 else 1000.0
    if style == "afro01":  # its lowest ring is loose
        cut = rng.uniform(-100, -84)
    size = rng.uniform(*STYLE_SIZES.get(style, (1.0, 1.0)))
    return Hair(
        style=style,
        colour=root,
        tip_colour=tip,
        gloss=_number(rng.uniform(0.15, 1.2)),
        contrast=_number(rng.uniform(0.5, 1.1)),
        scale=_colour(size * rng.normal(1.015, 0.02, 3).clip(1.0, 1.06)),
        cut=_number(cut),
        fringe=_number(rng.uniform(4, 22) if rng.random() < 0.93 else -1000.0),
        fur_length=_number(1.5 + (longest - 1.5) * rng.beta(0.9, 1.6)),
        fur_clump=_number(rng.uniform(3.0, 6.5) if curly else rng.uniform(1.4, 2.6)),
        scalp=_number(rng.uniform(0.0, 0.55) if style == "bald" else 1.0),
        hairline=_number(
            max(-4.0, rng.normal(0, 4) + max(0.0, rng.normal((shape.age - 40) * 0.35, 8)) * (sex == "male"))
        ),
        noise_seed=int(rng.integers(2**31)),
    )


def sample_face(rng: Rng, shape: Shape, hair: Hair) -> Face:
    """Iris, brows, lashes, teeth and beard."""
    sex = "male" if shape.male > 0.5 else "female"
    ancestry = _pick(rng, tuple(shape.ancestry), list(shape.ancestry.values()))
    dark = np.array(hair.colour) * rng.uniform(0.45, 0.9)
    beard = np.array(hair.colour) * rng.uniform(0.7, 1.1) * (1.0, 0.95, 0.92)
    grown = sex == "male" and shape.age > 20
    kind = _pick(rng, ("none", "stubble", "beard"), (0.40, 0.32, 0.28)) if grown else "none"
    return Face(
        iris=_pick(rng, assets.IRISES, IRIS_WEIGHTS[ancestry]),
        iris_tint=_colour(rng.normal(1.0, 0.08, 3).clip(0.75, 1.25)),
        brows=_pick(rng, assets.BROWS),
        brow_colour=_colour(np.clip(dark, 0.006, 0.4)),
        brow_density=_number(rng.uniform(0.65, 1.0)),
        lashes=_pick(rng, assets.LASHES),
        lash_density=_number(rng.uniform(0.5, 1.0) if sex == "female" else rng.uniform(0.25, 0.55)),
        teeth=_pick(rng, assets.TEETH),
        beard_colour=_colour(np.clip(beard, 0.008, 0.6)),
        stubble=_number({"none": 0.0, "stubble": rng.uniform(0.2, 0.75), "beard": rng.uniform(0.7, 1.0)}[kind]),
        beard_length=_number(1.5 + 10 * rng.beta(1.0, 2.2) if kind == "beard" else 0.0),
        beard_cover=_number(rng.uniform(0.85, 1.0) if rng.random() < 0.75 else rng.uniform(0.0, 0.08)),
    )


def sample_shirt(rng: Rng) -> Shirt:
    """Cloth: mostly plain and muted, sometimes bright or patterned."""

    def colour() -> Colour:
        grey = rng.beta(0.8, 1.2) * 0.75 + 0.01
        hue = rng.dirichlet((0.8, 0.8, 0.8)) * 3
        return _colour(np.clip(grey * (1 + rng.beta(1, 1.6) * (hue - 1)), 0.008, 0.85))

    return Shirt(
        neckline=_pick(rng, NECKLINES, (0.45, 0.2, 0.17, 0.18)),
        depth=_number(rng.uniform(0, 1)),
        colours=(colour(), colour()),
        pattern=_pick(rng, PATTERNS, (0.45, 0.25, 0.14, 0.10, 0.06)),
        period=_number(np.exp(rng.uniform(np.log(6), np.log(50)))),
        looseness=_number(rng.uniform(2.5, 7.0)),
    )


def sample_light(rng: Rng) -> Light:
    """A key light mostly from the front and above, fill and rim lights, a soft surround, the camera's settings."""

    def towards(azimuth: float, elevation: float) -> Colour:
        a, e = np.radians([azimuth, elevation])
        return _colour((np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)))

    def tint(kelvin_like: float) -> np.ndarray:
        return np.exp(kelvin_like * np.array([1.0, 0.1, -1.1]))

    azimuth = rng.normal(0, 65)
    key, surround = rng.uniform(0.35, 1.5), rng.uniform(0.35, 0.9)
    warmth = rng.normal(0, 0.10)
    fill, rim = rng.uniform(0.05, 0.45), rng.uniform(0.0, 0.6)
    sky = surround * tint(rng.normal(-0.04, 0.07))
    return Light(
        directions=(
            towards(azimuth, rng.uniform(5, 70)),
            towards(azimuth + rng.choice([-1, 1]) * rng.uniform(60, 150), rng.uniform(-10, 40)),
            towards(azimuth + 180 + rng.normal(0, 40), rng.uniform(0, 60)),
        ),
        colours=(
            _colour(key * tint(warmth)),
            _colour(fill * tint(rng.normal(0, 0.12))),
            _colour(rim * tint(rng.normal(0, 0.12))),
        ),
        softness=_number(rng.uniform(1.0, 9.0)),
        sky=_colour(sky),
        ground=_colour(sky * rng.uniform(0.3, 0.8) * tint(rng.normal(0.04, 0.04))),
        exposure=_clipped(rng, 0.0, 0.25, -0.6, 0.6),
        white_balance=_colour(tint(rng.normal(0, 0.035) - 0.6 * warmth)),
        contrast=_number(rng.uniform(0.9, 1.15)),
        saturation=_number(rng.uniform(0.85, 1.1)),
    )


def sample_identity(seed: int, number: int) -> Identity:
    """The identity `number` (>= 0) of the family `seed` (>= 0)."""
    split = splits.split_of(number)
    shape = sample_shape(stream(seed, number, "shape"))
    hair = sample_hair(stream(seed, number, "hair"), shape, split)
    return Identity(
        number=number,
        seed=seed,
        split=split,
        shape=shape,
        skin=sample_skin(stream(seed, number, "skin"), shape, split),
        hair=hair,
        face=sample_face(stream(seed, number, "face"), shape, hair),
        shirt=sample_shirt(stream(seed, number, "shirt")),
        light=sample_light(stream(seed, number, "light")),
    )
