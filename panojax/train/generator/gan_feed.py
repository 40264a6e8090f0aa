"""Batches of real pictures on the devices, and cameras for the heads to be made.

Which pictures a step sees depends on the seed and the step alone, so a resumed run needs no saved position.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from panojax import camera as cameras
from panojax.devices.sharding import batch_sharding, replicate, shard_batch
from panojax.errors import InputError
from panojax.synthetic.render import DEPTH_STEPS
from panojax.train.generator.gan_data import Pictures


class PictureFeed:
    """Gives the batch of each step, split over a mesh.

    Every picture comes `copies` times an epoch, and as often mirrored; an epoch's order is random. Cameras for the
    heads are drawn from the same distribution.

    Attributes:
      on_device: whether all pictures lie on each device, where batches are gathered, or in the host's memory.
    """

    def __init__(
        self,
        pictures: Pictures,
        batch: int,
        mesh: Mesh,
        *,
        seed: int = 0,
        mirror: bool = True,
        copies: np.ndarray | None = None,
        on_device: bool = True,
    ):
        if batch < 1 or batch % mesh.size:
            raise InputError(f"batch must be a positive multiple of the {mesh.size} devices, got {batch}")
        self.on_device = on_device
        self._pictures, self._batch, self._mesh, self._seed = pictures, batch, mesh, seed
        rows = np.arange(len(pictures), dtype=np.int32)
        self._rows = rows if copies is None else np.repeat(rows, copies)
        self._size = len(self._rows) * (2 if mirror else 1)
        share = batch // jax.process_count()
        self._own = slice(jax.process_index() * share, (jax.process_index() + 1) * share)
        self._prepare = jax.jit(_prepare, out_shardings=batch_sharding(mesh))
        self._gather = jax.jit(_gather, out_shardings=batch_sharding(mesh))
        self._arrays = {"pixels": pictures.pixels}
        if pictures.depths is not None:
            self._arrays["depths"] = pictures.depths
        self._stored = replicate(self._arrays, mesh) if on_device else None

    def __call__(self, step: int) -> dict[str, jax.Array]:
        """{"image": [N, S, S, 3] in [-1, 1], "mask": [N, S, S, 1] in [0, 1], "camera": [N, 25], "pose": [N, 25],

        "identity": [N]}, mirrored heads counted as others, and "depth": [N, S, S, 1] in world units where there is one.
        """
        rows, mirrored = self.choose(step)
        poses, turned = self._entries(
            np.random.default_rng((self._seed, 2, step)).integers(self._size, size=self._batch)
        )
        labels = self._pictures.labels
        part = {
            "rows": rows,
            "mirrored": mirrored,
            "camera": labels[rows],
            "pose": labels[poses],
            "turned": turned,
            "identity": self._pictures.identities[rows] + mirrored * (self._pictures.identities[-1] + 1),
        }
        part = {name: x[self._own] for name, x in part.items()}
        if self._stored is not None:
            return self._gather(self._stored, shard_batch(part, self._mesh))
        chosen = {name: x[part["rows"]] for name, x in self._arrays.items()}
        return self._prepare(shard_batch(part | chosen, self._mesh))

    def choose(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """The rows [N] of the pictures of a step, and whether they are mirrored [N]."""
        positions = step * self._batch + np.arange(self._batch)
        turns, places = np.divmod(positions, self._size)
        entries = [_order(self._seed, int(turn), self._size)[place] for turn, place in zip(turns, places)]
        return self._entries(np.array(entries))

    def _entries(self, entries):
        mirrored, index = np.divmod(entries, len(self._rows))
        return self._rows[index], mirrored.astype(bool)


@functools.lru_cache(maxsize=2)
def _order(seed: int, turn: int, size: int) -> np.ndarray:
    return np.random.default_rng((seed, 1, turn)).permutation(size)


def _gather(stored, part):
    return _prepare(part | {name: x[part["rows"]] for name, x in stored.items()})


def _prepare(part):
    """Bytes to numbers, mirrored where they shall be."""
    pixels = _where(part["mirrored"], part["pixels"][:, :, ::-1], part["pixels"])
    batch = {
        "image": pixels[..., :3].astype(jnp.float32) / 127.5 - 1,
        "mask": pixels[..., 3:].astype(jnp.float32) / 255,
        "camera": _where(part["mirrored"], cameras.mirror(part["camera"]), part["camera"]),
        "pose": _where(part["turned"], cameras.mirror(part["pose"]), part["pose"]),
        "identity": part["identity"],
    }
    if "depths" in part:
        depths = _where(part["mirrored"], part["depths"][:, :, ::-1], part["depths"])
        batch["depth"] = depths[..., None].astype(jnp.float32) / DEPTH_STEPS
    return batch


def _where(chosen, x, y):
    return jnp.where(chosen.reshape(-1, *(1,) * (x.ndim - 1)), x, y)
