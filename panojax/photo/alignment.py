"""Any photo to a model's input: the crop around one head, its mask, its camera label, and how good they are."""

import dataclasses
import math
import os
from typing import Any, Literal

import numpy as np
from PIL import Image
from scipy import ndimage

from panojax.errors import InputError
from panojax.files.image_file import MIN_SIDE, picture_arrays, read_image
from panojax.photo.crop import Square, cut, outside
from panojax.photo.detect import Face, describe_faces
from panojax.photo.finding import Method, find, least_presence
from panojax.photo.framing import PANOHEAD, Framing, label_angles, square_and_camera
from panojax.photo.matte import end_beyond, person_mask

MIN_FACE_INSIDE = 0.6  # share of the mesh's points, or of the head's box, within the photo

SMALL_CROP = 256  # pixels; the original tool refuses smaller ones
FAR_YAW, SIDE_YAW, FAR_ELEVATION = 60.0, 110.0, 30.0  # degrees
MUCH_PADDING = 0.1
BLURRED = 0.06  # a face of 128 pixels, blurred with a sigma of 2, has 0.04 to 0.08
UNSURE = {"face": 0.7, "head": 0.8}  # of 100 drawn heads 99 have more than 0.8
ALIGNED_BY = {"head pose network": "aligned by the head pose network", "both": "aligned by both pose networks"}


@dataclasses.dataclass(frozen=True)
class AlignReport:
    """How good an aligned crop is.

    Attributes:
      face_size: longer side of the face's box, in pixels of the photo.
      crop_size: side of the crop, in pixels of the photo.
      yaw, elevation: of the label's camera in degrees: yaw is positive where the face looks to the picture's left,
        elevation where it looks down.
      roll: how far the head leaned clockwise in the photo, in degrees; the crop has none.
      padded: share of the crop that the photo does not cover and that was filled by reflection.
      face_inside: share of the face's points within the photo.
      sharpness: contrast at the scale of a 128th of the face, as a share of the face's; sharp photos have 0.2 and more.
      score: the detector's, in [0, 1].
      faces: how many the photo shows.
      box: of the chosen face: left, top, width, height in pixels of the photo.
      centre: (x, y) of the crop in pixels of the photo.
      turned: degrees by which the photo was turned counterclockwise, as it lay on its side or upside down; box and
        centre are in pixels of the turned photo.
      others: the photo's other faces, with their numbers.
      kind: "face", or "head" where no face was found: then size, box, score and all that is told of faces are of heads.
      method: what the pose is by: "face mesh", "head pose network", which sees heads from all sides, or "both", where
        the one goes over into the other.
      warnings: what may make the result poor, one sentence each.
    """

    face_size: float
    crop_size: float
    yaw: float
    elevation: float
    roll: float
    padded: float
    face_inside: float
    sharpness: float
    score: float
    faces: int
    box: tuple[float, float, float, float]
    centre: tuple[float, float]
    turned: int
    others: str
    kind: Literal["face", "head"]
    method: Method
    warnings: tuple[str, ...]

    def summary(self) -> str:
        """The report in one line."""
        told = (
            f"{self.kind} {self.face_size:.0f} px, crop {self.crop_size:.0f} px, yaw {self.yaw:+.0f}, elevation "
            f"{self.elevation:+.0f}, roll {self.roll:+.0f} degrees, {100 * (1 - self.padded):.0f}% of it in the photo"
        )
        return told if self.method == "face mesh" else f"{told}, {ALIGNED_BY[self.method]}"


@dataclasses.dataclass(frozen=True)
class Aligned:
    """An aligned photo.

    Attributes:
      image: float32 [size, size, 3] in [-1, 1], with its background.
      mask: float32 [size, size] in [0, 1], the person.
      camera: label float32 [25].
      report: how good they are.
      framing: the crop's.
      background: "kept", or "white" where `image` is the person on white.
    """

    image: np.ndarray
    mask: np.ndarray
    camera: np.ndarray
    report: AlignReport
    framing: Framing = PANOHEAD
    background: Literal["kept", "white"] = "kept"

    def on_white(self) -> "Aligned":
        """The same with the person on white."""
        if self.background == "white":
            return self
        mask = self.mask[..., None]
        return dataclasses.replace(self, image=self.image * mask + (1 - mask), background="white")


