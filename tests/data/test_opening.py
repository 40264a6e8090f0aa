"""Folders of all three kinds, opened alike."""

import numpy as np
import pytest

from panojax.data.balance import Resampled, label_yaw
from panojax.data.eg3d_folder import FolderOptions
from panojax.data.head_reader import HeadReader
from panojax.data.heads_set import HeadsOptions
from panojax.data.opening import (
    balance_photos,
    favour_front,
    has_other_views,
    keep_near,
    open_folder,
    open_folders,
    share_weights,
)
from panojax.data.photo_reader import PhotoReader
from panojax.data.pipeline import PipelineConfig, make_batches
from panojax.data.prepare import prepare
from panojax.data.records import RecordSet, is_prepared
from panojax.errors import InputError


@pytest.fixture(scope="module")
def folders(sets, tmp_path_factory):
    """The same pictures as they lie and prepared: photos, then heads."""
    root = tmp_path_factory.mktemp("folders")
    photos, heads = sets["make_folder"](root / "raw"), sets["make_heads"](root / "heads")
    (root / "raw" / "masks").rename(photos / "masks")
    faces = FolderOptions(photos, "faces", masks=photos / "masks", size=32, test_share=0.5)
    sets_of = prepare(faces, root / "sets"), prepare(HeadsOptions(heads), root / "sets")
    return {"photos": photos, "heads": heads, "prepared photos": sets_of[0], "prepared heads": sets_of[1]}


def test_each_kind_has_its_reader(folders):
    readers = {name: open_folder(folder, masks="masks") for name, folder in folders.items()}
    assert [type(reader) for reader in readers.values()] == [PhotoReader, HeadReader, RecordSet, RecordSet]
    assert [is_prepared(folder) for folder in folders.values()] == [False, False, True, True]
    assert [reader.backgrounds for reader in readers.values()] == [True, False, True, False]
    assert [has_other_views(reader) for reader in readers.values()] == [False, True, False, True]
    for reader in readers.values():
        assert {"image", "mask", "camera"} <= set(reader.fields)
        sample = reader[0]
        assert sample["image"].shape == (32, 32, 3) and sample["mask"].shape == (32, 32, 1)
        np.testing.assert_array_equal(sample["camera"], reader.cameras[0])
        assert len(reader.heads) == len(reader)


def test_prepared_and_unprepared_give_the_same_pictures(folders):
    """What was prepared is what was read, picture by picture."""
    for raw, prepared in (("heads", "prepared heads"), ("photos", "prepared photos")):
        reader, records = (open_folder(folders[name], masks="masks", held_out=0.0) for name in (raw, prepared))
        for row in range(len(records)):
            sample = records[row]
            apart = np.abs(reader.cameras - sample["camera"]).sum(1) + pictures_apart(reader, sample)
            twin = reader[int(np.argmin(apart))]
            for name in ("image", "mask", "camera"):
                np.testing.assert_array_equal(sample[name], twin[name])


def pictures_apart(reader, sample):
    return np.array([np.abs(np.int32(reader[row]["image"]) - sample["image"]).sum() for row in range(len(reader))])


def test_all_kinds_mix_in_one_pipeline(folders):
    readers = open_folders(list(folders.values()), masks="masks")
    fields = ("image", "mask", "camera", "head", "other_camera")
    options = PipelineConfig(batch_size=7, resolution=16, fields=fields, background=(255, 255, 255))
    batches = make_batches(readers, options, weights=share_weights(readers))
    count = sum(map(len, readers.values()))
    heads = np.concatenate([next(batches)["head"] for _ in range(-(-count // 7))])
    assert len(set(heads)) == sum(len(np.unique(reader.heads)) for reader in readers.values())


def test_validation_is_held_out(folders):
    for name in ("photos", "prepared photos"):
        train, held_out = (
            {tuple(row) for row in open_folder(folders[name], part=part, held_out=0.4).cameras}
            for part in ("train", "validation")
        )
        assert train and held_out and not train & held_out


def test_rare_yaws_of_photos_come_more_often_and_heads_once(folders):
    readers = open_folders([folders[name] for name in ("photos", "prepared heads", "prepared photos")], masks="masks")
    balanced = balance_photos(readers, 3.0)
    first, heads, second = balanced.values()
    assert isinstance(heads, RecordSet) and isinstance(first, Resampled) and isinstance(second, Resampled)
    for reader in (first, second):
        assert set(reader.indices) == set(range(len(reader.source))) and len(reader) > len(reader.source)
    counts = np.concatenate([np.bincount(reader.indices) for reader in (first, second)])
    yaws = np.abs(label_yaw(np.concatenate([reader.source.cameras for reader in (first, second)])))
    assert counts[yaws > 0.9].mean() > counts[yaws < 0.1].mean()
    assert balance_photos(readers, 1.0) == readers


def test_heads_from_farther_around_are_left_out(folders):
    readers = open_folders([folders["heads"], folders["prepared heads"]])
    near = keep_near(readers, 40.0)
    for name, reader in readers.items():
        inside = np.abs(np.degrees(label_yaw(reader.cameras))) <= 40
        assert 0 < inside.sum() < len(reader)
        np.testing.assert_array_equal(near[name].indices, np.flatnonzero(inside))
    assert keep_near(readers, 180.0) == readers
    reader = readers[str(folders["heads"])]
    turned = Resampled(reader, np.flatnonzero(label_yaw(reader.cameras) > 0.9))
    with pytest.raises(InputError, match=r"within max_yaw 30\.0 degrees, got none in turned"):
        keep_near({"turned": turned}, 30.0)


def test_the_front_of_heads_may_come_more_often(folders, monkeypatch):
    monkeypatch.setattr("panojax.data.opening.NEAR_DEGREES", 40.0)
    readers = {name: open_folder(folders[name], masks="masks") for name in ("photos", "heads")}
    favoured = favour_front(readers, 3)
    assert favoured["photos"] is readers["photos"]
    near = np.abs(np.degrees(label_yaw(readers["heads"].cameras))) <= 40
    assert 0 < near.mean() < 1
    np.testing.assert_array_equal(np.bincount(favoured["heads"].indices), np.where(near, 3, 1))
    assert favour_front(readers, 1) == readers


def test_bad_folders_are_named(folders, sets, tmp_path):
    with pytest.raises(InputError, match="data must name at least one folder, got none"):
        open_folders([])
    with pytest.raises(InputError, match="data must name each folder once"):
        open_folders([folders["heads"], folders["heads"]])
    with pytest.raises(InputError, match=r"data folder must hold dataset\.json"):
        open_folders([tmp_path / "none"])
    plain = prepare(FolderOptions(sets["make_folder"](tmp_path / "raw", masks=False), "plain", size=32), tmp_path / "s")
    with pytest.raises(InputError, match=f"masks in all sets or in none, got none in {plain}"):
        open_folders([folders["prepared photos"], plain])
    with pytest.raises(InputError, match=f"data must have masks, got a prepared set without any in {plain}"):
        open_folders([plain], need_masks=True)
    with pytest.raises(InputError, match=r"png must have a mask"):
        open_folders([tmp_path / "raw" / "pictures"], need_masks=True)[str(tmp_path / "raw" / "pictures")][0]
