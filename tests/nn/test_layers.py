"""Layers and resamplers against slow twins in NumPy."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe

from panojax.errors import InputError
from panojax.nn.layers import (
    BatchNorm,
    EqualLinear,
    Numerics,
    PReLU,
    adaptive_average_pool,
    pixel_shuffle,
    resize_bilinear,
)


def norm_variables(channels):
    params = {"scale": 1 + 0.3 * recipe.normal("scale", (channels,)), "bias": recipe.normal("bias", (channels,))}
    stats = {
        "mean": recipe.normal("mean", (channels,)),
        "var": (1 + recipe.uniform("var", (channels,))).astype(np.float32),
    }
    return {"params": params, "batch_stats": stats}


def batch_norm_twin(x, variables, *, train):
    """PyTorch's documentation of BatchNorm2d, one channel at a time in float64."""
    x = np.asarray(x, np.float64)
    out, means, variances = np.empty_like(x), [], []
    for c in range(x.shape[-1]):
        values = x[..., c].ravel()
        running_mean, running_var = (np.float64(variables["batch_stats"][name][c]) for name in ("mean", "var"))
        mean, var = running_mean, running_var
        if train:
            mean = sum(values) / len(values)
            squares = sum((value - mean) ** 2 for value in values)
            var = squares / len(values)
            running_mean = 0.9 * running_mean + 0.1 * mean
            running_var = 0.9 * running_var + 0.1 * squares / (len(values) - 1)
        scale, bias = variables["params"]["scale"][c], variables["params"]["bias"][c]
        out[..., c] = (x[..., c] - mean) / math.sqrt(var + 1e-5) * scale + bias
        means.append(running_mean)
        variances.append(running_var)
    return out, {"mean": np.array(means), "var": np.array(variances)}


@pytest.mark.parametrize("shape", [(3, 4, 5, 6), (7, 6)])
@pytest.mark.parametrize("train", [False, True])
def test_batch_norm_is_pytorchs(shape, train):
    x, variables = 2 * recipe.normal("x", shape) + 3, norm_variables(6)
    got, updated = BatchNorm().apply(variables, x, train=train, mutable=["batch_stats"])
    want, stats = batch_norm_twin(x, variables, train=train)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(updated["batch_stats"]["mean"], stats["mean"], rtol=1e-5)
    np.testing.assert_allclose(updated["batch_stats"]["var"], stats["var"], rtol=1e-5)


