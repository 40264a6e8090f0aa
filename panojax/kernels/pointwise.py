"""What stands between the encoders' convolutions: batch norm, PReLU, biases and channel weights. All are NHWC.

Their gradients are written out. By automatic differentiation XLA for GPUs reads and writes the features about twice as
often, and sums channels in kernels that also write features, on a few of the GPU's processors (38 us where 5 would do).
"""

import math

import jax
import jax.numpy as jnp
from flax import struct

from panojax.kernels.preparation import once

EPSILON = 1e-5
"""PyTorch's: joins a variance under the root."""
_FEW = 1024  # values of a channel that are summed in one go


def channel_sums(*values: jax.Array) -> list[jax.Array]:
    """Sums of arrays [..., C] over all axes but the last, in float32: [C] each.

    Long sums take two steps, first along the last but one axis, which all of a GPU's processors share. The barrier
    keeps XLA from making them one again.
    """
    wide = [value.astype(jnp.float32) for value in values]
    if values[0].ndim > 2 and math.prod(values[0].shape[:-1]) >= _FEW:
        wide = jax.lax.optimization_barrier([jnp.sum(value, axis=-2) for value in wide])
    return [jnp.sum(value, axis=tuple(range(value.ndim - 1))) for value in wide]


def normalize(x: jax.Array, mean: jax.Array, var: jax.Array, scale: jax.Array | None, bias: jax.Array | None):
    """x [..., C] of moments [C] to mean `bias` and deviation `scale`, or 0 and 1 where these are None; in float32."""
    gain = jax.lax.rsqrt(var + EPSILON)
    x = x.astype(jnp.float32) - mean
    return x * gain if scale is None or bias is None else x * (gain * scale) + bias


@struct.dataclass
class Affine:
    """A batch norm of running statistics as one factor and one summand for each channel, [C] each."""

    gain: jax.Array
    shift: jax.Array


def batch_norm(x: jax.Array, mean: jax.Array, var: jax.Array, scale: jax.Array | None, bias: jax.Array | None):
    """`normalize` by a network's running statistics. Prepared weights are `Affine`."""
    weights = once(lambda *weights: weights, scale, bias, mean, var, keep=_affine)
    if isinstance(weights, Affine):
        return x.astype(jnp.float32) * weights.gain + weights.shift
    return normalize(x, mean, var, scale, bias)


def _affine(weights) -> Affine:
    scale, bias, mean, var = weights
    gain = jax.lax.rsqrt(var + EPSILON)
    if scale is not None:
        gain = gain * scale
    return Affine(gain, (0 if bias is None else bias) - mean * gain)


@jax.custom_vjp
def batch_normalize(
    x: jax.Array, scale: jax.Array | None, bias: jax.Array | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """`normalize` of x [N, ..., C] by its own moments, in float32: the result, means [C] and biased variances [C].

    The moments are constants to what is made of them: they take no gradient.
    """
    return _batch_normalize_forward(x, scale, bias)[0]


def _batch_normalize_forward(x, scale, bias):
    # No call of `batch_normalize`: a gradient of the gradient does go through the moments.
    mean, var = _moments(x.astype(jnp.float32))
    return (normalize(x, mean, var, scale, bias), mean, var), (x, mean, var, scale, bias)


def _moments(x):
    """Means and biased variances [C] of x [N, ..., C], from those of each sample.

    Where samples lie on several devices (and the function is traced under their mesh, as `train` does), all samples'
    moments go to all of them: one exchange a batch norm, not one for means and one for variances. Their waits add up.
    """
    count = math.prod(x.shape[1:-1])
    means = _inner_sums(x) / count
    # Not E[x^2] - E[x]^2, which loses digits where |mean| >> std.
    squares = _inner_sums(jnp.square(x - jnp.expand_dims(means, tuple(range(1, x.ndim - 1))))) / count
    moments = jnp.stack([means, squares])
    if jax.sharding.get_abstract_mesh().are_all_axes_auto:
        moments = jax.lax.with_sharding_constraint(moments, jax.sharding.PartitionSpec())
    means, squares = moments
    mean = jnp.mean(means, axis=0)
    return mean, jnp.mean(squares + jnp.square(means - mean), axis=0)


def _inner_sums(x):
    """Sums of x [N, ..., C] over all axes but the first and the last: [N, C]. Long ones in steps, as `channel_sums`."""
    if x.ndim > 3 and math.prod(x.shape[:-1]) >= _FEW:
        x = jax.lax.optimization_barrier(jnp.sum(x, axis=-2))
    return jnp.sum(x, axis=tuple(range(1, x.ndim - 1)))


def _batch_normalize_backward(saved, gradients):
    x, mean, var, scale, bias = saved
    gradient = gradients[0]
    count, gain = math.prod(x.shape[:-1]), jax.lax.rsqrt(var + EPSILON)
    centred = x.astype(jnp.float32) - mean
    total, moment = channel_sums(gradient, gradient * centred)
    inner = gradient - total / count - centred * (jnp.square(gain) * moment / count)
    if scale is None:
        return (inner * gain).astype(x.dtype), None, None
    dx = (inner * (gain * scale)).astype(x.dtype)
    return dx, (moment * gain).astype(scale.dtype), total.astype(bias.dtype)


batch_normalize.defvjp(_batch_normalize_forward, _batch_normalize_backward)


@jax.custom_vjp
def prelu(x: jax.Array, slope: jax.Array) -> jax.Array:
    """max(x, 0) + slope * min(x, 0) of x [..., C], with a slope for each channel [C]."""
    return jnp.where(x >= 0, x, x * slope.astype(x.dtype))


def _prelu_backward(saved, gradient):
    x, slope = saved
    (total,) = channel_sums(jnp.where(x >= 0, 0, gradient.astype(jnp.float32) * x))
    return jnp.where(x >= 0, gradient, gradient * slope.astype(x.dtype)), total.astype(slope.dtype)


prelu.defvjp(lambda x, slope: (prelu(x, slope), (x, slope)), _prelu_backward)


@jax.custom_vjp
def add_bias(x: jax.Array, bias: jax.Array) -> jax.Array:
    """x [..., C] + bias [C], in the type of x."""
    return x + bias.astype(x.dtype)


def _add_bias_backward(bias, gradient):
    return gradient, channel_sums(gradient)[0].astype(bias.dtype)


add_bias.defvjp(lambda x, bias: (add_bias(x, bias), bias), _add_bias_backward)


@jax.custom_vjp
def weigh_channels(x: jax.Array, weight: jax.Array) -> jax.Array:
    """x [N, H, W, C] times weights [N, 1, 1, C] of each sample's channels."""
    return x * weight


def _weigh_channels_backward(saved, gradient):
    x, weight = saved
    rows = jnp.sum(gradient.astype(jnp.float32) * x, axis=2, keepdims=True)
    total = jnp.sum(jax.lax.optimization_barrier(rows), axis=1, keepdims=True)
    return (gradient * weight).astype(x.dtype), total.astype(weight.dtype)


weigh_channels.defvjp(lambda x, weight: (weigh_channels(x, weight), (x, weight)), _weigh_channels_backward)
