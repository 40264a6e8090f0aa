"""Reads checkpoints into NumPy arrays and plain Python data, whatever wrote them, without running anything in them.

The format is told by a file's content, never by its name: network pickles of PanoHead and EG3D, both formats of
`torch.save`, pickled dicts of arrays, safetensors; and .npy and .npz through `read_array`.
"""

import contextlib
import dataclasses
import math
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from panojax.converters.pickle_objects import Global, Module, NumpyArray, Tensor, kind
from panojax.converters.torch_file import is_torch_legacy, read_embedded_pickle, read_torch_legacy, read_torch_zip
from panojax.disk.reading import read_bytes
from panojax.errors import InputError, printable
from panojax.files.array_file import NPY_START, is_safetensors, read_npy, read_npz, read_safetensors

MAX_FILE_BYTES = 8 * 2**30
_MAX_DEPTH = 64
_MAX_NAMES = 200_000
_MAX_PREFIX = 500  # characters
_MAX_INLINE = 1024  # elements; sizes of zero count, as (2**39, 0) would be many lists
_ZIP_START = b"PK\x03\x04"
_PLAIN = bool | int | float | str | None
# Where a training script may put the state dict, the average before the model.
_NESTS = ("ema", "state_dict_ema", "state_dict", "model", "net")
_PREFIXES = ("module.", "_orig_mod.")  # of DataParallel and torch.compile
# The generator's constructor takes these in order.
_POSITIONAL = (
    *("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels", "sr_num_fp16_res"),
    *("mapping_kwargs", "rendering_kwargs", "sr_kwargs"),
)


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """One network of a checkpoint file."""

    state_dict: dict[str, np.ndarray]
    """{dotted PyTorch name: contiguous array of the stored dtype}, each module's parameters before its buffers."""

    init_kwargs: dict[str, Any]
    """The keyword arguments that the network was made with, as JSON-able Python; empty for a bare state dict."""

    rendering_kwargs: dict[str, Any]
    """The renderer's options. The network's attribute, which EG3D's tools update, goes before `init_kwargs`' entry."""

    attributes: dict[str, Any]
    """Plain numbers, strings, booleans and Nones that lie beside the arrays, such as `neural_rendering_resolution`."""

    class_name: str | None
    """The name of the network's class, or None for a bare state dict."""

    beside: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    """Arrays beside the network's own, by dotted name: `latent_avg` beside a state dict, `renderer.plane_axes`."""


def read_checkpoint(path: str | pathlib.Path, network: str = "G_ema") -> Checkpoint:
    """Reads one network, or a bare state dict, from a checkpoint.

    Args:
      path: the file. It may hold a dict of networks or state dicts ("G", "D", "G_ema"), one network, a state dict, or a
        dict with one under "ema", "state_dict_ema", "state_dict", "model" or "net"; see `unwrap_state_dict`.
      network: which of several networks; not looked at where there is one network or state dict.

    Returns:
      The network's `Checkpoint`. Buffers that PyTorch does not save (non-persistent ones) are left out.

    Raises:
      InputError: there is no such file, it is in no known format, is broken or refused (the message says why), has no
        such network (the message lists those there), or its entries are not arrays.
    """
    with _naming(path):
        data = _read_bytes(path)
        if data.startswith(NPY_START):
            raise InputError("expected a checkpoint, got a .npy array, which read_array reads")
        found = _select(_read_any(data), network)
        allowance = 4 * len(data) + 2**20
        if isinstance(found, Module):
            return _from_module(found, allowance)
        return _from_mapping(found, network, allowance)


def read_array(path: str | pathlib.Path) -> np.ndarray:
    """Reads the array of a .npy file, or the only one of an .npz file; objects, which would be pickled, are refused.

    Raises:
      InputError: there is no such file, it is broken, is no such file, or holds another number of arrays.
    """
    with _naming(path):
        data = _read_bytes(path)
        if data.startswith(NPY_START):
            return read_npy(data)
        if not data.startswith(_ZIP_START):
            raise InputError(f"expected a .npy or .npz file, got one that starts with {data[:8]!r}")
        arrays = read_npz(data, limit=2**30)
        if len(arrays) != 1:
            raise InputError(f"expected one array in the .npz file, got {listed(arrays)}")
        return next(iter(arrays.values()))


def read_tensors(path: str | pathlib.Path) -> dict[str, np.ndarray]:
    """Reads the arrays at the top level of a checkpoint or .npy file, {name: array}; one that lies bare is called "".

    Raises:
      InputError: there is no such file, it is in no known format, is broken or refused.
    """
    with _naming(path):
        data = _read_bytes(path)
        value = read_npy(data) if data.startswith(NPY_START) else _read_any(data)
        entries = value if isinstance(value, dict) else {"": value}
        return _to_numpy({name: entry for name, entry in entries.items() if _is_array(entry)}, 4 * len(data) + 2**20)


