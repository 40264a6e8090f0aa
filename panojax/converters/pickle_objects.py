"""What the names in a checkpoint's pickle stand for: inert records, and the functions of ours that make them.

Nothing here imports or looks up what a pickle names. Each function takes what the pickle hands over, of any type,
and raises an `InputError` if it is not what PyTorch or NumPy would write.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from panojax.errors import InputError, printable
from panojax.files.array_file import count_elements


@dataclasses.dataclass(frozen=True)
class Global:
    """A name that the pickle mentions, never looked up in Python."""

    module: str
    name: str

    def __str__(self) -> str:
        return printable(f"{self.module}.{self.name}")


@dataclasses.dataclass
class Module:
    """An object of the checkpoint: the name of its class and its attributes."""

    class_name: str
    state: dict[Any, Any]


@dataclasses.dataclass
class Storage:
    """A run of `count` numbers that tensors view; `data` is set once its bytes are found."""

    dtype: np.dtype
    count: int
    data: bytes | memoryview | None = None

    @property
    def nbytes(self) -> int:
        return self.count * self.dtype.itemsize


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A strided view of a storage; offset and strides count elements and are known to stay inside it.

    A `negative` one stands for the numbers with the other sign: PyTorch negates lazily.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    negative: bool = False

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.storage.dtype.itemsize

    def numpy(self) -> np.ndarray:
        """A contiguous copy of the view."""
        storage = self.storage
        if storage.data is None or len(storage.data) != storage.nbytes:
            raise InputError(f"a storage should hold {storage.nbytes} bytes, which the file lacks")
        if not self.nbytes:
            return np.zeros(self.shape, storage.dtype)
        flat = np.frombuffer(storage.data, storage.dtype)[self.offset :]
        strides = [stride * flat.itemsize for stride in self.strides]
        values = np.lib.stride_tricks.as_strided(flat, self.shape, strides, writeable=False).copy(order="C")
        return np.negative(values, out=values) if self.negative else values


@dataclasses.dataclass
class NumpyType:
    """A dtype being unpickled: its code such as "f4", then its byte order."""

    code: str
    order: str = "<"

    def dtype(self) -> np.dtype:
        return np.dtype(self.order + self.code)


@dataclasses.dataclass
class NumpyArray:
    """A NumPy array being unpickled: an empty one until its state comes."""

    dtype: np.dtype = dataclasses.field(default_factory=lambda: np.dtype("f4"))
    shape: tuple[int, ...] = (0,)
    fortran: bool = False
    data: bytes = b""

    @property
    def nbytes(self) -> int:
        return len(self.data)

    def numpy(self) -> np.ndarray:
        """A contiguous copy in the machine's byte order."""
        array = np.frombuffer(self.data, self.dtype).reshape(self.shape, order="F" if self.fortran else "C")
        return np.array(array, self.dtype.newbyteorder("="), order="C")


def kind(value: Any) -> str:
    """What a value is, for a message: a global's name, else "a list"."""
    name = type(value).__name__
    return str(value) if isinstance(value, Global) else f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise InputError(f"broken pickle: {message}")


def atom(key: Any) -> Any:
    """Lets strings, None and small integers be keys: their hashes are cheap and do not collide at will."""
    simple = key is None or isinstance(key, str) or (isinstance(key, int) and abs(key) < 2**31)
    _check(simple, f"a key should be a string or a small integer, got {kind(key)}")
    return key


def make_dict(items: Any) -> dict[Any, Any]:
    """{key: value} from pairs, of which the keys are checked."""
    return {atom(key): value for key, value in items}


def _persistent_module(meta: Any) -> Module:
    _check(isinstance(meta, dict) and meta.get("type") == "class", "a persistent object should be of type 'class'")
    name, state = meta.get("class_name"), meta.get("state")
    _check(isinstance(name, str) and isinstance(state, dict), "a persistent object lacks its class name or state")
    return Module(name, state)


