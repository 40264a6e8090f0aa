"""The F stage: a U-shaped network from a rendering and its residual to tri-grid offsets (TriPlaneNet, 2023)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from panojax.nn.ir_se import TrunkConfig, trunk_features
from panojax.nn.layers import BatchNorm, Numerics, PReLU, conv, pixel_shuffle

OFFSET_LAYERS = "final_head.4", "final_head_two.4"
"""Names of the last convolution, without and with planes."""


class TrigridEncoder(nn.Module):
    """[N, R, R, in_channels] -> offsets [N, R, R, out_channels], R a multiple of 16; channels in PyTorch's order.

    The trunk halves the resolution four times; the decoder doubles it by pixel shuffles (or by repeating pixels), each
    joined by the trunk's features of that resolution. With `planes` [N, R, R, P], the last convs see them too:
    TriPlaneNet v2's network, which returns planes + offsets where this module returns the offsets.
    """

    trunk: TrunkConfig
    out_channels: int
    head_width: int = 96
    numerics: Numerics = Numerics()
    shuffle: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, planes: jax.Array | None = None, *, train: bool = False) -> jax.Array:
        first, second, third, last = self.trunk.stage_ends
        taps = (first, second, third, third + 1, last)
        half, quarter, eighth, deep, out = trunk_features(self.trunk, x, taps, train=train, numerics=self.numerics)
        w1, w2, w3, w4 = self.trunk.widths
        double = pixel_shuffle if self.shuffle else _repeat
        widths = (w3 + w4 // 4, w3, w1 + w1 // 2) if self.shuffle else (w3, w2, w1)

        def double_conv(features: int, skip: jax.Array, x: jax.Array, name: str) -> jax.Array:
            return DoubleConv(features, self.numerics, name=f"{name}.conv")(jnp.concatenate([skip, x], -1), train=train)

        x = double_conv(w4, deep, out, "up1")
        for i, (width, skip) in enumerate(zip(widths, (eighth, quarter, half))):
            x = double_conv(width, skip, double(x), f"up{i + 2}")
        x = double(x)
        name = "final_head"
        if planes is not None:
            x = jnp.concatenate([planes.astype(x.dtype), x], -1)
            name = "final_head_two"
        for i in (0, 2):
            x = conv(self.head_width, 3, use_bias=True, numerics=self.numerics, name=f"{name}.{i}")(x)
            x = PReLU(self.numerics, name=f"{name}.{i + 1}")(x)
        return conv(self.out_channels, 1, use_bias=True, numerics=self.numerics, name=f"{name}.4")(x)


def _repeat(x: jax.Array) -> jax.Array:
    """[N, H, W, C] -> [N, 2H, 2W, C]: each pixel four times."""
    return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)


class DoubleConv(nn.Module):
    """Batch norm, conv, PReLU, conv, PReLU and one more PReLU."""

    features: int
    numerics: Numerics

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = BatchNorm(self.numerics, name="double_conv.0")(x, train=train)
        x = conv(self.features, 3, use_bias=True, numerics=self.numerics, name="double_conv.1")(x)
        x = PReLU(self.numerics, name="double_conv.2")(x)
        x = conv(self.features, 3, use_bias=True, numerics=self.numerics, name="double_conv.3")(x)
        x = PReLU(self.numerics, name="double_conv.4")(x)
        return PReLU(self.numerics, name="double_conv.5")(x)
