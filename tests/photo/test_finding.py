"""Which of both pose networks is believed; nothing here needs their weights."""

import dataclasses
import math

import numpy as np
import pytest

from panojax.errors import InputError
from panojax.photo import alignment, finding
from panojax.photo.alignment import align
from panojax.photo.detect import Face
from panojax.photo.finding import between, find
from panojax.photo.framing import HEADS, label_angles, square_and_camera
from panojax.photo.head_pose import Head, head_pose
from panojax.photo.pose import DEPTH, YAW_GAIN, YAW_KNEE, mean_face, pose_angles, pose_rotation

PHOTO = np.zeros((400, 600, 3), np.float32)


def head_at(yaw, *, x=300.0, y=200.0, side=200.0, score=0.9, roll=0.0):
    return Head((x, y), side, pose_rotation(math.radians(yaw), 0.1, roll), score)


def face_of(head):
    """A face as the detector sees it in the middle of a head."""
    left, top, width, height = head.box
    box = (left + 0.25 * width, top + 0.25 * height, 0.5 * width, 0.5 * height)
    return Face(box, np.zeros((5, 2)), 0.9)


def mesh_of(head):
    """The mean face where the head pose network sees the head: both agree, but for the mesh's turn beyond its knee."""
    pose = head_pose(head)
    yaw, elevation, roll = pose_angles(pose.rotation)
    beyond = max(0.0, abs(yaw) - math.radians(YAW_KNEE))
    yaw -= math.copysign(beyond * (1 - 1 / YAW_GAIN), yaw)
    points = pose.scale * mean_face() @ pose_rotation(yaw, elevation, roll).T + (*pose.face, 0)
    return points / (1, 1, DEPTH)


@pytest.fixture
def world(monkeypatch):
    """A photo whose faces, meshes and heads are told: world(heads=..., faces=..., meshes=..., presence=...)."""

    def tell(*, heads=(), faces=(), mesh=None, presence=20.0, closer=None):
        monkeypatch.setattr(finding, "detect_faces", lambda rgb: list(faces) if rgb.shape == PHOTO.shape else [])
        monkeypatch.setattr(finding, "find_heads", lambda rgb: list(heads) if rgb.shape == PHOTO.shape else [])
        monkeypatch.setattr(finding, "face_mesh", lambda rgb, face: (mesh_of(mesh), presence))

        def look(rgb, head):
            if closer is None:
                raise AssertionError("the head pose network was asked")
            return closer

        monkeypatch.setattr(finding, "look_closer", look)

    return tell


def yaw_of(found):
    return math.degrees(label_angles(square_and_camera(found.pose, HEADS)[1])[0])


@pytest.mark.parametrize("yaw", [-179.0, -100.0, 0.0, 90.0, 135.0])
def test_a_head_without_a_face_is_aligned_by_its_network(world, yaw):
    world(heads=[head_at(yaw)])
    got = align(PHOTO, size=64, framing=HEADS)
    report = got.report
    assert (report.kind, report.method, report.faces) == ("head", "head pose network", 1)
    assert report.yaw == pytest.approx(yaw, abs=1e-3) and report.crop_size == pytest.approx(200, rel=1e-6)
    assert report.centre == pytest.approx((300, 200)) and report.box == pytest.approx(head_at(yaw).box)
    assert report.warnings[0] == "no face was found: the head was found and aligned by the head pose network"
    assert any("from behind" in warning for warning in report.warnings) == (abs(yaw) > 110)
    assert report.summary().startswith("head 148 px") and report.summary().endswith("by the head pose network")


def test_a_sure_face_in_front_is_left_to_the_mesh(world):
    """The other network is not even asked."""
    head = head_at(20)
    world(faces=[face_of(head)], mesh=head)
    found, turned = find(PHOTO, "largest")
    assert (found.method, found.kind, turned) == ("face mesh", "face", 0)
    assert yaw_of(found) == pytest.approx(20, abs=0.01)


