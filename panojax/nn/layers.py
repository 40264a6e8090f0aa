"""Layers and resamplers that the encoders share. All images and features are NHWC."""

import dataclasses
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.initializers import Initializer

from panojax.errors import InputError
from panojax.kernels import convolution
from panojax.kernels.pointwise import add_bias, batch_norm, batch_normalize, normalize, prelu

_BATCH_NORM_RATE = 0.1  # PyTorch's `momentum`: the new batch's weight in the running statistics


@dataclasses.dataclass(frozen=True)
class Numerics:
    """How a network computes. Batch norms compute in float32 whatever is said here."""

    dtype: str = "float32"
    """Of activations and products: "float32" or "bfloat16"."""
    param_dtype: str = "float32"
    """Of stored parameters. Running statistics are always float32."""
    axis_name: str | None = None
    """The mapped axis (of `shard_map` or `vmap`) over which batch norms average in training; None: none."""

    def __post_init__(self):
        for name in ("dtype", "param_dtype"):
            if getattr(self, name) not in ("float32", "bfloat16"):
                raise InputError(f"{name} must be float32 or bfloat16, got {getattr(self, name)!r}")


def parameter(module: nn.Module, name: str, init: Initializer, shape: tuple[int, ...], dtype: Any = jnp.float32):
    """`module.param`, which traces the initializer for each parameter that is there, to compare shapes: that would be
    a quarter of the time that an inversion takes to trace."""
    if module.has_variable("params", name):
        return module.get_variable("params", name)
    return module.param(name, init, shape, dtype)


class Conv(nn.Module):
    """`torch.nn.Conv2d` padded by kernel_size // 2 on every side, with kernels HWIO."""

    features: int
    kernel_size: int
    numerics: Numerics
    stride: int = 1
    use_bias: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        dtype, param_dtype = self.numerics.dtype, jnp.dtype(self.numerics.param_dtype)
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        kernel = parameter(self, "kernel", nn.initializers.he_normal(), shape, param_dtype)
        x = convolution.conv(x.astype(dtype), kernel, self.stride)
        if not self.use_bias:
            return x
        return add_bias(x, parameter(self, "bias", nn.initializers.zeros, (self.features,), param_dtype))


def conv(
    features: int,
    kernel_size: int,
    *,
    numerics: Numerics,
    name: str,
    stride: int = 1,
    use_bias: bool = False,
) -> Conv:
    """A `Conv` by name."""
    return Conv(features, kernel_size, numerics, stride, use_bias, name=name)


class BatchNorm(nn.Module):
    """`torch.nn.BatchNorm2d` (and 1d) over every axis but the last, with PyTorch's defaults.

    In training the batch's biased variance normalises and its unbiased variance enters the running one (to
    `flax.linen.BatchNorm` they are the same). The collection `batch_stats` holds the running statistics; training must
    make it mutable.

    Raises:
      InputError: in training, if a channel has a single value: its variance says nothing.
    """

    numerics: Numerics = Numerics()
    affine: bool = True
    initial_scale: float = 1.0

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        channels = x.shape[-1:]
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, channels, jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, channels, jnp.float32)
        scale = bias = None
        if self.affine:
            param_dtype = jnp.dtype(self.numerics.param_dtype)
            scale = parameter(self, "scale", nn.initializers.constant(self.initial_scale), channels, param_dtype)
            bias = parameter(self, "bias", nn.initializers.zeros, channels, param_dtype)
        if not train:
            return batch_norm(x, running_mean.value, running_var.value, scale, bias).astype(self.numerics.dtype)
        y, mean, var, count = _normalize_batch(x, scale, bias, self.numerics.axis_name)
        if not self.is_initializing():
            running_mean.value += _BATCH_NORM_RATE * (mean - running_mean.value)
            running_var.value += _BATCH_NORM_RATE * (var * (count / (count - 1)) - running_var.value)
        return y.astype(self.numerics.dtype)


