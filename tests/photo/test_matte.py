"""Masks: the guided filter's twin, one person out of two, the fade outside the photo."""

import numpy as np

from panojax.photo.crop import Square
from panojax.photo.detect import Face
from panojax.photo.matte import at_the_border, fade_outside, guided_filter, only_person

rng = np.random.default_rng(0)


def a_face(x, y, size):
    return Face((x - size / 2, y - size / 2, size, size), np.zeros((5, 2)), 0.9)


def test_guided_filter_is_a_linear_fit_in_each_window():
    guide, values = rng.uniform(size=(2, 9, 9))
    radius, epsilon = 1, 0.01
    slope, offset = np.zeros((2, 9, 9))
    for row in range(9):
        for column in range(9):
            g, v = (np.pad(x, radius, mode="edge")[row : row + 3, column : column + 3].ravel() for x in (guide, values))
            slope[row, column] = ((g * v).mean() - g.mean() * v.mean()) / (g.var() + epsilon)
            offset[row, column] = v.mean() - slope[row, column] * g.mean()
    expected = np.zeros((9, 9))
    for row in range(9):
        for column in range(9):
            a, b = (np.pad(x, radius, mode="edge")[row : row + 3, column : column + 3].mean() for x in (slope, offset))
            expected[row, column] = a * guide[row, column] + b
    np.testing.assert_allclose(guided_filter(guide, values, radius=radius, epsilon=epsilon), expected, atol=1e-9)


def test_guided_filter_moves_a_soft_edge_to_the_guides():
    guide = (np.arange(64) >= 32).astype(float)[None].repeat(64, 0)
    soft = np.clip((np.arange(64) - 24) / 16, 0, 1)[None].repeat(64, 0)
    sharp = guided_filter(guide, soft, radius=8, epsilon=1e-4)
    assert sharp[32, 30] < 0.3 < 0.7 < sharp[32, 33]


def test_only_the_chosen_person_is_kept():
    """Two discs that touch through a bridge, and a third without a face."""
    rows, columns = np.mgrid[:100, :200]
    mask = np.zeros((100, 200))
    for x in (50, 150):
        mask[(rows - 50) ** 2 + (columns - x) ** 2 < 35**2] = 1
    mask[45:55, 80:120] = 0.6
    mask[:8, 95:105] = 1
    square = Square(50, 50, 100)
    kept = mask[:, :100] * only_person(mask[:, :100], square, a_face(50, 50, 30), [])
    assert kept[50, 50] > 0.99 and kept[2, 97] == 0
    square = Square(100, 50, 100)
    middle = mask[:, 50:150]
    left = middle * only_person(middle, square, a_face(60, 50, 30), [a_face(145, 50, 30)])
    assert left[50, 5] > 0.99 and left[50, 95] < 0.01


def test_the_mask_ends_beyond_the_photo():
    faded = fade_outside((100, 100), Square(0, 50, 100), 100)
    assert (faded[:, 50:] == 1).all() and (faded[:, :36] == 0).all()
    assert (np.diff(faded[50]) >= 0).all()


def test_nobody_is_mirrored_at_the_border():
    """A head that ends below the photo's upper border is not there again above it; one that the border cuts gets a cap
    as high as half of its width there, and one that only touches the border none."""
    rows, columns = np.mgrid[:100, :100]
    square = Square(50, 30, 100)  # of a photo [80, 100], whose first row is the crop's 20th

    def kept(mask):
        mask = mask.astype(float)
        after = np.minimum(mask, at_the_border(mask, (80, 100), square))
        np.testing.assert_array_equal(after[20:], mask[20:])
        return after[:20]

    mirrored = np.where(rows < 20, 39 - rows, rows)
    column = np.abs(columns - 50) < 20
    assert not kept((mirrored > 25) & column).any()
    cut = kept(column)
    assert cut[1:, 50].all() and cut[17:, 36:65].all() and not cut[:, :30].any() and not cut[:12, 31:37].any()
    circle = (mirrored - 50) ** 2 + (columns - 50) ** 2 <= 30**2
    assert circle[:20].sum() > 300 and kept(circle).sum() < 30
    assert kept(np.ones((100, 100))).all()  # nothing but the person: no background ends it
    np.testing.assert_array_equal(at_the_border(column.astype(float), (500, 500), Square(250, 250, 100)), 1)
