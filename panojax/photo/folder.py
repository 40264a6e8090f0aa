"""Align many photos into a folder that reads as EG3D's data sets do: pictures, masks and one dataset.json."""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from panojax.disk.locks import alone_in, contents
from panojax.disk.reading import read_bytes, read_json, shown
from panojax.disk.staging import check_writable, clean_leftovers, replaced_when_done
from panojax.errors import InputError, OutputError, check_choice
from panojax.files.image_file import write_image
from panojax.photo.alignment import align, check_options
from panojax.photo.framing import PANOHEAD, Framing
from panojax.terminal.bars import bar

SETTINGS = "align.json"
FACE_MESH = "face mesh"  # the only method of older versions, which did not note it
TRAINING, HELD_OUT, ALL = PARTS = ("training", "held-out", "all")
MAX_PHOTO_BYTES = 2**28
# HEIC is listed although not every installation reads it: a photo that cannot be read is to be named.
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif", ".jp2"),
    *(".ppm", ".tga", ".mpo", ".heic", ".heif", ".hif"),
)


@dataclasses.dataclass(frozen=True)
class FolderReport:
    """What `align_folder` did.

    Attributes:
      aligned: (photo, name of its crop) of every photo that is in the folder now.
      failed: (photo, reason) of every photo that is not.
      warned: (photo, warnings) of the aligned photos that have any.
      behind: how many of the aligned photos show a head from behind, |yaw| over 90 degrees.
      by_network: how many were aligned by the head pose network, alone or together with the face mesh.
    """

    aligned: tuple[tuple[str, str], ...]
    failed: tuple[tuple[str, str], ...]
    warned: tuple[tuple[str, tuple[str, ...]], ...]
    behind: int = 0
    by_network: int = 0


def align_folder(
    paths: Sequence[str | os.PathLike],
    out: str | os.PathLike,
    *,
    face: str | int = "largest",
    size: int = 512,
    framing: Framing = PANOHEAD,
    part: str = ALL,
    progress: bool = True,
) -> FolderReport:
    """Aligns photos; one that cannot be used is noted and the rest go on.

    Photo number N gives `imgN.png`, `maskN.png` and `imgN.json` (its source, label and report), N in eight digits and
    by its place in `paths`, then all of them `dataset.json`, in EG3D's format, and `failed.json`. Each file is whole or
    absent.
    Run again with the same settings, it does only what is missing or has changed; crops of photos that are no longer
    among them go.

    Args:
      paths: photos, or folders, which stand for the pictures directly in them in the order of their names.
      out: a new or an empty folder, or one that was filled with the same settings.
      face, size, framing: see `align`.
      part: only the "training" or the "held-out" photos, see `part_of`, or "all".
      progress: show a bar on stderr.

    Raises:
      InputError: if there is no photo, or `out` is a file, holds something else, or was filled with other settings.
    """
    check_options(face, size)
    photos = list_photos(paths, part)
    out = pathlib.Path(out)
    _open_folder(out, {"face": face, "size": size, "framing": dataclasses.asdict(framing)})
    with alone_in(out):
        clean_leftovers(out)
        return _align_all(photos, out, progress, face=face, size=size, framing=framing)


def _align_all(photos, out, progress, **options):
    """Aligns photos into a folder that is ours."""
    aligned, failed, warned, labels = [], [], [], []
    behind = by_network = 0
    for index, photo in enumerate(bar(photos, desc="align", unit="photo", hidden=not progress, leave=True)):
        name = f"img{index:08d}.png"
        entry = _finished(out, index, photo)
        if entry is None:
            try:
                entry = _align_one(out, index, photo, **options)
            except OutputError as error:
                raise OutputError(f"out must be writable, got {shown(out)}: {error}", error.code) from error
            except InputError as error:
                failed.append((photo, str(error)))
                _forget(out, index)
                continue
        aligned.append((photo, name))
        labels.append([name, entry["label"]])
        behind += abs(entry["report"]["yaw"]) > 90
        by_network += is_by_network(entry)
        if entry["report"]["warnings"]:
            warned.append((photo, tuple(entry["report"]["warnings"])))
    _forget_beyond(out, len(photos))
    _write_json(out / "dataset.json", {"labels": labels})
    _write_json(out / "failed.json", [{"photo": photo, "reason": reason} for photo, reason in failed])
    return FolderReport(tuple(aligned), tuple(failed), tuple(warned), behind, by_network)


