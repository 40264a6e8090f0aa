"""Many views of one head, a few at a time through one compiled function."""

from collections.abc import Iterator

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

# Views in one call on a GPU: enough to fill it. On a CPU one is as fast, in a quarter of the memory.
BATCH = 4


def render_views(
    params: Params, head: Head, cameras: jax.Array | np.ndarray, *, resolution: int | None = None
) -> Iterator[np.ndarray]:
    """Pictures [H, W, 3] of a head in about [-1, 1], one for each camera, as they are rendered.

    Args:
      cameras: labels [N, 25].
      resolution: side of the volume rendering; None is the configuration's.

    Raises:
      InputError: a label is no camera, or a picture is not finite.
    """
    labels = np.stack([check_label(camera, f"cameras[{i}]") for i, camera in enumerate(np.asarray(cameras))])
    params = params.generator_only()
    batch = 1 if jax.default_backend() == "cpu" else BATCH

    def render(start: int) -> np.ndarray:
        some = labels[start : start + batch]
        padded = np.concatenate([some, np.repeat(some[-1:], batch - len(some), axis=0)])
        pictures = np.asarray(_render(params, head, jnp.asarray(padded), resolution=resolution))[: len(some)]
        if not np.isfinite(pictures).all():
            raise InputError("the model must give finite pictures, got NaN or infinity: its parameters are broken")
        return pictures

    for pictures in in_order(render, range(0, len(labels), batch)):
        yield from pictures


def _pictures(params, head, cameras, *, resolution):
    return jax.vmap(lambda camera: api.render(params, head, camera, resolution).image)(cameras)


_render = KeptFunction(_pictures, ("resolution",))
