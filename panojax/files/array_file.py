"""Reads files of plain arrays: safetensors, .npy and .npz. Their headers are checked before any array is made."""

import contextlib
import dataclasses
import io
import json
import math
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np

from panojax.errors import InputError, printable

MAX_HEADER_BYTES = 16 * 2**20
MAX_ELEMENTS = 2**40
MAX_RANK = 32
MAX_NPY_HEADER = 2**16
MAX_INFLATION = 64  # times a file's size; what NumPy deflates shrinks far less
NPY_START = b"\x93NUMPY"

_SAFETENSORS_TYPES = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}


def count_elements(shape: Any) -> int:
    """The number of elements of a shape that a file declares.

    Raises:
      InputError: it is no list of at most 32 sizes, or would be absurdly large.
    """
    if not isinstance(shape, tuple | list) or len(shape) > MAX_RANK or not all(type(n) is int for n in shape):
        raise InputError(f"expected a shape of at most {MAX_RANK} integers, got {printable(repr(shape))}")
    if any(n < 0 for n in shape) or math.prod(max(n, 1) for n in shape) > MAX_ELEMENTS:
        raise InputError(f"expected a shape of at most 2^40 elements, got {printable(str(list(shape)))}")
    return math.prod(shape)


def is_safetensors(data: bytes) -> bool:
    """Whether a file starts like safetensors: the header's length, then a JSON object."""
    return data[8:9] == b"{" and int.from_bytes(data[:8], "little") < 2**40


