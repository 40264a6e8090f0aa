"""The training of the head pose network: its pictures, its losses, and the command."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from panojax.errors import InputError
from panojax.files.image_file import write_image
from panojax.nn.graph import load
from panojax.photo.head_pose import HEAT, INPUT_SIDE, PLACE, STRIDE, TURN, UNIT, rotation_from
from panojax.photo.pose import pose_angles, pose_rotation
from panojax.synthetic import storage
from panojax.synthetic.cameras import camera_label
from panojax.synthetic.render import View
from panojax.train.head_pose import losses, run, scenes, surroundings
from panojax.train.head_pose.network import Widths, init_network, plain_weights, trained_form
from panojax.train.head_pose.run import HeadPoseConfig

TINY = Widths((4, 4, 8, 8, 8), (0, 0, 1, 0, 0), 8)
SIZE = 32


def ball():
    """A head that is a red ball in the middle of its picture, with blue clothes below: uint8 [SIZE, SIZE, 4]."""
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    rgba = np.zeros((SIZE, SIZE, 4), np.uint8)
    rgba[26:, 6:-6] = 0, 0, 255, 255
    rgba[(rows - SIZE / 2) ** 2 + (columns - SIZE / 2) ** 2 < (0.37 * SIZE) ** 2] = 255, 0, 0, 255
    return rgba


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    folder = tmp_path_factory.mktemp("heads")
    labels = np.array([camera_label(yaw, 0.1) for yaw in (0.0, 1.5, 3.1)], np.float32)
    view = View(ball(), np.zeros((SIZE, SIZE), np.uint16), np.zeros((SIZE, SIZE), np.uint8))
    for number, split in enumerate(("train", "train", "test")):
        storage.write_identity(storage.identity_path(folder, number), {"split": split}, labels, [view] * 3)
    return folder


@pytest.fixture(scope="module")
def many(heads):
    """200 scenes of the balls before grey."""
    pictures, turns = run.read_heads((heads,), "train")
    assert pictures.shape == (6, SIZE, SIZE, 4)
    grounds = np.full((2, 64, 64, 3), 128, np.uint8)
    made = jax.jit(jax.vmap(scenes.compose, (0, None, None, None)))
    keys = jax.random.split(jax.random.key(0, impl="unsafe_rbg"), 200)  # compiles in half the time
    return jax.device_get(made(keys, scenes.make_atlas(pictures), turns, grounds)), turns


def test_heads_lie_where_the_scene_says(many):
    """Where one head alone is to be found, and not much of it hidden, red lies around its middle."""
    scene, _ = many
    grid = np.stack(np.meshgrid(*(np.arange(INPUT_SIDE) + 0.5,) * 2), -1)
    off = []
    for i in range(len(scene.picture)):
        if scene.wanted[i].sum() != 1 or scene.doubtful[i].sum() or not scene.wanted[i, 0] or scene.side[i, 0] < 50:
            continue
        red = scene.picture[i, ..., 0] - scene.picture[i, ..., 1:].max(-1) > 0.15
        if red.sum() > 0.8 * math.pi * (0.37 * scene.side[i, 0]) ** 2:  # wholly in the picture, and in colour
            off.append(np.linalg.norm(grid[red].mean(0) - scene.centre[i, 0]) / scene.side[i, 0])
    assert len(off) > 15 and np.median(off) < 0.02 and np.quantile(off, 0.75) < 0.1  # others are partly hidden


def test_scenes_are_pictures_with_some_heads(many):
    scene, _ = many
    assert np.isfinite(scene.picture).all() and np.abs(scene.picture).max() <= 1
    found = scene.wanted.sum(1)
    assert 0.3 < (found > 0).mean() < 0.95 and (found == 0).any() and (found > 1).any()
    assert not (scene.wanted * scene.doubtful).any()
    np.testing.assert_allclose(
        scene.rotation @ scene.rotation.swapaxes(-1, -2), np.eye(3) + 0 * scene.rotation, atol=1e-5
    )
    np.testing.assert_allclose(np.linalg.det(scene.rotation), 1, atol=1e-5)
    inside = (scene.centre > 0).all(-1) & (scene.centre < INPUT_SIDE).all(-1)
    assert inside[scene.wanted > 0].all()


def test_heads_to_be_found_are_upright_and_mirrored_as_often_as_not(many):
    """Those that lie are denied."""
    scene, turns = many
    wanted = scene.rotation[scene.wanted > 0]
    angles = np.array([pose_angles(rotation) for rotation in wanted])
    assert np.abs(np.degrees(angles[:, 2])).max() < 60
    known = np.degrees([pose_angles(rotation)[0] for rotation in turns])
    signed = np.degrees(angles[:, 0])
    for yaw in np.unique(np.round(known[np.abs(known) > 1], 3)):
        straight, mirrored = (np.abs(signed - sign * yaw) < 1 for sign in (1, -1))
        assert straight.sum() > 5 and mirrored.sum() > 5


def test_turning_a_picture_turns_its_head():
    turned = scenes.turned(jnp.asarray(pose_rotation(1.0, 0.2)), 0.3, 0.0)
    np.testing.assert_allclose(turned, pose_rotation(1.0, 0.2, 0.3), atol=1e-6)
    mirrored = scenes.turned(jnp.asarray(pose_rotation(1.0, 0.2)), 0.3, 1.0)
    np.testing.assert_allclose(mirrored, pose_rotation(-1.0, 0.2, 0.3), atol=1e-6)


def test_an_atlas_holds_halves_beside_the_whole():
    rgba = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 4), dtype=np.uint8)
    atlas = scenes.make_atlas(rgba)
    assert atlas.shape == (2, 16, 24, 4)
    whole = rgba.astype(float)
    whole[..., :3] *= whole[..., 3:] / 255
    np.testing.assert_allclose(atlas[:, :, :16], whole, atol=0.51)
    for level, (row, column) in ((1, (0, 16)), (2, (8, 16)), (3, (12, 16))):
        n, step = 16 >> level, 1 << level
        expected = whole.reshape(2, n, step, n, step, 4).mean((2, 4))
        np.testing.assert_allclose(atlas[:, row : row + n, column : column + n], expected, atol=0.51)


def a_scene(**changes):
    scene = scenes.Scene(
        picture=None,
        centre=jnp.array([[51.0, 70.0], [100.0, 30.0], [0.0, 0.0]]),
        side=jnp.array([60.0, 40.0, 30.0]),
        rotation=jnp.stack([jnp.asarray(pose_rotation(yaw, 0.1), jnp.float32) for yaw in (2.0, -1.0, 0.0)]),
        wanted=jnp.array([1.0, 1.0, 0.0]),
        doubtful=jnp.zeros(3),
    )
    return scene._replace(**changes)


def perfect(scene):
    """The outputs that say what the scene is, by loops."""
    n = INPUT_SIDE // STRIDE
    outputs = {HEAT: np.full((n, n, 1), -12.0), PLACE: np.zeros((n, n, 3)), TURN: np.zeros((n, n, 6))}
    for row in range(n):
        for column in range(n):
            middle = (np.array([column, row]) + 0.5) * STRIDE
            heads = [s for s in range(3) if scene.wanted[s]]
            slot = max(heads, key=lambda s: -((scene.centre[s] - middle) ** 2).sum() / scene.side[s] ** 2)
            away = np.array(scene.centre[slot]) - middle
            if np.abs(away).max() <= STRIDE / 2:
                outputs[HEAT][row, column] = 12
            outputs[PLACE][row, column] = *(away / STRIDE), math.log(scene.side[slot] / UNIT)
            outputs[TURN][row, column] = np.array(scene.rotation[slot])[:, :2].T.ravel()
    return {name: jnp.asarray(value, jnp.float32) for name, value in outputs.items()}


def loss(outputs, scene):
    batch = jax.tree.map(lambda x: x[None], (outputs, scene._replace(picture=jnp.zeros(1))))
    total, parts = losses.total_loss(*batch)
    return float(total), {name: float(value) for name, value in parts.items()}


def test_the_loss_is_least_where_all_is_said():
    scene = a_scene()
    right = perfect(scene)
    total, parts = loss(right, scene)
    assert total < 0.03 and set(parts) == {HEAT, "centre", "size", TURN}
    wrong = {HEAT: right | {HEAT: -right[HEAT]}, "centre": right | {PLACE: right[PLACE] + jnp.array([1.0, 0, 0])}}
    wrong |= {"size": right | {PLACE: right[PLACE] + jnp.array([0, 0, 0.3])}, TURN: right | {TURN: right[TURN][::-1]}}
    for name, outputs in wrong.items():
        worse, changed = loss(outputs, scene)
        assert changed[name] > parts[name] + 0.05 and worse > total, name


def test_the_turn_is_measured_as_twice_root_two_sines_of_half_the_angle():
    scene = a_scene(wanted=jnp.array([1.0, 0.0, 0.0]))
    outputs = perfect(scene)
    other = pose_rotation(2.0 + 0.5, 0.1)
    outputs[TURN] = jnp.broadcast_to(jnp.asarray(other[:, :2].T.ravel(), jnp.float32), outputs[TURN].shape)
    angle = math.acos((np.trace(other @ np.array(scene.rotation[0]).T) - 1) / 2)
    assert loss(outputs, scene)[1][TURN] == pytest.approx(2 * math.sqrt(2) * math.sin(angle / 2), rel=1e-3)


def test_doubtful_heads_are_neither_asked_for_nor_denied():
    scene = a_scene(wanted=jnp.zeros(3), doubtful=jnp.array([1.0, 0.0, 0.0]))
    silent = perfect(a_scene())
    quiet = silent | {HEAT: jnp.full_like(silent[HEAT], -12.0)}
    row, column = 8, 6  # the head's middle
    loud = quiet | {HEAT: quiet[HEAT].at[row, column].set(5.0)}
    assert loss(loud, scene)[0] == pytest.approx(loss(quiet, scene)[0], abs=1e-6)
    assert loss(loud, a_scene(wanted=jnp.zeros(3)))[0] > 1


def test_rotations_have_a_numpy_twin():
    turn = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)
    expected = np.stack([rotation_from(one.astype(np.float64)) for one in turn])
    np.testing.assert_allclose(losses.rotations(jnp.asarray(turn)), expected, atol=1e-5)


def test_a_finished_network_is_trained_on():
    weights = init_network(TINY, 3).weights
    plain = plain_weights(weights)
    again = plain_weights(trained_form({name: np.asarray(value) for name, value in plain.items()}))
    assert plain.keys() == again.keys()
    for name, value in plain.items():
        np.testing.assert_allclose(again[name], value, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("kind", surroundings.CLUTTER)
def test_surroundings_are_the_seeds(kind):
    one, other = (surroundings.clutter(kind, np.random.default_rng(seed)) for seed in (4, 4))
    assert one.shape == (192, 192, 3) and one.dtype == np.uint8
    np.testing.assert_array_equal(one, other)
    assert (surroundings.clutter(kind, np.random.default_rng(5)) != one).any()


def test_a_panorama_is_looked_around_in():
    """Green below the horizon, blue above."""
    panorama = np.zeros((64, 128, 3), np.uint8)
    panorama[:32, :, 2], panorama[32:, :, 1] = 255, 255
    views = [surroundings.look(panorama, np.random.default_rng(seed)) for seed in range(8)]
    assert all(view[0, 96, 2] >= view[-1, 96, 2] for view in views)
    assert any(view[0, 96, 2] == 255 and view[-1, 96, 1] == 255 for view in views)


def test_the_command_trains_and_writes_a_network(heads, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "panoramas"
    write_image(folder / "hall.png", np.zeros((32, 64, 3), np.uint8))
    out = tmp_path / "head_pose.npz"
    options = ["--heads", str(heads), "--panoramas", str(folder), "--out", str(out), "--steps", "3", "--batch", "2"]
    options += ["--surroundings", "3", "--widths.channels", "4", "4", "8", "8", "8"]
    options += ["--widths.blocks", "0", "0", "1", "0", "0", "--widths.neck", "8"]
    monkeypatch.setattr("sys.argv", ["head_pose", *options])
    assert run.main() == 0
    assert "3 steps of 2 pictures, 6 drawn views" in capsys.readouterr().err
    network = load(out)
    shapes = {n: x.shape for n, x in run.forward(network, network.weights, jnp.zeros((1, 64, 64, 3))).items()}
    assert shapes == {HEAT: (1, 8, 8, 1), PLACE: (1, 8, 8, 3), TURN: (1, 8, 8, 6)}
    assert run.main() == 2
    assert "out must not exist yet" in capsys.readouterr().err


def test_the_learning_rate_rises_and_falls():
    rates = [run.learning_rate(part, 2e-3) for part in np.linspace(0, 1, 201)]
    assert rates[0] == 0 and rates[-1] == pytest.approx(0) and max(rates) == pytest.approx(2e-3, rel=0.01)
    assert np.argmax(rates) in range(3, 6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch": 0}, "batch must be at least 1, got 0"),
        ({"surroundings": 0}, "surroundings must be at least 1, got 0"),
        ({"seconds": 0.0}, "seconds must be positive and steps none or more, got 0.0, 0"),
        ({"steps": -1}, "seconds must be positive and steps none or more, got 300.0, -1"),
        ({"heads": ()}, "heads must name a folder, got none"),
    ],
)
def test_bad_options_are_refused(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        HeadPoseConfig(**({"heads": (tmp_path,), "out": tmp_path / "x.npz"} | change))


def test_folders_without_heads_or_panoramas_are_refused(heads, tmp_path):
    with pytest.raises(InputError, match="heads must hold pictures of the train split of one size"):
        run.read_heads((tmp_path,), "train")
    with pytest.raises(InputError, match="heads must hold pictures of the validation split"):
        run.read_heads((heads,), "validation")
    for folder in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(InputError, match="surroundings must be a folder of pictures twice as wide as high"):
            surroundings.read_panoramas(folder)
    write_image(tmp_path / "square.png", np.zeros((32, 32, 3), np.uint8))
    with pytest.raises(InputError, match="twice as wide as high"):
        surroundings.read_panoramas(tmp_path)
