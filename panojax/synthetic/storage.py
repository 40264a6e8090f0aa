"""Heads on disk: one zip file per identity, written whole or not at all, and an index over a folder of them.

    DIR/settings.json        what the set was made with; a run with other settings refuses to add to it
    DIR/NOTICE               where the assets come from, and their licences
    DIR/dataset.json         {"labels": [["000012.zip/003.png", [25 numbers]], ...], "splits": {"000012": "train", ...}}
    DIR/000012.zip           identity 12, members stored uncompressed:
        identity.json            its parameters, the view count and the picture size
        labels.npy               float32 (views, 25)
        003.png                  RGBA, 8 bits: sRGB colour not multiplied by alpha, and the exact coverage
        003_depth.png            16 bits: distance along the pixel's unit ray, in world units x 8192; 0: nothing solid
        003_parts.png            8 bits: index into scene.PARTS

About 2 MB per identity of 20 views at 256 pixels: eight make a 16 MiB shard, and `unzip` gives EG3D's folder of images.
"""

import io
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from panojax.disk.locks import contents
from panojax.disk.reading import read_bytes, read_json, reason
from panojax.disk.staging import check_writable
from panojax.errors import InputError
from panojax.files.array_file import read_npy
from panojax.synthetic.render import DEPTH_STEPS, View
from panojax.terminal.bars import bar

ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # the same bytes whenever they are written
PNG_LEVEL = 2
MAX_BYTES = 2**30  # of an identity
# What a broken zip file and broken pictures in it raise.
BROKEN = (
    OSError,
    KeyError,
    ValueError,
    TypeError,
    SyntaxError,
    RuntimeError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    Image.DecompressionBombError,
)


@dataclass(frozen=True)
class IdentityViews:
    """A stored identity."""

    identity: dict[str, Any]  # parameters, see identity.Identity
    labels: NDArray[np.float32]  # (views, 25)
    rgba: NDArray[np.uint8]  # (views, size, size, 4) straight sRGB colour and coverage
    depth: NDArray[
        np.float32
    ]  # (views, size, size) world units along the pixel's unit ray, 0 where nothing solid is seen
    parts: NDArray[np.uint8]  # (views, size, size) index into scene.PARTS


def identity_path(folder: Path, number: int) -> Path:
    """The file of an identity."""
    return folder / f"{number:06d}.zip"


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, then rename it: readers see all of it or none."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def encode_png(pixels: NDArray[Any]) -> bytes:
    """PNG of uint8 (h, w), uint8 (h, w, 4) or uint16 (h, w).

    The same bytes for the same pixels (and library versions).
    """
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=PNG_LEVEL)
    return buffer.getvalue()


def decode_png(content: bytes) -> NDArray[Any]:
    """The pixels that `encode_png` was given."""
    with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
        pixels = np.asarray(image)
    return pixels.astype(np.uint16) if pixels.dtype == np.int32 else pixels


def encode_array(array: NDArray[Any]) -> bytes:
    """The .npy bytes of an array."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def write_identity(path: Path, identity: dict[str, Any], labels: NDArray[Any], views: list[View]) -> None:
    """Store one identity's views; `labels` (views, 25)."""
    if len(labels) != len(views):
        raise InputError(f"labels must be one per view, got {len(labels)} for {len(views)} views")
    summary = identity | {"views": len(views), "size": views[0].rgba.shape[0] if views else 0}
    members = {"identity.json": (json.dumps(summary, indent=1) + "\n").encode()}
    members["labels.npy"] = encode_array(np.asarray(labels, np.float32))
    for i, view in enumerate(views):
        members[f"{i:03d}.png"] = encode_png(view.rgba)
        members[f"{i:03d}_depth.png"] = encode_png(view.depth)
        members[f"{i:03d}_parts.png"] = encode_png(view.parts)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, ZIP_DATE), content)
    write_bytes(path, buffer.getvalue())


def read_parameters(path: str | Path) -> tuple[dict[str, Any], NDArray[np.float32]]:
    """Parameters and labels (views, 25) of a stored identity, without its pictures.

    InputError if the file is not one.
    """
    try:
        with open_identity(path) as archive:
            identity = json.loads(archive.read("identity.json"))
            labels = read_npy(archive.read("labels.npy"))
        if not isinstance(identity, dict) or type(identity.get("size")) is not int or labels.shape[1:] != (25,):
            raise InputError("expected a record with a size, and labels [views, 25]")
    except BROKEN as error:
        raise InputError(f"path must be an identity written by `panojax heads`, got {path}: {reason(error)}") from error
    return identity, labels


