"""Pictures as bytes and as arrays: checking, encoding, decoding, composing on a colour, mirroring.

Pixels are uint8: sRGB [H, W, 3], masks [H, W, 1] with 255 for the head. Depths are float32 [H, W, 1].
"""

import functools
import io
import os
import pathlib
import warnings
import zlib
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from PIL import Image

from panojax import camera
from panojax.disk.reading import read_bytes, reason, shown
from panojax.errors import InputError
from panojax.files.image_file import MAX_BYTES, readable_formats
from panojax.files.mask_file import read_mask

Encoding = Literal["png", "jpeg"]
JPEG_QUALITY = 95
DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    Image.DecompressionBombError,
)  # what Pillow raises for files it cannot read


def picture_problem(path: pathlib.Path, size: int, *, mask: bool = False) -> str | None:
    """What keeps a file from being used as a picture (or a mask) of `size` x `size` pixels; None if nothing does.

    The whole file is decoded, so that a cut one is found. Pictures must be square, at least `size` wide, of 8 bits and
    without transparency; masks must be square and such as `read_mask` reads.
    """
    if mask:
        return _mask_problem(path)
    name = shown(path)[1:-1]
    try:
        with _open(path) as image:
            image.load()
            width, height = image.size
            mode, transparent = image.mode, image.has_transparency_data
    except DAMAGED as error:
        if not os.path.exists(path):
            return f"{name} is missing"
        return f"{name} cannot be read ({reason(error)})"
    if width != height:
        return f"{name} must be square, got {width} x {height}"
    if width < size:
        return f"{name} must be at least {size} pixels wide, got {width}"
    if transparent:
        return f"{name} must have no transparency, got mode {mode}: give its mask as a file"
    if mode.startswith(("I", "F")):
        return f"{name} must have 8 bits per channel, got mode {mode}"
    return None


def _mask_problem(path: pathlib.Path) -> str | None:
    name = shown(path)[1:-1]
    try:
        mask = read_mask(path)
    except InputError as error:
        return str(error) if os.path.exists(path) else f"{name} is missing"
    if mask.shape[0] != mask.shape[1]:
        return f"{name} must be square, got {mask.shape[1]} x {mask.shape[0]}"
    return None


def picture_side(path: pathlib.Path) -> int | None:
    """The longer side of a picture in pixels, from its header, or None where it cannot be read."""
    try:
        with _open(path) as image:
            return max(image.size)
    except DAMAGED:
        return None


def read_picture(path: pathlib.Path, size: int, mode: Literal["RGB", "L"]) -> Image.Image:
    """A file as an RGB picture ("RGB") or a mask ("L") of `size` x `size` pixels, resized with Lanczos' filter."""
    if mode == "L":
        return resize(Image.fromarray(np.round(read_mask(path) * 255).astype(np.uint8)), size)
    with _open(path) as image:
        return resize(image.convert(mode), size)


def _open(path: pathlib.Path) -> Image.Image:
    """A picture's file, of the formats that photos may have."""
    data = io.BytesIO(read_bytes(path, limit=MAX_BYTES))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of half the size limit, as `read_image`
        return Image.open(data, formats=readable_formats())


def resize(image: Image.Image, size: int, *, smooth: bool = True) -> Image.Image:
    """The picture at `size` x `size` pixels.

    Colours under an alpha channel are weighted by it, so that what is outside does not bleed in. `smooth` False takes
    the nearest pixel, for depths and indices.
    """
    if image.size == (size, size):
        return image
    if not smooth:
        return image.resize((size, size), Image.Resampling.NEAREST)
    if image.mode == "RGBA":
        return image.convert("RGBa").resize((size, size), Image.Resampling.LANCZOS).convert("RGBA")
    return image.resize((size, size), Image.Resampling.LANCZOS)


