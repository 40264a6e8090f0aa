import io

import numpy as np
import pytest
from PIL import Image

from panojax import camera
from panojax.data import pictures


def rng(seed=0):
    return np.random.default_rng(seed)


def test_compose_equals_the_formula_for_all_bytes():
    values, weights = np.meshgrid(np.arange(256), np.arange(256))
    image = np.stack([values] * 3, axis=-1).astype(np.uint8)
    mask = weights[..., None].astype(np.uint8)
    for colour in ((255, 255, 255), (0, 0, 0), (10, 77, 201)):
        share = mask.astype(np.float64) / 255
        wanted = np.floor(image * share + np.array(colour) * (1 - share) + 0.5)
        # Exactly half way cannot be told from just below it in floating point: none of 255's fractions are halves.
        np.testing.assert_array_equal(pictures.compose(image, mask, colour), wanted.astype(np.uint8))


def test_mirror_label_is_the_cameras_rule():
    labels = np.asarray(camera.look_at(rng().uniform(-3, 3, 7), rng(1).uniform(-1, 1, 7)))
    mirrored = pictures.mirror_label(labels)
    assert isinstance(mirrored, np.ndarray) and mirrored.dtype == np.float32
    np.testing.assert_array_equal(mirrored, np.asarray(camera.mirror(camera.jnp.asarray(labels))))
    np.testing.assert_array_equal(pictures.mirror_label(mirrored), labels)


def test_mirror_flips_pictures_and_turns_the_camera_to_the_other_side():
    image = rng().integers(0, 256, (8, 8, 3), np.uint8)
    depth = rng().random((8, 8, 1), np.float32)
    sample = {"image": image, "depth": depth, "camera": np.asarray(camera.look_at(0.4, 0.2))}
    seen = pictures.mirror(sample)
    for column in range(8):
        np.testing.assert_array_equal(seen["image"][:, column], image[:, 7 - column])
        np.testing.assert_array_equal(seen["depth"][:, column], depth[:, 7 - column])
    np.testing.assert_allclose(seen["camera"], camera.look_at(-0.4, 0.2), atol=1e-6)


def test_png_gives_back_what_was_stored_in_8_and_16_bits():
    for pixels in (
        rng().integers(0, 256, (9, 9, 3), np.uint8),
        rng().integers(0, 256, (9, 9), np.uint8),
        rng().integers(0, 65536, (9, 9)).astype(np.uint16),
    ):
        got = pictures.decode(pictures.encode(Image.fromarray(pixels)))
        assert got.dtype == pixels.dtype
        np.testing.assert_array_equal(got, pixels if pixels.ndim == 3 else pixels[..., None])


def test_jpeg_is_near_and_smaller():
    smooth = Image.fromarray(rng().integers(0, 256, (8, 8, 3), np.uint8)).resize((64, 64), Image.Resampling.BICUBIC)
    png, jpeg = pictures.encode(smooth), pictures.encode(smooth, "jpeg")
    assert len(jpeg) < len(png)
    difference = pictures.decode(jpeg).astype(int) - np.asarray(smooth)
    assert 0 < np.abs(difference).mean() < 2


def test_resize_keeps_hidden_colours_out():
    rgba = np.zeros((16, 16, 4), np.uint8)
    rgba[..., :3] = (255, 0, 0)  # hidden
    rgba[4:12, 4:12] = (0, 0, 255, 255)
    small = np.asarray(pictures.resize(Image.fromarray(rgba), 7))
    seen = small[..., 3] > 8
    assert seen.any() and (small[seen][:, 2] > 240).all()


def test_nearest_resize_makes_no_new_values():
    depth = np.where(rng().random((16, 16)) < 0.5, 0, 40000).astype(np.uint16)
    small = np.asarray(pictures.resize(Image.fromarray(depth), 5, smooth=False))
    assert set(np.unique(small)) <= {0, 40000}


def save(path, pixels, **options):
    Image.fromarray(pixels).save(path, **options)
    return path


def test_pictures_that_cannot_be_used_are_told(tmp_path):
    whole = save(tmp_path / "whole.png", rng().integers(0, 256, (32, 32, 3), np.uint8))
    assert pictures.picture_problem(whole, 32) is None
    content = whole.read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("not a picture")
    save(tmp_path / "wide.png", np.zeros((32, 40, 3), np.uint8))
    save(tmp_path / "small.png", np.zeros((16, 16, 3), np.uint8))
    save(tmp_path / "alpha.png", np.zeros((32, 32, 4), np.uint8))
    save(tmp_path / "deep.png", np.zeros((32, 32), np.uint16))
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    for name, words in {
        "gone.png": "is missing",
        "loop.png": "is missing",
        "x" * 5000: "is missing",
        "cut.png": "cannot be read",
        "empty.png": "cannot be read",
        "text.jpg": "cannot be read",
        "wide.png": "square, got 40 x 32",
        "small.png": "at least 32 pixels wide, got 16",
        "alpha.png": "no transparency, got mode RGBA",
        "deep.png": "8 bits per channel",
    }.items():
        problem = pictures.picture_problem(tmp_path / name, 32)
        assert problem is not None and words in problem and "\n" not in problem and len(problem) < 500, problem


@pytest.mark.parametrize("brightest, good", [(255, True), (2, False), (1, True), (0, False)])
def test_masks_of_zeros_and_ones_are_read_and_labels_told(tmp_path, brightest, good):
    mask = np.zeros((8, 8), np.uint8)
    mask[2:6, 2:6] = brightest
    problem = pictures.picture_problem(save(tmp_path / "mask.png", mask), 32, mask=True)
    assert (problem is None) == good


def test_grey_and_jpeg_pictures_are_read_as_rgb(tmp_path):
    save(tmp_path / "grey.jpg", np.full((64, 64), 90, np.uint8), quality=100)
    assert pictures.picture_problem(tmp_path / "grey.jpg", 32) is None
    image = pictures.read_picture(tmp_path / "grey.jpg", 32, "RGB")
    assert image.size == (32, 32) and np.abs(np.asarray(image).astype(int) - 90).max() <= 1
    assert pictures.decode(io.BytesIO(pictures.encode(image)).getvalue()).shape == (32, 32, 3)