def unwrap_state_dict(mapping: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """The state dict itself: what lies under one of `_NESTS`, averages first, at any depth, or the mapping.

    A "module." that starts every name is taken off, and "_orig_mod." wherever it stands.
    """
    return _bare_names(_nested(mapping)[-1])


def _nested(mapping: Mapping[Any, Any], *names: str) -> list[Mapping[Any, Any]]:
    """The mapping, what is nested in it under one of `names` or of `_NESTS`, and so on to the state dict."""
    levels, names = [mapping], (*names, *_NESTS)

    def leads_on(entry: Mapping[Any, Any]) -> bool:
        return any(map(_is_array, entry.values())) or any(isinstance(entry.get(name), Mapping) for name in names)

    while len(levels) < _MAX_DEPTH:
        inner = [entry for name in names if isinstance(entry := levels[-1].get(name), Mapping) and entry]
        if not inner:
            break
        levels.append(next(filter(leads_on, inner), inner[0]))  # notes of an average, say, may lie beside the model
    return levels


def _bare_names(state: Mapping[Any, Any]) -> Mapping[Any, Any]:
    for _ in range(4):
        names = [name if isinstance(name, str) else "" for name in state]
        common = next((prefix for prefix in _PREFIXES if names and all(n.startswith(prefix) for n in names)), None)
        if common is None:
            break
        state = {name.removeprefix(common): value for name, value in state.items()}
    if any(isinstance(name, str) and "._orig_mod." in name for name in state):
        return {name.replace("._orig_mod.", ".") if isinstance(name, str) else name: x for name, x in state.items()}
    return state


def listed(names: Any) -> str:
    """Names for a message: the first ten, and how many more."""
    names = [printable(str(name)) for name in names]
    return ", ".join(names[:10] or ["none"]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


@contextlib.contextmanager
def _naming(path: str | pathlib.Path) -> Iterator[None]:
    """Puts the file's name before an error's message, which may come from any depth."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (RecursionError, MemoryError) as error:
        raise InputError(f"{path}: the file is nested or grows beyond what this machine holds") from error


def _read_bytes(path: str | pathlib.Path) -> bytes:
    data = read_bytes(path, limit=MAX_FILE_BYTES)
    if not data:
        raise InputError(f"expected a file of 1 to {MAX_FILE_BYTES} bytes, got 0")
    return data


def _read_any(data: bytes) -> Any:
    """What the file holds: networks are `Module`s, arrays are `Tensor`s or NumPy's."""
    if data.startswith(_ZIP_START):
        return read_torch_zip(data)
    if is_torch_legacy(data):
        return read_torch_legacy(data)
    if data[:1] == b"\x80" and data[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return read_embedded_pickle(data)
    if is_safetensors(data):
        return read_safetensors(data)
    raise InputError(f"expected a pickle, a torch.save file or safetensors, got a file that starts with {data[:8]!r}")


def _select(value: Any, network: str) -> Module | dict[Any, Any]:
    """The network, or the mapping that holds a state dict."""
    if isinstance(value, Module):
        return value
    if not isinstance(value, dict):
        raise InputError(f"expected a dict of networks or a state dict, got {kind(value)}")
    chosen = value.get(network)
    if isinstance(chosen, Module):
        return chosen
    if not (isinstance(chosen, dict) and chosen) and any(isinstance(entry, Module) for entry in value.values()):
        there = listed(name for name, entry in value.items() if isinstance(entry, Module))
        raise InputError(f"network: expected one of {there}, got {network!r}")
    return value


def _from_mapping(mapping: dict[Any, Any], network: str, allowance: int) -> Checkpoint:
    """A state dict, or the dicts that hold one; TriPlaneNet's generator, "G_ema", lies beside its `init_kwargs`."""
    levels = _nested(mapping, network)
    state = _bare_names(levels[-1])
    wrong = [name for name, value in state.items() if not (isinstance(name, str) and _is_array(value))]
    if wrong or not state:
        wanting = f"these are none: {listed(wrong)}" if state else "it is empty"
        raise InputError(f"expected networks or a state dict of named arrays, but {wanting}")
    beside = {name: value for level in levels[:-1] for name, value in level.items()}
    init_kwargs = _plain_dict(beside.get("init_kwargs"), "init_kwargs")
    rendering = beside.get("rendering_kwargs")
    rendering = init_kwargs.get("rendering_kwargs") if rendering is None else rendering
    arrays = {name: value for name, value in beside.items() if isinstance(name, str) and _is_array(value)}
    return Checkpoint(
        state_dict=_to_numpy(state, allowance),
        init_kwargs=init_kwargs,
        rendering_kwargs=_plain_dict(rendering, "rendering_kwargs"),
        attributes=_plain_attributes(beside),
        class_name=None,
        beside=_to_numpy(arrays, allowance),
    )


def _from_module(module: Module, allowance: int) -> Checkpoint:
    given = module.state.get("_init_args") or ()
    ordered = dict(zip(_POSITIONAL, given)) if isinstance(given, tuple | list) else {}
    init_kwargs = _plain_dict(ordered, "init_args") | _plain_dict(module.state.get("_init_kwargs"), "init_kwargs")
    rendering = module.state.get("rendering_kwargs")
    rendering = init_kwargs.get("rendering_kwargs") if rendering is None else rendering
    return Checkpoint(
        state_dict=_to_numpy(_collect(module), allowance),
        init_kwargs=init_kwargs,
        rendering_kwargs=_plain_dict(rendering, "rendering_kwargs"),
        attributes=_plain_attributes(module.state),
        class_name=module.class_name,
        beside=_to_numpy(_attached(module), allowance),
    )


def _attached(root: Module) -> dict[str, Any]:
    """{dotted name: tensor} of the attributes of a module, and of those right below it, that are neither parameters nor
    buffers nor private; `_collect` has seen to it that all is in order."""
    children = (root.state.get("_modules") or {}).items()
    owners = {"": root} | {f"{name}.": child for name, child in children if isinstance(child, Module)}
    return {
        f"{prefix}{name}": value
        for prefix, owner in owners.items()
        for name, value in owner.state.items()
        if isinstance(name, str) and not name.startswith("_") and _is_array(value)
    }


def _collect(root: Module) -> dict[str, Any]:
    """{dotted name: tensor} of a module and those below it, in PyTorch's order."""
    collected: dict[str, Any] = {}
    visited = 0

    def visit(module: Any, prefix: str, depth: int) -> None:
        nonlocal visited
        visited += 1
        if not isinstance(module, Module) or depth > _MAX_DEPTH or visited > _MAX_NAMES or len(prefix) > _MAX_PREFIX:
            raise InputError(
                f"{printable(prefix)}: expected a module, at most {_MAX_DEPTH} levels and {_MAX_PREFIX} characters deep"
            )
        hidden = module.state.get("_non_persistent_buffers_set") or set()
        for group in ("_parameters", "_buffers", "_modules"):
            entries = module.state.get(group) or {}
            if not isinstance(entries, dict) or not isinstance(hidden, set):
                raise InputError(f"{printable(prefix + group)}: expected a dict by names, got {kind(entries)}")
            for name, entry in entries.items():
                if entry is None or (group == "_buffers" and name in hidden):
                    continue
                if group == "_modules":
                    visit(entry, f"{prefix}{name}.", depth + 1)
                elif not _is_array(entry) or f"{prefix}{name}" in collected or len(collected) >= _MAX_NAMES:
                    raise InputError(f"{printable(f'{prefix}{name}')}: expected one tensor of that name")
                else:
                    collected[f"{prefix}{name}"] = entry

    visit(root, "", 0)
    return collected


def _is_array(value: Any) -> bool:
    return isinstance(value, Tensor | NumpyArray | np.ndarray)


def _to_numpy(state: Mapping[str, Any], allowance: int) -> dict[str, np.ndarray]:
    """Copies each tensor out of its storage, if all of them together fit in `allowance` bytes."""
    total = sum(entry.nbytes for entry in state.values())
    if total > allowance:
        raise InputError(f"the tensors would take {total} bytes, far more than the file has")
    return {name: entry if isinstance(entry, np.ndarray) else entry.numpy() for name, entry in state.items()}


def _plain_attributes(state: Mapping[Any, Any]) -> dict[str, Any]:
    named = {name: value for name, value in state.items() if isinstance(name, str) and not name.startswith("_")}
    return {name: value for name, value in named.items() if isinstance(value, _PLAIN)}


def _plain_dict(value: Any, where: str) -> dict[str, Any]:
    """A dict or None as JSON-able Python: tuples and sets become lists, small arrays nested lists, globals names."""
    if not isinstance(value, dict | None):
        raise InputError(f"{where}: expected a dict, got {kind(value)}")
    left = _MAX_NAMES

    def convert(value: Any, where: str, depth: int) -> Any:
        nonlocal left
        left -= 1
        if depth > _MAX_DEPTH or left < 0:
            raise InputError(f"{printable(where)}: nested too deeply, or too large")
        if isinstance(value, _PLAIN):
            return value
        if isinstance(value, dict):  # number keys become text, as in JSON
            return {str(key): convert(item, f"{where}.{str(key)[:40]}", depth + 1) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [convert(item, where, depth + 1) for item in value]
        if isinstance(value, set | frozenset):
            return sorted(value, key=str)
        if isinstance(value, Tensor | NumpyArray) and math.prod(max(n, 1) for n in value.shape) <= _MAX_INLINE:
            return value.numpy().tolist()
        if isinstance(value, Global):
            return str(value)
        raise InputError(f"{printable(where)}: expected plain data, got {kind(value)}")

    return convert(value or {}, where, 0)
