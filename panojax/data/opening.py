"""Opens the folders that `--data` names, of any kind and mixed, for the training of encoders and generators alike."""

import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from panojax.data.balance import Resampled, YawBalance, label_yaw, repeat_indices, shown_rows, yaw_copies
from panojax.data.head_reader import open_heads
from panojax.data.photo_reader import open_photos
from panojax.data.reader import Reader
from panojax.data.records import is_prepared, open_set
from panojax.errors import InputError
from panojax.synthetic.storage import list_identities

NEAR_DEGREES = 60.0


def open_folder(
    folder: str | pathlib.Path,
    *,
    part: str = "train",
    masks: str | None = None,
    held_out: float = 0.1,
    need_masks: bool = False,
) -> Reader:
    """The reader of a folder: of what `python -m panojax.data` or `panojax heads` wrote, or in EG3D's layout.

    Args:
      part: "train" or "validation". Prepared sets and heads have splits of their own, of which a set without
        "validation" gives "test" for it.
      masks: folder inside one in EG3D's layout with foreground masks; None: alpha channels.
      held_out: share of the pictures in EG3D's layout that is in "validation".
      need_masks: a picture, or a set, without masks is an error.

    Raises:
      InputError: there is nothing to read, or masks are missing.
    """
    if is_prepared(folder):
        records = _open_part(folder, part)
        if need_masks and "mask" not in records.fields:
            raise InputError(f"data must have masks, got a prepared set without any in {folder}")
        return records
    if list_identities(folder):
        return open_heads(folder, part)
    return open_photos(folder, masks=masks, part=part, held_out=held_out, need_masks=need_masks)


def open_folders(
    folders: Sequence[str | pathlib.Path],
    *,
    part: str = "train",
    masks: str | None = None,
    held_out: float = 0.1,
    need_masks: bool = False,
) -> dict[str, Reader]:
    """The readers of several folders, see `open_folder`, all of which have masks or none.

    Raises:
      InputError: also where no folder is named, or one twice.
    """
    if not folders:
        raise InputError("data must name at least one folder, got none")
    if len(set(map(str, folders))) < len(folders):
        raise InputError(f"data must name each folder once, got {', '.join(map(str, folders))}")
    readers = {
        str(folder): open_folder(folder, part=part, masks=masks, held_out=held_out, need_masks=need_masks)
        for folder in folders
    }
    without = [name for name, reader in readers.items() if "mask" not in reader.fields]
    if 0 < len(without) < len(readers):
        raise InputError(f"data must have masks in all sets or in none, got none in {', '.join(without)}")
    return readers


def share_weights(readers: Mapping[str, Reader]) -> dict[str, float]:
    """Weights that mix readers by their sizes, so that all epochs are one."""
    return {name: float(len(reader)) for name, reader in readers.items()}


def training_threads() -> int:
    """How many threads feed a training on this machine: one a core, 4 to 16."""
    return max(4, min(16, os.cpu_count() or 4))


def balance_photos(readers: Mapping[str, Reader], max_copies: float) -> dict[str, Reader]:
    """The readers with photos of rare yaws repeated, over all of them together; synthetic heads come once.

    See `panojax.data.balance`.
    """
    photos = [name for name, reader in readers.items() if reader.backgrounds]
    if max_copies == 1 or not photos:
        return dict(readers)
    yaws = np.concatenate([label_yaw(readers[name].cameras) for name in photos])
    rows = repeat_indices(yaw_copies(yaws, YawBalance(max_copies=max_copies)))
    ends = np.cumsum([len(readers[name]) for name in photos])
    balanced = dict(readers)
    for name, end in zip(photos, ends):
        first = end - len(readers[name])
        balanced[name] = Resampled(readers[name], rows[(rows >= first) & (rows < end)] - first)
    return balanced


def keep_near(readers: Mapping[str, Reader], max_yaw: float) -> dict[str, Reader]:
    """The readers without pictures of synthetic heads from farther around than `max_yaw` degrees.

    Raises:
      InputError: one has no others.
    """
    kept = dict(readers)
    for name, reader in readers.items():
        if reader.backgrounds or max_yaw >= 180:
            continue
        near = np.flatnonzero(np.abs(label_yaw(reader.cameras)) <= np.radians(max_yaw))
        if not len(near):
            raise InputError(f"data must have pictures within max_yaw {max_yaw} degrees, got none in {name}")
        kept[name] = Resampled(reader, near)
    return kept


def favour_front(readers: Mapping[str, Reader], repeat: int) -> dict[str, Reader]:
    """The readers with pictures of synthetic heads from within `NEAR_DEGREES` of the front `repeat` times."""
    if repeat == 1:
        return dict(readers)

    def favoured(reader):
        near = np.abs(label_yaw(reader.cameras)) <= np.radians(NEAR_DEGREES)
        return Resampled(reader, np.repeat(np.arange(len(reader)), np.where(near, repeat, 1)))

    return {name: reader if reader.backgrounds else favoured(reader) for name, reader in readers.items()}


def has_other_views(reader: Reader) -> bool:
    """Whether some head is seen in several pictures."""
    base, rows = shown_rows(reader)
    rows = np.unique(rows)
    return len(np.unique(base.heads[rows])) < len(rows)


def _open_part(folder: str | pathlib.Path, part: str) -> Reader:
    try:
        return open_set(folder, part)
    except InputError:
        if part != "validation":
            raise
        return open_set(folder, "test")
