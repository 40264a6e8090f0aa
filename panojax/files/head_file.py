"""Heads as files: an .npz of plain arrays that says which model it belongs to."""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from panojax.config import from_json, to_json
from panojax.disk.reading import read_bytes, shown
from panojax.errors import InputError, check_choice
from panojax.fields.local_branch import LocalBranch, LocalMix, check_branch
from panojax.files.array_file import NpyEntry, NpzFile
from panojax.generators.generator import Head
from panojax.generators.generator_config import GeneratorConfig
from panojax.params import Params

FORMAT = 1
MAX_BYTES = 4 * 2**30

_ARRAYS = {"planes": 5, "ws": 2, "background": 3, "occluded_planes": 5}  # name: dimensions
_OPTIONAL = ("background", "occluded_planes")
# Of a local branch, under "local.NAME": all of them or none. A mix of K has "local.shares" [K], too, and its further
# branches under "local1.NAME", "local2.NAME", ...
_LOCAL = {"features": 3, "depth": 3, "weight": 3, "camera": 1, "hidden_kernel": 2, "hidden_bias": 1} | {
    "film_kernel": 2,
    "film_bias": 1,
}
_MIX = ("shares", "groups", "trust")
MAX_BRANCHES = 16
# What gives the numbers in a tri-grid their meaning; the other options only say how it is rendered.
_SHAPING = (
    *(field.name for field in dataclasses.fields(GeneratorConfig) if field.name.startswith("plane_")),
    *("representation", "w_dim", "box_warp", "image_resolution"),
)
# The networks that make heads; those left render them.
_MAKERS = ("backbone.mapping", "backbone.synthesis", "t_mapping")


@dataclasses.dataclass(frozen=True)
class ModelMark:
    """Which model a head belongs to."""

    config: GeneratorConfig
    """The generator's configuration, its compute type aside."""
    weights: str
    """SHA-256 (hex) of the parameters that render heads."""
    checkpoint: str | None = None
    """Name of the model's checkpoint in the folder of the head's file, where the head has a model of its own."""


