import collections
import functools
import json
import pathlib

import jax
import numpy as np
import pytest
import recipe
from PIL import Image

from panojax import camera as cameras
from panojax.data.sources import (
    Photo,
    PhotoSource,
    SampleConfig,
    StoredPhoto,
    balance_photos,
    draw_heads,
    draw_samples,
    list_photos,
    read_photo,
)
from panojax.errors import InputError
from panojax.generators.generator import render_heads
from panojax.nn.stylegan2 import pool

LABEL = np.asarray(cameras.look_at(0.3, 0.1))


pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture
def folder(tmp_path):
    """Ten pictures of 32 px with alpha, each with its own camera; none is its own mirror image."""
    labels = []
    for i in range(10):
        rgba = np.uint8(255 * recipe.uniform(f"sources/{i}", (32, 32, 4)))
        name = f"{i % 2:05d}/img{i:08d}.png"
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(rgba).save(tmp_path / name)
        labels.append([name, np.asarray(cameras.look_at(0.05 * i)).tolist()])
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}))
    return tmp_path


def take(source, n):
    return [next(source) for _ in range(n)]


def test_parts_are_disjoint_and_do_not_depend_on_other_pictures(folder):
    train, validation = (list_photos([folder], part=part, held_out=0.4) for part in ("train", "validation"))
    assert {p.path for p in train} | {p.path for p in validation} == {p.path for p in list_photos([folder])}
    assert len(train) + len(validation) == 10 and train and validation
    entries = json.loads((folder / "dataset.json").read_text())["labels"]
    (folder / "dataset.json").write_text(json.dumps({"labels": entries[5:]}))
    assert {p.path for p in list_photos([folder], part="validation", held_out=0.4)} <= {p.path for p in validation}


def test_a_picture_lies_on_white_and_is_pooled(folder):
    photo = list_photos([folder])[0]
    rgba = np.asarray(Image.open(photo.path), np.float64)
    on_white = (rgba[..., :3] * rgba[..., 3:] / 255 + 255 - rgba[..., 3:]) / 127.5 - 1
    expected = on_white.reshape(16, 2, 16, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(read_photo(photo, 16), expected, atol=1e-5)


def test_masks_of_a_folder(folder):
    for photo in list_photos([folder]):
        mask = folder / "masks" / photo.path.relative_to(folder)
        mask.parent.mkdir(parents=True, exist_ok=True)
        half = np.zeros((32, 32), np.uint8)
        half[:, 16:] = 255
        Image.fromarray(half).save(mask)
    image = read_photo(list_photos([folder], masks="masks")[0], 32)
    assert np.all(image[:, :16] == 1)
    assert np.mean(image[:, 16:] == 1) < 0.1


def test_masks_come_with_batches_where_they_are_asked_for(folder):
    """Of alpha, pooled and mirrored as the picture is; where there is none, all but the white from the border."""
    photos = list_photos([folder])
    (plain,), (masked,) = (take(PhotoSource(photos, 10, 16, seed=2, masks=masks), 1) for masks in (False, True))
    assert plain.keys() == {"image", "camera"} and masked.keys() == {"image", "camera", "mask"}
    for name in plain:
        np.testing.assert_array_equal(plain[name], masked[name])
    alphas = [np.asarray(Image.open(p.path))[..., 3].reshape(16, 2, 16, 2).mean((1, 3)) / 255 for p in photos]
    either = np.array([*alphas, *(alpha[:, ::-1] for alpha in alphas)])
    for mask in masked["mask"][..., 0]:
        assert np.abs(either - mask).max((1, 2)).min() < 1e-5
    opaque = np.full((32, 32, 3), 255, np.uint8)
    opaque[8:, 8:24] = 40
    Image.fromarray(opaque).save(folder / "opaque.png")
    (batch,) = take(PhotoSource([Photo(folder / "opaque.png", None, tuple(LABEL.tolist()))], 1, 16, masks=True), 1)
    np.testing.assert_array_equal(batch["mask"][0, ..., 0], opaque[::2, ::2, 0] < 255)


def test_each_turn_shows_every_picture_once_in_another_order(folder):
    photos = list_photos([folder])
    batches = take(PhotoSource(photos, 5, 16, mirror=False), 4)
    yaws = np.concatenate([batch["camera"][:, 3] for batch in batches]).reshape(2, 10)
    assert len(set(yaws[0])) == len(set(yaws[1])) == 10
    assert np.any(yaws[0] != yaws[1])


def test_mirrored_pictures_have_mirrored_cameras(folder):
    photos = list_photos([folder])
    plain, mirrored = (take(PhotoSource(photos, 10, 32, mirror=mirror), 2) for mirror in (False, True))
    flipped = 0
    for before, after in zip(plain, mirrored):
        for i in range(10):
            if np.array_equal(before["image"][i], after["image"][i]):
                np.testing.assert_array_equal(before["camera"][i], after["camera"][i])
            else:
                np.testing.assert_array_equal(before["image"][i][:, ::-1], after["image"][i])
                np.testing.assert_allclose(cameras.mirror(before["camera"][i]), after["camera"][i])
                flipped += 1
    assert 4 <= flipped <= 16


def test_other_views_are_of_the_same_head_and_mirrored_alike():
    """Three heads, of which one has one picture only; a picture's colour tells its camera."""
    photos = []
    for count in (3, 2, 1):
        head: list[StoredPhoto] = []
        for _ in range(count):
            n = len(photos)
            pixels = np.full((4, 4, 4), 40 * n, np.uint8)
            pixels[:, :2] += 20
            head.append(StoredPhoto(pixels, np.asarray(cameras.look_at(0.1 + n / 10)), head))
            photos.append(head[-1])
    plain, batch = (take(PhotoSource(photos, 60, 4, seed=1, others=others), 1)[0] for others in (False, True))
    assert batch.keys() == plain.keys() | {"other_image", "other_camera"}
    for name in plain:
        np.testing.assert_array_equal(batch[name], plain[name])

    def which(image, label):
        mirrored = image[0, 0, 0] < image[0, -1, 0]
        n = round(float(image.min() + 1) * 127.5 / 40)
        seen = cameras.mirror(photos[n].label) if mirrored else photos[n].label
        np.testing.assert_allclose(label, seen, atol=1e-6)
        return n, mirrored

    pairs = collections.Counter()
    for k in range(60):
        first, flipped = which(batch["image"][k], batch["camera"][k])
        second, too = which(batch["other_image"][k], batch["other_camera"][k])
        assert flipped == too
        pairs[first, second] += 1
    assert set(pairs) == {(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1), (3, 4), (4, 3), (5, 5)}


def test_processes_share_the_batch_and_state_continues(folder):
    photos = list_photos([folder])
    whole = PhotoSource(photos, 4, 16, seed=3)
    halves = [PhotoSource(photos, 4, 16, seed=3, processes=(i, 2)) for i in range(2)]
    for batch in take(whole, 3):
        parts = [next(half) for half in halves]
        np.testing.assert_array_equal(batch["image"], np.concatenate([part["image"] for part in parts]))
    assert whole.get_state() == {"position": 3}
    late = PhotoSource(photos, 4, 16, seed=3)
    next(late)
    late.set_state(json.loads(json.dumps(whole.get_state())))
    np.testing.assert_array_equal(next(late)["camera"], next(whole)["camera"])


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda f: (f / "dataset.json").unlink(), "must hold dataset.json"),
        (lambda f: (f / "dataset.json").write_text("{"), "must be JSON"),
        (lambda f: (f / "00000/img00000000.png").unlink(), "there is no"),
        (lambda f: (f / "dataset.json").write_text('{"labels": [["00000/img00000000.png", [1, 2]]]}'), "25 numbers"),
        (lambda f: (f / "dataset.json").write_text('{"labels": []}'), "no pictures in the all part"),
    ],
)
def test_broken_folders_are_named(folder, broken, message):
    broken(folder)
    with pytest.raises(InputError, match=message):
        list_photos([folder])


