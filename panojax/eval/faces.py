"""Faces as identity networks want them: found, turned upright and scaled so that five points fall on fixed places."""

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from panojax.photo.detect import Face, detect_faces

SIDE = 112
# ArcFace's template in a 112 x 112 picture: eyes, nose, corners of the mouth, left before right. Its points count from
# the first pixel's centre, ours from its corner.
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
) + 0.5  # fmt: skip

Detector = Callable[[np.ndarray], Sequence[Face]]


def aligned_face(image: np.ndarray, detect: Detector = detect_faces) -> np.ndarray | None:
    """The largest face of a picture on ArcFace's template.

    Args:
      image: [H, W, 3] in [-1, 1].
      detect: gives the faces of such a picture.

    Returns:
      float32 [112, 112, 3] in [-1, 1], or None where no face is found.
    """
    faces = detect(image)
    if not faces:
        return None
    return warp(image, *similarity(TEMPLATE, max(faces, key=lambda face: face.size).landmarks))


def similarity(source: np.ndarray, target: np.ndarray) -> tuple[complex, complex]:
    """(a, b) of the similarity x + iy -> a (x + iy) + b that takes points [N, 2] nearest to others, in least squares.

    Without reflections it is what Umeyama's method gives.
    """
    z, w = (points[:, 0] + 1j * points[:, 1] for points in (source, target))
    centred = z - z.mean()
    a = np.vdot(centred, w - w.mean()) / np.vdot(centred, centred)
    return complex(a), complex(w.mean() - a * z.mean())


def warp(image: np.ndarray, a: complex, b: complex) -> np.ndarray:
    """A picture [112, 112, 3] whose point x + iy shows that of `image` at a (x + iy) + b, bilinearly; black outside."""
    affine = (a.real, -a.imag, b.real, a.imag, a.real, b.imag)
    channels = [
        Image.fromarray(np.ascontiguousarray(image[..., c] + 1, np.float32)).transform(
            (SIDE, SIDE), Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR
        )
        for c in range(3)
    ]
    return np.stack([np.asarray(c) for c in channels], axis=-1) - np.float32(1)
