"""A scene in a tri-grid: two opaque balls side by side, one nearer to the front, which no plane shows overlapping."""

import dataclasses
import functools

import jax.numpy as jnp
import micro
import numpy as np

from panojax.config import Config
from panojax.generators.generator import Head
from panojax.params import Params, random_params

SIDE, RADIUS = 32, 0.12
LEFT, RIGHT = np.array([-0.17, 0.02, 0.16]), np.array([0.17, 0.0, -0.16])


@functools.cache
def params() -> Params:
    """Opaque where all three planes are 1 in their first channel, empty where one is 0."""
    config = dataclasses.replace(
        micro.micro_generator().config.generator,
        plane_resolution=SIDE,
        plane_depth=2,
        rendering_resolution=32,
        depth_samples=64,
    )
    made = random_params(Config(config))
    decoder = dict(made.generator["params"]["decoder"])
    # Layers divide by the root of their inputs, 4 and 8: hidden 0 is 20 f, the density 2000 (f - 5/6).
    first, last = (dict(decoder[name]) for name in ("net.0", "net.2"))
    first["kernel"] = first["kernel"].at[:, 0].set(0).at[0, 0].set(40.0)
    last["kernel"] = last["kernel"].at[:, 0].set(0).at[0, 0].set(100 * 8**0.5)
    last["bias"] = last["bias"].at[0].set(-2000 * 5 / 6)
    decoder |= {"net.0": first, "net.2": last}
    parts = made.generator["params"] | {"decoder": decoder}
    return made.replace(generator=made.generator | {"params": parts})


def disc(plane: int, centre: np.ndarray, radius: float = RADIUS) -> np.ndarray:
    """A ball's shadow on a plane, bool [H, W]."""
    across, down, _ = params().config.generator.plane_axes[plane]
    texels = (np.arange(SIDE) + 0.5) / SIDE - 0.5
    x, y = texels[None, :] - centre[across], texels[:, None] - centre[down]
    return x**2 + y**2 <= radius**2


def head(colour: float = 1.0, balls=(LEFT, RIGHT)) -> Head:
    """The balls; `colour` is the planes' other channels."""
    config = params().config.generator
    shadows = np.stack([np.any([disc(plane, ball) for ball in balls], axis=0) for plane in range(3)])
    planes = np.full(config.field.shape, colour, np.float32)
    planes[..., 0] = shadows[:, None]
    return Head(jnp.asarray(planes), jnp.zeros((config.num_ws, config.w_dim)))
