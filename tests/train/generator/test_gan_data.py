"""Reading pictures for the generator's training, and the batches made of them."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from panojax import camera
from panojax.devices.sharding import data_mesh
from panojax.errors import InputError
from panojax.synthetic.cameras import camera_label
from panojax.synthetic.render import View
from panojax.synthetic.splits import split_of
from panojax.synthetic.storage import write_identity
from panojax.train.generator import gan_data as generator_data
from panojax.train.generator.gan_data import Pictures, back_copies, read_pictures
from panojax.train.generator.gan_feed import PictureFeed

RNG = np.random.default_rng(0)


def write_heads(folder, numbers, *, views=3, size=8):
    """Identities of random pictures; their RGBA by number."""
    folder.mkdir(exist_ok=True)
    stored = {}
    for number in numbers:
        rgba = RNG.integers(0, 256, (views, size, size, 4), dtype=np.uint8)
        rgba[:, 0, 0, 3], rgba[:, 0, 1, 3] = 0, 255
        labels = np.stack([camera_label(2 * np.pi * i / views, 0.1) for i in range(views)])
        empty = np.zeros((size, size), np.uint16)
        write_identity(folder / f"{number:06d}.zip", {}, labels, [View(x, empty, empty.astype(np.uint8)) for x in rgba])
        stored[number] = rgba
    return stored


def test_heads_are_read_on_white_and_reduced(tmp_path):
    stored = write_heads(tmp_path / "heads", range(30))
    trained = [number for number in stored if split_of(number) == "train"]
    assert len(trained) < 30
    pictures = read_pictures([tmp_path / "heads"], 4)
    assert len(pictures) == 3 * len(trained)
    np.testing.assert_array_equal(pictures.identities, np.repeat(np.arange(len(trained)), 3))
    rgba = np.concatenate([stored[number] for number in trained]).astype(np.float64)
    alpha = rgba[..., 3:] / 255
    composed = np.concatenate([rgba[..., :3] * alpha + 255 * (1 - alpha), rgba[..., 3:]], axis=-1)
    expected = composed.reshape(-1, 4, 2, 4, 2, 4).mean(axis=(2, 4))
    assert np.abs(pictures.pixels - expected).max() <= 1  # rounded twice: composed, averaged
    assert pictures.labels.shape == (len(pictures), 25)
    np.testing.assert_allclose(pictures.labels[1], camera_label(2 * np.pi / 3, 0.1), atol=1e-6)


def test_processes_read_the_same(tmp_path, monkeypatch):
    write_heads(tmp_path / "heads", range(12))
    pictures = read_pictures([tmp_path / "heads"], 4)
    monkeypatch.setattr(generator_data, "MANY", 0)
    again = read_pictures([tmp_path / "heads"], 4, workers=1)
    np.testing.assert_array_equal(again.pixels, pictures.pixels)
    np.testing.assert_array_equal(again.labels, pictures.labels)
    (tmp_path / "heads" / "000001.zip").write_bytes(b"no zip")
    with pytest.raises(InputError, match=r"000001\.zip"):
        read_pictures([tmp_path / "heads"], 4, workers=1)


def test_depths_come_with_heads_alone(tmp_path, pictures):
    """Of the nearest pixel, mirrored with the picture, in world units; mirrored heads have other numbers."""
    number = next(n for n in range(100) if split_of(n) == "train")
    write_heads(tmp_path / "heads", [number], views=1)
    read = read_pictures([tmp_path / "heads"], 4, depth=True)
    assert read.depths.shape == (1, 4, 4)
    depths = RNG.integers(0, 2**15, (10, 4, 4), dtype=np.uint16)
    feed = PictureFeed(dataclasses.replace(pictures, depths=depths), 8, data_mesh())
    rows, mirrored = feed.choose(0)
    batch = feed(0)
    for i, row in enumerate(rows):
        expected = depths[row, :, ::-1] if mirrored[i] else depths[row]
        np.testing.assert_allclose(batch["depth"][i, ..., 0], expected / 8192, rtol=1e-6)
        assert batch["identity"][i] == row + 10 * mirrored[i]
    write_photos(tmp_path / "photos", ["a.png"])
    with pytest.raises(InputError, match="which have depths"):
        read_pictures([tmp_path / "photos"], 16, depth=True)


def write_photos(folder, names, *, alpha=True, mask=False):
    (folder / "masks").mkdir(parents=True)
    labels = []
    for i, name in enumerate(names):
        rgba = RNG.integers(0, 256, (16, 16, 4), dtype=np.uint8)
        rgba[0, 0, 3] = 0
        Image.fromarray(rgba if alpha else rgba[..., :3]).save(folder / name)
        if mask:
            Image.fromarray(rgba[..., 3]).save(folder / "masks" / name)
        labels.append([name, np.asarray(camera.look_at(0.1 * i)).tolist()])
    (folder / "dataset.json").write_text(json.dumps({"labels": labels}))


@pytest.mark.parametrize("mask", [False, True])
def test_photos_have_masks_in_alpha_or_in_files(tmp_path, mask):
    write_photos(tmp_path / "photos", ["b.png", "a.png"], alpha=not mask, mask=mask)
    pictures = read_pictures([tmp_path / "photos"], 16, masks="masks" if mask else None, background="kept")
    with Image.open(tmp_path / "photos" / "a.png") as image:
        np.testing.assert_array_equal(pictures.pixels[0, ..., :3], np.asarray(image)[..., :3])
    white = read_pictures([tmp_path / "photos"], 16, masks="masks" if mask else None)
    np.testing.assert_array_equal(white.pixels[..., 3], pictures.pixels[..., 3])
    assert (white.pixels[:, 0, 0] == [255, 255, 255, 0]).all()


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InputError, match="data must name at least one folder"):
        read_pictures([], 16)
    with pytest.raises(InputError, match="background must be one of white, kept"):
        read_pictures([tmp_path], 16, background="green")
    with pytest.raises(InputError, match=r"data folder must hold dataset\.json"):
        read_pictures([tmp_path / "none"], 16)
    write_photos(tmp_path / "photos", ["a.png"], alpha=False)
    with pytest.raises(InputError, match=r"a\.png must have a mask"):
        read_pictures([tmp_path / "photos"], 16)
    test_only = next(n for n in range(100) if split_of(n) == "test")
    write_heads(tmp_path / "heads", [test_only])
    with pytest.raises(InputError, match="no heads in its train split"):
        read_pictures([tmp_path / "heads"], 16)
    (tmp_path / "heads" / f"{test_only:06d}.zip").write_bytes(b"PK")
    with pytest.raises(InputError, match="must be an identity"):
        read_pictures([tmp_path / "heads"], 16, part="test")


@pytest.fixture
def pictures():
    """Ten pictures that are told by their first pixel, seen from all around."""
    pixels = RNG.integers(0, 256, (10, 4, 4, 4), dtype=np.uint8)
    pixels[:, :, 0, 0], pixels[:, :, -1, 0] = np.arange(10)[:, None], 100
    labels = np.stack([camera_label(2 * np.pi * i / 10, 0.0) for i in range(10)]).astype(np.float32)
    return Pictures(pixels, labels, np.arange(10, dtype=np.int32))


def test_backs_are_repeated(pictures):
    """Yaws 0, 36, ..., 324: those of 108, 144, 180, 216 and 252 degrees are behind."""
    np.testing.assert_array_equal(back_copies(pictures.labels, 4), [1, 1, 1, 4, 4, 4, 4, 4, 1, 1])
    np.testing.assert_array_equal(back_copies(pictures.labels, 4, degrees=170), [1] * 5 + [4] + [1] * 4)


@pytest.mark.parametrize("on_device", [True, False])
def test_batches_are_what_was_chosen(pictures, on_device):
    feed = PictureFeed(pictures, 4, data_mesh(), seed=3, on_device=on_device)
    for step in (0, 7):
        rows, mirrored = feed.choose(step)
        batch = feed(step)
        for i in range(4):
            pixels, label = pictures.pixels[rows[i]], pictures.labels[rows[i]]
            if mirrored[i]:
                pixels, label = pixels[:, ::-1], np.asarray(camera.mirror(label))
            np.testing.assert_allclose(batch["image"][i], pixels[..., :3] / 127.5 - 1, atol=1e-6)
            np.testing.assert_allclose(batch["mask"][i], pixels[..., 3:] / 255, atol=1e-6)
            np.testing.assert_array_equal(batch["camera"][i], label)
        both = np.concatenate([pictures.labels, np.asarray(camera.mirror(pictures.labels))])
        assert all((both == pose).all(axis=1).any() for pose in np.asarray(batch["pose"]))


def test_an_epoch_shows_each_picture_and_its_mirror_image_as_often_as_it_should(pictures):
    copies = back_copies(pictures.labels, 4)
    feed = PictureFeed(pictures, 5, data_mesh(), copies=copies)
    steps = 2 * copies.sum() // 5
    for epoch in range(2):
        chosen = [feed.choose(epoch * steps + step) for step in range(steps)]
        rows, mirrored = (np.concatenate(x) for x in zip(*chosen))
        for side in (False, True):
            np.testing.assert_array_equal(np.bincount(rows[mirrored == side], minlength=10), copies)
    assert not np.array_equal(feed.choose(0)[0], feed.choose(steps)[0])
    plain = PictureFeed(pictures, 5, data_mesh(), mirror=False)
    assert not any(plain.choose(step)[1].any() for step in range(4))


def test_batches_depend_on_seed_and_step_alone(pictures):
    first, again, other = (PictureFeed(pictures, 4, data_mesh(), seed=seed) for seed in (1, 1, 2))
    first(0)
    np.testing.assert_array_equal(first(5)["pose"], again(5)["pose"])
    np.testing.assert_array_equal(first(5)["image"], again(5)["image"])
    assert not np.array_equal(first(5)["pose"], other(5)["pose"])


def test_a_batch_must_divide_among_devices(pictures):
    with pytest.raises(InputError, match="batch must be a positive multiple"):
        PictureFeed(pictures, 0, data_mesh())
