"""Stages: the steps from portraits to heads, each with a network of its own. The seam for encoders.

An encoder is a list of stages. A stage takes what is known of the heads so far and returns it improved. Inference and
training run the same stages by `run`; training takes gradients around it.
"""

import abc
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import jax
from flax import struct

from panojax.arrays import AnyArray, Float
from panojax.generators import generator
from panojax.kernels.stacked import on_each

if TYPE_CHECKING:
    from panojax.config import Config


@struct.dataclass
class Context:
    """What every stage may read. K encoders may work on N portraits each, all as one batch of K N.

    Attributes:
      generator: the generator's variables.
      average: mean style codes [L, w_dim].
      pictures: portraits [K N, R, R, 3] in [-1, 1], at the encoders' resolution.
      labels: their cameras [K N, 25].
      released: in training, how many style codes are their own so far (`release_codes`); None is all.
      model: configuration of generator and encoder.
      count: K.
      recompute: whether training keeps no activations of networks and renderings for the backward pass.
      styled_gradient: whether `Estimate.styled` passes a gradient to the first stage.
      key: in training, for networks that draw at random; None: they do not.
    """

    generator: Any
    average: Float[AnyArray, "L w_dim"] | None
    pictures: Float[AnyArray, "KN R R 3"]
    labels: Float[AnyArray, "KN 25"]
    released: jax.Array | None = None
    key: jax.Array | None = None
    model: "Config" = struct.field(pytree_node=False, kw_only=True)
    count: int = struct.field(pytree_node=False, default=1)
    recompute: bool = struct.field(pytree_node=False, default=False)
    styled_gradient: bool = struct.field(pytree_node=False, default=False)

    def each(self, network: Callable[..., Any], variables: Any, *data: jax.Array) -> Any:
        """`network(variables, *data)` with data [K N, ...], for K > 1 of each encoder's variables and its N rows.

        Args:
          variables: of one encoder, or of K, stacked along a leading axis.

        Returns:
          What `network` does: arrays [K N, ...].
        """
        network = self.keep(network)
        if self.count == 1:
            return network(variables, *data)
        rows = [x.reshape(self.count, -1, *x.shape[1:]) for x in data]
        results = on_each(network, self.count, variables, *rows)
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), results)

    def keep(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`jax.checkpoint` of a function where training recomputes."""
        return jax.checkpoint(function) if self.recompute else function


@struct.dataclass
class Estimate:
    """What is known of the heads.

    Attributes:
      heads: [K N] of them; None before the first stage.
      styled: the picture that style codes alone give, at the encoders' resolution [K N, R, R, 3], or None.
      generator: variables of a generator that was tuned to the portraits, or None.
    """

    heads: Any = None
    styled: Float[AnyArray, "KN R R 3"] | None = None
    generator: Any = None


class Stage(abc.ABC):
    """One step. Subclasses are frozen dataclasses: static configuration, no arrays."""

    joined: bool = False
    """Whether the stage works on the heads that were stitched of all encoders', not on each encoder's own."""

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """Of its network among the encoder's variables."""

    @abc.abstractmethod
    def init(self, model: "Config", key: jax.Array) -> Mapping[str, Any]:
        """Its network's variables {"params": ..., "batch_stats": ...}, the latter where it has any."""

    @abc.abstractmethod
    def apply(self, context: Context, variables: Any, estimate: Estimate, *, train: bool) -> tuple[Estimate, Any]:
        """The estimate after this stage.

        Args:
          variables: as `init` gives them, K stacked where `context.count` is K > 1.
          estimate: after the stages before.
          train: whether the network learns: batch norms use the batch.

        Returns:
          The new estimate, and in training the network's `batch_stats` as updated (else anything).
        """


@runtime_checkable
class OwnEncoder(Protocol):
    """An encoder of your own, as `Config(generator, encoder=...)` takes it: frozen and hashable, without arrays.

    `goae.GoaeEncoder` is one that the package has.
    """

    @property
    def resolution(self) -> int:
        """Side of the portraits that its stages see."""

    @property
    def stages(self) -> Sequence[Stage]:
        """In their order; the first one makes heads."""


def heads_of_codes(context: Context, ws: jax.Array) -> generator.Head:
    """Heads [N] that the generator makes of style codes [N, L, w_dim]."""

    def make(ws):
        model, variables = context.model.generator, context.generator
        return generator.make_heads(model, variables, generator.synthesize(model, variables, ws), ws)

    return context.keep(make)(ws)


def run(
    stages: Sequence[Stage],
    context: Context,
    variables: Mapping[str, Any],
    estimate: Estimate | None = None,
    *,
    train: Collection[str] = (),
) -> tuple[Estimate, dict[str, Any]]:
    """Runs stages in turn.

    Args:
      variables: {stage's name: its network's}.
      estimate: what is known before; None is nothing.
      train: names of the stages that learn.

    Returns:
      The estimate after the last stage, and {name: batch_stats as updated} of those that learn.
    """
    estimate, stats = estimate or Estimate(), {}
    for stage in stages:
        learns = stage.name in train
        estimate, updated = stage.apply(context, variables[stage.name], estimate, train=learns)
        if learns:
            stats[stage.name] = updated
    return estimate, stats


def initialise(stages: Sequence[Stage], model: "Config", key: jax.Array) -> dict[str, Any]:
    """Variables {stage's name: {"params", "batch_stats"}} of an encoder."""
    keys = jax.random.split(key, len(stages))
    return {stage.name: {"batch_stats": {}, **stage.init(model, key)} for stage, key in zip(stages, keys)}
