"""Shows rare poses more often, as LPFF does: records are repeated by how rare their yaw is.

LPFF (Wu et al. 2023) repeats pictures one to six times by their density over yaw and pitch. Here the density is that of
|yaw| alone, since every picture is shown mirrored as well:

    copies(record) = min((p_max / p(bin of |yaw|)) ** power, max_copies)

where p(bin) is the share of records in a bin and p_max that of the fullest bin. Copies need not be whole: over all
records, a record with 2.4 is shown twice or three times per epoch, and those of its bin 2.4 times on average.
"""

import dataclasses
import hashlib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from panojax.errors import InputError

if TYPE_CHECKING:  # photo folders are balanced without tensorflow-datasets
    from panojax.data.records import Source


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


@dataclasses.dataclass(frozen=True, repr=False)
class Resampled:
    """A source whose sample i is `indices[i]` of another."""

    source: "Source"
    indices: np.ndarray

    @property
    def fields(self) -> tuple[str, ...]:
        return self.source.fields

    def __len__(self) -> int:
        return len(self.indices)

    def sample(self, index: int, fields: Sequence[str]) -> dict[str, np.ndarray]:
        return self.source.sample(int(self.indices[index]), fields)

    def __repr__(self) -> str:
        digest = hashlib.sha256(np.asarray(self.indices, "<i8").tobytes()).hexdigest()[:16]
        return f"{self.source!r} in the order {digest} of {len(self)}"


def balance_yaw(source: "Source", cameras: np.ndarray, balance: YawBalance | None = None) -> Resampled:
    """The source with records of rare yaws repeated; `cameras` [n, 25] are its labels (`records.read_cameras`).

    Raises:
      InputError: the labels are not one per sample.
    """
    if np.shape(cameras) != (len(source), 25):
        raise InputError(f"cameras must be [{len(source)}, 25], one label per sample, got {np.shape(cameras)}")
    return Resampled(source, repeat_indices(yaw_copies(label_yaw(cameras), balance or YawBalance())))


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
