"""Batches on the devices: photos from a source, samples from the generator, or both."""

import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from panojax import camera as cameras
from panojax.data.augment import AugmentConfig, augment, light_other
from panojax.data.drawn import draw_samples
from panojax.data.opening import (
    balance_photos,
    favour_front,
    has_other_views,
    keep_near,
    open_folders,
    share_weights,
    training_threads,
)
from panojax.data.picture_store import WHITE
from panojax.data.pictures import person_mask
from panojax.data.pipeline import Batches, PipelineConfig, Source, make_batches
from panojax.data.reader import Reader
from panojax.devices.sharding import batch_sharding, run_key, shard_batch
from panojax.errors import InputError
from panojax.nn.stylegan2 import pool
from panojax.train.encoder.proxy import draw_proxies
from panojax.train.encoder.run_config import RunConfig
from panojax.train.encoder.state import Frozen

# Streams of the seed. The steps' own is 0; 3 draws the networks.
_TRAINING, _VALIDATION, _AUGMENTATION = 1, 2, 4


class Feed:
    """Gives the batch of each step, split over a mesh.

    Attributes:
      source: of photos, or None.
      drawn: samples of the generator in each batch, after the photos. They depend on the seed and the step alone, as
        does the augmentation, which validation has none of.
    """

    def __init__(self, config: RunConfig, frozen: Frozen, mesh: Mesh, source: Source | None, *, validation=False):
        self.source, self.drawn = source, config.drawn
        if source is None and self.drawn < config.batch:
            raise InputError(f"{config.batch - self.drawn} photos a batch need data folders, or a source")
        if self.drawn % mesh.size:
            raise InputError(f"{self.drawn} samples a batch do not divide among {mesh.size} devices")
        if config.step.view_weight and (config.batch - self.drawn) // 2 % mesh.size:
            raise InputError(
                f"step.view_weight takes half of the {config.batch - self.drawn} photos a batch, which do not divide "
                f"among {mesh.size} devices"
            )
        self._frozen, self._mesh = frozen, mesh
        self._key = run_key(config.seed, mesh, _VALIDATION if validation else _TRAINING)
        sharding = batch_sharding(mesh)
        # Validation looks at pictures only.
        proxy = config.step.proxy if config.step.proxy.enabled and not validation else None
        changed = config.augment.enabled and not validation
        draw = functools.partial(_draw, frozen.config.generator, config.samples, proxy, self.drawn, changed)
        self._draw = jax.jit(draw, out_shardings=sharding)
        self._join = jax.jit(_concatenate, out_shardings=sharding)
        turned = changed and config.augment.both_views and config.augment.light > 0
        others = functools.partial(_with_others, config.step.mirror_weight, turned)
        self._others = jax.jit(others, out_shardings=sharding)
        self._augment = None
        if changed:
            self._augment = jax.jit(functools.partial(_augmented, config.augment), out_shardings=sharding)
            self._augment_key = run_key(config.seed, mesh, _AUGMENTATION)

    def __call__(self, step: int) -> dict[str, jax.Array]:
        """{"image": [N, S, S, 3], "camera": [N, 25]} of a step, "proxy" where the samples are proxies, and "other",
        {"image", "camera", "weight"} of the first half of the photos, where the source has other views.

        Augmented ones have "input" [N, S, S, 3] as well, which the encoder sees while the loss compares with "image".
        Photos come in the source's order whatever `step`.
        """
        batch = self._clean(step)
        return batch if self._augment is None else self._augment(batch, self._augment_key, np.int32(step))

    def _clean(self, step: int) -> dict[str, jax.Array]:
        samples = self._draw(self._frozen.generator, self._key, np.int32(step)) if self.drawn else None
        if self.source is None:
            assert samples is not None
            return samples
        photos = shard_batch(next(self.source), self._mesh)
        if "other_image" in photos:
            photos = self._others(photos)
        return photos if samples is None else self._join(photos, samples)


def open_source(config: RunConfig, frozen: Frozen, part: Literal["train", "validation"]) -> Batches | None:
    """The photos of the configuration's data folders, or None where it has none or takes samples alone.

    Raises:
      InputError: the folders cannot be read, or have no other views where `step.view_weight` asks for them.
    """
    photos_a_batch, count = config.batch - config.drawn, jax.process_count()
    if not photos_a_batch:
        if config.step.view_weight:
            raise InputError("step.view_weight needs photos in the batch, got data () or sample_ratio 1")
        return None
    if photos_a_batch % count:
        raise InputError(f"{photos_a_batch} photos a batch do not divide among {count} processes")
    encoder = frozen.config.encoder
    assert encoder is not None
    training = part == "train"
    readers = keep_near(open_data(config, part), config.max_yaw)
    readers = balance_photos(readers, config.max_copies if training else 1.0)
    weights = dict(zip(readers, config.shares)) if config.shares else share_weights(readers)
    if training:
        readers = favour_front(readers, config.near_repeat)
    masked = all("mask" in reader.fields for reader in readers.values())
    fields = ["image", "camera"]
    if config.augment.enabled and training and masked:
        fields.append("mask")
    if training and config.step.view_weight > 0:
        if not any(has_other_views(reader) for reader in readers.values()):
            raise InputError(f"step.view_weight needs folders of `panojax heads`, got {', '.join(config.data)}")
        fields += ["other_image", "other_camera"]
        if config.augment.both_views and "mask" in fields:
            fields.append("other_mask")
    options = PipelineConfig(
        batch_size=photos_a_batch // count,
        resolution=max(encoder.resolution, config.step.loss_resolution),
        fields=tuple(fields),
        background=WHITE if masked else None,
        mirror=0.5 if config.mirror and training else 0.0,
        seed=config.seed,
        cache_gigabytes=config.cache_gigabytes,
        threads=training_threads(),
        prefetch=training_threads() + 4,
    )
    return make_batches(readers, options, weights=weights, process_index=jax.process_index(), process_count=count)