@pytest.mark.parametrize("yaw", [70.0, 25.0])
def test_where_the_mesh_doubts_the_other_network_is_believed(world, yaw):
    head = head_at(yaw)
    world(faces=[face_of(head)], mesh=head_at(10), presence=-8.0, heads=[head])
    found, _ = find(PHOTO, "largest")
    assert (found.method, found.kind) == ("head pose network", "face")
    assert yaw_of(found) == pytest.approx(yaw, abs=0.01)
    warned = align(PHOTO, size=64).report.warnings[0]
    assert warned.startswith("the head is turned 71" if yaw > 60 else "the face is hardly seen: it was aligned by")


def test_the_less_the_mesh_believes_the_more_the_other_network_says(world):
    """Networks that are 16 degrees apart, in front: from the mesh's pose to the other's, without a step."""
    mesh, head = head_at(8), head_at(-8)
    yaws = []
    for presence in np.arange(3, 17, 0.5):
        world(faces=[face_of(mesh)], mesh=mesh, presence=presence, heads=[head])
        found, _ = find(PHOTO, "largest")
        yaws.append(yaw_of(found))
    assert yaws[0] == pytest.approx(-8, abs=0.01) and yaws[-1] == pytest.approx(8, abs=0.01)
    assert min(np.diff(yaws)) > -1e-6 and max(np.diff(yaws)) < 1.2


def test_a_face_in_the_back_of_a_head_is_not_believed(world):
    """One that the mesh takes for a face, but is not sure of, where a head looks the other way."""
    head = head_at(170)
    world(faces=[face_of(head)], mesh=head_at(0), presence=8.0, heads=[head])
    found, _ = find(PHOTO, "largest")
    assert found.method == "head pose network" and abs(yaw_of(found)) == pytest.approx(170, abs=0.01)


def test_a_sure_mesh_is_believed_against_the_other_network(world):
    head = head_at(45)
    world(faces=[face_of(head)], mesh=head, closer=head_at(140))
    found, _ = find(PHOTO, "largest")
    assert found.method == "face mesh" and yaw_of(found) == pytest.approx(45, abs=0.01)


def test_a_head_that_is_hardly_seen_changes_nothing(world):
    head = head_at(55)
    world(faces=[face_of(head)], mesh=head, closer=head_at(65, score=0.3))
    found, _ = find(PHOTO, "largest")
    assert found.method == "face mesh" and yaw_of(found) == pytest.approx(55, abs=0.01)


def test_labels_have_no_step_where_the_methods_meet(world):
    """Networks that are 8 degrees apart, and 6% in size: each degree of turning moves the label by less than two."""
    yaws, sizes, methods = [], [], []
    for true in range(10, 90):
        mesh = head_at(true + 4)
        world(faces=[face_of(mesh)], mesh=mesh, closer=head_at(true - 4, side=212))
        found, _ = find(PHOTO, "largest")
        yaws.append(yaw_of(found))
        sizes.append(square_and_camera(found.pose, HEADS)[0].side)
        methods.append(found.method)
    assert np.abs(np.diff(yaws)).max() < 2 and np.min(np.diff(yaws)) > 0
    assert np.abs(np.diff(sizes)).max() < 1
    assert methods == sorted(methods, key=["face mesh", "both", "head pose network"].index)
    assert set(methods) == {"face mesh", "both", "head pose network"}


def test_half_way_between_two_poses():
    one, other = head_pose(head_at(30, x=100, side=100)), head_pose(head_at(50, x=120, side=144))
    middle = between(one, other, 0.5)
    assert middle.scale == pytest.approx(math.sqrt(one.scale * other.scale))
    np.testing.assert_allclose(middle.face, (np.array(one.face) + other.face) / 2)
    assert yaw_of(finding.Found([], None, middle, "both", 0, None)) == pytest.approx(40, abs=0.2)
    np.testing.assert_allclose(between(one, other, 0).rotation, one.rotation, atol=1e-12)
    np.testing.assert_allclose(between(one, other, 1).rotation, other.rotation, atol=1e-12)


