"""Reads the files that `torch.save` writes, without PyTorch: today's zip files and the older concatenated pickles.

Both hold a pickle whose storages are persistent ids `("storage", type, key, device, elements)`, and their bytes
elsewhere: `archive/data.pkl` and `archive/data/KEY` in a zip; in the older format, after the pickle, in the order of a
list of keys. A tensor within a plain pickle brings its storage along as a whole file of the older format
(`read_embedded_pickle`).
"""

import io
import pathlib
import re
import struct
import zipfile
from typing import Any

from panojax.converters.pickle_objects import STORAGES, Global, Storage, kind
from panojax.converters.pickle_reader import read_pickle
from panojax.errors import InputError, printable

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
# PROTO, from protocol 4 on FRAME with its length, LONG1 of ten bytes, STOP.
_MAGIC_BYTES = re.escape(_MAGIC.to_bytes(10, "little"))
_LEGACY_START = re.compile(rb"\x80[\x02-\x05](\x95.{8})?\x8a\x0a" + _MAGIC_BYTES + rb"\.", re.S)


def read_torch_zip(data: bytes) -> Any:
    """What a zip file of `torch.save` holds, as `read_pickle` returns it.

    Raises:
      InputError: the zip is broken, compressed or no `torch.save` file, a storage is missing or of another size.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = _read_members(archive, limit=len(data))
    except (zipfile.BadZipFile, ValueError, RuntimeError, OSError, EOFError, OverflowError, struct.error) as error:
        raise (
            error if isinstance(error, InputError) else InputError(f"broken zip file: {printable(str(error))}")
        ) from error
    folders = [name.removesuffix("data.pkl") for name in members if pathlib.PurePosixPath(name).name == "data.pkl"]
    if len(folders) != 1:
        raise InputError(f"expected one data.pkl, as torch.save writes it, in the zip file, got {len(folders)}")
    folder = folders[0]
    if members.get(f"{folder}byteorder", b"little").strip() != b"little":
        raise InputError("expected little-endian storages; the file says that its own are not")

    def persistent_load(pid: Any) -> Storage:
        storage, key = _storage_from_id(pid)
        storage.data = members.get(f"{folder}data/{key}")
        if storage.data is None or len(storage.data) != storage.nbytes:
            held = "is missing" if storage.data is None else f"has {len(storage.data)}"
            raise InputError(f"storage {printable(key)} should have {storage.nbytes} bytes but {held}")
        return storage

    return read_pickle(io.BytesIO(members[f"{folder}data.pkl"]), persistent_load=persistent_load)


def _read_members(archive: zipfile.ZipFile, *, limit: int) -> dict[str, bytes]:
    """{name: bytes} of an uncompressed archive; entries that overlap would add up to more than the file."""
    entries = archive.infolist()
    if any(entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size for entry in entries):
        raise InputError("the zip file is compressed, which torch.save never does")
    if sum(entry.file_size for entry in entries) > limit or len({entry.filename for entry in entries}) < len(entries):
        raise InputError("the zip file's entries repeat names or add up to more than the file")
    return {entry.filename: archive.read(entry) for entry in entries}


def is_torch_legacy(data: bytes) -> bool:
    """Whether a file begins as those that `read_torch_legacy` reads, of any pickle protocol."""
    return _LEGACY_START.match(data) is not None


def read_torch_legacy(data: bytes) -> Any:
    """What a file of `torch.save(..., _use_new_zipfile_serialization=False)` holds, as `read_pickle` returns it.

    Raises:
      InputError: the file is broken or cut short, or is no such file.
    """
    stream = io.BytesIO(data)
    if read_pickle(stream) != _MAGIC or read_pickle(stream) != _PROTOCOL:
        raise InputError(f"expected PyTorch's magic number and protocol {_PROTOCOL}, got others")
    system = read_pickle(stream)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise InputError("expected little-endian storages; the file says that its own are not")
    storages: dict[str, Storage] = {}

    def persistent_load(pid: Any) -> Storage:
        storage, key = _storage_from_id(pid)
        known = storages.setdefault(key, storage)
        if (known.dtype, known.count) != (storage.dtype, storage.count):
            raise InputError(f"storage {printable(key)} is declared twice, with different types or sizes")
        return known

    value = read_pickle(stream, persistent_load=persistent_load)
    _read_storages(stream, storages)
    return value


def _read_storages(stream: io.BytesIO, storages: dict[str, Storage]) -> None:
    """Hands each storage its bytes: an int64 count of elements, then the elements, key after key."""
    keys = read_pickle(stream)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or sorted(keys) != sorted(storages):
        raise InputError("the list of storages does not match the storages that the tensors view")
    buffer = memoryview(stream.getvalue())
    position = stream.tell()
    for key in keys:
        storage = storages[key]
        count = int.from_bytes(buffer[position : position + 8], "little", signed=True)
        position += 8
        storage.data = buffer[position : position + storage.nbytes]
        position += storage.nbytes
        if count != storage.count or len(storage.data) != storage.nbytes:
            raise InputError(
                f"storage {printable(key)} should have {storage.count} elements; the file holds other or fewer"
            )


def read_embedded_pickle(data: bytes) -> Any:
    """What a plain pickle holds, the tensors' storages included, as `read_pickle` returns it."""
    return read_pickle(io.BytesIO(data), load_from_bytes=_load_from_bytes)


def _load_from_bytes(data: Any) -> Storage:
    storage = read_torch_legacy(data) if isinstance(data, bytes) else None
    if not isinstance(storage, Storage):
        raise InputError(f"expected the bytes of one storage, got {kind(data if storage is None else storage)}")
    return storage


def _storage_from_id(pid: Any) -> tuple[Storage, str]:
    """The storage, still without its data, and the key that a persistent id declares."""
    valid = isinstance(pid, tuple) and len(pid) in (5, 6) and isinstance(pid[0], str) and pid[0] == "storage"
    if not valid or pid[5:] not in ((), (None,)):
        raise InputError("a persistent id should be ('storage', type, key, device, elements), got another")
    _, declared, key, _, count = pid[:5]
    dtype = STORAGES.get((declared.module, declared.name)) if isinstance(declared, Global) else None
    if dtype is None or not isinstance(key, str) or type(count) is not int or not 0 <= count < 2**48:
        raise InputError(f"expected a storage of a known type, with a key and a size, got {kind(declared)}")
    return Storage(dtype, count), key