def open_data(config: RunConfig, part: str) -> dict[str, Reader]:
    """The readers of the configuration's data folders."""
    return open_folders(config.data, part=part, masks=config.masks, held_out=config.held_out)


def _draw(model, samples, proxy, count, masks, variables, key, step) -> Any:
    keys = jax.random.split(jax.random.fold_in(key, step), count)
    if proxy is None:
        return draw_samples(model, variables, keys, samples, masks=masks)
    proxies = draw_proxies(model, variables, keys, samples, proxy)
    return {"image": proxies.pop("image"), "camera": proxies.pop("camera"), "proxy": proxies}


def _with_others(mirror_weight: float, turned: bool, photos: Any) -> Any:
    """Photos whose first half's other views are in "other", with the weight of each: 1 for a true one.

    Where there is none, the mirrored photo is one, and counts by the angle between both cameras: of a face from the
    front it tells nothing but that it were symmetric. `turned` gives what `_same_light` needs as well.
    """
    count = len(photos["camera"]) // 2
    photos = dict(photos)
    other = {name[6:]: photos.pop(name)[:count] for name in tuple(photos) if name.startswith("other_")}
    first = photos["camera"][:count]
    alone = jnp.all(other["camera"] == first, axis=1)
    other["image"] = _where(alone, other["image"][:, :, ::-1], other["image"])
    other["camera"] = _where(alone, cameras.mirror(first), other["camera"])
    places = [label[:, jnp.array([3, 7, 11])] for label in (first, other["camera"])]
    cosine = jnp.sum(jnp.multiply(*places), 1) / jnp.prod(jnp.array([jnp.linalg.norm(x, axis=1) for x in places]), 0)
    apart = jnp.minimum(jnp.arccos(jnp.clip(cosine, -1, 1)), 1.0)
    other["weight"] = jnp.where(alone, mirror_weight * apart, 1.0)
    if turned:
        if "mask" in other:
            other["mask"] = _where(alone, other["mask"][:, :, ::-1], other["mask"])
        right_and_down = [label[:, :16].reshape(-1, 4, 4)[:, :3, :2] for label in (first, other["camera"])]
        turn = jnp.einsum("nij,nik->njk", right_and_down[1], right_and_down[0], precision="highest")
        other["turn"] = _where(alone, jnp.diag(jnp.array([-1.0, 1.0])), turn)
    return photos | {"other": other}


def _where(which, x, y):
    return jnp.where(which.reshape(-1, *(1,) * (y.ndim - 1)), x, y)


def _concatenate(photos, samples):
    pooled = samples | {"image": pool(samples["image"], photos["image"].shape[1])}
    if "mask" in photos:
        samples = _masked(samples)
    names = ["image", "camera"]
    if "mask" in samples:
        pooled["mask"] = pool(samples["mask"], photos["image"].shape[1])
        photos, names = _masked(photos), [*names, "mask"]
    joined = {name: jnp.concatenate([photos[name].astype(jnp.float32), pooled[name]]) for name in names}
    return samples | joined | ({"other": photos["other"]} if "other" in photos else {})


def _augmented(config, batch, key, step):
    """A batch with "input", and with "image" as the loss shall see it. What has another view keeps its light, or both
    views have the same one."""
    batch = _masked(batch)
    mask, image = batch.pop("mask"), batch["image"].astype(jnp.float32)
    count = len(mask)
    first = len(batch["other"]["camera"]) if "other" in batch else 0
    last = len(batch["proxy"]["ws"]) if "proxy" in batch else 0
    keys = jax.random.split(jax.random.fold_in(key, step), count)
    if first and "turn" in batch["other"]:
        batch["other"] = _same_light(config, keys[:first], image[:first], mask[:first], batch["other"])
        first = 0
    lit = (jnp.arange(count) >= first) & (jnp.arange(count) < count - last)
    change = jax.vmap(lambda key, image, mask, lit: augment(key, image, mask, config, lit=lit))
    seen, target = change(keys, image, mask, lit)
    return batch | {"image": target, "input": seen}


def _same_light(config: AugmentConfig, keys: jax.Array, image: jax.Array, mask: jax.Array, other: Any) -> Any:
    """Other views in the light that the keys give the first ones [K, S, S, 3]."""
    other = _masked(other)
    there, turn = other.pop("mask"), other.pop("turn")
    light = jax.vmap(lambda key, views, turn: light_other(key, views, turn, config))
    return other | {"image": light(keys, ((image, mask), (other["image"].astype(jnp.float32), there)), turn)}


def _masked(batch):
    """A batch with masks, estimated where it has none."""
    return dict(batch) if "mask" in batch else batch | {"mask": jax.vmap(person_mask)(batch["image"])}
