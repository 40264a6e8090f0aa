"""Written-out gradients against those of plain formulas by automatic differentiation, and their own gradients too."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe

from panojax.kernels.pointwise import add_bias, batch_normalize, channel_sums, normalize, prelu, weigh_channels

# Fewer values a channel than are summed in one go, and more.
SHAPES = [(2, 3, 4, 5), (3, 20, 24, 5)]


def plain_batch_normalize(x, scale, bias):
    axes = tuple(range(x.ndim - 1))
    mean, var = jnp.mean(x, axes), jnp.var(x, axes)
    return (x - mean) / jnp.sqrt(var + 1e-5) * scale + bias


CASES = {
    "batch norm": (lambda *inputs: batch_normalize(*inputs)[0], plain_batch_normalize),
    "PReLU": (prelu, lambda x, slope: jnp.maximum(x, 0) + slope * jnp.minimum(x, 0)),
    "bias": (add_bias, jnp.add),
    "weights": (weigh_channels, jnp.multiply),
}


def inputs_of(name, shape):
    x, channels = recipe.normal("x", shape) + 0.3, shape[-1:]
    if name == "batch norm":
        return x, 1 + 0.3 * recipe.normal("scale", channels), recipe.normal("bias", channels)
    if name == "weights":
        return x, recipe.normal("weights", (shape[0], 1, 1, *channels))
    return x, recipe.normal("parameter", channels)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", CASES)
def test_gradients(name, shape):
    """Of every input; 1e-5 is for other orders of summation."""
    inputs, weight = inputs_of(name, shape), recipe.normal("weight", shape)
    order = tuple(range(len(inputs)))

    def of(function):
        return jax.jit(jax.value_and_grad(lambda *inputs: jnp.sum(weight * function(*inputs)), order))(*inputs)

    (got, got_gradients), (want, want_gradients) = map(of, CASES[name])
    np.testing.assert_allclose(got, want, rtol=1e-5)
    for ours, plain in zip(got_gradients, want_gradients, strict=True):
        assert ours.shape == plain.shape and recipe.relative_error(ours, plain) < 1e-5


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", CASES)
def test_gradients_of_gradients(name, shape):
    """As the critic's R1 penalty takes them."""
    inputs, weight = inputs_of(name, shape), recipe.normal("weight", shape)
    order = tuple(range(len(inputs)))

    def of(function):
        def penalty(*inputs):
            value = lambda x: jnp.sum(weight * jnp.sin(function(x, *inputs[1:])))  # noqa: E731
            return jnp.sum(jnp.square(jax.grad(value)(inputs[0])))

        return jax.jit(jax.grad(penalty, order))(*inputs)

    for ours, plain in zip(*map(of, CASES[name]), strict=True):
        assert recipe.relative_error(ours, plain) < 1e-5  # 5e-7 when written


def test_batch_norm_without_scale_and_bias():
    x, weight = recipe.normal("x", (4, 6, 3)), recipe.normal("weight", (4, 6, 3))
    got = jax.grad(lambda x: jnp.sum(weight * batch_normalize(x, None, None)[0]))(x)
    want = jax.grad(lambda x: jnp.sum(weight * plain_batch_normalize(x, 1.0, 0.0)))(x)
    assert recipe.relative_error(got, want) < 1e-5


def test_moments_take_no_gradient():
    x = jnp.asarray(recipe.normal("x", (4, 6, 3)))
    assert not jax.grad(lambda x: sum(map(jnp.sum, batch_normalize(x, None, None)[1:])))(x).any()


@pytest.mark.parametrize("shape", [(6, 5), (3, 4, 5), *SHAPES])
@pytest.mark.parametrize("distance", [0.0, 1000.0])
def test_moments(shape, distance):
    """Far from zero, too, as well as float32 means are known there; samples' own means differ."""
    x = recipe.normal("x", shape) + recipe.normal("samples", shape[:1]).reshape(-1, *[1] * (len(shape) - 1)) + distance
    _, mean, var = jax.jit(batch_normalize)(x, None, None)
    exact = np.asarray(x, np.float64).reshape(-1, shape[-1])
    assert recipe.relative_error(mean, exact.mean(0)) < 1e-6
    assert recipe.relative_error(var, exact.var(0)) < 2e-6 + 1e-7 * distance


TWO_DEVICES = """
import re
import chex, jax, jax.numpy as jnp
chex.set_n_cpu_devices(2)
from panojax.kernels.pointwise import batch_normalize
from panojax.devices.sharding import batch_sharding, data_mesh, traced_over
mesh = data_mesh()
x = jax.device_put(jnp.ones((4, 6, 5)), batch_sharding(mesh))
for function in (batch_normalize, traced_over(mesh, batch_normalize)):
    program = jax.jit(function).lower(x, None, None).compile().as_text()
    print(re.findall(r" (all-[a-z]+)(?:-start)?[(]", program))
"""


def test_a_batch_norm_over_devices_is_one_exchange():
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", TWO_DEVICES]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert done.stdout == "['all-reduce', 'all-reduce']\n['all-gather']\n", done.stderr


@pytest.mark.parametrize("name", CASES)
def test_bfloat16_features_have_bfloat16_gradients_and_float32_sums(name):
    """A bfloat16 sum of 1,440 numbers would be off by percents."""
    x, *parameters = inputs_of(name, SHAPES[1])
    x, weight = jnp.asarray(x, jnp.bfloat16), recipe.normal("weight", SHAPES[1])
    order = tuple(range(1 + len(parameters)))

    def of(function, x):
        return jax.grad(lambda *inputs: jnp.sum(weight * function(*inputs)), order)(x, *parameters)

    got, want = of(CASES[name][0], x), of(CASES[name][1], x.astype(jnp.float32))
    assert got[0].dtype == jnp.bfloat16 and all(g.dtype == jnp.float32 for g in got[1:])
    for ours, plain in zip(got, want, strict=True):
        assert recipe.relative_error(ours.astype(jnp.float32), plain) < 2**-7


@pytest.mark.parametrize("shape", [(7, 3), (40, 30, 3), (2, 32, 32, 3)])
def test_channel_sums(shape):
    first, second = recipe.normal("first", shape), recipe.normal("second", shape)
    for got, values in zip(channel_sums(first, second), (first, second), strict=True):
        np.testing.assert_allclose(got, values.astype(np.float64).reshape(-1, 3).sum(0), rtol=1e-5, atol=1e-5)


def test_normalize():
    x, (mean, var, scale, bias) = recipe.normal("x", (4, 3)), np.abs(recipe.normal("moments", (4, 3)))
    np.testing.assert_allclose(
        normalize(x, mean, var, scale, bias), (x - mean) / np.sqrt(var + 1e-5) * scale + bias, rtol=1e-5, atol=1e-6
    )
