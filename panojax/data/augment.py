"""Pictures of clean heads made as photos are: in other light, out of focus, noisy, partly hidden, not quite aligned.

    seen, target = augment(key, picture, mask, photos())

Other light falls on the person, so it changes what the encoder sees and what the loss compares with alike. Damage is
the photo's own: it changes only what the encoder sees, which so learns to restore. What is white because nothing is
there stays white through both.

    python -m panojax.data.augment --heads HEADS --out docs/augmentations.jpg
"""

import dataclasses
import math
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np

from panojax.data.head_reader import open_heads
from panojax.data.picture_store import WHITE, SizedPictures
from panojax.errors import InputError
from panojax.synthetic.cameras import yaw_elevation
from panojax.terminal.process import run_function

GRAINS = (1, 2, 4)
"""Sides of the noise's grains in pixels: an encoder that reads the picture pooled still sees the coarse ones."""
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """How pictures are changed before an encoder sees them. The defaults change nothing.

    Each strength is the greatest; a picture's own is drawn uniformly up to it, to both sides where there are two.
    """

    light: float = 0.0
    """Chance of other light on the person."""
    exposure: float = 0.0
    """Of that light: brighter or darker, in stops."""
    gradient: float = 0.0
    """Brighter to one side and darker to the other, in stops at the picture's border."""
    white_balance: float = 0.0
    """Colour channels brighter or darker than their mean, in stops."""
    contrast: float = 0.0
    """Share by which differences from the person's mean grow or shrink."""
    saturation: float = 0.0
    """Share by which colours grow or shrink."""
    crop: float = 0.0
    """Chance that the picture is not quite aligned."""
    shift: float = 0.0
    """Of the misalignment: along each axis, as a share of the side."""
    zoom: float = 0.0
    """Larger or smaller, as a share."""
    degrees: float = 0.0
    """Turned in the picture's plane."""
    patch: float = 0.0
    """Chance that an elliptic patch of one colour hides a part of the person."""
    patch_size: float = 0.0
    """Its longest radius, as a share of the side."""
    blur: float = 0.0
    """Chance of a Gaussian blur."""
    blur_sigma: float = 0.0
    """Its standard deviation, as a share of the side."""
    noise: float = 0.0
    """Chance of noise on the person."""
    noise_level: float = 0.0
    """Its standard deviation for pictures in [-1, 1]."""
    both_views: bool = False
    """Whether other light also falls on heads that are compared from two sides, on both alike; else they keep theirs.
    """

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value >= 0):
                raise InputError(f"augment.{field.name} must not be negative, got {value}")
        for name in ("light", "crop", "patch", "blur", "noise", "contrast", "saturation"):
            if getattr(self, name) > 1:
                raise InputError(f"augment.{name} must be at most 1, got {getattr(self, name)}")
        if self.zoom >= 1:
            raise InputError(f"augment.zoom must be below 1, got {self.zoom}")

    @property
    def enabled(self) -> bool:
        """Whether any picture is changed."""
        return any((self.light, self.crop, self.patch, self.blur, self.noise))


def photos() -> AugmentConfig:
    """What makes synthetic heads like portraits that `panojax align` cropped: its errors, and their light and focus."""
    return AugmentConfig(
        light=0.8,
        exposure=0.7,
        gradient=0.8,
        white_balance=0.25,
        contrast=0.2,
        saturation=0.3,
        crop=0.7,
        shift=0.03,
        zoom=0.05,
        degrees=3.0,
        patch=0.15,
        patch_size=0.15,
        blur=0.4,
        blur_sigma=0.012,
        noise=0.4,
        noise_level=0.06,
    )


def augment(
    key: jax.Array, picture: jax.Array, mask: jax.Array, config: AugmentConfig, *, lit: bool | jax.Array = True
) -> tuple[jax.Array, jax.Array]:
    """What the encoder sees of a picture, and what the loss compares its head with.

    Args:
      key: draws everything; what is off draws nothing.
      picture: [S, S, 3] in [-1, 1], on white.
      mask: the person [S, S, 1] in [0, 1]; `pictures.person_mask` where it is not known.
      config: chances and strengths, static.
      lit: whether other light may fall on it; False where the head is also compared with other pictures.

    Returns:
      (seen, target), [S, S, 3] each, in [-1, 1] as `picture` is.
    """
    keys = _keys(key)

    def maybe(name, change, *now):
        """`change` of arrays where its chance comes up, as drawn by the first half of its key."""
        chance = getattr(config, name)
        if not chance:
            return now
        drawn, rest = jax.random.split(keys[name])
        happens = jax.random.uniform(drawn) < chance
        happens = happens & lit if name == "light" else happens
        return tuple(jnp.where(happens, new, old) for new, old in zip(change(rest, *now, config), now))

    (target,) = maybe("light", lambda key, x, config: (relight(key, x, mask, config),), picture)
    seen, _ = maybe("patch", hide, target, mask)
    seen, mask = maybe("crop", misalign, seen, mask)
    seen, mask = maybe("blur", defocus, seen, mask)
    seen, _ = maybe("noise", add_noise, seen, mask)
    return seen, target


