"""Prepared sets as the encoder training's photos."""

import dataclasses
import itertools
import json

import numpy as np
import pytest

from panojax.data.augment import AugmentConfig, photos
from panojax.data.balance import label_yaw
from panojax.data.eg3d_folder import FolderOptions
from panojax.data.heads_set import HeadsOptions
from panojax.data.prepare import prepare
from panojax.data.prepared import open_prepared
from panojax.errors import InputError
from panojax.train.encoder import feed
from panojax.train.encoder.feed import is_prepared, open_source
from panojax.train.encoder.presets import tiny
from panojax.train.generator.gan_data import read_pictures


@pytest.fixture(scope="module")
def prepared(sets, tmp_path_factory):
    """Folders of two sets: 24 faces, half of them held out, and heads."""
    root = tmp_path_factory.mktemp("prepared")
    raw = sets["make_folder"](root / "raw")
    faces = FolderOptions(raw, "faces", masks=raw.parent / "masks", size=32, test_share=0.5)
    return prepare(faces, root / "sets"), prepare(HeadsOptions(sets["make_heads"](root / "heads")), root / "sets")


def take(source, count):
    return list(itertools.islice(source, count))


def assert_same(got, wanted):
    for ours, theirs in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(ours["image"], theirs["image"])
        np.testing.assert_array_equal(ours["camera"], theirs["camera"])


def test_batches_are_on_white_and_go_on_where_they_stopped(prepared):
    def open_train():
        return open_prepared(prepared, 4, 32, part="train", seed=1, max_copies=3.0)

    source = open_train()
    first = take(source, 3)
    assert first[0]["image"].shape == (4, 32, 32, 3) and first[0]["camera"].shape == (4, 25)
    corners = np.concatenate([batch["image"] for batch in first])[:, 0, 0]
    np.testing.assert_array_equal(corners, 1)
    masked = take(open_prepared(prepared, 4, 32, part="train", seed=1, max_copies=3.0, masks=True), 3)
    assert_same(masked, first)
    masks = np.concatenate([batch["mask"] for batch in masked])
    assert masks.shape == (12, 32, 32, 1) and masks.min() == 0 and masks.max() == 1
    np.testing.assert_array_equal(np.concatenate([b["image"] for b in masked])[masks[..., 0] == 0], 1)
    state = json.loads(json.dumps(source.get_state()))
    again = open_train()
    again.set_state(state)
    assert_same(take(again, 4), take(source, 4))


def test_validation_is_held_out_and_in_order(prepared):
    train, held_out = (
        {float(min(image[16, 8, 0], image[16, -9, 0])) for batch in batches for image in batch["image"]}
        for batches in (
            take(open_prepared(prepared[:1], 4, 32, part="train"), 12),
            take(open_prepared(prepared[:1], 1, 32, part="validation", mirror=False), 24),
        )
    )
    assert train and held_out and not train & held_out
    two = (take(open_prepared(prepared[:1], 2, 32, part="validation", mirror=False), 3) for _ in range(2))
    assert_same(*two)


def test_processes_share_the_batches(prepared):
    whole = take(open_prepared(prepared[:1], 4, 32, part="train", mirror=False), 3)
    halves = [
        take(open_prepared(prepared[:1], 4, 32, part="train", mirror=False, processes=(i, 2)), 3) for i in range(2)
    ]
    for step, batch in enumerate(whole):
        cameras = np.concatenate([half[step]["camera"] for half in halves])
        assert sorted(map(tuple, cameras)) == sorted(map(tuple, batch["camera"]))


def test_the_training_command_takes_either_kind_of_folder(prepared, folder):
    class Frozen:
        class config:
            encoder = tiny().encoder

    assert [is_prepared(path) for path in (*prepared, folder)] == [True, True, False]
    run = dataclasses.replace(tiny(), data=(str(prepared[0]),), batch=2)
    assert next(open_source(run, Frozen, "validation"))["image"].shape == (2, 64, 64, 3)
    with pytest.raises(InputError, match=r"data must be prepared sets, .* not several kinds"):
        open_source(dataclasses.replace(run, data=(str(prepared[0]), str(folder))), Frozen, "train")


