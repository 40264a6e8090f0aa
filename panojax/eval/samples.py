"""What the methods are given and what their views are compared with, read from the real sets' folders.

A sample is a list of pictures of one person at one moment: the first is the portrait that is inverted, and all of them,
it included, are what the head is compared with.
"""

import contextlib
import dataclasses
import functools
import math
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from panojax.data import checks, eg3d_folder, mead
from panojax.data.photo_reader import Photo, list_photos, read_photo
from panojax.data.pictures import compose
from panojax.errors import InputError
from panojax.nn.stylegan2 import pool
from panojax.synthetic import storage
from panojax.synthetic.cameras import yaw_elevation

INPUT = "0"
"""Group of pictures seen from where the portrait is."""


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture of a person.

    Attributes:
      group: what figures are averaged over: "0" for the portrait's view, or degrees from it.
      camera: label float32 [25].
      image: on white, float32 [S, S, 3] in [-1, 1].
      mask: coverage [H, W] in [0, 1], where it is known.
      depth: [H, W], world units along the pixel's ray, 0 where nothing is; where it is known.
    """

    group: str
    camera: np.ndarray
    image: np.ndarray
    mask: np.ndarray | None = None
    depth: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Sample:
    """A portrait to invert. `load(side)` reads its pictures, `side` pixels wide."""

    name: str
    load: Callable[[int], list[Picture]]


def portrait_samples(
    folders: Sequence[pathlib.Path], *, masks: str | None = None, part: str = "validation", held_out: float = 0.1
) -> list[Sample]:
    """Photos of folders with EG3D's dataset.json, each on its own: FFHQ and LPFF, CelebA-HQ, ...

    Args:
      folders: as `data.photo_reader.list_photos` reads them, or prepared sets.
      masks: a folder inside each of them with masks; "." where they lie beside the pictures as mask*.png.
      part, held_out: the encoders' training holds the "validation" part out; "all" takes every photo.

    Raises:
      InputError: a picture without a label, a label without a picture, a missing mask, an empty part.
    """
    samples: list[Sample] = []
    for number, folder in enumerate(map(pathlib.Path, folders)):
        if any(folder.rglob("dataset_info.json")):
            samples += prepared_samples(folder, part=part)
            continue
        found = list_photos([folder], part=part, held_out=held_out)
        listed = {photo.path for photo in list_photos([folder])}
        for photo in found:
            name = f"{number}/{photo.path.relative_to(folder)}"
            samples.append(Sample(name, functools.partial(_one, _with_mask(photo, folder, masks))))
        unlabelled = [
            f"{path.relative_to(folder)} has no label"
            for path in sorted(folder.rglob("*"))
            if path.suffix.lower() in eg3d_folder.SUFFIXES and path not in listed and not _is_mask(path, folder, masks)
        ]
        checks.refuse(f"data folder {folder}", unlabelled)
    return samples


def prepared_samples(folder: pathlib.Path, *, part: str) -> list[Sample]:
    """Pictures of a set that `python -m panojax.data` prepared; on white, where it has masks.

    `part` is "train", "validation" (the split of that name, or else "test": what training holds out) or "all".

    Raises:
      InputError: there is no such set, or no such split.
    """
    from panojax.data.records import open_set  # imports tensorflow-datasets, which takes seconds

    splits = {}
    for name in ("train", "validation", "test"):
        with contextlib.suppress(InputError):
            splits[name] = open_set(folder, name)
    names = list(splits) if part == "all" else [part if part in splits else "test" if part == "validation" else part]
    sets = {name: splits.get(name) or open_set(folder, name) for name in names}
    return [
        Sample(f"{folder.name}/{name}/{i:07d}", functools.partial(_record, records, i))
        for name, records in sets.items()
        for i in range(len(records))
    ]


def mead_samples(source: pathlib.Path, *, labels: pathlib.Path | None, left: str, masks: str | None) -> list[Sample]:
    """MEAD's moments that a front camera filmed; other level cameras' pictures are in the group of their |yaw|.

    Args:
      source, labels, left: those of `data.mead.MeadOptions`.
      masks: a folder of masks, laid out as the pictures are.

    Raises:
      InputError: as `data.mead.plan`; no moment has a front picture and another.
    """
    options = mead.MeadOptions(
        source=source,
        labels=labels,
        left=left,  # type: ignore[arg-type]
        masks=None if masks is None else pathlib.Path(masks),
        size=checks.SIZES[0],
    )
    moments: dict[tuple[str, str], list[tuple[str, Photo]]] = {}
    for items in mead.plan(options).splits.values():
        for item in items:
            fields = dict(item.fields)
            yaw, elevation = _mead_camera(fields["view"])
            if elevation == 0:
                photo = Photo(item.picture, item.mask, item.label)
                moments.setdefault((fields["subject"], fields["frame"]), []).append((f"{abs(yaw):g}", photo))
    samples = []
    for (subject, frame), views in sorted(moments.items()):
        views.sort(key=lambda view: (float(view[0]), str(view[1].path)))
        if views[0][0] == INPUT and views[-1][0] != INPUT:
            samples.append(Sample(f"{subject}/{frame}", functools.partial(_moment, views)))
    if not samples:
        raise InputError(
            f"data must hold front pictures with others of the same subject and frame, got none in {source}"
        )
    return samples


def heads_samples(
    folder: pathlib.Path, *, split: str = "test", angles: Sequence[int], tolerance: float = 10.0
) -> list[Sample]:
    """Synthetic heads: the portrait is the view nearest to the front; others are grouped by their angle from it.

    Args:
      folder: what `panojax heads` filled.
      split: "train", "validation" or "test".
      angles: degrees between two cameras' yaws that views are grouped by.
      tolerance: a view that is farther from all of them is left out.

    Raises:
      InputError: no finished set of heads, or no head in the split.
    """
    if not angles or not all(0 < angle <= 180 for angle in angles):
        raise InputError(f"angles must be degrees above 0, up to 180, got {', '.join(map(str, angles)) or 'none'}")
    index = checks.read_json(folder / "dataset.json", "data's dataset.json, written when all heads are finished,")
    splits = index.get("splits") if isinstance(index, dict) else None
    if not isinstance(splits, dict) or not index.get("labels"):
        raise InputError(
            f"data must be a folder of synthetic heads with labels and splits in dataset.json, got {folder}"
        )
    numbers = sorted(int(number) for number, part in splits.items() if part == split)
    if not numbers:
        there = ", ".join(sorted(set(splits.values())))
        raise InputError(f"split must be one of those in {folder} ({there}), got {split!r}")
    return [
        Sample(
            f"{number:06d}", functools.partial(_head, storage.identity_path(folder, number), tuple(angles), tolerance)
        )
        for number in numbers
    ]


def label_angle(first: np.ndarray, second: np.ndarray) -> float:
    """Degrees in 0..180 between the yaws of two labels [25]."""
    difference = yaw_elevation(first)[0] - yaw_elevation(second)[0]
    return math.degrees(abs(math.remainder(difference, 2 * math.pi)))


def _mead_camera(view: str) -> tuple[float, float]:
    """Yaw and elevation of one of MEAD's cameras in degrees, or of a yaw."""
    if view in mead.CAMERAS:
        return mead.CAMERAS[view]
    try:
        return float(view), 0.0
    except ValueError:
        raise InputError(f"data: camera must be one of {', '.join(mead.CAMERAS)} or degrees, got {view!r}") from None


