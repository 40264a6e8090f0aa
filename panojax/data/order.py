"""Which rows a step takes: a pure function of the seed and the step, in NumPy and for whole batches.

Sample k of a run is shown at step k // batch, whatever the number of processes. Where there are several sources, a
pattern of one period says whose it is; within a source every entry comes once an epoch, in an order of its own.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from panojax.errors import InputError

_ORDER, _MIRROR, _OTHER, _POSE = 1, 2, 3, 4  # streams of the seed
_LONGEST = 1 << 21  # of a period, beyond which shares are rounded


@dataclasses.dataclass(frozen=True)
class Stream:
    """A source's rows that are shown, and how.

    Attributes:
      rows: int64 [M], one an entry: rows that come more often appear more often. None: an endless source.
      heads: of all rows of the source [n], where other views are asked for.
      share: of the samples, for one another.
    """

    rows: np.ndarray | None
    heads: np.ndarray | None = None
    share: float = 1.0


class Pose(NamedTuple):
    """Whose cameras n poses are: the source's number, the row in it, whether it is mirrored."""

    source: np.ndarray
    row: np.ndarray
    mirrored: np.ndarray


@dataclasses.dataclass(frozen=True)
class Choice:
    """What n samples are: the source's number, the row in it, whether it is mirrored, and what else was drawn.

    `other` is another row of the same head. `poses` are sets of as many independent draws.
    """

    source: np.ndarray
    row: np.ndarray
    mirrored: np.ndarray
    other: np.ndarray
    poses: tuple[Pose, ...] = ()


