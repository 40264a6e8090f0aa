"""The checkpoint that holds a model's parameters and configuration, and what names stand for which model."""

import contextlib
import errno
import json
import os
import pathlib
from collections.abc import Collection
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from panojax.config import Config, from_json, to_json
from panojax.disk.locks import contents
from panojax.disk.reading import check_tree, kind_of, shown
from panojax.disk.staging import check_writable, output_folder
from panojax.errors import InputError
from panojax.files import packed
from panojax.files.checksums import array_sums, differing, own_sum
from panojax.files.quiet import first_line, quiet_orbax
from panojax.params import Params, abstract_arrays, random_params, tiny

DEFAULT, RANDOM = "default", "random"
DEFAULT_FOLDER = pathlib.Path(__file__).parents[1] / "default_model"
FORMAT = 1
MAX_BYTES = 64 * 2**30  # of a checkpoint's files together
_AGAIN = "convert or copy it again"


def load(
    checkpoint: str | pathlib.Path = DEFAULT,
    *,
    dtype: str = "float32",
    own: Collection[Any] = (),
    verify: bool = True,
) -> Params:
    """Reads a checkpoint that `convert` or `save` wrote, or a packed model.

    Args:
      checkpoint: its folder; or "default", the model that ships with panojax; or "random", a small random one.
      dtype: compute type, "float32" or "bfloat16".
      own: the representation and the encoder of the model where these are not the package's: checkpoints hold no code.
      verify: compare every array with the checksum (SHA-256) that the checkpoint has of it; a released model takes
        about a second. Checkpoints of earlier versions have none.

    Raises:
      InputError: there is no checkpoint, it is damaged, or it does not fit its own configuration.
    """
    name, folder = str(checkpoint), checkpoint_folder(checkpoint)
    if name != RANDOM and packed.is_packed(folder):
        return _load_packed(folder, verify).with_dtype(dtype)
    if name == DEFAULT:
        raise InputError(f"the default model must lie in {folder}, but does not: install panojax again, or pack one")
    if name == RANDOM:
        return random_params(tiny()).with_dtype(dtype)
    if not is_checkpoint(folder):
        raise InputError(f"checkpoint must be a folder that `panojax convert` wrote, got {shown(checkpoint)}")
    try:
        check_tree(folder, limit=MAX_BYTES)
    except InputError as error:
        raise InputError(f"checkpoint {shown(checkpoint)}: {error}") from error
    with quiet_orbax() as problems:
        config, stored, refused = _restore(folder, checkpoint, own, verify)
        if refused:
            problems.append(refused)
    if refused:
        raise InputError(refused)
    return Params(stored["generator"], stored.get("encoders"), config=config).with_dtype(dtype)


def checkpoint_folder(checkpoint: str | pathlib.Path) -> pathlib.Path:
    """The folder of a checkpoint's name: a path, or "default" for the one that ships."""
    if str(checkpoint) == DEFAULT:
        return DEFAULT_FOLDER
    try:
        return pathlib.Path(os.path.realpath(checkpoint))
    except (OSError, ValueError, TypeError) as error:  # no name of a file can be so
        told = shown(checkpoint) if isinstance(checkpoint, str | pathlib.Path) else type(checkpoint).__name__
        raise InputError(f"checkpoint must be a folder that `panojax convert` wrote, got {told}") from error


def is_checkpoint(folder: pathlib.Path) -> bool:
    """Whether a folder holds what `save` writes."""
    try:
        return kind_of(folder / "_CHECKPOINT_METADATA") == "file"
    except (OSError, ValueError):
        return False