def model_mark(params: Params) -> ModelMark:
    """The mark of a model. It does not depend on the compute type, nor on the encoders."""
    digest = hashlib.sha256()
    for path, leaf in sorted(
        ((jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(params.generator)),
        key=lambda entry: entry[0],
    ):
        if not any(f"'{maker}'" in path for maker in _MAKERS):
            array = np.ascontiguousarray(leaf, np.float32)
            digest.update(f"{path} {array.shape}".encode())
            digest.update(array.tobytes())
    return ModelMark(dataclasses.replace(params.config.generator, dtype="float32"), digest.hexdigest())


def save_head(
    head: Head,
    path: str | os.PathLike,
    *,
    params: Params,
    dtype: str = "float32",
    checkpoint: str | None = None,
    overwrite: bool = False,
) -> None:
    """Writes a head that `load_head` reads; the file appears under its name when it is whole.

    Args:
      head: from `generate`, `invert`, ...
      path: the file, usually *.npz.
      params: the model it was made with, which it will be rendered with.
      dtype: of the stored tri-grids; "float16" halves the file and keeps about three digits.
      checkpoint: name of a checkpoint folder beside the file that holds `params`, for a model of this head's own.
      overwrite: replace a file that is there.

    Raises:
      InputError: the head is not finite or not the model's, or does not fit float16, or the file exists.
    """
    from panojax.disk.staging import replaced_when_done

    check_choice("dtype", dtype, ("float32", "float16"))
    _check_shapes(head, params.config.generator, "head")
    mark = model_mark(params)
    record = {"format": FORMAT, "config": to_json(mark.config), "weights": mark.weights}
    if checkpoint is not None:
        record["checkpoint"] = checkpoint
    arrays: dict[str, np.ndarray] = {"model": np.frombuffer(json.dumps(record).encode(), np.uint8)}
    parts = {name: getattr(head, name) for name in _ARRAYS}
    parts |= _local_arrays(head.local)
    for name, value in parts.items():
        if value is None:
            continue
        array = np.asarray(value, np.float32)
        if not np.isfinite(array).all():
            raise InputError(f"head.{name} must be finite, got NaN or infinity")
        if name.endswith("planes"):
            if dtype == "float16" and np.abs(array).max() > np.finfo(np.float16).max:
                raise InputError(f"head.{name} must be under 65504 for float16, got {np.abs(array).max():.3g}")
            array = array.astype(dtype)
        arrays[name] = array
    with replaced_when_done(path, overwrite=overwrite) as partial, open(partial, "wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def load_head(path: str | os.PathLike, params: Params | None = None) -> Head:
    """Reads a head that `save_head` wrote. Nothing in the file is executed.

    Args:
      path: the file.
      params: the model that will render it, with which it must have been made; None checks no model.

    Returns:
      The head; its tri-grids are in the model's compute type, or float32 without a model.

    Raises:
      InputError: there is no such file, it is broken or no head, or it belongs to another model.
    """
    head, mark = read_head(path)
    if params is None:
        return head
    ours = model_mark(params)
    other = [
        f"{name} {getattr(mark.config, name)} and not {getattr(ours.config, name)}"
        for name in _SHAPING
        if getattr(mark.config, name) != getattr(ours.config, name)
    ]
    if other or mark.weights != ours.weights:
        reason = ", ".join(other) or "the shapes agree, the parameters do not"
        raise InputError(
            f"{path}: expected a head of the model that renders it, got one of another model ({reason}): "
            "load that one (--checkpoint)"
        )
    dtype = params.config.generator.dtype
    planes = {name: getattr(head, name).astype(dtype) for name in _planes_of(head)}
    return head.replace(**planes)  # type: ignore[attr-defined]


def own_checkpoint(path: str | os.PathLike) -> pathlib.Path | None:
    """The checkpoint folder that a head's file names as its own model's, or None where it has none.

    Raises:
      InputError: the file is no head, or the checkpoint is not beside it.
    """
    _, mark = read_head(path)
    if mark.checkpoint is None:
        return None
    folder = pathlib.Path(path).parent / mark.checkpoint
    if not folder.is_dir():
        raise InputError(f"{path}: expected the head's own model beside it, {folder}, which is not there")
    return folder


def read_head(path: str | os.PathLike) -> tuple[Head, ModelMark]:
    """The head in a file, in float32, and the mark of its model. See `load_head`."""
    try:
        file = NpzFile(read_bytes(path, limit=MAX_BYTES))
        entries = dict(file.entries)
        mark = _read_mark(file, entries.pop("model", None))
        known = _ARRAYS | _local_names(entries)
        unknown = sorted(set(entries) - set(known))
        missing = [name for name in known if name not in entries and name not in _OPTIONAL]
        if unknown or missing:
            told = ", ".join(unknown)[:200] or "none"
            raise InputError(f"a head has {', '.join(known)}; missing {missing or 'none'}, unknown {told}")
        for name, entry in entries.items():
            if entry.dtype.kind != "f" or len(entry.shape) != known[name]:
                raise InputError(
                    f"{name} must be {known[name]}-dimensional and of finite floats, got {entry.dtype} {entry.shape}"
                )
        # Before anything is inflated, shapes must be those of the model.
        _check_shapes(_head(entries), mark.config, "the head")
        if (total := sum(entry.nbytes for entry in entries.values())) > MAX_BYTES:
            raise InputError(f"expected arrays of at most {MAX_BYTES} bytes, got {total}")
        arrays = {name: file.read(name) for name in entries}
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise InputError(f"{name} must be of finite floats, got NaN or infinity")
        head = _head({name: jnp.asarray(array, jnp.float32) for name, array in arrays.items()})
    except InputError as error:
        raise InputError(f"{shown(path)}: {error}") from error
    return head, mark


def _head(found: dict[str, Any]) -> Head:
    """The head of arrays, or of their entries, by their names in the file."""
    found = dict(found)
    local = _pop_local(found)
    return Head(**found, local=local)


def _prefix(i: int) -> str:
    return f"local{i or ''}."


def _local_arrays(local: LocalBranch | LocalMix | None) -> dict[str, Any]:
    """The arrays of a head's local branches by their names in the file."""
    if local is None:
        return {}
    branches = local.branches if isinstance(local, LocalMix) else (local,)
    if len(branches) > MAX_BRANCHES:
        raise InputError(f"head.local must mix at most {MAX_BRANCHES} branches to be stored, got {len(branches)}")
    arrays = {f"{_prefix(i)}{name}": getattr(one, name) for i, one in enumerate(branches) for name in _LOCAL}
    mixed = {f"local.{name}": getattr(local, name) for name in _MIX} if isinstance(local, LocalMix) else {}
    return arrays | {name: value for name, value in mixed.items() if value is not None}


def _local_names(arrays: Mapping[str, NpyEntry]) -> dict[str, int]:
    """Names and dimensions of the local branches' arrays that a file must have that has these."""
    if not any(name.startswith("local") for name in arrays):
        return {}
    shares = arrays.get("local.shares")
    count = 1 if shares is None or len(shares.shape) != 1 else min(shares.shape[0], MAX_BRANCHES)
    names = {f"{_prefix(i)}{name}": dimensions for i in range(count) for name, dimensions in _LOCAL.items()}
    if shares is None:
        return names
    shared = any(f"local.{name}" in arrays for name in _MIX[1:])
    return names | {f"local.{name}": 1 for name in (_MIX if shared else _MIX[:1])}


def _pop_local(found: dict[str, Any]) -> LocalBranch | LocalMix | None:
    """Takes the local branches out of a file's arrays."""
    shares = found.pop("local.shares", None)
    count = shares.shape[0] if shares is not None else int("local.features" in found)
    branches = tuple(LocalBranch(**{name: found.pop(f"{_prefix(i)}{name}") for name in _LOCAL}) for i in range(count))
    if shares is not None:
        return LocalMix(branches, shares, *(found.pop(f"local.{name}", None) for name in _MIX[1:]))
    return branches[0] if branches else None


def _read_mark(file: NpzFile, entry: NpyEntry | None) -> ModelMark:
    try:
        if entry is None or entry.dtype != np.uint8 or len(entry.shape) != 1 or entry.nbytes > 2**20:
            raise ValueError("it does not say which model it belongs to")
        record: dict[str, Any] = json.loads(file.read("model").tobytes())
        if record["format"] != FORMAT:
            raise InputError(f"expected a head of format {FORMAT}, got {str(record['format'])[:40]}")
        checkpoint = record.get("checkpoint")
        if checkpoint is not None and (checkpoint in ("", "..") or pathlib.PurePath(checkpoint).name != checkpoint):
            raise ValueError("its model's checkpoint should be the name of a folder beside it")
        return ModelMark(from_json(GeneratorConfig, record["config"]), str(record["weights"]), checkpoint)
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"expected a head that panojax wrote, got an .npz file that is none: {error}") from error


def _planes_of(head):
    return [name for name in ("planes", "occluded_planes") if getattr(head, name) is not None]


def _check_shapes(head: Head, config: GeneratorConfig, name: str) -> None:
    for field in _planes_of(head):
        shape = np.shape(getattr(head, field))
        if shape != config.field.shape:
            raise InputError(f"{name}'s {field} must be {list(config.field.shape)} for the model, got {list(shape)}")
    if np.ndim(head.ws) != 2 or head.ws.shape[1] != config.w_dim:
        raise InputError(f"{name}'s ws must be [L, {config.w_dim}] for the model, got {list(np.shape(head.ws))}")
    if head.background is not None and np.shape(head.background)[2:] != (config.field.features,):
        raise InputError(
            f"{name}'s background must be [r, r, {config.field.features}] for the model, "
            f"got {list(np.shape(head.background))}"
        )
    if head.local is not None:
        check_branch(head.local, config.field.features, f"{name}'s local")
