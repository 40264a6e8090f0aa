"""A folder of results appears as a whole or not at all."""

import os

import pytest

from panojax.commands.output_folder import output_folder
from panojax.errors import InputError


def everything(folder):
    """Paths of all files and folders, with the files' text."""
    paths = sorted(folder.rglob("*"))
    return {str(path.relative_to(folder)): path.read_text() if path.is_file() else None for path in paths}


def fill(out, **options):
    with output_folder(out, **options) as folder:
        (folder / "a.txt").write_text("new a")
        (folder / "b.txt").write_text("new b")
        assert not (out / "b.txt").exists()


def test_makes_the_folder_and_those_above(tmp_path):
    fill(tmp_path / "x" / "y")
    assert everything(tmp_path) == {"x": None, "x/y": None, "x/y/a.txt": "new a", "x/y/b.txt": "new b"}


def test_fills_an_empty_folder_and_the_current_one(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with output_folder(".") as folder:
        (folder / "a.txt").write_text("new a")
    assert everything(tmp_path) == {"empty": None, "empty/a.txt": "new a"}


def test_a_failure_leaves_nothing(tmp_path):
    with pytest.raises(KeyError), output_folder(tmp_path / "x" / "y") as folder:
        (folder / "a.txt").write_text("half")
        raise KeyError
    assert everything(tmp_path) == {}


def test_refuses_a_folder_with_files_before_any_work(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="--overwrite"), output_folder(tmp_path):
        pytest.fail("the block ran")
    assert everything(tmp_path) == {"mine.txt": "mine"}


def test_overwrites_files_of_the_same_names_alone(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.txt").write_text("old a")
    (out / "mine.txt").write_text("mine")
    fill(out, overwrite=True)
    assert everything(out) == {"a.txt": "new a", "b.txt": "new b", "mine.txt": "mine"}
    with pytest.raises(KeyError), output_folder(out, overwrite=True) as folder:
        (folder / "a.txt").write_text("half")
        raise KeyError
    assert everything(tmp_path) == {
        "out": None,
        "out/a.txt": "new a",
        "out/b.txt": "new b",
        "out/mine.txt": "mine",
    }


def test_a_folder_in_the_way_stops_all(tmp_path):
    (tmp_path / "b.txt").mkdir()
    with pytest.raises(InputError, match=r"got b\.txt"), output_folder(tmp_path, overwrite=True) as folder:
        (folder / "a.txt").write_text("new a")
        (folder / "b.txt").write_text("new b")
    assert everything(tmp_path) == {"b.txt": None}


def test_refuses_files_in_the_way(tmp_path):
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="out must be"), output_folder(out):
            pytest.fail("the block ran")
    assert everything(tmp_path) == {"file": "mine"}


def test_a_full_disk_is_bad_input(tmp_path):
    with pytest.raises(InputError, match="No space left"), output_folder(tmp_path / "out"):
        raise OSError(28, os.strerror(28))
    assert everything(tmp_path) == {}
