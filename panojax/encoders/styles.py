"""The parameters of pSp's style heads, which `kernels.style_heads` applies."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from panojax.nn.layers import Numerics, parameter


class StyleHead(nn.Module):
    """The parameters of one head, under PyTorch's names: {"convs.0", "convs.2", ..., "linear": {"kernel", "bias"}}.

    A head of `depth` 3x3 convs of stride 2, padded by one, with leaky ReLU, and an equalised linear layer.
    """

    depth: int
    width: int
    w_dim: int
    numerics: Numerics

    @nn.compact
    def __call__(self) -> dict[str, Any]:
        def layer(name: str, initializer: Any, *shape: int):
            return _Layer(shape, initializer, self.numerics.param_dtype, name=name)()

        shape, normal = (3, 3, self.width, self.width), nn.initializers.he_normal()
        layers = {name: layer(name, normal, *shape) for name in (f"convs.{2 * i}" for i in range(self.depth))}
        return layers | {"linear": layer("linear", nn.initializers.normal(1.0), self.width, self.w_dim)}


class _Layer(nn.Module):
    shape: tuple[int, ...]
    initializer: Any
    param_dtype: str

    @nn.compact
    def __call__(self):
        dtype = jnp.dtype(self.param_dtype)
        return {
            "kernel": parameter(self, "kernel", self.initializer, self.shape, dtype),
            "bias": parameter(self, "bias", nn.initializers.zeros, self.shape[-1:], dtype),
        }
