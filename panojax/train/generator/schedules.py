"""What changes while the generator trains, as functions of the number of pictures shown so far.

`images` is a number or a scalar on the device, but for `rendering_resolution`, which decides shapes.
"""

import jax
import jax.numpy as jnp

from panojax.generators.generator_config import GeneratorConfig
from panojax.train.generator.gan_config import GanConfig

_GRID = 8  # rendering resolutions while they grow


def fade_out(images: jax.typing.ArrayLike, kimg: float) -> jax.Array:
    """From 1 at no picture linearly to 0 at `kimg` thousand; 0 throughout where `kimg` is 0."""
    if not kimg:
        return jnp.float32(0)
    return jnp.maximum(1 - jnp.asarray(images, jnp.float32) / (1000 * kimg), 0)


def conditioning_swap(images: jax.typing.ArrayLike, config: GanConfig) -> jax.Array:
    """The chance of another sample's conditioning camera: from 1 down to `config.conditioning_swap`."""
    final = config.conditioning_swap
    return final + (1 - final) * fade_out(images, config.conditioning_swap_kimg)


def density_noise(images: jax.typing.ArrayLike, config: GanConfig) -> jax.Array:
    """The standard deviation of the noise on densities."""
    return config.density_noise * fade_out(images, config.density_noise_kimg)


def blur_sigma(images: jax.typing.ArrayLike, batch: int, config: GanConfig) -> jax.Array:
    """The width of the blur, in pixels, at a step of `batch` pictures."""
    return config.blur_sigma * fade_out(images, config.blur_kimg * batch / 32)


def ema_decay(images: jax.typing.ArrayLike, batch: int, config: GanConfig) -> jax.Array:
    """The share that the averaged generator keeps at a step of `batch` pictures; 0 at the first."""
    shown = jnp.asarray(images, jnp.float32)
    half_life = jnp.minimum(1000 * config.ema_kimg * batch / 32, config.ema_rampup * shown)
    return 0.5 ** (batch / jnp.maximum(half_life, 1e-8))


def rendering_resolution(images: int, model: GeneratorConfig, config: GanConfig) -> int:
    """The side of the volume rendering: from `config.rendering_start` to the model's, in multiples of 8 between."""
    start, final = config.rendering_start, model.rendering_resolution
    if start is None or images >= 1000 * config.rendering_kimg:
        return final
    grown = start + (final - start) * images / (1000 * config.rendering_kimg)
    return max(start, _GRID * int(grown // _GRID)) if final > start else round(grown)


def lazy_factor(interval: int) -> float:
    """k / (k + 1): what learning rate and betas (as a power) are corrected by where k steps take k + 1 updates.

    Source: StyleGAN2 (Karras et al. 2020), appendix B.
    """
    return interval / (interval + 1)
