"""Textures of MakeHuman's assets, made into what the renderer colours: strands without colour, mixed skins, tinted
irises.
"""

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from panojax.synthetic.meshes import Floats

STRAND_BLUR = 9  # pixels: brightness of hair textures that varies over more than this is mostly baked light
BORDER = 3  # pixels
RED_GREEN = 1.45, 1.95  # range of red over green of a skin's mean, linear; some textures are redder than skin is
GREEN_BLUE = 1.25, 1.65  # range of green over blue
IRIS_CHROMA = 0.55  # share of their colour that irises keep: the textures' are vivid

Bytes = NDArray[np.uint8]
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])


@cache
def read_picture(path: Path) -> Bytes:
    """An image file as RGBA bytes (height, width, 4), top row first."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGBA"))


@cache
def hair_picture(path: Path) -> Bytes:
    """A hair texture without colour and baked light: strands around 128 in RGB (see STRAND_BLUR); alpha as it was."""
    rgba = read_picture(path).astype(np.float32)
    luminance, alpha = rgba[..., :3].mean(axis=-1) + 2.0, rgba[..., 3].copy()
    inside = np.zeros(alpha.shape, bool)
    inside[BORDER:-BORDER, BORDER:-BORDER] = True
    alpha[~inside] = 0  # some cards end on the very edge of their texture, which is solid there

    def blurred(values: Floats) -> Floats:
        image = Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(STRAND_BLUR))
        return np.asarray(image, np.float32)

    nearby = (blurred(luminance * alpha / 255) + 0.5) / (blurred(alpha) / 255 + 0.02)
    mean = luminance[alpha > 127].mean()
    detail = (luminance / nearby) * np.clip(nearby / mean, 0.2, 3.0) ** 0.35
    detail = np.where(alpha > 8, np.clip(detail, 0, 1.99), 1.0) * 128
    return np.dstack([detail, detail, detail, alpha]).astype(np.uint8)


def picture_mean(picture: Bytes) -> NDArray[np.float64]:
    """Mean linear colour (3,) of a picture (of every 16th pixel)."""
    return ((picture[..., :3].reshape(-1, 3)[::16] / 255.0) ** 2.2).mean(axis=0)


def skin_colour(picture: Bytes, tint: tuple[float, float, float]) -> tuple[float, float, float]:
    """The tint (linear factors), corrected so that the skin's mean has a hue that skin has: see RED_GREEN and
    GREEN_BLUE.
    """
    mean = picture_mean(picture) * tint
    green = mean[0] / np.clip(mean[0] / mean[1], *RED_GREEN)
    blue = green / np.clip(mean[1] / mean[2], *GREEN_BLUE)
    wanted = np.array([mean[0], green, blue])
    red, green, blue = tint * wanted / mean * ((LUMINANCE @ mean) / (LUMINANCE @ wanted))
    return float(red), float(green), float(blue)


def skin_picture(assets: Path, names: tuple[str, str], mix: float) -> Bytes:
    """The mix of two skins (512, 512, 4)."""
    first, second = (read_picture(assets / f"skins/{name}.png").astype(np.float32) for name in names)
    return (first * (1 - mix) + second * mix + 0.5).astype(np.uint8)


def iris_picture(assets: Path, iris: str, tint: tuple[float, float, float]) -> Bytes:
    """An eye texture with its coloured pixels tinted; the white stays white."""
    rgba = read_picture(assets / f"eyes/{iris}_eye.png").astype(np.float32)
    spread = rgba[..., :3].max(axis=-1) - rgba[..., :3].min(axis=-1)
    coloured = np.clip(spread / 60, 0, 1)[..., None]
    chroma = 1 - coloured * (1 - IRIS_CHROMA)
    rgb = rgba[..., :3] * chroma + rgba[..., :3].mean(axis=-1, keepdims=True) * (1 - chroma)
    rgb *= 1 + coloured * (np.array(tint, np.float32) - 1)
    return np.dstack([np.clip(rgb, 0, 255), rgba[..., 3]]).astype(np.uint8)
