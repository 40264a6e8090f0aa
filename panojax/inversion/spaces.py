"""Latent spaces: from what an encoder predicts, or a draw, to the generator's style codes."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from panojax import camera
from panojax.config import Config
from panojax.encoders.encoder import abstract_encoder, encode_styles, init_encoder
from panojax.encoders.encoder_config import EncoderConfig
from panojax.encoders.psp import LastLayerEncoder
from panojax.errors import InputError
from panojax.generators import generator
from panojax.generators.generator_config import GeneratorConfig

TRUNCATION = 0.85  # of predicted latents (paper, appendix A)
GROUPS = ("psp_encoder", "triplanenet_encoder", "local_encoder")


def fit_encoder(config: GeneratorConfig, encoder: EncoderConfig, space: str) -> EncoderConfig:
    """`encoder` with the code length, number of codes and offset channels that the generator and the space ask for."""
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


def init_variables(encoder: EncoderConfig, space: str, key: jax.Array, *, offsets: bool) -> dict[str, Any]:
    """Random variables {"psp_encoder": {...}, "triplanenet_encoder": {...}, "local_encoder": {...}}.

    The second where there is an F stage, the third where the encoder has a local branch.
    """
    variables = init_encoder(encoder, key)
    if space == "z":
        picture = jnp.zeros((1, encoder.resolution, encoder.resolution, 3))
        variables["psp_encoder"] = jax.jit(_single_code(encoder).init)(key, picture)
    return {name: variables[name] for name in GROUPS if name in variables and (offsets or name != GROUPS[1])}


def abstract_variables(encoder: EncoderConfig, space: str, *, offsets: bool) -> dict[str, Any]:
    """What `init_variables` gives, as `jax.ShapeDtypeStruct`s."""
    variables = abstract_encoder(encoder)
    if space == "z":
        picture = jnp.zeros((1, encoder.resolution, encoder.resolution, 3))
        variables["psp_encoder"] = jax.eval_shape(_single_code(encoder).init, jax.random.key(0), picture)
    return {name: variables[name] for name in GROUPS if name in variables and (offsets or name != GROUPS[1])}


def predict_styles(
    config: Config,
    variables: Any,
    encoder: Any,
    average: jax.Array,
    pictures: jax.Array,
    *,
    space: str,
    train: bool,
    released: jax.Array | None = None,
) -> tuple[jax.Array, Any]:
    """The W+ stage in any space.

    Args:
      config: the generator's and the encoder's.
      variables: the generator's.
      encoder: the encoder's.
      average: mean style codes [L, w_dim].
      pictures: [N, R, R, 3] in [-1, 1].
      space: "w+", "z+" or "z".
      train: whether batch norms use the batch.
      released: how many codes are their own so far, see `release_codes`; None is all.

    Returns:
      Style codes [N, L, w_dim] in float32, and the stage's `batch_stats` as updated (None where not `train`).
    """
    assert config.encoder is not None
    if space == "z":
        options: dict[str, Any] = {"train": True, "mutable": ["batch_stats"]} if train else {}
        output: Any = _single_code(config.encoder).apply(encoder["psp_encoder"], pictures, **options)
        codes, stats = (output[0], output[1]["batch_stats"]) if train else (output, None)
    else:
        output = encode_styles(config.encoder, encoder, pictures, train=train)
        codes, stats = output if train else (output, None)
    codes = codes.astype(jnp.float32)
    if released is not None:
        codes = release_codes(codes, released)
    if space == "w+":
        return codes + average, stats
    latents = jnp.repeat(codes[:, None], config.generator.num_ws, axis=1) if space == "z" else codes
    return map_latents(config.generator, variables, latents, truncation=TRUNCATION), stats


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


def _single_code(encoder: EncoderConfig) -> nn.Module:
    return LastLayerEncoder(encoder.trunk, encoder.w_dim, encoder.numerics)