def test_heads_are_taken_as_they_were_written(sets, tmp_path):
    """From memory, each picture once a turn, on white; with masks where pictures are augmented."""

    class Frozen:
        class config:
            encoder = tiny().encoder

    raw = sets["make_heads"](tmp_path / "heads")
    pictures = read_pictures([raw], 64)
    run = dataclasses.replace(tiny(), data=(str(raw),), batch=len(pictures), mirror=False, augment=photos())
    (batch,) = take(open_source(run, Frozen, "train"), 1)
    assert batch["image"].shape == (len(pictures), 64, 64, 3) and batch["mask"].shape == (len(pictures), 64, 64, 1)
    stored = pictures.pixels[..., :3].astype(np.float32) / 127.5 - 1
    order, expected = (np.argsort(list(map(np.sum, images.astype(np.float64)))) for images in (batch["image"], stored))
    wanted = pictures.pixels[expected].astype(np.float32)
    np.testing.assert_array_equal(batch["camera"][order], pictures.labels[expected])
    np.testing.assert_allclose(batch["image"][order], wanted[..., :3] / 127.5 - 1, atol=1e-6)
    np.testing.assert_allclose(batch["mask"][order], wanted[..., 3:] / 255, atol=1e-6)
    (plain,) = take(open_source(dataclasses.replace(run, augment=AugmentConfig()), Frozen, "train"), 1)
    assert plain.keys() == {"image", "camera"}
    views = dataclasses.replace(run, augment=AugmentConfig(), step=dataclasses.replace(run.step, view_weight=1.0))
    both = next(open_source(views, Frozen, "train"))
    heads = [
        pictures.identities[[np.argmin(np.abs(pictures.labels - label).sum(1)) for label in both[name]]]
        for name in ("camera", "other_camera")
    ]
    np.testing.assert_array_equal(*heads)
    assert np.abs(both["camera"] - both["other_camera"]).max(1).min() > 1e-3
    np.testing.assert_array_equal(both["image"], plain["image"])
    mirrored = next(open_source(dataclasses.replace(run, mirror=True), Frozen, "train"))
    flipped = np.abs(mirrored["camera"] - batch["camera"]).max(1) > 1e-6
    assert 0 < np.mean(flipped) < 1
    for name in ("image", "mask"):
        np.testing.assert_array_equal(mirrored[name][flipped], batch[name][flipped][:, :, ::-1])
    yaws = np.abs(np.degrees(label_yaw(pictures.labels)))
    behind = dataclasses.replace(pictures, labels=pictures.labels[yaws > 30], pixels=pictures.pixels[yaws > 30])
    middle = float(np.median(yaws)) + 1e-3
    near = next(open_source(dataclasses.replace(run, max_yaw=middle), Frozen, "train"))
    assert np.abs(np.degrees(label_yaw(near["camera"]))).max() <= middle < yaws.max()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feed, "read_pictures", lambda *arguments, **options: behind)
        with pytest.raises(InputError, match=r"within max_yaw 30\.0 degrees in its train split"):
            open_source(dataclasses.replace(run, max_yaw=30.0), Frozen, "train")
    with pytest.raises(InputError, match="needs folders of `panojax heads`"):
        open_source(dataclasses.replace(views, data=(str(tmp_path),)), Frozen, "train")
    with pytest.raises(InputError, match="not several kinds"):
        open_source(dataclasses.replace(run, data=(str(raw), str(tmp_path))), Frozen, "train")


def test_bad_sets_are_named(prepared, sets, tmp_path):
    plain = prepare(FolderOptions(sets["make_folder"](tmp_path / "raw", masks=False), "plain", size=32), tmp_path / "s")
    with pytest.raises(InputError, match=f"masks in all sets or in none, got none in {plain}"):
        open_prepared([prepared[0], plain], 2, 32, part="train")
    with pytest.raises(InputError, match="multiple of the 2 processes, got 3"):
        open_prepared(prepared, 3, 32, part="train", processes=(0, 2))
    with pytest.raises(InputError, match="exactly one prepared set"):
        open_prepared([tmp_path / "none"], 2, 32, part="train")