def _restore(
    folder: pathlib.Path, checkpoint: str | pathlib.Path, own: Collection[Any], verify: bool
) -> tuple[Config, Any, str]:
    """An orbax checkpoint's configuration, its arrays or None, and why they could not be read, or ""."""
    # Each process of a distributed run reads for itself, onto its own device.
    alone = ocp.options.MultiprocessingOptions(
        primary_host=jax.process_index(), active_processes={jax.process_index()}, barrier_sync_key_prefix="load"
    )
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler(), multiprocessing_options=alone) as checkpointer:
        try:
            meta = checkpointer.restore(folder, ocp.args.Composite(config=ocp.args.JsonRestore())).config
        except Exception as error:
            raise InputError(f"checkpoint {checkpoint} has no readable configuration: {first_line(error)}") from error
        if not isinstance(meta, dict) or meta.get("format") != FORMAT:
            raise InputError(f"checkpoint {checkpoint} must be of format {FORMAT}, got {str(meta)[:80]}")
        sums = meta.get("sha256", {})
        if verify and meta.get("sum", own_sum(meta)) != own_sum(meta):
            raise InputError(f"checkpoint {checkpoint} is damaged: its configuration has another checksum; {_AGAIN}")
        try:
            config = from_json(Config, meta["model"], own)
        except (InputError, KeyError, TypeError) as error:
            raise InputError(f"checkpoint {checkpoint} has no readable configuration: {first_line(error)}") from error
        template = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), abstract_arrays(config)
        )
        try:
            _check_shapes(template, ocp.StandardCheckpointHandler().metadata(folder / "arrays").tree)
            items = ocp.args.Composite(arrays=ocp.args.StandardRestore(template, strict=False))
            arrays = checkpointer.restore(folder, items).arrays
            wrong = differing(arrays, sums) if verify and isinstance(sums, dict) else []
            if wrong:
                told = f"{len(wrong)} of {len(sums)} arrays, first {wrong[0]}, have another checksum"
                return config, None, f"checkpoint {checkpoint} is damaged: {told}; {_AGAIN}"
            return config, arrays, ""
        except Exception as error:
            return config, None, f"checkpoint {checkpoint} does not fit its configuration: {first_line(error)}"


def _load_packed(folder: pathlib.Path, verify: bool) -> Params:
    """A packed model on this process's first device."""
    template = abstract_arrays(packed.read_manifest(folder)["model"])
    limit = sum(4 * int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(template)) + 2**16
    config, arrays = packed.read_packed(folder, verify=verify, limit=limit)
    try:
        _check_shapes(template, arrays)
    except InputError as error:
        raise InputError(f"{folder} does not fit its configuration: {error}") from error
    found = dict(jax.tree_util.tree_leaves_with_path(arrays))
    # The template also has the groups without arrays.
    whole = jax.tree_util.tree_map_with_path(lambda path, leaf: found[path], template)
    stored = jax.device_put(whole, jax.local_devices()[0])
    return Params(stored["generator"], stored.get("encoders"), config=config)


def _check_shapes(expected: Any, stored: Any) -> None:
    """Raises InputError unless both trees have the same names and shapes: orbax itself would pad or cut arrays."""
    want, have = (
        {jax.tree_util.keystr(path, simple=True, separator="/"): tuple(leaf.shape) for path, leaf in leaves}
        for leaves in map(jax.tree_util.tree_leaves_with_path, (expected, stored))
    )
    wrong = [name for name in sorted(want.keys() | have.keys()) if want.get(name) != have.get(name)]
    if wrong:
        first = wrong[0]
        raise InputError(
            f"{len(wrong)} arrays, first {first}, expected {want.get(first, 'none')}, got {have.get(first, 'none')}"
        )


def save(params: Params, folder: str | pathlib.Path) -> None:
    """Writes a checkpoint that `load` reads. It appears under its name when it is whole.

    Raises:
      InputError: `folder` exists and is not empty, or the parameters are those of `for_inference`.
    """
    params.check_whole()
    check_new(folder)
    arrays = {"generator": params.generator}
    if params.encoders is not None:
        arrays["encoders"] = params.encoders
    meta = {"format": FORMAT, "model": to_json(params.config), "sha256": array_sums(arrays)}
    meta["sum"] = own_sum(json.loads(json.dumps(meta)))
    items = ocp.args.Composite(arrays=ocp.args.StandardSave(arrays), config=ocp.args.JsonSave(meta))
    with (
        quiet_orbax(),
        output_folder(folder, name="checkpoint folder") as staged,
        ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer,
    ):
        problem = None
        try:
            checkpointer.save(staged, items, force=True)
        except ValueError as error:
            problem = _disk_error(error)
        if problem is not None:  # out here it keeps nothing of the writes that failed
            raise problem


def check_new(folder: str | pathlib.Path, name: str = "checkpoint folder") -> None:
    """Looks whether a checkpoint can be made at a path, before any work.

    Raises:
      InputError: something is there, an empty folder aside.
      OutputError: nothing can be written there.
    """
    taken = False
    with contextlib.suppress(OSError, ValueError):  # an impossible name is told below
        kind = kind_of(folder)
        taken = kind in ("file", "other") or (kind == "folder" and bool(contents(pathlib.Path(folder))))
    if taken:
        raise InputError(f"{name} must not exist or be empty, got {shown(folder)}")
    check_writable(folder, name)


def _disk_error(error: ValueError) -> Exception:
    """What TensorStore says of a disk in a ValueError, as the OSError that it was."""
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS):
        if os.strerror(number) in str(error) or f"OS error {number}" in str(error):
            return OSError(number, os.strerror(number))
    return error
