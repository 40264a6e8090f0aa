"""Rotations, labels and framings; nothing here needs a network."""

import math

import numpy as np
import pytest

from panojax import camera
from panojax.photo.calibrate import fit_framing, label_errors, mean_of_meshes
from panojax.photo.crop import to_crop
from panojax.photo.framing import HEADS, PANOHEAD, Framing, camera_label, label_angles, square_and_camera
from panojax.photo.pose import DEPTH, HeadPose, fit_pose, mean_face, pose_angles, pose_rotation, similarity

rng = np.random.default_rng(0)
ANGLES = [(0.0, 0.0, 0.0), (0.6, 0.2, -0.3), (-0.7, -0.4, 0.5), (0.3, 0.5, 2.0)]


@pytest.mark.parametrize("angles", [*ANGLES, (2.5, 0.1, 0.0)])
def test_angles_go_there_and_back(angles):
    rotation = pose_rotation(*angles)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) > 0
    np.testing.assert_allclose(pose_angles(rotation), angles, atol=1e-9)


def test_a_frontal_head_is_upright_and_looks_at_the_camera():
    rotation = pose_rotation(0, 0)
    np.testing.assert_allclose(rotation @ np.eye(3), np.diag([1, -1, -1]), atol=1e-12)
    leaning = pose_rotation(0, 0, math.radians(30)) @ (0, 1, 0)  # its top goes to the right
    np.testing.assert_allclose(leaning, (0.5, -math.sqrt(0.75), 0), atol=1e-12)


@pytest.mark.parametrize("yaw", [-1.0, 0.0, 0.4])
@pytest.mark.parametrize("pitch", [-0.3, 0.0, 0.25])
def test_labels_are_those_of_panojax_cameras(yaw, pitch):
    expected = np.array(camera.look_at(yaw, pitch))
    got = camera_label(yaw, math.asin(-2 * pitch / math.pi), PANOHEAD)
    np.testing.assert_allclose(got[:16], expected[:16], atol=2e-6)  # look_at computes in float32
    assert got[16] == got[20] == np.float32(4.2647) and got[18] == got[21] == 0.5
    np.testing.assert_allclose(np.array(camera.check_label(got)), got)


def test_similarity_recovers_what_was_done():
    model = rng.normal(size=(20, 3))
    rotation = pose_rotation(0.4, -0.2, 0.9)
    got, scale, shift = similarity(model, 3.5 * model @ rotation.T + (1, 2, 3))
    np.testing.assert_allclose(got, rotation, atol=1e-9)
    np.testing.assert_allclose([scale, *shift], [3.5, 1, 2, 3], atol=1e-9)
    assert np.linalg.det(similarity(model, model * (1, 1, -1))[0]) > 0  # never a reflection


def mesh_of(yaw, elevation, roll, scale, at):
    """The mean face as the mesh network would see it."""
    points = scale * mean_face() @ pose_rotation(yaw, elevation, roll).T + (*at, 0)
    return points / (1, 1, DEPTH)


@pytest.mark.parametrize("angles", ANGLES)
def test_the_mean_face_is_found_where_it_was_put(angles):
    pose = fit_pose(mesh_of(*angles, 2.5, (300, 200)))
    np.testing.assert_allclose(pose_angles(pose.rotation), angles, atol=1e-6)
    np.testing.assert_allclose([pose.scale, *pose.face], [2.5, 300, 200], atol=1e-6)


def test_the_mean_face_is_symmetric_and_in_its_units():
    points = mean_face()
    mirrored = points * (-1, 1, 1)
    distance = np.linalg.norm(points[:, None] - mirrored[None], axis=-1).min(1)
    assert points.shape == (468, 3) and distance.max() < 1e-3  # millimetres, stored in float32
    pupils = points[[263, 362]].mean(0) - points[[33, 133]].mean(0)
    np.testing.assert_allclose(pupils, (63, 0, 0), atol=1e-3)
    assert points[1, 2] > points[:, 2].mean() + 30  # the nose is in front
    assert points[10, 1] > points[152, 1] + 100  # the forehead is above the chin


