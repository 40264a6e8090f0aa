"""StyleGAN2's building blocks for NHWC arrays: functions that compute, and small modules that own the parameters.

Equalised learning rate: stored weights have unit variance and are scaled when used.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import struct
from jax.custom_derivatives import SymbolicZero

from panojax.kernels.convolution import conv, conv_by_rows, windows
from panojax.nn.layers import adaptive_average_pool, parameter

# The filter [1, 3, 3, 1] / 4 is [1, 1] after [1, 2, 1] / 4. A flipped 3-tap kernel composed with the former, split by
# output phase: _PHASES[s, a, p] is the weight of kernel tap s in tap a of the 2-tap kernel that makes phase p.
_PAIRS = np.stack([np.convolve([1, 1], np.eye(3, dtype=np.float32)[2 - s]) for s in range(3)], axis=-1)
_PHASES = np.stack([_PAIRS[1::2], _PAIRS[0::2]], axis=-1).transpose(1, 0, 2).astype(np.float32)


# log(1 + t) / t for t in [0, 1], interpolated at Chebyshev's nodes, the highest power first: to 3e-8, and to 6e-5 for
# what has but the digits of bfloat16.
_LOG1P = (
    *(0.005253457796776874, -0.02958850739179411, 0.078361668016809, -0.13674769705361184, 0.191114310805017),
    *(-0.2484436989245085, 0.33319271342500406, -0.4999950151678725, 0.9999999705406569),
)
_COARSE_LOG1P = (
    *(0.04066343605518341, -0.15602952241897583, 0.30539998412132263, -0.49678874015808105),
    0.9999368190765381,
)


def lrelu(x: jax.Array) -> jax.Array:
    """Leaky ReLU with slope 0.2 and gain sqrt(2)."""
    above, below = (np.float32(slope * np.sqrt(2)).astype(x.dtype) for slope in (1, 0.2))
    return x * jnp.where(x >= 0, above, below)


@jax.custom_jvp
def softplus(x: jax.Array) -> jax.Array:
    """log(1 + e^x) in float32, in some half of `jax.nn.softplus`'s time: to 2e-7 of it, small values too; of bfloat16
    numbers to 7e-5."""
    factors = _COARSE_LOG1P if x.dtype == jnp.bfloat16 else _LOG1P
    x = x.astype(jnp.float32)
    small = jnp.exp(-jnp.abs(x))
    series = jnp.zeros_like(small)
    for factor in factors:
        series = series * small + np.float32(factor)
    return jnp.maximum(x, 0) + small * series


@softplus.defjvp
def _softplus_jvp(primals, tangents):
    x, change = primals[0].astype(jnp.float32), tangents[0].astype(jnp.float32)
    return softplus(*primals), change * jax.nn.sigmoid(x)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def clamp(x: jax.Array, limit: float) -> jax.Array:
    """x clipped to +-limit. A backward pass keeps a bool for each number, where `jnp.clip` has it keep a float."""
    return jnp.clip(x, -limit, limit)


@clamp.defjvp
def _clamp_jvp(limit, primals, tangents):
    return clamp(*primals, limit), jnp.where(jnp.abs(primals[0]) <= limit, tangents[0], 0)


def normalize_2nd_moment(x: jax.Array) -> jax.Array:
    """x [..., F] scaled to unit mean square over its features."""
    return x * jax.lax.rsqrt(jnp.mean(x**2, axis=-1, keepdims=True) + 1e-8)


def upsampling_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """StyleGAN2's up-sampling convolution: [N, H, W, I] by kernel [3, 3, I, O] -> [N, 2H, 2W, O].

    Inserting zeros, half of the [1, 3, 3, 1] filter and the flipped kernel compose into four 2 x 2 kernels, one per
    output phase, which run as one convolution of the low-resolution input; the other half smooths what they make.
    Composed with all of it the kernels would be 3 x 3, and the products more than twice as many. PyTorch counterpart:
    conv2d_resample(up=2, flip_weight=False).
    """
    return smooth(join_phases(pair_conv(x, phase_kernels(kernel))))


@jax.custom_jvp
def pair_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`conv` by kernels [2, 2, I, O].

    The gradient by the kernel is a product of matrices: as a convolution, XLA for GPUs does not recognise it where the
    kernel's side is even, and takes some of cuDNN's kernels that are up to twenty times slower.
    """
    return conv(x, kernel)


@functools.partial(pair_conv.defjvp, symbolic_zeros=True)
def _pair_conv_jvp(primals, tangents):
    (x, kernel), (x_change, kernel_change) = primals, tangents
    changes = []
    if not isinstance(x_change, SymbolicZero):
        changes.append(conv(x_change, kernel))
    if not isinstance(kernel_change, SymbolicZero):
        rows = kernel_change.astype(x.dtype).reshape(-1, kernel.shape[-1])
        changes.append(jax.lax.dot_general(windows(x, 2, 1), rows, (((3,), (0,)), ((), ()))))
    return conv(x, kernel), sum(changes)


