"""Traced programs kept on disk, so that a new process need not trace them again.

JAX keeps what it compiled, but finds it by the traced program, and to trace an inversion takes longer than to run it.
Files hold StableHLO (`jax.export`), no Python objects, and nothing in them is executed but by XLA.
"""

import dataclasses
import functools
import hashlib
import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from panojax.disk.staging import replaced_when_done

FORMAT = 1
MOST_FILES = 64
# What changes a traced program besides its arguments.
SETTINGS = ("jax_enable_x64", "jax_default_matmul_precision", "jax_numpy_dtype_promotion", "jax_default_prng_impl")
# With these, programs are traced each time.
WATCHED = ("jax_disable_jit", "jax_debug_nans", "jax_debug_infs", "jax_check_tracer_leaks", "jax_log_compiles")


class _Place:
    """The folder that `keep_programs` named."""

    folder: pathlib.Path | None = None


def keep_programs(folder: pathlib.Path | None) -> None:
    """Keeps traced programs in a folder from here on, and takes those that lie there; None keeps none."""
    _Place.folder = folder


class KeptFunction:
    """A jitted function whose traced programs are kept, once `keep_programs` has named a folder.

    A program serves for the same code of the package, versions of JAX, kind of device, settings, and shapes of the
    arguments, as `jax.jit` has it. Whatever else is in the way (arguments that are traced, lie on several devices or on
    another than the first, or belong to an encoder or a representation that is not the package's), the function is
    jitted as usual.

    Args:
      function: of positional arguments that are traced, and of keywords that are static.
      static: the keywords' names.
      results: the dataclasses, without static fields, that its result is made of.
    """

    def __init__(self, function: Callable[..., Any], static: Sequence[str], results: Sequence[type] = ()):
        self._function, self._results = function, results
        self._name = f"{function.__module__}.{function.__qualname__}"
        self._jitted = jax.jit(function, static_argnames=tuple(static))
        self._programs: dict[Any, Callable[..., Any]] = {}

    def __call__(self, *args: Any, **static: Any) -> Any:
        """What the function gives."""
        if _Place.folder is None:
            return self._jitted(*args, **static)
        leaves, tree = jax.tree.flatten(args)
        if not _may_be_kept(args, leaves):
            return self._jitted(*args, **static)
        shapes = tuple((np.shape(leaf), str(leaf.dtype), getattr(leaf, "weak_type", False)) for leaf in leaves)
        settings = _settings()
        place = (tree, shapes, settings, tuple(sorted(static.items())))
        program = self._programs.get(place)
        if program is None:
            key = _key(self._name, str(tree), shapes, settings, sorted(static.items()))
            program = self._programs[place] = self._open(key, tree, leaves, static)
        return program(*leaves)

    def _open(self, key: str, tree: Any, leaves: Sequence[Any], static: dict[str, Any]) -> Callable[..., Any]:
        """The program of a key, from its file, or traced and written there; jitted as usual where that fails."""
        flat = self._named(lambda *leaves: self._function(*jax.tree.unflatten(tree, leaves), **static))
        try:
            from jax import export

            for node in self._results:
                _register(node)
            content = _read(key)
            if content is None:
                exported = export.export(jax.jit(flat))(*leaves)
                _write(key, bytes(exported.serialize()))
            else:
                exported = export.deserialize(bytearray(content))
            return jax.jit(self._named(lambda *leaves: exported.call(*leaves)))
        except Exception:  # whatever it is, the function itself will say it, or work without
            return jax.jit(flat)

    def _named(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """With this function's name, by which JAX calls what it compiles."""
        function.__name__ = self._function.__name__
        return function


def kept_shapes(make: Callable[[Any], Any], config: Any) -> Any:
    """make(config), nested dictionaries of `jax.ShapeDtypeStruct`s, kept like programs."""
    if _Place.folder is None or not _ours(config):
        return make(config)
    key = _key(f"{make.__module__}.{make.__qualname__}", repr(config), _settings())
    try:
        content = _read(key)
        if content is not None:
            return _structs(json.loads(content))
    except (ValueError, TypeError, KeyError):
        pass
    shapes = make(config)
    _write(key, json.dumps(jax.tree.map(lambda x: [list(x.shape), str(x.dtype)], shapes)).encode())
    return shapes


def _structs(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {name: _structs(value) for name, value in tree.items()}
    shape, dtype = tree
    return jax.ShapeDtypeStruct(tuple(shape), np.dtype(dtype))


def _settings() -> tuple[str, ...]:
    return tuple(str(getattr(jax.config, name, None)) for name in SETTINGS)


def _may_be_kept(args: Sequence[Any], leaves: Sequence[Any]) -> bool:
    if jax.process_count() > 1 or any(getattr(jax.config, name, False) for name in WATCHED):
        return False
    first = jax.local_devices()[0]
    for leaf in leaves:
        if isinstance(leaf, jax.core.Tracer) or not hasattr(leaf, "dtype"):
            return False
        if isinstance(leaf, jax.Array) and leaf.devices() != {first}:
            return False
    return all(_ours(arg.config) for arg in args if hasattr(arg, "config"))


def _ours(value: Any) -> bool:
    """Whether a configuration is of the package's own classes, whose code the key knows."""
    if dataclasses.is_dataclass(value):
        own = type(value).__module__.split(".")[0] == __package__.split(".")[0]
        return own and all(_ours(getattr(value, field.name)) for field in dataclasses.fields(value))
    if isinstance(value, tuple):
        return all(_ours(item) for item in value)
    return value is None or isinstance(value, bool | int | float | str)


def _key(*parts: Any) -> str:
    import jaxlib

    device = jax.local_devices()[0]
    versions = (FORMAT, _digest_of_code(), jax.__version__, jaxlib.__version__, device.platform, device.device_kind)
    return hashlib.sha256(repr((versions, parts)).encode()).hexdigest()


@functools.cache
def _digest_of_code() -> str:
    """Of the package's files: what they are called, how long they are and when they changed."""
    root = pathlib.Path(__file__).parents[1]
    files = sorted((str(path.relative_to(root)), path.stat()) for path in root.rglob("*.py"))
    return hashlib.sha256(repr([(name, at.st_size, at.st_mtime_ns) for name, at in files]).encode()).hexdigest()


@functools.cache
def _register(node: type) -> None:
    """Lets files name a dataclass in the structure of a result."""
    from jax import export

    empty = node(**{field.name: None for field in dataclasses.fields(node)})  # type: ignore[arg-type]
    structure: Any = jax.tree.structure(empty)
    aux = structure.node_data()[1]
    name = f"{node.__module__}.{node.__qualname__}"
    export.register_pytree_node_serialization(
        node, serialized_name=name, serialize_auxdata=lambda _: b"", deserialize_auxdata=lambda _: aux
    )


def _read(key: str) -> bytes | None:
    """What was kept under a key, whole, or None."""
    assert _Place.folder is not None
    try:
        content = (_Place.folder / f"{key}.program").read_bytes()
    except OSError:
        return None
    return content[32:] if hashlib.sha256(content[32:]).digest() == content[:32] else None


def _write(key: str, content: bytes) -> None:
    """Keeps something, where the folder lets it; the oldest go."""
    assert _Place.folder is not None
    try:
        _Place.folder.mkdir(parents=True, exist_ok=True)
        with replaced_when_done(_Place.folder / f"{key}.program", overwrite=True) as partial:
            partial.write_bytes(hashlib.sha256(content).digest() + content)
        files = sorted(_Place.folder.glob("*.program"), key=lambda path: path.stat().st_mtime)
        for path in files[:-MOST_FILES]:
            path.unlink(missing_ok=True)
    except OSError:
        pass
