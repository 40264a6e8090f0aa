"""Pictures for the generator's training: whole folders, decoded once and kept as bytes. Needs NumPy and Pillow only.

A folder is what `panojax heads` wrote, or has EG3D's layout (`dataset.json`, see `panojax.data.sources`) and masks.
"""

import concurrent.futures
import dataclasses
import functools
import io
import multiprocessing
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from PIL import Image
from tqdm import tqdm

from panojax.data.balance import label_yaw
from panojax.data.pictures import compose
from panojax.data.sources import Photo, list_photos
from panojax.errors import InputError, check_choice
from panojax.files.image_file import read_image
from panojax.synthetic.splits import split_of
from panojax.synthetic.storage import BROKEN, decode_png, list_identities, open_identity, read_parameters

# Pillow decodes under Python's lock, so threads gain nothing; processes take seconds to start.
MANY = 500

Background = Literal["white", "kept"]
_Read = tuple[np.ndarray, np.ndarray, np.ndarray | None]  # pixels, labels, depths


@dataclasses.dataclass(frozen=True)
class Pictures:
    """Pictures in memory.

    Attributes:
      pixels: uint8 [M, S, S, 4]: sRGB on the background, and the mask, 255 on the head.
      labels: float32 [M, 25].
      identities: int32 [M], numbered from 0: whose head it is. A photo is the only one of its head.
      depths: uint16 [M, S, S], or None: distances along the pixels' rays in units of 1 / DEPTH_STEPS, 0: nothing solid.
    """

    pixels: np.ndarray
    labels: np.ndarray
    identities: np.ndarray
    depths: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.pixels)


def read_pictures(
    folders: Sequence[str | pathlib.Path],
    size: int,
    *,
    masks: str | None = None,
    background: Background = "white",
    part: str = "train",
    depth: bool = False,
    workers: int | None = None,
) -> Pictures:
    """Reads folders one after the other, pictures reduced to `size` pixels a side.

    More than `MANY` identities and photos are read by processes, which start the caller's script as a module: it must
    keep its work under `if __name__ == "__main__"`.

    Args:
      folders: of `panojax heads`, or in EG3D's layout.
      masks: folder inside each of the latter with foreground masks; None: their pictures have alpha channels.
      background: "white" puts white behind the head, "kept" keeps what is there (photos only: heads have nothing).
      part: of heads, the split: "train", "validation" or "test". Of photos, "train" takes all.
      depth: read depths as well, of the nearest pixel where pictures are reduced; photos have none.
      workers: processes, or threads for few pictures; None for one a core.

    Raises:
      InputError: there is nothing to read, or something cannot be read; a photo has no mask.
    """
    check_choice("background", background, ("white", "kept"))
    check_choice("part", part, ("train", "validation", "test"))
    if not folders:
        raise InputError("data must name at least one folder, got none")
    jobs: list[tuple[int, Callable[[], _Read]]] = []  # how many pictures, and how to get them
    for folder in map(pathlib.Path, folders):
        if list_identities(folder):
            jobs += _head_jobs(folder, size, part, depth)
        elif depth:
            raise InputError(f"data must be folders of `panojax heads`, which have depths, got {folder}")
        else:
            jobs += _photo_jobs(folder, size, masks, background)
    starts = np.concatenate([[0], np.cumsum([count for count, _ in jobs])]).astype(np.int64)
    pixels = np.empty((starts[-1], size, size, 4), np.uint8)
    labels = np.empty((starts[-1], 25), np.float32)
    depths = np.empty((starts[-1], size, size), np.uint16) if depth else None

    workers = workers or os.cpu_count() or 1
    pool: concurrent.futures.Executor
    if len(jobs) > MANY:
        pool = concurrent.futures.ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"))
    else:
        pool = concurrent.futures.ThreadPoolExecutor(workers)
    with pool, tqdm(total=len(pixels), desc="reading", unit="picture", disable=None, leave=False) as bar:
        for number, (chosen, label, depths_read) in enumerate(pool.map(_call, [job for _, job in jobs], chunksize=8)):
            rows = slice(starts[number], starts[number + 1])
            pixels[rows], labels[rows] = chosen, label
            if depths is not None:
                depths[rows] = depths_read
            bar.update(len(label))
    return Pictures(pixels, labels, np.repeat(np.arange(len(jobs), dtype=np.int32), np.diff(starts)), depths)


