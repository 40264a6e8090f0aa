"""The generator's pictures, from folders of every kind, and the batches made of them on devices."""

import dataclasses
import types

import numpy as np
import pytest
from folders_of_pictures import make_folder, make_heads

from panojax import camera
from panojax.data.eg3d_folder import FolderOptions
from panojax.data.head_reader import open_heads
from panojax.data.heads_set import HeadsOptions
from panojax.data.opening import open_folders
from panojax.data.picture_store import WHITE, SizedPictures
from panojax.data.prepare import prepare
from panojax.devices.sharding import data_mesh
from panojax.errors import InputError
from panojax.train.generator.gan_feed import open_feed
from panojax.train.generator.gan_presets import tiny

# Apache Beam needs a protobuf that warns about what TFDS asks it.
pytestmark = pytest.mark.filterwarnings(r"ignore:label\(\) is deprecated:DeprecationWarning")

SIZE = tiny().discriminator.resolution


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """Heads of random pixels, seen from around."""
    return make_heads(tmp_path_factory.mktemp("heads") / "heads", numbers=tuple(range(5)), views=4)


def run(*data, **options):
    return dataclasses.replace(tiny(), data=tuple(map(str, data)), batch=8, **options)


@pytest.mark.parametrize("where", ["yes", "no", "disk"])
@pytest.mark.parametrize("stage", ["gan", "fit"])
def test_batches_are_the_heads_pictures(heads, where, stage):
    """Bytes to numbers, mirrored with their cameras and depths; mirrored heads have other numbers."""
    options = {"data_on_device": "no", "cache_gigabytes": 0.0} if where == "disk" else {"data_on_device": where}
    feed = open_feed(run(heads, seed=3, stage=stage, **options), data_mesh())
    assert (feed.stored is not None) == (where == "yes")
    reader = open_heads(heads)
    pixels, depths = SizedPictures(reader, SIZE, WHITE, depth=True).read(range(len(reader)))
    assert feed.heads == len(reader.paths)
    for step in (0, 7):
        batch = feed(step)
        assert ("depth" in batch) == (stage == "fit")
        for i in range(8):
            head, mirrored = int(batch["identity"][i]) % feed.heads, int(batch["identity"][i]) >= feed.heads
            label = np.asarray(camera.mirror(batch["camera"][i])) if mirrored else np.asarray(batch["camera"][i])
            (row,) = np.flatnonzero((reader.heads == head) & (reader.cameras == label).all(1))
            turn = slice(None, None, -1 if mirrored else 1)
            np.testing.assert_allclose(batch["image"][i], pixels[row][:, turn, :3] / 127.5 - 1, atol=1e-6)
            np.testing.assert_allclose(batch["mask"][i], pixels[row][:, turn, 3:] / 255, atol=1e-6)
            if stage == "fit":
                np.testing.assert_allclose(batch["depth"][i, ..., 0], depths[row][:, turn] / 8192, rtol=1e-6)
        both = np.concatenate([reader.cameras, np.asarray(camera.mirror(reader.cameras))])
        poses = np.concatenate([batch["pose"], *np.moveaxis(batch["more_poses"], 1, 0)])
        assert all((both == pose).all(axis=1).any() for pose in poses)


def test_where_pictures_lie_changes_nothing_and_steps_may_come_in_any_order(heads):
    feeds = [open_feed(run(heads, data_on_device=where), data_mesh()) for where in ("yes", "no")]
    feeds[0](0)
    first, second = feeds[0](5), feeds[1](5)
    for name in first:
        np.testing.assert_allclose(first[name], second[name], atol=1e-6)
    other = open_feed(run(heads, seed=1), data_mesh())(5)
    assert not np.array_equal(first["pose"], other["pose"])


def test_prepared_sets_and_photos_are_read_as_well(heads, tmp_path, capsys):
    """What `python -m panojax.data` wrote trains a generator, too."""
    folder = make_folder(tmp_path / "raw")
    masks = folder / "masks"
    (folder.parent / "masks").rename(masks)
    faces = prepare(FolderOptions(folder, "faces", masks=masks, size=32, test_share=0.25), tmp_path / "sets")
    prepared = prepare(HeadsOptions(heads), tmp_path / "sets")
    for data in ((faces,), (folder,), (prepared, faces, folder, heads)):
        batch = open_feed(run(*data, masks="masks"), data_mesh())(0)
        assert batch["image"].shape == (8, SIZE, SIZE, 3) and batch["mask"].shape == (8, SIZE, SIZE, 1)
        readers = open_folders(data, masks="masks", held_out=0.0).values()
        count, shown = sum(map(len, readers)), sum(len(np.unique(reader.heads)) for reader in readers)
        assert f"{count} pictures of {shown} heads, 0.00 GB, on the device" in capsys.readouterr().err
    same = [open_feed(run(data, stage="fit"), data_mesh()) for data in (heads, prepared)]
    assert same[0].heads == same[1].heads and same[1](0)["depth"].shape == (8, SIZE, SIZE, 1)


def test_backgrounds_of_photos_are_kept_where_that_is_asked_for(tmp_path):
    folder = make_folder(tmp_path / "raw")
    (folder.parent / "masks").rename(folder / "masks")
    model = dataclasses.replace(tiny().model, background=True)
    white, kept = (
        open_feed(run(folder, masks="masks", background=background, mirror=False, model=model), data_mesh())(0)
        for background in ("white", "kept")
    )
    np.testing.assert_array_equal(white["mask"], kept["mask"])
    outside = np.asarray(white["mask"])[..., 0] == 0
    np.testing.assert_allclose(np.asarray(white["image"])[outside], 1, atol=1e-6)
    assert (np.asarray(kept["image"])[outside] < 1).any()


def test_backs_come_more_often(heads, capsys):
    feed = open_feed(run(heads, back_repeat=3, back_degrees=60.0), data_mesh())
    told = capsys.readouterr().err
    reader = open_heads(heads)
    behind = np.abs(np.degrees(np.arctan2(reader.cameras[:, 3], reader.cameras[:, 11]))) > 60
    assert f"on the device; {behind.sum()} of them from behind, shown 3 times" in told
    cameras = np.concatenate([np.asarray(feed(step)["camera"]) for step in range(60)])
    seen = np.abs(np.degrees(np.arctan2(cameras[:, 3], cameras[:, 11]))) > 60
    assert seen.mean() == pytest.approx(3 * behind.sum() / (3 * behind.sum() + (~behind).sum()), abs=0.05)


def test_what_cannot_be_read_is_named(heads, tmp_path):
    with pytest.raises(InputError, match="data must name at least one folder"):
        open_feed(run(), data_mesh())
    folder = make_folder(tmp_path / "raw", masks=False)
    with pytest.raises(InputError, match=r"png must have a mask"):
        open_feed(run(folder), data_mesh())
    with pytest.raises(InputError, match="which have depths"):
        open_feed(run(folder, stage="fit"), data_mesh())
    with pytest.raises(InputError, match="batch must be a multiple of the 3 devices"):
        open_feed(run(heads), types.SimpleNamespace(size=3))
