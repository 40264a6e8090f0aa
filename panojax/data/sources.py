"""Where batches come from: folders of photos with cameras, and the generator itself.

A source of photos is an iterator of {"image": float32 [n, R, R, 3] in [-1, 1], "camera": float32 [n, 25]}, maybe with
"mask": float32 [n, R, R, 1] in [0, 1] and another view of each head, "other_image" and "other_camera", NumPy arrays
with this process's samples. Its `get_state()` is JSON, and `set_state(state)` makes it go on from there.
"""

import collections
import dataclasses
import functools
import math
import pathlib
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from panojax import camera as cameras
from panojax.camera_conventions import check_camera
from panojax.data import balance
from panojax.data.augment import person_mask
from panojax.errors import InputError, check_choice
from panojax.files.image_file import read_image
from panojax.files.mask_file import read_mask
from panojax.files.reading import kind_of, read_json
from panojax.generators import generator
from panojax.generators.generator import Head, render_heads
from panojax.generators.generator_config import GeneratorConfig
from panojax.inversion.spaces import draw_latents, map_latents
from panojax.nn.stylegan2 import pool

Batch = dict[str, np.ndarray]


class Source(Protocol):
    """An endless iterator of batches that can be stopped and continued."""

    def __next__(self) -> Any:
        """{"image": [n, R, R, 3], "camera": [n, 25]}, and maybe "mask", "other_image" and "other_camera"."""

    def get_state(self) -> Any:
        """What `set_state` needs to go on after the last batch given, as JSON."""

    def set_state(self, state: Any) -> None:
        """Goes on from there."""


@dataclasses.dataclass(frozen=True)
class Photo:
    """A picture on disk."""

    path: pathlib.Path
    """Of the picture, RGB or RGBA."""
    mask: pathlib.Path | None
    """Of its foreground mask, white on the head, or None."""
    label: tuple[float, ...]
    """Its camera, 25 numbers."""

    def read(self, resolution: int) -> tuple[np.ndarray, np.ndarray | None]:
        """`read_masked`."""
        return read_masked(self, resolution)


@dataclasses.dataclass(frozen=True)
class StoredPhoto:
    """A picture in memory."""

    pixels: np.ndarray
    """uint8 [S, S, 4]: RGB on white, and the mask, 255 on the head."""
    label: np.ndarray
    """Its camera [25]."""
    head: Sequence["StoredPhoto"] = ()
    """All pictures of the same head, itself among them."""

    def read(self, resolution: int) -> tuple[np.ndarray, np.ndarray]:
        """The picture [R, R, 3] in [-1, 1] and its mask [R, R, 1] in [0, 1], float32."""
        channels = _resized(self.pixels, resolution)
        return np.clip(channels[..., :3] / 127.5 - 1, -1, 1), np.clip(channels[..., 3:] / 255, 0, 1)

    def other(self, rng: np.random.Generator) -> "StoredPhoto":
        """Another picture of the same head, or this one where there is none."""
        others = [photo for photo in self.head if photo is not self]
        return others[rng.integers(len(others))] if others else self


def list_photos(
    folders: Sequence[str | pathlib.Path], *, masks: str | None = None, part: str = "all", held_out: float = 0.1
) -> list[Photo]:
    """The pictures that folders in EG3D's layout list in their `dataset.json`, in the order of their names.

    Args:
      folders: each with `dataset.json`, {"labels": [[name, [25 numbers]], ...]}, and the pictures.
      masks: a folder inside each of them with foreground masks under the pictures' names, as PNG. None: pictures have
        an alpha channel, or no background to remove.
      part: "train", "validation" or "all". Which part a picture belongs to depends on its name alone.
      held_out: share of the pictures in "validation".

    Raises:
      InputError: no folder, no `dataset.json`, an entry without a picture, a mask or a camera, or an empty part.
    """
    check_choice("part", part, ("train", "validation", "all"))
    photos = []
    for folder in map(pathlib.Path, folders):
        for name, label in _labels(folder):
            in_validation = zlib.crc32(name.encode()) % 10_000 < held_out * 10_000
            if part != "all" and in_validation != (part == "validation"):
                continue
            path, mask = folder / name, None
            if masks is not None:
                mask = (folder / masks / name).with_suffix(".png")
            for file in filter(None, (path, mask)):
                if not file.is_file():
                    raise InputError(f"{folder / 'dataset.json'} lists {name}, but there is no {file}")
            photos.append(Photo(path, mask, tuple(check_camera(label, f"camera of {name}").tolist())))
    if not photos:
        raise InputError(f"no pictures in the {part} part of {', '.join(map(str, folders)) or 'no folder'}")
    return photos