def test_the_mean_of_turned_faces_is_the_face():
    meshes = np.stack([mesh_of(*angles, 1 + i, (40 * i, 7)) for i, angles in enumerate(ANGLES)])
    np.testing.assert_allclose(mean_of_meshes(meshes), mean_face(), atol=0.02)  # millimetres; the stored one is rounded


@pytest.mark.parametrize("framing", [PANOHEAD, HEADS])
@pytest.mark.parametrize("angles", ANGLES[:3])
def test_the_crop_holds_the_head_as_the_framing_says(framing, angles):
    """Projects the head's centre and points around it by hand and finds them where the crop should have them."""
    pose = HeadPose(pose_rotation(*angles), 2.0, (400.0, 300.0))
    square, label = square_and_camera(pose, framing)
    centre = np.array([0, framing.above, -framing.behind])
    seen = pose.scale * (pose.rotation @ centre)[:2] + pose.face
    np.testing.assert_allclose(to_crop(seen, square, 1), (0.5, 0.5), atol=1e-9)
    tilt = math.radians(framing.tilt)
    up = np.array([0, math.cos(tilt), math.sin(tilt)])  # the model's vertical in the mean face's axes
    vertical = to_crop(seen + 50 * (pose.rotation @ up)[:2], square, 1) - 0.5
    assert abs(vertical[0]) < 1e-9 and vertical[1] < 0
    yaw, elevation, roll = label_angles(label)
    assert abs(roll) < 1e-6
    if framing.tilt == 0 or angles[0] == 0:
        np.testing.assert_allclose((yaw, elevation), (angles[0], angles[1] + tilt), atol=1e-6)


def test_a_camera_nearby_enlarges_the_face():
    pose = HeadPose(pose_rotation(0, 0), 2.0, (0.0, 0.0))
    far = Framing(across=250, above=0, behind=80, tilt=0)
    near = Framing(across=250, above=0, behind=80, tilt=0, distance=800)
    np.testing.assert_allclose(square_and_camera(pose, far)[0].side, 500)
    np.testing.assert_allclose(square_and_camera(pose, near)[0].side, 500 * (1 - 80 / 800))


def test_a_fitted_framing_is_the_one_that_made_the_crops():
    truth = Framing(across=300, above=12, behind=70, tilt=-5, distance=1300, focal=4.2634)
    untilt = pose_rotation(0, math.radians(truth.tilt)).T @ pose_rotation(0, 0)
    poses = [
        HeadPose(pose_rotation(*angles) @ untilt, scale, tuple(at))
        for angles, scale, at in zip(
            rng.uniform(-0.6, 0.6, (12, 2)), rng.uniform(1, 3, 12), rng.uniform(0, 500, (12, 2))
        )
    ]
    squares, cameras = zip(*(square_and_camera(pose, truth) for pose in poses))
    assert max(abs(square.roll) for square in squares) < 1e-6  # pictures of labels without roll
    fitted, left = fit_framing(poses, np.stack(cameras), list(squares), distance=1300)
    for name in ("across", "above", "behind", "tilt", "radius", "focal"):
        assert getattr(fitted, name) == pytest.approx(getattr(truth, name), rel=1e-4)
    assert max(left.values()) < 1e-3
    errors = label_errors(poses, np.stack(cameras), list(squares), truth)
    assert max(np.abs(values).max() for values in errors.values()) < 1e-4
    errors = label_errors(poses, np.stack(cameras), list(squares), Framing(across=330, above=12, behind=70, tilt=-2))
    np.testing.assert_allclose(np.median(errors["elevation"]), 3, atol=0.5)  # degrees; exact from the front
    assert np.median(errors["scale"]) > 0.1
