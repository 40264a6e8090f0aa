"""StyleGAN2's modulated and up-sampling convolutions of images [N, H, W, C].

Plain form: zeros between the pixels, the kernel, the filter [1, 3, 3, 1]; weights modulated for each sample. Faster:
the activations are modulated, and one convolution of the small picture makes the four output phases.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.custom_derivatives import SymbolicZero

from panojax.kernels.convolution import MatrixKernel, correlate, for_device, windows
from panojax.kernels.preparation import once

# The filter [1, 3, 3, 1] / 4 is [1, 1] after [1, 2, 1] / 4. A flipped 3-tap kernel composed with the former, split by
# output phase: _PHASES[s, a, p] is the weight of kernel tap s in tap a of the 2-tap kernel that makes phase p.
_PAIRS = np.stack([np.convolve([1, 1], np.eye(3, dtype=np.float32)[2 - s]) for s in range(3)], axis=-1)
_PHASES = np.stack([_PAIRS[1::2], _PAIRS[0::2]], axis=-1).transpose(1, 0, 2).astype(np.float32)


def modulated_conv(
    x: jax.Array, kernel: jax.Array, styles: jax.Array, *, up: bool = False, demodulate: bool = True
) -> jax.Array:
    """Convolution of x [N, H, W, I] whose input channels are scaled by styles [N, I], per sample.

    The activations are modulated and not the weights, which is the same function.

    Args:
      kernel: [h, h, I, O].
      up: whether it doubles the picture, see `upsampling_conv`.
      demodulate: divide each output channel by the norm of its modulated weights.
    """
    make = functools.partial(_modulated_weights, up=up, demodulate=demodulate)
    weights = once(make, kernel, keep=functools.partial(_kept, dtype=x.dtype))
    x = x * styles[:, None, None].astype(x.dtype)
    y = smooth(join_phases(pair_conv(x, weights.kernel))) if up else correlate(x, weights.kernel)
    if weights.energy is not None:
        power = jax.lax.dot(jnp.square(styles), weights.energy, precision=jax.lax.Precision.HIGHEST)
        y = y * jax.lax.rsqrt(power + 1e-8)[:, None, None].astype(y.dtype)
    return y


@struct.dataclass
class ModulatedWeights:
    """What a modulated convolution makes of its kernel alone.

    Attributes:
      kernel: [h, h, I, O], or the four of `phase_kernels`.
      energy: None, or the squared weights' sums over space [I, O], to demodulate by.
    """

    kernel: jax.Array | MatrixKernel
    energy: jax.Array | None


def _modulated_weights(kernel: jax.Array, *, up: bool, demodulate: bool) -> ModulatedWeights:
    energy = jnp.sum(jnp.square(kernel), axis=(0, 1)) if demodulate else None
    return ModulatedWeights(phase_kernels(kernel) if up else kernel, energy)


def _kept(weights: ModulatedWeights, dtype) -> ModulatedWeights:
    return ModulatedWeights(for_device(jnp.asarray(weights.kernel).astype(dtype)), weights.energy)


def upsampling_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """StyleGAN2's up-sampling convolution: [N, H, W, I] by kernel [3, 3, I, O] -> [N, 2H, 2W, O].

    Inserting zeros, half of the [1, 3, 3, 1] filter and the flipped kernel compose into four 2 x 2 kernels, one per
    output phase, which run as one convolution of the low-resolution input; the other half smooths what they make.
    Composed with all of it the kernels would be 3 x 3, and the products more than twice as many. PyTorch counterpart:
    conv2d_resample(up=2, flip_weight=False).
    """
    return smooth(join_phases(pair_conv(x, phase_kernels(kernel))))


def pair_conv(x: jax.Array, kernel: jax.Array | MatrixKernel) -> jax.Array:
    """`correlate` by a kernel [2, 2, I, O].

    The gradient by the kernel is a product of matrices: as a convolution, XLA for GPUs does not recognise it where the
    kernel's side is even, and takes some of cuDNN's kernels that are up to twenty times slower.
    """
    return correlate(x, kernel) if isinstance(kernel, MatrixKernel) else _pair_conv(x, kernel)


@jax.custom_jvp
def _pair_conv(x, kernel):
    return correlate(x, kernel)


@functools.partial(_pair_conv.defjvp, symbolic_zeros=True)
def _pair_conv_jvp(primals, tangents):
    (x, kernel), (x_change, kernel_change) = primals, tangents
    changes = []
    if not isinstance(x_change, SymbolicZero):
        changes.append(correlate(x_change, kernel))
    if not isinstance(kernel_change, SymbolicZero):
        rows = kernel_change.astype(x.dtype).reshape(-1, kernel.shape[-1])
        changes.append(jax.lax.dot_general(windows(x, 2, 1), rows, (((3,), (0,)), ((), ()))))
    return correlate(x, kernel), sum(changes)


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
