"""Losses as free functions. Those that compare pictures give one number a sample; the trainers' totals are scalars.

Everything is computed in float32 at least, whatever the networks' compute type.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from panojax.errors import InputError
from panojax.nn.stylegan2 import pool

COLOUR_SIDE = 16  # of the pictures whose colours are compared, in pixels


@dataclasses.dataclass(frozen=True)
class EncoderWeights:
    """Weights of the encoder's losses. The defaults are the paper's lambda 1 to 3 (Eq. 5)."""

    lpips: float = 0.8
    l2: float = 1.0
    identity: float = 0.5
    colour: float = 0.0
    """Of the difference of coarse colours (ours), see `colours`. Validation does not count it."""


PAPER = EncoderWeights()


def l2(image: jax.Array, target: jax.Array) -> jax.Array:
    """Mean squared error of each sample: [N, ...], [N, ...] -> [N].

    Raises:
      InputError: the shapes differ.
    """
    if image.shape != target.shape:
        raise InputError(f"image and target must have one shape, got {image.shape} and {target.shape}")
    return jnp.mean(jnp.square(_wide(image) - _wide(target)), axis=tuple(range(1, image.ndim)))


def colours(image: jax.Array, target: jax.Array) -> jax.Array:
    """Mean difference of the colours of pictures [N, H, W, 3], averaged over squares of a sixteenth of the side: [N].

    What is a shade too dark everywhere has a small squared error, and LPIPS hardly sees it.
    """
    image, target = (pool(_wide(x), min(COLOUR_SIDE, x.shape[1])) for x in (image, target))
    return jnp.mean(jnp.abs(image - target), axis=(1, 2, 3))


def identity(embedding: jax.Array, target: jax.Array) -> jax.Array:
    """1 - cos of two embeddings [N, E] -> [N], in [0, 2]. Embeddings need not have unit length."""
    embedding, target = _wide(embedding), _wide(target)
    energies = jnp.sum(embedding**2, axis=-1) * jnp.sum(target**2, axis=-1)
    return 1 - jnp.sum(embedding * target, axis=-1) * jax.lax.rsqrt(jnp.maximum(energies, 1e-24))


def encoder_loss(
    image: jax.Array,
    target: jax.Array,
    *,
    lpips: Callable[[jax.Array, jax.Array], jax.Array],
    embed: Callable[[jax.Array], jax.Array],
    weights: EncoderWeights = PAPER,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """0.8 LPIPS + 1.0 L2 + 0.5 (1 - cos of identities), averaged over the batch (paper, Eq. 5).

    Args:
      image: the rendering at the input camera, [N, H, W, 3] in [-1, 1].
      target: the input picture, like `image`.
      lpips: perceptual distance, (image, target) -> [N].
      embed: identity network, image -> [N, E].
      weights: of the three terms.

    Returns:
      The total, and the unweighted means {"lpips", "l2", "id"}.
    """
    # The target's embedding is a constant to what is trained, and so is cheaper without a gradient.
    target_embedding = jax.lax.stop_gradient(embed(target))
    terms = {
        "lpips": jnp.mean(_wide(lpips(image, target))),
        "l2": jnp.mean(l2(image, target)),
        "id": jnp.mean(identity(embed(image), target_embedding)),
    }
    total = weights.lpips * terms["lpips"] + weights.l2 * terms["l2"] + weights.identity * terms["id"]
    return total, terms


def code_deltas(ws: jax.Array) -> jax.Array:
    """How far style codes lie from the first one: [N, L, w_dim] -> the sum of the L - 1 Euclidean distances, [N].

    Its gradient is 0 where two codes are equal. Source: the delta regularisation of e4e (Tov et al. 2021).
    """
    energy = jnp.sum(jnp.square(_wide(ws[:, 1:]) - _wide(ws[:, :1])), axis=-1)
    apart = energy > 0
    return jnp.sum(jnp.where(apart, jnp.sqrt(jnp.where(apart, energy, 1.0)), 0.0), axis=-1)


def adversarial(fake_logits: jax.Array) -> jax.Array:
    """The non-saturating loss of whoever makes the fakes: mean softplus(-D(fake)) (paper, Eq. 7).

    For encoder 2, D(fake) is D(O T_enc) and the paper weights this by 0.001 (Eq. 6).
    """
    return jnp.mean(jax.nn.softplus(-_wide(fake_logits)))


def discriminator(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """mean softplus(-D(real)) + mean softplus(D(fake))."""
    return jnp.mean(jax.nn.softplus(-_wide(real_logits))) + jnp.mean(jax.nn.softplus(_wide(fake_logits)))


def critic(synthesized_logits: jax.Array, encoded_logits: jax.Array) -> jax.Array:
    """0.5 (softplus(-D(O T_synth)) + softplus(D(O T_enc))), averaged over the batch.

    The paper's Eq. 8 and 9 with real = synthesised and fake = encoded. As printed they give the encoded tri-grids the
    sign that Eq. 7 gives them, so that encoder and critic would pursue the same end.
    """
    return 0.5 * discriminator(synthesized_logits, encoded_logits)


def r1(critic_fn: Callable[[jax.Array], jax.Array], real) -> jax.Array:
    """Squared gradient norm of each sample's logit by its input (Mescheder et al. 2018): -> [N].

    Args:
      critic_fn: inputs -> logits [N], or [N, 1].
      real: an array [N, ...] or a pytree of such arrays, all of which count. Penalise half its mean, times gamma.
    """
    gradient = jax.grad(lambda x: jnp.sum(_wide(critic_fn(x))))(real)
    norms = [jnp.sum(jnp.square(_wide(g)), axis=tuple(range(1, g.ndim))) for g in jax.tree.leaves(gradient)]
    return sum(norms[1:], norms[0])


def every(step: jax.Array, interval: int, regulariser: Callable[[], jax.Array]) -> jax.Array:
    """Lazy regularisation: `interval` times the regulariser at every `interval`-th step, from step 0 on, else 0.

    Costs nothing at the other steps. In expectation equal to the regulariser at each step.

    Raises:
      InputError: `interval` is less than 1.
    """
    if interval < 1:
        raise InputError(f"interval must be at least 1, got {interval}")
    value = jax.eval_shape(regulariser)
    return jax.lax.cond(
        step % interval == 0, lambda: interval * regulariser(), lambda: jnp.zeros(value.shape, value.dtype)
    )


def _wide(x):
    return jnp.asarray(x, jnp.promote_types(x.dtype, jnp.float32))