def is_known(name: Global) -> bool:
    """Whether a name may be mentioned: as a value, a call's argument or an object's class."""
    return (name.module, name.name) in _NAMES or name.module.startswith(_INERT_PREFIXES)


def new_object(cls: Any, arguments: Any) -> Module | dict[Any, Any]:
    """NEWOBJ: an empty dict for the subclasses of dict, else a record with the class's name."""
    _check(isinstance(cls, Global) and arguments == (), f"cannot make an object of {kind(cls)}")
    if (cls.module, cls.name) in _DICTS:
        return {}
    if (cls.module, cls.name) in _NAMES or not cls.module.startswith(_INERT_PREFIXES):
        raise InputError(f"the pickle makes an object of {cls}, which no checkpoint needs; nothing was run")
    return Module(str(cls), {})


def set_state(target: Any, state: Any) -> None:
    """BUILD: attributes go into the record's dict of attributes; those of a dict (`_metadata`) are dropped."""
    if isinstance(target, Module | dict) and isinstance(state, dict):
        if isinstance(target, Module):
            target.state.update(state)
    elif isinstance(target, NumpyType):
        _check(isinstance(state, tuple) and len(state) >= 5 and state[1] in ("<", ">", "|", "="), "bad dtype state")
        _check(state[2:5] == (None, None, None), "a dtype with fields")
        target.order = "<" if state[1] == "=" else state[1]
    elif isinstance(target, NumpyArray):
        _check(isinstance(state, tuple) and len(state) == 5, "bad array state")
        _fill_array(target, state[1], state[2], bool(state[3]), state[4])
    else:
        raise InputError(f"broken pickle: cannot set the state of {kind(target)} to {kind(state)}")


def _fill_array(array: NumpyArray, shape: Any, dtype: Any, fortran: bool, data: Any) -> NumpyArray:
    _check(isinstance(dtype, NumpyType) and isinstance(data, bytes), "an array should be bytes of a known dtype")
    expected = count_elements(shape) * dtype.dtype().itemsize
    _check(len(data) == expected, f"an array should have {expected} bytes, got {len(data)}")
    array.dtype, array.shape, array.fortran, array.data = dtype.dtype(), tuple(shape), fortran, data
    return array


def _reconstruct_array(cls: Any, shape: Any, typecode: Any) -> NumpyArray:
    _check(cls == Global("numpy", "ndarray"), f"cannot make an array of {kind(cls)}")
    return NumpyArray()


def _array_from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> NumpyArray:
    return _fill_array(NumpyArray(), shape, dtype, order == "F", data)


def _numpy_type(code: Any, align: Any = False, copy: Any = True) -> NumpyType:
    shown = printable(code) if isinstance(code, str) else kind(code)
    _check(isinstance(code, str) and code in _NUMPY_CODES, f"expected a numeric dtype, got {shown}")
    return NumpyType(code)


def _numpy_scalar(dtype: Any, data: Any) -> bool | int | float:
    _check(isinstance(dtype, NumpyType) and isinstance(data, bytes), "a scalar should be bytes of a known dtype")
    array = _fill_array(NumpyArray(), (), dtype, False, data)
    return array.numpy().item()


def _tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, gradient: Any = None, hooks: Any = None, bits: Any = None
) -> Tensor:
    _check(isinstance(storage, Storage) and type(offset) is int, "a tensor should view a storage")
    elements = count_elements(shape)
    _check(
        isinstance(strides, tuple | list) and len(strides) == len(shape) and all(type(s) is int for s in strides),
        "a tensor should have as many strides as axes",
    )
    last = offset + sum((n - 1) * s for n, s in zip(shape, strides)) if elements else offset - 1
    if offset < 0 or min(strides, default=0) < 0 or last >= storage.count:
        raise InputError(f"a tensor of {elements} elements reaches outside its storage of {storage.count}")
    return Tensor(storage, offset, tuple(shape), tuple(strides), _is_negative(bits, storage))


