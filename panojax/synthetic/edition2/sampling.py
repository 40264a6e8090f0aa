"""How the second edition's people are drawn: from (seed, number) and nothing else, each group from a stream of its own.

Shape and skin are drawn as in the first edition.
"""

from dataclasses import replace

import numpy as np

from panojax.synthetic import assets, splits
from panojax.synthetic.edition2 import accessories, garments, styles
from panojax.synthetic.edition2.people import Clothes, Face, Hair, Light, Person, Wear
from panojax.synthetic.identity import Colour, Shape
from panojax.synthetic.sampling import (
    GREY,
    HAIR_COLOUR_WEIGHTS,
    HAIR_COLOURS,
    IRIS_WEIGHTS,
    _clipped,
    _colour,
    _number,
    _pick,
    sample_light,
    sample_shape,
    sample_shirt,
    sample_skin,
    stream,
)

Rng = np.random.Generator

TEXTURE_WEIGHTS = {  # straight, soft, wavy, curly, ringlets, coily
    "african": (0.03, 0.04, 0.06, 0.15, 0.17, 0.55),
    "asian": (0.50, 0.28, 0.16, 0.04, 0.01, 0.01),
    "caucasian": (0.27, 0.28, 0.27, 0.12, 0.05, 0.01),
}
HATTED = 0.06
HAT_WEIGHTS = {  # of women, of men
    "beanie": (2.0, 3.0), "slouch": (1.0, 0.8), "cap": (1.2, 3.5), "cap_back": (0.3, 1.2), "bucket": (0.8, 0.8),
    "fedora": (0.6, 1.2), "sun": (1.2, 0.1), "beret": (1.0, 0.3), "turban": (0.7, 0.7), "hijab": (2.6, 0.0),
    "headscarf": (1.0, 0.3), "headband": (1.2, 0.2),
}  # fmt: skip
GARMENT_WEIGHTS = {  # shirt, collar, suit, jacket, hoodie, scarf, turtleneck
    "female": (0.46, 0.13, 0.04, 0.13, 0.08, 0.07, 0.09),
    "male": (0.38, 0.22, 0.12, 0.09, 0.11, 0.03, 0.05),
}
LAMPS = 0.3  # share of heads that are lit by lamps
DIM = ("night",)  # environments that are drawn half as often


def sex_of(shape: Shape) -> str:
    """The sex that styles and clothes go by."""
    return "male" if shape.male > 0.5 else "female"


def sample_colours(rng: Rng, shape: Shape, ancestry: str) -> tuple[Colour, Colour]:
    """Colour at roots and tips: natural by ancestry, greying with age, at times dyed, with highlights or dark roots."""
    natural = np.array(HAIR_COLOURS[_pick(rng, tuple(HAIR_COLOURS), HAIR_COLOUR_WEIGHTS[ancestry])])
    dyed = rng.random()
    if dyed < 0.22 and shape.age > 16 and sex_of(shape) == "female":
        natural = np.array(HAIR_COLOURS[_pick(rng, tuple(HAIR_COLOURS))])
    if dyed < 0.012 and 14 < shape.age < 50:
        natural = rng.uniform(0.03, 0.4, 3)
    grey = np.clip(rng.normal((shape.age - 54) / 24, 0.3), 0, 1) * (dyed >= 0.15)
    root = natural * np.exp(rng.normal(0, 0.20) + rng.normal(0, 0.10) * np.array([1.0, 0.0, -1.0]))
    root = root * (1 - grey) + np.array(GREY) * grey * rng.uniform(0.6, 1.4) * (1.0, 0.985, 0.96)
    tip = root * np.exp(rng.normal(0.15, 0.18)) * (1.0, 0.97, 0.92)
    if sex_of(shape) == "female" and shape.age > 16 and rng.random() < 0.14:  # balayage
        tip = 0.4 * root + 0.6 * np.array(HAIR_COLOURS[_pick(rng, ("blond", "dark blond", "light brown", "red"))])
    return _colour(np.clip(root, 0.010, 0.50)), _colour(np.clip(tip, 0.010, 0.56))