def balance_photos(photos: Sequence[Photo], max_copies: float) -> list[Photo]:
    """The photos with those of rare yaws repeated up to `max_copies` times, as LPFF does: see `data.balance`."""
    if max_copies == 1:
        return list(photos)
    yaws = balance.label_yaw(np.array([photo.label for photo in photos]))
    copies = balance.yaw_copies(yaws, balance.YawBalance(max_copies=max_copies))
    return [photos[i] for i in balance.repeat_indices(copies)]


def read_photo(photo: Photo, resolution: int) -> np.ndarray:
    """A picture on white, pooled or enlarged to [R, R, 3], float32 in [-1, 1]. See `read_masked`."""
    return read_masked(photo, resolution)[0]


def read_masked(photo: Photo, resolution: int) -> tuple[np.ndarray, np.ndarray | None]:
    """A picture on white [R, R, 3], float32 in [-1, 1], and its mask [R, R, 1] in [0, 1] where it has one.

    Both are pooled, or enlarged.

    Raises:
      InputError: the picture or the mask is broken, or not square, or they have different sizes.
    """
    rgb, alpha = read_image(photo.path, max_side=None)
    if photo.mask is not None:
        alpha = read_mask(photo.mask)
    if rgb.shape[0] != rgb.shape[1] or (alpha is not None and alpha.shape != rgb.shape[:2]):
        sizes = rgb.shape[:2] if alpha is None else (rgb.shape[:2], alpha.shape)
        raise InputError(f"{photo.path} must be square, and its mask as large, got {sizes}")
    if alpha is not None:
        rgb = rgb * alpha[..., None] + (1 - alpha[..., None])
    mask = None if alpha is None else np.clip(_resized(alpha[..., None], resolution), 0, 1)
    return np.clip(_resized(rgb, resolution), -1, 1), mask


def _resized(channels: np.ndarray, resolution: int) -> np.ndarray:
    """Square channels [S, S, C] as float32 [R, R, C]: areas averaged, or bicubic where they grow."""
    if channels.shape[0] == resolution:
        return channels.astype(np.float32)
    shrink = Image.Resampling.BOX if channels.shape[0] > resolution else Image.Resampling.BICUBIC
    resized = (
        Image.fromarray(np.ascontiguousarray(c, np.float32)).resize((resolution, resolution), shrink)
        for c in np.moveaxis(channels, -1, 0)
    )
    return np.stack([np.asarray(c) for c in resized], axis=-1)


