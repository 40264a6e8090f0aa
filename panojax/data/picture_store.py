"""Pictures at one size on one background, as bytes: from a reader, and kept in memory once they were read."""

import concurrent.futures
import contextlib
import dataclasses
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from panojax.data.pictures import compose, person_mask, resize_bytes
from panojax.data.reader import Reader
from panojax.synthetic.render import DEPTH_STEPS
from panojax.terminal.bars import bar

# Fewer rows are read by threads: processes take seconds to start.
MANY = 2000
_CHUNK = 64  # rows that a process reads at a time
WHITE = (255, 255, 255)
Colour = tuple[int, int, int]
Read = tuple[np.ndarray, np.ndarray | None]
"""Pixels uint8 [n, S, S, 4], sRGB and the mask, and depths uint16 [n, S, S] in units of 1 / DEPTH_STEPS, or None."""


@dataclasses.dataclass(frozen=True)
class SizedPictures:
    """A reader's pictures as they are shown.

    Attributes:
      reader: what reads them.
      size: their side in pixels. Areas are averaged, or enlarged by bicubic interpolation.
      background: composed on this colour by their masks; None keeps what is behind the head, white where nothing is.
      mask: the mask is needed: where it is not known it is estimated, for a picture on white.
      depth: depths are needed, of the nearest pixel.
    """

    reader: Reader
    size: int
    background: Colour | None = None
    mask: bool = False
    depth: bool = False

    def read(self, rows: Iterable[Any]) -> Read:
        """The pictures of these rows, one after the other."""
        pictures = [self.picture(int(row)) for row in rows]
        pixels = np.stack([picture for picture, _ in pictures])
        return pixels, np.stack([depth for _, depth in pictures if depth is not None]) if self.depth else None

    def picture(self, row: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Pixels [S, S, 4] and depths [S, S] of a row."""
        wanted = [name for name in ("image", "mask") if name in self.reader.fields]
        sample = self.reader.sample(row, [*wanted, "depth"] if self.depth else wanted)
        image, mask = sample["image"], sample.get("mask")
        colour = self.background if self.reader.backgrounds else self.background or WHITE
        if mask is not None and colour is not None:
            image = compose(image, mask, colour)
        if mask is None:
            mask = np.full((*image.shape[:2], 1), 255, np.uint8)
            if self.mask:
                mask = np.round(255 * person_mask(image / 127.5 - 1)).astype(np.uint8)
        pixels = resize_bytes(np.concatenate([image, mask], axis=-1), self.size)
        return pixels, _nearest(sample["depth"], self.size) if self.depth else None


class PictureStore:
    """Reads pictures by rows; where they are kept, a row is decoded once and batches are gathered from memory.

    Attributes:
      sized: what is read.
      keep: whether rows are kept. Memory is taken as they come.
    """

    def __init__(self, sized: SizedPictures, *, keep: bool = True):
        self.sized, self.keep = sized, keep
        self._pixels: Any = None
        self._depths: Any = None
        self._ready: Any = None

    def __len__(self) -> int:
        return len(self.sized.reader)

    def read(self, rows: np.ndarray) -> Read:
        """The pictures of these rows. Called by several threads at once: two that read one row write the same bytes."""
        if not self.keep:
            return self.sized.read(rows)
        self._allocate()
        missing = rows[~self._ready[rows]]
        for row in dict.fromkeys(missing.tolist()):
            self._put(np.array([row]), self.sized.read([row]))
        return np.take(self._pixels, rows, axis=0), None if self._depths is None else self._depths[rows]

    def fill(self, rows: np.ndarray, workers: int | None = None) -> None:
        """Reads and keeps these rows, all at once.

        More than `MANY` are read by processes, which start the caller's script as a module: it must keep its work under
        `if __name__ == "__main__"`.
        """
        self._allocate()
        rows = np.unique(rows[~self._ready[rows]])
        chunks = np.array_split(rows, -(-len(rows) // _CHUNK)) if len(rows) else []
        progress = bar(total=len(rows), desc="reading", unit="picture")
        with _pool(self.sized, len(rows), workers or os.cpu_count() or 1) as pool, progress:
            for chunk, content in zip(chunks, pool(chunks)):
                self._put(chunk, content)
                progress.update(len(chunk))

    def arrays(self) -> dict[str, np.ndarray]:
        """All that is kept: {"pixels": uint8 [M, S, S, 4]}, and "depths": uint16 [M, S, S] where there are any."""
        self._allocate()
        return {"pixels": self._pixels} | ({} if self._depths is None else {"depths": self._depths})

    def forget(self) -> None:
        """Gives back the memory of what is kept."""
        self._pixels = self._depths = self._ready = None

    def _allocate(self):
        if self._ready is None:
            shape = (len(self), self.sized.size, self.sized.size)
            self._depths = np.empty(shape, np.uint16) if self.sized.depth else None
            self._pixels, self._ready = np.empty((*shape, 4), np.uint8), np.zeros(len(self), bool)

    def _put(self, rows, content):
        pixels, depths = content
        self._pixels[rows] = pixels
        if depths is not None:
            self._depths[rows] = depths
        self._ready[rows] = True


@contextlib.contextmanager
def _pool(sized: SizedPictures, count: int, workers: int) -> Iterator[Callable[[Any], Iterator[Read]]]:
    """What reads chunks of rows in order, by threads or by processes, which are told once what to read."""
    if count <= MANY:
        with concurrent.futures.ThreadPoolExecutor(workers) as threads:
            yield lambda chunks: threads.map(sized.read, chunks)
        return
    start = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, start, _remember, (sized,)) as processes:
        yield lambda chunks: processes.map(_read_chunk, chunks)


_SIZED: list[SizedPictures] = []  # what a process of a pool reads


def _remember(sized):
    _SIZED[:] = [sized]


def _read_chunk(rows):
    return _SIZED[0].read(rows)


def _nearest(depth: np.ndarray, size: int) -> np.ndarray:
    """Depths [H, W, 1] in world units as uint16 [S, S] of the nearest pixels."""
    rows, columns = (((np.arange(size) + 0.5) * side / size).astype(np.int64) for side in depth.shape[:2])
    return np.round(depth[rows[:, None], columns, 0] * DEPTH_STEPS).astype(np.uint16)
