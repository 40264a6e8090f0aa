import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe

import panojax
from panojax import camera
from panojax.camera import camera_rays
from panojax.commands.arguments import view_grid
from panojax.errors import InputError
from panojax.generators.generator_config import GeneratorConfig


@pytest.mark.parametrize("name, options", [("labels", {}), ("labels_pivot", {"pivot": True})])
def test_look_at_gives_the_golden_labels(name, options):
    golden = recipe.golden("cameras")
    yaw, pitch = golden["yaw_pitch"].T
    options = {"pivot": golden["pivot"]} if options else {}
    got = panojax.look_at(yaw, pitch, radius=float(golden["radius"]), fov_degrees=float(golden["fov_deg"]), **options)
    assert got.shape == golden[name].shape
    assert recipe.relative_error(got, golden[name]) <= 1e-5


def test_front_looks_along_minus_z():
    matrix, lens = camera.unpack(camera.front())
    np.testing.assert_allclose(matrix[:3, 3], [0, 0, 2.7], atol=1e-6)
    np.testing.assert_allclose(matrix[:3, 2], [0, 0, -1], atol=1e-6)
    np.testing.assert_allclose(matrix[:3, 1], [0, -1, 0], atol=1e-6)  # y points down in the picture
    np.testing.assert_allclose(lens, [[4.2634, 0, 0.5], [0, 4.2634, 0.5], [0, 0, 1]], rtol=1e-4)


def test_rotations_are_proper():
    yaw, pitch = np.meshgrid(np.linspace(-4, 4, 9), np.linspace(-1.2, 1.2, 5))
    rotation = np.asarray(camera.unpack(camera.look_at(yaw, pitch, pivot=(0.1, 0.0, 0.2)))[0])[..., :3, :3]
    np.testing.assert_allclose(
        rotation @ rotation.swapaxes(-1, -2), np.broadcast_to(np.eye(3), rotation.shape), atol=2e-6
    )
    np.testing.assert_allclose(np.linalg.det(rotation), 1, atol=2e-6)


def test_orbit_closes():
    """Yaw 0 is yaw 360, and an orbit is its own continuation."""
    np.testing.assert_allclose(camera.look_at(2 * np.pi, 0.3), camera.look_at(0.0, 0.3), atol=2e-6)
    cameras = panojax.orbit(8, pitch=0.2, radius=2.0)
    np.testing.assert_allclose(cameras, camera.look_at(np.arange(8) * np.pi / 4, 0.2, radius=2.0), atol=1e-6)
    np.testing.assert_allclose(panojax.orbit(8, yaw=np.pi / 4)[:-1], panojax.orbit(8)[1:], atol=2e-6)
    steps = np.linalg.norm(np.diff(np.asarray(cameras)[:, [3, 7, 11]], axis=0, append=cameras[:1, [3, 7, 11]]), axis=1)
    np.testing.assert_allclose(steps, steps[0], rtol=1e-5)
    assert panojax.orbit().shape == (120, 25)
    with pytest.raises(InputError, match="n must be at least 1 camera, got 0"):
        panojax.orbit(0)


def test_degrees_are_the_commands_angles():
    np.testing.assert_allclose(camera.look_at(30, -10, degrees=True), camera.look_at(np.pi / 6, -np.pi / 18), atol=1e-6)
    turn = camera.orbit(4, pitch=20, yaw=90, degrees=True)
    np.testing.assert_allclose(turn, camera.orbit(4, pitch=np.pi / 9, yaw=np.pi / 2), atol=1e-6)
    _, labels = view_grid((30,), (-10,), GeneratorConfig())
    np.testing.assert_allclose(labels[0], camera.look_at(30, -10, degrees=True), atol=1e-6)


def test_label_round_trip():
    labels = camera.look_at(np.linspace(0, 1, 6).reshape(2, 3), 0.4)
    matrix, lens = camera.unpack(labels)
    assert matrix.shape == (2, 3, 4, 4) and lens.shape == (2, 3, 3, 3)
    np.testing.assert_array_equal(camera.label(matrix, lens), labels)
    np.testing.assert_array_equal(camera.label(matrix, lens[0, 0]), labels)  # one lens serves all
    for row in labels.reshape(-1, 25):
        np.testing.assert_array_equal(camera.check_label(row), row)


def test_mirror_is_the_camera_of_the_flipped_picture():
    """A ray through a pixel of the mirrored camera is the flipped pixel's ray, reflected at x = 0."""
    label = camera.look_at(0.7, 0.3, pivot=(0.05, 0.0, 0.1))
    np.testing.assert_array_equal(panojax.mirror(panojax.mirror(label)), label)
    origins, directions = (np.asarray(a).reshape(8, 8, 3) for a in camera_rays(label, 8))
    flipped = [np.asarray(a).reshape(8, 8, 3) for a in camera_rays(panojax.mirror(label), 8)]
    np.testing.assert_allclose(flipped[0], origins[:, ::-1] * [-1, 1, 1], atol=1e-6)
    np.testing.assert_allclose(flipped[1], directions[:, ::-1] * [-1, 1, 1], atol=1e-6)
    negated = [i for i in range(25) if camera._MIRRORED[i] < 0]
    assert negated == [1, 2, 3, 4, 8]


def test_cameras_are_traced():
    yaw = jnp.float32(0.3)
    np.testing.assert_allclose(jax.jit(camera.look_at)(yaw), camera.look_at(yaw), atol=1e-6)
    assert np.isfinite(jax.jit(jax.jacfwd(camera.look_at))(yaw)).all()
    assert np.isfinite(camera.look_at(0.0, jnp.array([-2.0, -np.pi / 2, np.pi / 2]))).all()  # straight up and down


def broken(i, value):
    label = np.asarray(camera.front()).copy()
    label[i] = value
    return label


@pytest.mark.parametrize(
    "label, message",
    [
        (np.zeros(24), r"must be 25 numbers \(16 extrinsics, then 9 intrinsics\), got shape \(24,\)"),
        (["a"] * 25, "must be 25 numbers"),
        ([[1.0], [1.0, 2.0]], "must be 25 numbers"),
        (None, "must be 25 numbers"),
        (broken(3, np.nan), "must be finite, got 1 NaN"),
        (broken(3, np.inf), "must be finite"),
        ([*broken(3, 0)[:3], 1e300, *broken(3, 0)[4:]], "must be finite, got 1 NaN or infinite"),
        ([10**400] * 25, "must be 25 numbers"),
        (np.zeros(25), "must hold a rotation"),
        (broken([0, 5, 10], [2, -2, -2]), "must hold a rotation"),
        (broken(0, -1.0), "must hold a rotation"),
        (broken(12, 1.0), "must have the bottom row 0 0 0 1"),
        (broken(16, 0.0), "must hold invertible intrinsics"),
        (broken(24, 0.0), "must hold invertible intrinsics"),
    ],
)
def test_labels_that_are_none(label, message):
    with pytest.raises(InputError, match=f"^pose {message}") as caught:
        camera.check_label(label, "pose")
    assert "\n" not in str(caught.value)
