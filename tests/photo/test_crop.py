"""Squares and their pixels."""

import math

import numpy as np
import pytest

from panojax.errors import InputError
from panojax.photo.crop import Square, cut, outside, reflected, to_crop, to_photo

rng = np.random.default_rng(0)
PICTURE = rng.uniform(-1, 1, (20, 30, 3)).astype(np.float32)


def test_points_go_there_and_back():
    square = Square(12.5, -3.0, 40.0, 0.7)
    points = rng.uniform(-50, 50, (9, 2))
    np.testing.assert_allclose(to_crop(to_photo(points, square, 64), square, 64), points, atol=1e-9)
    np.testing.assert_allclose(to_photo([32, 32], square, 64), (12.5, -3.0))
    above = to_photo([32, 0], Square(0, 0, 2, math.radians(90)), 64)
    np.testing.assert_allclose(above, (1, 0), atol=1e-12)  # turned clockwise, the crop's top lies to the right


def test_an_unscaled_crop_is_a_slice():
    np.testing.assert_allclose(cut(PICTURE, Square(15, 10, 8), 8), PICTURE[6:14, 11:19], atol=1e-6)


def test_a_quarter_turn_is_rot90():
    crop = cut(PICTURE, Square(15, 10, 8, math.radians(90)), 8)
    np.testing.assert_allclose(crop, np.rot90(PICTURE[6:14, 11:19]), atol=1e-5)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_a_shrunk_crop_averages_its_pixels(factor):
    picture = rng.uniform(-1, 1, (60, 60, 2)).astype(np.float32)
    crop = cut(picture, Square(30, 30, 12 * factor), 12)
    start = 30 - 6 * factor
    region = picture[start : start + 12 * factor, start : start + 12 * factor]
    expected = region.reshape(12, factor, 12, factor, 2).mean((1, 3))
    np.testing.assert_allclose(crop, expected, atol=1e-5)


def test_an_uneven_reduction_weighs_pixels_by_their_share():
    crop = cut(PICTURE[:, :, :1], Square(15, 10, 6), 4)[..., 0]  # a pixel and a half a side
    weights = np.zeros((4, 6))
    for i in range(4):
        for j in range(6):
            weights[i, j] = max(0, min(1.5 * i + 1.5, j + 1) - max(1.5 * i, j)) / 1.5
    expected = weights @ PICTURE[7:13, 12:18, 0] @ weights.T
    np.testing.assert_allclose(crop, expected, atol=1e-6)


def test_a_smooth_picture_keeps_its_values_at_any_scale_and_turn():
    def colour(points):
        return 0.5 * np.sin(points[..., 0] / 19) * np.cos(points[..., 1] / 23)

    def centres(n):
        return np.stack(np.meshgrid(np.arange(n) + 0.5, np.arange(n) + 0.5), -1)

    picture = colour(centres(200))[..., None].astype(np.float32)
    for side, size in ((30, 64), (100, 64), (110, 40)):
        square = Square(97.3, 104.1, side, 0.4)
        expected = colour(to_photo(centres(size), square, size))
        np.testing.assert_allclose(cut(picture, square, size)[..., 0], expected, atol=3e-3)  # the average over a pixel


def test_beyond_the_border_the_picture_is_reflected():
    """The twin is numpy.pad, for a square that leaves the picture by more than its size."""
    padded = np.pad(PICTURE, ((50, 50), (70, 70), (0, 0)), mode="reflect")
    crop = cut(PICTURE, Square(0, 0, 90), 90)
    np.testing.assert_allclose(crop, padded[5:95, 25:115], atol=1e-6)
    index = np.arange(-40, 60)
    np.testing.assert_array_equal(reflected(index, 20), np.pad(np.arange(20), 40, mode="reflect"))
    np.testing.assert_array_equal(reflected(index, 1), 0)


def test_softening_leaves_the_photo_alone():
    square = Square(0, 10, 20)
    plain, soft = (cut(PICTURE, square, 40, soften=flag) for flag in (False, True))
    covered = outside(PICTURE.shape, square, 40) == 0
    np.testing.assert_array_equal(plain[covered], soft[covered])
    assert soft[~covered].std() < 0.7 * plain[~covered].std()


def test_outside_is_the_distance_to_the_photo():
    far = outside((20, 30), Square(0, 10, 20), 20)
    np.testing.assert_allclose(far[:, :10], np.broadcast_to((9.5 - np.arange(10)) / 20, (20, 10)), atol=1e-6)
    assert (far[:, 10:] == 0).all()


def test_what_is_no_picture_is_refused():
    with pytest.raises(InputError, match=r"image must be \[H, W, C\], got shape \(20, 30\)"):
        cut(PICTURE[..., 0], Square(0, 0, 4), 4)
