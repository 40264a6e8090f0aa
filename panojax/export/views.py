"""Pictures of a head from all around with their cameras: what textures, splats and posed pictures are made of."""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import numpy as np
from PIL import Image

from panojax import api
from panojax.camera import check_label, orbit
from panojax.errors import InputError
from panojax.export.turntable import MANY, in_batches, of_each, where
from panojax.files.output import to_uint8
from panojax.generators.generator import Head
from panojax.generators.generator_config import GeneratorConfig
from panojax.params import Params
from panojax.terminal.bars import bar

MAX_VIEWS = 1_000
MAX_SIZE = 4096


@dataclasses.dataclass(frozen=True)
class Views:
    """N pictures of one head.

    Attributes:
      labels: cameras float32 [N, 25].
      images: uint8 [N, H, H, 3], sRGB; what is behind the head is in them.
      opacity: float32 [N, R, R] in [0, 1], how much of a pixel the head covers.
      background: the one colour behind the head, in [0, 255], or None where it is another.
    """

    labels: np.ndarray
    images: np.ndarray
    opacity: np.ndarray
    background: float | None = None

    def resized(self, size: int) -> "Views":
        """The same with pictures of `size` pixels a side."""
        if size == self.images.shape[1]:
            return self
        filters = Image.Resampling.LANCZOS
        pictures = [np.asarray(Image.fromarray(image).resize((size, size), filters)) for image in self.images]
        return dataclasses.replace(self, images=np.stack(pictures))


def check_size(size: int | None) -> None:
    """Raises InputError for a picture size that cannot be made."""
    if size is not None and not 16 <= size <= MAX_SIZE:
        raise InputError(f"size must be 16 to {MAX_SIZE} pixels a side, got {size}")


def surround(count: int, pitches: Sequence[float], config: GeneratorConfig) -> np.ndarray:
    """Labels [N, 25] of at least `count` cameras on full turns at each pitch, N the next multiple of their number.

    Every turn begins a part of a step after the one before, so that the cameras of neighbouring turns lie between each
    other.

    Args:
      pitches: in degrees, -89 to 89; positive looks from below.

    Raises:
      InputError: no pitch, one out of range, or a number of views that is not 1 to 1000.
    """
    if not pitches or not all(abs(pitch) <= 89 for pitch in pitches):
        raise InputError(f"pitches must lie within 89 degrees, got {', '.join(map(str, pitches)) or 'none'}")
    if not len(pitches) <= count <= MAX_VIEWS:
        raise InputError(f"views must be {len(pitches)} (one a pitch) to {MAX_VIEWS}, got {count}")
    each = -(-count // len(pitches))
    step = 2 * np.pi / each / len(pitches)
    turns = [
        orbit(each, pitch=np.radians(pitch), radius=config.camera_radius, yaw=i * step)
        for i, pitch in enumerate(pitches)
    ]
    return np.concatenate([np.asarray(turn) for turn in turns])


def take_views(
    params: Params, head: Head, labels: np.ndarray, *, resolution: int | None = None, progress: bool = False
) -> Views:
    """Pictures of a head from labels [N, 25].

    Args:
      resolution: side R of the volume rendering; None is the configuration's.
      progress: show a bar on stderr.

    Raises:
      InputError: a label is no camera, or a picture is not finite.
    """
    labels = np.stack([check_label(label, f"labels[{i}]") for i, label in enumerate(labels)])
    params = params.generator_only()
    occupied = where(params, head) if len(labels) >= MANY else None

    def take(some: jax.Array) -> tuple[np.ndarray, np.ndarray]:
        pictures, weights = _take(params, head, some, occupied, resolution=resolution)
        return to_uint8(np.asarray(pictures)), np.asarray(weights, np.float32)

    images, opacity = [], []
    with bar(total=len(labels), desc="views", unit="view", hidden=not progress) as shown:
        for pictures, weights in in_batches(take, labels):
            images.append(pictures)
            opacity.append(weights)
            shown.update(len(pictures))
    background = 255.0 if params.config.generator.white_back else None
    return Views(labels, np.concatenate(images), np.concatenate(opacity), background)


@functools.partial(jax.jit, static_argnames="resolution")
def _take(params, head, labels, occupied, *, resolution):
    """Pictures [N, H, H, 3] and opacities [N, R, R] for labels [N, 25]."""
    views = of_each(lambda label: api.render(params, head, label, resolution, occupied=occupied), labels)
    return views.image, views.weight[..., 0]


def world_to_camera(label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotation [3, 3] and translation [3] from the world to the OpenCV axes of a camera label [25]."""
    cam2world = np.asarray(label[:16], np.float64).reshape(4, 4)
    rotation = cam2world[:3, :3].T
    return rotation, -rotation @ cam2world[:3, 3]


def project(points: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where world points [M, 3] lie in the picture of a camera [25].

    Returns:
      Positions [M, 2], x right and y down in units of the picture's side, and depths [M] along the optical axis.
    """
    rotation, translation = world_to_camera(label)
    in_camera = points @ rotation.T + translation
    lens = np.asarray(label[16:], np.float64).reshape(3, 3)
    positions = in_camera @ lens.T
    return positions[:, :2] / positions[:, 2:], in_camera[:, 2]
