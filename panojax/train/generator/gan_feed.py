"""Batches of real pictures on the devices, and cameras for the heads to be made.

Which pictures a step sees depends on the seed and the step alone, so a resumed run needs no saved position.
"""

import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from panojax.data.balance import Resampled, back_copies, from_behind
from panojax.data.batch_maker import number_heads
from panojax.data.opening import open_folders, share_weights, training_threads
from panojax.data.picture_store import WHITE
from panojax.data.pipeline import Batches, PipelineConfig, make_batches
from panojax.data.reader import Reader
from panojax.devices.sharding import batch_sharding, replicate, shard_batch
from panojax.errors import InputError
from panojax.synthetic.render import DEPTH_STEPS
from panojax.train.generator.gan_presets import GeneratorRun

_FIELDS = ("camera", "pose", "more_poses", "head", "mirrored")


class PictureFeed:
    """Gives the batch of each step, split over a mesh.

    Attributes:
      batches: the data path's.
      heads: how many heads the pictures show; mirrored ones count as others.
      stored: all pictures on each device, where batches are gathered, or None.
    """

    def __init__(self, batches: Batches, mesh: Mesh, *, on_device: bool):
        self.batches, self._mesh = batches, mesh
        self.heads = int(number_heads([store.sized.reader for store in batches.stores]).max()) + 1
        self.stored = _on_devices(batches, mesh) if on_device else None
        self._prepare = jax.jit(_prepare, out_shardings=batch_sharding(mesh))
        self._gather = jax.jit(_gather, out_shardings=batch_sharding(mesh))

    def __call__(self, step: int) -> dict[str, jax.Array]:
        """A step's pictures and the cameras of heads to be made.

        {"image": [N, S, S, 3] in [-1, 1], "mask": [N, S, S, 1] in [0, 1], "camera": [N, 25], "pose": [N, 25],
        "more_poses": [N, 2, 25], "identity": [N]}, mirrored heads counted as others, and "depth": [N, S, S, 1] in world
        units where there is one.
        """
        if step != self.batches.position:
            self.batches.seek(step)
        batch = next(self.batches)
        batch["identity"] = batch.pop("head") + self.heads * batch["mirrored"].astype(np.int32)
        if self.stored is None:
            return self._prepare(shard_batch(batch, self._mesh))
        return self._gather(self.stored, shard_batch(batch, self._mesh))


def open_feed(config: GeneratorRun, mesh: Mesh, readers: dict[str, Reader] | None = None) -> PictureFeed:
    """The feed of a run, its pictures read where they are kept.

    Args:
      config: the run.
      mesh: of its devices.
      readers: instead of `config.data`'s.

    Raises:
      InputError: there is nothing to read, something cannot be read, or a photo has no mask; depths are asked for that
        the pictures have not; the batch does not divide among the devices.
    """
    if config.batch % mesh.size:
        raise InputError(f"batch must be a multiple of the {mesh.size} devices, got {config.batch}")
    if readers is None:
        readers = open_folders(config.data, masks=config.masks, held_out=0.0, need_masks=True)
    depth = config.stage == "fit" and config.fit.depth > 0
    size, count = config.discriminator.resolution, sum(len(reader) for reader in readers.values())
    gigabytes = count * size**2 * (6 if depth else 4) / 1e9
    on_device = {"yes": True, "no": False, "auto": gigabytes <= config.device_gigabytes}[config.data_on_device]
    kept = on_device or gigabytes <= config.cache_gigabytes
    batches = _open_batches(config, readers, depth=depth, on_device=on_device, kept=kept)
    if kept:
        for store in batches.stores:
            store.fill(np.arange(len(store)))
    feed = PictureFeed(batches, mesh, on_device=on_device)
    if jax.process_index() == 0:
        where = "device" if on_device else "host" if kept else "disk"
        behind = sum(int(from_behind(reader.cameras, degrees=config.back_degrees).sum()) for reader in readers.values())
        times = f", shown {config.back_repeat} times" if config.back_repeat > 1 else ""
        told = f"{behind} of them from behind{times}"
        print(f"{count} pictures of {feed.heads} heads, {gigabytes:.2f} GB, on the {where}; {told}", file=sys.stderr)
    return feed


def _open_batches(config, readers, *, depth, on_device, kept) -> Batches:
    without = [name for name, reader in readers.items() if depth and "depth" not in reader.fields]
    if without:
        raise InputError(f"data must be of `panojax heads`, which have depths, got {', '.join(without)}")
    shown = {}
    for name, reader in readers.items():
        copies = back_copies(reader.cameras, config.back_repeat, degrees=config.back_degrees)
        shown[name] = Resampled(reader, np.repeat(np.arange(len(reader)), copies))
    options = PipelineConfig(
        batch_size=config.batch // jax.process_count(),
        resolution=config.discriminator.resolution,
        fields=("row" if on_device else "pixels", *(("depths",) if depth else ()), *_FIELDS),
        background=WHITE if config.background == "white" else None,
        mirror="both" if config.mirror else 0.0,
        seed=config.seed,
        cache_gigabytes=float("inf") if kept else 0.0,
        threads=training_threads(),
        prefetch=training_threads() + 4,
    )
    return make_batches(
        shown,
        options,
        weights=share_weights(shown),
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )


def _on_devices(batches: Batches, mesh: Mesh) -> Any:
    """All pictures on each device; the host forgets them."""
    arrays = [store.arrays() for store in batches.stores]
    joined = {name: np.concatenate([own[name] for own in arrays]) for name in arrays[0]} if arrays[1:] else arrays[0]
    stored = replicate(joined, mesh)
    for store in batches.stores:
        store.forget()
    return stored


def _gather(stored, batch):
    rows = batch.pop("row")
    return _prepare(batch | {name: x[rows] for name, x in stored.items()})


def _prepare(batch):
    """Bytes to numbers, mirrored where they shall be."""
    mirrored = batch.pop("mirrored")
    pixels = _flipped(batch.pop("pixels"), mirrored)
    batch["image"] = pixels[..., :3].astype(jnp.float32) / 127.5 - 1
    batch["mask"] = pixels[..., 3:].astype(jnp.float32) / 255
    if "depths" in batch:
        batch["depth"] = _flipped(batch.pop("depths"), mirrored)[..., None].astype(jnp.float32) / DEPTH_STEPS
    return batch


def _flipped(x, mirrored):
    return jnp.where(mirrored.reshape(-1, *(1,) * (x.ndim - 1)), x[:, :, ::-1], x)
