"""Reads folders with EG3D's dataset.json as they lie: FFHQ, LPFF, what `panojax align` writes, and the like."""

import dataclasses
import functools
import pathlib
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from panojax.camera_conventions import check_camera
from panojax.data.eg3d_folder import find_mask
from panojax.data.pictures import resize_floats
from panojax.data.reader import Reader, digest
from panojax.disk.reading import kind_of, read_json
from panojax.errors import InputError, check_choice
from panojax.files.image_file import read_image
from panojax.files.mask_file import read_mask


@dataclasses.dataclass(frozen=True)
class Photo:
    """A picture on disk."""

    path: pathlib.Path
    """Of the picture, RGB or RGBA."""
    mask: pathlib.Path | None
    """Of its foreground mask, white on the head, or None."""
    label: tuple[float, ...]
    """Its camera, 25 numbers."""


class PhotoReader(Reader):
    """Photos, each the only one of its head, with the mask of its file or alpha channel.

    Attributes:
      photos: in the order of the rows.
      need_masks: a picture without a mask is an error.
    """

    fields = ("image", "mask", "camera", "head")

    def __init__(self, photos: Sequence[Photo], *, need_masks: bool = False, part: str = "all"):
        self.photos, self.need_masks, self.part = tuple(photos), need_masks, part

    def __len__(self) -> int:
        return len(self.photos)

    @functools.cached_property
    def cameras(self) -> np.ndarray:  # type: ignore[override]
        return np.array([photo.label for photo in self.photos], np.float32).reshape(-1, 25)

    def sample(self, row: int, fields: Sequence[str]) -> dict[str, Any]:
        photo = self.photos[row]
        sample: dict[str, Any] = {"camera": self.cameras[row], "head": row}
        if "image" in fields or "mask" in fields:
            rgb, alpha = read_masked(photo)
            sample["image"] = np.round(127.5 * rgb + 127.5).astype(np.uint8)
            if alpha is not None:
                sample["mask"] = np.round(255 * alpha[..., None]).astype(np.uint8)
            elif self.need_masks:
                raise InputError(
                    f"{photo.path} must have a mask, in the folder that masks names or as an alpha channel"
                )
        return {name: sample[name] for name in fields if name in sample}

    def __repr__(self) -> str:
        return f"{len(self)} photos {digest([photo.path.name for photo in self.photos], self.cameras)}"


def open_photos(
    folder: str | pathlib.Path,
    *,
    masks: str | None = None,
    part: str = "all",
    held_out: float = 0.1,
    need_masks: bool = False,
) -> PhotoReader:
    """The pictures of a folder in EG3D's layout. See `list_photos`."""
    photos = list_photos([folder], masks=masks, part=part, held_out=held_out)
    return PhotoReader(photos, need_masks=need_masks, part=part)


def list_photos(
    folders: Sequence[str | pathlib.Path], *, masks: str | None = None, part: str = "all", held_out: float = 0.1
) -> list[Photo]:
    """The pictures that folders in EG3D's layout list in their `dataset.json`, in the order of their names.

    Args:
      folders: each with `dataset.json`, {"labels": [[name, [25 numbers]], ...]}, and the pictures.
      masks: a folder inside each of them with foreground masks under the pictures' names, or with mask for img in
        them: "." for what `panojax align` wrote. None: pictures have an alpha channel, or no background to remove.
      part: "train", "validation" or "all". Which part a picture belongs to depends on its name alone.
      held_out: share of the pictures in "validation".

    Raises:
      InputError: no folder, no `dataset.json`, an entry without a picture, a mask or a camera, or an empty part.
    """
    check_choice("part", part, ("train", "validation", "all"))
    photos = []
    for folder in map(pathlib.Path, folders):
        for name, label in _labels(folder):
            in_validation = zlib.crc32(name.encode()) % 10_000 < held_out * 10_000
            if part != "all" and in_validation != (part == "validation"):
                continue
            path, mask = folder / name, None
            if not path.is_file():
                raise InputError(f"{folder / 'dataset.json'} lists {name}, but there is no {path}")
            if masks is not None:
                mask = find_mask(name, folder, folder / masks)
                if mask is None:
                    raise InputError(f"masks must hold a mask of every picture, {folder / masks} has none of {name}")
            photos.append(Photo(path, mask, tuple(check_camera(label, f"camera of {name}").tolist())))
    if not photos:
        raise InputError(f"no pictures in the {part} part of {', '.join(map(str, folders)) or 'no folder'}")
    return photos


def read_masked(photo: Photo) -> tuple[np.ndarray, np.ndarray | None]:
    """A picture as it is [H, H, 3], float32 in [-1, 1], and its mask [H, H] in [0, 1] where it has one.

    Raises:
      InputError: the picture or the mask is broken, or not square, or they have different sizes.
    """
    rgb, alpha = read_image(photo.path, max_side=None)
    if photo.mask is not None:
        alpha = read_mask(photo.mask)
    if rgb.shape[0] != rgb.shape[1] or (alpha is not None and alpha.shape != rgb.shape[:2]):
        sizes = rgb.shape[:2] if alpha is None else (rgb.shape[:2], alpha.shape)
        raise InputError(f"{photo.path} must be square, and its mask as large, got {sizes}")
    return rgb, alpha


def read_photo(photo: Photo, resolution: int) -> np.ndarray:
    """A picture on white, pooled or enlarged to [R, R, 3], float32 in [-1, 1]."""
    rgb, alpha = read_masked(photo)
    if alpha is not None:
        rgb = rgb * alpha[..., None] + (1 - alpha[..., None])
    return np.clip(resize_floats(rgb, resolution), -1, 1)


def _labels(folder: pathlib.Path) -> list[tuple[str, Any]]:
    path = folder / "dataset.json"
    try:
        return sorted((str(name).replace("\\", "/"), label) for name, label in _index(folder)["labels"])
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f'{path} must be JSON like {{"labels": [[name, [25 numbers]], ...]}}: {error}') from error


def _index(folder: pathlib.Path) -> dict[str, Any]:
    path = folder / "dataset.json"
    try:
        if kind_of(path) == "nothing":
            raise FileNotFoundError(path)
        index = read_json(path)
        if not isinstance(index, dict):
            raise ValueError(f"got {str(index)[:60]}")
        return index
    except FileNotFoundError:
        raise InputError(f"data folder must hold dataset.json in EG3D's layout, got {folder}") from None
    except (OSError, ValueError) as error:
        raise InputError(f'{path} must be JSON like {{"labels": [[name, [25 numbers]], ...]}}: {error}') from error
