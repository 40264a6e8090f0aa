"""What is prepared once gives what is made in each call."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe
from flax import linen as nn

from panojax import kernels
from panojax.kernels.convolution import MatrixKernel, conv
from panojax.kernels.modulated import modulated_conv
from panojax.kernels.pointwise import batch_norm
from panojax.kernels.preparation import Prepared
from panojax.kernels.stacked import join, on_each


class Network(nn.Module):
    """Operations of ours, one of them within `jit`, and a layer of flax's that knows nothing of `once`."""

    dtype: str

    @nn.compact
    def __call__(self, x):
        normal = nn.initializers.normal(1.0)
        x = jax.jit(conv)(x.astype(self.dtype), self.param("kernel", normal, (3, 3, 4, 4)))
        x = modulated_conv(x, self.param("up", normal, (3, 3, 4, 4)), jnp.ones((len(x), 4)), up=True)
        scale, bias = (self.param(name, normal, (4,)) for name in ("scale", "bias"))
        mean, var = (self.variable("batch_stats", name, jnp.ones, (4,)).value for name in ("mean", "var"))
        return nn.Conv(4, (1, 1), dtype=self.dtype)(batch_norm(x, mean, var, scale, bias))


class Reader(Network):
    """Its variables are read as they are, whatever they became."""

    @nn.compact
    def __call__(self, x):
        get, stats = self.get_variable, functools.partial(self.get_variable, "batch_stats")
        x = jax.jit(conv)(x.astype(self.dtype), get("params", "kernel"))
        x = modulated_conv(x, get("params", "up"), jnp.ones((len(x), 4)), up=True)
        x = batch_norm(x, stats("mean"), stats("var"), get("params", "scale"), get("params", "bias"))
        return nn.Conv(4, (1, 1), dtype=self.dtype, name="Conv_0")(x)


X = jnp.asarray(recipe.normal("x", (2, 4, 4, 4)))


def call(dtype, variables):
    return Reader(dtype).apply(variables, X)


@functools.cache
def variables(seed=0):
    made = Network("float32").init(jax.random.key(seed), X)
    return jax.tree.map(lambda x: x + 0.1 * jnp.cos(jnp.arange(x.size)).reshape(x.shape), made)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_prepared_variables_take_the_others_place(dtype, backend, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    prepared = kernels.prepare(call, dtype, variables())
    assert kernels.is_prepared(prepared) and not kernels.is_prepared(variables())
    params = prepared["params"]
    assert params.keys() == variables()["params"].keys()
    assert all(isinstance(params[name], Prepared) for name in ("kernel", "up", "scale"))
    assert params["bias"] is prepared["batch_stats"]["mean"] is prepared["batch_stats"]["var"] is None
    np.testing.assert_array_equal(params["Conv_0"]["kernel"], variables()["params"]["Conv_0"]["kernel"])
    kernel, up = params["kernel"].value, params["up"].value
    assert isinstance(kernel, MatrixKernel) == isinstance(up.kernel, MatrixKernel) == (backend == "gpu")
    assert {x.dtype for x in jax.tree.leaves((kernel, up.kernel))} == {jnp.dtype(dtype)}
    assert {x.dtype for x in jax.tree.leaves((up.energy, params["scale"]))} == {jnp.dtype("float32")}
    want = np.asarray(call(dtype, variables()), np.float32)
    error = recipe.relative_error(np.asarray(call(dtype, prepared), np.float32), want)
    assert error < (1e-5 if dtype == "float32" else 2e-2)


def test_what_was_made_is_made_no_more():
    def text(variables):
        return jax.jit(functools.partial(call, "float32")).lower(variables).as_text()

    def count(text, name):
        return len(re.findall(rf"stablehlo\.{name}\b", text))

    plain, prepared = text(variables()), text(kernels.prepare(call, "float32", variables()))
    assert count(prepared, "rsqrt") == count(plain, "rsqrt") - 1  # the batch norm's
    assert count(prepared, "multiply") < count(plain, "multiply") - 9  # the up-sampling kernel's taps
    assert count(prepared, "convolution") == count(plain, "convolution")


def test_stacked_networks():
    networks = [variables(seed) for seed in range(2)]
    prepared = kernels.prepare(call, "float32", join(*networks), count=2)
    got = on_each(lambda variables, shift: call("float32", variables) + shift, 2, prepared, jnp.arange(2.0))
    for i, network in enumerate(networks):
        assert recipe.relative_error(got[i], np.asarray(call("float32", network) + i)) < 1e-5


def test_weights_that_are_changed_before_or_shared_stay():
    def shared(_, tree):
        kernel, scale, bias = tree["kernel"], tree["scale"], tree["bias"]
        x = batch_norm(conv(X, 2 * kernel), scale, scale, scale, bias)
        return batch_norm(x, bias, scale, None, None)

    tree = {**variables()["params"]}
    prepared = kernels.prepare(shared, None, tree)
    jax.tree.map(np.testing.assert_array_equal, prepared, tree)


def test_outputs_in_another_order():
    layer = {"kernel": jnp.arange(12.0).reshape(1, 1, 3, 4), "bias": jnp.arange(4.0)}
    affine = {"kernel": jnp.ones((5, 3)), "bias": jnp.ones(3)}
    tree = {"b4": {"torgb": {**layer, "affine": affine}, "conv": layer}}
    order = np.array([2, 0, 3, 1])
    got = kernels.reorder_outputs(tree, order, layers=("torgb",))
    np.testing.assert_array_equal(got["b4"]["torgb"]["kernel"], layer["kernel"][..., order])
    np.testing.assert_array_equal(got["b4"]["torgb"]["bias"], order)
    jax.tree.map(np.testing.assert_array_equal, got["b4"]["conv"], layer)
    jax.tree.map(np.testing.assert_array_equal, got["b4"]["torgb"]["affine"], affine)
