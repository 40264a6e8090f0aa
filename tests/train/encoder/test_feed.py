"""The encoders' photos, from folders of every kind."""

import dataclasses
import itertools
import json

import numpy as np
import pytest
from folders_of_pictures import make_folder, make_heads

from panojax.data.augment import AugmentConfig, photos
from panojax.data.balance import label_yaw
from panojax.data.eg3d_folder import FolderOptions
from panojax.data.head_reader import open_heads
from panojax.data.picture_store import WHITE, SizedPictures
from panojax.data.pictures import mirror_label
from panojax.data.prepare import prepare
from panojax.devices.sharding import data_mesh
from panojax.errors import InputError
from panojax.train.encoder.feed import Feed, open_source
from panojax.train.encoder.presets import tiny

# Apache Beam needs a protobuf that warns about what TFDS asks it.
pytestmark = pytest.mark.filterwarnings(r"ignore:label\(\) is deprecated:DeprecationWarning")


class Frozen:
    class config:
        encoder, generator = tiny().encoder, None


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    return make_heads(tmp_path_factory.mktemp("heads") / "heads")


def take(source, count):
    return list(itertools.islice(source, count))


def test_the_training_command_takes_every_kind_of_folder_and_mixes_them(heads, tmp_path):
    folder = make_folder(tmp_path / "raw")
    (folder.parent / "masks").rename(folder / "masks")
    options = FolderOptions(folder, "faces", masks=folder / "masks", size=32, test_share=0.5)
    prepared = prepare(options, tmp_path / "sets")
    run = dataclasses.replace(tiny(), batch=4, masks="masks", augment=photos())
    for data in ((prepared,), (folder,), (heads,), (prepared, folder, heads)):
        source = open_source(dataclasses.replace(run, data=tuple(map(str, data))), Frozen, "train")
        batch = next(source)
        assert {name: x.shape for name, x in batch.items()} == {
            "image": (4, 64, 64, 3),
            "camera": (4, 25),
            "mask": (4, 64, 64, 1),
        }
        np.testing.assert_array_equal(batch["mask"][:, 0, 0], 0)
        np.testing.assert_array_equal(batch["image"][:, 0, 0], 1)
        state = json.loads(json.dumps(source.get_state()))
        wanted = take(source, 2)
        again = open_source(dataclasses.replace(run, data=tuple(map(str, data))), Frozen, "train")
        again.set_state(state)
        for got, batch in zip(take(again, 2), wanted):
            for name in batch:
                np.testing.assert_array_equal(got[name], batch[name])
    assert next(open_source(dataclasses.replace(run, data=(str(prepared),)), Frozen, "validation")).keys() == {
        "image",
        "camera",
    }


def test_heads_are_taken_as_they_were_written(heads):
    """Each picture once a turn, on white; with masks where pictures are augmented."""
    reader = open_heads(heads)
    count = len(reader)
    pixels, _ = SizedPictures(reader, 64, WHITE).read(range(count))
    run = dataclasses.replace(tiny(), data=(str(heads),), batch=count, mirror=False, augment=photos())
    source = open_source(run, Frozen, "train")
    batch = next(source)
    order, expected = (
        np.argsort(x.reshape(count, -1).astype(np.float64).sum(1)) for x in (batch["image"], pixels[..., :3])
    )
    wanted = pixels[expected].astype(np.float32)
    np.testing.assert_array_equal(batch["camera"][order], reader.cameras[expected])
    np.testing.assert_allclose(batch["image"][order], wanted[..., :3] / 127.5 - 1, atol=1e-6)
    np.testing.assert_allclose(batch["mask"][order], wanted[..., 3:] / 255, atol=1e-6)
    plain = next(open_source(dataclasses.replace(run, augment=AugmentConfig()), Frozen, "train"))
    assert plain.keys() == {"image", "camera"}
    mirrored = next(open_source(dataclasses.replace(run, mirror=True), Frozen, "train"))
    flipped = np.abs(mirrored["camera"] - batch["camera"]).max(1) > 1e-6
    assert 0 < np.mean(flipped) < 1
    for name in ("image", "mask"):
        np.testing.assert_array_equal(mirrored[name][flipped], batch[name][flipped][:, :, ::-1])


