"""Encoders of a portrait into style codes: pSp's W+ pyramid (Richardson et al., 2021) and its single-code ablation."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from panojax.encoders.folding import apply_styles
from panojax.encoders.ir_se import TrunkConfig, trunk_features
from panojax.encoders.layers import EqualLinear, Numerics, conv, resize_bilinear, windows

_COARSE, _MIDDLE = 3, 4  # the first styles read the deepest map, the next the middle one, the rest the finest


class GradualStyleEncoder(nn.Module):
    """[N, R, R, 3] in [-1, 1] -> W+ codes [N, n_styles, w_dim] relative to the mean w, R a power of two.

    PyTorch's counterpart is `GradualStyleEncoder`. The heads read the trunk's last three stages (R/4, R/8, R/16),
    merged from coarse to fine as in a feature pyramid. With `deltas` all heads but the first predict differences from
    its code (e4e, Tov et al., 2021).
    """

    trunk: TrunkConfig
    n_styles: int
    w_dim: int
    numerics: Numerics = Numerics()
    deltas: bool = False

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool = False) -> jax.Array:
        width, numerics = self.trunk.widths[-1], self.numerics
        fine, middle, coarse = trunk_features(
            self.trunk, image, self.trunk.stage_ends[1:], train=train, numerics=numerics
        )
        middle = conv(width, 1, use_bias=True, numerics=numerics, name="latlayer1")(middle)
        middle += resize_bilinear(coarse, middle.shape[1])
        fine = conv(width, 1, use_bias=True, numerics=numerics, name="latlayer2")(fine)
        fine += resize_bilinear(middle, fine.shape[1])
        if self.has_variable("folded", "styles"):
            codes = apply_styles(self.get_variable("folded", "styles"), [fine, middle, coarse], numerics.dtype)
        else:
            counts = _COARSE, _MIDDLE, max(self.n_styles - _COARSE - _MIDDLE, 0)
            inputs = [pair for x, n in zip((coarse, middle, fine), counts) for pair in [(x, _shared_taps(x))] * n]
            codes = [StyleHead(self.w_dim, numerics, name=f"styles.{i}")(*inputs[i]) for i in range(self.n_styles)]
        if self.deltas:
            codes = [codes[0], *(codes[0] + delta for delta in codes[1:])]
        return jnp.stack(codes, axis=1)


class StyleHead(nn.Module):
    """[N, 2^k, 2^k, C] -> one code [N, w_dim]: k halving convs with leaky ReLU, then an equalised linear layer.

    `taps` are those of the input, which several heads share; they are not read where k is 0.
    """

    w_dim: int
    numerics: Numerics

    @nn.compact
    def __call__(self, x: jax.Array, taps: jax.Array) -> jax.Array:
        for i in range(x.shape[1].bit_length() - 1):
            taps = windows(x, 3, 2) if i else taps
            x = nn.leaky_relu(HalvingConv(self.numerics, name=f"convs.{2 * i}")(taps), 0.01)
        return EqualLinear(self.w_dim, self.numerics, name="linear")(x[:, 0, 0])


def _shared_taps(x):
    # The barrier has the heads' gradients add up before they go back from the taps to the map, once for all heads.
    return jax.lax.optimization_barrier(windows(x, 3, 2))


class HalvingConv(nn.Module):
    """`windows(x, 3, 2)` of x [N, H, W, C] -> [N, H / 2, W / 2, C]: a 3x3 conv of stride 2, padded by one.

    As a product of matrices: its weights outweigh its few pixels, and this reads them once, as they are stored.
    """

    numerics: Numerics

    @nn.compact
    def __call__(self, taps: jax.Array) -> jax.Array:
        channels = taps.shape[-1] // 9
        dtype, param_dtype = self.numerics.dtype, jnp.dtype(self.numerics.param_dtype)
        kernel = self.param("kernel", nn.initializers.he_normal(), (3, 3, channels, channels), param_dtype)
        bias = self.param("bias", nn.initializers.zeros, (channels,), param_dtype)
        return taps.astype(dtype) @ kernel.reshape(-1, channels).astype(dtype) + bias.astype(dtype)


class LastLayerEncoder(nn.Module):
    """[N, H, W, 3] in [-1, 1] -> one W code [N, w_dim] relative to the mean w.

    The trunk's mean over space, then an equalised linear layer: PyTorch's `BackboneEncoderUsingLastLayerIntoW`.
    """

    trunk: TrunkConfig
    w_dim: int
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool = False) -> jax.Array:
        (x,) = trunk_features(self.trunk, image, self.trunk.stage_ends[-1:], train=train, numerics=self.numerics)
        return EqualLinear(self.w_dim, self.numerics, name="linear")(jnp.mean(x, (1, 2)))
