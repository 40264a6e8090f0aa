"""Camera labels in other conventions: telling which one a label is in, and converting it to panojax's.

A label of another convention is one of 25 numbers as well: 16 of a matrix, row by row, and 9 of the intrinsics.

opengl: camera-to-world, camera axes x right, y up, z backward (Blender, NeRF, nerfstudio).
opencv: panojax's own: camera-to-world, x right, y down, z forward (EG3D, PanoHead).
colmap: world-to-camera, x right, y down, z forward (COLMAP, OpenCV's extrinsics).
"""

from typing import Literal

import numpy as np

from panojax.camera import RADIUS, check_label
from panojax.errors import InputError, check_choice

Convention = Literal["opencv", "opengl", "colmap"]
CONVENTIONS = ("opencv", "opengl", "colmap")
DISTANCES = 0.4, 2.5  # of a camera from the pivot, in usual distances
MISS = 0.5  # how far from the pivot a camera may look, in sides of the box
FOCAL = 0.5, 40.0  # in sides of the picture
PIXELS = 40.0  # a focal length above this is one in pixels
CENTRE = 0.2, 0.8  # principal points, in sides of the picture
# A world-to-camera matrix of a camera that looks at the pivot has its translation on the optical axis, exactly.
ON_AXIS, OFF_AXIS = 0.01, 0.1

# Camera axes from OpenGL's to OpenCV's.
_FLIP = np.diag([1.0, -1.0, -1.0, 1.0])


def from_opengl(label: np.ndarray) -> np.ndarray:
    """A label [25] whose camera axes are x right, y up, z backward, as panojax's."""
    return _with_matrix(label, _matrix(label) @ _FLIP)


def from_world_to_camera(label: np.ndarray) -> np.ndarray:
    """A label [25] whose matrix is world-to-camera, as COLMAP's, as panojax's."""
    rotation, shift = _matrix(label)[:3, :3], _matrix(label)[:3, 3]
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation.T, -rotation.T @ shift
    return _with_matrix(label, matrix)


def from_pixels(label: np.ndarray, side: float) -> np.ndarray:
    """A label [25] whose intrinsics are in pixels of a picture of `side` pixels, as panojax's."""
    values = np.array(label, np.float64)
    values[16:22] /= side
    return values


def convert_label(label: np.ndarray, convention: str, *, side: int | None = None) -> np.ndarray:
    """A label [25] of a convention as panojax's, float64; what is no label stays as it is for `check_camera` to say.

    Args:
      convention: "opencv", "opengl" or "colmap".
      side: of the picture in pixels: the last two have their intrinsics in pixels, mostly, which is divided by it.

    Raises:
      InputError: another convention, or intrinsics in pixels without the picture's side.
    """
    check_choice("camera convention", convention, CONVENTIONS)
    try:
        values = np.asarray(label, np.float64)
    except (TypeError, ValueError, OverflowError):
        return label
    if convention == "opencv" or values.shape != (25,):
        return label
    values = {"opengl": from_opengl, "colmap": from_world_to_camera}[convention](values)
    if abs(values[16]) > PIXELS:
        if side is None:
            raise InputError(f"camera must have intrinsics in units of the picture's side, got {values[16]:g} pixels")
        values = from_pixels(values, side)
    return values


def check_camera(
    label,
    name: str = "camera",
    *,
    radius: float = RADIUS,
    pivot: tuple[float, float, float] = (0.0, 0.0, 0.0),
    box: float = 1.0,
    convention: str = "opencv",
    side: int | None = None,
) -> np.ndarray:
    """A label from outside as float32 [25], if it is that of a camera that sees the head.

    Args:
      label: 25 numbers.
      name: what messages call it.
      radius, pivot, box: the model's usual distance, the point that is looked at and the side of its box.
      convention: "opencv", or what it is converted from.
      side: of the picture in pixels, where it is known.

    Raises:
      InputError: not a label (`camera.check_label`), or a camera inside the head's box, far away, that looks elsewhere
        or is upside down, or whose focal length or centre is none. The message says which convention it seems to be in.
    """
    converted = convert_label(label, convention, side=side)
    values = check_label(converted, name)
    model = radius, np.asarray(pivot, np.float64), box
    if problem := _problem(np.asarray(converted, np.float64), *model):
        given = np.asarray(label, np.float64)
        if convention != "opencv":
            hint = "" if _problem(given, *model) else f"panojax's own convention already, not {convention}"
        else:
            hint = _guess(given, *model)
        raise InputError(f"{name} must {problem}" + (f": it looks like {hint}" if hint else ""))
    return values