class Order:
    """The samples of each step.

    Attributes:
      streams: the sources'.
      batch: samples of the whole batch.
      seed: of order, mirroring and draws.
      mirror: share of mirrored samples, or "both": every entry comes as often mirrored as not, in each epoch.
      shuffle: False keeps the entries' order.
      epochs: how often to go through; the first source that ends ends all. None never ends.
      others: whether to draw them.
      poses: how many sets of poses to draw.
    """

    def __init__(
        self,
        streams: Sequence[Stream],
        batch: int,
        *,
        seed: int = 0,
        mirror: float | str = 0.5,
        shuffle: bool = True,
        epochs: int | None = None,
        others: bool = False,
        poses: int = 0,
    ):
        self.streams, self.batch, self.seed, self.shuffle = tuple(streams), batch, seed, shuffle
        self.share, self.sides = (0.0, 2) if mirror == "both" else (float(mirror), 1)
        self.poses = poses
        self._pattern, self._rank, self._counts = _period([stream.share for stream in streams])
        self._sizes = [None if s.rows is None else self.sides * len(s.rows) for s in streams]
        self._others = [_Others(stream) for stream in streams] if others else None
        self.samples = None if epochs is None else self._length(epochs)

    def __call__(self, step: int, part: slice = slice(None)) -> Choice:
        """A step's samples, or the `part` of them that one of several processes takes."""
        numbers = step * self.batch + np.arange(self.batch)
        numbers = (numbers if self.samples is None else numbers[numbers < self.samples])[part]
        turn, place = np.divmod(numbers, len(self._pattern))
        source = self._pattern[place]
        at = turn * self._counts[source] + self._rank[place]  # its number among those of its source
        row, mirrored = np.zeros(len(at), np.int64), np.zeros(len(at), bool)
        for i in range(len(self.streams)):
            mine = source == i
            row[mine], mirrored[mine] = self._entries(i, self._shuffled(i, at[mine]))
        mirrored |= self._draw(_MIRROR, step)[part][: len(at)] < self.share
        other = row
        if self._others is not None:
            other, draw = np.zeros_like(row), self._draw(_OTHER, step)[part][: len(at)]
            for i, others in enumerate(self._others):
                other[source == i] = others(row[source == i], draw[source == i])
        return Choice(source, row, mirrored, other, self._draw_poses(step, part, len(at)))

    def _length(self, epochs: int) -> int:
        """Samples until a source has no more."""
        ends = []
        for i, size in enumerate(self._sizes):
            if size is not None:
                turn, rank = divmod(epochs * size, int(self._counts[i]))
                ends.append(turn * len(self._pattern) + int(np.flatnonzero(self._pattern == i)[rank]))
        if not ends:
            raise InputError(f"epochs must be None where samples never end, got {epochs}")
        return min(ends)

    def _shuffled(self, i: int, at: np.ndarray) -> np.ndarray:
        """The entries of a source that are shown at its places `at`."""
        size = self._sizes[i]
        if size is None:
            return at
        turns, places = np.divmod(at, size)
        if not self.shuffle:
            return places
        entries = np.empty_like(places)
        for turn in np.unique(turns):
            now = turns == turn
            entries[now] = _permutation((self.seed, _ORDER, i, int(turn)), size)[places[now]]
        return entries

    def _entries(self, i: int, entries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The row of each entry, and whether it is the mirrored one of a pair."""
        rows = self.streams[i].rows
        if rows is None:
            return entries, np.zeros(len(entries), bool)
        mirrored, index = np.divmod(entries, len(rows))
        return rows[index], mirrored.astype(bool)

    def _draw_poses(self, step: int, part: slice, count: int) -> tuple[Pose, ...]:
        """As many draws of each set, independent of one another, from all entries."""
        draws = self._draw(_POSE, step, 3 * self.poses)[:, part][:, :count]
        return tuple(self._pose(*draws[3 * i : 3 * i + 3]) for i in range(self.poses))

    def _pose(self, which: np.ndarray, entry: np.ndarray, side: np.ndarray) -> Pose:
        shares = np.cumsum(self._counts) / np.sum(self._counts)
        source = np.searchsorted(shares, which, side="right")
        row, mirrored = np.zeros(len(which), np.int64), np.zeros(len(which), bool)
        for i, size in enumerate(self._sizes):
            mine = source == i
            assert size is not None
            row[mine], mirrored[mine] = self._entries(i, (entry[mine] * size).astype(np.int64))
        return Pose(source, row, mirrored | (side < self.share))

    def _draw(self, stream: int, step: int, kinds: int | None = None) -> np.ndarray:
        """Uniform numbers in [0, 1) for the whole batch of a step."""
        shape = (self.batch,) if kinds is None else (kinds, self.batch)
        return np.random.default_rng((self.seed, stream, step)).random(shape)


class _Others:
    """Another row of the same head, drawn from those that are shown; the same one where there is no other."""

    def __init__(self, stream: Stream):
        assert stream.rows is not None and stream.heads is not None
        rows = np.unique(stream.rows)
        heads = stream.heads[rows]
        order = np.argsort(heads, kind="stable")
        self._members = rows[order]
        _, starts, counts = np.unique(heads[order], return_index=True, return_counts=True)
        self._start, self._count, self._place = (np.zeros(len(stream.heads), np.int64) for _ in range(3))
        self._start[self._members], self._count[self._members] = np.repeat(starts, counts), np.repeat(counts, counts)
        self._place[self._members] = np.arange(len(rows)) - np.repeat(starts, counts)

    def __call__(self, rows: np.ndarray, draws: np.ndarray) -> np.ndarray:
        count = self._count[rows]
        away = np.where(count > 1, 1 + (draws * (count - 1)).astype(np.int64), 0)
        return self._members[self._start[rows] + (self._place[rows] + away) % count]


def _period(shares: Sequence[float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which source each sample of a period is of, its number among those of its source, and how many each has.

    Sample i of a source's n lies at (i + 1/2) / n of the period, so that any run of samples is as mixed as it can be.
    """
    counts = np.array(_whole_numbers(shares))
    source = np.repeat(np.arange(len(counts)), counts)
    rank = np.concatenate([np.arange(count) for count in counts])
    order = np.argsort((rank + 0.5) / counts[source], kind="stable")
    return source[order], rank[order], counts


def _whole_numbers(shares: Sequence[float]) -> list[int]:
    """The shares as the smallest whole numbers, rounded where these would be large."""
    whole = [round(share) for share in shares]
    if not all(share == number > 0 for share, number in zip(shares, whole)):
        whole = [max(1, round(1000 * share / min(shares))) for share in shares]
    divisor = math.gcd(*whole)
    whole = [number // divisor for number in whole]
    total = sum(whole)
    return whole if total <= _LONGEST else [max(1, number * _LONGEST // total) for number in whole]


@functools.lru_cache(maxsize=16)
def _permutation(seed: tuple[int, ...], size: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(size)
