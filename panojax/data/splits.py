"""Which pictures train and which test: a hash of a name, so that a set may grow without moving what it has."""

import dataclasses
import hashlib
import pathlib
import re
from collections.abc import Mapping

import numpy as np

from panojax.data.pictures import mirror_label
from panojax.errors import InputError

TOLERANCE = 1e-4  # labels are written with five digits or more


@dataclasses.dataclass(frozen=True)
class SplitRule:
    """Pictures whose hash falls below `test_share` test, the others train."""

    test_share: float = 0.1
    """Share of the test split: 0 makes all train, 1 makes all test."""
    seed: int = 0
    """Another seed, another choice of pictures."""

    def __post_init__(self):
        if not 0 <= self.test_share <= 1:
            raise InputError(f"test_share must lie in 0..1, got {self.test_share}")


def split_of(group: str, rule: SplitRule) -> str:
    """The split of a group of pictures that must stay together: "train" or "test"."""
    digest = hashlib.sha256(f"{rule.seed} {group}".encode()).digest()
    return "test" if int.from_bytes(digest[:8], "big") / 2**64 < rule.test_share else "train"


def find_mirrored(labels: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Pictures that are mirrored copies -> their originals.

    EG3D's tools store every picture twice, as `X.png` and `X_mirror.png` or under the numbers 2k and 2k + 1. A picture
    counts as a copy when its name says so and its label [25] is the other's, mirrored.
    """
    copies = {}
    for name, label in labels.items():
        original = _original_name(name)
        if original in labels and np.abs(mirror_label(labels[original]) - label).max() < TOLERANCE:
            copies[name] = original
    return copies


def _original_name(name: str) -> str:
    """The name that the original of `name` would have; "" if `name` is no copy's."""
    path = pathlib.PurePosixPath(name)
    if path.stem.endswith("_mirror"):
        return str(path.with_stem(path.stem.removesuffix("_mirror")))
    digits = re.search(r"\d+$", path.stem)
    if digits and int(digits[0]) % 2:
        return str(path.with_stem(path.stem[: digits.start()] + f"{int(digits[0]) - 1:0{len(digits[0])}d}"))
    return ""