def resize_bytes(pixels: np.ndarray, size: int) -> np.ndarray:
    """Square bytes [S, S, 4] as [size, size, 4], each channel alone: areas averaged, or bicubic where they grow."""
    side = len(pixels)
    if side == size:
        return pixels
    # Pillow's modes of four bytes with an alpha channel would weight colours by it.
    image = Image.frombuffer("CMYK", (side, side), np.ascontiguousarray(pixels), "raw", "CMYK", 0, 1)
    if side % size == 0:
        return np.asarray(image.reduce(side // size))
    method = Image.Resampling.BOX if side > size else Image.Resampling.BICUBIC
    return np.asarray(image.resize((size, size), method))


def resize_floats(channels: np.ndarray, size: int) -> np.ndarray:
    """Square channels [S, S, C] as float32 [size, size, C]: areas averaged, or bicubic where they grow."""
    if len(channels) == size:
        return channels.astype(np.float32)
    method = Image.Resampling.BOX if len(channels) > size else Image.Resampling.BICUBIC
    resized = (
        Image.fromarray(np.ascontiguousarray(channel, np.float32)).resize((size, size), method)
        for channel in np.moveaxis(channels, -1, 0)
    )
    return np.stack([np.asarray(channel) for channel in resized], axis=-1)


def encode(image: Image.Image, encoding: Encoding = "png") -> bytes:
    """The picture as PNG, or as JPEG of quality 95 with full colour resolution.

    PNGs are deflated by runs alone (Z_RLE): on photos a quarter of the time of Pillow's default, as small, and a tenth
    faster to decode.
    """
    buffer = io.BytesIO()
    if encoding == "png":
        image.save(buffer, "PNG", compress_type=zlib.Z_RLE)
    else:
        image.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()


def decode(content: bytes) -> np.ndarray:
    """Pixels [H, W, C] of an encoded picture: uint8, or uint16 where it has 16 bits."""
    with Image.open(io.BytesIO(content)) as image:
        pixels = np.asarray(image)
    pixels = pixels if pixels.dtype == np.uint8 else pixels.astype(np.uint16)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def compose(image: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """image * mask / 255 + colour * (1 - mask / 255), rounded to the nearest: uint8 [H, W, 3].

    Args:
      image: uint8 [H, W, 3].
      mask: uint8 [H, W, 1].
      colour: red, green and blue in 0..255.
    """
    weight = mask[..., 0].astype(np.uint16)
    composed = np.empty_like(image)
    for channel, value in enumerate(colour):  # three times as fast as broadcasting over the last axis
        blend = image[..., channel] * weight
        blend += (255 - weight) * np.uint16(value)  # at most 255 * 255: fits
        blend += 128
        blend += blend >> 8
        composed[..., channel] = blend >> 8  # the sum over 255, rounded: exact for all such sums (Blinn)
    return composed


def person_mask(picture: Any) -> Any:
    """The person [S, S, 1] in a picture [S, S, 3] in [-1, 1] on white: all but the white that is reached from the
    left, right or upper border along a row or a column. A white collar stays the person's. NumPy in, NumPy out.
    """
    white = ((picture.min(-1, keepdims=True) - 0.9) / 0.09).clip(0, 1)
    left, right, above = white.cumprod(axis=1), white[:, ::-1].cumprod(axis=1)[:, ::-1], white.cumprod(axis=0)
    return (1 - left) * (1 - right) * (1 - above)


def mirror(sample: Mapping[str, Any]) -> dict[str, Any]:
    """The sample as seen in a mirror: every picture flipped left to right, the label by `mirror_label`."""
    return {
        name: mirror_label(value) if name == "camera" else value[:, ::-1] if np.ndim(value) == 3 else value
        for name, value in sample.items()
    }


def mirror_label(label: np.ndarray) -> np.ndarray:
    """`panojax.camera.mirror` of labels [..., 25] in NumPy, without a trip to the device."""
    return np.asarray(label, np.float32) * _mirror_signs()


@functools.cache
def _mirror_signs() -> np.ndarray:
    return np.asarray(camera.mirror(np.ones(25, np.float32)))
