"""Latent spaces: from what an encoder predicts, or a draw, to the generator's style codes."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from panojax import camera
from panojax.encoders.encoder_config import EncoderConfig
from panojax.errors import InputError
from panojax.generators import generator
from panojax.generators.generator_config import GeneratorConfig

TRUNCATION = 0.85  # of predicted latents (paper, appendix A)
GROUPS = ("psp_encoder", "triplanenet_encoder", "local_encoder")


def fit_encoder(config: GeneratorConfig, encoder: Any, space: str) -> Any:
    """`encoder` with the code length, number of codes and offset channels that the generator and the space ask for.

    Encoders by stages of their own stay as they are: their stages see the generator.
    """
    if not isinstance(encoder, EncoderConfig):
        return encoder
    channels = config.field.channels
    if encoder.local_features:
        encoder = dataclasses.replace(encoder, local_channels=config.field.features)
    return dataclasses.replace(
        encoder,
        n_styles=config.num_ws,
        w_dim=config.w_dim if space == "w+" else config.z_dim,
        out_channels=channels,
        planes_channels=channels if encoder.planes_channels else 0,
    )


def release_codes(codes: jax.Array, released: jax.Array) -> jax.Array:
    """Codes [N, L, w_dim] of which those after the first `released` are the first one: e4e's progressive training.

    A head whose code is held back gets no gradient, and one that predicts differences from zero on then stays there.
    """
    held = jnp.arange(codes.shape[1])[:, None] >= released
    return jnp.where(held, codes[:, :1], codes)


def map_latents(config: GeneratorConfig, variables: Any, z: jax.Array, *, truncation: float = 1.0) -> jax.Array:
    """Z+ to W+: latents [N, L, z_dim], one for each layer -> style codes [N, L, w_dim], at the front camera."""
    n, layers, width = z.shape
    label = jnp.broadcast_to(camera.front(), (n * layers, 25))
    ws = generator.map_latent(config, variables, z.reshape(-1, width), label, truncation=truncation)
    return ws[:, 0].reshape(n, layers, -1)


def draw_latents(config: GeneratorConfig, keys: jax.Array, *, space: str = "z+") -> jax.Array:
    """Standard-normal latents [N, L, z_dim] of keys [N]: one for each layer ("z+"), or one for all ("z")."""
    if space not in ("z", "z+"):
        raise InputError(f"latents are drawn in z or z+, got {space!r}")
    rows = config.num_ws if space == "z+" else 1
    z = jax.vmap(lambda key: jax.random.normal(key, (rows, config.z_dim)))(keys)
    return jnp.broadcast_to(z, (keys.shape[0], config.num_ws, config.z_dim))


def mean_codes(config: GeneratorConfig, variables: Any, key: jax.Array, *, samples: int = 10_000) -> jax.Array:
    """The mean style codes [L, w_dim] over z at the front camera, which encoders predict differences from."""
    z = jax.random.normal(key, (samples, 1, config.z_dim))
    average = jnp.mean(jax.jit(lambda v, z: map_latents(config, v, z))(variables, z), axis=0)
    return jnp.broadcast_to(average, (config.num_ws, config.w_dim))
