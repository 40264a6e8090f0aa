"""The local branch's network: from what a rendering misses of a portrait to features of its pixels (E3DGE, 2023)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from panojax.encoders.offsets import TrigridEncoder
from panojax.nn.ir_se import TrunkConfig
from panojax.nn.layers import Numerics, parameter


class LocalEncoder(nn.Module):
    """[N, R, R, 4] -> features [N, R, R, features], and the layers that turn what a point reads of them into FiLM.

    The features' network is one like the F stage's. The layers are only owned here, {"hidden": {"kernel", "bias"},
    "film": {...}}: they work on points (`fields.local_branch`). The last is zero at first: the branch changes nothing.
    """

    trunk: TrunkConfig
    features: int
    inputs: int
    """Of the first layer."""
    hidden: int
    outputs: int
    """Of the last layer."""
    head_width: int = 96
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> tuple[jax.Array, dict[str, dict[str, jax.Array]]]:
        network = TrigridEncoder(self.trunk, self.features, self.head_width, self.numerics, name="features")
        dtype = self.numerics.param_dtype
        film = Layer(self.hidden, self.outputs, nn.initializers.zeros, dtype, name="film")
        hidden = Layer(self.inputs, self.hidden, nn.initializers.he_normal(), dtype, name="hidden")
        return network(x, train=train), {"hidden": hidden(), "film": film()}


class Layer(nn.Module):
    """The parameters of a linear layer, to be used elsewhere."""

    inputs: int
    outputs: int
    kernel_init: nn.initializers.Initializer
    param_dtype: str

    @nn.compact
    def __call__(self) -> dict[str, jax.Array]:
        dtype = jnp.dtype(self.param_dtype)
        return {
            "kernel": parameter(self, "kernel", self.kernel_init, (self.inputs, self.outputs), dtype),
            "bias": parameter(self, "bias", nn.initializers.zeros, (self.outputs,), dtype),
        }
