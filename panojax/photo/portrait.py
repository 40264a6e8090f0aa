"""A photo as a model's encoders get it: framing and background are the model's."""

import os
from typing import Any, Literal

import numpy as np
from PIL import Image

from panojax.errors import InputError, check_choice
from panojax.photo.alignment import Aligned
from panojax.photo.framing import FRAMINGS, Framing


def align(
    params: Any,
    photo: str | os.PathLike | bytes | np.ndarray | Image.Image,
    *,
    face: str | int = "largest",
    framing: Literal["auto", "panohead", "heads"] = "auto",
) -> Aligned:
    """Crops a photo around one head as the model's training pictures were, and labels its camera.

    For a generator whose heads lie on white, what is not the person becomes white.

    Args:
      params: the model's `Params`.
      photo: a path, an encoded picture's bytes, a Pillow picture, or a picture [H, W, 3 or 4], uint8 or float in
        [-1, 1].
      face: "largest", "center", "only", or a number counted from the left, from 0.
      framing: "auto" for the model's own; another is for models that do not say theirs.

    Raises:
      InputError: the photo cannot be read or shows no such face.
    """
    from panojax import photo as photos  # tests put their own `align` there

    check_choice("framing", framing, ("auto", *FRAMINGS))
    model = params.config if hasattr(params, "config") else params
    aligned = photos.align(
        photo, face=face, size=model.generator.image_resolution, framing=model_framing(model, framing)
    )
    return aligned.on_white() if model.generator.white_back else aligned


def model_framing(config: Any, framing: str = "auto") -> Framing:
    """The framing of a model's training pictures, or the one that is asked for."""
    return FRAMINGS[config.framing if framing == "auto" else framing]


def is_photo(value: Any) -> bool:
    """Whether a value is a photo, aligned or not, rather than an array."""
    return isinstance(value, Aligned | Image.Image | str | os.PathLike | bytes)


def fit(params: Any, portrait: Any, *, face: str | int = "largest") -> Aligned:
    """A photo aligned for a model; one that is aligned already, if it is as the model's are.

    Raises:
      InputError: as `align`; or an aligned photo's framing is another than the model's.
    """
    if not isinstance(portrait, Aligned):
        return align(params, portrait, face=face)
    wanted = model_framing(params.config)
    if portrait.framing != wanted:
        names = {framing: name for name, framing in FRAMINGS.items()}
        raise InputError(
            f"image must be cropped as the model's training pictures were ({params.config.framing}), got one of the "
            f"framing {names.get(portrait.framing, portrait.framing)}: panojax.align(params, photo) takes the model's"
        )
    return portrait.on_white() if params.config.generator.white_back else portrait
