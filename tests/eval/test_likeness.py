"""Figures of likeness on real photos: which ones are measured, and how distances and colours are taken."""

import json
import math
import pathlib

import numpy as np
import pytest
import skimage.data
from PIL import Image

from panojax.errors import InputError
from panojax.eval import likeness
from panojax.eval.held_out_identity import distance
from panojax.photo.folder import list_photos, part_of


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(60):
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(folder / f"{i:02d}.png")
    return folder


def test_a_sixth_is_held_out_whatever_it_is_called(photos, tmp_path):
    parts = {part: list_photos([photos], part) for part in ("training", "held-out", "all")}
    assert sorted(parts["training"] + parts["held-out"]) == parts["all"] and len(parts["all"]) == 60
    assert 4 <= len(parts["held-out"]) <= 17  # ten, give or take
    lost = str(photos / "lost.png")  # of each part, so that it is named where it is left out
    assert lost in list_photos([photos, lost], "training") and lost in list_photos([photos, lost], "held-out")
    renamed = tmp_path / "another.png"
    renamed.write_bytes(pathlib.Path(parts["held-out"][0]).read_bytes())
    assert part_of(renamed) == "held-out"
    with pytest.raises(InputError, match="part must be"):
        list_photos([photos], "test")
    with pytest.raises(InputError, match="at least one photo of the part 'held-out'"):
        list_photos(parts["training"][:1], "held-out")


def test_medians_are_of_those_that_are_found():
    def line(*distances, hair=1.0, reference=True):
        return {"reference": reference, "distances": dict(zip(likeness.VIEWS, distances)), "hair": hair}

    found = likeness.summary(
        [
            line(0.2, 0.3, 0.5, math.nan, hair=2.0),
            line(0.4, 0.5, 0.7, 0.9, hair=math.nan),
            line(0.6, 0.1, 0.6, math.nan, hair=8.0),
            line(math.nan, math.nan, math.nan, math.nan, reference=False),
            {"refused": "no face"},
        ]
    )
    assert (found["photos"], found["refused"], found["without_face"]) == (5, 1, 1)
    assert found["views"]["own camera"] == {"median": 0.4, "same_person": pytest.approx(2 / 3), "faces_found": 1.0}
    assert found["views"]["-30"] == {"median": 0.9, "same_person": 0.0, "faces_found": pytest.approx(1 / 3)}
    assert found["hair"] == {"heads": 2, "median": 5.0}
    assert "| own camera | 0.400 | 67% | 100% |" in likeness.table({"model": "m", "part": "all", **found})


def test_distances():
    assert distance(np.array([0.0, 3.0]), np.array([4.0, 0.0])) == 5
    assert math.isnan(distance(None, np.zeros(2)))


def test_hair_colours(monkeypatch):
    """CIE76 of two greys is the difference of their L*; without hair behind there is no figure."""
    front, back = (np.full((32, 32, 3), value, np.float32) for value in (-1.0, 1.0))

    def segment(view, hair=0.5):
        chances = np.zeros((32, 32, 5), np.float32)
        chances[: int(32 * hair), :, likeness.PARTS.index("hair")] = 1
        return chances

    monkeypatch.setattr(likeness, "segment", segment)
    assert likeness.hair_difference([front, back]) == pytest.approx(100, abs=0.1)
    assert likeness.hair_difference([front, front]) == 0
    monkeypatch.setattr(likeness, "segment", lambda view: segment(view, 0.5 if view is front else 0.0))
    assert math.isnan(likeness.hair_difference([front, back]))


def test_a_run_goes_on_and_is_of_one_model(photos, tmp_path, monkeypatch, capsys):
    """What was measured is not measured again; another model needs another folder."""
    measured = []

    def measure_photo(params, identity, invert, photo):
        measured.append(photo)
        return {"reference": True, "distances": dict.fromkeys(likeness.VIEWS, 0.3), "hair": 1.0, "yaw": 0.0}, []

    monkeypatch.setattr(likeness, "HeldOutIdentity", lambda: None)
    monkeypatch.setattr(likeness, "measure_photo", measure_photo)
    out = tmp_path / "out"
    arguments = [str(photos), "--out", str(out), "--part", "all", "--limit"]
    assert likeness.main([*arguments, "3"]) == 0 and len(measured) == 3
    assert likeness.main([*arguments, "5"]) == 0 and len(measured) == 5
    assert json.loads((out / "likeness.json").read_text())["photos"] == 5
    assert "5 photos (all)" in capsys.readouterr().out
    settings = json.loads((out / "settings.json").read_text())
    (out / "settings.json").write_text(json.dumps({**settings, "weights": "others"}))
    assert likeness.main([*arguments, "5"]) == 2
    assert "out must be new or hold results of the same settings" in capsys.readouterr().err


def test_dlib_knows_one_person_again():
    pytest.importorskip("dlib", reason="dlib and its models, 135 MB, are not among the test packages")
    from panojax.eval.held_out_identity import HeldOutIdentity

    identity, photo = HeldOutIdentity(), skimage.data.astronaut()[:300, 80:380]
    one, again = identity(photo), identity(np.ascontiguousarray(photo[4:, ::-1]))
    assert one.shape == (128,) and 0 < distance(one, again) < 0.5
    assert identity(np.full((64, 64, 3), 128, np.uint8)) is None
    with pytest.raises(InputError, match="picture must be uint8"):
        identity(photo / 255)
