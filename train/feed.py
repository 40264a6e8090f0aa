"""Batches on the devices: photos from a source, samples from the generator, or both."""

import functools
import pathlib
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from panojax.errors import InputError
from panojax.layers import pool
from panojax.train.presets import RunConfig
from panojax.train.proxy import draw_proxies
from panojax.train.sharding import batch_sharding, run_key, shard_batch
from panojax.train.sources import PhotoSource, Source, balance_photos, draw_samples, list_photos
from panojax.train.state import Frozen

_TRAINING, _VALIDATION = 1, 2  # streams of the seed; the steps' own is 0


class Feed:
    """Gives the batch of each step, split over a mesh.

    Attributes:
      source: of photos, or None.
      drawn: samples of the generator in each batch, after the photos. They depend on the seed and the step alone.
    """

    def __init__(self, config: RunConfig, frozen: Frozen, mesh: Mesh, source: Source | None, *, validation=False):
        self.source, self.drawn = source, config.drawn
        if source is None and self.drawn < config.batch:
            raise InputError(f"{config.batch - self.drawn} photos a batch need data folders, or a source")
        if self.drawn % mesh.size:
            raise InputError(f"{self.drawn} samples a batch do not divide among {mesh.size} devices")
        self._frozen, self._mesh = frozen, mesh
        self._key = run_key(config.seed, mesh, _VALIDATION if validation else _TRAINING)
        sharding = batch_sharding(mesh)
        # Validation looks at pictures only.
        proxy = config.step.proxy if config.step.proxy.enabled and not validation else None
        draw = functools.partial(_draw, frozen.config.generator, config.samples, proxy, self.drawn)
        self._draw = jax.jit(draw, out_shardings=sharding)
        self._join = jax.jit(_concatenate, out_shardings=sharding)

    def __call__(self, step: int) -> dict[str, jax.Array]:
        """{"image": [N, S, S, 3], "camera": [N, 25]} of a step, and "proxy" where the samples are proxies.

        Photos come in the source's order whatever `step`.
        """
        samples = self._draw(self._frozen.generator, self._key, np.int32(step)) if self.drawn else None
        if self.source is None:
            assert samples is not None
            return samples
        photos = shard_batch(next(self.source), self._mesh)
        return photos if samples is None else self._join(photos, samples)


def open_source(config: RunConfig, frozen: Frozen, part: Literal["train", "validation"]) -> Source | None:
    """The photos of the configuration's data folders, or None where it has none or takes samples alone.

    Raises:
      InputError: the folders cannot be read, or prepared sets are mixed with others.
    """
    photos_a_batch = config.batch - config.drawn
    if not photos_a_batch:
        return None
    encoder = frozen.config.encoder
    assert encoder is not None
    resolution = max(encoder.resolution, config.step.loss_resolution)
    training = part == "train"
    copies = config.max_copies if training else 1.0
    common: dict[str, Any] = {
        "seed": config.seed,
        "mirror": config.mirror and training,
        "processes": (jax.process_index(), jax.process_count()),
    }
    prepared = [folder for folder in config.data if is_prepared(folder)]
    if prepared and len(prepared) < len(config.data):
        raise InputError(f"data must be prepared sets or folders with dataset.json, not both, got {config.data}")
    if prepared:
        from panojax.train.prepared import open_prepared

        return open_prepared(prepared, photos_a_batch, resolution, part=part, max_copies=copies, **common)
    photos = list_photos(config.data, masks=config.masks, part=part, held_out=config.held_out)
    return PhotoSource(balance_photos(photos, copies), photos_a_batch, resolution, **common)


def is_prepared(folder: str | pathlib.Path) -> bool:
    """Whether a folder holds sets that `python -m panojax.train.data` wrote."""
    folder = pathlib.Path(folder)
    return not (folder / "dataset.json").exists() and any(folder.rglob("dataset_info.json"))


def _draw(model, samples, proxy, count, variables, key, step) -> Any:
    keys = jax.random.split(jax.random.fold_in(key, step), count)
    if proxy is None:
        return draw_samples(model, variables, keys, samples)
    proxies = draw_proxies(model, variables, keys, samples, proxy)
    return {"image": proxies.pop("image"), "camera": proxies.pop("camera"), "proxy": proxies}


def _concatenate(photos, samples):
    pooled = samples | {"image": pool(samples["image"], photos["image"].shape[1])}
    joined = {name: jnp.concatenate([photos[name].astype(jnp.float32), pooled[name]]) for name in ("image", "camera")}
    return samples | joined
