"""Masks as people have them: grey, 0/1, 16-bit, alpha, palette; read right or refused, the same way everywhere."""

import os

import numpy as np
from PIL import Image

from panojax.errors import InputError
from panojax.files.image_file import decoded

MIDDLE = 0.1, 0.9  # what is neither white nor black
SOFT = 0.5  # the most of what is not black that may be in between
LABELS = 40  # so few values in between are those of classes
FLAT = 0.02  # of the picture, in even areas of values in between, which soft edges do not have
GREY = 0.06  # colours differ by less in a grey picture


def read_mask(source: str | os.PathLike | bytes, *, whole_head: bool = True) -> np.ndarray:
    """A mask float32 [H, W] in [0, 1], 1 on what is meant.

    Grey pictures of 8 or 16 bits, of values 0 and 1, or of 1 bit count by their brightness; pictures of one colour, or
    of many, with an alpha channel by that; grey ones with an alpha channel by the product; two colours of which one is
    black by the other.

    Args:
      source: the path of a picture, or its encoded bytes.
      whole_head: the mask is a person's: white corners around a black middle are refused as inverted.

    Raises:
      InputError: no whole picture, nothing in it, class labels, colours, a range that no mask has, or inverted.
    """
    image, name = decoded(source)
    mask = _coverage(image, name)
    if mask.max() <= 0:
        raise InputError(f"mask must be white somewhere, got {name}, which is black everywhere")
    in_between = (mask > MIDDLE[0]) & (mask < MIDDLE[1])
    between, few = mask[in_between], len(np.unique(mask[in_between])) <= LABELS
    flat = in_between[:-1, :-1] & (mask[:-1, :-1] == mask[1:, :-1]) & (mask[:-1, :-1] == mask[:-1, 1:])
    if between.size > SOFT * np.count_nonzero(mask > MIDDLE[0]) or (few and flat.mean() > FLAT):
        if few:
            raise InputError(f"mask must be white where it counts and black elsewhere, got {name}: {_CLASSES}")
        raise InputError(
            f"mask must be white where it counts and black elsewhere, got {name}, which is grey in "
            f"{between.size / mask.size:.0%} of its pixels: is it a photo?"
        )
    if whole_head and _is_inverted(mask):
        raise InputError(f"mask must be white on the head, got {name}, black there and white around it: invert it")
    return mask


_CLASSES = "it looks like class labels, keep the head's classes as 255 and others as 0"


def _coverage(image: Image.Image, name: str) -> np.ndarray:
    """What a picture says about each pixel, [H, W] in [0, 1]."""
    if image.mode.startswith("I") or image.mode == "F":
        return _scaled(np.asarray(image).astype(np.float64), name)
    alpha = None
    if image.has_transparency_data:
        image = image.convert("LA") if image.mode == "La" else image
        alpha = np.asarray(image.convert("RGBA").getchannel("A"), np.float32) / 255
        alpha = None if alpha.min() == 1 else alpha
    if image.mode == "P" and alpha is None:
        return _from_palette(image, name)
    if image.mode == "1":
        return np.asarray(image, np.float32)
    if image.mode in ("L", "LA"):
        grey = np.asarray(image.getchannel(0))
    else:
        rgb = np.asarray(image.convert("RGB")).astype(np.int16)
        if np.ptp(rgb, axis=-1).max() > GREY * 255:
            return _from_colours(rgb, name) if alpha is None else alpha
        grey = np.round(rgb.mean(-1)).astype(np.uint8)
    if alpha is None:
        return _scaled(grey.astype(np.float64), name)
    shown = grey[alpha > 0]
    if shown.size == 0 or np.ptp(shown) <= GREY * 255:
        return alpha  # one colour throughout: only the alpha channel says anything
    return _scaled(grey.astype(np.float64), name) * alpha


def _scaled(values: np.ndarray, name: str) -> np.ndarray:
    """Grey values of any depth in [0, 1]: their greatest one says which depth."""
    top = float(values.max()) if np.isfinite(values).all() and values.min() >= 0 else np.nan
    if top == 0:
        return np.zeros(values.shape, np.float32)
    for full in (1.0, 255.0, 65535.0):
        if full / 2 < top <= full:
            return (values / full).astype(np.float32)
    if top < 128:
        raise InputError(
            f"mask must have values up to 1, 255 or 65535, got {name}, with values up to {top:g}: {_CLASSES}"
        )
    raise InputError(f"mask must have values up to 1, 255 or 65535, got {name}, with values up to {top:g}")


def _from_palette(image: Image.Image, name: str) -> np.ndarray:
    """A palette's colours where they are grey, or its indices where these are two."""
    rgb = np.asarray(image.convert("RGB")).astype(np.int16)
    if np.ptp(rgb, axis=-1).max() <= GREY * 255 and rgb.max() > 0:
        return _scaled(np.round(rgb.mean(-1)), name)
    return _from_colours(rgb, name)


def _from_colours(rgb: np.ndarray, name: str) -> np.ndarray:
    """A mask of two colours, one of them black."""
    found = np.unique(rgb.reshape(-1, 3), axis=0)
    if len(found) == 2 and found[0].max() == 0:
        return (rgb.max(-1) > 0).astype(np.float32)
    if len(found) <= 256:
        raise InputError(f"mask must be grey, got {name} with {len(found)} colours: {_CLASSES}")
    raise InputError(f"mask must be grey, got {name}, a coloured picture")


def _is_inverted(mask: np.ndarray) -> bool:
    """Whether both upper corners are white and the middle is black."""
    height, width = mask.shape
    corner = max(1, min(height, width) // 16)
    corners = np.concatenate([mask[:corner, :corner].ravel(), mask[:corner, -corner:].ravel()])
    middle = mask[height * 3 // 8 : height * 5 // 8 + 1, width * 3 // 8 : width * 5 // 8 + 1]
    return bool(corners.mean() > MIDDLE[1] and middle.mean() < MIDDLE[0])
