"""The portrait that `panojax invert` gets, as an aligned crop with its camera."""

import dataclasses
from typing import Any

import numpy as np

from panojax.commands.arguments import FRONT, read_camera
from panojax.config import Config
from panojax.errors import InputError

ASTRONAUT = "astronaut"
# The part of scikit-image's picture that is roughly an aligned crop: rows and columns.
ASTRONAUT_CROP = slice(20, 276), slice(100, 356)


@dataclasses.dataclass(frozen=True)
class Portrait:
    """An aligned portrait.

    Attributes:
      image: float32 [S, S, 3] in [-1, 1].
      camera: label float32 [25].
      source: where the camera comes from, in words.
      report: how the photo was aligned, or None.
    """

    image: np.ndarray
    camera: np.ndarray
    source: str
    report: Any = None


def read_aligned(photo: str, camera: str | None, size: int, *, convention: str = "opencv") -> Portrait:
    """A picture that is an aligned crop already, reduced to `size` pixels a side where it is larger.

    Raises:
      InputError: the picture or its camera cannot be read, or the picture is not square.
    """
    from panojax.commands.results import at_size

    if photo == ASTRONAUT:
        image = astronaut()[ASTRONAUT_CROP]
    else:
        from panojax.photo import read_image

        image, alpha = read_image(photo)
        if alpha is not None:
            image = image * alpha[..., None] + (1 - alpha[..., None])  # on white
        if image.shape[0] != image.shape[1]:
            raise InputError(
                f"an aligned picture must be square, got {image.shape[1]} x {image.shape[0]}: "
                "without --aligned and --camera the photo is aligned first"
            )
    label = read_camera(camera or FRONT, photo, convention=convention, side=image.shape[0])
    source = "given" if camera else "the front, as none was given"
    return Portrait(at_size(image, min(size, image.shape[0])), label, source)


def align_photo(photo: str | np.ndarray, config: Config, *, face: str, framing: str = "auto") -> Portrait:
    """A photo as a user brings it, cropped around one head as the model's training pictures, its camera estimated.

    For a generator whose heads lie on white, what is not the person becomes white.

    Args:
      photo: its path, or a picture uint8 [H, W, 3].
      config: of the model.
      face: "largest", "center", "only", or a number counted from the left, from 0.
      framing: "auto" for the model's, "panohead" or "heads", see `panojax.photo.framing`.

    Raises:
      InputError: the photo cannot be read or shows no such face.
    """
    from panojax.photo import portrait

    named = isinstance(photo, str) and photo == ASTRONAUT
    source = np.round((astronaut() + 1) * 127.5).astype(np.uint8) if named else photo
    aligned = portrait.align(config, source, face=parse_face(face), framing=framing)  # type: ignore[arg-type]
    return Portrait(aligned.image, aligned.camera, "estimated from the photo", aligned.report)


def parse_face(text: str) -> str | int:
    """A face's number, or the word that chooses it."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 6 else text


def astronaut() -> np.ndarray:
    """NASA's portrait of Eileen Collins, which comes with scikit-image: float32 [512, 512, 3] in [-1, 1]."""
    import skimage.data

    return skimage.data.astronaut() / np.float32(127.5) - 1
