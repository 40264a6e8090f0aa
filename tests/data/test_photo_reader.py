import json
import shutil

import numpy as np
import pytest
import recipe
from PIL import Image

from panojax import camera as cameras
from panojax.data.photo_reader import Photo, PhotoReader, list_photos, open_photos, read_photo
from panojax.errors import InputError

LABEL = np.asarray(cameras.look_at(0.3, 0.1))


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


@pytest.mark.parametrize(("masks", "name"), [("masks", "img"), (".", "mask")])
def test_masks_of_a_folder_or_beside_the_pictures(folder, masks, name):
    for photo in list_photos([folder]):
        relative = photo.path.relative_to(folder)
        mask = folder / masks / relative.with_name(relative.name.replace("img", name))
        mask.parent.mkdir(parents=True, exist_ok=True)
        half = np.zeros((32, 32), np.uint8)
        half[:, 16:] = 255
        Image.fromarray(half).save(mask)
    image = read_photo(list_photos([folder], masks=masks)[0], 32)
    assert np.all(image[:, :16] == 1)
    assert np.mean(image[:, 16:] == 1) < 0.1
    mask.unlink()
    with pytest.raises(InputError, match=f"masks must hold a mask of every picture, .* has none of {relative}"):
        list_photos([folder], masks=masks)


def test_samples_have_their_mask_where_there_is_one(folder):
    """Of alpha; a photo without one has none, which is an error where it is needed."""
    reader = open_photos(folder)
    assert len(reader) == 10 and reader.cameras.shape == (10, 25) and len(set(reader.heads)) == 10
    for row, photo in enumerate(reader.photos):
        rgba = np.asarray(Image.open(photo.path))
        sample = reader[row]
        np.testing.assert_array_equal(sample["image"], rgba[..., :3])
        np.testing.assert_array_equal(sample["mask"], rgba[..., 3:])
        np.testing.assert_array_equal(sample["camera"], np.float32(photo.label))
    Image.fromarray(rgba[..., :3]).save(folder / "opaque.png")
    opaque = Photo(folder / "opaque.png", None, tuple(LABEL.tolist()))
    assert PhotoReader([opaque])[0].keys() == {"image", "camera", "head"}
    with pytest.raises(InputError, match=r"opaque\.png must have a mask"):
        PhotoReader([opaque], need_masks=True).sample(0, ("image",))


def test_a_reader_is_told_by_its_photos_wherever_they_lie(folder, tmp_path_factory):
    moved = tmp_path_factory.mktemp("moved") / "photos"
    shutil.copytree(folder, moved)
    assert repr(open_photos(moved)) == repr(open_photos(folder))
    assert repr(PhotoReader(open_photos(folder).photos[1:])) != repr(open_photos(folder))


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
        open_photos(folder)[0]
