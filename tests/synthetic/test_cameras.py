import math
from pathlib import Path

import numpy as np

from panojax.synthetic import cameras

from .conftest import sphere_depth

GOLDEN = Path(__file__).parents[1] / "golden" / "cameras.npz"


def test_labels_are_the_golden_ones_at_their_true_elevation():
    golden = np.load(GOLDEN)
    for (yaw, pitch), label in zip(golden["yaw_pitch"], golden["labels"]):
        elevation = math.asin(-2 * pitch / math.pi)  # EG3D's pitch puts the camera at this height
        np.testing.assert_allclose(cameras.camera_label(yaw, elevation), label, atol=1e-6)


def test_yaw_and_elevation_come_back():
    for yaw, elevation in [(0.0, 0.0), (0.4, -0.3), (-2.9, 0.6), (math.pi / 2, 0.1)]:
        np.testing.assert_allclose(
            cameras.yaw_elevation(cameras.camera_label(yaw, elevation)), (yaw, elevation), atol=1e-12
        )


def test_positive_yaw_sees_the_persons_left_and_positive_elevation_is_above():
    x, y, z = cameras.camera_label(0.5, 0.3)[[3, 7, 11]]
    assert x > 0 and y > 0 and z > 0
    rotation = cameras.camera_label(0.5, 0.3)[:16].reshape(4, 4)[:3, :3]
    np.testing.assert_allclose(rotation.T @ rotation, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) > 0.999


def test_samples_fill_every_stratum():
    labels = cameras.sample_cameras(np.random.default_rng(3), 40)
    angles = np.array([cameras.yaw_elevation(label) for label in labels])
    yaws = np.sort(np.degrees(angles[:, 0]))
    gaps = np.diff(np.append(yaws, yaws[0] + 360))
    assert gaps.max() <= 2 * 360 / 40 + 1e-6
    low, high = cameras.ELEVATIONS
    counts = np.histogram(np.degrees(angles[:, 1]), bins=np.linspace(low, high, 41))[0]
    assert (counts == 1).all()


def test_unprojected_sphere_is_the_sphere():
    label = cameras.camera_label(0.8, -0.2)
    points = cameras.unproject(sphere_depth(label, 24, 0.2), label)
    assert len(points) > 100
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 0.2, atol=1e-6)
