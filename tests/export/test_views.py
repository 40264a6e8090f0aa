"""Pictures from all around, and where points lie in them."""

import jax.numpy as jnp
import numpy as np
import pytest
import scenes

import panojax
from panojax.camera import camera_rays, pixel_rays
from panojax.errors import InputError
from panojax.export import surround, take_views
from panojax.export.views import project, world_to_camera
from panojax.files.head_file import load_head


def test_cameras_surround_the_head():
    config = scenes.tiny_config().generator
    labels = surround(11, (-30, 0, 30), config)
    assert labels.shape == (12, 25)
    positions = labels[:, [3, 7, 11]]
    np.testing.assert_allclose(np.linalg.norm(positions, axis=-1), config.camera_radius, rtol=1e-5)
    np.testing.assert_allclose(positions[:, 1], np.repeat([0.9, 0, -0.9], 4), atol=1e-5)  # 30 degrees: a third of 90
    yaws = np.degrees(np.arctan2(positions[:, 0], positions[:, 2])) % 360
    np.testing.assert_allclose(np.sort(yaws), np.arange(12) * 30, atol=1e-3)  # each turn between the others
    np.testing.assert_allclose(labels[4], panojax.look_at(np.radians(30)), atol=1e-6)


@pytest.mark.parametrize(
    ("count", "pitches", "message"),
    [
        (3, (), "pitches must"),
        (3, (0, 90), "within 89 degrees, got 0, 90"),
        (3, (float("nan"),), "pitches must"),
        (1, (0, 10), "views must be 2"),
        (1001, (0,), "to 1000, got 1001"),
    ],
)
def test_surround_refuses(count, pitches, message):
    with pytest.raises(InputError, match=message):
        surround(count, pitches, scenes.tiny_config().generator)


def test_points_project_to_the_pixels_whose_rays_meet_them():
    label = np.array(panojax.look_at(0.7, -0.3))
    label[17], label[18], label[21] = 0.02, 0.45, 0.57  # skew and another centre
    positions = np.array([[0.5, 0.5], [0.1, 0.9], [0.77, 0.21]], np.float32)
    origins, directions = pixel_rays(jnp.asarray(label), jnp.asarray(positions))
    found, depths = project(np.asarray(origins + 2.5 * directions, np.float64), label)
    np.testing.assert_allclose(found, positions, atol=1e-5)
    rotation, translation = world_to_camera(label)
    np.testing.assert_allclose(rotation @ origins[0] + translation, 0, atol=1e-6)
    assert (depths < 2.5 + 1e-5).all() and (depths > 2.4).all()


def test_views_show_the_head_from_their_cameras(files):
    """The solid scene is a bar, 0.4 wide and as high as the box: its opacity is known."""
    labels = surround(5, (10,), scenes.tiny_config().generator)  # one call of four, and one of the last with padding
    params = panojax.load(files / "model")  # as the commands do, so that what is compiled here serves there
    head = load_head(files / "head.npz", params)
    views = take_views(params, head, labels)
    assert views.images.shape == (5, 128, 128, 3) and views.images.dtype == np.uint8
    assert views.opacity.shape == (5, 16, 16)
    origins, directions = (np.asarray(a) for a in camera_rays(jnp.asarray(labels), 16))
    for label_opacity, origin, direction in zip(views.opacity, origins, directions):
        walls = np.array([0.2, 0.5, 0.2])
        sides = np.stack([(-walls - origin) / direction, (walls - origin) / direction])
        through = (sides.max(0).min(-1) - sides.min(0).max(-1)).reshape(16, 16)
        assert label_opacity[through > 0.15].min() > 0.99 and label_opacity[through < 0].max() < 0.01
    alone = take_views(params, head, labels[4:])
    np.testing.assert_allclose(alone.images[0].astype(int), views.images[4], atol=1)
    assert np.abs(views.images[0].astype(int) - views.images[2]).mean() > 5
    with pytest.raises(InputError, match=r"labels\[1\] must be finite"):
        take_views(params, head, labels * np.array([1, np.nan, 1, 1, 1])[:, None])
