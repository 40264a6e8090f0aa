"""Splats fitted to pictures: nearer to views that the fit did not see, and in a file as they were drawn."""

import numpy as np
import plyfile
import pytest
import scenes
from export_scene import ball_picture, ball_surface, ball_views

from panojax.camera import look_at
from panojax.errors import InputError
from panojax.export import fit_splats, splats_from_surface, write_splats
from panojax.export.splat_fitting import from_splats, structural_similarity
from panojax.render.splatting import splat

COUNT, SIDE = 300, 48
HELD_OUT = np.asarray(look_at(0.5, 0.1))


@pytest.fixture(scope="module")
def views():
    return ball_views(side=SIDE)


@pytest.fixture(scope="module")
def on_surface(views):
    return splats_from_surface(ball_surface(), views, count=COUNT)


@pytest.fixture(scope="module")
def fitted(on_surface, views):
    return fit_splats(on_surface, views, steps=60, degree=1)


def opaque_psnr(splats, views, label):
    """Of a view's middle, where the ball is: behind it the pictures of this scene are grey and splats are black."""
    image, weight = ball_picture(label, SIDE)
    picture, _ = splat(from_splats(splats), label.astype(np.float32), SIDE, COUNT)
    inside = np.asarray(weight).reshape(SIDE, SIDE) > 0.98
    return scenes.psnr(np.asarray(picture)[inside], image[inside] / 255, span=1)


def test_fitting_helps(on_surface, fitted, views):
    before, after = (opaque_psnr(s, views, HELD_OUT) for s in (on_surface, fitted))
    assert after > before + 3, (before, after)
    assert len(fitted.centres) == COUNT
    np.testing.assert_allclose(np.linalg.norm(fitted.rotations, axis=-1), 1, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(fitted.normals, axis=-1), 1, atol=1e-5)
    outward = fitted.centres / np.linalg.norm(fitted.centres, axis=-1, keepdims=True)
    assert np.mean(np.sum(fitted.normals * outward, -1) > 0.7) > 0.9


def test_no_step_changes_nothing(on_surface, views):
    same = fit_splats(on_surface, views, steps=0)
    for name in ("centres", "colours", "scales", "rotations", "opacity"):
        np.testing.assert_allclose(getattr(same, name), getattr(on_surface, name), atol=2e-6)


def test_slopes_are_harmonics_of_degree_1(fitted, tmp_path):
    """A viewer's colours, by f_dc and f_rest in the file's own axes, are those that were fitted."""
    write_splats(fitted, tmp_path / "a.ply", degree=1)
    table = plyfile.PlyData.read(tmp_path / "a.ply")["vertex"]
    down = np.diag([1, -1, -1])
    direction = np.array([0.36, 0.48, -0.8])
    x, y, z = down @ direction
    rest = np.stack([table[f"f_rest_{i}"] for i in range(9)], -1).reshape(-1, 3, 3)
    f_dc = np.stack([table[f"f_dc_{i}"] for i in range(3)], -1)
    seen = (
        0.5
        + 0.28209479177387814 * f_dc
        + 0.4886025119029199 * (-y * rest[..., 0] + z * rest[..., 1] - x * rest[..., 2])
    )
    np.testing.assert_allclose(seen, fitted.colours + fitted.slopes @ direction, atol=1e-5)
    assert np.abs(fitted.slopes).max() > 0.01


def test_structural_similarity_is_scikit_images(views):
    from skimage.metrics import structural_similarity as reference

    a, b = views.images[0] / np.float32(255), views.images[1] / np.float32(255)
    got = np.asarray(structural_similarity(a, b))[5:-5, 5:-5]
    _, want = reference(
        a, b, channel_axis=-1, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    np.testing.assert_allclose(got, want[5:-5, 5:-5], atol=1e-3)


def test_refuses(on_surface, views):
    with pytest.raises(InputError, match="steps of the fit must be 0 to 100000, got -1"):
        fit_splats(on_surface, views, steps=-1)
    with pytest.raises(InputError, match="degree of fitted spherical harmonics must be 0 or 1, got 2"):
        fit_splats(on_surface, views, steps=1, degree=2)
