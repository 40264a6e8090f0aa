"""Shows rare poses more often, as LPFF does: records are repeated by how rare their yaw is.

LPFF (Wu et al. 2023) repeats pictures one to six times by their density over yaw and pitch. Here the density is that of
|yaw| alone, since every picture is shown mirrored as well:

    copies(record) = min((p_max / p(bin of |yaw|)) ** power, max_copies)

where p(bin) is the share of records in a bin and p_max that of the fullest bin. Copies need not be whole: over all
records, a record with 2.4 is shown twice or three times per epoch, and those of its bin 2.4 times on average.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from panojax.data.reader import Reader, digest
from panojax.errors import InputError


@dataclasses.dataclass(frozen=True)
class YawBalance:
    """How strongly rare yaws are favoured."""

    bin_degrees: float = 10.0
    """Width of a bin of |yaw|."""
    power: float = 1.0
    """1 evens out the bins as far as `max_copies` allows; 0 changes nothing."""
    max_copies: float = 6.0
    """At most so many copies of a record."""

    def __post_init__(self):
        if not 0 < self.bin_degrees <= 180:
            raise InputError(f"bin_degrees must lie in 0..180, got {self.bin_degrees}")
        if not (self.power >= 0 and self.max_copies >= 1):
            raise InputError(
                f"power must be at least 0 and max_copies at least 1, got {self.power} and {self.max_copies}"
            )


class Resampled(Reader):
    """A reader whose row i is `indices[i]` of another, its `source`: rows left out, or repeated."""

    def __init__(self, source: Reader, indices: np.ndarray):
        self.source, self.indices = source, np.asarray(indices)
        self.fields, self.backgrounds = source.fields, source.backgrounds

    def __len__(self) -> int:
        return len(self.indices)

    def sample(self, row: int, fields: Sequence[str]) -> dict[str, np.ndarray]:
        return self.source.sample(int(self.indices[row]), fields)

    @property
    def cameras(self) -> np.ndarray:
        return self.source.cameras[self.indices]

    @property
    def heads(self) -> np.ndarray:
        return self.source.heads[self.indices]

    def __repr__(self) -> str:
        return f"{self.source!r} in the order {digest(np.asarray(self.indices, '<i8'))} of {len(self)}"


def shown_rows(reader: Reader) -> tuple[Reader, np.ndarray]:
    """The reader that pictures are read from, and which of its rows are shown, repeated ones several times."""
    if isinstance(reader, Resampled):
        base, rows = shown_rows(reader.source)
        return base, rows[reader.indices]
    return reader, np.arange(0 if reader.endless else len(reader))


def balance_yaw(reader: Reader, balance: YawBalance | None = None) -> Resampled:
    """The reader with rows of rare yaws repeated."""
    return Resampled(reader, repeat_indices(yaw_copies(label_yaw(reader.cameras), balance or YawBalance())))


def back_copies(labels: np.ndarray, repeat: int, *, degrees: float = 90.0) -> np.ndarray:
    """How often each picture is shown for once of the others: `repeat` times from behind, |yaw| > `degrees`.

    Args:
      labels: cameras [M, 25].
    """
    return np.where(from_behind(labels, degrees=degrees), repeat, 1)


def from_behind(labels: np.ndarray, *, degrees: float = 90.0) -> np.ndarray:
    """Which cameras [M, 25] see the head from behind, |yaw| > `degrees`: [M]."""
    return np.abs(np.degrees(label_yaw(labels))) > degrees


def label_yaw(cameras: np.ndarray) -> np.ndarray:
    """Yaws [n] in radians of where the cameras [n, 25] stand: 0 in front of the face, pi behind."""
    cameras = np.asarray(cameras, np.float64)
    return np.arctan2(cameras[:, 3], cameras[:, 11])


def yaw_copies(yaws: np.ndarray, balance: YawBalance) -> np.ndarray:
    """How often each record is shown per epoch [n], at least once, by the formula above."""
    bins = np.floor(np.degrees(np.abs(yaws)) / balance.bin_degrees + 1e-9).astype(np.int64)
    counts = np.bincount(bins, minlength=math.ceil(180 / balance.bin_degrees))
    return np.minimum((counts.max(initial=1) / counts[bins]) ** balance.power, balance.max_copies)


def repeat_indices(copies: np.ndarray) -> np.ndarray:
    """Record numbers, record i appearing floor(copies[i]) or ceil(copies[i]) times; sum(copies) in all, rounded.

    Systematic resampling: the marks 0.5, 1.5, ... are laid on the running sum of copies. Nothing is random.
    """
    ends = np.cumsum(copies)
    marks = np.arange(math.ceil(ends[-1] - 0.5) if len(ends) else 0) + 0.5
    return np.minimum(np.searchsorted(ends, marks, side="right"), len(ends) - 1)
