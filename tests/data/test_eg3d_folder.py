import json

import numpy as np
import pytest
from PIL import Image

from panojax.data import checks
from panojax.data.eg3d_folder import FolderOptions, plan
from panojax.data.prepare import prepare
from panojax.data.records import open_set
from panojax.errors import InputError


def options(folder, **changes):
    return FolderOptions(folder, "toy", **({"size": 32} | changes))


def edit(folder, change):
    """Changes the labels of dataset.json in place."""
    content = json.loads((folder / "dataset.json").read_text())
    change(content["labels"])
    (folder / "dataset.json").write_text(json.dumps(content))


def problems(folder, **changes):
    with pytest.raises(InputError) as caught:
        plan(options(folder, **changes))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_records_hold_the_pictures_masks_and_labels(folder, sets, tmp_path):
    source = folder
    target = prepare(options(source, masks=source.parent / "masks", test_share=0.25), tmp_path / "sets")
    labels = dict(json.loads((source / "dataset.json").read_text())["labels"])
    seen = set()
    for split in ("train", "test"):
        records = open_set(target, split)
        assert records.fields == ("camera", "image", "mask", "name") and len(records) > 0
        for i in range(len(records)):
            sample = records.sample(i, records.fields)
            with Image.open(source / sample["name"]) as image:
                np.testing.assert_array_equal(sample["image"], np.asarray(image))
            np.testing.assert_array_equal(sample["mask"][..., 0], sets["disc"]())
            np.testing.assert_array_equal(sample["camera"], np.array(labels[sample["name"]], np.float32))
            seen.add(sample["name"])
    assert seen == set(labels)


def test_pictures_are_stored_at_the_size_asked(sets, tmp_path):
    source = sets["make_folder"](tmp_path / "raw", 3, masks=False, side=64)
    records = open_set(prepare(options(source, size=16, encoding="jpeg", test_share=0), tmp_path / "sets"))
    sample = records.sample(0, ("image", "name"))
    assert sample["image"].shape == (16, 16, 3)
    number = int(sample["name"][-12:-4]) // 2
    assert abs(int(sample["image"][8, 2, 0]) - 8 * number) < 4 and "mask" not in records.fields


def test_mirrored_copies_stay_with_their_originals_or_are_left_out(folder, sets):
    sets["add_mirrored"](folder)
    splits = plan(options(folder, test_share=0.5)).splits
    numbers = {split: {int(item.name[-12:-4]) for item in items} for split, items in splits.items()}
    assert len(numbers["train"]) + len(numbers["test"]) == 48
    for members in numbers.values():
        assert {n ^ 1 for n in members} == members
    kept = plan(options(folder, test_share=0.5, drop_mirrored=True)).splits
    assert {s: {int(item.name[-12:-4]) for item in items} for s, items in kept.items()} == {
        split: {n for n in members if n % 2 == 0} for split, members in numbers.items()
    }


def test_masks_may_lie_beside_the_pictures_as_panojax_align_writes_them(sets, tmp_path):
    labels = []
    for i in range(3):
        Image.fromarray(sets["picture"](i)).save(tmp_path / f"img{i:08d}.png")
        Image.fromarray(sets["disc"]()).save(tmp_path / f"mask{i:08d}.png")
        labels.append([f"img{i:08d}.png", sets["label"](0.1 * i)])
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}))
    items = plan(options(tmp_path, masks=tmp_path, test_share=0)).splits["train"]
    assert [item.mask.name for item in items] == [f"mask{i:08d}.png" for i in range(3)]


def test_pictures_from_behind_and_how_they_were_aligned_are_counted(sets, tmp_path, capsys):
    labels = []
    for i, (yaw, method) in enumerate(((0.2, "face mesh"), (2.0, "head pose network"), (-3.0, "head pose network"))):
        Image.fromarray(sets["picture"](i)).save(tmp_path / f"img{i:08d}.png")
        (tmp_path / f"img{i:08d}.json").write_text(json.dumps({"report": {"method": method}}))
        labels.append([f"img{i:08d}.png", sets["label"](yaw)])
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}))
    prepare(options(tmp_path, test_share=0), tmp_path / "sets")
    told = "3 pictures, 2 from behind, 2 aligned by the head pose network"
    assert capsys.readouterr().err.strip() == told
    (tmp_path / "img00000001.json").write_text("{")
    (tmp_path / "img00000002.json").unlink()
    assert plan(options(tmp_path, test_share=0)).told == "3 pictures, 2 from behind"


def test_all_problems_are_told_at_once_and_nothing_is_written(folder, tmp_path):
    (folder / "00000/img00000000.png").unlink()
    (folder / "00000/img00000002.png").write_bytes(b"nothing")
    (folder.parent / "masks/00000/img00000004.png").unlink()
    Image.new("RGB", (32, 32)).save(folder / "00000/extra.png")

    def damage(labels):
        labels[3][1] = labels[3][1][:24]
        labels[4][1][7] = float("nan")
        labels[5][1] = None
        labels[6][0] = "../img.png"
        labels.append(["00000/img00000014.png", labels[7][1]])
        labels.append("nonsense")

    edit(folder, damage)
    with pytest.raises(InputError) as caught:
        prepare(options(folder, masks=folder.parent / "masks"), tmp_path / "sets")
    message = str(caught.value)
    for words in (
        "source must be free of errors, got 11 problems",
        "img00000006.png must be 25 numbers (16 extrinsics, then 9 intrinsics), got shape (24,)",
        "img00000008.png must be finite, got 1 NaN",
        "img00000010.png must be 25 numbers",
        "../img.png leads out of the folder",
        "img00000014.png has two labels",
        "entry nonsense is not [name, numbers]",
        "img00000012.png has no label",
        "extra.png has no label",
        "00000/img00000004.png has no mask",
        "img00000000.png is missing",
        "and 1 more",
    ):
        assert words in message, message
    assert not (tmp_path / "sets").exists()


def test_long_lists_of_problems_are_cut(folder):
    edit(folder, lambda labels: [row.__setitem__(1, row[1][:24]) for row in labels])
    message = problems(folder)
    assert "got 24 problems: the label of 00000/img00000000.png" in message
    assert message.count("must be 25 numbers") == checks.SHOWN and "; and 14 more" in message


def test_unlabelled_pictures_may_be_left_out(folder):
    edit(folder, lambda labels: labels.__delitem__(slice(0, 5)))
    assert "00000/img00000000.png has no label" in problems(folder)
    assert sum(map(len, plan(options(folder, skip_unlabelled=True)).splits.values())) == 19


def test_a_label_that_is_no_camera(folder):
    edit(folder, lambda labels: labels[0].__setitem__(1, [0.0] * 25))
    assert "img00000000.png must hold a rotation" in problems(folder)


@pytest.mark.parametrize("content", ["{", "[]", '{"labels": 3}', "{}"])
def test_a_dataset_json_that_is_none(folder, content):
    (folder / "dataset.json").write_text(content)
    assert problems(folder).startswith("dataset.json must be")


def test_no_folder_and_no_pictures(tmp_path):
    assert "dataset.json must be there" in problems(tmp_path / "gone")
    (tmp_path / "dataset.json").write_text('{"labels": []}')
    assert "at least one picture" in problems(tmp_path)


@pytest.mark.parametrize(
    "change, words",
    [({"size": 8}, "size must lie in"), ({"encoding": "gif"}, "encoding must be"), ({"test_share": 2}, "test_share")],
)
def test_options_that_make_no_set(folder, change, words):
    assert words in problems(folder, **change)