def _normalize_batch(x, scale, bias, axis_name):
    """The normalised x [..., C], its means [C] and biased variances [C], and how many values a channel has."""
    count = math.prod(x.shape[:-1])
    if axis_name is not None:
        count *= jax.lax.psum(1, axis_name)
    if count < 2:
        raise InputError(f"batch norm in training needs two values a channel, got features of shape {x.shape}")
    if axis_name is None:
        return *batch_normalize(x, scale, bias), count
    x, axes = x.astype(jnp.float32), tuple(range(x.ndim - 1))
    mean = jax.lax.pmean(jnp.mean(x, axes), axis_name)
    var = jax.lax.pmean(jnp.mean(jnp.square(x - mean), axes), axis_name)
    return normalize(x, mean, var, scale, bias), mean, var, count


class PReLU(nn.Module):
    """`torch.nn.PReLU` with a slope for each channel: max(x, 0) + slope * min(x, 0)."""

    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        slope = parameter(
            self, "negative_slope", nn.initializers.constant(0.25), x.shape[-1:], jnp.dtype(self.numerics.param_dtype)
        )
        return prelu(x, slope)


class EqualLinear(nn.Module):
    """A linear layer with equalised learning rate: the stored weight, N(0, 1), is divided by sqrt(inputs) in use."""

    features: int
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        inputs, dtype, param_dtype = x.shape[-1], self.numerics.dtype, jnp.dtype(self.numerics.param_dtype)
        kernel = parameter(self, "kernel", nn.initializers.normal(1.0), (inputs, self.features), param_dtype)
        bias = parameter(self, "bias", nn.initializers.zeros, (self.features,), param_dtype)
        return x.astype(dtype) @ (kernel / math.sqrt(inputs)).astype(dtype) + bias.astype(dtype)


def pixel_shuffle(x: jax.Array) -> jax.Array:
    """[..., H, W, 4C] -> [..., 2H, 2W, C], as `torch.nn.PixelShuffle(2)`: channel 4c + 2i + j becomes pixel (i, j)."""
    *batch, height, width, channels = x.shape
    x = x.reshape(*batch, height, width, channels // 4, 2, 2)
    n = len(batch)
    x = x.transpose(*range(n), n, n + 3, n + 1, n + 4, n + 2)
    return x.reshape(*batch, 2 * height, 2 * width, channels // 4)


def resize_bilinear(x: jax.Array, size: int) -> jax.Array:
    """[..., H, W, C] -> [..., size, size, C], as `F.interpolate(mode="bilinear", align_corners=True)`."""
    return _resample(x, _bilinear_weights(x.shape[-3], size), _bilinear_weights(x.shape[-2], size))


def adaptive_average_pool(x: jax.Array, size: int) -> jax.Array:
    """[..., H, W, C] -> [..., size, size, C], as `F.adaptive_avg_pool2d`.

    Row i is the mean of rows floor(i H / size) to ceil((i + 1) H / size) - 1; such windows may overlap.
    """
    *batch, height, width, channels = x.shape
    if height % size == 0 and width % size == 0:
        blocks = x.reshape(*batch, size, height // size, size, width // size, channels)
        return jnp.mean(blocks, axis=(-4, -2), dtype=jnp.float32).astype(x.dtype)
    return _resample(x, _window_weights(x.shape[-3], size), _window_weights(x.shape[-2], size))


def _resample(x: jax.Array, rows: np.ndarray, columns: np.ndarray) -> jax.Array:
    # Matrix products, because the gradient of a gather is a scatter, which is slow on GPUs.
    y = jnp.einsum("ih,jw,...hwc->...ijc", rows, columns, x.astype(jnp.float32), precision="highest")
    return y.astype(x.dtype)


def _bilinear_weights(inputs: int, outputs: int) -> np.ndarray:
    position = np.linspace(0, inputs - 1, outputs)
    distance = np.abs(position[:, None] - np.arange(inputs))
    return np.maximum(1 - distance, 0).astype(np.float32)


def _window_weights(inputs: int, outputs: int) -> np.ndarray:
    i, source = np.arange(outputs)[:, None], np.arange(inputs)
    inside = (source >= i * inputs // outputs) & (source < -(-(i + 1) * inputs // outputs))
    return (inside / inside.sum(1, keepdims=True)).astype(np.float32)
