"""Heads of the first edition drawn twice, young and old, and alike in all else: hair, clothes, light and cameras."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from panojax.synthetic.cameras import camera_label
from panojax.synthetic.identity import Identity
from panojax.synthetic.render import HeadRenderer, View
from panojax.synthetic.sampling import sample_identity, stream
from panojax.synthetic.scene import build_scene
from panojax.synthetic.splits import TEST_ONLY_SKINS

YOUNG, OLD = ("young", 25.0), ("old", 72.0)  # of skins, and of shapes in years
SPREAD = 0.25, 0.12  # of the cameras' yaws and elevations about the front: standard deviations in radians

Pair = tuple[np.ndarray, list[View], list[View]]


def aged(identity: Identity, word: str, years: float) -> Identity:
    """The same person at another age: the shape's, and the skin's texture. Hair keeps its colour.

    Skins that training heads do not have stay away from them, see `splits.py`.
    """

    def skin(name: str) -> str:
        older = f"{word}_{name.split('_', 1)[1]}"
        return name if older in TEST_ONLY_SKINS and identity.split != "test" else older

    first, second = identity.skin.names
    return dataclasses.replace(
        identity,
        shape=dataclasses.replace(identity.shape, age=years),
        skin=dataclasses.replace(identity.skin, names=(skin(first), skin(second))),
    )


def draw_pairs(assets: Path, numbers: range, *, seed: int, views: int = 2, size: int = 256) -> Iterator[Pair]:
    """Labels [views, 25] about the front, and the pictures from there of a person at 25 and at 72 years.

    Args:
      assets: see `assets.open_assets`.
      numbers: of the identities.
    """
    renderer: Any = HeadRenderer(size)
    try:
        for number in numbers:
            identity = sample_identity(seed, number)
            angles = stream(seed, number, "pairs").normal(0, SPREAD, (views, 2))
            labels = np.stack([camera_label(yaw, elevation) for yaw, elevation in angles])
            pictures = []
            for age in (YOUNG, OLD):
                renderer.load(build_scene(assets, aged(identity, *age)))
                pictures.append([renderer.view(label) for label in labels])
            yield labels, pictures[0], pictures[1]
    finally:
        renderer.close()
