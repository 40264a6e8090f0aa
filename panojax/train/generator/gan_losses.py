"""The generator's and the discriminator's losses and regularisers, and the blur of what is judged. All float32.

The adversarial terms are `losses.adversarial` and `losses.discriminator`.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from panojax.generators import generator
from panojax.generators.generator import Head
from panojax.generators.generator_config import GeneratorConfig


def r1_penalty(
    judge: Callable[[jax.Array, jax.Array, jax.Array], jax.Array],
    image: jax.Array,
    raw: jax.Array,
    mask: jax.Array,
    *,
    weight: float,
    mask_weight: float,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """R1 on a batch of real pictures, their raw pictures and masks, by one gradient.

    Args:
      judge: (image, raw, mask) -> logits [N].
      image: [N, H, W, 3] in [-1, 1].
      raw: [N, r, r, 3] in [-1, 1].
      mask: [N, r, r, 1] in [0, 1].
      weight: gamma of image and raw.
      mask_weight: gamma of the mask.

    Returns:
      mean(weight / 2 (|d image|^2 + |d raw|^2) + mask_weight / 2 |d mask|^2), and the mean squared gradients
      {"r1", "r1_mask"}.
    """
    gradients = jax.grad(lambda x: jnp.sum(judge(*x)))((image, raw, mask))
    squared = [jnp.sum(jnp.square(g.astype(jnp.float32)), axis=(1, 2, 3)) for g in gradients]
    pictures, masks = jnp.mean(squared[0] + squared[1]), jnp.mean(squared[2])
    return weight / 2 * pictures + mask_weight / 2 * masks, {"r1": pictures, "r1_mask": masks}


def translation_penalty(translations: jax.Array) -> jax.Array:
    """The camera self-adaptation's regulariser: sum over x, y, z of the squared mean of translations [N, 3]."""
    return jnp.sum(jnp.square(jnp.mean(translations, axis=0)))


def density_variation(
    model: GeneratorConfig,
    variables: dict,
    heads: Head,
    key: jax.Array,
    *,
    points: int,
    distance: float,
    half: float = 1.0,
    noise: jax.Array | None = None,
) -> jax.Array:
    """The mean of |density(x) - density(x + offset)| over random points, before the densities' softplus.

    Args:
      variables: the generator's.
      heads: N of them.
      key: draws points, offsets and noise.
      points: a head.
      distance: standard deviation of the offsets, in world units.
      half: points lie in [-half, half]^3.
      noise: standard deviation of the noise on densities; None for none.

    Source: EG3D's density regularisation.
    """
    place_key, offset_key = jax.random.split(key)
    places = jax.random.uniform(place_key, (heads.planes.shape[0], points, 3), minval=-half, maxval=half)
    offsets = distance * jax.random.normal(offset_key, places.shape)
    both = jnp.concatenate([places, places + offsets], axis=1)
    exact = dataclasses.replace(model, dtype="float32")  # the differences are smaller than bfloat16's steps
    densities, _ = jax.vmap(lambda head, xyz: generator.query_field(exact, variables, head, xyz))(heads, both)
    if noise is not None:
        densities = densities + noise * jax.random.normal(jax.random.fold_in(key, 1), densities.shape)
    return jnp.mean(jnp.abs(densities[:, :points] - densities[:, points:]))


def blur(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Pictures [N, R, R, C] under a blur's matrix [R, R] along both axes: at no cost where it is the identity."""

    def blurred(x):
        product = {"precision": jax.lax.Precision.HIGHEST}
        return jnp.einsum("ab,nbwc->nawc", kernel, jnp.einsum("ab,nhbc->nhac", kernel, x, **product), **product)

    return jax.lax.cond(kernel[0, 0] < 1, blurred, lambda x: x, x)


def panohead_matrix(size: int, sigma: jax.Array, *, widest: float) -> jax.Array:
    """PanoHead's blur of a row of `size` pixels as a matrix [size, size]; the identity where 3 sigma is below 1.

    The filter is exp2(-(x / sigma)^2), cut at floor(3 sigma) pixels and normalised; beyond the border there is black.

    Args:
      sigma: at most `widest`, which is static.
    """
    reach = jnp.floor(3 * sigma * (1 + 1e-6))  # float32 must not fall below a whole number
    width = jnp.maximum(sigma, 1 / 3)

    def weights(distance):
        return jnp.where(distance <= reach, jnp.exp2(-jnp.square(distance / width)), 0.0)

    whole = jnp.sum(weights(jnp.abs(jnp.arange(-int(3 * widest), int(3 * widest) + 1))))
    distance = jnp.abs(jnp.arange(size)[:, None] - jnp.arange(size))
    return jnp.where(reach > 0, weights(distance) / whole, jnp.eye(size))


def gaussian_matrix(size: int, sigma: jax.Array) -> jax.Array:
    """The blur of a row of `size` pixels as a matrix [size, size] whose rows sum to one; the identity for sigma 0.

    At the border the Gaussian is cut and normalised, so that a plain picture stays as it is.
    """
    distance = jnp.arange(size)[:, None] - jnp.arange(size)
    weights = jnp.exp(-jnp.square(distance) / (2 * jnp.square(jnp.maximum(sigma, 1e-3))))
    return weights / jnp.sum(weights, axis=1, keepdims=True)