def test_other_views_are_of_the_same_heads(heads):
    reader = open_heads(heads)
    run = dataclasses.replace(tiny(), data=(str(heads),), batch=len(reader), mirror=False)
    views = dataclasses.replace(run, step=dataclasses.replace(run.step, view_weight=1.0))
    plain, both = (next(open_source(config, Frozen, "train")) for config in (run, views))
    np.testing.assert_array_equal(both["image"], plain["image"])
    assert np.abs(both["camera"] - both["other_camera"]).max(1).min() > 1e-3
    pixels, _ = SizedPictures(reader, 64, WHITE).read(range(len(reader)))

    def heads_of(images):
        stored = pixels[..., :3].astype(np.float32) / 127.5 - 1
        return [reader.heads[np.argmin(np.abs(stored - image).sum((1, 2, 3)))] for image in images]

    assert heads_of(both["image"]) == heads_of(both["other_image"])


def test_heads_from_farther_around_are_left_out(heads):
    run = dataclasses.replace(tiny(), data=(str(heads),), batch=8)
    yaws = np.abs(np.degrees(label_yaw(open_heads(heads).cameras)))
    middle = float(np.median(yaws)) + 1e-3
    near = next(open_source(dataclasses.replace(run, max_yaw=middle), Frozen, "train"))
    assert np.abs(np.degrees(label_yaw(near["camera"]))).max() <= middle < yaws.max()


def test_what_cannot_be_fed_is_named(tmp_path):
    folder = make_folder(tmp_path / "raw", masks=False)
    run = dataclasses.replace(tiny(), data=(str(folder),), batch=2)
    with pytest.raises(InputError, match="view_weight needs folders of `panojax heads`"):
        open_source(dataclasses.replace(run, step=dataclasses.replace(run.step, view_weight=1.0)), Frozen, "train")
    with pytest.raises(InputError, match=r"data folder must hold dataset\.json"):
        open_source(dataclasses.replace(run, data=(str(tmp_path),)), Frozen, "train")
    samples = dataclasses.replace(run, sample_ratio=1.0)
    assert open_source(samples, Frozen, "train") is None
    with pytest.raises(InputError, match=r"step\.view_weight needs photos in the batch"):
        open_source(dataclasses.replace(samples, step=dataclasses.replace(run.step, view_weight=1.0)), Frozen, "train")
    with pytest.raises(InputError, match="shares must be positive, one a data folder"):
        dataclasses.replace(run, shares=(1.0, 2.0))


def test_portraits_have_their_mirrored_picture_as_another_view(heads, tmp_path):
    """Weakly, the more the farther its camera is; heads have true ones, from all around, in the same light."""
    folder = make_folder(tmp_path / "raw")
    (folder.parent / "masks").rename(folder / "masks")
    step = dataclasses.replace(tiny().step, view_weight=1.0, mirror_weight=0.5)
    light = AugmentConfig(light=1.0, exposure=0.1, both_views=True)
    options = {"data": (str(heads), str(folder)), "shares": (1.0, 3.0), "masks": "masks", "augment": light}
    run = dataclasses.replace(tiny(), batch=16, step=step, mirror=False, **options)
    source = open_source(run, Frozen, "train")
    photos = next(source)
    source.set_state(source.get_state() | {"position": 0})
    own, wanted = np.asarray(photos["camera"])[:8], np.asarray(photos["other_camera"])[:8]
    alone = np.all(own == wanted, axis=1)
    assert alone.sum() == 6  # three of four
    batch = Feed(run, Frozen, data_mesh(), source)(0)
    other = batch["other"]
    assert other.keys() == {"image", "camera", "weight"}
    np.testing.assert_allclose(other["camera"], np.where(alone[:, None], mirror_label(own), wanted), atol=1e-6)
    np.testing.assert_allclose(other["image"][alone], batch["image"][:8][alone][:, :, ::-1], atol=1e-5)
    assert np.abs(batch["image"][:8] - photos["image"][:8]).max((1, 2, 3)).min() > 1e-4  # all are lit
    # The values of a grey pixel in the person's middle grow by one factor.
    lit = [np.asarray(x)[~alone][:, 32, 28] + 1 for x in (batch["image"][:8], other["image"])]
    before = [x[:8][~alone][:, 32, 28] + 1 for x in (photos["image"], photos["other_image"])]
    np.testing.assert_allclose(lit[0] * before[1], lit[1] * before[0], atol=1e-4)
    places = [x[alone][:, [3, 7, 11]] for x in (own, np.asarray(other["camera"]))]
    cosines = np.sum(places[0] * places[1], 1) / np.prod([np.linalg.norm(x, axis=1) for x in places], 0)
    expected = 0.5 * np.minimum(np.arccos(np.clip(cosines, -1, 1)), 1)
    np.testing.assert_allclose(other["weight"][alone], expected, atol=2e-3)
    np.testing.assert_array_equal(other["weight"][~alone], 1)
