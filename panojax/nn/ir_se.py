"""The trunk of all encoders: ArcFace's improved residual network, with or without squeeze-and-excitation.

Deng et al., "ArcFace" (2019), section 3.1; Hu et al., "Squeeze-and-Excitation Networks" (2018).
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from panojax.errors import InputError
from panojax.kernels.convolution import pointwise
from panojax.kernels.pointwise import weigh_channels
from panojax.nn.layers import BatchNorm, Numerics, PReLU, conv, parameter
from panojax.schema import check_budget, check_config

INPUT_LAYER = "input_layer.0"
"""Name of the first convolution, which is never computed in bfloat16."""


@dataclasses.dataclass(frozen=True)
class TrunkConfig:
    """Four stages of bottlenecks; the first bottleneck of each halves the resolution. The defaults are IR-SE-50."""

    depths: tuple[int, int, int, int] = (3, 4, 14, 3)
    """Bottlenecks in each stage: (3, 4, 14, 3) for 50 layers, (3, 13, 30, 3) for 101."""
    widths: tuple[int, int, int, int] = (64, 128, 256, 512)
    """Channels of each stage, multiples of 16 (excitation and pixel shuffles divide them)."""
    squeeze_excite: bool = True
    """Whether bottlenecks weigh their channels by squeeze-and-excitation (IR-SE) or not (IR)."""

    def __post_init__(self):
        check_config(self, {"depths": (1, 256), "widths": (16, 2**13)})
        if len(self.depths) != 4 or min(self.depths) < 1:
            raise InputError(f"depths must be four positive numbers, got {self.depths}")
        if len(self.widths) != 4 or min(self.widths) < 16 or any(width % 16 for width in self.widths):
            raise InputError(f"widths must be four positive multiples of 16, got {self.widths}")
        convs = sum(depth * 18 * width**2 for depth, width in zip(self.depths, self.widths))
        check_budget(depths_x_widths=4 * 2 * convs)  # the trunks of both stages

    @property
    def stage_ends(self) -> tuple[int, int, int, int]:
        """The flat index of each stage's last bottleneck: (2, 6, 20, 23) for 50 layers."""
        a, b, c, d = self.depths
        return a - 1, a + b - 1, a + b + c - 1, a + b + c + d - 1


def trunk_features(
    config: TrunkConfig, x: jax.Array, taps: Sequence[int], *, train: bool, numerics: Numerics
) -> list[jax.Array]:
    """The features after the bottlenecks `taps`.

    To be called in the `@nn.compact` method of the network whose trunk this is: the submodules made here become its
    own, because PyTorch's networks hold `input_layer` and `body` at their top.

    Args:
      config: depths and widths.
      x: [N, H, W, any channels].
      taps: flat indices of bottlenecks. A tap in stage s = 1..4 gives [N, H / 2^s, W / 2^s, widths[s - 1]].
      train: whether batch norms use the batch and update their running statistics.
      numerics: dtypes.

    Returns:
      One array per tap, in the order of `taps`.
    """
    # Not in bfloat16: batch norm would enlarge what it rounds of even parts, a white background above all.
    exact = dataclasses.replace(numerics, dtype="float32") if numerics.dtype == "bfloat16" else numerics
    x = conv(config.widths[0], 3, numerics=exact, name=INPUT_LAYER)(x)
    x = BatchNorm(numerics, name="input_layer.1")(x, train=train)
    x = PReLU(numerics, name="input_layer.2")(x)
    strides = [2 if unit == 0 else 1 for depth in config.depths for unit in range(depth)]
    widths = [width for depth, width in zip(config.depths, config.widths) for _ in range(depth)]
    branch_scale = len(widths) ** -0.5  # so that the sum over all branches starts at the size of one, at any depth
    features = []
    for i, (width, stride) in enumerate(zip(widths, strides)):
        x = Bottleneck(width, stride, config.squeeze_excite, numerics, branch_scale, name=f"body.{i}")(x, train=train)
        features.append(x)
    return [features[tap] for tap in taps]


class Bottleneck(nn.Module):
    """Batch norm, conv, PReLU, strided conv, batch norm, maybe squeeze-and-excitation; plus the (projected) input."""

    width: int
    stride: int
    squeeze_excite: bool
    numerics: Numerics
    branch_scale: float = 1.0
    """The last batch norm's initial scale."""

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        if train or self.is_initializing():
            return self.compute(x, train)
        return _apply(self.clone(parent=None, name=None), self.variables, x)

    @nn.compact
    def compute(self, x: jax.Array, train: bool) -> jax.Array:
        if x.shape[-1] == self.width:
            shortcut = x[:, :: self.stride, :: self.stride]
        else:
            shortcut = conv(self.width, 1, stride=self.stride, numerics=self.numerics, name="shortcut_layer.0")(x)
            shortcut = BatchNorm(self.numerics, name="shortcut_layer.1")(shortcut, train=train)
        x = BatchNorm(self.numerics, name="res_layer.0")(x, train=train)
        x = conv(self.width, 3, numerics=self.numerics, name="res_layer.1")(x)
        x = PReLU(self.numerics, name="res_layer.2")(x)
        x = conv(self.width, 3, stride=self.stride, numerics=self.numerics, name="res_layer.3")(x)
        norm = BatchNorm(self.numerics, initial_scale=self.branch_scale, name="res_layer.4")
        if not self.squeeze_excite:
            return norm(x, train=train) + shortcut
        excite = SqueezeExcite(self.numerics, name="res_layer.5")
        if train:
            x = norm(x, train=True)
            return excite(x, spatial_means(x)) + shortcut
        # The norm of the means is the mean of the norms, so GPUs need not write the norms out to sum them.
        return excite(norm(x, train=False), norm(spatial_means(x), train=False)) + shortcut


@functools.partial(jax.jit, static_argnums=0)
def _apply(bottleneck: Bottleneck, variables: Any, x: jax.Array) -> Any:
    """A bottleneck in inference. By `jit`, so that those that are alike are traced and lowered once."""
    return bottleneck.apply(variables, x, False, method="compute")


def spatial_means(x: jax.Array) -> jax.Array:
    """Means over space of [N, H, W, C]: [N, 1, 1, C] in float32."""
    return jnp.mean(x, (1, 2), dtype=jnp.float32, keepdims=True)


class SqueezeExcite(nn.Module):
    """Weighs channels of x [N, H, W, C] by a sigmoid of two 1x1 convs (to a sixteenth and back) of their `means`."""

    numerics: Numerics

    @nn.compact
    def __call__(self, x: jax.Array, means: jax.Array) -> jax.Array:
        channels = x.shape[-1]
        weight = nn.relu(PointwiseConv(channels // 16, self.numerics, name="fc1")(means))
        return weigh_channels(x, nn.sigmoid(PointwiseConv(channels, self.numerics, name="fc2")(weight)))


class PointwiseConv(nn.Module):
    """A 1x1 conv without bias as a matrix product, which on one pixel is faster than a convolution."""

    features: int
    numerics: Numerics

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        dtype, param_dtype = self.numerics.dtype, jnp.dtype(self.numerics.param_dtype)
        shape = (1, 1, x.shape[-1], self.features)
        kernel = parameter(self, "kernel", nn.initializers.he_normal(), shape, param_dtype)
        return pointwise(x.astype(dtype), kernel)