def light_other(
    key: jax.Array,
    views: tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, jax.Array]],
    turn: jax.Array,
    config: AugmentConfig,
) -> jax.Array:
    """Another view of a head in the light that `augment` with the same key gives the first one: [S, S, 3].

    Args:
      views: picture and mask of the first, and of the other.
      turn: [2, 2], from directions in the first picture's plane, x to the right and y down, to those in the other's.
    """
    drawn, rest = jax.random.split(_keys(key)["light"])
    (picture, mask), (other, other_mask) = views
    light = _draw_light(rest)
    _, mean = _under(light, picture, mask, config)
    lit, _ = _under(light | {"along": turn @ light["along"]}, other, other_mask, config, mean=mean)
    return jnp.where(jax.random.uniform(drawn) < config.light, lit, other)


def _keys(key):
    return dict(zip(("light", "patch", "crop", "blur", "noise"), jax.random.split(key, 5)))


def relight(key: jax.Array, picture: jax.Array, mask: jax.Array, config: AugmentConfig) -> jax.Array:
    """The person in other light: exposure, a gradient of it across the picture, white balance, contrast, saturation.

    Light is a factor on linear colours, for which sRGB is taken as a power of 2.2. Where the mask is between 0 and 1,
    the person's own colour is found first, so that no border shows.
    """
    return _under(_draw_light(key), picture, mask, config)[0]


def _draw_light(key):
    """Shares, from -1 to 1, of the greatest strengths, and the gradient's direction (right, down)."""
    draws = jax.random.uniform(key, (8,), minval=-1.0)
    angle = math.pi * draws[3]
    light = dict(zip(("exposure", "gradient", "contrast", "saturation"), draws[4:]))
    balance = draws[:3] - jnp.mean(draws[:3])
    return light | {"balance": balance, "along": jnp.stack([jnp.cos(angle), jnp.sin(angle)])}


def _under(light, picture, mask, config, *, mean=None):
    """A picture under a light, and the mean luma of its person, or `mean`, around which contrast grows or shrinks."""
    value = (picture + 1) / 2
    colour = jnp.clip((value - (1 - mask)) / jnp.maximum(mask, 0.05), 0, 1)
    across = (2 * jnp.arange(picture.shape[0]) + 1) / picture.shape[0] - 1  # of each pixel's centre, -1 to 1
    right, down = light["along"]
    slope = down * across[:, None, None] + right * across[:, None]
    gradient, balance = config.gradient * light["gradient"], config.white_balance * light["balance"]
    new = colour * jnp.exp2((config.exposure * light["exposure"] + gradient * slope + balance) / 2.2)
    if mean is None:
        mean = jnp.sum(new * mask, (0, 1)) @ LUMA / jnp.maximum(jnp.sum(mask), 1.0)
    new = mean + (1 + config.contrast * light["contrast"]) * (new - mean)
    grey = (new @ LUMA)[..., None]
    new = jnp.clip(grey + (1 + config.saturation * light["saturation"]) * (new - grey), 0, 1)
    return jnp.clip(picture + 2 * mask * (new - colour), -1, 1), mean


def hide(key: jax.Array, picture: jax.Array, mask: jax.Array, config: AugmentConfig) -> tuple[jax.Array, jax.Array]:
    """An ellipse of one colour over the person, around a point of the picture's middle half."""
    draws = jax.random.uniform(key, (8,))
    y, x = _from_middle(picture.shape[0])
    x, y = x - (draws[0] - 0.5) / 2, y - (draws[1] - 0.5) / 2
    cosine, sine = jnp.cos(math.pi * draws[2]), jnp.sin(math.pi * draws[2])
    radii = jnp.maximum(config.patch_size, 1e-6) * (0.3 + 0.7 * draws[3:5])
    distance = jnp.hypot((cosine * x + sine * y) / radii[0], (cosine * y - sine * x) / radii[1])
    cover = mask * jnp.clip(8 * (1 - distance), 0, 1)[..., None]
    return picture + cover * (2 * draws[5:] - 1 - picture), mask