def sample_hair(rng: Rng, shape: Shape, split: str) -> Hair:
    """Cut, texture, colours."""
    sex, ancestry = sex_of(shape), _pick(rng, tuple(shape.ancestry), list(shape.ancestry.values()))
    texture = _pick(rng, tuple(styles.TEXTURES), TEXTURE_WEIGHTS[ancestry])
    held_out = split == "test" and rng.random() < 0.5
    weights = {}
    for cut, (women, men, textures, _) in styles.CUTS.items():
        weight = men if sex == "male" else women
        if cut in ("receding", "tonsure", "thin_crown"):
            weight *= np.clip((shape.age - 24) / 22, 0, 2.5)
        if cut in styles.ROPED:
            weight *= 0.15 + 2.0 * shape.ancestry["african"]
        if (cut in styles.TEST_ONLY_CUTS) != held_out and (cut in styles.TEST_ONLY_CUTS or held_out):
            weight = 0.0
        weights[cut] = weight * (texture in textures)
    if not sum(weights.values()):
        return sample_hair(rng, shape, split)
    cut = _pick(rng, tuple(weights), list(weights.values()))
    form = styles.sample_style(rng, cut, texture)
    root, tip = sample_colours(rng, shape, ancestry)
    bald = rng.random() < (0.02 if sex == "male" else 0.003) * (1 + max(0.0, shape.age - 30) / 8)
    light = float(np.mean(root))
    return Hair(
        style="bald" if bald else f"{cut}/{texture}",
        colour=root,
        tip_colour=tip if form.front > 30 else root,
        variation=_number(rng.uniform(0.10, 0.30) + 0.06 * (shape.age > 55)),
        streaks=_number(rng.uniform(0.02, 0.16)),
        gloss=_number(rng.uniform(0.35, 1.3) * (0.6 if texture == "coily" else 1.0)),
        scalp=_number(rng.uniform(0.0, 0.4) if bald else rng.uniform(0.75, 0.95) - 0.35 * min(light, 0.6)),
        form=form,
    )


def sample_face(rng: Rng, shape: Shape, hair: Hair) -> Face:
    """Iris, brows, lashes, teeth and beard."""
    sex, ancestry = sex_of(shape), _pick(rng, tuple(shape.ancestry), list(shape.ancestry.values()))
    brow = np.minimum(np.array(hair.colour), 0.3) * rng.uniform(0.4, 0.85)
    hue = np.array(hair.colour)
    hue = hue if hue[0] >= hue[1] >= 0.7 * hue[2] else hue.mean() * np.array([1.1, 0.95, 0.85])
    beard = hue * rng.uniform(0.7, 1.1) * (1.05, 0.95, 0.88)
    grown = sex == "male" and shape.age > 18
    kinds = tuple(styles.BEARDS)
    kind = _pick(rng, kinds, [styles.BEARDS[name][0] for name in kinds]) if grown else "none"
    _, cover, painted, lengths = styles.BEARDS[kind]
    return Face(
        iris=_pick(rng, assets.IRISES, IRIS_WEIGHTS[ancestry]),
        iris_tint=_colour(rng.normal(1.0, 0.08, 3).clip(0.75, 1.25)),
        brows=_pick(rng, assets.BROWS),
        brow_colour=_colour(np.clip(brow, 0.006, 0.35)),
        brow_density=_number(rng.uniform(0.55, 0.95)),
        lashes=_pick(rng, assets.LASHES),
        lash_density=_number(rng.uniform(0.4, 1.0) if sex == "female" else rng.uniform(0.2, 0.5)),
        teeth=_pick(rng, assets.TEETH),
        beard=kind,
        beard_colour=_colour(np.clip(beard, 0.008, 0.6)),
        stubble=_number(painted * rng.uniform(0.6, 1.2)),
        beard_length=_number(rng.uniform(*lengths)),
        beard_cover=_number(cover),
        beard_seed=int(rng.integers(2**31)),
    )


def sample_wear(rng: Rng, shape: Shape, hair: Hair) -> Wear:
    """Glasses, a hat or earrings, each on some; one head in three wears something."""
    sex = sex_of(shape)
    glasses = rng.random() < 0.09 + 0.05 * (shape.age > 50)
    hat = rng.random() < HATTED
    rings = rng.random() < (0.15 if sex == "female" and shape.age > 10 else 0.01)
    metals: tuple[Colour, ...] = ((0.62, 0.60, 0.57), (0.65, 0.48, 0.22), (0.05, 0.05, 0.055), (0.55, 0.36, 0.27))
    frames = tuple(accessories.FRAMES)
    frame = _pick(rng, frames)
    metal = accessories.FRAMES[frame][5] < 1.0
    dark = np.exp(rng.normal(-3.6, 0.5)) * np.exp(rng.normal(0, 0.25, 3))
    bright = rng.beta(1.5, 2.5, 3) * 0.6
    plastic = dark if rng.random() < 0.75 else bright
    sun = rng.random() < 0.12
    shade = rng.uniform(0.006, 0.03) * np.exp(rng.normal(0, 0.3, 3))
    colours = cloth_colour(rng), cloth_colour(rng)
    weights = [HAT_WEIGHTS[name][sex == "male"] for name in accessories.HATS]
    return Wear(
        glasses=frame if glasses else "",
        glasses_colour=_colour(metals[int(rng.integers(4))] if metal else np.clip(plastic, 0.006, 0.6)),
        lens=_colour(shade),
        lens_tint=_number(rng.uniform(0.8, 1.0) if sun else rng.uniform(0.02, 0.10) + 0.25 * (rng.random() < 0.06)),
        hat=_pick(rng, accessories.HATS, weights) if hat else "",
        hat_colours=colours,
        earrings=_pick(rng, accessories.EARRINGS) if rings else "",
        earring_colour=_colour(metals[int(rng.choice([0, 1, 3]))]),
        seed=int(rng.integers(2**31)),
    )