def back_copies(labels: np.ndarray, repeat: int, *, degrees: float = 90.0) -> np.ndarray:
    """How often each picture is shown for once of the others: `repeat` times from behind, |yaw| > `degrees`.

    Args:
      labels: cameras [M, 25].
    """
    yaws = np.degrees(label_yaw(labels))
    return np.where(np.abs(yaws) > degrees, repeat, 1)


def _call(job):
    return job()


def _head_jobs(folder, size, part, depth):
    """A job for each identity of a split."""
    paths = [path for path in list_identities(folder) if split_of(int(path.stem)) == part]
    if not paths:
        raise InputError(f"data folder {folder} has no heads in its {part} split")
    labels = [read_parameters(path)[1] for path in paths]
    return [(len(own), functools.partial(_read_identity, path, own, size, depth)) for path, own in zip(paths, labels)]


def _read_identity(path: pathlib.Path, labels: np.ndarray, size: int, depth: bool) -> _Read:
    """All views of an identity on white: pixels [V, S, S, 4], labels [V, 25], depths [V, S, S] if they are wanted."""
    views, depths = [], []
    try:
        with open_identity(path) as archive:
            for i in range(len(labels)):
                with Image.open(io.BytesIO(archive.read(f"{i:03d}.png"))) as image:
                    views.append(np.asarray(image))
                if depth:
                    stored = decode_png(archive.read(f"{i:03d}_depth.png"))
                    nearest = ((np.arange(size) + 0.5) * len(stored) / size).astype(np.int64)
                    depths.append(stored[np.ix_(nearest, nearest)])
    except BROKEN as error:
        raise InputError(f"{path} must be an identity written by `panojax heads`: {error}") from error
    rgba = np.stack(views)
    rgba[..., :3] = compose(rgba[..., :3], rgba[..., 3:], (255, 255, 255))
    return _reduced(rgba, size), labels, np.stack(depths) if depth else None


def _photo_jobs(folder, size, masks, background):
    photos = list_photos([folder], masks=masks)
    return [(1, functools.partial(_read_photo, photo=photo, size=size, background=background)) for photo in photos]


def _read_photo(photo: Photo, size: int, background: Background) -> _Read:
    """A photo and its mask: pixels [1, S, S, 4], label [1, 25], no depth."""
    rgb, alpha = read_image(photo.path, max_side=None)
    if photo.mask is not None:
        alpha = (read_image(photo.mask, max_side=None)[0][..., 0] + 1) / 2
    if alpha is None:
        raise InputError(f"{photo.path} must have a mask, in the folder that masks names or as an alpha channel")
    if rgb.shape[0] != rgb.shape[1] or alpha.shape != rgb.shape[:2]:
        raise InputError(f"{photo.path} must be square, and its mask as large, got {rgb.shape[:2]}, {alpha.shape}")
    rgb = (rgb + 1) / 2
    if background == "white":
        rgb = rgb * alpha[..., None] + (1 - alpha[..., None])
    channels = np.round(255 * np.concatenate([rgb, alpha[..., None]], axis=-1)).astype(np.uint8)
    return _reduced(channels[None], size), np.asarray(photo.label, np.float32)[None], None


def _reduced(pictures: np.ndarray, size: int) -> np.ndarray:
    """Bytes [V, S, S, C] at [V, size, size, C], each channel alone: areas averaged, or bicubic where they grow.

    Whole pictures at a time where S is a multiple: NumPy lets other threads work meanwhile.
    """
    side = pictures.shape[1]
    if side == size:
        return pictures
    step, rest = divmod(side, size)
    if rest == 0:
        total = np.zeros((len(pictures), size, size, pictures.shape[-1]), np.uint32)
        for row, column in np.ndindex(step, step):
            total += pictures[:, row::step, column::step]
        return ((total + step * step // 2) // (step * step)).astype(np.uint8)
    method = Image.Resampling.BOX if side > size else Image.Resampling.BICUBIC
    channels = (
        Image.fromarray(np.ascontiguousarray(c)).resize((size, size), method)
        for picture in pictures
        for c in np.moveaxis(picture, -1, 0)
    )
    flat = np.stack([np.asarray(channel) for channel in channels])
    return np.moveaxis(flat.reshape(len(pictures), -1, size, size), 1, -1)