def misalign(key: jax.Array, picture: jax.Array, mask: jax.Array, config: AugmentConfig) -> tuple[jax.Array, jax.Array]:
    """Picture and mask shifted, zoomed and turned. What comes in from outside repeats the border."""
    side = picture.shape[0]
    x_shift, y_shift, zoom, turn = jax.random.uniform(key, (4,), minval=-1.0)
    angle, scale = jnp.radians(config.degrees * turn), 1 + config.zoom * zoom
    y, x = _from_middle(side)
    rows = scale * (jnp.cos(angle) * y - jnp.sin(angle) * x) + config.shift * y_shift
    columns = scale * (jnp.cos(angle) * x + jnp.sin(angle) * y) + config.shift * x_shift
    where = [side * (along + 0.5) - 0.5 for along in (rows, columns)]
    look = jax.vmap(lambda x: jax.scipy.ndimage.map_coordinates(x, where, order=1, mode="nearest"), -1, -1)
    return _split(look(_joined(picture, mask)))


def defocus(key: jax.Array, picture: jax.Array, mask: jax.Array, config: AugmentConfig) -> tuple[jax.Array, jax.Array]:
    """Picture and mask blurred by a Gaussian, which at the border is over what there is."""
    side = picture.shape[0]
    sigma = config.blur_sigma * side * jax.random.uniform(key) + 1e-3
    apart = (jnp.arange(side)[:, None] - jnp.arange(side)) / sigma
    weights = jax.nn.softmax(-(apart**2) / 2, axis=-1)
    precise = jax.lax.Precision.HIGHEST
    blurred = jnp.einsum("ij,jkc->ikc", weights, _joined(picture, mask), precision=precise)
    return _split(jnp.einsum("kj,ijc->ikc", weights, blurred, precision=precise))


def add_noise(
    key: jax.Array, picture: jax.Array, mask: jax.Array, config: AugmentConfig
) -> tuple[jax.Array, jax.Array]:
    """Normal noise on the person, as much in grains of each of `GRAINS`."""
    side = picture.shape[0]
    level_key, *keys = jax.random.split(key, 1 + len(GRAINS))
    total = jnp.zeros_like(picture)
    for grain, grain_key in zip(GRAINS, keys):
        draws = jax.random.normal(grain_key, (-(-side // grain), -(-side // grain), 3))
        total += jnp.repeat(jnp.repeat(draws, grain, 0), grain, 1)[:side, :side]
    level = config.noise_level * jax.random.uniform(level_key) / math.sqrt(len(GRAINS))
    return jnp.clip(picture + mask * level * total, -1, 1), mask


def _from_middle(side):
    """Rows and columns [S, S] of the pixels' centres, from the picture's middle, in sides."""
    along = (jnp.arange(side) + 0.5) / side - 0.5
    return jnp.meshgrid(along, along, indexing="ij")


def _joined(picture, mask):
    return jnp.concatenate([picture, mask], axis=-1)


def _split(joined):
    return joined[..., :3], joined[..., 3:]


def write_sheet(heads: pathlib.Path, out: pathlib.Path, *, rows: int = 4, columns: int = 5, seed: int = 0) -> None:
    """Draws what training sees of synthetic heads: the picture, then pairs of what an encoder sees and its target.

    For example:

        python -m panojax.data.augment --heads HEADS --out augmentations.jpg

    Args:
      heads: a folder of `panojax heads`; heads of its training split are shown, each from nearest to the front.
      out: a .jpg.
      rows: heads, as many as there are at most.
      columns: pairs a head.
      seed: of what is drawn.
    """
    from panojax.files.image_file import write_image
    from panojax.files.output import contact_sheet

    reader = open_heads(heads, "train")
    angles = np.array([np.hypot(*yaw_elevation(label)) for label in reader.cameras])
    shown = range(min(rows, len(reader.paths)))
    nearest = [min(np.flatnonzero(reader.heads == head), key=angles.__getitem__) for head in shown]
    pixels, _ = SizedPictures(reader, 256, WHITE).read(nearest)
    draw = jax.jit(jax.vmap(augment, in_axes=(0, None, None, None)), static_argnums=3)
    pictures, titles = [], []
    for row, rgba in enumerate(pixels):
        image, mask = rgba[..., :3] / np.float32(127.5) - 1, rgba[..., 3:] / np.float32(255)
        keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), row), columns)
        seen, target = draw(keys, image, mask, photos())
        pairs = [picture for pair in zip(np.asarray(seen), np.asarray(target)) for picture in pair]
        pictures += [image, *pairs]
        titles += ["picture", *["seen", "target"] * columns]
    sheet = contact_sheet(pictures, titles, columns=1 + 2 * columns, max_side=144)
    write_image(out, sheet, overwrite=True)


def main(arguments: list[str] | None = None) -> int:
    """The command line; 2 for input that cannot be used."""
    return run_function(write_sheet, "python -m panojax.data.augment", arguments)


if __name__ == "__main__":
    sys.exit(main())
