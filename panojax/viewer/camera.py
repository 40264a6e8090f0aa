"""From the camera of a browser's window to one that the model renders well."""

import math

import numpy as np
from scipy.spatial.transform import Rotation

from panojax.camera import FOV_DEGREES, focal_from_fov

# A camera that passes through the head, or looks away from it, is treated as one this far before it.
NEAREST = 0.3


def picture_camera(wxyz: np.ndarray, position: np.ndarray, fov: float, *, radius: float) -> np.ndarray:
    """A label float32 [25] that shows what a window shows, from the distance that the model knows.

    Models are trained with cameras at one distance, and their rays begin and end around the head seen from there. So
    the camera is moved along its line of sight to `radius` from the plane through the origin, and the focal length
    changed by as much, which leaves that plane as large as it was.

    Args:
      wxyz: unit quaternion [4] from the camera's OpenCV axes (x right, y down, z forward) to the world's.
      position: of the camera [3], in world units.
      fov: from the upper to the lower edge of the window, in radians; the picture is square and as high.
    """
    rotation = Rotation.from_quat(wxyz, scalar_first=True).as_matrix()
    forward = rotation[:, 2]
    distance = max(-float(np.dot(position, forward)), NEAREST)
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    matrix[:3, 3] = position - np.dot(position, forward) * forward - radius * forward
    focal = 0.5 / math.tan(fov / 2) * radius / distance
    lens = np.array([[focal, 0, 0.5], [0, focal, 0.5], [0, 0, 1]])
    return np.concatenate([matrix.ravel(), lens.ravel()]).astype(np.float32)


def window_camera(label: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """The inverse for a label [25]: wxyz [4], position [3], and the field of view in radians."""
    matrix = np.asarray(label[:16], np.float64).reshape(4, 4)
    wxyz = Rotation.from_matrix(matrix[:3, :3]).as_quat(scalar_first=True)
    return wxyz, matrix[:3, 3], 2 * math.atan(0.5 / float(label[20]))


def usual_fov() -> float:
    """The field of view of the models' own pictures from edge to edge, in radians."""
    return 2 * math.atan(0.5 / focal_from_fov(FOV_DEGREES))


def turned(label: np.ndarray, angle: float) -> np.ndarray:
    """A label [25] after the camera went round the vertical axis by an angle in radians, as yaw counts."""
    matrix = np.asarray(label[:16], np.float64).reshape(4, 4)
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("y", angle).as_matrix()
    return np.concatenate([(turn @ matrix).ravel(), np.asarray(label[16:], np.float64)]).astype(np.float32)