def align(
    photo: str | os.PathLike | bytes | np.ndarray | Image.Image,
    *,
    face: str | int = "largest",
    size: int = 512,
    framing: Framing = PANOHEAD,
) -> Aligned:
    """Crops a photo around one head as the framing's model was trained, cuts the person out and labels the camera.

    Args:
      photo: a path, an encoded picture's bytes, a Pillow picture, or a picture [H, W, 3] or [H, W, 4], uint8 or float
        in [-1, 1] (alpha in [0, 1]).
      face: "largest", "center", "only" (an error if there are several), or a number counted from the left, from 0.
      size: side of the crop in pixels.
      framing: the model's crop and camera.

    Raises:
      InputError: if the photo cannot be read, shows no head, or not the one asked for, or the face is hidden, too small
        or mostly beyond the photo's border.
    """
    check_options(face, size)
    rgb, alpha = _picture(photo)
    if alpha is not None:
        rgb = rgb * alpha[..., None] + (1 - alpha[..., None])  # on white
    found, turned = find(rgb, face)
    rgb = np.ascontiguousarray(np.rot90(rgb, turned))
    alpha = None if alpha is None else np.ascontiguousarray(np.rot90(alpha, turned))
    faces, chosen, points = found.faces, found.chosen, found.points
    square, camera = square_and_camera(found.pose, framing)
    yaw, elevation, _ = (math.degrees(angle) for angle in label_angles(camera))
    if found.method == "face mesh" and found.presence < least_presence(yaw):
        raise InputError(f"photo must show the face plainly, got one that is hidden, or none, at {_place(chosen)}")
    inside = ((points[:, :2] >= 0) & (points[:, :2] < (rgb.shape[1], rgb.shape[0]))).all(-1).mean()
    if inside < MIN_FACE_INSIDE:
        raise InputError(f"photo must hold most of the {found.kind}, got {100 * inside:.0f}% of it, cut by the border")

    image = cut(rgb, square, size, soften=True)
    others = [other for other in faces if other is not chosen]
    if alpha is None:
        mask = person_mask(rgb, square, size, chosen, others)
    else:
        mask = end_beyond(cut(alpha[..., None], square, size)[..., 0], rgb.shape, square)
    report = AlignReport(
        face_size=float(chosen.size),
        crop_size=square.side,
        yaw=yaw,
        elevation=elevation,
        roll=math.degrees(square.roll),
        padded=float((outside(rgb.shape, square, size) > 0).mean()),
        face_inside=float(inside),
        sharpness=_sharpness(rgb, chosen),
        score=chosen.score,
        faces=len(faces),
        box=chosen.box,
        centre=(square.x, square.y),
        turned=90 * turned,
        others=describe_faces(faces, chosen),
        kind=found.kind,
        method=found.method,
        warnings=(),
    )
    report = dataclasses.replace(report, warnings=_warnings(report, face))
    return Aligned(np.clip(image, -1, 1), mask, camera, report, framing)


def check_options(face: str | int, size: int) -> None:
    """Raises an InputError if no photo could be aligned with these options."""
    if isinstance(face, bool) or not (isinstance(face, int) or face in ("largest", "center", "only")):
        raise InputError(f"face must be largest, center, only or a number from 0, got {face!r}")
    if isinstance(face, int) and face < 0:
        raise InputError(f"face must be a number from 0, counted from the left, got {face}")
    if isinstance(size, bool) or not isinstance(size, int) or not 32 <= size <= 4096:
        raise InputError(f"size must be a whole number of pixels from 32 to 4096, got {size!r}")


