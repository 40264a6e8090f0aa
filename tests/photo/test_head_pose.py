"""The network that sees heads from all sides: what its outputs mean, and what it sees."""

import importlib.resources
import json
import math
import pathlib

import numpy as np
import pytest
import skimage.data

from panojax.nn.graph import shipped
from panojax.photo import HEADS, align, finding
from panojax.photo import head_pose as head_pose_module
from panojax.photo.crop import Square, cut
from panojax.photo.framing import label_angles, square_and_camera
from panojax.photo.head_pose import (
    HEAT,
    PLACE,
    STRIDE,
    TURN,
    UNIT,
    Head,
    decode,
    find_heads,
    head_pose,
    rotation_from,
)
from panojax.photo.pose import pose_angles, pose_rotation, pose_turn
from panojax.train.head_pose.surroundings import CLUTTER, clutter

DRAWN = pathlib.Path(__file__).with_name("drawn_heads")


def test_the_network_is_small_and_takes_pictures_of_any_size():
    file = importlib.resources.files("panojax.photo") / "weights" / "head_pose.npz"
    assert len(file.read_bytes()) <= 3_000_000
    for height, width in ((128, 128), (256, 192)):
        outputs = shipped("panojax.photo", "head_pose")(np.zeros((height, width, 3), np.float32))
        shapes = {name: array.shape for name, array in outputs.items()}
        assert shapes == {n: (height // 8, width // 8, c) for n, c in ((HEAT, 1), (PLACE, 3), (TURN, 6))}


def outputs_of(heads, n=16):
    """What the network would say of heads that are given as (x, y, side, rotation, score) in its own pixels: one
    cell each."""
    outputs = {HEAT: np.full((n, n, 1), -9.0), PLACE: np.zeros((n, n, 3)), TURN: np.zeros((n, n, 6))}
    for x, y, side, rotation, score in heads:
        row, column = int(y // STRIDE), int(x // STRIDE)
        outputs[HEAT][row, column] = math.log(score / (1 - score))
        outputs[PLACE][row, column] = x / STRIDE - column - 0.5, y / STRIDE - row - 0.5, math.log(side / UNIT)
        outputs[TURN][row, column] = np.concatenate([1.7 * rotation[:, 0], 0.4 * rotation[:, 1]])
    return outputs


def test_outputs_are_decoded():
    turns = [pose_rotation(2.9, 0.2, 0.1), pose_rotation(-1.0, -0.3, -0.4)]
    told = [(30.0, 41.0, 55.0, turns[0], 0.8), (100.0, 70.0, 20.0, turns[1], 0.9)]
    square = Square(200.0, 120.0, 256.0)
    heads = decode(outputs_of(told), square, 128, 0.3)
    assert [head.score for head in heads] == pytest.approx([0.9, 0.8])
    for head, (x, y, side, turn, _) in zip(heads, reversed(told)):
        assert head.centre == pytest.approx((200 - 128 + 2 * x, 120 - 128 + 2 * y))
        assert head.side == pytest.approx(2 * side)
        np.testing.assert_allclose(head.rotation, turn, atol=1e-9)
    assert len(decode(outputs_of(told), square, 128, 0.85)) == 1 and decode(outputs_of([]), square, 128, 0.3) == []


def test_neighbours_have_a_say_by_their_scores():
    outputs = outputs_of([(60.0, 60.0, 40.0, pose_rotation(0, 0), 0.8), (68.0, 60.0, 50.0, pose_rotation(0.2, 0), 0.4)])
    (head,) = decode(outputs, Square(64.0, 64.0, 128.0), 128, 0.3)
    assert head.centre == pytest.approx((60 + 8 / 3, 60)) and head.side == pytest.approx(40 ** (2 / 3) * 50 ** (1 / 3))
    yaw, *_ = pose_angles(head.rotation)
    assert 0.05 < yaw < 0.09


def test_a_turned_square_turns_the_head():
    roll = 0.4
    rotation = pose_rotation(1.2, 0.1, 0.05)
    (head,) = decode(outputs_of([(64.0, 32.0, 40.0, rotation, 0.9)]), Square(50.0, 60.0, 64.0, roll), 128, 0.3)
    assert head.centre == pytest.approx((50 + 16 * math.sin(roll), 60 - 16 * math.cos(roll)))
    np.testing.assert_allclose(head.rotation, pose_turn(roll) @ rotation, atol=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_rotations_are_made_of_any_six_numbers(seed):
    rotation = rotation_from(np.random.default_rng(seed).normal(size=6))
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)


@pytest.mark.parametrize("angles", [(0.0, 0.0, 0.0), (0.7, 0.3, -0.2), (-1.6, -0.2, 0.4), (3.1, 0.4, 0.1)])
def test_the_pose_of_a_head_gives_its_own_square_and_label_back(angles):
    head = Head((310.0, 205.0), 180.0, pose_rotation(*angles), 0.9)
    square, camera = square_and_camera(head_pose(head), HEADS)
    assert (square.x, square.y, square.side, square.roll) == pytest.approx((310, 205, 180, angles[2]))
    np.testing.assert_allclose(label_angles(camera)[:2], angles[:2], atol=1e-6)


def puppet(height, width, *, x, y, side, roll, yaw):
    """A photo of a red disc with a green dot on top and a blue one on the side that it looks to."""
    rows, columns = np.mgrid[:height, :width] + 0.5
    photo = np.full((height, width, 3), -0.2, np.float32)
    up, right = (math.sin(roll), -math.cos(roll)), (math.cos(roll), math.sin(roll))
    towards = [-math.copysign(1, yaw) * c for c in right]
    for channel, (away, radius) in enumerate((((0, 0), 0.2), (up, 0.06), (towards, 0.06))):
        centre = x + 0.3 * side * away[0], y + 0.3 * side * away[1]
        disc = (columns - centre[0]) ** 2 + (rows - centre[1]) ** 2 < (radius * side) ** 2
        photo[disc] = -1
        photo[disc, channel] = 1
    return photo


def see_puppet(picture):
    """What a network would say that knows puppets: where the red disc is, and its turn by the dots."""
    n = picture.shape[0] // STRIDE, picture.shape[1] // STRIDE
    outputs = {HEAT: np.full((*n, 1), -9.0), PLACE: np.zeros((*n, 3)), TURN: np.zeros((*n, 6))}
    masks = [picture[..., i] - np.delete(picture, i, -1).max(-1) > 1 for i in range(3)]
    if not all(mask.sum() > 3 for mask in masks):
        return outputs
    red, green, blue = (np.argwhere(mask).mean(0)[::-1] + 0.5 for mask in masks)
    roll = math.atan2(green[0] - red[0], red[1] - green[1])
    left = (red - blue) @ (math.cos(roll), math.sin(roll)) > 0
    rotation = pose_rotation(0.6 if left else -0.6, 0.1, roll)
    side = math.sqrt(masks[0].sum() / math.pi) / 0.2
    return outputs_of([(*red, side, rotation, 0.9)], n[0])


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ((300, 300), {"x": 150, "y": 140, "side": 180, "roll": 0.0, "yaw": 1}),
        ((500, 700), {"x": 480, "y": 250, "side": 160, "roll": 0.5, "yaw": -1}),
        ((900, 600), {"x": 200, "y": 500, "side": 120, "roll": -0.4, "yaw": 1}),
        ((1000, 1000), {"x": 760, "y": 300, "side": 90, "roll": 0.2, "yaw": -1}),
    ],
)
def test_a_head_is_found_and_looked_at_alone(monkeypatch, shape, told):
    """Its place, size and turn come back through squares of all kinds, turned ones and mirror images."""
    monkeypatch.setattr(head_pose_module, "_network", see_puppet)
    (head,) = find_heads(puppet(*shape, **told))
    assert head.centre == pytest.approx((told["x"], told["y"]), abs=0.02 * told["side"])
    assert head.side == pytest.approx(told["side"], rel=0.06) and head.score == pytest.approx(0.9)
    expected = 0.6 * told["yaw"], 0.1, told["roll"]
    np.testing.assert_allclose(pose_angles(head.rotation), expected, atol=0.03)
    assert head.yaw == pytest.approx(math.degrees(expected[0]), abs=2)
    left, top, width, height = head.box
    assert (left + width / 2, top + height / 2) == pytest.approx(head.centre) and width == height == head.size


def test_what_is_not_seen_alone_is_no_head(monkeypatch):
    looks = iter([see_puppet])
    blank = see_puppet(np.zeros((128, 128, 3)))
    monkeypatch.setattr(head_pose_module, "_network", lambda picture: next(looks, lambda x: blank)(picture))
    assert find_heads(puppet(120, 120, x=60, y=60, side=70, roll=0, yaw=1)) == []


def drawn():
    """(photo, label, square) of drawn heads with hair that no training head has, from all sides."""
    from panojax.files.image_file import read_image

    for entry in json.loads((DRAWN / "heads.json").read_text()):
        yield read_image(DRAWN / entry["name"])[0], np.array(entry["label"]), Square(*entry["square"])


@pytest.mark.parametrize("number", range(6))
def test_drawn_heads_are_found_from_all_sides(number):
    photo, label, wanted = list(drawn())[number]
    (head,) = find_heads(photo)
    check(*square_and_camera(head_pose(head), HEADS), label, wanted)


def test_a_back_is_aligned(monkeypatch):
    """Without the face detector's eight looks, which are most of the time."""
    monkeypatch.setattr(finding, "detect_faces", lambda rgb: [])
    photo, label, wanted = next(drawn())
    got = align(photo, size=64, framing=HEADS)
    assert (got.report.faces, got.report.kind, got.report.method) == (1, "head", "head pose network")
    check(Square(*got.report.centre, got.report.crop_size), got.camera, label, wanted)


def check(square, camera, label, wanted):
    """A crop and a label, within 15 degrees, as 95% of all are."""
    off = np.degrees(np.subtract(label_angles(camera)[:2], label_angles(label)[:2]))
    assert np.abs((off + 180) % 360 - 180).max() < 15
    assert math.dist((square.x, square.y), (wanted.x, wanted.y)) < 0.08 * wanted.side
    assert square.side == pytest.approx(wanted.side, rel=0.15)


def test_a_mirrored_back_has_the_mirrored_pose():
    photo = next(drawn())[0]
    (one,), (other,) = find_heads(photo), find_heads(photo[:, ::-1])
    flip = np.diag([-1, 1, 1])
    np.testing.assert_allclose(other.rotation, flip @ one.rotation @ flip, atol=0.03)
    assert other.centre == pytest.approx((photo.shape[1] - one.centre[0], one.centre[1]), abs=1)


def test_both_networks_agree_on_a_real_face(astronaut):
    """The mesh's label and the other's; its full hair makes the head pose network's square too wide by a sixth."""
    mesh = align(astronaut, size=64, framing=HEADS).report
    (head,) = find_heads(astronaut)
    assert mesh.method == "face mesh" and abs(head.yaw - mesh.yaw) < 12
    assert math.dist(head.centre, mesh.centre) < 0.12 * mesh.crop_size
    assert head.side == pytest.approx(mesh.crop_size, rel=0.2)


@pytest.mark.parametrize("name", ["brick", "grass", "gravel", "coffee", "rocket", "chelsea", "coins", "moon", "page"])
def test_pictures_without_people_have_no_heads(name):
    picture = np.atleast_3d(getattr(skimage.data, name)()).astype(np.float32) / 127.5 - 1
    picture = np.broadcast_to(picture, (*picture.shape[:2], 3))
    assert find_heads(picture) == []


def test_textures_and_blanks_have_no_heads():
    rng = np.random.default_rng(7)
    pictures = [clutter(kind, rng) / np.float32(127.5) - 1 for kind in CLUTTER for _ in range(4)]
    pictures += [np.full((200, 300, 3), value, np.float32) for value in (-1, 0, 1)]
    assert sum(len(find_heads(picture)) for picture in pictures) == 0


def test_a_small_head_in_a_large_photo_is_found():
    photo, _, square = list(drawn())[1]
    canvas = np.zeros((900, 1200, 3), np.float32)
    small = cut(photo, Square(photo.shape[1] / 2, photo.shape[0] / 2, photo.shape[0]), 160)
    canvas[600:760, 200:360] = small
    (head,) = find_heads(canvas)
    scale = 160 / photo.shape[0]
    assert head.centre == pytest.approx((200 + square.x * scale, 600 + square.y * scale), abs=10)
