import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from panojax.data.__main__ import main
from panojax.data.builders import make_records
from panojax.data.eg3d_folder import FolderOptions
from panojax.data.prepare import prepare
from panojax.data.records import open_set
from panojax.errors import InputError


def options(folder, **changes):
    return FolderOptions(folder, "toy", **({"size": 32, "test_share": 0} | changes))


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_same_bytes_every_time(folder, tmp_path):
    first, second = (files(prepare(options(folder), tmp_path / name)) for name in ("a", "b"))
    assert first == second and any("array_record" in name for name in first)


def test_tfds_itself_reads_the_set_and_no_tensorflow_is_imported(folder, sets, tmp_path, monkeypatch):
    asked = []

    class Watch:
        def find_spec(self, name, path=None, target=None):
            asked.append(name)

    monkeypatch.setattr(sys, "meta_path", [Watch(), *sys.meta_path])
    target = prepare(options(folder, masks=folder.parent / "masks"), tmp_path / "sets")
    builder = tfds.builder_from_directory(target)
    assert builder.info.file_format.value == "array_record" and builder.info.splits["train"].num_examples == 24
    first = builder.as_data_source("train")[0]
    ours = open_set(target).sample(0, ("image", "mask", "camera", "name"))
    assert first["name"].decode() == ours["name"]
    for name in ("image", "mask", "camera"):
        np.testing.assert_array_equal(first[name], ours[name])
    assert not [name for name in (*asked, *sys.modules) if name.split(".")[0] == "tensorflow"]


def test_nothing_is_left_among_temporary_files(folder, tmp_path, monkeypatch):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    prepare(options(folder), tmp_path / "sets")
    assert not list(temporary.iterdir())


def test_a_set_is_not_written_twice(folder, tmp_path):
    prepare(options(folder), tmp_path)
    with pytest.raises(InputError, match="out must not hold this set yet"):
        prepare(options(folder), tmp_path)


def test_bad_names_and_kinds(folder, tmp_path):
    for name in ("", "a/b", "..", "ä"):
        with pytest.raises(InputError, match="name must be letters"):
            prepare(FolderOptions(folder, name, size=32), tmp_path)
    with pytest.raises(InputError, match="options must be"):
        prepare("ffhq", tmp_path)


def test_records_keep_the_order_of_items_and_are_made_lazily():
    made = []

    def records(item):
        made.append(item)
        yield f"{item}a", {}
        yield f"{item}b", {}

    stream = make_records(records, list(range(200)))
    assert next(stream) == ("0a", {}) and len(made) < 200
    assert [key for key, _ in stream] == ["0b", *(f"{i}{c}" for i in range(1, 200) for c in "ab")]


def test_an_error_in_a_record_leaves_no_set(folder, tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise RuntimeError("disk on fire")

    monkeypatch.setattr("panojax.data.pictures.encode", fail)
    with pytest.raises(RuntimeError, match="disk on fire"):
        prepare(options(folder), tmp_path / "sets")
    assert not list((tmp_path / "sets").rglob("dataset_info.json"))


def test_open_set_finds_the_one_set_and_refuses_none_or_two(folder, tmp_path):
    with pytest.raises(InputError, match="exactly one prepared set, got 0"):
        open_set(tmp_path / "sets")
    prepare(options(folder), tmp_path / "sets")
    assert len(open_set(tmp_path / "sets")) == 24
    with pytest.raises(InputError, match="split must be one of train, got 'test'"):
        open_set(tmp_path / "sets", "test")
    prepare(FolderOptions(folder, "other", size=32), tmp_path / "sets")
    with pytest.raises(InputError, match="exactly one prepared set, got 2"):
        open_set(tmp_path / "sets")


def test_cameras_come_in_the_order_of_records(faces):
    cameras = faces.cameras
    assert cameras.shape == (24, 25) and cameras.dtype == np.float32
    for i in (0, 11, 23):
        np.testing.assert_array_equal(cameras[i], faces.sample(i, ("camera",))["camera"])
    assert len(np.unique(cameras, axis=0)) == 24


def test_command_line(folder, tmp_path, capsys):
    arguments = ["eg3d-folder", "--source", str(folder), "--name", "toy", "--size", "32", "--out", str(tmp_path / "s")]
    assert main(arguments) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "s/eg3d_folder/toy/1.0.0")
    assert main(arguments) == 2
    assert capsys.readouterr().err.strip().startswith("error: out must not hold this set yet")


def test_command_line_prepares_heads_in_a_process_of_its_own(sets, tmp_path):
    source = sets["make_heads"](tmp_path / "raw")
    command = [sys.executable, "-m", "panojax.data", "heads", "--source", source, "--out", tmp_path / "sets"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(tmp_path / "sets/heads/heads/1.0.0")
    assert json.loads((tmp_path / "sets/heads/heads/1.0.0/metadata.json").read_text())["depth_steps"] == 8192


def test_beam_is_asked_for_when_it_is_missing(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    monkeypatch.setitem(sys.modules, "apache_beam.options.pipeline_options", None)
    with pytest.raises(InputError, match=r"by Beam needs apache-beam: pip install 'panojax\[beam\]'"):
        prepare(options(folder), tmp_path / "sets", beam=())


@pytest.mark.filterwarnings("default")  # Beam's own
def test_beam_writes_the_same_records(folder, tmp_path):
    pytest.importorskip("apache_beam")
    here = open_set(prepare(options(folder), tmp_path / "here"))
    there = open_set(prepare(options(folder), tmp_path / "there", beam=["runner=DirectRunner"]))
    wanted, got = (
        {s.sample(i, ("name",))["name"]: s.sample(i, s.fields) for i in range(len(s))} for s in (here, there)
    )
    assert wanted.keys() == got.keys() and len(got) == 24
    for name, sample in wanted.items():
        for field, value in sample.items():
            np.testing.assert_array_equal(value, got[name][field])