def read_safetensors(data: bytes) -> dict[str, np.ndarray]:
    """{name: array} of a safetensors file: a uint64 header length, a JSON header, then the arrays end to end.

    Raises:
      InputError: the header is too long or no such JSON, or the arrays do not fill the rest of the file exactly,
        without gaps or overlaps.
    """
    length = int.from_bytes(data[:8], "little")
    if length > MAX_HEADER_BYTES or 8 + length > len(data):
        raise InputError(f"expected a safetensors header within the file and 16 MiB, got one of {length} bytes")
    try:
        header = json.loads(data[8 : 8 + length], object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise InputError(f"broken safetensors header: {printable(str(error))}") from error
    if not isinstance(header, dict):
        raise InputError("a safetensors header should be a JSON object")
    header.pop("__metadata__", None)
    body = memoryview(data)[8 + length :]
    entries = [(*_entry(name, row), name) for name, row in header.items()]
    arrays, position = {}, 0
    for begin, end, dtype, shape, name in sorted(entries, key=lambda entry: entry[:2]):
        if begin != position or end > len(body):
            raise InputError(
                f"safetensors: {printable(name)} lies at bytes {begin} to {end} of {len(body)}, expected {position}"
            )
        arrays[name] = np.frombuffer(body[begin:end], dtype).reshape(shape).copy()
        position = end
    if position != len(body):
        raise InputError(f"safetensors: the arrays fill {position} of {len(body)} bytes")
    return {name: arrays[name] for name in header}


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a name occurs twice")
    return dict(pairs)


def _entry(name: str, row: Any) -> tuple[int, int, np.dtype, tuple[int, ...]]:
    """(begin, end, dtype, shape) of one array, which agree with each other."""
    row = row if isinstance(row, dict) else {}
    declared, offsets, shape = row.get("dtype"), row.get("data_offsets"), row.get("shape")
    dtype = _SAFETENSORS_TYPES.get(declared) if isinstance(declared, str) else None
    if dtype is None:
        raise InputError(
            f"safetensors: {printable(name)} has an unknown dtype, expected one of {', '.join(_SAFETENSORS_TYPES)}"
        )
    nbytes = count_elements(shape) * dtype.itemsize
    valid = isinstance(offsets, list) and len(offsets) == 2 and all(type(n) is int and 0 <= n < 2**48 for n in offsets)
    if not valid or offsets[1] - offsets[0] != nbytes:
        raise InputError(f"safetensors: {printable(name)} should span {nbytes} bytes; its data_offsets do not")
    return offsets[0], offsets[1], dtype, tuple(shape)


def read_npy(data: bytes) -> np.ndarray:
    """The array of a .npy file, contiguous and in the machine's byte order.

    Raises:
      InputError: the header is broken, the array is not of real numbers (objects would be pickled), or the file has
        another length.
    """
    stream = io.BytesIO(data)
    entry = _npy_entry(stream)
    held = len(data) - stream.tell()
    if entry.nbytes != held:
        raise InputError(
            f"an array of shape {entry.shape} and dtype {entry.dtype} has {entry.nbytes} bytes; the file holds {held}"
        )
    return entry.array(data[stream.tell() :])


@dataclasses.dataclass(frozen=True)
class NpyEntry:
    """What a .npy header says of the array that follows."""

    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        return count_elements(self.shape) * self.dtype.itemsize

    def array(self, body: bytes) -> np.ndarray:
        """The array of `nbytes` bytes, contiguous and in the machine's byte order."""
        flat = np.frombuffer(body, self.dtype) if body else np.zeros(0, self.dtype)
        array = flat.reshape(self.shape, order="F" if self.fortran else "C")
        return np.array(array, self.dtype.newbyteorder("="), order="C")


def _npy_entry(stream: Any, kinds: str = "fiub") -> NpyEntry:
    """Reads a .npy header from a stream and leaves it at the array's first byte."""
    start = stream.read(10)
    size = int.from_bytes(start[8:10], "little")
    if start[:6] == NPY_START and start[6:8] == b"\x02\x00":
        more = stream.read(2)
        start, size = start + more, size + (int.from_bytes(more, "little") << 16)
    if size > MAX_NPY_HEADER:
        raise InputError(f"expected a .npy header of at most {MAX_NPY_HEADER} bytes, got one of {size}")
    header = io.BytesIO(start + stream.read(size))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            version = np.lib.format.read_magic(header)
            headers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            if version not in headers:
                raise InputError(f"expected .npy version 1.0 or 2.0, got {version[0]}.{version[1]}")
            shape, fortran, dtype = headers[version](header)
    except InputError:
        raise
    except (
        ValueError,
        TypeError,
        SyntaxError,
        RecursionError,
        MemoryError,
        OverflowError,
        tokenize.TokenError,
        Warning,
    ) as error:
        raise InputError(f"broken .npy header: {printable(str(error))}") from error
    if dtype.kind not in kinds or dtype.subdtype:
        raise InputError(f"expected an array of numbers, got dtype {printable(str(dtype))}, which is not read")
    count_elements(shape)
    return NpyEntry(tuple(shape), dtype, fortran)


class NpzFile:
    """An .npz file in memory: what its arrays are is known before any is inflated.

    Attributes:
      entries: {name: NpyEntry}.
    """

    def __init__(self, data: bytes, kinds: str = "fiub"):
        self._kinds = kinds
        """Reads the headers.

        Raises:
          InputError: the zip or a header is broken, the compression is none that NumPy writes, two arrays have one
            name, or the arrays are far larger than the file: they are a trap.
        """
        with _broken_zip():
            self._archive = zipfile.ZipFile(io.BytesIO(data))
            self._members: dict[str, zipfile.ZipInfo] = {}
            self.entries: dict[str, NpyEntry] = {}
            for member in self._archive.infolist():
                name = member.filename.removesuffix(".npy")
                if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or member.flag_bits & 1:
                    raise InputError(f"{printable(name)} must be stored or deflated, got another packing")
                if name in self.entries:
                    raise InputError(f"{printable(name)} must be there once, got it twice")
                with self._archive.open(member) as stream:
                    self.entries[name] = _npy_entry(stream, kinds)
                self._members[name] = member
        total = sum(entry.nbytes for entry in self.entries.values())
        if total > MAX_INFLATION * len(data) + 2**24:
            raise InputError(
                f"expected at most {MAX_INFLATION} times the file's {len(data)} bytes inflated, got {total}"
            )

    def read(self, name: str) -> np.ndarray:
        """Inflates one array: as many bytes as its entry says.

        Raises:
          InputError: it is broken, or has more or fewer bytes.
        """
        entry = self.entries[name]
        with _broken_zip(), self._archive.open(self._members[name]) as stream:
            _npy_entry(stream, self._kinds)
            body = stream.read(entry.nbytes) if entry.nbytes else b""
            if len(body) != entry.nbytes or stream.read(1):  # the end is where zipfile compares the checksum
                raise InputError(f"{printable(name)} must have {entry.nbytes} bytes, got more or fewer")
        return entry.array(body)


def read_npz(data: bytes, *, limit: int, kinds: str = "fiub") -> dict[str, np.ndarray]:
    """{name: array} of an .npz file whose arrays have at most `limit` bytes when inflated.

    Args:
      kinds: NumPy's letters for what is read: numbers; with "U" also texts of fixed length.

    Raises:
      InputError: the zip or one of its arrays is broken, or too large.
    """
    file = NpzFile(data, kinds)
    total = sum(entry.nbytes for entry in file.entries.values())
    if total > limit:
        raise InputError(f"expected an .npz of at most {limit} bytes inflated, got {total}")
    return {name: file.read(name) for name in file.entries}


@contextlib.contextmanager
def _broken_zip() -> Iterator[None]:
    """What zipfile and zlib raise of a broken file, as an InputError."""
    try:
        yield
    except InputError:
        raise
    except zipfile.BadZipFile as error:
        if "not a zip" in str(error):
            raise InputError("broken .npz file: no zip, it seems to be a file of another kind") from error
        raise InputError(f"broken .npz file: {printable(str(error))}") from error
    except (
        ValueError,
        RuntimeError,
        OSError,
        EOFError,
        OverflowError,
        IndexError,
        struct.error,
        zlib.error,
    ) as error:
        raise InputError(f"broken .npz file: {printable(str(error))}") from error
