"""A model in a few files, to ship: arrays in half precision, and a manifest with their checksums.

    FOLDER/model.json      {"format", "model": configuration, "files": {name: {"bytes", "sha256"}}, "about": {...}}
    FOLDER/generator.npz   the generator
    FOLDER/visible.npz     encoder 1 and the mean codes
    FOLDER/occluded.npz    encoder 2; without it encoder 1 serves in both places

Arrays of under 4096 numbers (biases, statistics of batch norms) stay in single precision.
"""

import hashlib
import io
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from panojax.config import Config, from_json, to_json
from panojax.disk.reading import kind_of, read_bytes, read_json
from panojax.disk.staging import output_folder
from panojax.encoders import dual
from panojax.errors import InputError

FORMAT = 1
MANIFEST = "model.json"
GENERATOR, VISIBLE, OCCLUDED = "generator.npz", "visible.npz", "occluded.npz"
AVERAGE = "latent_average"
SMALL = 4096
MAX_BYTES = 56_000_000  # so that a wheel with a default model stays under 64 MB
MAX_INFLATED = 2 * 2**30  # of a file that is read


def is_packed(folder: pathlib.Path) -> bool:
    """Whether a folder holds a packed model."""
    try:
        return kind_of(folder / MANIFEST) != "nothing"
    except (OSError, ValueError):
        return False


def write_packed(
    folder: str | os.PathLike,
    config: Config,
    generator: Any,
    encoders: Any = None,
    *,
    about: Mapping[str, Any] | None = None,
    max_bytes: int = MAX_BYTES,
) -> dict[str, int]:
    """Writes a packed model in the place of an earlier one; other files in the folder stay.

    Until all files are in place there is no manifest, so a folder that a kill leaves is no model.

    Args:
      folder: made where there is none.
      config: the model's.
      generator, encoders: as `panojax.params.Params` holds them.
      about: JSON-able notes that the manifest keeps.
      max_bytes: of all files together.

    Returns:
      {name of a file: its bytes}.

    Raises:
      InputError: the files would be too large, or half precision cannot hold a number; nothing is written then.
    """
    folder = pathlib.Path(folder)
    parts = {GENERATOR: generator}
    if encoders is not None:
        visible, occluded = (dual.part(encoders["both"], which) for which in (dual.VISIBLE, dual.OCCLUDED))
        parts[VISIBLE] = {**visible, AVERAGE: encoders[AVERAGE]}
        if not _equal(visible, occluded):
            parts[OCCLUDED] = occluded
    files = {name: _archive(name, tree) for name, tree in parts.items()}
    record = {
        "format": FORMAT,
        "model": to_json(config),
        "files": {name: {"bytes": len(data), "sha256": _sha256(data)} for name, data in files.items()},
        "about": dict(about or {}),
    }
    files[MANIFEST] = (json.dumps(record, indent=1) + "\n").encode()
    sizes = {name: len(data) for name, data in files.items()}
    if sum(sizes.values()) > max_bytes:
        told = ", ".join(f"{name} {size / 1e6:.1f}" for name, size in sizes.items())
        raise InputError(f"the model must take at most {max_bytes / 1e6:.1f} MB, got {told}")
    with output_folder(folder, overwrite=True) as staged:
        for name, data in files.items():
            (staged / name).write_bytes(data)
    for name in {GENERATOR, VISIBLE, OCCLUDED} - files.keys():
        (folder / name).unlink(missing_ok=True)
    return sizes


def read_manifest(folder: str | os.PathLike) -> dict[str, Any]:
    """The manifest of a packed model, with "model" as a `Config`.

    Raises:
      InputError: it is missing or broken, or of another version.
    """
    path = pathlib.Path(folder) / MANIFEST
    try:
        record = read_json(path)
        if record["format"] != FORMAT:
            raise InputError(f"it should be of format {FORMAT}, got {str(record['format'])[:40]}")
        files = {str(name): (int(row["bytes"]), str(row["sha256"])) for name, row in record["files"].items()}
        if unknown := files.keys() - {GENERATOR, VISIBLE, OCCLUDED}:
            raise InputError(f"it lists unknown files {', '.join(sorted(unknown))}")
        return record | {"model": from_json(Config, record["model"]), "files": files}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} must be the manifest of a packed model: {_first_line(error)}") from error


def read_packed(
    folder: str | os.PathLike, *, verify: bool = True, limit: int = MAX_INFLATED
) -> tuple[Config, dict[str, Any]]:
    """A packed model's configuration, and {"generator", and "encoders" where it has them} as float32 NumPy arrays.

    Whether the arrays fit the configuration is left to the caller.

    Args:
      verify: compare the files with their checksums.
      limit: bytes that the arrays of a file may take in single precision.

    Raises:
      InputError: a file is missing, damaged, or not of these.
    """
    folder = pathlib.Path(folder)
    record = read_manifest(folder)
    trees = {name: _read(folder / name, *row, verify=verify, limit=limit) for name, row in record["files"].items()}
    if GENERATOR not in trees:
        raise InputError(f"{folder / MANIFEST} must list {GENERATOR}")
    arrays = {"generator": trees[GENERATOR]}
    if VISIBLE in trees:
        visible = trees[VISIBLE]
        average = visible.pop(AVERAGE, None)
        both = _stacked(visible, trees.get(OCCLUDED, visible), folder)
        arrays["encoders"] = {"both": both, AVERAGE: average}
    return record["model"], arrays


def _archive(name: str, tree: Any) -> bytes:
    arrays = {}
    for path, leaf in sorted(flatten_dict(tree, sep="/").items()):  # equal models are equal bytes
        array = np.asarray(leaf, np.float32)
        with np.errstate(over="ignore"):  # becomes infinite, and is told below
            stored = array if array.size < SMALL else array.astype(np.float16)
        if not np.isfinite(stored).all():
            raise InputError(f"{name}: {path} has numbers that half precision cannot hold")
        arrays[path] = stored
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _read(path: pathlib.Path, size: int, sha256: str, *, verify: bool, limit: int) -> dict[str, Any]:
    from panojax.files.array_file import read_npz

    try:
        data = read_bytes(path, limit=MAX_INFLATED)
    except InputError as error:
        raise InputError(f"{path} cannot be read: {error}; install or package the model again") from None
    if len(data) != size or (verify and _sha256(data) != sha256):
        told = f"{len(data)} bytes" if len(data) != size else "other contents"
        raise InputError(f"{path} is damaged: expected {size} bytes as {MANIFEST} lists them, got {told}")
    try:
        arrays = read_npz(data, limit=min(limit, MAX_INFLATED))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    tree: dict[str, Any] = unflatten_dict({name: x.astype(np.float32) for name, x in arrays.items()}, sep="/")
    return tree


def _stacked(visible: Any, occluded: Any, folder: pathlib.Path) -> Any:
    first, second = (flatten_dict(tree, sep="/") for tree in (visible, occluded))
    if {name: x.shape for name, x in first.items()} != {name: x.shape for name, x in second.items()}:
        raise InputError(f"{folder}: {VISIBLE} and {OCCLUDED} must hold encoders of the same sizes")
    return unflatten_dict({name: np.stack([x, second[name]]) for name, x in first.items()}, sep="/")


def _equal(one: Any, other: Any) -> bool:
    pairs = zip(flatten_dict(one).values(), flatten_dict(other).values(), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
