import numpy as np
import pytest

from panojax.eval.feature_networks import Networks
from panojax.eval.samples import Picture
from panojax.eval.view_figures import compare, depth_error, mask_error
from panojax.generators.generator import View


def view(*, depth=2.5, weight=1.0, side=4):
    """A grey view whose left half shows a flat surface."""
    seen = np.zeros((side, side, 1), np.float32)
    seen[:, : side // 2] = weight
    return View(
        image=np.full((8, 8, 3), 0.5, np.float32),
        raw=np.zeros((side, side, 3), np.float32),
        depth=np.full((side, side, 1), depth, np.float32),
        weight=seen,
        mask=seen,
    )


def test_depth_is_compared_where_both_show_something():
    truth = np.full((8, 8), 2.6)
    truth[:4] = 0  # nothing in the upper half
    truth[4, 0] = 0  # half of the pixel [2, 0] shows nothing: it is left out
    truth[6:, :2] = 2.2
    # Left over of the view's 4 x 4: [2, 1] at 2.6, [3, 0] at 2.2, [3, 1] at 2.6.
    np.testing.assert_allclose(depth_error(view(), truth), (0.1 + 0.3 + 0.1) / 3, rtol=1e-4)
    assert np.isnan(depth_error(view(weight=0.4), truth))
    np.testing.assert_allclose(depth_error(view(), np.full((2, 2), 2.0)), 0.5, rtol=1e-5)  # coarser than the view


def test_masks_are_compared_at_the_coarser_side():
    truth = np.zeros((8, 8))
    truth[:, :3] = 1  # at 4 x 4: 1, 1/2, 0, 0 across
    np.testing.assert_allclose(mask_error(view().mask[..., 0], truth), 0.25 / 4, rtol=1e-5)


def test_figures_without_networks():
    picture = Picture("0", np.zeros(25, np.float32), np.zeros((8, 8, 3), np.float32), np.ones((4, 4)), np.zeros((4, 4)))
    figures = compare(Networks(), view(), picture, {})
    assert figures == {
        "l2": pytest.approx(0.25),
        "mask": pytest.approx(0.5),
        "depth": pytest.approx(np.nan, nan_ok=True),
    }
