"""GOAE's two networks: from a portrait to style codes, and from what their rendering misses to another feature map.

Source: GOAE (Yuan et al. 2023), section 3; names of parameters are those of the authors' PyTorch code.
"""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn

from panojax.kernels import convolution
from panojax.kernels.activations import lrelu
from panojax.nn.attention import CrossAttention, linear, plain_norm
from panojax.nn.ir_se import Bottleneck
from panojax.nn.layers import BatchNorm, Numerics, PReLU, conv, parameter
from panojax.nn.swin import SwinConfig, SwinTransformer

GROUPS = (1, 3, 3)
"""Codes of the base, and of those after it that coarse and mid tokens change; fine ones change the rest."""
NAMES = ("coarse", "mid", "fine")


class CodeEncoder(nn.Module):
    """Portraits [N, R, R, 3] -> style codes [N, L, w_dim] relative to the mean.

    All codes are a base, to which coarse, mid and fine queries add what they read in Swin's maps: codes 1 to 3, 4 to 6,
    and the rest. Before training they add nothing.
    """

    swin: SwinConfig
    codes: int
    w_dim: int
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(self, portraits: jax.Array, *, train: bool) -> jax.Array:
        fine, mid, coarse, query, last = SwinTransformer(self.swin, self.numerics, name="swin_model")(
            portraits, train=train
        )
        query, last = (jnp.swapaxes(x, 1, 2) for x in (query, last))  # tokens last: they are mixed
        base = self._mixed(last, 1, "base_spatial", "base_channel")
        keys = self._keys(coarse, mid, fine)
        counts = (*GROUPS[1:], self.codes - sum(GROUPS))
        added = [jnp.zeros_like(base)]
        for name, count, tokens in zip(NAMES, counts, keys):
            queries = self._mixed(query, count, f"query_spatial_{name}", f"query_channel_{name}")
            added.append(CrossAttention(start=0.0, numerics=self.numerics, name=f"cross_att_{name}")(queries, tokens))
        return base + jnp.concatenate(added, axis=1)

    def _mixed(self, x: jax.Array, count: int, spatial: str, channel: str) -> jax.Array:
        """Maps [N, C, T] -> [N, count, w_dim]: a network over tokens plus their maximum, then one over channels."""
        mixed = self._mlp(x, count, f"mapper_{spatial}") + greatest(x)
        return self._mlp(jnp.swapaxes(mixed, 1, 2), self.w_dim, f"mapper_{channel}")

    def _mlp(self, x: jax.Array, features: int, name: str) -> jax.Array:
        hidden = leaky(linear(x.shape[-1], f"{name}.0", self.numerics)(x))
        return linear(features, f"{name}.2", self.numerics)(hidden)

    def _keys(self, coarse: jax.Array, mid: jax.Array, fine: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Tokens [N, T, w_dim] of each map; those of finer ones get what the coarser ones say."""
        coarse = self._layers(coarse, "mapper_coarse_channel", self.w_dim)
        mid = self._layers(mid, "mapper_mid_channel", self.w_dim) + self._spread(coarse, "mapper_coarse_to_mid_spatial")
        fine = self._layers(fine, "mapper_fine_channel", 2 * self.swin.width, self.w_dim)
        return coarse, mid, fine + self._spread(mid, "mapper_mid_to_fine_spatial")

    def _spread(self, x: jax.Array, name: str) -> jax.Array:
        """Tokens [N, T, C] -> [N, 4 T, C]."""
        count = x.shape[1]
        return jnp.swapaxes(self._layers(jnp.swapaxes(x, 1, 2), name, 2 * count, 4 * count), 1, 2)

    def _layers(self, x: jax.Array, name: str, *widths: int) -> jax.Array:
        for i, width in enumerate(widths):
            x = leaky(linear(width, f"{name}.{2 * i}", self.numerics)(x))
        return x


class FeatureAdapter(nn.Module):
    """AFA: feature maps [N, r, r, C] of the backbone -> gamma * features + beta, for what a rendering misses.

    `difference` [N, S, S, 3] is the rendering minus the portrait, in this order. gamma and beta [N, r, r, C] are what
    the features' tokens read in those of the difference, [N, (S / 8)^2, C]. Before training they are 1 and 0.
    """

    widths: tuple[int, int, int] = (64, 128, 256)
    depth: int = 3
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(
        self, features: jax.Array, difference: jax.Array, *, train: bool
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """The new features, gamma and beta."""
        n, _, _, channels = features.shape
        x = conv(self.widths[0], 3, numerics=self.numerics, name="input_layer.0")(difference)
        x = BatchNorm(self.numerics, name="input_layer.1")(x, train=train)
        x = PReLU(self.numerics, name="input_layer.2")(x)
        scale = (3 * self.depth) ** -0.5
        for i in range(3 * self.depth):
            width, stride = self.widths[i // self.depth], 1 if i % self.depth else 2
            x = Bottleneck(width, stride, True, self.numerics, scale, name=f"body.{i}")(x, train=train)
        x = lrelu(EqualConv(channels, self.numerics, name="output_layer.0")(x))
        x = EqualConv(channels, self.numerics, name="output_layer.2")(x)
        tokens = plain_norm(x.reshape(n, -1, channels))
        queries = plain_norm(features.reshape(n, -1, channels).astype(tokens.dtype))
        gamma, beta = (
            CrossAttention(start=start, numerics=self.numerics, name=f"cross_att_{name}")(queries, tokens)
            .astype(features.dtype)
            .reshape(features.shape)
            for name, start in (("gamma", 1.0), ("beta", 0.0))
        )
        return gamma * features + beta, gamma, beta


class EqualConv(nn.Module):
    """A 3 x 3 convolution with equalised learning rate: the stored kernel, N(0, 1), is divided by sqrt(fan in)."""

    features: int
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        dtype, stored = self.numerics.dtype, jnp.dtype(self.numerics.param_dtype)
        shape = (3, 3, x.shape[-1], self.features)
        kernel = parameter(self, "kernel", nn.initializers.normal(1.0), shape, stored)
        bias = parameter(self, "bias", nn.initializers.zeros, (self.features,), stored)
        kernel = (convolution.as_array(kernel) / math.sqrt(9 * x.shape[-1])).astype(dtype)
        return convolution.correlate(x.astype(dtype), kernel) + bias.astype(dtype)


def greatest(x: jax.Array) -> jax.Array:
    """The maximum over the last axis, which stays with size 1; its gradient goes to the first place that has it.

    `jnp.max` asks for its gradient which places equal the maximum. Where XLA computes x again for that, and rounds it
    otherwise, none does, and the gradient is 0 / 0.
    """
    return jnp.take_along_axis(x, jnp.argmax(x, axis=-1, keepdims=True), axis=-1)


def leaky(x: jax.Array) -> jax.Array:
    """Leaky ReLU with slope 0.01, PyTorch's default."""
    return nn.leaky_relu(x, 0.01)
