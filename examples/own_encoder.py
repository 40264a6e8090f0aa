"""An encoder of your own: a frozen configuration, its stages, and a Flax network. Nothing in the package changes.

config = panojax.Config(generator_config, encoder=PlainEncoder(), encoders=1)
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from panojax.encoders.stage import Context, Estimate, Stage
from panojax.inversion.stages import heads_of_codes


class Network(nn.Module):
    """Portraits [N, R, R, 3] -> what is added to the mean style codes, [N, L, w_dim]."""

    codes: int
    w_dim: int
    width: int

    @nn.compact
    def __call__(self, pictures: jax.Array, *, train: bool) -> jax.Array:
        x = pictures
        for i in range(3):
            x = nn.Conv(self.width * 2**i, (3, 3), strides=(2, 2))(x)
            x = nn.relu(nn.BatchNorm(use_running_average=not train)(x))
        x = nn.Dense(self.codes * self.w_dim, kernel_init=nn.initializers.zeros)(jnp.mean(x, axis=(1, 2)))
        return x.reshape(-1, self.codes, self.w_dim)


@dataclasses.dataclass(frozen=True)
class PlainEncoder:
    """Its configuration: hashable, and without arrays."""

    resolution: int = 32
    width: int = 16

    @property
    def stages(self) -> tuple[Stage, ...]:
        """One stage. More of them, the package's own among them, run in this order."""
        return (PlainCodes(self.width),)


@dataclasses.dataclass(frozen=True)
class PlainCodes(Stage):
    """The portrait's style codes, and the heads that the generator makes of them."""

    width: int
    name: str = "plain_codes"

    def network(self, model: Any) -> Network:
        return Network(model.generator.num_ws, model.generator.w_dim, self.width)

    def init(self, model: Any, key: jax.Array) -> Any:
        return self.network(model).init(key, jnp.zeros((1, 32, 32, 3)), train=True)

    def apply(self, context: Context, variables: Any, estimate: Estimate, *, train: bool) -> tuple[Estimate, Any]:
        network = self.network(context.model)

        def codes(variables, pictures):
            return network.apply(variables, pictures, train=train, mutable=["batch_stats"] if train else [])

        codes, updated = context.each(codes, variables, context.pictures)
        return Estimate(heads_of_codes(context, codes + context.average)), updated.get("batch_stats")