def _problem(values: np.ndarray, radius: float, pivot: np.ndarray, box: float) -> str:
    """What keeps a label from being that of a camera that sees the head, as "..., got ...", or ""."""
    matrix, lens = _matrix(values), values[16:].reshape(3, 3)
    for focal in (lens[0, 0], lens[1, 1]):
        if not FOCAL[0] <= focal <= FOCAL[1]:
            return f"have focal lengths of {FOCAL[0]:g} to {FOCAL[1]:g} sides of the picture, got {focal:g}"
    for centre in (lens[0, 2], lens[1, 2]):
        if not CENTRE[0] <= centre <= CENTRE[1]:
            return f"have its principal point near the picture's middle, 0.5, got {centre:g}"
    if abs(lens[0, 1]) > 0.1 * lens[0, 0] or abs(lens[1, 0]) > 1e-4:
        return f"have pixels without skew, got {lens[0, 1]:g} and {lens[1, 0]:g} beside its focal lengths"
    to_pivot, forward = pivot - matrix[:3, 3], matrix[:3, 2]
    distance, ahead = float(np.linalg.norm(to_pivot)), float(to_pivot @ forward)
    low, high = (factor * radius for factor in DISTANCES)
    if not low <= distance <= high:
        return f"stand {low:.2g} to {high:.2g} from the head's centre (usually {radius:g}), got {distance:.4g}"
    if ahead <= 0:
        return "look at the head, got one that looks away from it"
    missed = float(np.linalg.norm(to_pivot - ahead * forward))
    if missed > MISS * box + float(np.linalg.norm(pivot)):
        return f"look at the head, got one that looks past its centre by {missed:.2g} (its box has sides of {box:g})"
    if missed > OFF_AXIS and np.linalg.norm(matrix[:2, 3]) < ON_AXIS * distance:
        return f"look at the head, got one that looks past its centre by {missed:.2g} from right before it"
    if matrix[1, 1] > 0.2:
        return "be upright, got one that is upside down"
    return ""


def _guess(values: np.ndarray, radius: float, pivot: np.ndarray, box: float) -> str:
    """What a label that is no camera seems to be, and how it is converted, or ""."""
    hints, found = [], values
    if found[16] > PIXELS:
        # Its centre is the middle of the picture, so twice that is the side.
        middle = max(found[18], found[21])
        hints.append("intrinsics in pixels (divide them by the picture's side: panojax.camera_conventions.from_pixels)")
        found = from_pixels(found, 2 * middle if middle > 1 else found[16] / 4)
    if max(abs(found[18]), abs(found[21])) < 0.05:
        hints.append("a principal point counted from the picture's middle (add 0.5 to cx and cy)")
        found = found.copy()
        found[[18, 21]] += 0.5
    here = "panojax.camera_conventions"
    cases = (
        ("", lambda x: x),
        (f"OpenGL axes (--camera-convention opengl, or {here}.from_opengl)", from_opengl),
        (
            f"a world-to-camera matrix (--camera-convention colmap, or {here}.from_world_to_camera)",
            from_world_to_camera,
        ),
        ("a world-to-camera matrix with OpenGL axes", lambda x: from_opengl(from_world_to_camera(x))),
    )
    for hint, convert in cases:
        converted = convert(found)
        for scale, unit in ((1.0, ""), (1e-3, "millimetres"), (1e-2, "centimetres"), (None, "other lengths")):
            at = converted.copy()
            away = float(np.linalg.norm(at[[3, 7, 11]] - pivot))
            scale = radius / away if scale is None and away > 1e-6 else scale
            if scale is None or away <= 1e-6:
                continue
            at[[3, 7, 11]] *= scale
            if not _problem(at, radius, pivot, box):
                unit = unit and f"lengths in {unit} (divide the translation by {1 / scale:.4g})"
                unit = unit.replace("lengths in other lengths", "lengths in another unit")
                return " and ".join(filter(None, (*hints, hint, unit)))
    if float(np.linalg.norm(values[[3, 7, 11]])) < 1e-6:
        hints.append(f"a rotation alone (its translation is zero; the camera stands {radius:g} away)")
    return " and ".join(hints)


def _matrix(label) -> np.ndarray:
    return np.asarray(label, np.float64)[:16].reshape(4, 4)


def _with_matrix(label, matrix: np.ndarray) -> np.ndarray:
    values = np.array(label, np.float64)
    values[:16] = matrix.ravel()
    return values