def cloth_colour(rng: Rng) -> Colour:
    """Of cloth: mostly muted, often dark or white, sometimes bright."""
    kind = rng.random()
    if kind < 0.28:
        return _colour(np.exp(rng.normal(-3.6, 0.5)) * np.exp(rng.normal(0, 0.15, 3)).clip(0.6, 1.5))
    if kind < 0.42:
        return _colour(rng.uniform(0.45, 0.78) * np.exp(rng.normal(0, 0.03, 3)))
    grey = rng.beta(1.0, 2.2) * 0.6 + 0.02
    hue = rng.dirichlet((0.9, 0.9, 0.9)) * 3
    return _colour(np.clip(grey * (1 + rng.beta(1.3, 1.6) * (hue - 1)), 0.008, 0.8))


def sample_clothes(rng: Rng, shape: Shape) -> Clothes:
    """A garment over the shoulders and its colours."""
    plain = sample_shirt(rng)
    weights = GARMENT_WEIGHTS["male" if sex_of(shape) == "male" else "female"]
    garment = _pick(rng, garments.GARMENTS, weights)
    if shape.age < 14 and garment == "suit":
        garment = "hoodie"
    white = rng.random() < 0.6
    return Clothes(
        garment=garment,
        neckline=plain.neckline,
        depth=plain.depth,
        colours=(cloth_colour(rng), cloth_colour(rng)),
        inner=_colour(rng.uniform(0.55, 0.78) * np.exp(rng.normal(0, 0.03, 3))) if white else cloth_colour(rng),
        tie=cloth_colour(rng),
        pattern=plain.pattern if garment in ("shirt", "collar", "scarf") or rng.random() < 0.15 else "plain",
        period=plain.period,
        looseness=plain.looseness,
        seed=int(rng.integers(2**31)),
    )


def sample_lights(rng: Rng, environments: tuple[str, ...]) -> Light:
    """An environment, or lamps as in the first edition; the camera's settings."""
    lamps = sample_light(rng)
    outdoors = rng.random() >= LAMPS
    weights = [0.5 if name in DIM else 1.0 for name in environments]
    name = _pick(rng, environments, weights) if outdoors else ""
    return Light(
        environment=name,
        turn=_number(rng.uniform(0, 360)),
        strength=_number(np.exp(rng.normal(-0.15, 0.25))),
        neutral=_number(rng.uniform(0.6, 1.0)),
        directions=lamps.directions,
        colours=lamps.colours,
        sky=lamps.sky,
        ground=lamps.ground,
        softness=_number(rng.uniform(1.5, 9.0)),
        exposure=_clipped(rng, 0.0, 0.28, -0.7, 0.7),
        white_balance=lamps.white_balance if not name else _colour(np.exp(rng.normal(0, 0.04) * np.array([1, 0, -1]))),
        contrast=_number(rng.uniform(0.92, 1.15)),
        saturation=_number(rng.uniform(0.85, 1.1)),
    )


def sample_person(seed: int, number: int) -> Person:
    """The person `number` (>= 0) of the family `seed` (>= 0)."""
    split = splits.split_of(number)
    shape = sample_shape(stream(seed, number, "shape"))
    hair = sample_hair(stream(seed, number, "hair 2"), shape, split)
    wear = sample_wear(stream(seed, number, "wear"), shape, hair)
    if wear.hat:
        hair = replace(hair, form=styles.below_hat(hair.form, wear.hat))
    return Person(
        number=number,
        seed=seed,
        split=split,
        edition=2,
        shape=shape,
        skin=sample_skin(stream(seed, number, "skin"), shape, split),
        hair=hair,
        face=sample_face(stream(seed, number, "face 2"), shape, hair),
        wear=wear,
        shirt=sample_clothes(stream(seed, number, "shirt 2"), shape),
        light=sample_lights(stream(seed, number, "light 2"), assets.ENVIRONMENTS),
    )
