import json

import numpy as np
import pytest

from panojax.errors import InputError
from panojax.synthetic import storage
from panojax.synthetic.cameras import camera_label
from panojax.synthetic.render import DEPTH_STEPS, View

SIZE = 20


def make_view(seed: int) -> View:
    rng = np.random.default_rng(seed)
    return View(
        rng.integers(0, 256, (SIZE, SIZE, 4), dtype=np.uint8),
        rng.integers(0, 2**16, (SIZE, SIZE), dtype=np.uint16),
        rng.integers(0, 8, (SIZE, SIZE), dtype=np.uint8),
    )


@pytest.fixture
def stored(tmp_path):
    views = [make_view(i) for i in range(3)]
    labels = np.stack([camera_label(0.5 * i, 0.1) for i in range(3)])
    path = storage.identity_path(tmp_path, 7)
    storage.write_identity(path, {"number": 7, "split": "train"}, labels, views)
    return path, labels, views


def test_round_trip(stored):
    path, labels, views = stored
    read = storage.read_identity(path)
    assert read.identity == {"number": 7, "split": "train", "views": 3, "size": SIZE}
    np.testing.assert_array_equal(read.labels, labels.astype(np.float32))
    for i, view in enumerate(views):
        np.testing.assert_array_equal(read.rgba[i], view.rgba)
        np.testing.assert_array_equal(np.round(read.depth[i] * DEPTH_STEPS), view.depth)
        np.testing.assert_array_equal(read.parts[i], view.parts)


def test_some_views(stored):
    path, labels, views = stored
    read = storage.read_identity(path, [2, 0])
    np.testing.assert_array_equal(read.rgba, [views[2].rgba, views[0].rgba])
    np.testing.assert_array_equal(read.labels, labels[[2, 0]].astype(np.float32))
    assert storage.read_identity(path, []).depth.shape == (0, SIZE, SIZE)
    with pytest.raises(InputError, match=r"views must lie in 0\.\.2"):
        storage.read_identity(path, [3])


def test_the_same_bytes_again(stored, tmp_path):
    path, labels, views = stored
    storage.write_identity(tmp_path / "again.zip", {"number": 7, "split": "train"}, labels, views)
    assert (tmp_path / "again.zip").read_bytes() == path.read_bytes()


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(storage.Path, "replace", lambda self, target: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        storage.write_bytes(tmp_path / "000001.zip", b"content")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x05\x06" + bytes(18)])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "000001.zip"
    path.write_bytes(content)
    with pytest.raises(InputError, match="must be an identity written by"):
        storage.read_identity(path)


def test_labels_must_match_views(tmp_path):
    with pytest.raises(InputError, match="got 1 for 2 views"):
        storage.write_identity(tmp_path / "a.zip", {}, np.zeros((1, 25)), [make_view(0), make_view(1)])


def test_index_lists_every_view_with_its_label(stored):
    path, labels, _ = stored
    storage.write_index(path.parent)
    index = json.loads((path.parent / "dataset.json").read_text())
    assert [name for name, _ in index["labels"]] == ["000007.zip/000.png", "000007.zip/001.png", "000007.zip/002.png"]
    np.testing.assert_allclose([row for _, row in index["labels"]], labels, atol=1e-6)
    assert index["splits"] == {"000007": "train"}


def test_a_folder_belongs_to_one_set(tmp_path):
    storage.claim_folder(tmp_path / "set", {"seed": 1, "size": 256})
    storage.claim_folder(tmp_path / "set", {"seed": 1, "size": 256})
    with pytest.raises(InputError, match="size 256 there, 128 asked"):
        storage.claim_folder(tmp_path / "set", {"seed": 1, "size": 128})
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("mine")
    with pytest.raises(InputError, match="new or empty folder"):
        storage.claim_folder(tmp_path / "other", {"seed": 1})
