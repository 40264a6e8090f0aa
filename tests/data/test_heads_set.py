import zipfile

import numpy as np
import pytest
from PIL import Image

from panojax.data.heads_set import HeadsOptions, plan
from panojax.data.prepare import prepare
from panojax.data.records import open_set
from panojax.errors import InputError
from panojax.synthetic import storage


@pytest.fixture
def heads(sets, tmp_path):
    return sets["make_heads"](tmp_path / "raw")


def problems(source, **changes):
    with pytest.raises(InputError) as caught:
        plan(HeadsOptions(source, **changes))
    return str(caught.value)


def test_records_hold_what_the_heads_reader_gives(heads, tmp_path):
    target = prepare(HeadsOptions(heads), tmp_path / "sets")
    assert target == tmp_path / "sets/heads/heads/1.0.0"
    counts = {}
    for split in ("train", "test"):
        records = open_set(target, split)
        counts[split] = len(records)
        for i in range(len(records)):
            sample = records.sample(i, records.fields)
            path, view = sample["name"].split("/")
            wanted = storage.read_identity(heads / path, [int(view[:3])])
            assert sample["identity"] == int(path[:6]) and (sample["identity"] == 27) == (split == "test")
            np.testing.assert_array_equal(np.dstack([sample["image"], sample["mask"]]), wanted.rgba[0])
            np.testing.assert_array_equal(sample["depth"][..., 0], wanted.depth[0])
            np.testing.assert_array_equal(sample["parts"][..., 0], wanted.parts[0])
            np.testing.assert_array_equal(sample["camera"], wanted.labels[0])
            assert sample["depth"].dtype == np.float32
    assert counts == {"train": 9, "test": 3}


def test_smaller_pictures(heads, tmp_path):
    records = open_set(prepare(HeadsOptions(heads, "small", size=16), tmp_path / "sets"))
    sample = records.sample(0, ("image", "mask", "depth", "name"))
    view = int(sample["name"][-7:-4])
    assert {name: sample[name].shape for name in ("image", "mask", "depth")} == {
        "image": (16, 16, 3),
        "mask": (16, 16, 1),
        "depth": (16, 16, 1),
    }
    steps = np.float32(np.round((2 + 0.1 * view) * 8192) / 8192)
    assert set(np.unique(sample["depth"])) == {np.float32(0), steps}


def rewrite(path, change):
    """Writes an identity's file again after `change` of {member: bytes}."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def test_all_problems_are_told_at_once(heads):
    rewrite(heads / "000000.zip", lambda members: members.pop("001_depth.png"))
    content = bytearray((heads / "000001.zip").read_bytes())
    content[content.index(b"IDAT") + 8] ^= 255
    (heads / "000001.zip").write_bytes(content)
    (heads / "000002.zip").write_bytes(b"cut")
    labels = storage.encode_array(np.full((3, 25), np.nan, np.float32))
    rewrite(heads / "000027.zip", lambda members: members.update({"labels.npy": labels}))
    message = problems(heads)
    for words in (
        "got 6 problems",
        "000000.zip/001_depth.png is missing",
        "000001.zip is damaged at",
        "000002.zip cannot be read",
        "000027.zip/002.png must be finite",
    ):
        assert words in message, message


def test_folders_that_are_no_finished_set(heads, tmp_path):
    assert "settings.json must be there" in problems(tmp_path / "gone")
    assert "size must be at most that of the heads, 32 pixels, got 64" in problems(heads, size=64)
    (heads / "dataset.json").unlink()
    assert "written when all heads are finished" in problems(heads)


def test_unzipped_views_open_as_pictures(heads, tmp_path):
    with zipfile.ZipFile(heads / "000000.zip") as archive:
        archive.extract("000.png", tmp_path)
    with Image.open(tmp_path / "000.png") as image:
        assert image.mode == "RGBA"