class PhotoSource:
    """Batches of photos in a new random order each time around, half of them mirrored with their cameras.

    Sample k of the run depends on the seed and k alone, so runs with any number of processes see the same batches.

    Attributes:
      photos: to draw from.
      batch: samples of the whole batch; this process gives `batch / processes` of them.
      resolution: side of the pictures.
      seed: of order and mirroring.
      mirror: whether to mirror at all.
      masks: batches have "mask" as well; of photos that have none, `augment.person_mask`.
      others: batches have "other_image" and "other_camera" as well, another picture of the same head drawn at random,
        mirrored like the first. The photos must be `StoredPhoto`s with `head`; the same one where there is no other.
      processes: (this one's index, how many).
      ahead: batches read ahead by `threads` threads.
    """

    def __init__(
        self,
        photos: Sequence[Photo | StoredPhoto],
        batch: int,
        resolution: int,
        *,
        seed: int = 0,
        mirror: bool = True,
        masks: bool = False,
        others: bool = False,
        processes: tuple[int, int] = (0, 1),
        ahead: int = 4,
        threads: int = 8,
    ):
        index, count = processes
        if batch < 1 or batch % count:
            raise InputError(f"batch must be a positive multiple of the {count} processes, got {batch}")
        self._photos, self._batch, self._resolution = photos, batch, resolution
        self._seed, self._mirror, self._masks, self._others, self._ahead = seed, mirror, masks, others, ahead
        self._rows = range(index * batch // count, (index + 1) * batch // count)
        self._pool = ThreadPoolExecutor(threads)
        self._position, self._queue = 0, collections.deque[list[Future]]()

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        while len(self._queue) <= self._ahead:
            start = (self._position + len(self._queue)) * self._batch
            self._queue.append([self._pool.submit(self._sample, start + row) for row in self._rows])
        samples = [future.result() for future in self._queue.popleft()]
        self._position += 1
        return {name: np.stack([sample[name] for sample in samples]) for name in samples[0]}

    def get_state(self) -> dict[str, int]:
        """How many batches were given."""
        return {"position": self._position}

    def set_state(self, state: dict[str, int]) -> None:
        """Goes on after so many batches."""
        self._queue.clear()
        self._position = int(state["position"])

    def _sample(self, k: int) -> Batch:
        turn, index = divmod(k, len(self._photos))
        photo = self._photos[_order(self._seed, turn, len(self._photos))[index]]
        (image, mask), rng = photo.read(self._resolution), np.random.default_rng((self._seed, 1, k))
        pictures, labels = {"image": image}, {"camera": np.asarray(photo.label, np.float32)}
        if self._masks:
            pictures["mask"] = person_mask(image) if mask is None else mask
        mirrored = self._mirror and rng.random() < 0.5
        if self._others:
            assert isinstance(photo, StoredPhoto)
            other = photo.other(rng)
            pictures["other_image"], labels["other_camera"] = other.read(self._resolution)[0], other.label
        if mirrored:
            pictures = {name: picture[:, ::-1] for name, picture in pictures.items()}
            labels = {name: np.asarray(cameras.mirror(label), np.float32) for name, label in labels.items()}
        return pictures | labels


@dataclasses.dataclass(frozen=True)
class SampleConfig:
    """Pictures drawn from the generator."""

    latent: str = "z+"
    """Latents drawn for each layer ("z+", as in the paper's Table 4) or one for all ("z")."""
    truncation: float = 1.0
    """1 keeps the codes, 0 gives the mean ones."""
    yaw_degrees: float = 60.0
    """Cameras have yaws between minus this and this, uniformly."""
    pitch_degrees: float = 15.0
    """Likewise pitches."""

    def __post_init__(self):
        check_choice("latent", self.latent, ("z", "z+"))


def sample_cameras(config: GeneratorConfig, keys: jax.Array, options: SampleConfig) -> jax.Array:
    """Labels [N, 25] of cameras that look at the model's pivot from its usual distance, drawn by keys [N]."""
    angles = jax.vmap(lambda key: jax.random.uniform(key, (2,), minval=-1.0))(keys)
    yaw, pitch = angles[:, 0] * math.radians(options.yaw_degrees), angles[:, 1] * math.radians(options.pitch_degrees)
    return cameras.look_at(yaw, pitch, radius=config.camera_radius, pivot=config.camera_pivot)


def draw_heads(config: GeneratorConfig, variables: Any, keys: jax.Array, options: SampleConfig) -> Head:
    """Heads of latents drawn by keys [N]."""
    z = draw_latents(config, keys, space=options.latent)
    ws = map_latents(config, variables, z, truncation=options.truncation)
    return Head(generator.synthesize(config, variables, ws), ws)


def draw_samples(
    config: GeneratorConfig,
    variables: Any,
    keys: jax.Array,
    options: SampleConfig = SampleConfig(),
    *,
    masks: bool = False,
) -> dict[str, jax.Array]:
    """Pictures that the generator makes, with their cameras.

    Args:
      variables: the generator's.
      keys: [N], one a sample.
      options: which latents and cameras.
      masks: give masks as well.

    Returns:
      {"image": [N, S, S, 3] in [-1, 1], "camera": [N, 25]}, and maybe "mask": [N, S, S, 1] in [0, 1].
    """
    latent_keys, camera_keys = jnp.moveaxis(jax.vmap(lambda key: jax.random.split(key))(keys), 1, 0)
    heads = draw_heads(config, variables, latent_keys, options)
    labels = sample_cameras(config, camera_keys, options)
    view = render_heads(config, variables, heads, labels)
    samples = {"image": jnp.clip(view.image, -1, 1), "camera": labels}
    if masks:
        samples["mask"] = jnp.clip(pool(view.mask, view.image.shape[1]), 0, 1)
    return samples


@functools.lru_cache(maxsize=4)
def _order(seed: int, turn: int, size: int) -> np.ndarray:
    return np.random.default_rng((seed, 0, turn)).permutation(size)


def _labels(folder: pathlib.Path) -> list[tuple[str, Any]]:
    path = folder / "dataset.json"
    try:
        if kind_of(path) == "nothing":
            raise InputError(f"data folder must hold dataset.json in EG3D's layout, got {folder}")
        entries = read_json(path)["labels"]
        return sorted((str(name).replace("\\", "/"), label) for name, label in entries)
    except (OSError, ValueError, KeyError, TypeError) as error:
        if str(error).startswith("data folder"):
            raise
        raise InputError(f'{path} must be JSON like {{"labels": [[name, [25 numbers]], ...]}}: {error}') from error
