"""Cut the person out: MediaPipe's portrait segmenter, sharpened along the picture's edges, kept to one person."""

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage.segmentation import watershed

from panojax.nn.graph import shipped
from panojax.photo.crop import Square, cut, outside, to_crop
from panojax.photo.detect import Face

INPUT_SIDE = 256
SEGMENTER_OUTPUT = "249"
# The segmenter sees the crop and wider views of it, which know shoulders; where one is wrong, two are right.
CONTEXTS = (1.0, 1.25, 1.5)
FADE = 0.04, 0.12  # sides of the crop outside the photo between which the mask ends: no second face is kept


def person_mask(rgb: np.ndarray, square: Square, size: int, face: Face, others: list[Face]) -> np.ndarray:
    """How much of each pixel of a crop belongs to the person of `face`.

    Args:
      rgb: the photo, [H, W, 3] in [-1, 1].
      square, size: the crop.
      face: whose person to keep.
      others: the photo's other faces, whose persons are left out.

    Returns:
      float32 [size, size] in [0, 1].
    """
    crop = (cut(rgb, square, size) + 1) / 2
    coarse = np.median([_segment(rgb, square, size, context) for context in CONTEXTS], axis=0)
    mask = guided_filter(crop.mean(-1), coarse, radius=max(2, size // 64), epsilon=1e-3)
    mask = np.clip((mask - 0.25) / 0.5, 0, 1)
    mask = end_beyond(mask, rgb.shape, square)
    return (mask * only_person(mask, square, face, others)).astype(np.float32)


def end_beyond(mask: np.ndarray, shape: tuple[int, ...], square: Square) -> np.ndarray:
    """A crop's mask [size, size] as it is within the photo [H, W, ...], and outside only as far as it may go on."""
    ended = np.minimum(mask, at_the_border(mask, shape, square)) * fade_outside(shape, square, mask.shape[0])
    return ended.astype(mask.dtype)


def fade_outside(shape: tuple[int, ...], square: Square, size: int) -> np.ndarray:
    """1 within the photo [H, W, ...] and near it, 0 far outside: [size, size]."""
    near, far = FADE
    return np.clip((far - outside(shape, square, size)) / (far - near), 0, 1)


def at_the_border(mask: np.ndarray, shape: tuple[int, ...], square: Square) -> np.ndarray:
    """How much of each pixel of a crop outside the photo [H, W, ...] may be the person: [size, size], inside 1.

    Outside, a crop repeats the photo mirrored: a person that does not reach the border would be there a second time.
    One that does goes on by the mask at the nearest pixel inside, as far as that is from the nearest background inside:
    a head that the border cuts gets its cap, one that touches it none.
    """
    beyond = outside(shape, square, mask.shape[0]) > 0
    if not beyond.any() or beyond.all():
        return np.ones_like(mask)
    away, (rows, columns) = ndimage.distance_transform_edt(beyond, return_indices=True)
    person = beyond | (mask > 0.5)
    within = ndimage.distance_transform_edt(person)[rows, columns] if not person.all() else np.inf
    soft = mask.shape[0] / 128  # pixels over which it ends
    return np.where(beyond, mask[rows, columns] * np.clip((within - away) / soft + 0.5, 0, 1), 1)


def guided_filter(guide: np.ndarray, values: np.ndarray, *, radius: int, epsilon: float) -> np.ndarray:
    """Smooths values [H, W] but along the edges of a guide [H, W]: in each window they become linear in the guide.

    Args:
      radius: of the square windows, in pixels.
      epsilon: the guide's variance below which a window counts as flat.

    Source: He, Sun and Tang, "Guided image filtering", 2013.
    """

    def mean(x):
        return ndimage.uniform_filter(x, 2 * radius + 1, mode="nearest")

    guide, values = np.asarray(guide, np.float64), np.asarray(values, np.float64)
    guide_mean, values_mean = mean(guide), mean(values)
    slope = (mean(guide * values) - guide_mean * values_mean) / (mean(guide**2) - guide_mean**2 + epsilon)
    return mean(slope) * guide + mean(values_mean - slope * guide_mean)


def only_person(mask: np.ndarray, square: Square, face: Face, others: list[Face]) -> np.ndarray:
    """Where in a crop the person of `face` is rather than somebody else: float [size, size] in [0, 1].

    The mask is flooded from all faces at once, the clearest pixels first; what other faces reach, or none, goes.

    Args:
      mask: of all persons, [size, size] in [0, 1].
    """
    size = mask.shape[0]
    markers = np.zeros(mask.shape, np.int32)
    for number, someone in [*enumerate(others, start=2), (1, face)]:
        x, y = to_crop(np.array(someone.middle), square, size)
        radius = 0.35 * someone.size * size / square.side
        rows, columns = np.ogrid[:size, :size]
        markers[(rows + 0.5 - y) ** 2 + (columns + 0.5 - x) ** 2 <= radius**2] = number
    flooded = watershed(-mask, markers, mask=(mask > 0.05) | (markers > 0)) == 1
    return np.clip(ndimage.gaussian_filter(ndimage.binary_dilation(flooded, iterations=2).astype(np.float64), 1), 0, 1)


def _segment(rgb, square, size, context):
    """The segmenter's soft mask of a crop [size, size], from a view `context` times as wide."""
    view = Square(square.x, square.y, square.side * context, square.roll)
    person = shipped("panojax.photo", "selfie")((cut(rgb, view, INPUT_SIDE) + 1) / 2)[SEGMENTER_OUTPUT][..., 0]
    scale = INPUT_SIDE / context / size
    shift = INPUT_SIDE / 2 * (1 - 1 / context)
    affine = (scale, 0, shift, 0, scale, shift)
    enlarged = Image.fromarray(np.ascontiguousarray(person)).transform(
        (size, size), Image.Transform.AFFINE, affine, Image.Resampling.BICUBIC
    )
    return np.clip(np.asarray(enlarged), 0, 1)
