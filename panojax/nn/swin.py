"""Swin Transformer V2 (Liu et al. 2022): attention in windows that shift, from pictures to four maps of tokens.

Source: section 3 of the paper; names and layout of parameters are those of the authors' PyTorch code.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from panojax.errors import InputError
from panojax.kernels import convolution
from panojax.nn.attention import join_heads, layer_norm, linear, softmax, split_heads
from panojax.nn.layers import Numerics, parameter
from panojax.schema import check_budget, check_config

MAX_SCALE = math.log(100.0)  # of the logits, as stored: their logarithm
HIDDEN = 512  # of the network that gives the positions' biases
APART = -100.0  # added to logits between tokens that only a shift brought into one window


@dataclasses.dataclass(frozen=True)
class SwinConfig:
    """Sizes of the network. The defaults are Swin-V2-B for 256 px with windows of 16."""

    patch: int = 4
    """Pixels along the side of a token."""
    width: int = 128
    """Channels of the first stage; each next one has twice as many."""
    depths: tuple[int, int, int, int] = (2, 2, 18, 2)
    """Blocks in each stage."""
    heads: tuple[int, int, int, int] = (4, 8, 16, 32)
    """Attention heads in each stage."""
    window: int = 16
    """Tokens along the side of a window; where the map is no larger, one window of its side."""
    pretrained_windows: tuple[int, int, int, int] = (12, 12, 12, 6)
    """Windows that the positions' biases were first trained with, which scale their coordinates."""
    mlp_ratio: int = 4
    """Hidden width of the blocks' networks, over their width."""
    drop_path: float = 0.2
    """In training, probability that the last block's branches are left out of a sample; of earlier ones less."""

    def __post_init__(self):
        positive = dict.fromkeys(("patch", "width", "depths", "heads", "window", "mlp_ratio"), (1, 2**13))
        check_config(self, positive | {"pretrained_windows": (2, 2**13), "drop_path": (0, 0.99)})
        for heads, width in zip(self.heads, self.widths):
            if width % heads:
                raise InputError(f"heads must divide the stages' widths {self.widths}, got {self.heads}")
        blocks = sum(depth * (4 + 2 * self.mlp_ratio) * width**2 for depth, width in zip(self.depths, self.widths))
        check_budget(depths_x_widths=4 * blocks)

    @property
    def widths(self) -> tuple[int, int, int, int]:
        """Channels of each stage."""
        return tuple(self.width * 2**stage for stage in range(4))  # type: ignore[return-value]

    def sides(self, resolution: int) -> tuple[int, int, int, int]:
        """Tokens along the side of each stage's map, of pictures of that side.

        Raises:
          InputError: they do not divide, or windows do not tile a stage's map.
        """
        if resolution % (8 * self.patch):
            raise InputError(f"resolution must be a multiple of {8 * self.patch}, got {resolution}")
        sides = tuple(resolution // self.patch // 2**stage for stage in range(4))
        if any(side > self.window and side % self.window for side in sides):
            raise InputError(f"windows of {self.window} must tile maps of {sides} tokens a side")
        return sides  # type: ignore[return-value]


class SwinTransformer(nn.Module):
    """Pictures [N, R, R, 3] in [-1, 1] -> tokens [N, T, C] that enter each of the four stages, and the normed output.

    That is, of the released sizes: [N, 4096, 128], [N, 1024, 256], [N, 256, 512], [N, 64, 1024], [N, 64, 1024].
    Training leaves branches out of samples at random, by the key "drop_path".
    """

    config: SwinConfig
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(self, pictures: jax.Array, *, train: bool) -> list[jax.Array]:
        config, sides = self.config, self.config.sides(pictures.shape[1])
        rates = np.linspace(0, config.drop_path, sum(config.depths))
        x = PatchEmbedding(config.patch, config.width, self.numerics, name="patch_embed")(pictures)
        taps, done = [], 0
        for stage, (side, depth) in enumerate(zip(sides, config.depths)):
            taps.append(x)
            for i in range(depth):
                window = min(config.window, side)
                x = Block(
                    side,
                    window,
                    window // 2 if i % 2 and side > window else 0,
                    config.heads[stage],
                    config.pretrained_windows[stage],
                    config.mlp_ratio,
                    float(rates[done + i]),
                    self.numerics,
                    name=f"layers.{stage}.blocks.{i}",
                )(x, train=train)
            done += depth
            if stage < 3:
                x = Merging(side, self.numerics, name=f"layers.{stage}.downsample")(x)
        return [*taps, layer_norm("norm", self.numerics)(x)]


class PatchEmbedding(nn.Module):
    """Pictures [N, R, R, 3] -> tokens [N, (R / patch)^2, width]: a convolution of the patches, then a layer norm."""

    patch: int
    width: int
    numerics: Numerics

    @nn.compact
    def __call__(self, pictures: jax.Array) -> jax.Array:
        n, side, p = len(pictures), pictures.shape[1] // self.patch, self.patch
        patches = pictures.reshape(n, side, p, side, p, -1).transpose(0, 1, 3, 2, 4, 5).reshape(n, side * side, -1)
        x = PatchProjection(self.patch, self.width, self.numerics, name="proj")(patches)
        return layer_norm("norm", self.numerics)(x)


class PatchProjection(nn.Module):
    """A convolution whose stride is its size, of patches [N, T, patch * patch * I] as a product -> [N, T, width]."""

    patch: int
    width: int
    numerics: Numerics

    @nn.compact
    def __call__(self, patches: jax.Array) -> jax.Array:
        dtype, stored = self.numerics.dtype, jnp.dtype(self.numerics.param_dtype)
        shape = (self.patch, self.patch, patches.shape[-1] // self.patch**2, self.width)
        kernel = convolution.as_array(parameter(self, "kernel", nn.initializers.lecun_normal(), shape, stored))
        bias = parameter(self, "bias", nn.initializers.zeros, (self.width,), stored)
        return patches.astype(dtype) @ kernel.reshape(-1, self.width).astype(dtype) + bias.astype(dtype)


class Block(nn.Module):
    """Tokens [N, side^2, C]: x + norm1(attention(x)), then x + norm2(mlp(x))."""

    side: int
    window: int
    shift: int
    heads: int
    pretrained: int
    mlp_ratio: int
    drop_path: float
    numerics: Numerics

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        n, tokens, width = x.shape
        back = jnp.roll(x.reshape(n, self.side, self.side, width), (-self.shift, -self.shift), (1, 2))
        windows = split_windows(back, self.window)
        attend = WindowAttention(self.window, self.heads, self.pretrained, self.numerics, name="attn")
        mask = jnp.asarray(shift_mask(self.side, self.window, self.shift)) if self.shift else None
        mixed = join_windows(attend(windows, mask), self.side)
        mixed = jnp.roll(mixed, (self.shift, self.shift), (1, 2)).reshape(n, tokens, width)
        x = x + self._kept(layer_norm("norm1", self.numerics)(mixed), train)
        hidden = linear(self.mlp_ratio * width, "mlp.fc1", self.numerics)(x)
        hidden = linear(width, "mlp.fc2", self.numerics)(nn.gelu(hidden, approximate=False))
        return x + self._kept(layer_norm("norm2", self.numerics)(hidden), train)

    def _kept(self, branch: jax.Array, train: bool) -> jax.Array:
        """The branch, in training left out of some samples and larger in the others (stochastic depth)."""
        if not train or not self.drop_path or not self.has_rng("drop_path"):
            return branch
        keep = jax.random.bernoulli(self.make_rng("drop_path"), 1 - self.drop_path, (len(branch), 1, 1))
        return branch * (keep / (1 - self.drop_path)).astype(branch.dtype)


class WindowAttention(nn.Module):
    """Windows [N, W, T, C] of tokens -> the same: cosine attention, with a bias by position.

    `mask` [W, T, T] is added to the logits.
    """

    window: int
    heads: int
    pretrained: int
    numerics: Numerics

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array | None) -> jax.Array:
        width, dtype, stored = x.shape[-1], x.dtype, jnp.dtype(self.numerics.param_dtype)
        scale = parameter(self, "logit_scale", nn.initializers.constant(math.log(10.0)), (self.heads,), stored)
        q_bias, v_bias = (
            parameter(self, name, nn.initializers.zeros, (width,), stored).astype(dtype)
            for name in ("q_bias", "v_bias")
        )
        projected = linear(3 * width, "qkv", self.numerics, use_bias=False)(x)
        q, k, v = jnp.split(projected + jnp.concatenate([q_bias, jnp.zeros_like(q_bias), v_bias]), 3, axis=-1)
        q, k, v = (split_heads(part, self.heads) for part in (q, k, v))
        logits = jnp.einsum("nwhqc,nwhtc->nwhqt", unit(q), unit(k)).astype(jnp.float32)
        logits = logits * jnp.exp(jnp.minimum(scale.astype(jnp.float32), MAX_SCALE))[:, None, None]
        logits = logits + self._position_bias()
        if mask is not None:
            logits = logits + mask[:, None]
        mixed = jnp.einsum("nwhqt,nwhtc->nwhqc", softmax(logits).astype(dtype), v)
        return linear(width, "proj", self.numerics)(join_heads(mixed))

    def _position_bias(self) -> jax.Array:
        """[heads, T, T] in float32: a small network of log-spaced distances, at most 16."""
        exact = dataclasses.replace(self.numerics, dtype="float32")
        distances = jnp.asarray(log_distances(self.window, self.pretrained))
        table = nn.relu(linear(HIDDEN, "cpb_mlp.0", exact)(distances))
        table = linear(self.heads, "cpb_mlp.2", exact, use_bias=False)(table)
        bias = table[relative_index(self.window)]
        return 16 * jax.nn.sigmoid(jnp.moveaxis(bias, -1, 0))


class Merging(nn.Module):
    """Tokens [N, side^2, C] -> [N, side^2 / 4, 2 C]: four neighbours joined, a linear layer, a layer norm."""

    side: int
    numerics: Numerics

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        n, _, width = x.shape
        grid = x.reshape(n, self.side // 2, 2, self.side // 2, 2, width)
        # (row, column) within each four: (0, 0), (1, 0), (0, 1), (1, 1).
        joined = grid.transpose(0, 1, 3, 4, 2, 5).reshape(n, -1, 4 * width)
        x = linear(2 * width, "reduction", self.numerics, use_bias=False)(joined)
        return layer_norm("norm", self.numerics)(x)


def unit(x: jax.Array) -> jax.Array:
    """x [..., C] scaled to length 1, or by 1e12 where it is no longer than 1e-12: `F.normalize`.

    There it passes no gradient, which would be 1e12 times too large: tokens of a black background are zeros at first.
    """
    wide = x.astype(jnp.float32)
    short = jnp.sum(wide**2, axis=-1, keepdims=True) <= 1e-24
    wide = jnp.where(short, jax.lax.stop_gradient(wide), wide)
    squared = jnp.where(short, 0.0, jnp.sum(wide**2, axis=-1, keepdims=True))
    return (wide * jax.lax.rsqrt(jnp.maximum(squared, 1e-24))).astype(x.dtype)


def split_windows(x: jax.Array, window: int) -> jax.Array:
    """[N, S, S, C] -> windows [N, (S / window)^2, window^2, C]."""
    n, side, _, width = x.shape
    x = x.reshape(n, side // window, window, side // window, window, width).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(n, (side // window) ** 2, window**2, width)


def join_windows(windows: jax.Array, side: int) -> jax.Array:
    """The inverse of `split_windows`."""
    n, count, tokens, width = windows.shape
    across, window = math.isqrt(count), math.isqrt(tokens)
    x = windows.reshape(n, across, across, window, window, width).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(n, side, side, width)


@functools.lru_cache(maxsize=64)
def shift_mask(side: int, window: int, shift: int) -> np.ndarray:
    """[W, T, T]: 0 between tokens of a window that were neighbours before the shift, -100 between others."""
    edges = np.array([side - window, side - shift])
    region = np.searchsorted(edges, np.arange(side), side="right")
    blocks = (3 * region[:, None] + region).reshape(side // window, window, side // window, window)
    regions = blocks.transpose(0, 2, 1, 3).reshape(-1, window**2)
    return np.where(regions[:, :, None] == regions[:, None, :], 0.0, APART).astype(np.float32)


@functools.lru_cache(maxsize=64)
def log_distances(window: int, pretrained: int) -> np.ndarray:
    """[(2 w - 1)^2, 2]: row and column distances of two tokens in a window, log-spaced."""
    d = np.arange(1 - window, window, dtype=np.float32) / np.float32(pretrained - 1) * 8
    d = np.sign(d) * np.log2(np.abs(d) + 1) / np.log2(8).astype(np.float32)
    return np.stack(np.meshgrid(d, d, indexing="ij"), axis=-1).reshape(-1, 2).astype(np.float32)


@functools.lru_cache(maxsize=64)
def relative_index(window: int) -> np.ndarray:
    """[T, T]: for each query and key of a window, the row of `log_distances` that is their distance."""
    row, column = np.divmod(np.arange(window**2), window)
    down, across = row[:, None] - row + window - 1, column[:, None] - column + window - 1
    return down * (2 * window - 1) + across
