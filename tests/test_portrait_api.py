"""`panojax.invert` of photos and of arrays: what Python gives is what the command gives."""

import dataclasses
import io
import re

import jax
import jax.numpy as jnp
import local_model
import numpy as np
import pytest
import skimage.data
from PIL import Image

import panojax
from panojax.camera import look_at
from panojax.commands.cli import main
from panojax.errors import InputError
from panojax.files.checkpoint import save
from panojax.photo import HEADS
from panojax.photo import align as crop


@pytest.fixture(scope="module")
def params():
    """A model of `heads` crops on white."""
    made = local_model.params()
    config = dataclasses.replace(made.config, framing="heads")
    config = dataclasses.replace(config, generator=dataclasses.replace(config.generator, white_back=True))
    return made.replace(config=config)


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photos") / "astronaut.png"
    Image.fromarray(skimage.data.astronaut()).save(path)
    return path


def assert_same(found, expected):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b)


def test_align_takes_framing_and_background_from_the_model(params, photo):
    aligned = panojax.align(params, photo)
    assert aligned.framing == HEADS and aligned.background == "white"
    assert aligned.image.shape == (128, 128, 3) and aligned.image[:2, :2].min() > 0.99
    kept = params.replace(config=dataclasses.replace(params.config, framing="panohead"))
    kept = dataclasses.replace(kept.config, generator=dataclasses.replace(params.config.generator, white_back=False))
    other = panojax.align(params.replace(config=kept), photo)
    assert other.background == "kept" and other.image[:2, :2].max() < 0.9
    assert other.report.crop_size < 0.9 * aligned.report.crop_size


def test_two_lines_of_python_give_the_command_s_head(params, photo, tmp_path):
    save(params, tmp_path / "model")
    arguments = ["invert", str(photo), "--checkpoint", str(tmp_path / "model"), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--video", "none"]) == 0
    loaded = panojax.load(tmp_path / "model")
    head = panojax.invert(loaded, photo)
    assert_same(head, panojax.load_head(tmp_path / "out" / "head.npz", loaded))
    # However the photo comes.
    for same in (str(photo), photo.read_bytes(), Image.open(photo), panojax.align(loaded, photo)):
        assert_same(panojax.invert(loaded, same), head)
    kept = crop(photo, framing=HEADS, size=128)
    assert_same(panojax.invert(loaded, kept), head)
    aligned = panojax.align(loaded, photo)
    assert_same(panojax.invert(loaded, aligned.image, aligned.camera), head)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.full((64, 64, 3), 200.0, np.float32), "image must be in .-1, 1., got 200 to 200: it looks like 0 to 255"),
        (np.full((64, 64, 3), np.nan, np.float32), "image must be finite, got NaN or infinity"),
        (np.full((64, 64, 3), -3.0, np.float32), "image must be in .-1, 1., got -3 to -3$"),
        (np.zeros((64, 64, 3), np.uint8), "image must be floats .* got uint8"),
        ([1, "a"], "image must be a photo or floats .S, S, 3. in .-1, 1., got a list"),
        ([[1.0, 2.0]], r"image must be \[S, S, 3\], got \(1, 2\)"),
        (object(), "image must be a photo or floats .* got a object"),
        (None, r"image must be (a photo|\[S, S, 3\])"),
        ("nowhere.jpg", "'nowhere.jpg', which does not exist"),
        (Image.new("RGB", (64, 64)), "photo must show a head"),
        (Image.new("RGB", (8, 8)), "at least 16 pixels"),
    ],
)
def test_what_is_no_portrait_is_refused_in_one_line(params, image, message):
    with pytest.raises(InputError, match=message) as caught:
        panojax.invert(params, image)
    assert "\n" not in str(caught.value)


def test_cameras_and_framings_of_others_are_refused(params, photo):
    image = jnp.zeros((64, 64, 3))
    with pytest.raises(InputError, match=r"camera must look at the head.*world-to-camera"):
        label = np.asarray(look_at(0.5)).copy()
        label[:16] = np.linalg.inv(label[:16].reshape(4, 4)).ravel()
        panojax.invert(params, image, label)
    with pytest.raises(InputError, match="camera must be None for a photo"):
        panojax.invert(params, photo, look_at(0.0))
    with pytest.raises(InputError, match=r"cropped as the model's training pictures were \(heads\), got .* panohead"):
        panojax.invert(params, crop(photo, size=128))


def test_lists_of_numbers_are_arrays(params):
    image = np.linspace(-1, 1, 16 * 16 * 3, dtype=np.float32).reshape(16, 16, 3)
    assert_same(panojax.invert(params, image.tolist()), panojax.invert(params, image))


def test_point_clouds_and_encoded_pictures(params, photo, tmp_path):
    head = panojax.invert(params, photo)
    cloud = panojax.point_cloud(params, head, 200, views=6, resolution=24)
    assert cloud.points.shape == cloud.normals.shape == cloud.colours.shape == (200, 3)
    assert np.abs(cloud.points).max() <= 0.5 and cloud.colours.dtype == np.uint8
    np.testing.assert_allclose(np.linalg.norm(cloud.normals, axis=1), 1, atol=1e-5)
    with pytest.raises(InputError, match="count must be 1 to 1000000 points, got 0"):
        panojax.point_cloud(params, head, 0)
    mesh = panojax.extract_mesh(params, head, resolution=16)
    panojax.write_mesh(mesh, tmp_path / "head.ply")
    panojax.write_image(tmp_path / "view.png", np.asarray(panojax.render(params, head, look_at(0.2)).image))
    assert Image.open(io.BytesIO((tmp_path / "view.png").read_bytes())).size == (128, 128)
    assert set(panojax.__all__) <= set(dir(panojax))
    assert re.fullmatch(r"\d+\.\d+\S*|source", panojax.__version__)
