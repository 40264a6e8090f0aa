"""Activations against their plain forms."""

import jax
import jax.numpy as jnp
import numpy as np
import recipe

from panojax.kernels import activations


def test_softplus_and_its_slope():
    x = jnp.array([-1000.0, -30.0, -3.0, -1e-3, 0.0, 1e-3, 3.0, 30.0, 1000.0])
    np.testing.assert_allclose(activations.softplus(x), jax.nn.softplus(x), rtol=5e-7)
    slope, want = (jax.vmap(jax.grad(f))(x) for f in (activations.softplus, jax.nn.softplus))
    np.testing.assert_allclose(slope, want, rtol=1e-6, atol=1e-7)


def test_softplus_of_bfloat16_keeps_more_digits_than_it_is_given():
    x = jnp.linspace(-20, 20, 4001).astype(jnp.bfloat16)
    value, slope = jax.vmap(jax.value_and_grad(lambda x: activations.softplus(x)))(x)
    wide = x.astype(jnp.float32)
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, jax.nn.softplus(wide), rtol=7e-5)
    np.testing.assert_allclose(slope.astype(jnp.float32), jax.nn.sigmoid(wide), rtol=4e-3)


def test_clamp_equals_clip():
    x = 2 * recipe.normal("layers/clamp", (4, 5))
    value, gradient = jax.jit(jax.value_and_grad(lambda x: jnp.sum(jnp.square(activations.clamp(x, 1.5)))))(x)
    np.testing.assert_allclose(value, np.square(np.clip(x, -1.5, 1.5)).sum(), rtol=1e-6)
    np.testing.assert_allclose(gradient, np.where(np.abs(x) <= 1.5, 2 * x, 0), rtol=1e-6)


def test_leaky_relu():
    x = recipe.normal("layers/lrelu", (4, 5))
    np.testing.assert_allclose(activations.lrelu(x), np.sqrt(2) * np.where(x > 0, x, 0.2 * x), rtol=1e-6)
