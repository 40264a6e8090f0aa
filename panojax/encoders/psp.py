"""Encoders of a portrait into style codes: pSp's W+ pyramid (Richardson et al., 2021) and its single-code ablation."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from panojax.encoders.styles import StyleHead
from panojax.kernels.style_heads import apply_heads
from panojax.nn.ir_se import TrunkConfig, trunk_features
from panojax.nn.layers import EqualLinear, Numerics, conv, resize_bilinear

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
        counts = _COARSE, _MIDDLE, max(self.n_styles - _COARSE - _MIDDLE, 0)
        depths = [x.shape[1].bit_length() - 1 for x, n in zip((coarse, middle, fine), counts) for _ in range(n)]
        depths = depths[: self.n_styles]
        heads = [StyleHead(k, width, self.w_dim, numerics, name=f"styles.{i}")() for i, k in enumerate(depths)]
        codes = apply_heads(heads, [fine, middle, coarse], numerics.dtype)
        if self.deltas:
            codes = [codes[0], *(codes[0] + delta for delta in codes[1:])]
        return jnp.stack(codes, axis=1)


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
