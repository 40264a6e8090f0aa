"""The part segmenter's training, on pictures whose parts are stripes."""

import numpy as np
import pytest

from panojax.editing.parts import PARTS, SIDE
from panojax.errors import InputError
from panojax.nn.graph import load
from panojax.synthetic import storage
from panojax.synthetic.render import View
from panojax.synthetic.scene import PARTS as LABELS
from panojax.train import parts
from panojax.train.parts import PartsConfig

COLOURS = {"skin": (200, 150, 120), "hair": (40, 20, 10), "eyes": (255, 255, 255), "clothes": (20, 60, 200)}


def striped(folder, number, split, size=SIDE):
    """An identity of two views: hair, eyes, skin and clothes from top to bottom, nothing on the sides."""
    rgba, labels = np.zeros((size, size, 4), np.uint8), np.zeros((size, size), np.uint8)
    inside, quarter = slice(size // 8, -size // 8), size // 4
    for row, name in enumerate(("hair", "eyes", "skin", "clothes")):
        where = slice(row * quarter, (row + 1) * quarter), inside
        rgba[where] = *COLOURS[name], 255
        labels[where] = LABELS.index(name)
    view = View(rgba, np.zeros((size, size), np.uint16), labels)
    path = storage.identity_path(folder, number)
    storage.write_identity(path, {"number": number, "split": split}, np.zeros((2, 25)), [view, view])


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    folder = tmp_path_factory.mktemp("heads")
    for number, split in enumerate(("train", "train", "test")):
        striped(folder, number, split)
    return folder


def test_stripes_are_learned(heads, tmp_path, monkeypatch, capsys):
    """In a few steps, by the command line; the file holds the network whose scores it prints.

    Skin and background take more steps: there are all colours behind the heads.
    """
    out = tmp_path / "parts.npz"
    options = ["--views", "1", "--steps", "40", "--batch", "2", "--widths", "8", "8", "--learning-rate", "0.02"]
    monkeypatch.setattr("sys.argv", ["parts", "--heads", str(heads), "--out", str(out), *options])
    assert parts.main() == 0
    printed = capsys.readouterr().out.split("identities: ")[1].split(", ")
    scores = {name: float(value) for name, value in (entry.split() for entry in printed)}
    assert list(scores) == list(PARTS) and min(scores[name] for name in ("hair", "eyes", "clothes")) > 0.5, scores
    with open(out, "rb") as file:
        network = load(file)
    again = parts.score(network, *parts.read_pictures(heads, "test", 1), seed=0)
    assert again == pytest.approx(scores, abs=0.02)
    assert parts.main() == 2
    assert "out must not exist yet" in capsys.readouterr().err


def test_pictures_are_pooled_and_merged(tmp_path):
    """Of twice the side: means of colours, labels of the segmenter; brows count as skin."""
    striped(tmp_path, 0, "train", 2 * SIDE)
    pictures, labels = parts.read_pictures(tmp_path, "train", 2)
    assert pictures.shape == (2, SIDE, SIDE, 4) and labels.shape == (2, SIDE, SIDE)
    assert [PARTS[labels[0, row, 64]] for row in (0, 40, 70, 127)] == ["hair", "eyes", "skin", "clothes"]
    np.testing.assert_array_equal(pictures[0, 0, 64], (*COLOURS["hair"], 255))
    assert not pictures[:, :, 0].any() and not labels[:, :, 0].any()
    assert [PARTS[i] for i in parts.MERGED] == [*PARTS, "skin", "skin", "skin", "clothes", "skin"]


def test_scores_by_counting(monkeypatch):
    found = np.zeros((1, SIDE, SIDE, 5), np.float32)
    found[:, :, :64, 1] = 1  # skin on the left half, background on the right
    monkeypatch.setattr(parts, "logits", lambda *_: found)
    truth = np.zeros((1, SIDE, SIDE), np.uint8)
    truth[:, :32, :64] = 1
    truth[:, 32:, 64:] = 2
    network = parts.init_network((4, 4), 0)
    scores = parts.score(network, np.zeros((1, SIDE, SIDE, 4), np.uint8), truth, seed=0)
    expected = {"background": 32 * 64 / (128 * 128 - 32 * 64), "skin": 32 / 128, "hair": 0.0}
    assert {name: scores[name] for name in expected} == pytest.approx(expected)
    assert np.isnan(scores["eyes"])


def test_bad_input_is_named(heads, tmp_path):
    with pytest.raises(InputError, match="steps must be at least 1, got 0"):
        PartsConfig(heads, tmp_path / "a.npz", steps=0)
    with pytest.raises(InputError, match="widths must be two or more"):
        PartsConfig(heads, tmp_path / "a.npz", widths=(8,))
    with pytest.raises(InputError, match="heads must hold identities of the validation split"):
        parts.read_pictures(heads, "validation", 1)
    striped(tmp_path, 0, "train", 100)
    with pytest.raises(InputError, match="a multiple of 128 pixels, got 100"):
        parts.read_pictures(tmp_path, "train", 1)
