"""Files of others: regular ones alone, sizes first."""

import io
import json
import os
import time
import zipfile

import numpy as np
import pytest

from panojax.disk.reading import check_tree, read_bytes, read_json, shown
from panojax.errors import InputError
from panojax.files.array_file import NpzFile, read_npz
from panojax.files.image_file import read_image


def special_files(folder):
    """{name: path} of what is no regular file."""
    os.mkfifo(folder / "fifo")
    (folder / "zero").symlink_to("/dev/zero")
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "folder").mkdir()
    (folder / "to_fifo").symlink_to(folder / "fifo")
    return [folder / name for name in ("fifo", "zero", "loop", "folder", "to_fifo", "none", "x" * 5000, "null\0")]


def test_special_files_are_refused_at_once(tmp_path):
    for path in special_files(tmp_path):
        start = time.perf_counter()
        for read in (lambda path: read_bytes(path, limit=100), read_json, read_image):
            with pytest.raises(InputError) as caught:
                read(path)
            assert len(str(caught.value)) < 600 and "\n" not in str(caught.value)
        assert time.perf_counter() - start < 1


def test_sizes_come_first(tmp_path):
    path = tmp_path / "large"
    path.touch()
    os.truncate(path, 2**40)  # takes no room
    with pytest.raises(InputError, match=f"at most 100 bytes, got {2**40}"):
        read_bytes(path, limit=100)
    with pytest.raises(InputError, match=r"source must be a readable file, got '.*large': expected a file of at most"):
        read_image(path)
    path.write_bytes(b"12345")
    assert read_bytes(path, limit=5) == b"12345"


def test_json_that_is_none(tmp_path):
    for content in (b"{", b"\xff\xfe", b"[" * 100_000, b"1" * 5000, b""):
        (tmp_path / "a.json").write_bytes(content)
        with pytest.raises(InputError, match="expected JSON, got none"):
            read_json(tmp_path / "a.json")


def test_trees_of_files_alone(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(b"12345")
    check_tree(tmp_path, limit=5)
    with pytest.raises(InputError, match="at most 4 bytes, got 5"):
        check_tree(tmp_path, limit=4)
    os.mkfifo(tmp_path / "a" / "c")
    with pytest.raises(InputError, match=r"got '.*/a/c', which is neither"):
        check_tree(tmp_path, limit=100)


def test_long_paths_are_cut():
    assert shown("a/b") == "'a/b'"
    assert len(shown("x" * 5000)) < 300 and shown("x" * 5000).endswith("(5000 characters)'")


def packed(arrays, packing=zipfile.ZIP_DEFLATED):
    """An .npz whose members are what is given."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", packing) as archive:
        for name, content in arrays.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def test_what_npz_holds_is_known_before_it_is_inflated():
    rng = np.random.default_rng(0)
    data = packed({"a.npy": npy(rng.random((3, 5))), "b.npy": npy(np.asfortranarray(rng.random((2, 3)).astype("f2")))})
    file = NpzFile(data)
    assert {name: (entry.shape, entry.dtype.name) for name, entry in file.entries.items()} == {
        "a": ((3, 5), "float64"),
        "b": ((2, 3), "float16"),
    }
    np.testing.assert_array_equal(file.read("a"), np.random.default_rng(0).random((3, 5)))
    assert file.read("b").flags.c_contiguous
    with pytest.raises(InputError, match="at most 10 bytes inflated, got 132"):
        read_npz(data, limit=10)


def test_traps_are_not_inflated():
    zeros = npy(np.zeros(2**23))  # 64 MB in 64 kB
    for packing in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with pytest.raises(InputError, match="a must be stored or deflated"):
            NpzFile(packed({"a.npy": zeros[:1000]}, packing))
    with pytest.raises(InputError, match="expected at most 64 times the file's"):
        NpzFile(packed({"a.npy": zeros}))
    with pytest.raises(InputError, match="a must be there once"), pytest.warns(UserWarning, match="Duplicate"):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for _ in range(2):
                archive.writestr("a.npy", npy(np.eye(2)))
        NpzFile(buffer.getvalue())


def test_an_array_that_is_longer_or_shorter_than_it_says():
    whole = npy(np.arange(100.0))
    for content in (whole[:-8], whole + bytes(8)):
        with pytest.raises(InputError, match="a must have 800 bytes, got more or fewer"):
            NpzFile(packed({"a.npy": content})).read("a")
    broken = bytearray(packed({"a.npy": whole}, zipfile.ZIP_STORED))
    broken[200] ^= 1
    with pytest.raises(InputError, match=r"broken \.npz file: Bad CRC-32"):
        NpzFile(bytes(broken)).read("a")


def test_json_is_read_as_it_was_written(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"ä": [1, None]}))
    assert read_json(tmp_path / "a.json") == {"ä": [1, None]}
