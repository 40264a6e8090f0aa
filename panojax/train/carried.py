"""Arrays in half precision, in files small enough to carry from machine to machine.

    parts = write_parts("weights.npz", {"steps": 100}, halves("encoder", params))
    about, arrays = read_parts(parts)
    params = branch(arrays, "encoder")

`weights.npz.000`, `weights.npz.001`, ... of at most 15 MiB, put together (`cat`), are one NumPy archive.
"""

import io
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from panojax.disk.reading import read_bytes
from panojax.disk.staging import replaced_when_done
from panojax.errors import InputError
from panojax.files.array_file import NpzFile

PART_BYTES = 15 * 2**20
_NUMBERED = "[0-9][0-9][0-9]"


def halves(name: str, tree: Any, *, single: int = 0) -> dict[str, np.ndarray]:
    """{"name/path": array} in half precision; arrays of under `single` numbers stay in single.

    Raises:
      InputError: a number does not fit half precision.
    """
    arrays = {}
    for path, x in flatten_dict(tree, sep="/").items():
        x = np.asarray(x)
        arrays[f"{name}/{path}"] = x.astype(np.float32 if x.size < single else np.float16)
    for path, half in arrays.items():
        if not np.isfinite(half).all():
            raise InputError(f"{path} has numbers that half precision cannot hold")
    return arrays


def moment_bytes(name: str, tree: Any) -> dict[str, np.ndarray]:
    """{"name/path": bytes} of Adam's second moments: their logarithms in steps of 2^0.4, from 2^-80 on, so that a
    step's length is kept to 7%."""
    logarithms = {path: np.log2(np.asarray(x) + 2.0**-80) for path, x in flatten_dict(tree, sep="/").items()}
    return {
        f"{name}/{path}": np.clip(np.round(2.5 * (x + 80)), 0, 255).astype(np.uint8) for path, x in logarithms.items()
    }


def branch(arrays: Mapping[str, np.ndarray], name: str) -> Any:
    """The tree that `halves` or `moment_bytes` were given.

    Raises:
      KeyError: there is none of this name.
    """
    prefix = name + "/"
    found = {path.removeprefix(prefix): x for path, x in arrays.items() if path.startswith(prefix)}
    if not found:
        raise KeyError(f"no {name}")
    return unflatten_dict(found, sep="/")


def write_parts(
    path: str | pathlib.Path, about: Any, arrays: Mapping[str, np.ndarray], part_bytes: int = PART_BYTES
) -> list[pathlib.Path]:
    """Writes `path`.000, `path`.001, ... and gives their paths. Files of an earlier export under this name go.

    Args:
      about: JSON.
    """
    path = pathlib.Path(path)
    buffer = io.BytesIO()
    np.savez(buffer, about=np.frombuffer(json.dumps(about).encode(), np.uint8), **arrays)  # type: ignore[arg-type]
    content = buffer.getvalue()
    parts = [path.with_name(f"{path.name}.{i:03d}") for i in range(-(-len(content) // part_bytes))]
    path.parent.mkdir(parents=True, exist_ok=True)
    for old in find_parts(path):
        old.unlink()
    for i, part in enumerate(parts):
        with replaced_when_done(part) as partial:
            partial.write_bytes(content[i * part_bytes : (i + 1) * part_bytes])
    return parts


def find_parts(path: str | pathlib.Path) -> list[pathlib.Path]:
    """The files that `write_parts` wrote under this name, in their order."""
    path = pathlib.Path(path)
    return sorted(path.parent.glob(f"{path.name}.{_NUMBERED}"))


def read_parts(files: Sequence[str | pathlib.Path]) -> tuple[Any, dict[str, np.ndarray]]:
    """What `write_parts` was given, {"name/path": array} in float32.

    Args:
      files: all of them, in any order.

    Raises:
      ValueError, KeyError: one is missing, or damaged, or not of these.
    """
    parts = sorted(map(pathlib.Path, files), key=lambda path: path.name)
    archive = NpzFile(b"".join(read_bytes(path, limit=2**32) for path in parts))
    about = json.loads(archive.read("about").tobytes())
    return about, {name: _restored(archive.read(name)) for name in archive.entries if name != "about"}


def _restored(stored: np.ndarray) -> np.ndarray:
    """Float32 of what an export holds: halves, or the bytes of moments."""
    if stored.dtype != np.uint8:
        return stored.astype(np.float32)
    return np.where(stored > 0, 2.0 ** (stored / 2.5 - 80), 0).astype(np.float32)
