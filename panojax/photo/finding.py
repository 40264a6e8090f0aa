"""Which head of a photo is meant, and its pose: by the face mesh, by the head pose network, or by both.

The mesh sees faces from the front to some 60 degrees, the network heads from all sides. Between 35 and 60 degrees,
where both work, and as the mesh loses its belief in the face, the pose goes over from the one to the other, so that
labels of a turning head have no step.
"""

import dataclasses
import math
from typing import Literal

import numpy as np
from scipy.spatial.transform import Rotation

from panojax.errors import InputError
from panojax.photo.crop import Square, cut
from panojax.photo.detect import Face, choose_face, detect_faces
from panojax.photo.framing import HEADS, label_angles, square_and_camera
from panojax.photo.head_pose import SURE, Head, find_heads, head_pose, look_closer
from panojax.photo.pose import HeadPose, face_mesh, fit_pose, pose_angles, pose_turn

Method = Literal["face mesh", "head pose network", "both"]

MIN_FACE = 24  # pixels; below this the mesh network sees less than an eighth of its input
MIN_HEAD = 40  # pixels, of a head without hair; as much of a head as that of a face
# The mesh network's belief in a face falls as the head turns: of synthetic heads, 95% are above 12 in front and above
# -2 at 50 degrees. A camera held before the face gives 3.
MIN_PRESENCE, PRESENCE_FALL = 6.0, 0.15
# An upright face in front gives 15 and more. A photo with less is also looked at turned; an upside-down face, which the
# networks may take for an upright one, has 10 less than when it is turned.
SURE_PRESENCE, TURN_GAIN = 15.0, 5.0
# Degrees of yaw between which the pose goes over from the mesh's to the network's.
MESH_ALONE, NETWORK_ALONE = 35.0, 60.0
LYING_SIDE = 320  # pixels at which a head is looked at from the other sides
APART = 30.0  # degrees between both poses, from which on one is believed alone: the mesh, if it is rather sure


@dataclasses.dataclass(frozen=True)
class Found:
    """The head that is meant.

    Attributes:
      faces: all faces of the picture from left to right; where there is none, all heads.
      chosen: the one of them that is meant.
      pose: of the head.
      method: by which the pose was found.
      presence: the mesh network's belief in the face; NaN where there is none.
      points: the mesh [468, 3], or where the pose is the head pose network's alone, points of the head's box [n, 2].
    """

    faces: list[Face]
    chosen: Face
    pose: HeadPose
    method: Method
    presence: float
    points: np.ndarray

    @property
    def kind(self) -> Literal["face", "head"]:
        """Which of them was found."""
        return "face" if len(self.chosen.landmarks) else "head"


@dataclasses.dataclass(frozen=True)
class _Seen:
    """The faces of a picture, the chosen one with its mesh [468, 3], and the mesh network's belief in it."""

    faces: list[Face]
    chosen: Face
    points: np.ndarray
    presence: float

    @property
    def margin(self) -> float:
        """How far the belief lies above what a face that is turned so has at least."""
        yaw, *_ = pose_angles(fit_pose(self.points).rotation)
        return self.presence - least_presence(math.degrees(yaw))


def least_presence(yaw: float) -> float:
    """The mesh network's least belief in a face that is turned by `yaw` degrees."""
    return MIN_PRESENCE - PRESENCE_FALL * abs(yaw)


def find(rgb: np.ndarray, face: str | int) -> tuple[Found, int]:
    """The head that is meant, and by how many quarters the picture is turned counterclockwise for it to be upright.

    Faces go before heads without one, upright ones before others. Where no upright face is sure and no upright head is
    seen, the picture is looked at from all four sides.

    Args:
      rgb: [H, W, 3] in [-1, 1].
      face: see `detect.choose_face`.

    Raises:
      InputError: there is none, or not the one asked for.
    """
    seen, reason, count = _try_faces(rgb, face)
    if seen is not None and seen.presence >= SURE_PRESENCE:
        return _checked(rgb, seen), 0
    if seen is None and count:
        return _find_turned(rgb, face, None, reason)
    heads = [head for head in find_heads(rgb) if not _lies(rgb, head)]
    if seen is not None and (head := _head_of(seen.chosen, heads)) is not None:
        return _settled(seen, head), 0
    if seen is not None and isinstance(face, int):
        return _by_mesh(seen), 0
    if heads and (count == 0 or (seen is not None and seen.margin < 0)):
        return _by_network(heads, face, rgb.shape), 0
    return _find_turned(rgb, face, seen, None)


def _find_turned(rgb, face, best, reason):
    """The same where the upright picture shows no sure face, `best` being what it shows, and no head.

    `reason` is why none of its faces is meant, or None where it shows none.
    """
    pictures = {turn: np.ascontiguousarray(np.rot90(rgb, turn)) for turn in (0, 2, 1, 3)}
    quarters = 0
    for turn in (2, 1, 3):
        seen, *_ = _try_faces(pictures[turn], face)
        least = 0.0 if best is None else best.margin + (TURN_GAIN if quarters == 0 else 0.0)
        if seen is not None and seen.margin > least:
            best, quarters = seen, turn
    if best is not None:
        return _checked(pictures[quarters], best), quarters
    if reason is not None:
        raise reason
    heads = {turn: found for turn in (2, 1, 3) if (found := find_heads(pictures[turn]))}
    if not heads:
        raise InputError("photo must show a head, got none")
    quarters = max(heads, key=lambda turn: max(head.score for head in heads[turn]))
    return _by_network(heads[quarters], face, pictures[quarters].shape), quarters


