"""Broken, foreign and disguised files: each is refused in one line, and damage never raises anything but InputError."""

import copy
import io
import json
import pathlib
import pickle
import struct
import zipfile

import numpy as np
import pytest
from opcodes import mapping, storage, tensor, torch_zip
from PIL import Image

from panojax.converters import read
from panojax.converters.read import Checkpoint, read_array, read_checkpoint
from panojax.errors import InputError

DATA = pathlib.Path(__file__).parent / "data"


def npy(array=None, **header):
    """A .npy file of an array, or of another header and 24 bytes."""
    stream = io.BytesIO()
    if array is not None:
        np.save(stream, array)
    else:
        np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": (2, 3)} | header)
        stream.write(bytes(24))
    return stream.getvalue()


def picture():
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "PNG")
    return stream.getvalue()


def safetensors(header=None, body=bytes(24), length=None, **rows):
    """A safetensors file of a header, or of one that holds these rows."""
    raw = header if header is not None else json.dumps(rows).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + body


def row(begin=0, end=24, shape=(6,), dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def repeated_entry():
    """A zip file whose directory lists one storage under a hundred names, which costs the file little."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", b"")
        archive.writestr("archive/data/0", bytes(10_000))
        for n in range(1, 100):
            entry = copy.copy(archive.infolist()[1])
            entry.filename = f"archive/data/{n}"
            archive.filelist.append(entry)
    return stream.getvalue()


PICKLE = (DATA / "network_protocol4.pkl").read_bytes()
ZIP = (DATA / "tensors_zip.pt").read_bytes()
LEGACY = (DATA / "tensors_legacy.pt").read_bytes()
SIX = {"0": np.arange(6, dtype=np.float32).tobytes()}

FOREIGN = {
    "nothing": (b"", "expected a file of 1 to 8589934592 bytes, got 0"),
    "text": (
        b"state_dict: {}\n",
        "expected a pickle, a torch.save file or safetensors, got a file that starts with b'state_di'",
    ),
    "image": (picture(), r"got a file that starts with b'\x89PNG\r\n\x1a\n'"),
    "pickle of protocol 0": (pickle.dumps({}, 0), "got a file that starts with b'(dp0"),
    "array": (npy(np.zeros(3)), "expected a checkpoint, got a .npy array, which read_array reads"),
    "number": (pickle.dumps(3), "expected a dict of networks or a state dict, got an int"),
    "zip without a pickle": (torch_zip(b"N", {}).replace(b"data.pkl", b"date.pkl"), "expected one data.pkl"),
    "compressed zip": (
        torch_zip(mapping(a=tensor(storage())), SIX, zipfile.ZIP_DEFLATED),
        "the zip file is compressed",
    ),
    "zip bomb": (
        torch_zip(mapping(a=tensor(storage(count=2**24))), {"0": bytes(2**26)}, zipfile.ZIP_DEFLATED),
        "the zip file is compressed, which torch.save never does",
    ),
    "overlapping zip": (repeated_entry(), "the zip file's entries repeat names or add up to more than the file"),
    "big-endian zip": (
        torch_zip(mapping(a=tensor(storage())), SIX, byteorder="big"),
        "expected little-endian storages",
    ),
    "big-endian legacy": (
        LEGACY.replace(b"little_endianq\x02\x88", b"little_endianq\x02\x89"),
        "expected little-endian",
    ),
    "legacy of another protocol": (LEGACY.replace(b"M\xe9\x03.", b"M\xe8\x03."), "magic number and protocol 1001"),
    "legacy with other keys": (
        LEGACY[: LEGACY.rindex(b"\x80\x02]")] + b"\x80\x02].",
        "the list of storages does not match",
    ),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_foreign_file(refuse, case):
    refuse(*FOREIGN[case])


def test_paths(tmp_path):
    for path, message in [
        (tmp_path, "expected a file, got a folder"),
        (tmp_path / "x.pkl", "expected a file, got nothing there"),
    ]:
        for reader in (read_checkpoint, read_array):
            with pytest.raises(InputError, match=message):
                reader(path)


def test_file_size(refuse, monkeypatch):
    monkeypatch.setattr(read, "MAX_FILE_BYTES", 100)
    refuse(bytes(101), "expected a file of at most 100 bytes, got 101")


SAFETENSORS = {
    "giant header": (safetensors(b"{}", length=2**39), "expected a safetensors header within the file and 16 MiB"),
    "header beyond the file": (safetensors(b"{}", length=100), "got one of 100 bytes"),
    "no JSON": (safetensors(b"{'a'}"), "broken safetensors header"),
    "no text": (safetensors(b"{\xff\xfe}"), "broken safetensors header"),
    "deep JSON": (safetensors(b'{"a":' + b"[" * 100_000), "broken safetensors header"),
    "long number": (safetensors(b'{"a":' + b"1" * 10_000 + b"}"), "broken safetensors header"),
    "a name twice": (safetensors(b'{"a": 1, "a": 2}'), "broken safetensors header: a name occurs twice"),
    "no rows": (safetensors(a=3), "a has an unknown dtype, expected one of F64, F32"),
    "unknown dtype": (safetensors(a=row(dtype="F8_E4M3")), "a has an unknown dtype"),
    "overlap": (
        safetensors(a=row(0, 16, [4]), b=row(8, 24, [4])),
        "safetensors: b lies at bytes 8 to 24 of 24, expected 16",
    ),
    "gap": (
        safetensors(a=row(0, 8, [2]), b=row(12, 24, [3])),
        "safetensors: b lies at bytes 12 to 24 of 24, expected 8",
    ),
    "beyond the end": (safetensors(a=row(0, 48, [12])), "safetensors: a lies at bytes 0 to 48 of 24"),
    "left over": (safetensors(a=row(0, 8, [2])), "the arrays fill 8 of 24 bytes"),
    "shape of another size": (safetensors(a=row(shape=[7])), "a should span 28 bytes; its data_offsets do not"),
    "negative offsets": (safetensors(a=row(-24, 0)), "a should span 24 bytes; its data_offsets do not"),
    "backwards": (safetensors(a=row(24, 0)), "a should span 24 bytes; its data_offsets do not"),
    "fractional offsets": (safetensors(a=row(0.0, 24.0)), "a should span 24 bytes; its data_offsets do not"),
    "huge shape": (safetensors(a=row(shape=[2**40, 2**40])), "expected a shape of at most 2^40 elements"),
    "negative shape": (safetensors(a=row(shape=[-6])), "expected a shape of at most 2^40 elements, got [-6]"),
    "shape of text": (safetensors(a=row(shape="6")), "expected a shape of at most 32 integers"),
    "empty": (safetensors(b"{}", body=b""), "it is empty"),
}


@pytest.mark.parametrize("case", SAFETENSORS)
def test_broken_safetensors(refuse, case):
    refuse(*SAFETENSORS[case])


def test_the_builder_makes_valid_safetensors(tmp_path):
    (tmp_path / "a").write_bytes(safetensors(a=row(8, 24, [2, 2]), b=row(0, 8, [2])))
    assert {name: array.shape for name, array in read_checkpoint(tmp_path / "a").state_dict.items()} == {
        "a": (2, 2),
        "b": (2,),
    }


def npz_bomb():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", npy(np.zeros(2**23)))
    return stream.getvalue()


NPY = {
    "objects": (npy(np.array([{}, 1], object)), "expected an array of numbers, got dtype object, which is not read"),
    "records": (npy(np.zeros(2, [("a", "f4")])), "expected an array of numbers, got dtype"),
    "text": (npy(np.array(["a"])), "expected an array of numbers, got dtype <U1"),
    "complex": (npy(np.zeros(2, complex)), "expected an array of numbers, got dtype complex128"),
    "huge shape": (npy(shape=(2**40, 2**20)), "expected a shape of at most 2^40 elements"),
    "larger shape": (npy(shape=(2, 4)), "has 32 bytes; the file holds 24"),
    "smaller shape": (npy(shape=(2,)), "has 8 bytes; the file holds 24"),
    "negative shape": (npy(shape=(-2, -3)), "expected a shape of at most 2^40 elements, got [-2, -3]"),
    "code for a dtype": (npy(descr="__import__('os').getpid()"), "broken .npy header"),
    "cut header": (npy()[:60], "broken .npy header"),
    "future version": (npy().replace(b"NUMPY\x01", b"NUMPY\x09"), "expected .npy version 1.0 or 2.0, got 9.0"),
    "text file": (b"1 2 3\n", r"expected a .npy or .npz file, got one that starts with b'1 2 3\n'"),
    "npz bomb": (npz_bomb(), "expected at most 64 times the file's"),
    "no npz": (ZIP, "broken .npy header"),
    "empty npz": (b"PK\x03\x04", "broken .npz file"),
}


@pytest.mark.parametrize("case", NPY)
def test_broken_npy(refuse, case):
    refuse(*NPY[case], read=read_array)


FILES = {
    "pickle": PICKLE,
    "protocol 2": (DATA / "network_protocol2.pkl").read_bytes(),
    "zip": ZIP,
    "legacy": LEGACY,
    "safetensors": safetensors(a=row(0, 8, [2]), b=row(8, 24, [2, 4], "F16")),
}


@pytest.mark.parametrize("kind", FILES)
def test_truncated(refuse, kind):
    """Cut anywhere, a file is refused: no network comes out short."""
    raw = FILES[kind]
    for length in {*range(1, len(raw), len(raw) // 60), len(raw) - 1}:
        refuse(raw[:length], "")


@pytest.mark.parametrize("kind", [*FILES, "npy"])
def test_damaged(tmp_path, kind):
    """Bytes changed at random: a refusal in one line or a reading, nothing else, whichever byte it was."""
    raw = FILES.get(kind) or npy(np.zeros((3, 4)))
    draws = np.random.RandomState(0)
    path = tmp_path / "damaged"
    outcomes = set()
    for position in draws.choice(len(raw), min(len(raw), 200), replace=False):
        path.write_bytes(raw[:position] + bytes([raw[position] ^ draws.randint(1, 256)]) + raw[position + 1 :])
        try:
            result = read_array(path) if kind == "npy" else read_checkpoint(path, "G")
            assert isinstance(result, np.ndarray if kind == "npy" else Checkpoint)
        except InputError as error:
            assert str(error).startswith(f"{path}: ") and str(error).isprintable()
            result = None
        outcomes.add(result is None)
    assert True in outcomes
