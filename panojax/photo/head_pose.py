"""Find heads from all sides and their pose: a network of our own, trained on drawn heads (`panojax.train.head_pose`).

It looks twice. At first at the whole photo, at several sizes, then at each head by itself, upright and of one size.
What it says of a head is in the framing of its training pictures (`framing.HEADS`), from which every other follows.
"""

import dataclasses
import math

import numpy as np
from scipy import ndimage

from panojax.nn.graph import shipped
from panojax.photo.crop import Square, cut, to_photo
from panojax.photo.framing import HEADS
from panojax.photo.pose import HeadPose, pose_angles, pose_turn

INPUT_SIDE, STRIDE = 128, 8  # pixels of the second look, and of the network's cells
HEAT, PLACE, TURN = "heat", "place", "turn"  # the network's outputs
UNIT = 32.0  # pixels: `place` has the logarithm of the square's side over this
HEAD_SHARE = 0.74  # of the square is the head without its hair
LOOK_SHARE = 0.8  # of the second look is the square
LOOKS = (1.0,), (0.8, 1.0, 1.25)  # sizes of what is looked at, over that: of both looks at a head by itself
FIRST_SIDES = (128, 256, 512)  # of the photo's first looks
LARGEST = 1.6  # sides of the picture: a head that fills it has a square of 1.35
CANDIDATE, SURE = 0.25, 0.75  # least scores of the first look and the second
MOST = 8  # heads of a photo that are looked at twice
SAME = 0.35  # heads that are nearer than this share of a square are one


@dataclasses.dataclass(frozen=True)
class Head:
    """A head as the network sees it, in pixels of the photo.

    Attributes:
      centre: (x, y) of its middle: between chin and crown, face and back of the head.
      side: of the square around it that the framing `HEADS` shows, some 317 mm.
      rotation: [3, 3] from the head's axes, in the directions of a label of that framing, to the camera's (x right, y
        down, z away).
      score: in [0, 1].
    """

    centre: tuple[float, float]
    side: float
    rotation: np.ndarray
    score: float

    @property
    def size(self) -> float:
        """The side of its box: the head without hair."""
        return HEAD_SHARE * self.side

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, width, height."""
        half = self.size / 2
        return self.centre[0] - half, self.centre[1] - half, self.size, self.size

    @property
    def yaw(self) -> float:
        """Of the camera around the head in degrees, from -180 to 180, see `pose.pose_angles`."""
        return math.degrees(pose_angles(self.rotation)[0])


def find_heads(rgb: np.ndarray, *, threshold: float = SURE) -> list[Head]:
    """All heads of a picture, from whatever side they are seen, from left to right.

    Args:
      rgb: [H, W, 3] in [-1, 1], upright.
      threshold: the least score.
    """
    height, width = rgb.shape[:2]
    whole = Square(width / 2, height / 2, max(height, width))
    for side in FIRST_SIDES:
        if side > FIRST_SIDES[0] and max(height, width) < 0.75 * side:
            break
        heads = _distinct(decode(_outputs(rgb, whole, side), whole, side, min(CANDIDATE, threshold)))[:MOST]
        heads = _distinct([head for one in heads if (head := look_closer(rgb, one)).score >= threshold])
        if heads:
            return sorted(heads, key=lambda head: head.centre[0])
    return []


def look_closer(rgb: np.ndarray, head: Head) -> Head:
    """The head as the network sees it by itself, upright and in the middle, then again where that put it.

    Each is the mean of the view and its mirror image, the second also of several sizes. Its score is 0 where it is not
    seen so.
    """
    for sizes in LOOKS:
        *_, roll = pose_angles(head.rotation)
        seen: list[Head | None] = []
        for size in sizes:
            square = Square(*head.centre, size * head.side / LOOK_SHARE, float(np.clip(roll, -1, 1)))
            picture = _patch(rgb, square, INPUT_SIDE)
            outputs, mirrored = (_network(x) for x in (picture, picture[:, ::-1]))
            seen += [_central(outputs, square), _flipped(_central(mirrored, _mirror(square)), square)]
        if any(one is None for one in seen):
            return dataclasses.replace(head, score=0.0)
        head = _mean(seen)
    return head


def decode(outputs: dict[str, np.ndarray], square: Square, side: int, threshold: float) -> list[Head]:
    """The heads that the network's outputs tell of, the surest first.

    Args:
      outputs: of a picture [side, side, 3]: `HEAT` [n, n, 1], logits of a head's middle in each cell; `PLACE`
        [n, n, 3], from the cell's middle to the head's in cells, and log(side / UNIT); `TURN` [n, n, 6], the first two
        columns of the rotation, not yet perpendicular.
      square: what the picture shows of the photo.
      side: in pixels.
      threshold: the least score.
    """
    score = 1 / (1 + np.exp(-outputs[HEAT][..., 0].astype(np.float64)))
    peaks = (score == ndimage.maximum_filter(score, 3, mode="nearest")) & (score >= threshold)
    found = [_at(outputs, score, int(row), int(column), square, side) for row, column in np.argwhere(peaks)]
    return sorted(found, key=lambda head: -head.score)


def head_pose(head: Head) -> HeadPose:
    """The pose whose crop and camera in the framing `HEADS` are the head's square and rotation."""
    tilt = math.radians(HEADS.tilt)
    cosine, sine = math.cos(tilt), math.sin(tilt)
    rotation = head.rotation @ np.array([[1, 0, 0], [0, cosine, sine], [0, -sine, cosine]])
    middle = rotation @ np.array([0.0, HEADS.above, -HEADS.behind])
    scale = head.side / (HEADS.across * (1 - middle[2] / HEADS.distance))
    x, y = np.array(head.centre) - scale * middle[:2]
    return HeadPose(rotation, float(scale), (float(x), float(y)))