def _is_negative(bits: Any, storage: Storage) -> bool:
    """Whether a tensor's metadata, {"neg": True} or none, say so."""
    _check(isinstance(bits, dict | None), f"a tensor's metadata should be a dict, got {kind(bits)}")
    given = [str(name) for name, bit in (bits or {}).items() if bit]
    if not set(given) <= {"neg"}:
        raise InputError(f"expected a plain or a negated tensor, got one with {printable(', '.join(given))}")
    _check(not given or storage.dtype.kind not in "bu", "only signed numbers can be negated")
    return bool(given)


def _parameter(data: Any, *_: Any) -> Tensor:
    _check(isinstance(data, Tensor), f"a parameter should be a tensor, got {kind(data)}")
    return data


def _ordered_dict(pairs: Any = ()) -> dict[Any, Any]:
    _check(isinstance(pairs, list | tuple), "an OrderedDict should come from a list of pairs")
    _check(all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs), "expected (key, value) pairs")
    return make_dict(pairs)


def _set(items: Any = ()) -> set[Any]:
    _check(isinstance(items, list | tuple), "a set should come from a list")
    return set(map(atom, items))


def _size(dimensions: Any) -> tuple[int, ...]:
    count_elements(dimensions)
    return tuple(dimensions)


def _device(*parts: Any) -> str:
    _check(all(isinstance(part, str | int) for part in parts), "a device should be a name and a number")
    return printable(":".join(map(str, parts)))


def _encode(text: Any, encoding: Any) -> bytes:
    _check(isinstance(text, str) and encoding in ("latin1", "latin-1"), "expected text to encode as latin1")
    return text.encode("latin-1")


def _empty_bytes() -> bytes:  # how protocol 2 writes b""
    return b""


_NUMPY_CODES = {"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"}

# What the kinds of torch storage hold.
STORAGES = {
    ("torch", "DoubleStorage"): np.dtype(np.float64),
    ("torch", "FloatStorage"): np.dtype(np.float32),
    ("torch", "HalfStorage"): np.dtype(np.float16),
    ("torch", "BFloat16Storage"): np.dtype(ml_dtypes.bfloat16),
    ("torch", "LongStorage"): np.dtype(np.int64),
    ("torch", "IntStorage"): np.dtype(np.int32),
    ("torch", "ShortStorage"): np.dtype(np.int16),
    ("torch", "CharStorage"): np.dtype(np.int8),
    ("torch", "ByteStorage"): np.dtype(np.uint8),
    ("torch", "BoolStorage"): np.dtype(np.bool_),
}

_DICTS = {("dnnlib.util", "EasyDict"), ("collections", "OrderedDict")}

# Names that may be mentioned, as an argument of a call or as a value; none is looked up.
_NAMES = {
    *STORAGES,
    *_DICTS,
    ("numpy", "ndarray"),
    *(("torch", name) for name in ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8")),
    *(("torch", name) for name in ("uint8", "bool", "contiguous_format", "strided")),
}

# Classes under these become `Module` records: torch's layers, and the networks of StyleGAN's descendants.
_INERT_PREFIXES = ("torch.nn.modules.", "training.")

CALLS: dict[tuple[str, str], Callable[..., Any]] = {
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): _persistent_module,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
    ("torch", "Size"): _size,
    ("torch", "device"): _device,
    ("collections", "OrderedDict"): _ordered_dict,
    ("builtins", "set"): _set,
    ("__builtin__", "set"): _set,
    ("_codecs", "encode"): _encode,
    ("builtins", "bytes"): _empty_bytes,
    ("__builtin__", "bytes"): _empty_bytes,
    ("numpy", "dtype"): _numpy_type,
    ("numpy.core.multiarray", "scalar"): _numpy_scalar,
    ("numpy._core.multiarray", "scalar"): _numpy_scalar,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct_array,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct_array,
    ("numpy.core.numeric", "_frombuffer"): _array_from_buffer,
    ("numpy._core.numeric", "_frombuffer"): _array_from_buffer,
}