def open_identity(path: str | Path) -> zipfile.ZipFile:
    """The zip file of an identity, in memory; `BROKEN` are the errors of it and of what is read from it."""
    archive = zipfile.ZipFile(io.BytesIO(read_bytes(path, limit=MAX_BYTES)))
    if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
        raise InputError("expected members that are stored, not packed")
    return archive


def read_pictures(path: str | Path) -> tuple[dict[str, Any], NDArray[np.float32], NDArray[np.uint8]]:
    """Parameters, labels (views, 25) and pictures (views, size, size, 4) of a stored identity, without depth and parts.

    InputError if the file is not one.
    """
    identity, labels = read_parameters(path)
    try:
        with open_identity(path) as archive:
            pictures = [decode_png(archive.read(f"{i:03d}.png")) for i in range(len(labels))]
        return identity, labels, np.array(pictures, np.uint8).reshape(-1, identity["size"], identity["size"], 4)
    except BROKEN as error:
        raise InputError(f"path must be an identity written by `panojax heads`, got {path}: {reason(error)}") from error


def read_identity(path: str | Path, views: Iterable[int] | None = None) -> IdentityViews:
    """A stored identity, or only some of its `views` (None: all).

    InputError if the file is not one or a view is not in it.
    """
    identity, labels = read_parameters(path)
    wanted = range(len(labels)) if views is None else list(views)
    if any(not 0 <= i < len(labels) for i in wanted):
        raise InputError(f"views must lie in 0..{len(labels) - 1} for {path}, got {list(wanted)}")
    size = identity["size"]
    try:
        with open_identity(path) as archive:
            pictures = [decode_png(archive.read(f"{i:03d}.png")) for i in wanted]
            depths = [decode_png(archive.read(f"{i:03d}_depth.png")) for i in wanted]
            parts = [decode_png(archive.read(f"{i:03d}_parts.png")) for i in wanted]
        return IdentityViews(
            identity=identity,
            labels=labels[list(wanted)],
            rgba=np.array(pictures, np.uint8).reshape(-1, size, size, 4),
            depth=(np.array(depths, np.float32) / np.float32(DEPTH_STEPS)).reshape(-1, size, size),
            parts=np.array(parts, np.uint8).reshape(-1, size, size),
        )
    except BROKEN as error:
        raise InputError(f"path must be an identity written by `panojax heads`, got {path}: {reason(error)}") from error


def list_identities(folder: str | Path) -> list[Path]:
    """The identity files of a set, by number."""
    return sorted(path for path in Path(folder).glob("*.zip") if path.stem.isdigit())


def write_index(folder: Path) -> None:
    """Write dataset.json from the identities that are there."""
    labels: list[list[Any]] = []
    splits: dict[str, str] = {}
    for path in bar(list_identities(folder), desc="indexing", unit="identity"):
        identity, rows = read_parameters(path)
        splits[path.stem] = identity["split"]
        labels += [[f"{path.name}/{i:03d}.png", [float(x) for x in row]] for i, row in enumerate(rows)]
    write_bytes(folder / "dataset.json", json.dumps({"labels": labels, "splits": splits}).encode())


def claim_folder(folder: Path, settings: dict[str, Any]) -> None:
    """Make `folder` the home of a set with these settings; InputError if it holds another set or something else."""
    path = folder / "settings.json"
    if path.is_file():
        there = read_json(path)
        if there != settings:
            different = sorted(k for k in there.keys() | settings.keys() if there.get(k) != settings.get(k))
            told = ", ".join(f"{k} {there.get(k)!r} there, {settings.get(k)!r} asked" for k in different)
            raise InputError(f"out must be a new folder or a set of the same settings, got {folder} with {told}")
        return
    check_writable(folder)
    if folder.exists() and (not folder.is_dir() or contents(folder)):
        raise InputError(f"out must be a new or empty folder, or a set of heads, got {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(path, (json.dumps(settings, indent=1) + "\n").encode())