def phase_kernels(kernel: jax.Array) -> jax.Array:
    """The four kernels of `upsampling_conv`, one per phase: [3, 3, I, O] -> [2, 2, I, 4 O], phases before O."""
    taps = np.einsum("sap,tbq->stabpq", _PHASES, _PHASES)[:, :, :, :, None, :, :, None]
    # A sum of nine scaled taps, which fuses into one pass; as a product of matrices it would be several.
    phases = sum(taps[s, t] * kernel[s, t][:, None, None, :] for s in range(3) for t in range(3))
    return phases.reshape(2, 2, kernel.shape[2], -1)


def join_phases(x: jax.Array) -> jax.Array:
    """[N, H, W, 4 C] -> [N, 2H, 2W, C]: the four output phases of `phase_kernels` in their places."""
    n, h, w, channels = x.shape
    x = x.reshape(n, h, w, 2, 2, channels // 4)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(n, 2 * h, 2 * w, channels // 4)


def smooth(x: jax.Array) -> jax.Array:
    """[N, H + 2, W + 2, C] -> [N, H, W, C] by the filter [1, 2, 1] / 4 along both axes, summed in float32."""
    y = x.astype(jnp.float32)
    for axis in (1, 2):
        before, middle, after = (jax.lax.slice_in_dim(y, i, y.shape[axis] - 2 + i, axis=axis) for i in range(3))
        y = before + 2 * middle + after
    return (y / 16).astype(x.dtype)


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


def modulated_conv(x, kernel, styles, *, up: bool = False, demodulate: bool = True) -> jax.Array:
    """Convolution of x [N, H, W, I] whose input channels are scaled by styles [N, I], per sample.

    The activations are modulated and not the weights, which is the same function. `demodulate` divides each output
    channel by the norm of its modulated weights, with kernel [h, w, I, O].
    """
    return convolve(x, fold(kernel, up=up, demodulate=demodulate), styles, up=up)


@struct.dataclass
class Folded:
    """A modulated convolution's weights as it uses them.

    Attributes:
      kernel: [h, w, I, O], or the four of `phase_kernels`.
      energy: None, or the squared weights' sums over space [I, O], to demodulate by.
      output_first: whether `kernel` is [O, h, w, I] instead, for `conv_by_rows`.
    """

    kernel: jax.Array
    energy: jax.Array | None
    output_first: bool = struct.field(pytree_node=False, default=False)


def fold(kernel: jax.Array, *, up: bool, demodulate: bool) -> Folded:
    """What `convolve` needs of a kernel [h, w, I, O]."""
    energy = jnp.sum(jnp.square(kernel), axis=(0, 1)) if demodulate else None
    return Folded(phase_kernels(kernel) if up else kernel, energy)


def convolve(x: jax.Array, weights: Folded, styles: jax.Array, *, up: bool) -> jax.Array:
    """`modulated_conv` by folded weights."""
    x = x * styles[:, None, None].astype(x.dtype)
    by_kernel = pair_conv if up else conv
    y = (conv_by_rows if weights.output_first else by_kernel)(x, weights.kernel)
    if up:
        y = smooth(join_phases(y))
    if weights.energy is not None:
        power = jax.lax.dot(jnp.square(styles), weights.energy, precision=jax.lax.Precision.HIGHEST)
        y = y * jax.lax.rsqrt(power + 1e-8)[:, None, None].astype(y.dtype)
    return y


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
        weights = _weights(self, x, 3, up=self.up)
        bias = parameter(self, "bias", nn.initializers.zeros, (self.features,))
        strength = parameter(self, "noise_strength", nn.initializers.zeros, ())
        x = convolve(x, weights, styles, up=self.up)
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
        weights = _weights(self, x, 1, demodulate=False)
        bias = parameter(self, "bias", nn.initializers.zeros, (self.features,))
        y = convolve(x, weights, styles, up=False).astype(jnp.float32) + bias
        return y if self.clamp is None else clamp(y, float(self.clamp))


def _weights(layer: nn.Module, x: jax.Array, size: int, *, up: bool = False, demodulate: bool = True) -> Folded:
    """A layer's weights: those that were folded before, or of its parameter "kernel" [size, size, I, features].

    A call with the collection "folded" mutable keeps them there, in the type of x.
    """
    if layer.has_variable("folded", "weights"):
        return layer.get_variable("folded", "weights")
    shape = (size, size, x.shape[-1], layer.features)
    weights = fold(parameter(layer, "kernel", nn.initializers.normal(1.0), shape), up=up, demodulate=demodulate)
    if layer.is_mutable_collection("folded") and not layer.is_initializing():
        kept = Folded(weights.kernel.astype(x.dtype), weights.energy)
        layer.put_variable("folded", "weights", kept)
    return weights
