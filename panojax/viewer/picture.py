"""What a viewer's window shows: pictures of heads side by side, what the photo hides tinted."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from panojax import api
from panojax.camera import camera_rays
from panojax.devices.ahead import in_order
from panojax.export.views import Views
from panojax.files.output import INK, PAPER, to_uint8
from panojax.generators.generator import Head, View
from panojax.nn.stylegan2 import resize
from panojax.params import Params
from panojax.viewer.quality import Quality, full_quality

TINT = (1.0, -0.4, -0.4)
TINT_STRENGTH = 0.6


def take_picture(
    params: Params, head: Head, camera: np.ndarray, quality: Quality, mask: jax.Array | None = None
) -> np.ndarray:
    """A picture uint8 [S, S, 3] of a head from a label [25].

    Args:
      params: without encoders, see `Params.generator_only`.
      mask: None, or [*field.cells]: where 1, the surface is tinted red.
    """
    picture, _ = _take(params, head, jnp.asarray(camera), mask, quality=quality)
    return to_uint8(np.asarray(picture))


def take_views(params: Params, head: Head, labels: np.ndarray) -> Views:
    """Pictures of a head in full quality from labels [N, 25], by the program that draws the window's."""
    quality = full_quality(params.config.generator)

    def take(label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        picture, opacity = _take(params, head, jnp.asarray(label, jnp.float32), None, quality=quality)
        return to_uint8(np.asarray(picture)), np.asarray(opacity, np.float32)

    pictures, opacity = zip(*in_order(take, labels))
    background = 255.0 if params.config.generator.white_back else None
    return Views(np.asarray(labels), np.stack(pictures), np.stack(opacity), background)


@functools.partial(jax.jit, static_argnames="quality")
def _take(params, head, camera, mask, *, quality):
    """A picture [S, S, 3] and the head's opacity [R, R]."""
    view = api.render(params, head, camera, quality.side)
    picture, opacity = view.image if quality.final else view.raw, view.weight[..., 0]
    if mask is None:
        return picture, opacity
    hidden = TINT_STRENGTH * hidden_share(params, mask, view, camera)
    hidden = resize(hidden[None], picture.shape[0])[0]
    return jnp.clip(picture, -1, 1) * (1 - hidden) + jnp.array(TINT) * hidden, opacity


def hidden_share(params: Params, mask: jax.Array, view: View, camera: jax.Array) -> jax.Array:
    """How much of the surface at each pixel of a view is masked: [R, R, 1] in [0, 1].

    The surface is at the view's depth, the mask [*field.cells] looked up there as features are;
    pixels that show no head have none.
    """
    config, side = params.config.generator, view.depth.shape[0]
    origins, directions = camera_rays(camera, side)
    points = (origins + view.depth.reshape(-1, 1) * directions) * (2 / config.box_warp)
    share = config.field.look_up(mask[..., None].astype(jnp.float32), points)
    return share.reshape(side, side, 1) * view.weight


def compose(pictures: Sequence[np.ndarray], titles: Sequence[str], aspect: float, side: int) -> np.ndarray:
    """A window's picture uint8 [H, W, 3]: square pictures in a row, each whole and in the middle of its part.

    Args:
      pictures: uint8 [S, S, 3], resized to `side`.
      titles: written above the pictures where there are several.
      aspect: width of the window by its height.
      side: of each picture in pixels; the window's follow.
    """
    cell = aspect / len(pictures)
    height = side if cell >= 1 else round(side / cell)
    width = max(round(height * aspect), side * len(pictures))
    paper = Image.new("RGB", (width, height), (PAPER,) * 3)
    draw, font = ImageDraw.Draw(paper), ImageFont.load_default(size=side / 18)
    for index, (picture, title) in enumerate(zip(pictures, titles)):
        middle = width * (index + 0.5) / len(pictures)
        top = (height - side) // 2
        paper.paste(Image.fromarray(picture).resize((side, side)), (round(middle - side / 2), top))
        if len(pictures) > 1:
            place = (middle, top + side / 50)
            draw.text(place, title, (INK,) * 3, font, "ma", stroke_width=2, stroke_fill=(PAPER,) * 3)
    return np.asarray(paper)