def is_by_network(entry: Any) -> bool:
    """Whether a photo was aligned by the head pose network, alone or with the face mesh, by its imgN.json."""
    report = entry.get("report") if isinstance(entry, dict) else None
    return isinstance(report, dict) and report.get("method", FACE_MESH) != FACE_MESH


def part_of(photo: str | os.PathLike) -> str:
    """Whether a photo trains or is held out: a sixth is, by a hash of the file's content, whatever its name."""
    return HELD_OUT if int(photo_digest(photo)[:16], 16) % 6 == 0 else TRAINING


def photo_digest(photo: str | os.PathLike) -> str:
    """SHA-256 (hex) of a photo's file."""
    return hashlib.sha256(read_bytes(photo, limit=MAX_PHOTO_BYTES)).hexdigest()


def _in_part(photo: str | os.PathLike, part: str) -> bool:
    """Whether a photo is of this part; one that cannot be read is of each, and is named where it is left out."""
    try:
        return part_of(photo) == part
    except InputError:
        return True


def list_photos(paths: Sequence[str | os.PathLike], part: str = ALL) -> list[str]:
    """The photos that paths name, folders opened.

    Args:
      part: "training" or "held-out" takes only those photos, see `part_of`; "all" does not look into them.

    Raises:
      InputError: there is none.
    """
    check_choice("part", part, PARTS)
    if isinstance(paths, str | bytes | os.PathLike):
        raise InputError(f"paths must be a list of photos, got {paths!r}")
    photos = []
    for path in map(pathlib.Path, paths):
        if path.is_dir():
            photos += sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
        else:
            photos.append(path)
    if part != ALL:
        photos = [photo for photo in photos if _in_part(photo, part)]
    if not photos:
        of = "" if part == ALL else f" of the part {part!r}"
        raise InputError(f"paths must name at least one photo{of}, got {[str(path) for path in paths]}")
    return [str(photo) for photo in photos]


def _open_folder(out, settings):
    """Makes the folder and notes the settings, or checks that it is ours."""
    settings = json.loads(json.dumps(settings))
    check_writable(out)
    if out.exists() and not out.is_dir():
        raise InputError(f"out must be a folder, got the file {shown(out)}")
    if out.is_dir() and contents(out):
        known = _read_json(out / SETTINGS)
        if known is None:
            raise InputError(f"out must be a new or empty folder or one that align filled, got {str(out)!r}")
        if known != settings:
            raise InputError(f"out must have been filled with the same face, size and framing, got {str(out)!r}")
        return
    _write_json(out / SETTINGS, settings)


def _align_one(out, index, photo, **options):
    """Aligns a photo and writes its files, the one that says it is finished last."""
    result = align(photo, **options)
    _forget(out, index)
    write_image(out / f"img{index:08d}.png", result.image, overwrite=True)
    write_image(out / f"mask{index:08d}.png", result.mask * 2 - 1, overwrite=True)
    label = [round(float(value), 6) for value in result.camera]
    entry = {"photo": photo, "stamp": stamp(photo), "label": label, "report": dataclasses.asdict(result.report)}
    _write_json(out / f"img{index:08d}.json", entry)
    return entry


def _finished(out, index, photo):
    """The notes of a photo that was aligned before and has not changed since, or None."""
    entry = _read_json(out / f"img{index:08d}.json")
    pictures = [out / f"{kind}{index:08d}.png" for kind in ("img", "mask")]
    whole = isinstance(entry, dict) and all(picture.is_file() for picture in pictures)
    return entry if whole and (entry["photo"], entry["stamp"]) == (photo, stamp(photo)) else None


def _forget(out, index):
    """Removes what an earlier run left for this number."""
    for name in (f"img{index:08d}.json", f"img{index:08d}.png", f"mask{index:08d}.png"):
        (out / name).unlink(missing_ok=True)


def _forget_beyond(out, count):
    """Removes what an earlier run with more photos left."""
    for note in out.glob("img[0-9]*.json"):
        number = note.stem.removeprefix("img")
        if len(number) == 8 and number.isdecimal() and int(number) >= count:
            _forget(out, int(number))


def stamp(photo):
    """Size and time of a file, [bytes, nanoseconds]; None where there is none."""
    try:
        status = os.stat(photo)
    except (OSError, ValueError):
        return None
    return [status.st_size, status.st_mtime_ns]


def _read_json(path: pathlib.Path) -> Any:
    try:
        return read_json(path)
    except InputError:
        return None


def _write_json(path, value):
    with replaced_when_done(path, overwrite=True) as partial:
        partial.write_text(json.dumps(value, indent=1) + "\n")