def test_broken_pictures_reach_the_caller(folder):
    (folder / "00000/img00000000.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match="picture"):
        take(PhotoSource(list_photos([folder]), 5, 16), 2)


def test_samples_are_what_the_generator_renders(generator):
    """One at a time or together, a key gives one sample; its picture is the rendering of its head."""
    config, variables = generator.config.generator, generator.generator
    options = SampleConfig(yaw_degrees=30.0)
    keys = jax.random.split(jax.random.key(7), 2)
    draw = jax.jit(draw_samples, static_argnums=(0, 3))
    drawn, alone = draw(config, variables, keys, options), draw(config, variables, keys[1:], options)
    np.testing.assert_allclose(drawn["camera"][1], alone["camera"][0], atol=1e-6)
    np.testing.assert_allclose(drawn["image"][1], alone["image"][0], atol=1e-4)
    latents = jax.vmap(lambda key: jax.random.split(key)[0])(keys)
    heads = jax.jit(draw_heads, static_argnums=(0, 3))(config, variables, latents, options)
    again = jax.jit(render_heads, static_argnums=0)(config, variables, heads, drawn["camera"])
    np.testing.assert_allclose(drawn["image"], np.clip(again.image, -1, 1), atol=1e-4)
    masked = jax.jit(functools.partial(draw_samples, masks=True), static_argnums=(0, 3))(
        config, variables, keys, options
    )
    np.testing.assert_allclose(masked["image"], drawn["image"], atol=1e-4)
    np.testing.assert_allclose(masked["mask"], np.clip(pool(again.mask, 128), 0, 1), atol=1e-4)
    yaws = np.arctan2(drawn["camera"][:, 3], drawn["camera"][:, 11])
    assert np.all(np.abs(yaws) < np.radians(30.1))
    assert abs(yaws[0] - yaws[1]) > 1e-3


def test_rare_yaws_are_shown_more_often():
    front, side = (tuple(np.asarray(cameras.look_at(yaw)).tolist()) for yaw in (0.02, 1.0))
    photos = [Photo(pathlib.Path(f"{i}.png"), None, front if i < 9 else side) for i in range(10)]
    names = collections.Counter(photo.path.name for photo in balance_photos(photos, 4.0))
    assert names == {f"{i}.png": 1 for i in range(9)} | {"9.png": 4}
    assert balance_photos(photos, 1.0) == photos
