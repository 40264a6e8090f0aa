"""The pose of a head: a mean face fitted without perspective to a face mesh of 468 points (Kartynnik et al., 2019).

The mean face lives in the world's axes: x to the right of a frontal picture, y up, z out of the face; in millimetres
for pupils 63 mm apart; its origin is the mean of its points. `weights/README.md` says how it was made.
"""

import dataclasses
import functools
import importlib.resources
import math

import numpy as np

from panojax.nn.graph import shipped
from panojax.photo.crop import Square, cut, to_crop, to_photo
from panojax.photo.detect import Face

MESH_SIDE = 192
MESH_MARGIN = 1.5
OUTER_EYE_LEFT, OUTER_EYE_RIGHT = 33, 263  # corners of the eyes as they lie in an upright picture
POINTS_OUTPUT, PRESENCE_OUTPUT = "213", "210"
# The network's depths are a tenth short: with them lengthened, its yaws of synthetic heads have the slope 0.98 over the
# true ones instead of 0.95.
DEPTH = 1.1
# Beyond 45 degrees the mesh turns less than the head; fitted on synthetic heads up to 75 degrees.
YAW_KNEE, YAW_GAIN = 45.0, 1.3


@dataclasses.dataclass(frozen=True)
class HeadPose:
    """Where a head is in a photo: point X of the mean face appears at `face + scale * (rotation @ X)[:2]`.

    Attributes:
      rotation: [3, 3] from the mean face's axes to the camera's (x right, y down, z away).
      scale: pixels a millimetre, at the depth of the face.
      face: (x, y) of the mean face's origin, in pixels of the photo.
    """

    rotation: np.ndarray
    scale: float
    face: tuple[float, float]


@functools.cache
def mean_face() -> np.ndarray:
    """The mean face's points [468, 3] in millimetres."""
    with (
        (importlib.resources.files("panojax.photo") / "weights" / "face.npz").open("rb") as file,
        np.load(file) as data,
    ):
        return data["points"].astype(np.float64)


def face_mesh(rgb: np.ndarray, face: Face, *, passes: int = 2) -> tuple[np.ndarray, float]:
    """The face's 468 points and the network's belief that a face is there.

    The first pass looks where the detector saw the face, each further one where the pass before found the points.

    Args:
      rgb: [H, W, 3] in [-1, 1].
      face: from the detector.
      passes: at least 1.

    Returns:
      points: [468, 3] x, y in pixels of the photo and z, away from the camera, on about the same scale.
      presence: a logit; plain faces have more than 15, profiles about 7, hidden faces 0.
    """
    across = face.landmarks[1] - face.landmarks[0]
    square = Square(*face.middle, MESH_MARGIN * face.size, math.atan2(across[1], across[0]))
    for _ in range(passes):
        outputs = shipped("panojax.photo", "mesh")((cut(rgb, square, MESH_SIDE) + 1) / 2)
        points = outputs[POINTS_OUTPUT].reshape(-1, 3).astype(np.float64)
        presence = float(outputs[PRESENCE_OUTPUT].reshape(()))
        points[:, :2] = to_photo(points[:, :2], square, MESH_SIDE)
        points[:, 2] *= square.side / MESH_SIDE
        square = _around(points[:, :2])
    return points, presence


def fit_pose(points: np.ndarray) -> HeadPose:
    """Fits the mean face to a mesh [468, 3] (x, y, z of `face_mesh`): a similarity transform by least squares."""
    seen = points * (1, 1, DEPTH)
    rotation, scale, middle = similarity(mean_face(), seen)
    yaw, elevation, roll = pose_angles(rotation)
    beyond = max(0.0, abs(yaw) - math.radians(YAW_KNEE))
    yaw += math.copysign((YAW_GAIN - 1) * beyond, yaw)
    return HeadPose(pose_rotation(yaw, elevation, roll), scale, (float(middle[0]), float(middle[1])))


def similarity(model: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
    """The rotation [3, 3], scale and shift [3] with the least sum of |scale * rotation @ model + shift - seen|^2.

    Args:
      model, seen: corresponding points [n, 3].

    Source: Umeyama, "Least-squares estimation of transformation parameters between two point patterns", 1991.
    """
    model_middle, seen_middle = model.mean(0), seen.mean(0)
    left, stretch, right = np.linalg.svd((seen - seen_middle).T @ (model - model_middle))
    signs = np.array([1, 1, np.sign(np.linalg.det(left @ right))])
    rotation = (left * signs) @ right
    scale = float((stretch * signs).sum() / ((model - model_middle) ** 2).sum())
    return rotation, scale, seen_middle - scale * rotation @ model_middle


def pose_angles(rotation: np.ndarray) -> tuple[float, float, float]:
    """(yaw, elevation, roll) in radians of a rotation [3, 3] from a head's axes to the camera's.

    yaw: of the camera around the head, positive where it stands at positive x: the face looks to the picture's left.
    elevation: of the camera above the head's horizon, positive where the face looks down.
    roll: of the head in the picture, clockwise.
    """
    away = -rotation[2]
    yaw = math.atan2(away[0], away[2])
    elevation = math.asin(min(1.0, max(-1.0, float(away[1]))))
    return yaw, elevation, math.atan2(rotation[0, 1], -rotation[1, 1])


def pose_rotation(yaw: float, elevation: float, roll: float = 0.0) -> np.ndarray:
    """The rotation [3, 3] from a head's axes to the camera's; the inverse of `pose_angles`."""
    forward = -np.array([math.sin(yaw) * math.cos(elevation), math.sin(elevation), math.cos(yaw) * math.cos(elevation)])
    right = np.array([math.cos(yaw), 0.0, -math.sin(yaw)])
    return pose_turn(roll) @ np.stack([right, np.cross(forward, right), forward])


def pose_turn(roll: float) -> np.ndarray:
    """The rotation [3, 3] of the camera's axes that turns its picture clockwise by `roll` radians."""
    cosine, sine = math.cos(roll), math.sin(roll)
    return np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])


def _around(points):
    """The square around points [n, 2] with the mesh network's margin, turned with the eyes."""
    across = points[OUTER_EYE_RIGHT] - points[OUTER_EYE_LEFT]
    unit = Square(0.0, 0.0, 1.0, math.atan2(across[1], across[0]))
    turned = to_crop(points, unit, 1)
    low, high = turned.min(0), turned.max(0)
    x, y = to_photo((low + high) / 2, unit, 1)
    return Square(float(x), float(y), MESH_MARGIN * float((high - low).max()), unit.roll)
