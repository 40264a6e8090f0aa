"""StyleGAN2's building blocks for NHWC arrays: functions that compute, and small modules that own the parameters.

Equalised learning rate: stored weights have unit variance and are scaled when used.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from panojax.kernels.activations import clamp, lrelu
from panojax.kernels.modulated import modulated_conv
from panojax.nn.layers import adaptive_average_pool, parameter


def normalize_2nd_moment(x: jax.Array) -> jax.Array:
    """x [..., F] scaled to unit mean square over its features."""
    return x * jax.lax.rsqrt(jnp.mean(x**2, axis=-1, keepdims=True) + 1e-8)


def upsample_image(x: jax.Array) -> jax.Array:
    """[N, H, W, C] -> [N, 2H, 2W, C] by the [1, 3, 3, 1] filter with zeros outside (PyTorch: upfirdn2d.upsample2d)."""
    return _double(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))))


def _double(padded):
    """[N, H + 2, W + 2, C] -> [N, 2H, 2W, C] without the border: along each axis, the nearer pixel weighs 3/4, the
    other 1/4."""
    n, height, width, channels = padded.shape[0], padded.shape[1] - 2, padded.shape[2] - 2, padded.shape[3]

    def shifted(i, j):
        return jax.lax.slice(padded, (0, i, j, 0), (n, i + height, j + width, channels))

    middle, rows, columns = 9 * shifted(1, 1), [shifted(i, 1) for i in (0, 2)], [shifted(1, j) for j in (0, 2)]

    def phase(p, q):
        return (middle + 3 * (rows[p] + columns[q]) + shifted(2 * p, 2 * q)) / 16

    phases = jnp.stack([jnp.stack([phase(p, q) for q in range(2)], axis=3) for p in range(2)], axis=2)
    return phases.reshape(n, 2 * height, 2 * width, channels)


def resize(x: jax.Array, size: int, *, antialias: bool = True) -> jax.Array:
    """[N, H, W, C] -> [N, size, size, C], bilinear, half-pixel centres; antialiased where pictures are reduced."""
    if x.shape[1:3] == (size, size):
        return x
    if x.shape[1:3] == (size // 2, size // 2) and size % 2 == 0:
        for axis in (1, 2):
            first, last = (jax.lax.slice_in_dim(x, i, i + 1, axis=axis) for i in (0, size // 2 - 1))
            x = jnp.concatenate([first, x, last], axis=axis)
        return _double(x)
    return jax.image.resize(x, (x.shape[0], size, size, x.shape[-1]), "linear", antialias=antialias)


def pool(x: jax.Array, size: int) -> jax.Array:
    """Square pictures [N, S, S, C] -> [N, size, size, C] by averaging areas, or bilinear where they grow."""
    return adaptive_average_pool(x, size) if x.shape[1] > size else resize(x, size)


class FullyConnected(nn.Module):
    """Equalised linear layer: x @ kernel * m / sqrt(fan_in) + bias * m, then lrelu where `activate`.

    `dtype` is the product's and the result's; None: x's and the parameters' common one.
    """

    features: int
    lr_multiplier: float = 1.0
    activate: bool = False
    bias_init: float = 0.0
    dtype: str | None = None

    def __call__(self, x):
        kernel, bias = self.weights(x.shape[-1])
        if self.dtype:
            x, kernel, bias = (value.astype(self.dtype) for value in (x, kernel, bias))
        x = x @ kernel + bias
        return lrelu(x) if self.activate else x

    @nn.compact
    def weights(self, inputs: int) -> tuple[jax.Array, jax.Array]:
        """The kernel [inputs, features] and the bias [features] as they are used."""
        scale = 1 / self.lr_multiplier
        kernel = parameter(self, "kernel", nn.initializers.normal(scale), (inputs, self.features))
        bias = parameter(self, "bias", nn.initializers.constant(self.bias_init * scale), (self.features,))
        return kernel * (self.lr_multiplier / np.sqrt(inputs)), bias * self.lr_multiplier


class SynthesisLayer(nn.Module):
    """Modulated 3 x 3 convolution, noise, bias, activation: x [N, H, W, I], w [N, w_dim] -> [N, H', W', features]."""

    features: int
    up: bool = False
    noise: str = "const"
    clamp: float | None = None

    @nn.compact
    def __call__(self, x, w):
        styles = FullyConnected(x.shape[-1], bias_init=1.0, name="affine")(w)
        kernel = parameter(self, "kernel", nn.initializers.normal(1.0), (3, 3, x.shape[-1], self.features))
        bias = parameter(self, "bias", nn.initializers.zeros, (self.features,))
        strength = parameter(self, "noise_strength", nn.initializers.zeros, ())
        x = modulated_conv(x, kernel, styles, up=self.up)
        pattern = self.variable("constants", "noise_const", self._draw, x.shape[1:3])
        if self.noise == "const":
            x = x + (pattern.value * strength)[..., None].astype(x.dtype)
        elif self.noise == "random":
            draws = jax.random.normal(self.make_rng("noise"), (*x.shape[:3], 1))
            x = x + (draws * strength).astype(x.dtype)
        x = lrelu(x + bias.astype(x.dtype))
        return x if self.clamp is None else clamp(x, float(self.clamp))

    def _draw(self, shape):
        return jax.random.normal(self.make_rng("params"), shape)


class ToRGB(nn.Module):
    """Modulated 1 x 1 convolution without demodulation, in float32 from the product on: -> [N, H, W, features]."""

    features: int
    clamp: float | None = None

    @nn.compact
    def __call__(self, x, w):
        styles = FullyConnected(x.shape[-1], bias_init=1.0, name="affine")(w) / np.sqrt(x.shape[-1])
        kernel = parameter(self, "kernel", nn.initializers.normal(1.0), (1, 1, x.shape[-1], self.features))
        bias = parameter(self, "bias", nn.initializers.zeros, (self.features,))
        y = modulated_conv(x, kernel, styles, demodulate=False).astype(jnp.float32) + bias
        return y if self.clamp is None else clamp(y, float(self.clamp))
