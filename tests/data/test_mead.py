import csv
import json
import math

import numpy as np
import pytest
from PIL import Image

from panojax.data import mead
from panojax.data.balance import label_yaw
from panojax.data.mead import MeadOptions, plan
from panojax.data.prepare import prepare
from panojax.data.records import open_set
from panojax.errors import InputError

VIEWS = ("front", "left_30", "left_60", "right_30", "right_60", "top", "down")


@pytest.fixture
def rows(tmp_path, sets):
    """Two subjects, two frames, seven cameras, in MEAD's folders."""
    made = []
    for subject in ("M003", "W009"):
        for place, view in enumerate(VIEWS):
            for frame in ("happy/level_1/001/0001", "happy/level_1/001/0002"):
                path = tmp_path / "raw" / subject / view / f"{frame}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(sets["picture"](place)).save(path)
                relative = path.relative_to(tmp_path / "raw").as_posix()
                made.append({"subject": subject, "camera": view, "frame": frame, "path": relative})
    return made


def write_csv(path, rows, columns=mead.COLUMNS):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


def options(path, **changes):
    return MeadOptions(path, **({"size": 32} | changes))


def problems(path, **changes):
    with pytest.raises(InputError) as caught:
        plan(options(path, **changes))
    return str(caught.value)


def test_frames_of_a_moment_are_found_by_subject_and_frame(rows, tmp_path):
    write_csv(tmp_path / "raw/manifest.csv", rows)
    records = open_set(prepare(options(tmp_path / "raw"), tmp_path / "sets"), "test")
    samples = [records.sample(i, ("image", "camera", "subject", "view", "frame")) for i in range(len(records))]
    assert len(samples) == 28
    moment = {s["view"]: s for s in samples if (s["subject"], s["frame"]) == ("M003", "happy/level_1/001/0001")}
    assert set(moment) == set(VIEWS)
    for view, degrees in {"front": 0, "left_30": 30, "left_60": 60, "right_30": -30, "right_60": -60}.items():
        assert moment[view]["image"][0, 0, 0] == 8 * VIEWS.index(view)
        assert math.degrees(label_yaw(moment[view]["camera"][None])[0]) == pytest.approx(degrees, abs=1e-3)
    heights = {view: moment[view]["camera"][7] / 2.7 for view in ("top", "front", "down")}
    assert heights == pytest.approx({"top": 0.5, "front": 0, "down": -0.5}, abs=1e-5)  # sines of 30, 0, -30 degrees


def test_subjects_are_not_split(rows, tmp_path):
    write_csv(tmp_path / "raw/m.csv", rows)
    seen = set()
    for seed in range(8):
        by_split = plan(options(tmp_path / "raw/m.csv", test_share=0.5, split_seed=seed)).splits
        subjects = [name for items in by_split.values() for name in {dict(item.fields)["subject"] for item in items}]
        assert sorted(subjects) == ["M003", "W009"]
        seen.add(len(by_split))
    assert seen == {1, 2}


def test_labels_come_from_json_rows_from_a_dataset_json_or_from_degrees(rows, sets, tmp_path):
    known = sets["label"](0.7)
    manifest = tmp_path / "raw/manifest.json"
    manifest.write_text(json.dumps([rows[0] | {"label": known}, rows[1] | {"camera": -45}]))
    first, second = plan(options(manifest)).splits["test"]
    assert first.label == pytest.approx(known) and first.name == rows[0]["path"]
    assert math.degrees(label_yaw(np.array(second.label)[None])[0]) == pytest.approx(-45, abs=1e-3)
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": [[row["path"], known] for row in rows[:4]]}))
    write_csv(tmp_path / "raw/m.csv", rows[:4])
    items = plan(options(tmp_path / "raw/m.csv", labels=tmp_path / "dataset.json")).splits["test"]
    assert all(item.label == pytest.approx(known) for item in items)
    write_csv(tmp_path / "raw/m.csv", rows[:5])
    assert f"{rows[4]['path']} has no label in" in problems(tmp_path / "raw/m.csv", labels=tmp_path / "dataset.json")


def test_left_can_be_the_other_side():
    for view in ("left_60", "right_60"):
        ours, theirs = (mead.nominal_label(view, left) for left in ("positive", "negative"))
        np.testing.assert_allclose(label_yaw(ours[None]), -label_yaw(theirs[None]), atol=1e-6)
    np.testing.assert_array_equal(mead.nominal_label("top", "positive"), mead.nominal_label("top", "negative"))


def test_all_problems_of_a_manifest_are_told_at_once(rows, tmp_path):
    bad = [dict(row) for row in rows]
    bad[0]["camera"] = "behind"
    bad[1]["subject"] = ""
    bad[2]["path"] = "/etc/picture.png"
    bad[3]["path"] = bad[4]["path"]
    bad[5]["path"] = "gone.png"
    Image.new("RGB", (64, 36)).save(tmp_path / "raw" / bad[6]["path"])
    message = problems(write_csv(tmp_path / "raw/m.csv", bad))
    for words in (
        "got 6 problems",
        "camera must be one of front, left_30",
        "got 'behind'",
        "row 2 must have subject",
        "/etc/picture.png leads out",
        "is there twice",
        "gone.png is missing",
        "must be square, got 64 x 36",
    ):
        assert words in message, message


def test_manifests_that_are_none(rows, tmp_path):
    assert "manifest.csv" in problems(tmp_path)
    assert "lacks frame" in problems(write_csv(tmp_path / "raw/m.csv", rows, ("subject", "camera", "path")))
    (tmp_path / "m.json").write_text('{"rows": []}')
    assert "list of objects" in problems(tmp_path / "m.json")
    (tmp_path / "m.csv").write_bytes(b"\xff\xfe\x00\x81")
    assert "source must be a manifest" in problems(tmp_path / "m.csv")
