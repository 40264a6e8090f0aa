"""Square crops of a photo: where they lie, their pixels, and how much of them the photo does not cover.

Points are (x, y) in pixels, x to the right and y down, and the pixel in row r, column c covers [c, c + 1) x [r, r + 1).
"""

import dataclasses
import math

import numpy as np
from PIL import Image
from skimage.filters import gaussian

from panojax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Square:
    """A square in a photo, the crop to be.

    Attributes:
      x, y: its middle.
      side: its side in pixels of the photo.
      roll: how far it is turned clockwise, in radians; 0 has upright sides.
    """

    x: float
    y: float
    side: float
    roll: float = 0.0


def to_photo(points: np.ndarray, square: Square, size: int) -> np.ndarray:
    """Points [..., 2] of a crop of `size` pixels as points of the photo."""
    offset = (np.asarray(points, np.float64) / size - 0.5) * square.side
    return offset @ _turn(square.roll).T + (square.x, square.y)


def to_crop(points: np.ndarray, square: Square, size: int) -> np.ndarray:
    """Points [..., 2] of the photo as points of a crop of `size` pixels; the inverse of `to_photo`."""
    offset = (np.asarray(points, np.float64) - (square.x, square.y)) @ _turn(square.roll)
    return (offset / square.side + 0.5) * size


def cut(image: np.ndarray, square: Square, size: int, *, soften: bool = False) -> np.ndarray:
    """Cuts a square out of a picture, reflecting the picture where the square leaves it.

    A shrunk crop is averaged over the area of its pixels, an enlarged one interpolated bicubically.

    Args:
      image: [H, W, C] float.
      square: where; it may leave the picture on any side, by any length.
      size: side of the result in pixels.
      soften: blur the reflected part, the more the farther it lies outside, so that no second face appears in it.

    Returns:
      float32 [size, size, C] within the range of `image`.
    """
    if image.ndim != 3:
        raise InputError(f"image must be [H, W, C], got shape {image.shape}")
    corners = to_photo(np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), square, 1)
    left, top = np.floor(corners.min(0)).astype(int) - 4
    right, bottom = np.ceil(corners.max(0)).astype(int) + 4
    factor = max(1, int(square.side / size / 2))  # pixels averaged beforehand: at most a fourfold reduction is left
    width, height = (math.ceil((b - a) / factor) * factor for a, b in ((left, right), (top, bottom)))
    rows = reflected(np.arange(top, top + height), image.shape[0])
    columns = reflected(np.arange(left, left + width), image.shape[1])
    region = np.asarray(image, np.float32)[np.ix_(rows, columns)]
    region = region.reshape(height // factor, factor, width // factor, factor, -1).mean((1, 3))

    if not square.roll and square.side > size:
        step = square.side / factor / size
        rows = _area_averages(region, (square.y - square.side / 2 - top) / factor, step, size)
        crop = _area_averages(rows.swapaxes(0, 1), (square.x - square.side / 2 - left) / factor, step, size).swapaxes(
            0, 1
        )
        return (_softened(crop, image.shape, square, size) if soften else crop).astype(np.float32)

    samples = size * math.ceil(square.side / factor / size)  # about one for each pixel that is left
    origin, across, down = to_photo(np.array([[0, 0], [samples, 0], [0, samples]]), square, samples)
    across, down = (across - origin) / samples / factor, (down - origin) / samples / factor
    origin = (origin - (left, top)) / factor
    affine = (across[0], down[0], origin[0], across[1], down[1], origin[1])
    planes = [
        Image.fromarray(np.ascontiguousarray(region[..., channel])).transform(
            (samples, samples), Image.Transform.AFFINE, affine, Image.Resampling.BICUBIC
        )
        for channel in range(region.shape[2])
    ]
    crop = np.stack([np.asarray(plane) for plane in planes], axis=-1)
    crop = crop.reshape(size, samples // size, size, samples // size, -1).mean((1, 3))
    crop = np.clip(crop, region.min(), region.max())
    return _softened(crop, image.shape, square, size) if soften else crop


def outside(shape: tuple[int, ...], square: Square, size: int) -> np.ndarray:
    """How far each pixel of a crop lies outside the photo [H, W, ...], in sides of the crop: [size, size], 0 inside."""
    grid = np.stack(np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5), axis=-1)
    points = to_photo(grid, square, size)
    beyond = np.maximum(np.maximum(-points, points - (shape[1], shape[0])), 0)
    return (np.linalg.norm(beyond, axis=-1) / square.side).astype(np.float32)


def reflected(index: np.ndarray, length: int) -> np.ndarray:
    """Indices beyond 0 ... length - 1 folded back at the first and the last pixel, as numpy.pad's mode "reflect"."""
    period = max(2 * (length - 1), 1)
    index = np.mod(index, period)
    return np.minimum(index, period - index) if length > 1 else np.zeros_like(index)


def _area_averages(values, start, step, count):
    """Means of values [n, ...] over `count` intervals of length `step` from `start`, in units of a pixel."""
    edges = start + step * np.arange(count + 1)
    whole = np.floor(edges).astype(int)
    sums = np.concatenate([np.zeros((1, *values.shape[1:])), np.cumsum(values, axis=0, dtype=np.float64)])
    part = (edges - whole).reshape(-1, *[1] * (values.ndim - 1)) * values[np.minimum(whole, len(values) - 1)]
    return np.diff(sums[whole] + part, axis=0) / step


def _softened(crop, shape, square, size):
    """Blurs what lies outside the photo, fully from 0.08 sides of the crop on."""
    amount = np.clip(outside(shape, square, size) / 0.08, 0, 1)[..., None]
    blurred = gaussian(crop, sigma=0.03 * size, channel_axis=-1, mode="nearest")
    return (crop + amount * (blurred - crop)).astype(np.float32)


def _turn(roll):
    cosine, sine = math.cos(roll), math.sin(roll)
    return np.array([[cosine, -sine], [sine, cosine]])