def _try_faces(rgb, face) -> tuple[_Seen | None, InputError | None, int]:
    """The face that is meant, or why there is none, and how many faces the picture shows.

    Of several faces, one that the mesh network does not believe in counts last.
    """
    faces = detect_faces(rgb)
    try:
        chosen = choose_face(faces, face, rgb.shape)
        if chosen.size < MIN_FACE:
            raise InputError(f"photo must show a face of at least {MIN_FACE} pixels, got {chosen.size:.0f}")
    except InputError as error:
        return None, error, len(faces)
    first = seen = _Seen(faces, chosen, *face_mesh(rgb, chosen))
    left = [other for other in faces if other is not chosen and other.size >= MIN_FACE]
    while face == "largest" and left and seen.margin < 0:
        chosen = choose_face(left, face, rgb.shape)
        left.remove(chosen)
        seen = _Seen(faces, chosen, *face_mesh(rgb, chosen))
    return (seen if seen.margin >= 0 else first), None, len(faces)


def _lies(rgb: np.ndarray, head: Head) -> bool:
    """Whether what looks like a head is a sure face that lies on its side or upside down."""
    around = cut(rgb, Square(*head.centre, 1.6 * head.side), LYING_SIDE)
    turned = (_try_faces(np.ascontiguousarray(np.rot90(around, turn)), "largest")[0] for turn in (1, 2, 3))
    return any(seen is not None and seen.presence >= SURE_PRESENCE for seen in turned)


def _head_of(face: Face, heads: list[Head]) -> Head | None:
    """The head whose face that is."""
    x, y = face.middle
    near = [
        head
        for head in heads
        if math.hypot(head.centre[0] - x, head.centre[1] - y) < 0.45 * head.side and 0.15 < face.size / head.side < 0.9
    ]
    return max(near, key=lambda head: head.score, default=None)


def _checked(rgb, seen: _Seen) -> Found:
    """What is known of a face that the mesh network is sure of: turned ones are looked at by the other network, too."""
    pose = fit_pose(seen.points)
    if abs(_label_yaw(pose)) <= MESH_ALONE:
        return _by_mesh(seen)
    square, camera = square_and_camera(pose, HEADS)
    turn = pose_turn(square.roll) @ np.asarray(camera, np.float64)[:16].reshape(4, 4)[:3, :3].T
    head = look_closer(rgb, Head((square.x, square.y), square.side, turn, 1.0))
    return _settled(seen, head) if head.score >= SURE else _by_mesh(seen)


def _settled(seen: _Seen, head: Head) -> Found:
    """The pose of a head that both networks see."""
    mesh, network = fit_pose(seen.points), head_pose(head)
    apart = math.degrees(Rotation.from_matrix(network.rotation @ mesh.rotation.T).magnitude())
    turned = (abs(_label_yaw(mesh)) + abs(_label_yaw(network))) / 2
    belief = min(max(seen.margin / (seen.margin + SURE_PRESENCE - seen.presence), 0.0), 1.0)
    if seen.presence >= SURE_PRESENCE:
        belief = 1.0
    share = 1 - belief * (1 - _smooth((turned - MESH_ALONE) / (NETWORK_ALONE - MESH_ALONE)))
    if apart > APART:
        share = 0.0 if belief > 0.5 else 1.0
    if share == 0:
        return _by_mesh(seen)
    if share == 1:
        return _alone(seen.faces, seen.chosen, head, seen.presence)
    return Found(seen.faces, seen.chosen, between(mesh, network, share), "both", seen.presence, seen.points)


def _smooth(x: float) -> float:
    """From 0 to 1, without a corner."""
    x = min(max(x, 0.0), 1.0)
    return x * x * (3 - 2 * x)


def between(one: HeadPose, other: HeadPose, share: float) -> HeadPose:
    """The pose that is `share` of the way from one to the other."""
    turn = Rotation.from_matrix(other.rotation @ one.rotation.T).as_rotvec()
    rotation = Rotation.from_rotvec(share * turn).as_matrix() @ one.rotation
    x, y = (1 - share) * np.array(one.face) + share * np.array(other.face)
    return HeadPose(rotation, one.scale ** (1 - share) * other.scale**share, (float(x), float(y)))


def _by_mesh(seen: _Seen) -> Found:
    return Found(seen.faces, seen.chosen, fit_pose(seen.points), "face mesh", seen.presence, seen.points)


def _by_network(heads: list[Head], face: str | int, shape: tuple[int, ...]) -> Found:
    """The head that is meant of those of a picture without faces."""
    boxes = [Face(head.box, np.zeros((0, 2)), head.score) for head in heads]
    chosen = choose_face(boxes, face, shape)
    if chosen.size < MIN_HEAD:
        raise InputError(f"photo must show a head of at least {MIN_HEAD} pixels, got {chosen.size:.0f}")
    return _alone(boxes, chosen, heads[boxes.index(chosen)], math.nan)


def _alone(faces: list[Face], chosen: Face, head: Head, presence: float) -> Found:
    """By the head pose network alone."""
    left, top, width, height = head.box
    grid = np.stack(np.meshgrid(left + width * np.linspace(0, 1, 16), top + height * np.linspace(0, 1, 16)), -1)
    return Found(faces, chosen, head_pose(head), "head pose network", presence, grid.reshape(-1, 2))


def _label_yaw(pose: HeadPose) -> float:
    """Degrees of a label of the framing `HEADS`."""
    return math.degrees(label_angles(square_and_camera(pose, HEADS)[1])[0])
