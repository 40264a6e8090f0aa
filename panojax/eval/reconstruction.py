"""The protocols that invert portraits: what is done for one sample, and the averages of many.

Two jobs a sample. The reference job embeds the true pictures and draws two heads from the generator, seen from the
cameras at which distances between distributions are taken: one for the reference, the other for the generator's own
floor. A method's job inverts the portrait, compares its views with the true pictures, and takes the features of its
views from the same cameras.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from panojax.camera import look_at
from panojax.data.drawn import SampleConfig, draw_heads
from panojax.errors import InputError
from panojax.eval.feature_networks import Networks
from panojax.eval.frechet import frechet_distance, kernel_distance, moments
from panojax.eval.methods import Inverter
from panojax.eval.records import Record
from panojax.eval.samples import INPUT, Picture, Sample
from panojax.eval.view_figures import IDENTITIES, MEASURES, compare, embed, see
from panojax.files.image_file import MIN_SIDE
from panojax.files.output import to_uint8
from panojax.generators.generator import Head
from panojax.generators.generator_config import GeneratorConfig
from panojax.nn.stylegan2 import pool
from panojax.params import Params

AROUND = "360"
"""Group of views from yaws over the whole circle."""
SHOWN_YAWS = (60, 120, 180, 240, 300)
"""Degrees of the views that figures show, where the true pictures give none."""
MAX_SHOWN = 5


@dataclasses.dataclass(frozen=True)
class Measuring:
    """What is measured of every sample."""

    size: int = 256
    """Side of the pictures that are compared; larger ones are averaged down."""
    seed: int = 0
    """Of cameras, latents and optimisations."""
    true_views: bool = False
    """Whether distances between distributions are to the true pictures beside the portrait (MEAD), from their cameras;
    otherwise they are to the generator's samples, from one random yaw a sample."""
    distances: int = 1000
    """Samples that take part in them, the first ones."""
    truncation: float = 1.0
    """Of the generator's samples."""
    shown: int = 3
    """Samples that figures show, the first ones."""

    def __post_init__(self):
        for name, least in (("size", MIN_SIDE), ("seed", 0), ("distances", 0), ("shown", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name} must be at least {least}, got {getattr(self, name)}")


@dataclasses.dataclass(frozen=True)
class Job:
    """A sample and its place in the set."""

    index: int
    sample: Sample


class Worker:
    """Does jobs on one device.

    Args:
      params: the generator's model, on the device.
      networks: on the device.
      options: what is measured.
      device: which; None is the default one.
    """

    def __init__(self, params: Params, networks: Networks, options: Measuring, device: Any = None):
        self._config: GeneratorConfig = params.config.generator
        self._variables, self._networks, self._options, self._device = params.generator, networks, options, device

    def reference(self, job: Job) -> Record:
        """{"identity", "aligned": [pictures, E], "groups": [k], "real", "generated", "again": features [k, F]}."""
        with jax.default_device(self._device):
            pictures = job.sample.load(self._options.size)
            embeddings = [embed(self._networks, picture.image) for picture in pictures]
            record = {name: np.stack([one[name] for one in embeddings]) for name in embeddings[0]}
            groups, cameras = self._distance_views(job, pictures)
            if groups:
                first, second = (
                    np.stack([self._features(self._variables, head, camera) for camera in cameras])
                    for head in self._drawn(job)
                )
                true = [picture.image for picture in pictures[1:]]
                real = np.stack([self._picture_features(x) for x in true]) if self._options.true_views else first
                record |= {"groups": np.array(groups), "real": real, "generated": first, "again": second}
            return record

    def method(self, job: Job, invert: Inverter, reference: Record) -> Record:
        """{"measures": [pictures, measures], "views": [pictures] groups, "groups", "features", "shown", "titles"}."""
        with jax.default_device(self._device):
            options = self._options
            pictures = job.sample.load(options.size)
            key = jax.random.fold_in(jax.random.key(options.seed), job.index)
            variables, head = invert(pictures[0].image, pictures[0].camera, key)
            views = [self._see(variables, head, picture.camera) for picture in pictures]
            rows = []
            for i, (view, picture) in enumerate(zip(views, pictures)):
                truth = {name: x[i] for name, x in reference.items() if name in IDENTITIES}
                figures = compare(self._networks, view, _as_wide(picture, view.image), truth)
                rows.append([figures.get(name, math.nan) for name in MEASURES])
            record = {"measures": np.array(rows), "views": np.array([picture.group for picture in pictures])}
            groups, cameras = self._distance_views(job, pictures)
            if groups:
                features = np.stack([self._features(variables, head, camera) for camera in cameras])
                record |= {"groups": np.array(groups), "features": features}
            if job.index < options.shown:
                record |= self._shown(variables, head, pictures)
            return record

    def _distance_views(self, job: Job, pictures: Sequence[Picture]) -> tuple[list[str], list[np.ndarray]]:
        """Groups and cameras of the views whose features are compared as distributions."""
        options = self._options
        if self._networks.features is None or job.index >= options.distances:
            return [], []
        if options.true_views:
            return [picture.group for picture in pictures[1:]], [picture.camera for picture in pictures[1:]]
        yaw = np.random.default_rng((options.seed, job.index)).uniform(-math.pi, math.pi)
        return [AROUND], [self._camera(yaw)]

    def _camera(self, yaw: float) -> np.ndarray:
        return np.asarray(look_at(yaw, radius=self._config.camera_radius, pivot=self._config.camera_pivot))

    def _drawn(self, job: Job) -> list[Head]:
        """Two heads [1, ...] of the generator, which no other job draws."""
        keys = jax.random.split(jax.random.fold_in(jax.random.key(self._options.seed + 1), job.index))
        options = SampleConfig(latent="z", truncation=self._options.truncation)
        return [_draw(self._config, self._variables, key[None], options) for key in keys]

    def _see(self, variables: Any, head: Head, camera: np.ndarray) -> Any:
        return see(self._config, variables, head, camera, side=self._options.size)

    def _features(self, variables: Any, head: Head, camera: np.ndarray) -> np.ndarray:
        return self._picture_features(self._see(variables, head, camera).image)

    def _picture_features(self, image: np.ndarray) -> np.ndarray:
        assert self._networks.features is not None
        features: np.ndarray = self._networks.features(image[None])["features"][0]
        return features

    def _shown(self, variables: Any, head: Head, pictures: Sequence[Picture]) -> Record:
        """The views that figures show, as bytes [V, S, S, 3], with their titles, the portrait and the true ones."""
        others = one_of_each(pictures[1:])
        titles = [INPUT, *(picture.group for picture in others)]
        cameras = [pictures[0].camera, *(picture.camera for picture in others)]
        if not others:
            titles += [str(yaw) for yaw in SHOWN_YAWS]
            cameras += [self._camera(math.radians(yaw)) for yaw in SHOWN_YAWS]
        views = [to_uint8(self._see(variables, head, camera).image) for camera in cameras]
        true = [to_uint8(picture.image) for picture in (pictures[0], *others)]
        return {"shown": np.stack(views), "titles": np.array(titles), "true": np.stack(true)}


def average(records: Sequence[Record]) -> dict[str, dict[str, float]]:
    """{group: {measure: mean over its pictures that have it, "missed": sum instead, "pictures": how many}}."""
    rows = np.concatenate([record["measures"] for record in records])
    views = np.concatenate([record["views"] for record in records])
    groups = {}
    for group in sorted(set(views.tolist()), key=float):
        figures = {name: column[~np.isnan(column)] for name, column in zip(MEASURES, rows[views == group].T)}
        groups[group] = {
            name: float(values.sum() if name == "missed" else values.mean())
            for name, values in figures.items()
            if len(values)
        } | {"pictures": float((views == group).sum())}
    return groups


def distances(
    references: Sequence[Record], features: Sequence[Mapping[str, np.ndarray]] | None
) -> dict[str, dict[str, float]]:
    """{group: {"frechet", "kernel", "kernel_std", "pictures"}} between what is real and what a method makes.

    Args:
      references: records of the reference jobs.
      features: records of a method's jobs; None compares the generator's two sets of samples: its floor.
    """
    with_features = [i for i, record in enumerate(references) if "groups" in record]
    if not with_features:
        return {}
    groups = np.concatenate([references[i]["groups"] for i in with_features])
    if features is None:
        first, second = (
            np.concatenate([references[i][name] for i in with_features]) for name in ("generated", "again")
        )
    else:
        first = np.concatenate([references[i]["real"] for i in with_features])
        second = np.concatenate([features[i]["features"] for i in with_features])
    found = {}
    for group in sorted(set(groups.tolist()), key=float):
        here = groups == group
        found[group] = distance(first[here], second[here])
    return found


def distance(first: np.ndarray, second: np.ndarray) -> dict[str, float]:
    """Frechet and kernel distance of features [N, F] and [M, F]; NaN for fewer than two of either."""
    count = float(min(len(first), len(second)))
    if count < 2:
        return {"frechet": math.nan, "kernel": math.nan, "kernel_std": math.nan, "pictures": count}
    kernel, deviation = kernel_distance(first, second)
    frechet = frechet_distance(moments(first), moments(second))
    return {"frechet": frechet, "kernel": kernel, "kernel_std": deviation, "pictures": count}


_draw = jax.jit(draw_heads, static_argnums=(0, 3))


def _as_wide(picture: Picture, image: np.ndarray) -> Picture:
    """A picture averaged down to a view's side, where the model's pictures are smaller."""
    if picture.image.shape == image.shape:
        return picture
    return dataclasses.replace(picture, image=np.asarray(pool(jnp.asarray(picture.image)[None], image.shape[0])[0]))


def one_of_each(pictures: Sequence[Picture]) -> list[Picture]:
    """Up to `MAX_SHOWN` pictures, of as many groups as there are, by angle."""
    before = [sum(other.group == picture.group for other in pictures[:i]) for i, picture in enumerate(pictures)]
    order = sorted(range(len(pictures)), key=lambda i: (before[i], float(pictures[i].group)))[:MAX_SHOWN]
    return sorted((pictures[i] for i in order), key=lambda picture: float(picture.group))