def rotation_from(turn: np.ndarray) -> np.ndarray:
    """The rotation [3, 3] whose first two columns are `turn` [6], made perpendicular (Zhou et al., 2019)."""
    first = turn[:3] / max(float(np.linalg.norm(turn[:3])), 1e-9)
    second = turn[3:] - (first @ turn[3:]) * first
    second = second / max(float(np.linalg.norm(second)), 1e-9)
    return np.stack([first, second, np.cross(first, second)], axis=1)


def _network(picture):
    return shipped("panojax.photo", "head_pose")(np.ascontiguousarray(picture))


def _outputs(rgb, square, side):
    return _network(_patch(rgb, square, side))


def _patch(rgb, square, side):
    """The square at `side` pixels, grey where it leaves the photo (a reflection would show the head twice)."""
    grid = np.stack(np.meshgrid(np.arange(side) + 0.5, np.arange(side) + 0.5), axis=-1)
    points = to_photo(grid, square, side)
    inside = ((points >= 0) & (points < (rgb.shape[1], rgb.shape[0]))).all(-1)
    return np.where(inside[..., None], cut(rgb, square, side), np.float32(0))


def _at(outputs, score, row, column, square, side):
    """The head around a cell: the mean of what this and its neighbours say, by their scores."""
    rows, columns = (np.arange(max(i - 1, 0), min(i + 2, len(score))) for i in (row, column))
    near = np.ix_(rows, columns)
    weight = score[near] * (score[near] > 0.3 * score[row, column])
    weight = (weight / weight.sum())[..., None]
    place, turn = (outputs[name][near].astype(np.float64) for name in (PLACE, TURN))
    cells = np.stack(np.meshgrid(columns, rows), axis=-1)
    x, y = to_photo(((cells + 0.5 + place[..., :2]) * weight).sum((0, 1)) * STRIDE, square, side)
    length = np.clip(float((place[..., 2:] * weight).sum()), math.log(2 / UNIT), math.log(LARGEST * side / UNIT))
    rotation = pose_turn(square.roll) @ rotation_from((turn * weight).sum((0, 1)))
    return Head((float(x), float(y)), UNIT * math.exp(length) * square.side / side, rotation, float(score[row, column]))


def _central(outputs, square):
    """The head in the middle of a second look, or None."""
    near = [
        head
        for head in decode(outputs, square, INPUT_SIDE, 0.0)
        if math.hypot(head.centre[0] - square.x, head.centre[1] - square.y) < 0.25 * square.side
    ]
    return near[0] if near else None


def _mirror(square):
    """The square in the photo mirrored at its own vertical."""
    return Square(square.x, square.y, square.side, -square.roll)


def _flipped(head, square):
    """A head that was seen in the mirrored photo."""
    if head is None:
        return None
    flip = np.diag([-1.0, 1.0, 1.0])
    return dataclasses.replace(
        head, centre=(2 * square.x - head.centre[0], head.centre[1]), rotation=flip @ head.rotation @ flip
    )


def _mean(heads):
    left, _, right = np.linalg.svd(sum(head.rotation for head in heads))
    rotation = left @ np.diag([1, 1, np.linalg.det(left @ right)]) @ right
    centre = np.mean([head.centre for head in heads], axis=0)
    side = math.exp(float(np.mean([math.log(head.side) for head in heads])))
    return Head((float(centre[0]), float(centre[1])), side, rotation, float(np.mean([head.score for head in heads])))


def _distinct(heads):
    """Drops every head that is a surer one seen again."""
    kept: list[Head] = []
    for head in sorted(heads, key=lambda one: -one.score):
        if all(
            math.hypot(head.centre[0] - other.centre[0], head.centre[1] - other.centre[1])
            > SAME * max(head.side, other.side)
            for other in kept
        ):
            kept.append(head)
    return kept