def test_batch_norm_keeps_digits_far_from_zero():
    """With a mean of 3000 deviations E[x^2] - E[x]^2 would be off by half the variance."""
    x, variables = 3000 + recipe.normal("x", (64, 4)), norm_variables(4)
    got, _ = BatchNorm().apply(variables, x, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(got, batch_norm_twin(x, variables, train=True)[0], atol=2e-3)


def test_batch_norm_gradient():
    """The gradient is that of the textbook formula; the running statistics take no part in it."""
    variables, weight = norm_variables(3), recipe.normal("weight", (5, 4, 3))
    x = recipe.normal("x", (5, 4, 3)) + 1

    def ours(x):
        return jnp.sum(weight * BatchNorm().apply(variables, x, train=True, mutable=["batch_stats"])[0])

    def textbook(x):
        mean, var = jnp.mean(x, (0, 1)), jnp.var(x, (0, 1))
        return jnp.sum(weight * (x - mean) / jnp.sqrt(var + 1e-5) * variables["params"]["scale"])

    assert recipe.relative_error(jax.grad(ours)(x), jax.grad(textbook)(x)) < 1e-5


def test_batch_norm_over_a_mapped_axis():
    """Two devices' halves, averaged over the axis, are one batch: outputs and running statistics."""
    x, variables = recipe.normal("x", (4, 3, 3, 5)), norm_variables(5)
    x[:2] += 2
    whole, stats = BatchNorm().apply(variables, x, train=True, mutable=["batch_stats"])
    norm = BatchNorm(Numerics(axis_name="device"))
    apply = functools.partial(norm.apply, variables, train=True, mutable=["batch_stats"])
    halves, half_stats = jax.vmap(apply, axis_name="device")(x.reshape(2, 2, 3, 3, 5))
    np.testing.assert_allclose(halves.reshape(x.shape), whole, atol=1e-5)
    for got, want in zip(jax.tree.leaves(half_stats), jax.tree.leaves(stats)):
        np.testing.assert_allclose(got[0], want, rtol=1e-5)
        np.testing.assert_array_equal(got[0], got[1])


def test_batch_norm_computes_in_float32():
    """bfloat16 features of mean 200 have an ulp of 1; moments in bfloat16 would be off by tens of percent."""
    x, variables = (200 + 4 * recipe.normal("x", (256, 4))).astype(jnp.bfloat16), norm_variables(4)
    got, updated = BatchNorm(Numerics("bfloat16")).apply(variables, x, train=True, mutable=["batch_stats"])
    want, stats = batch_norm_twin(x, variables, train=True)
    assert got.dtype == jnp.bfloat16 and updated["batch_stats"]["var"].dtype == jnp.float32
    np.testing.assert_allclose(got.astype(np.float32), want, rtol=2**-8, atol=1e-3)
    np.testing.assert_allclose(updated["batch_stats"]["var"], stats["var"], rtol=1e-5)


def test_batch_norm_without_affine_has_no_parameters():
    x = recipe.normal("x", (4, 3))
    variables = BatchNorm(affine=False).init(jax.random.key(0), x, train=False)
    assert set(variables) == {"batch_stats"}
    np.testing.assert_allclose(BatchNorm(affine=False).apply(variables, x, train=False), x / np.sqrt(1 + 1e-5))


def test_batch_norm_refuses_a_single_value():
    with pytest.raises(InputError, match=r"two values a channel, got features of shape \(1, 1, 1, 6\)"):
        BatchNorm().apply(norm_variables(6), jnp.ones((1, 1, 1, 6)), train=True, mutable=["batch_stats"])


def test_prelu():
    x, slope = recipe.normal("x", (50, 3)), np.array([0.25, 0.0, -1.5], np.float32)
    got = PReLU().apply({"params": {"negative_slope": slope}}, x)
    want = [[value if value > 0 else slope[c] * value for c, value in enumerate(row)] for row in x]
    np.testing.assert_array_equal(got, np.array(want, np.float32))


def test_equal_linear():
    x, kernel, bias = recipe.normal("x", (2, 9)), recipe.normal("kernel", (9, 4)), recipe.normal("bias", (4,))
    got = EqualLinear(4).apply({"params": {"kernel": kernel, "bias": bias}}, x)
    np.testing.assert_allclose(got, x @ kernel / 3 + bias, rtol=1e-5, atol=1e-6)


def test_pixel_shuffle():
    x = recipe.normal("x", (2, 3, 5, 12))
    want = np.empty((2, 6, 10, 3), np.float32)
    for h, w, c, i, j in itertools.product(range(3), range(5), range(3), range(2), range(2)):
        want[:, 2 * h + i, 2 * w + j, c] = x[:, h, w, 4 * c + 2 * i + j]
    np.testing.assert_array_equal(pixel_shuffle(x), want)
    np.testing.assert_array_equal(pixel_shuffle(x[0]), want[0])


@pytest.mark.parametrize("shape, size", [((4, 4), 8), ((3, 5), 7), ((8, 8), 3), ((4, 4), 1), ((1, 1), 4)])
def test_resize_bilinear(shape, size):
    x = recipe.normal("x", (2, *shape, 3))
    want = np.empty((2, size, size, 3))
    for i, j in itertools.product(range(size), range(size)):
        y, x_ = (0 if size == 1 else k * (n - 1) / (size - 1) for k, n in zip((i, j), shape))
        y0, x0 = min(int(y), shape[0] - 1), min(int(x_), shape[1] - 1)
        y1, x1 = min(y0 + 1, shape[0] - 1), min(x0 + 1, shape[1] - 1)
        top = (1 - x_ + x0) * x[:, y0, x0] + (x_ - x0) * x[:, y0, x1]
        bottom = (1 - x_ + x0) * x[:, y1, x0] + (x_ - x0) * x[:, y1, x1]
        want[:, i, j] = (1 - y + y0) * top + (y - y0) * bottom
    np.testing.assert_allclose(resize_bilinear(x, size), want, atol=1e-5)


@pytest.mark.parametrize("shape, size", [((188, 188), 112), ((6, 9), 3), ((4, 5), 8), ((7, 3), 5)])
def test_adaptive_average_pool(shape, size):
    x = recipe.normal("x", (*shape, 2))
    want = np.empty((size, size, 2))
    windows = [[(i * n // size, math.ceil((i + 1) * n / size)) for i in range(size)] for n in shape]
    for (i, (top, bottom)), (j, (left, right)) in itertools.product(enumerate(windows[0]), enumerate(windows[1])):
        want[i, j] = x[top:bottom, left:right].mean((0, 1), dtype=np.float64)
    np.testing.assert_allclose(adaptive_average_pool(x, size), want, atol=1e-5)


@pytest.mark.parametrize("name", ["dtype", "param_dtype"])
def test_unknown_dtypes_are_refused(name):
    with pytest.raises(InputError, match=f"^{name} must be float32 or bfloat16, got 'float16'"):
        Numerics(**{name: "float16"})
