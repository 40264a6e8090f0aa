"""Find the faces in a photo: YuNet (Wu, Peng and Yu, 2023), five landmarks each."""

import dataclasses

import numpy as np

from panojax.errors import InputError
from panojax.nn.graph import shipped
from panojax.photo.crop import Square, cut

INPUT_SIDE = 640
STRIDES = (8, 16, 32)


@dataclasses.dataclass(frozen=True)
class Face:
    """A face as the detector sees it, in pixels of the photo.

    Attributes:
      box: left, top, width, height.
      landmarks: float [5, 2] (x, y): the eye, then the mouth's corner, that lie left in an upright picture come first:
        left eye, right eye, nose, left and right corner of the mouth.
      score: the detector's confidence in [0, 1].
    """

    box: tuple[float, float, float, float]
    landmarks: np.ndarray
    score: float

    @property
    def size(self) -> float:
        """The longer side of the box."""
        return max(self.box[2:])

    @property
    def middle(self) -> tuple[float, float]:
        """The middle of the box (x, y)."""
        return self.box[0] + self.box[2] / 2, self.box[1] + self.box[3] / 2


def detect_faces(rgb: np.ndarray, *, threshold: float = 0.6) -> list[Face]:
    """All faces of an upright picture, from left to right.

    The whole picture is searched at 640 pixels, then, if that shows none, at 256 (a face that fills the picture is too
    large for the detector) and in overlapping squares of a half and a quarter of its longer side (it is too small).

    Args:
      rgb: [H, W, 3] in [-1, 1].
      threshold: the least score.
    """
    height, width = rgb.shape[:2]
    longest = max(height, width)
    searches = [
        [Square(width / 2, height / 2, longest)],
        [Square(width / 2, height / 2, longest * INPUT_SIDE / 256)],
        _tiles(height, width, longest / 2) if longest > INPUT_SIDE else [],
        _tiles(height, width, longest / 4) if longest > 2 * INPUT_SIDE else [],
    ]
    for squares in searches:
        found = [face for square in squares for face in _search(rgb, square, threshold)]
        if found:
            return sorted(_distinct(found), key=lambda face: face.middle[0])
    return []


def choose_face(faces: list[Face], face: str | int, shape: tuple[int, ...]) -> Face:
    """The face that the user means.

    Args:
      faces: of one picture, from left to right.
      face: "largest", by its size and how sure the detector is of it (`prominence`); "center" for the one nearest to
        the picture's middle; "only", which refuses several; or a number, counted from 0 at the left
        (`alignment.check_options` has checked it).
      shape: of the picture, [H, W, ...].

    Raises:
      InputError: if there is none, or not the one asked for.
    """
    if not faces:
        raise InputError("photo must show a face, got none")
    if isinstance(face, int):
        if face >= len(faces):
            raise InputError(f"face must be at most {len(faces) - 1}, the last of the photo from the left, got {face}")
        return faces[face]
    if face == "only" and len(faces) > 1:
        raise InputError(
            f"photo must show one face, got {len(faces)}: choose largest, center or a number from the left: "
            f"{describe_faces(faces, None)}"
        )
    if face == "center":
        middle = np.array([shape[1] / 2, shape[0] / 2])
        return min(faces, key=lambda f: float(np.hypot(*(np.array(f.middle) - middle))))
    return max(faces, key=prominence)


def prominence(face: Face) -> float:
    """How likely a face is the one that a photo is of: its size, the less the more the detector doubts that it is one.

    A patch of 0.67 counts as much as a face of 0.95 whose box is a seventh as large.
    """
    return face.size * max(face.score - 0.5, 0.0) ** 2


def describe_faces(faces: list[Face], chosen: Face | None) -> str:
    """The faces of a photo besides the chosen one, with the numbers by which they are asked for."""
    rows = [
        f"{i} at x {face.middle[0]:.0f}, y {face.middle[1]:.0f} ({face.size:.0f} px, score {face.score:.2f})"
        for i, face in enumerate(faces)
        if face is not chosen
    ]
    return ", ".join(rows[:8]) + (f" and {len(rows) - 8} more" if len(rows) > 8 else "")


def _tiles(height, width, side):
    """Squares of `side` that cover the picture and overlap by at least a quarter."""
    columns, rows = (
        np.linspace(side / 2, n - side / 2, max(1, int(np.ceil((n / side - 0.25) / 0.75)))) for n in (width, height)
    )
    columns, rows = (axis if n > side else [n / 2] for axis, n in ((columns, width), (rows, height)))
    return [Square(float(x), float(y), side) for y in rows for x in columns]


def _search(rgb, square, threshold):
    """The faces in one square of the picture, in the picture's pixels."""
    scale = square.side / INPUT_SIDE
    corner = np.array([square.x - square.side / 2, square.y - square.side / 2])
    patch = _patch(rgb, square)
    outputs = shipped("panojax.photo", "yunet")(np.ascontiguousarray((patch[..., ::-1] + 1) * 127.5))  # BGR, 0 to 255
    faces = []
    for stride in STRIDES:
        score = np.sqrt(np.clip(outputs[f"cls_{stride}"] * outputs[f"obj_{stride}"], 0, 1))[..., 0]
        for row, column in np.argwhere(score >= threshold):
            cell = np.array([column, row])
            shape, points = outputs[f"bbox_{stride}"][row, column], outputs[f"kps_{stride}"][row, column]
            middle, size = (cell + shape[:2]) * stride, np.exp(shape[2:]) * stride
            left, top = (middle - size / 2) * scale + corner
            landmarks = (cell + points.reshape(5, 2)) * stride * scale + corner
            box = (float(left), float(top), float(size[0] * scale), float(size[1] * scale))
            faces.append(Face(box, landmarks, float(score[row, column])))
    height, width = rgb.shape[:2]
    return [face for face in faces if 0 <= face.middle[0] < width and 0 <= face.middle[1] < height]


def _patch(rgb, square):
    """The square at the detector's size, grey where it leaves the picture (a reflection would show the face twice)."""
    patch = cut(rgb, square, INPUT_SIDE)
    step = square.side / INPUT_SIDE
    x, y = (corner - square.side / 2 + step * (np.arange(INPUT_SIDE) + 0.5) for corner in (square.x, square.y))
    inside = ((y >= 0) & (y < rgb.shape[0]))[:, None] & ((x >= 0) & (x < rgb.shape[1]))
    return np.where(inside[..., None], patch, np.float32(0))


def _distinct(faces, overlap=0.3):
    """Drops every face whose box overlaps that of a surer one (intersection over union)."""
    kept = []
    for face in sorted(faces, key=lambda f: -f.score):
        if all(_overlap(face.box, other.box) < overlap for other in kept):
            kept.append(face)
    return kept


def _overlap(a, b):
    """Intersection over union of two boxes (left, top, width, height)."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)