def test_several_heads_are_chosen_as_faces_are(world):
    heads = [head_at(150, x=120, side=120), head_at(-170, x=400, side=200)]
    world(heads=heads)
    assert align(PHOTO, size=64).report.centre[0] > 300
    left = align(PHOTO, size=64, face=0).report
    assert left.centre[0] < 200 and not any("heads" in warning for warning in left.warnings)
    assert "the photo shows 2 heads; this is the largest one" in align(PHOTO, size=64).report.warnings[0]
    with pytest.raises(InputError, match="photo must show one face, got 2"):
        align(PHOTO, face="only")
    with pytest.raises(InputError, match="face must be at most 1, the last of the photo from the left, got 2"):
        align(PHOTO, face=2)


def test_faces_go_before_heads(world):
    face, back = head_at(0, x=120, side=120), head_at(180, x=420)
    world(faces=[face_of(face)], mesh=face, heads=[face, back])
    found, _ = find(PHOTO, "largest")
    assert found.kind == "face" and len(found.faces) == 1 and found.method == "face mesh"


@pytest.mark.parametrize(("quarters", "said"), [(1, "on its side"), (2, "upside down"), (3, "on its side")])
def test_a_back_that_lies_is_turned(monkeypatch, quarters, said):
    """The picture's corner tells the stand-in how it lies."""
    photo = np.zeros((300, 300, 3), np.float32)
    photo[0, 0] = 1
    head = head_at(180, x=150, y=150)
    monkeypatch.setattr(finding, "detect_faces", lambda rgb: [])
    monkeypatch.setattr(finding, "find_heads", lambda rgb: [head] if rgb[0, 0, 0] == 1 else [])
    report = align(np.rot90(photo, -quarters), size=64).report
    assert report.turned == 90 * quarters and said in report.warnings[0] and report.kind == "head"


def test_a_face_that_lies_is_not_taken_for_a_head(monkeypatch):
    """The photo is bright where the stand-in's face has its top."""
    photo = np.broadcast_to(np.linspace(-0.5, 0.5, 300, dtype=np.float32)[None, :, None], (300, 300, 3)).copy()
    head = head_at(0, x=150, y=150)
    upright = lambda rgb: rgb[:20].mean() > rgb[-20:].mean() + 0.3  # noqa: E731
    monkeypatch.setattr(finding, "detect_faces", lambda rgb: [face_of(head)] if upright(rgb) else [])
    monkeypatch.setattr(finding, "face_mesh", lambda rgb, face: (mesh_of(head), 20.0))
    monkeypatch.setattr(finding, "find_heads", lambda rgb: [head_at(180, x=150, y=150)])
    found, quarters = find(photo, "largest")
    assert (found.kind, found.method, quarters) == ("face", "face mesh", 1)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (None, "photo must show a head, got none"),
        (head_at(180, side=50), "photo must show a head of at least 40 pixels, got 37"),
        (head_at(180, x=10), "photo must hold most of the head, got 5[0-9]% of it, cut by the border"),
    ],
)
def test_heads_that_cannot_be_used_are_refused_in_one_line(world, head, message):
    world(heads=[] if head is None else [head])
    with pytest.raises(InputError, match=message) as caught:
        align(PHOTO)
    assert "\n" not in str(caught.value)


def test_a_hidden_face_without_a_head_is_refused(world):
    head = head_at(0)
    world(faces=[face_of(head)], mesh=head, presence=3.0)
    with pytest.raises(InputError, match="photo must show the face plainly, got one that is hidden, or none, at x 300"):
        align(PHOTO)


def test_what_is_told_of_heads(world):
    world(heads=[head_at(180)])
    report = dataclasses.replace(align(PHOTO, size=64).report, sharpness=0.0, score=0.78)
    said = alignment._warnings(report, "largest")
    assert "the detector is not sure of this head (0.78)" in said and not any("blurred" in one for one in said)
