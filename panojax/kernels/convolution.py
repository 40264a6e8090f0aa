"""Convolutions of images [N, H, W, C] by kernels [h, h, I, O], padded by h // 2 on every side.

Plain form: `jax.lax.conv_general_dilated`. Faster on GPUs, where small batches are bound by launches: few pixels or
inputs as products of matrices (`MatrixKernel`, `conv_by_rows`).
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from panojax.kernels.differentiation import unless_differentiated
from panojax.kernels.preparation import once

_FEW = 10_000_000  # numbers that a convolution's windows may hold to be written out for a product of matrices


@struct.dataclass
class MatrixKernel:
    """A kernel that accelerators may multiply as a matrix: `conv` takes it in an array's place.

    Attributes:
      array: [h, h, I, O], or [O, h, h, I] where `output_first`, the order of axes that cuDNN reads. It is an order of
        logical axes: arrays of another memory layout cost each call of a jitted function 5 us of Python apiece.
    """

    array: jax.Array
    output_first: bool = struct.field(pytree_node=False, default=False)

    @property
    def rows(self) -> jax.Array:
        """[O, h, h, I]."""
        return self.array if self.output_first else self.array.transpose(3, 0, 1, 2)

    def __jax_array__(self) -> jax.Array:
        """The kernel [h, h, I, O], for layers that know nothing of this type."""
        return self.array.transpose(1, 2, 3, 0) if self.output_first else self.array


def as_array(kernel: Any) -> jax.Array:
    """A kernel [h, h, I, O] of either type."""
    return kernel.__jax_array__() if isinstance(kernel, MatrixKernel) else kernel


def for_device(kernel: jax.Array) -> jax.Array | MatrixKernel:
    """A kernel [h, h, I, O] as this process's default device reads it best."""
    return MatrixKernel(jnp.moveaxis(kernel, -1, 0), output_first=True) if jax.default_backend() == "gpu" else kernel


def conv(x: jax.Array, kernel: jax.Array | MatrixKernel, stride: int = 1) -> jax.Array:
    """Correlation of x [N, H, W, I] with a kernel, in the type of x."""
    return correlate(x, once(functools.partial(_as_type, dtype=x.dtype), kernel, keep=for_device), stride)


def correlate(x: jax.Array, kernel: jax.Array | MatrixKernel, stride: int = 1) -> jax.Array:
    """`conv` by a kernel that is no parameter, but made of one."""
    if isinstance(kernel, MatrixKernel):
        return conv_by_rows(x, kernel.rows, stride)
    padding, dims = [(len(kernel) // 2,) * 2] * 2, ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel.astype(x.dtype), (stride, stride), padding, dimension_numbers=dims)


def pointwise(x: jax.Array, kernel: jax.Array | MatrixKernel) -> jax.Array:
    """`conv` by a kernel [1, 1, I, O] as a product of matrices, which on one pixel is faster."""
    kernel = once(functools.partial(_as_type, dtype=x.dtype), kernel, keep=for_device)
    return x @ as_array(kernel)[0, 0]


def _as_type(kernel, dtype):
    return jax.tree.map(lambda array: array.astype(dtype), kernel)


def conv_by_rows(x: jax.Array, rows: jax.Array, stride: int = 1) -> jax.Array:
    """`conv` by `rows` [O, h, h, I].

    Where h is 1, or pixels or inputs are few, as a product of matrices: it costs a GPU fewer and shorter launches. Few
    features of single pixels are sums, which GPUs make in the kernel that makes x, and need not write x.
    """
    features, size, _, inputs = rows.shape
    rows = rows.astype(x.dtype)
    if size == 1 and features <= 4:
        wide = x.astype(jnp.float32)
        sums = jax.lax.optimization_barrier([jnp.sum(wide * row[0, 0], axis=-1) for row in rows])
        return jnp.stack(sums, axis=-1)
    if size == 1 or inputs < 16 or x.size * size**2 <= _FEW * stride**2:
        return jax.lax.dot_general(windows(x, size, stride), rows.reshape(features, -1), (((3,), (1,)), ((), ())))
    return _conv_ungrouped(x, rows, stride)


def _conv_ungrouped(x: jax.Array, rows: jax.Array, stride: int) -> jax.Array:
    """A convolution that `vmap` turns into one for each kernel, not into one of groups, unless that serves.

    cuDNN has no fast kernels for groups whose inputs and outputs are not as many, or no power of two.
    """

    def conv(x, rows):
        padding, dims = [(rows.shape[1] // 2,) * 2] * 2, ("NHWC", "OHWI", "NHWC")
        return jax.lax.conv_general_dilated(x, rows, (stride, stride), padding, dimension_numbers=dims)

    features, *_, inputs = rows.shape
    if features == inputs and features.bit_count() == 1:
        return conv(x, rows)
    ungrouped = jax.custom_batching.custom_vmap(conv)

    @ungrouped.def_vmap
    def one_each(size, batched, x, rows):
        if not batched[1]:
            return jax.vmap(conv, in_axes=(0, None))(x, rows), True
        return jnp.stack([conv(x[i] if batched[0] else x, rows[i]) for i in range(size)]), True

    return unless_differentiated(lambda _, *args: ungrouped(*args), lambda _, *args: conv(*args))(None, x, rows)


def windows(x: jax.Array, size: int, stride: int) -> jax.Array:
    """What a convolution reads for each pixel: [N, H, W, C] -> [N, H / stride, W / stride, size * size * C].

    Padded by size // 2 on every side, so that even sizes give a row and a column more; H and W are multiples of the
    stride.
    """
    n, height, width, channels = x.shape
    height, width = (side + 1 - size % 2 for side in (height, width))
    pad, strides = (size // 2, size // 2, 0), (1, stride, stride, 1)
    padded = jax.lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), pad, pad, (0, 0, 0)))
    taps = [
        jax.lax.slice(padded, (0, i, j, 0), (n, i + height, j + width, channels), strides)
        for i in range(size)
        for j in range(size)
    ]
    return jnp.concatenate(taps, -1) if size > 1 else taps[0]
