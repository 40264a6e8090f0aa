import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe

from panojax.errors import InputError
from panojax.losses import terms as losses


def softplus(x):
    return np.log1p(np.exp(x))


def test_l2_equals_loop():
    a, b = recipe.normal("loss/a", (3, 4, 5, 3)), recipe.normal("loss/b", (3, 4, 5, 3))
    expected = [np.mean((x.astype(np.float64) - y) ** 2) for x, y in zip(a, b)]
    np.testing.assert_allclose(losses.l2(a, b), expected, rtol=1e-6)


def test_l2_refuses_other_shapes():
    with pytest.raises(InputError, match=r"got \(2, 4, 4, 3\) and \(1, 4, 4, 3\)"):
        losses.l2(jnp.zeros((2, 4, 4, 3)), jnp.zeros((1, 4, 4, 3)))


def test_half_precision_is_summed_in_float32():
    a, b = jnp.full((1, 64, 64, 3), 300, jnp.float16), jnp.zeros((1, 64, 64, 3), jnp.float16)
    assert losses.l2(a, b).dtype == jnp.float32
    np.testing.assert_allclose(losses.l2(a, b), [90000.0])


def test_identity_equals_loop():
    a, b = recipe.normal("id/a", (4, 16)), 7 * recipe.normal("id/b", (4, 16))
    expected = [1 - x @ y / np.linalg.norm(x) / np.linalg.norm(y) for x, y in zip(a.astype(np.float64), b)]
    np.testing.assert_allclose(losses.identity(a, b), expected, rtol=1e-5)
    np.testing.assert_allclose(losses.identity(a, 3 * a), np.zeros(4), atol=1e-6)
    np.testing.assert_allclose(losses.identity(a, -a), np.full(4, 2), atol=1e-6)


def test_identity_has_a_finite_gradient_at_zero():
    gradient = jax.grad(lambda a: losses.identity(a, jnp.ones((1, 4))).sum())(jnp.zeros((1, 4)))
    assert np.isfinite(gradient).all()


def test_encoder_loss_is_the_papers_sum():
    image, target = recipe.normal("enc/a", (2, 4, 4, 3)), recipe.normal("enc/b", (2, 4, 4, 3))
    flatten = functools.partial(jnp.reshape, shape=(2, -1))
    total, terms = losses.encoder_loss(image, target, lpips=lambda a, b: jnp.abs(a - b).mean((1, 2, 3)), embed=flatten)
    assert set(terms) == {"lpips", "l2", "id"}
    lpips, l2 = np.abs(image - target).mean(), np.square(image - target).mean()
    cosines = [x.ravel() @ y.ravel() / np.linalg.norm(x) / np.linalg.norm(y) for x, y in zip(image, target)]
    expected = {"lpips": lpips, "l2": l2, "id": 1 - np.mean(cosines)}
    for name, value in expected.items():
        np.testing.assert_allclose(terms[name], value, rtol=1e-5)
    np.testing.assert_allclose(total, 0.8 * lpips + l2 + 0.5 * expected["id"], rtol=1e-5)
    doubled, _ = losses.encoder_loss(
        image,
        target,
        lpips=lambda a, b: jnp.abs(a - b).mean((1, 2, 3)),
        embed=flatten,
        weights=losses.EncoderWeights(lpips=0.0, l2=2.0, identity=0.0),
    )
    np.testing.assert_allclose(doubled, 2 * l2, rtol=1e-5)


def test_adversarial_losses_equal_numpy():
    real, fake = 3 * recipe.normal("adv/real", (5,)), 3 * recipe.normal("adv/fake", (5,))
    np.testing.assert_allclose(losses.adversarial(fake), softplus(-fake).mean(), rtol=1e-5)
    np.testing.assert_allclose(
        losses.discriminator(real, fake), softplus(-real).mean() + softplus(fake).mean(), rtol=1e-5
    )
    np.testing.assert_allclose(losses.critic(real, fake), 0.5 * (softplus(-real) + softplus(fake)).mean(), rtol=1e-5)


def test_encoder_and_critic_are_opponents():
    """What lowers the encoder's loss raises the critic's."""
    logits = jnp.array([-1.0, 0.5])
    encoder = jax.grad(losses.adversarial)(logits)
    critic = jax.grad(lambda fake: losses.critic(jnp.zeros(2), fake))(logits)
    assert np.all(encoder * critic < 0)


def test_r1_equals_the_analytic_gradient():
    """D(x) = sum(w x^2): the gradient is 2 w x."""
    w, x = recipe.normal("r1/w", (3, 4)), recipe.normal("r1/x", (5, 3, 4))
    got = losses.r1(lambda x: jnp.sum(w * x**2, axis=(1, 2)), x)
    np.testing.assert_allclose(got, np.square(2 * w * x).sum(axis=(1, 2)), rtol=1e-5)


def test_r1_counts_every_input():
    x, y = recipe.normal("r1/x", (5, 3)), recipe.normal("r1/y", (5, 2, 2))
    got = losses.r1(lambda inputs: (2 * inputs[0].sum(-1) + inputs[1].prod((1, 2)))[:, None], (x, y))
    expected = 4.0 * 3 + np.square(y.prod((1, 2), keepdims=True) / y).sum((1, 2))
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_lazy_regularisation_averages_to_the_regulariser():
    calls = jax.jit(lambda step, x: losses.every(step, 4, lambda: x**2))
    values = [float(calls(step, 3.0)) for step in range(8)]
    assert values == [36.0, 0, 0, 0, 36.0, 0, 0, 0]
    gradient = jax.jit(jax.grad(lambda x, step: losses.every(step, 4, lambda: x**2)))
    assert [float(gradient(3.0, step)) for step in (3, 4)] == [0.0, 24.0]
    with pytest.raises(InputError, match="interval must be at least 1, got 0"):
        losses.every(jnp.int32(0), 0, lambda: jnp.zeros(()))


def test_colours_are_those_of_a_sixteenth():
    """A shade counts as a whole; what is finer than a square does not."""
    image = recipe.normal("colour/a", (2, 32, 32, 3))
    shade = np.array([0.1, 0.4], np.float32)
    np.testing.assert_allclose(losses.colours(image + shade[:, None, None, None], image), shade, rtol=1e-4)
    checks = np.float32(np.indices((32, 32)).sum(0)[..., None] % 2 - 0.5)
    np.testing.assert_allclose(losses.colours(image + checks, image), 0, atol=1e-6)
    assert np.all(losses.colours(image[:, :8, :8], image[:, 8:16, :8]) > 0.1)  # smaller ones as they are
