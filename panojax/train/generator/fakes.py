"""What the generator shows the discriminator: new heads under cameras of the data, with all that is drawn at random.

Source: PanoHead, on EG3D's training.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from panojax.camera import camera_rays
from panojax.generators import generator, networks
from panojax.generators.generator import Head
from panojax.generators.generator_config import GeneratorConfig
from panojax.render.renderer import Rendered, draw_uniforms, render_rays
from panojax.train.generator import schedules
from panojax.train.generator.gan_config import GanConfig


@struct.dataclass
class Fakes:
    """Heads of the generator, seen once each.

    Attributes:
      image: [N, H, W, 3] in about [-1, 1], H the generator's resolution.
      raw: at the rendering resolution [N, R, R, 3].
      mask: [N, R, R, 1] in about [0, 1].
      translation: of the camera self-adaptation [N, 3], or None.
      w: what the mapping made of the latents [N, w_dim], without a gradient.
    """

    image: jax.Array
    raw: jax.Array
    mask: jax.Array
    translation: jax.Array | None
    w: jax.Array


def make_fakes(
    model: GeneratorConfig,
    config: GanConfig,
    variables: Any,
    labels: jax.Array,
    *,
    images: jax.typing.ArrayLike,
    key: jax.Array,
) -> Fakes:
    """Heads of new latents seen by cameras [N, 25], as the discriminator gets them after `images` real pictures."""
    head_key, ray_key, swap_key, finish_key = jax.random.split(key, 4)
    heads, (z, w) = make_heads(model, config, variables, labels, images=images, key=head_key)
    translation, cameras = None, labels
    if model.camera_adaptation:
        _, translation = generator.adapt_camera(model, variables, z, labels)
        cameras = labels.at[:, jnp.array([3, 7, 11])].add(translation)
    noise = schedules.density_noise(images, config) if config.density_noise_kimg else None
    rendered = render_jittered(model, config, variables, heads, cameras, key=ray_key, noise=noise)
    background_ws = None
    if model.background and config.background_swap:
        background_ws = swap_samples(heads.ws, config.background_swap, swap_key)
    view = generator.finish(
        model, variables, rendered, heads, background_ws=background_ws, noise=config.noise, key=finish_key
    )
    return Fakes(view.image.astype(jnp.float32), view.raw.astype(jnp.float32), view.mask, translation, w)


def make_heads(
    model: GeneratorConfig,
    config: GanConfig,
    variables: Any,
    labels: jax.Array,
    *,
    images: jax.typing.ArrayLike,
    key: jax.Array,
    together: bool = False,
) -> tuple[Head, tuple[jax.Array, jax.Array]]:
    """Heads of new latents, conditioned on cameras [N, 25] of which some are swapped; `together`, all or none.

    Returns:
      The heads, with float32 tri-grids whatever the networks compute in (gradients are scattered into them); their
      latents [N, z_dim] and what the mapping made of these [N, w_dim], without a gradient.
    """
    latent_key, swap_key, mix_key, noise_key = jax.random.split(key, 4)
    z = jax.random.normal(latent_key, (labels.shape[0], model.z_dim))
    conditioning = swap_samples(labels, schedules.conditioning_swap(images, config), swap_key, together=together)
    ws = generator.map_latent(model, variables, z, conditioning)
    w = jax.lax.stop_gradient(ws[:, 0])
    if config.style_mixing:
        ws = mix_styles(ws, _other_codes(model, variables, labels, mix_key), config.style_mixing, mix_key)
    return Head(synthesize_planes(model, variables, ws, noise=config.noise, key=noise_key), ws), (z, w)


def swap_samples(x: jax.Array, chance: jax.typing.ArrayLike, key: jax.Array, *, together: bool = False) -> jax.Array:
    """Each sample of x [N, ...] becomes the one before it (the first: the last) with this chance; `together`: all."""
    draws = jax.random.uniform(key, (1 if together else x.shape[0],) + (1,) * (x.ndim - 1))
    return jnp.where(draws < chance, jnp.roll(x, 1, axis=0), x)


def mix_styles(ws: jax.Array, other: jax.Array, chance: float, key: jax.Array) -> jax.Array:
    """Codes [N, L, w_dim] whose layers from a random one (1 to L - 1) on are, with this chance, those of `other`.

    One draw for all samples, as the original has it.
    """
    layers = ws.shape[1]
    cut_key, chance_key = jax.random.split(key)
    first = jax.random.randint(cut_key, (), 1, layers)
    first = jnp.where(jax.random.uniform(chance_key) < chance, first, layers)
    return jnp.where(jnp.arange(layers)[:, None] >= first, other, ws)


def synthesize_planes(model: GeneratorConfig, variables: Any, ws: jax.Array, *, noise: str, key: jax.Array):
    """Planes [N, *field.shape] of style codes [N, L, w_dim] in float32, whatever the backbone computes in."""
    path = "backbone.synthesis"
    module = networks.build(model, noise=noise)[path]
    image: Any = module.apply(networks.module_variables(variables, path), ws, rngs={"noise": key})
    return model.field.from_image(image)


def _other_codes(model, variables, labels, key):
    """Codes [N, L, w_dim] of other latents, conditioned on the labels themselves: the original swaps none here."""
    z = jax.random.normal(jax.random.fold_in(key, 1), (labels.shape[0], model.z_dim))
    return generator.map_latent(model, variables, z, labels)


def render_jittered(
    model: GeneratorConfig,
    config: GanConfig,
    variables: Any,
    heads: Head,
    labels: jax.Array,
    *,
    key: jax.Array,
    noise: jax.Array | None = None,
) -> Rendered:
    """`generator.render_volume` with samples at random in their strata.

    Args:
      noise: standard deviation of the noise on densities, which may be 0 on the device; None for none.
    """
    n, side = labels.shape[0], model.rendering_resolution
    ray_key, noise_key = jax.random.split(key)
    uniforms = draw_uniforms(ray_key, (n, side * side), model)
    origins, directions = camera_rays(labels, side)
    query = jax.vmap(lambda head, points: generator.query_field(model, variables, head, points))
    if config.recompute:
        query = jax.checkpoint(query)
    keys = iter(jax.random.split(noise_key))  # for the coarse samples, then the fine ones

    def field(points):
        densities, colours = query(heads, points)
        return densities if noise is None else _noisy(densities, noise, next(keys)), colours

    rendered = render_rays(field, origins, directions, uniforms, model)
    shaped: Rendered = jax.tree.map(lambda x: x.reshape(n, side, side, -1), rendered)
    return shaped


def _noisy(x, deviation, key):
    """x with noise, which costs nothing once it has faded."""
    return jax.lax.cond(deviation > 0, lambda x: x + deviation * jax.random.normal(key, x.shape), lambda x: x, x)
