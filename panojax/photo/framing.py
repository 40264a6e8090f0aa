"""Framings: where the head lies in a model's pictures; the crop and the camera label that follow from a head's pose."""

import dataclasses
import math

import numpy as np

from panojax.photo.crop import Square
from panojax.photo.pose import HeadPose, pose_angles, pose_rotation


@dataclasses.dataclass(frozen=True)
class Framing:
    """How a model's training pictures were cropped. Lengths are millimetres of the mean face (`pose.mean_face`).

    Attributes:
      across: how much of the plane through the head's centre a picture shows.
      above, behind: the head's centre, from the middle of the mean face: how far up, and into the head.
      tilt: elevation, in degrees, of a camera that the model calls level, less that of one level with the mean face.
      distance: from the camera to the head's centre, which makes the face larger than the head; infinite for crops that
        were made by a fit without perspective.
      radius: from the label's camera to the head's centre, in world units.
      focal: focal length of the label's camera in units of the picture's side.
    """

    across: float
    above: float
    behind: float
    tilt: float
    distance: float = math.inf
    radius: float = 2.7
    focal: float = 4.2647


# Fitted to the two crops with labels that PanoHead publishes (`calibrate.py`): "about 240 mm of head" is 256 mm of a
# face with 63 mm between its pupils.
PANOHEAD = Framing(across=256.4, above=20.0, behind=58.8, tilt=1.4)

# Fitted to 331 views of synthetic training heads (`panojax.synthetic`) within 60 degrees of the front, whose pictures
# span 317 mm from 1.35 m: 341 mm on the mean face's scale.
HEADS = Framing(across=341.5, above=13.2, behind=93.5, tilt=-7.6, distance=1352.0, focal=4.2634)

FRAMINGS = {"panohead": PANOHEAD, "heads": HEADS}


def square_and_camera(pose: HeadPose, framing: Framing) -> tuple[Square, np.ndarray]:
    """The square of the photo that the framing shows, and its camera label.

    The square is turned so that the head's vertical is the picture's: the label has no roll.

    Returns:
      square: around the head's centre, in pixels of the photo.
      camera: float32 [25], row-major cam2world and intrinsics.
    """
    centre = pose.rotation @ np.array([0.0, framing.above, -framing.behind])
    x, y = np.array(pose.face) + pose.scale * centre[:2]
    scale = pose.scale * (1 - centre[2] / framing.distance)  # pixels a millimetre at the head's centre, behind the face
    yaw, elevation, roll = pose_angles(pose.rotation @ _about_x(math.radians(framing.tilt)))
    return Square(float(x), float(y), framing.across * scale, roll), camera_label(yaw, elevation, framing)


def camera_label(yaw: float, elevation: float, framing: Framing) -> np.ndarray:
    """Label float32 [25] of a camera without roll that looks at the origin; angles in radians, see `pose_angles`."""
    rotation = pose_rotation(yaw, elevation)
    cam2world = np.eye(4)
    cam2world[:3, :3] = rotation.T
    cam2world[:3, 3] = -framing.radius * rotation[2]
    lens = [framing.focal, 0, 0.5, 0, framing.focal, 0.5, 0, 0, 1]
    return np.concatenate([cam2world.ravel(), lens]).astype(np.float32)


def label_angles(camera: np.ndarray) -> tuple[float, float, float]:
    """(yaw, elevation, roll) in radians of a label [25], see `pose_angles`."""
    return pose_angles(np.asarray(camera, np.float64)[:16].reshape(4, 4)[:3, :3].T)


def _about_x(angle):
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