def _one(photo: Photo, side: int) -> list[Picture]:
    return [Picture(INPUT, np.asarray(photo.label, np.float32), read_photo(photo, side))]


def _record(records: Any, index: int, side: int) -> list[Picture]:
    sample = records.sample(index, [name for name in ("image", "mask", "camera") if name in records.fields])
    image = sample["image"]
    if "mask" in sample:
        image = compose(image, sample["mask"], (255, 255, 255))
    return [Picture(INPUT, np.asarray(sample["camera"], np.float32), _resized(image / np.float32(127.5) - 1, side))]


def _moment(views: list[tuple[str, Photo]], side: int) -> list[Picture]:
    return [Picture(group, np.asarray(photo.label, np.float32), read_photo(photo, side)) for group, photo in views]


def _head(path: pathlib.Path, angles: tuple[int, ...], tolerance: float, side: int) -> list[Picture]:
    views = storage.read_identity(path)
    labels = np.asarray(views.labels, np.float64)
    to_front = [math.hypot(*yaw_elevation(label)) for label in labels]
    portrait = int(np.argmin(to_front))
    pictures = []
    for i in [portrait, *(i for i in range(len(labels)) if i != portrait)]:
        angle = label_angle(labels[i], labels[portrait])
        nearest = min(angles, key=lambda a: abs(a - angle))
        if i == portrait or abs(nearest - angle) <= tolerance:
            rgb, mask = views.rgba[i, ..., :3] / np.float32(127.5) - 1, views.rgba[i, ..., 3] / np.float32(255)
            image = _resized(rgb * mask[..., None] + 1 - mask[..., None], side)
            group = INPUT if i == portrait else str(nearest)
            pictures.append(Picture(group, labels[i].astype(np.float32), image, mask, views.depth[i]))
    return pictures


def _resized(image: np.ndarray, side: int) -> np.ndarray:
    return np.asarray(pool(jnp.asarray(image, jnp.float32)[None], side)[0])


def _with_mask(photo: Photo, folder: pathlib.Path, masks: str | None) -> Photo:
    if masks is None:
        return photo
    name = photo.path.relative_to(folder).as_posix()
    mask = eg3d_folder.find_mask(name, folder, folder / masks)
    if mask is None:
        raise InputError(f"masks must hold a mask of every picture, {folder / masks} has none of {name}")
    return dataclasses.replace(photo, mask=mask)


def _is_mask(path: pathlib.Path, folder: pathlib.Path, masks: str | None) -> bool:
    if masks is None:
        return False
    if (folder / masks).resolve() == folder.resolve():
        return path.name.startswith("mask")
    return path.resolve().is_relative_to((folder / masks).resolve())
