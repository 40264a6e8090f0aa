"""What reads pictures from where they lie. A reader is a data source in Grain's sense: it has a length and rows.

A sample is {"image": uint8 [H, W, 3], "camera": float32 [25], "head": whose it is} and, where the reader knows them,
"mask" uint8 [H, W, 1], 255 on the head, "depth" float32 [H, W, 1], world units along the pixel's ray and 0 where
nothing is seen, and what else its records hold.

    PhotoReader     a folder with EG3D's dataset.json      photo_reader.py
    HeadReader      a folder that `panojax heads` wrote     head_reader.py
    RecordSet       a set that `panojax.data` prepared      records.py
    GeneratedHeads  the generator's own heads               generated.py
"""

import abc
import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np


class Reader(abc.ABC):
    """Samples by row. `repr` tells which they are, wherever they lie: a saved iterator goes on only on the same ones.

    Attributes:
      fields: names of what a sample may hold.
      part: of its set: "train", "validation", "test" or "all".
      backgrounds: whether colours where the mask is 0 are those of a background; otherwise they mean nothing.
      endless: rows are made, not stored: they are independent, and neither shuffled nor kept.
    """

    fields: tuple[str, ...] = ("image", "camera", "head")
    part: str = "all"
    backgrounds: bool = True
    endless: bool = False

    @abc.abstractmethod
    def __len__(self) -> int: ...

    @abc.abstractmethod
    def sample(self, row: int, fields: Sequence[str]) -> dict[str, Any]:
        """These fields of a sample; "mask" may be missing where the picture has none. Called by several threads."""

    def __getitem__(self, row: int) -> dict[str, Any]:
        return self.sample(int(row), self.fields)

    @property
    @abc.abstractmethod
    def cameras(self) -> np.ndarray:
        """Labels float32 [n, 25] of all rows."""

    @property
    def heads(self) -> np.ndarray:
        """Whose head a row shows, int64 [n], from 0: by default each row is the only one of its head."""
        return np.arange(len(self))


def digest(*parts: str | bytes | np.ndarray | Iterable[str]) -> str:
    """Sixteen digits that tell what `repr` must: names, labels, settings."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            part = np.ascontiguousarray(part).tobytes()
        elif not isinstance(part, str | bytes):
            part = "\n".join(part)
        total.update(part.encode() if isinstance(part, str) else part)
        total.update(b"\0")
    return total.hexdigest()[:16]