def _picture(photo: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """The photo as rgb [H, W, 3] in [-1, 1] and alpha [H, W] in [0, 1] or None."""
    if isinstance(photo, Image.Image):
        return picture_arrays(photo, "the picture")
    if not isinstance(photo, np.ndarray):
        return read_image(photo)
    if photo.ndim != 3 or photo.shape[2] not in (3, 4) or min(photo.shape[:2]) < MIN_SIDE:
        raise InputError(f"photo must be [H, W, 3 or 4] with sides of {MIN_SIDE} or more, got shape {photo.shape}")
    if photo.dtype == np.uint8:
        photo = photo / np.float32(127.5) - 1
        alpha = (photo[..., 3] + 1) / 2 if photo.shape[2] == 4 else None
    elif np.issubdtype(photo.dtype, np.floating):
        alpha = photo[..., 3].astype(np.float32) if photo.shape[2] == 4 else None
    else:
        raise InputError(f"photo must be uint8 or floating point, got {photo.dtype}")
    rgb = photo[..., :3].astype(np.float32)
    if (
        not np.isfinite(photo).all()
        or np.abs(rgb).max() > 1.001
        or (alpha is not None and not 0 <= alpha.min() <= alpha.max() <= 1)
    ):
        raise InputError("photo must be finite, its colours in [-1, 1] and its alpha in [0, 1]")
    return rgb, alpha


def _place(face: Face) -> str:
    return "x {:.0f}, y {:.0f}".format(*face.middle)


def _sharpness(rgb: np.ndarray, face: Face) -> float:
    """Standard deviation of the face's Laplacian at 128 pixels over that of its brightness."""
    grey = cut(rgb, Square(*face.middle, face.size), 128).mean(-1)
    return float(ndimage.laplace(grey).std() / max(float(grey.std()), 1e-3))


def _warnings(report: AlignReport, face: str | int) -> tuple[str, ...]:
    """What the user should know before trusting the crop."""
    found = []
    if report.turned:
        how = "upside down" if report.turned == 180 else "on its side"
        found.append(f"the photo lay {how} and was turned by {report.turned} degrees counterclockwise")
    if report.faces > 1 and isinstance(face, str):
        found.append(
            f"the photo shows {report.faces} {report.kind}s; this is the {face} one ({report.face_size:.0f} px, score "
            f"{report.score:.2f}), others are chosen by number: {report.others}"
        )
    if report.kind == "head":
        found.append("no face was found: the head was found and aligned by the head pose network")
    elif report.method == "head pose network" and abs(report.yaw) <= FAR_YAW:
        found.append("the face is hardly seen: it was aligned by the head pose network")
    if abs(report.yaw) > SIDE_YAW:
        found.append(f"the head is seen from behind, turned {abs(report.yaw):.0f} degrees: its face will be made up")
    elif abs(report.yaw) > FAR_YAW:
        found.append(
            f"the head is turned {abs(report.yaw):.0f} degrees: half of the face is hidden, the pose less sure"
        )
    if abs(report.elevation) > FAR_ELEVATION:
        found.append(
            f"the head is seen from {abs(report.elevation):.0f} degrees {'above' if report.elevation > 0 else 'below'}"
        )
    if report.crop_size < SMALL_CROP:
        found.append(f"the crop has only {report.crop_size:.0f} pixels a side: details will be missing")
    if report.sharpness < BLURRED and report.kind == "face":
        found.append("the face is blurred")
    if report.face_inside < 1:
        found.append(f"the photo's border cuts {100 * (1 - report.face_inside):.0f}% of the {report.kind}")
    elif report.padded > MUCH_PADDING:
        found.append(f"{100 * report.padded:.0f}% of the crop lies outside the photo and is a blurred reflection")
    if report.score < UNSURE[report.kind]:
        found.append(f"the detector is not sure of this {report.kind} ({report.score:.2f})")
    return tuple(found)
