"""Attention between two sets of tokens, with PyTorch's names."""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn

from panojax.nn.layers import Numerics, parameter


class CrossAttention(nn.Module):
    """Queries [N, Q, C] that read tokens [N, T, C] -> [N, Q, C]: t = LN(q + attention(q, tokens)); t + ff(t).

    The norm has no parameters. Source: GOAE (Yuan et al. 2023); the attention is `torch.nn.MultiheadAttention`.

    The feed-forward network starts at `start` - t, by the two halves of t = relu(t) - relu(-t), so that before training
    the module gives `start` whatever it reads.
    """

    heads: int = 4
    start: float = 0.0
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(self, queries: jax.Array, tokens: jax.Array) -> jax.Array:
        width = queries.shape[-1]
        t = queries + MultiheadAttention(self.heads, self.numerics, name="multihead_attn")(queries, tokens)
        t = plain_norm(t)
        hidden = nn.relu(linear(2 * width, "linear1", self.numerics, kernel=_both_signs)(t))
        return t + linear(width, "linear2", self.numerics, kernel=_signs_joined, bias=self.start)(hidden)


class MultiheadAttention(nn.Module):
    """`torch.nn.MultiheadAttention` of queries [N, Q, C] over tokens [N, T, C], which are keys and values."""

    heads: int
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(self, queries: jax.Array, tokens: jax.Array) -> jax.Array:
        width, dtype, stored = queries.shape[-1], self.numerics.dtype, jnp.dtype(self.numerics.param_dtype)
        kernel = parameter(self, "in_proj_kernel", nn.initializers.lecun_normal(), (width, 3 * width), stored)
        bias = parameter(self, "in_proj_bias", nn.initializers.zeros, (3 * width,), stored)
        kernels, biases = (jnp.split(x.astype(dtype), 3, axis=-1) for x in (kernel, bias))
        q, k, v = (
            split_heads(x.astype(dtype) @ kernel + bias, self.heads)
            for x, kernel, bias in zip((queries, tokens, tokens), kernels, biases)
        )
        weights = softmax(jnp.einsum("nhqc,nhtc->nhqt", q, k) / math.sqrt(width // self.heads))
        mixed = join_heads(jnp.einsum("nhqt,nhtc->nhqc", weights, v))
        return linear(width, "out_proj", self.numerics)(mixed)


def linear(features: int, name: str, numerics: Numerics, *, kernel=None, bias: float = 0.0, use_bias: bool = True):
    """`torch.nn.Linear` by name; `kernel` and `bias` are an initialiser and a number to start from."""
    return nn.Dense(
        features,
        use_bias=use_bias,
        dtype=jnp.dtype(numerics.dtype),
        param_dtype=jnp.dtype(numerics.param_dtype),
        kernel_init=kernel or nn.initializers.lecun_normal(),
        bias_init=nn.initializers.constant(bias),
        name=name,
    )


def layer_norm(name: str, numerics: Numerics) -> nn.LayerNorm:
    """`torch.nn.LayerNorm` by name, computed in float32."""
    return nn.LayerNorm(
        epsilon=1e-5,
        dtype=jnp.dtype(numerics.dtype),
        param_dtype=jnp.dtype(numerics.param_dtype),
        use_fast_variance=False,
        name=name,
    )


def plain_norm(x: jax.Array) -> jax.Array:
    """x [..., C] to mean 0 and deviation 1 over its channels: `F.layer_norm` without parameters."""
    wide = x.astype(jnp.float32)
    centred = wide - jnp.mean(wide, axis=-1, keepdims=True)
    return (centred * jax.lax.rsqrt(jnp.mean(centred**2, axis=-1, keepdims=True) + 1e-5)).astype(x.dtype)


def softmax(logits: jax.Array) -> jax.Array:
    """Over the last axis, computed in float32."""
    return jax.nn.softmax(logits.astype(jnp.float32), axis=-1).astype(logits.dtype)


def split_heads(x: jax.Array, heads: int) -> jax.Array:
    """[..., T, C] -> [..., heads, T, C / heads]."""
    return jnp.moveaxis(x.reshape(*x.shape[:-1], heads, -1), -2, -3)


def join_heads(x: jax.Array) -> jax.Array:
    """The inverse of `split_heads`."""
    x = jnp.moveaxis(x, -3, -2)
    return x.reshape(*x.shape[:-2], -1)


def _both_signs(key, shape, dtype):
    """[C, 2 C]: t -> (t, -t)."""
    del key
    eye = jnp.eye(shape[0], dtype=dtype)
    return jnp.concatenate([eye, -eye], axis=1)


def _signs_joined(key, shape, dtype):
    """[2 C, C]: (a, b) -> b - a."""
    return -_both_signs(key, shape[::-1], dtype).T
