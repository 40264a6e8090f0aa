"""What training changes, and what it holds fixed.

Parameters and optimiser state are float32 whatever the networks compute in: "bfloat16" in a model's configuration makes
activations and products bfloat16, while batch norms, ray marching, losses and updates stay float32.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from panojax.config import Config
from panojax.inversion.stages import abstract_variables, init_variables
from panojax.losses.perception import Perception
from panojax.nn.layers import Numerics
from panojax.train.encoder.critic import CodeCritic, TriGridCritic
from panojax.train.encoder.step_config import RENDERER, StepConfig
from panojax.train.encoder.tuning import abstract_renderer
from panojax.train.flat import flatten
from panojax.train.ranger import ranger, synced


@struct.dataclass
class Learner:
    """Networks under training.

    Attributes:
      params: {network: parameters} as `Flat`, fast and slow (Ranger's lookahead): gradients are taken at the fast ones.
      batch_stats: {network: running statistics}.
      optimizer: the optimiser's state.
    """

    params: optax.LookaheadParams
    batch_stats: Any
    optimizer: Any

    def variables(self) -> dict[str, Any]:
        """{network: {"params", "batch_stats"}} to evaluate with: the slow parameters."""
        return join(self.params.slow.tree(), self.batch_stats)


@struct.dataclass
class TrainState:
    """One encoder and maybe its critic, after `step` steps."""

    step: jax.Array
    encoder: Learner
    critic: Learner | None = None


@struct.dataclass
class Frozen:
    """The networks that training reads.

    Attributes:
      generator: the generator's variables.
      latent_average: mean style codes [L, w_dim].
      perception: networks of the reconstruction loss.
      occluded: variables of a finished encoder 2, with whose heads the trained encoder's are stitched, or None.
      tuned: {part: parameters} of the generator's parts that learn, as they are in the generator's model; or None.
      config: the generator's and the encoder's, static under `jit`.
    """

    generator: Any
    latent_average: jax.Array
    perception: Perception
    occluded: Any = None
    tuned: Any = None
    config: Config = struct.field(pytree_node=False, kw_only=True)


def init_state(model: Config, config: StepConfig, key: jax.Array, *, encoder: Any = None) -> TrainState:
    """A state at step 0. Not to be jitted.

    Args:
      model: shapes of the generator and of the encoder.
      config: of the steps to come.
      key: draws the networks.
      encoder: variables to start from instead of random ones, as `init_encoder` gives them, maybe with a renderer.
    """
    assert model.encoder is not None
    encoder_key, critic_key = jax.random.split(key)
    if encoder is None:
        encoder = init_variables(model, encoder_key, space=config.space, offsets=config.offsets)
    if config.tune and RENDERER not in encoder:
        begin = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), abstract_renderer(model.generator, config.tune))
        encoder = {**encoder, RENDERER: begin}
    critic = None
    if config.critic != "none":
        network = critic_network(model, config)
        shape = (1, network.w_dim) if isinstance(network, CodeCritic) else (1, 8, 8, network.in_channels)
        critic = _learner(
            {"critic": jax.jit(network.init)(critic_key, jnp.zeros(shape))},
            optimizer(config, config.critic_learning_rate),
        )
    return TrainState(jnp.zeros((), jnp.int32), _learner(encoder, optimizer(config, config.learning_rate)), critic)


def abstract_state(model: Config, config: StepConfig) -> TrainState:
    """What `init_state` gives, as `jax.ShapeDtypeStruct`s: a template to restore into."""
    assert model.encoder is not None
    variables = abstract_variables(model, space=config.space, offsets=config.offsets)
    state: TrainState = jax.eval_shape(
        lambda encoder: init_state(model, config, jax.random.key(0), encoder=encoder), variables
    )
    return state


def optimizer(config: StepConfig, learning_rate: float) -> optax.GradientTransformation:
    """Ranger with the configuration's options."""
    rate: optax.ScalarOrSchedule = learning_rate
    if config.decay_steps:
        parts = optax.constant_schedule(learning_rate), optax.cosine_decay_schedule(learning_rate, config.decay_steps)
        rate = optax.join_schedules(parts, [config.decay_start])
    return ranger(rate, centralized=config.centralized)


def critic_network(model: Config, config: StepConfig) -> TriGridCritic | CodeCritic:
    """The critic's module for tri-grids, pictures or style codes, whichever the configuration says."""
    generator = model.generator
    if config.critic == "codes":
        return CodeCritic(generator.w_dim)
    channels = 3 if config.critic == "image" else generator.field.channels
    numerics = getattr(model.encoder, "numerics", Numerics())
    return TriGridCritic(channels, config.critic_widths, numerics)


def update(learner: Learner, gradients: Any, batch_stats: Any, optimiser: optax.GradientTransformation) -> Learner:
    """The learner after one step of its optimiser."""
    updates, optimizer_state = optimiser.update(gradients, learner.optimizer, learner.params)
    return Learner(optax.apply_updates(learner.params, updates), batch_stats, optimizer_state)


def join(params: Any, batch_stats: Any) -> dict[str, Any]:
    """{network: {"params", "batch_stats"}} from the two apart."""
    return {name: {"params": params[name], "batch_stats": batch_stats[name]} for name in params}


@jax.jit
def all_finite(state: TrainState) -> jax.Array:
    """Whether no number in the state is NaN or infinite: a scalar on the device."""
    # 0 times a number is 0 or NaN. Summed by shape, as a test for each array would compile for ten seconds.
    zeros: dict[tuple[int, ...], jax.Array] = {}
    for x in jax.tree.leaves(state):
        if jnp.issubdtype(x.dtype, jnp.floating):
            zeros[x.shape] = zeros.get(x.shape, 0) + 0 * x
    return jnp.isfinite(sum(map(jnp.sum, zeros.values())))


def _learner(variables, optimiser):
    variables = {name: {"params": {}, "batch_stats": {}, **groups} for name, groups in variables.items()}
    flat = flatten({name: groups["params"] for name, groups in variables.items()})
    params = synced(jax.tree.map(jnp.copy, flat))
    stats = {name: jax.tree.map(jnp.array, groups["batch_stats"]) for name, groups in variables.items()}
    return Learner(params, stats, optimiser.init(params))
