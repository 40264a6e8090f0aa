"""Parts of a head in a picture: a small network that ships with panojax, trained on the synthetic heads' exact labels.

`python -m panojax.train.parts` trains it. It knows pictures framed as the synthetic heads are, from every side.
"""

from typing import Any

import numpy as np

from panojax.errors import InputError, check_choice
from panojax.export.turntable import render_views
from panojax.generators.generator import Head
from panojax.nn.graph import shipped
from panojax.nn.stylegan2 import pool
from panojax.params import Params

# The index is the label's value. Brows, lashes, beard and teeth count as skin: they stay with the face.
PARTS = ("background", "skin", "hair", "eyes", "clothes")
SIDE = 128


def segment(image: np.ndarray) -> np.ndarray:
    """The probability of each of `PARTS` at every pixel of a head's picture.

    Args:
      image: [S, S, 3] in [-1, 1].

    Returns:
      float32 [S, S, 5]; found at 128 pixels a side and resized.
    """
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[0] != image.shape[1] or image.shape[2] != 3:
        raise InputError(f"image must be [S, S, 3], got {image.shape}")
    small = np.asarray(pool(np.clip(image, -1, 1).astype(np.float32)[None], SIDE)[0])
    found: Any = shipped("panojax.editing", "parts")(small)["parts"]
    chances = np.exp(found - found.max(-1, keepdims=True))
    return np.asarray(pool(chances[None] / chances.sum(-1, keepdims=True), image.shape[0])[0])


def part_masks(params: Params, head: Head, cameras: np.ndarray, part: str) -> np.ndarray:
    """Masks [V, S, S] of a part of a head, in [0, 1], as rendered from labels [V, 25].

    Args:
      part: one of `PARTS` but the background.
    """
    check_choice("part", part, PARTS[1:])
    return np.stack([segment(view)[..., PARTS.index(part)] for view in render_views(params, head, cameras)])
