"""Batches that the generator draws on the device: latents and cameras by keys, and their pictures."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from panojax import camera as cameras
from panojax.errors import InputError, check_choice
from panojax.generators import generator
from panojax.generators.generator import Head, render_heads
from panojax.generators.generator_config import GeneratorConfig
from panojax.inversion.spaces import draw_latents, map_latents
from panojax.nn.stylegan2 import pool


@dataclasses.dataclass(frozen=True)
class SampleConfig:
    """Pictures drawn from the generator."""

    latent: str = "z+"
    """Latents drawn for each layer ("z+", as in the paper's Table 4) or one for all ("z")."""
    truncation: float = 1.0
    """1 keeps the codes, 0 gives the mean ones."""
    yaw_degrees: float = 60.0
    """Cameras have yaws between minus this and this, uniformly."""
    yaw_power: float = 1.0
    """Above 1 most are near the front: yaws are this power of uniform numbers between -1 and 1, times the bound. With
    180 degrees 1.6 puts half of them within 60."""
    pitch_degrees: float = 15.0
    """Likewise pitches."""

    def __post_init__(self):
        check_choice("latent", self.latent, ("z", "z+"))
        if not self.yaw_power > 0:
            raise InputError(f"yaw_power must be positive, got {self.yaw_power}")


def sample_cameras(config: GeneratorConfig, keys: jax.Array, options: SampleConfig) -> jax.Array:
    """Labels [N, 25] of cameras that look at the model's pivot from its usual distance, drawn by keys [N]."""
    angles = jax.vmap(lambda key: jax.random.uniform(key, (2,), minval=-1.0))(keys)
    around, up = angles[:, 0], angles[:, 1]
    if options.yaw_power != 1:
        around = jnp.sign(around) * jnp.abs(around) ** options.yaw_power
    yaw, pitch = around * math.radians(options.yaw_degrees), up * math.radians(options.pitch_degrees)
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
