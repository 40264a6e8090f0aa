"""From a window's camera to a label."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import panojax
from panojax.export.views import project
from panojax.viewer.camera import picture_camera, turned, usual_fov, window_camera


def test_the_usual_camera_stays_as_it_is():
    label = np.asarray(panojax.look_at(0.8, -0.3))
    wxyz, position, fov = window_camera(label)
    assert fov == pytest.approx(usual_fov())
    np.testing.assert_allclose(picture_camera(wxyz, position, fov, radius=2.7), label, atol=1e-6)


@pytest.mark.parametrize("distance", [1.3, 2.7, 6.0])
def test_zooming_keeps_the_plane_through_the_head_as_large_as_in_the_window(distance):
    """The twin: a pinhole at the window's own camera."""
    _, position, fov = window_camera(np.asarray(panojax.look_at(0.8, -0.3)))
    forward = -position / np.linalg.norm(position)
    wxyz = window_camera(np.asarray(panojax.look_at(0.8, -0.3)))[0]
    position, rotation = -distance * forward, Rotation.from_quat(wxyz, scalar_first=True).as_matrix()
    label = picture_camera(wxyz, position, fov, radius=2.7)
    across = np.array([[0.0, 0], [0.1, 0], [-0.1, 0.15]]) @ rotation[:, :2].T  # points of that plane
    x, y, z = ((across - position) @ rotation).T
    pinhole = 0.5 + 0.5 / np.tan(fov / 2) * np.stack([x / z, y / z], -1)
    found, depths = project(across, label)
    np.testing.assert_allclose(found, pinhole, atol=1e-5)
    np.testing.assert_allclose(depths, 2.7, atol=1e-5)


def test_panning_moves_the_camera_across():
    label = np.asarray(panojax.look_at(0.0))
    wxyz, position, fov = window_camera(label)
    moved = picture_camera(wxyz, position + np.array([0.1, 0.05, 0]), fov, radius=2.7)
    np.testing.assert_allclose(moved[[3, 7, 11]], (0.1, 0.05, 2.7), atol=1e-6)
    np.testing.assert_allclose(moved[16:], label[16:], atol=1e-6)


def test_a_camera_in_the_head_or_turned_away_gives_a_camera():
    wxyz, position, fov = window_camera(np.asarray(panojax.look_at(0.0)))
    for place in (0 * position, -position):
        assert np.isfinite(picture_camera(wxyz, place, fov, radius=2.7)).all()


def test_turning_goes_round_as_yaw_does():
    label = np.asarray(panojax.look_at(0.3, 0.2))
    np.testing.assert_allclose(turned(label, 0.5), panojax.look_at(0.8, 0.2), atol=1e-6)
    np.testing.assert_allclose(turned(label, 2 * np.pi), label, atol=1e-6)
