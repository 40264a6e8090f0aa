import numpy as np
import pytest

from panojax.errors import InputError
from panojax.synthetic.agreement import HEAD_WIDTH, plane_distances, view_disagreement
from panojax.synthetic.cameras import camera_label

from .conftest import sphere_depth

SIZE = 48


@pytest.fixture(scope="module")
def ring():
    labels = np.stack([camera_label(yaw, 0.2 * (-1) ** i) for i, yaw in enumerate(np.linspace(-1, 1, 6))])
    return labels, np.stack([sphere_depth(label, SIZE, HEAD_WIDTH / 2) for label in labels])


def test_true_labels_agree(ring):
    pixel = 2.7 / 4.2634 / SIZE / HEAD_WIDTH  # as a share of the head's width
    nearest, to_surface = view_disagreement(*ring)
    assert nearest < 0.4 * pixel  # points of five grids of that spacing lie about 0.3 of it away
    assert to_surface < 0.05 * pixel  # the planes' own error on a sphere


def test_wrong_depths_disagree(ring):
    labels, depth = ring
    shifted = depth.copy()
    shifted[::2][shifted[::2] > 0] += 0.05 * HEAD_WIDTH
    assert 0.005 < view_disagreement(labels, shifted)[1] < 0.05


def test_planes_are_those_of_the_neighbours():
    rng = np.random.default_rng(0)
    flat = rng.normal(size=(5, 8, 3)) * [1, 1, 0]
    points = rng.normal(size=(5, 3))
    np.testing.assert_allclose(plane_distances(points, flat), np.abs(points[:, 2]), atol=1e-9)


def test_bad_input(ring):
    labels, depth = ring
    with pytest.raises(InputError, match="two or more views"):
        view_disagreement(labels[:1], depth[:1])
    with pytest.raises(InputError, match=r"nothing in views \[1\]"):
        view_disagreement(labels[:2], np.stack([depth[0], np.zeros_like(depth[0])]))
