"""Many views of one head, a few at a time through one compiled function."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from panojax import api
from panojax.camera import check_label
from panojax.devices.ahead import in_order
from panojax.devices.programs import KeptFunction
from panojax.errors import InputError
from panojax.generators.generator import Head
from panojax.params import Params
from panojax.render.occupied import CELLS, INSIDE

# Views in one call on a GPU: enough to fill it. On a CPU one is as fast, in a quarter of the memory.
BATCH = 4
PAYS = 2  # so many times the lookups that find where a head is its views must have, that it pays to find it first


def render_views(
    params: Params,
    head: Head,
    cameras: jax.Array | np.ndarray,
    *,
    resolution: int | None = None,
    occupied: jax.Array | None = None,
) -> Iterator[np.ndarray]:
    """Pictures [H, W, 3] of a head in about [-1, 1], one for each camera, as they are rendered.

    Args:
      cameras: labels [N, 25].
      resolution: side of the volume rendering; None is the configuration's.
      occupied: `where` of the head, where it is known; else it is found first where it pays.

    Raises:
      InputError: a label is no camera, or a picture is not finite.
    """
    labels = np.stack([check_label(camera, f"cameras[{i}]") for i, camera in enumerate(np.asarray(cameras))])
    params = params.generator_only()
    if occupied is None:
        occupied = where(params, head, len(labels), resolution)

    def render(some: jax.Array) -> np.ndarray:
        pictures = np.asarray(_render(params, head, some, occupied, resolution=resolution))
        if not np.isfinite(pictures).all():
            raise InputError("the model must give finite pictures, got NaN or infinity: its parameters are broken")
        return pictures

    for pictures in in_batches(render, labels):
        yield from pictures


def in_batches(take: Callable[[jax.Array], Any], labels: np.ndarray) -> Iterator[Any]:
    """take(labels [B, 25]) -> arrays [B, ...] of all labels [N, 25], in order, so many at once as serve the device.

    All batches have one size, the last filled up with its last label; what that gives too much is left out.
    """
    batch = 1 if jax.default_backend() == "cpu" else BATCH

    def of_some(start: int) -> Any:
        some = labels[start : start + batch]
        padded = np.concatenate([some, np.repeat(some[-1:], batch - len(some), axis=0)])
        return jax.tree.map(lambda x: x[: len(some)], take(jnp.asarray(padded)))

    return in_order(of_some, range(0, len(labels), batch))


def of_each(function: Callable[[jax.Array], Any], labels: jax.Array) -> Any:
    """function(label) of each label [B, 25]; of a single one without `vmap`, in which loops of no fixed length cost."""
    return jax.tree.map(lambda x: x[None], function(labels[0])) if len(labels) == 1 else jax.vmap(function)(labels)


def where(params: Params, head: Head, views: int, resolution: int | None = None) -> jax.Array | None:
    """`api.occupied_cells` of a head that is seen so many times; None where that does not pay: on a GPU, and where its
    views, rendered at this resolution (None: the configuration's), have not many more lookups."""
    config = params.config.generator
    lookups = views * (resolution or config.rendering_resolution) ** 2
    lookups *= config.depth_samples + config.importance_samples
    if jax.default_backend() != "cpu" or lookups < PAYS * (CELLS * INSIDE) ** 3:
        return None
    return _occupied(params.generator_only(), head)


def _pictures(params, head, cameras, occupied, *, resolution):
    return of_each(lambda camera: api.render(params, head, camera, resolution, occupied=occupied).image, cameras)


_render = KeptFunction(_pictures, ("resolution",))
_occupied = KeptFunction(api.occupied_cells, ())
