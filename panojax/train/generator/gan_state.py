"""What the generator's training changes, and how a run takes over the weights of another one.

Parameters, averages and optimisers are float32 whatever the networks compute in.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from flax.traverse_util import flatten_dict, unflatten_dict

from panojax.errors import InputError
from panojax.generators.generator_config import GeneratorConfig
from panojax.params import abstract_generator, count
from panojax.train.generator.discriminator import grow
from panojax.train.generator.gan_config import DiscriminatorConfig, GanConfig
from panojax.train.generator.schedules import lazy_factor

_SYNTHESIS = "backbone.synthesis"


@dataclasses.dataclass(frozen=True)
class Objective:
    """All that is static in a step."""

    generator: GeneratorConfig
    discriminator: DiscriminatorConfig
    step: GanConfig

    def at_rendering(self, resolution: int) -> "Objective":
        """The same with another side of the volume rendering."""
        model = dataclasses.replace(self.generator, rendering_resolution=resolution)
        return dataclasses.replace(self, generator=model)


@struct.dataclass
class GanState:
    """Generator and discriminator after `step` steps of this run and `images` real pictures, those of runs before it
    included.

    Attributes:
      generator: {"params", "constants"}, as `networks.init` makes them.
      averaged: the running average of the generator's parameters. Its constants are the generator's own, and lie there
        alone: a donated state with the same array in two places was miscompiled for CUDA by jaxlib 0.11.2, which wrote
        the second one over parameters of its shape.
      discriminator: parameters.
      generator_optimizer: Adam's moments.
      discriminator_optimizer: likewise.
    """

    step: jax.Array
    images: jax.Array
    generator: Any
    averaged: Any
    discriminator: Any
    generator_optimizer: Any
    discriminator_optimizer: Any

    @property
    def average(self) -> dict[str, Any]:
        """The averaged generator's variables."""
        return {"params": self.averaged, "constants": self.generator["constants"]}


def generator_adam(config: GanConfig) -> optax.GradientTransformation:
    """Adam with betas (0, 0.99), corrected for the density regulariser's updates where there are any."""
    interval = config.density_interval if config.density_weight else None
    return _adam(config.learning_rate, interval, config.generator_wait, config.generator_warmup)


def discriminator_adam(config: GanConfig) -> optax.GradientTransformation:
    """Adam with betas (0, 0.99), corrected for R1's updates."""
    return _adam(config.discriminator_learning_rate, config.r1_interval)


def abstract_weights(objective: Objective) -> dict[str, Any]:
    """{"generator": variables, "discriminator": parameters} as `jax.ShapeDtypeStruct`s."""
    model, judge = objective.generator, objective.discriminator
    side, raw = judge.resolution, model.rendering_resolution
    inputs = [jnp.zeros((1, *shape)) for shape in ((side, side, 3), (raw, raw, 3), (raw, raw, 1), (model.c_dim,))]
    network = judge.network(model.c_dim)
    discriminator = jax.eval_shape(network.init, jax.random.key(0), *inputs)["params"]
    return {"generator": abstract_generator(model), "discriminator": discriminator}


def init_weights(objective: Objective, seed: int = 0) -> dict[str, Any]:
    """Random {"generator": variables, "discriminator": parameters} as NumPy arrays, by the modules' own rule.

    Kernels, constants and noise patterns are normal with the deviation 1 / learning-rate multiplier, style layers'
    biases 1, all others 0. One exception: the camera self-adaptation's last layer is 0, so that cameras begin where the
    data has them. Drawn by NumPy: to compile hundreds of draws would take half a minute.
    """
    rng = np.random.default_rng(seed)

    def fill(path, leaf):
        *layers, name = (str(key.key) for key in path)
        if layers[-2:] == ["t_mapping", f"fc{objective.generator.mapping_layers - 1}"]:
            return np.zeros(leaf.shape, np.float32)
        if name in ("kernel", "const", "noise_const"):
            deviation = np.float32(1 / _lr_multiplier(objective.generator, layers))
            return rng.standard_normal(leaf.shape, np.float32) * deviation
        return np.full(leaf.shape, layers[-1] == "affine", np.float32)

    weights: dict[str, Any] = jax.tree_util.tree_map_with_path(fill, abstract_weights(objective))
    return weights


def init_state(objective: Objective, weights: Mapping[str, Any], *, images: int = 0) -> GanState:
    """A state at step 0 with empty moments. No two of its arrays share memory, so that it may be donated.

    Args:
      weights: {"generator", "discriminator"}, and "average" where it is not the generator.
      images: shown before.
    """
    average = weights.get("average", weights["generator"])
    generator, averaged, discriminator = (
        jax.tree.map(lambda x: jnp.array(x, jnp.float32), tree)
        for tree in (weights["generator"], average["params"], weights["discriminator"])
    )
    return GanState(
        step=jnp.zeros((), jnp.int32),
        images=jnp.asarray(images, jnp.int32),
        generator=generator,
        averaged=averaged,
        discriminator=discriminator,
        generator_optimizer=generator_adam(objective.step).init(generator["params"]),
        discriminator_optimizer=discriminator_adam(objective.step).init(discriminator),
    )


def abstract_state(objective: Objective) -> GanState:
    """What `init_state` gives, as `jax.ShapeDtypeStruct`s: a template to restore into."""
    state: GanState = jax.eval_shape(lambda weights: init_state(objective, weights), abstract_weights(objective))
    return state


def take_over(weights: Mapping[str, Any], earlier: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Weights of a run that goes on from another, maybe smaller one.

    Arrays of the same name and shape are taken; the others keep their own random values. Blocks that the backbone
    gains add nothing to the planes at first: their ToRGB layers start at zero. A discriminator of twice the resolution
    judges at first as the other one did (`discriminator.grow`).

    Args:
      weights: {"generator", "discriminator"}, random.
      earlier: {"generator", "average", "discriminator"} of the other run.

    Returns:
      {"generator", "average", "discriminator"}, and a text that says what was taken and what is new.

    Raises:
      InputError: the generators have nothing in common but names.
    """
    own = {**weights, "average": weights["generator"]}
    own["discriminator"] = grow(own["discriminator"], earlier["discriminator"])
    result, lines = {}, []
    for network in ("generator", "average", "discriminator"):
        mine, other = flatten_dict(own[network]), flatten_dict(earlier[network])
        taken = {path for path, x in mine.items() if path in other and np.shape(other[path]) == np.shape(x)}
        if network == "generator" and not taken:
            raise InputError("start must be a run of a generator of like sizes: no array of it fits this one")
        result[network] = unflatten_dict(
            {path: other[path] if path in taken else _fresh(path, x, other) for path, x in mine.items()}
        )
        new, dropped = mine.keys() - taken, other.keys() - taken
        numbers = sum(count(mine[path]) for path in taken)
        lines.append(
            f"{network}: {len(taken)} arrays ({numbers / 1e6:.2f} million numbers) taken, {len(new)} new"
            f"{_places(new)}, {len(dropped)} dropped{_places(dropped)}"
        )
    return result, "\n".join(lines)


def second_moments(state: GanState) -> dict[str, Any]:
    """Adam's second moments {"generator", "discriminator"}, like the parameters."""
    optimizers = {"generator": state.generator_optimizer, "discriminator": state.discriminator_optimizer}
    return {name: optax.tree_utils.tree_get(optimizer, "nu") for name, optimizer in optimizers.items()}


def adam_steps(state: GanState) -> int:
    """How many updates the generator's Adam has made."""
    return int(optax.tree_utils.tree_get_all_with_path(state.generator_optimizer, "count")[0][1])


def with_moments(state: GanState, moments: Mapping[str, Any]) -> GanState:
    """The state with second moments {"generator", "discriminator"} of an earlier run after its "steps", where names and
    shapes agree.

    New arrays have the mean of the others' moments, so that none of them moves by whole learning rates at once. The
    learning rate's own schedule begins anew.
    """
    taken = {}
    for name, field in (("generator", "generator_optimizer"), ("discriminator", "discriminator_optimizer")):
        optimizer = getattr(state, field)
        mine, other = (flatten_dict(tree) for tree in (optax.tree_utils.tree_get(optimizer, "nu"), moments[name]))
        known = {path for path, x in mine.items() if path in other and np.shape(other[path]) == np.shape(x)}
        middle = float(np.mean([np.mean(other[path]) for path in known])) if known else 0.0
        filled = {
            path: jnp.array(other[path], jnp.float32) if path in known else jnp.full(x.shape, middle, jnp.float32)
            for path, x in mine.items()
        }
        count = jnp.asarray(moments["steps"] if known else 0, jnp.int32)
        taken[field] = optax.tree_utils.tree_set(optimizer, _of_adam, nu=unflatten_dict(filled), count=count)
    return dataclasses.replace(state, **taken)


def _of_adam(path, _):
    """Whether a part of an optimiser's state is Adam's: the learning rate's schedule counts steps, too."""
    return getattr(path[-1], "tuple_name", "") == "ScaleByAdamState"


def _lr_multiplier(model, layers):
    """Of a layer, by its path."""
    if layers[-1].startswith("fc") and layers[-2] in ("backbone.mapping", "mapping"):
        return model.mapping_lr_multiplier if layers[-2] == "backbone.mapping" else 0.01
    return model.decoder_lr_multiplier if "decoder" in layers else 1.0


def _fresh(path, array, other):
    """A new array; zeros in a ToRGB layer of a block that the other backbone lacks."""
    collection, network, *names = path if path[0] in ("params", "constants") else ("params", *path)
    block = (collection, network, names[0]) if names else ()
    known = any(p[:3] == block for p in other)
    if network == _SYNTHESIS and "torgb" in names and "affine" not in names and not known:
        return jnp.zeros_like(array)
    return array


def _places(paths):
    """The blocks that arrays lie in, for people."""
    blocks = sorted({"/".join(p for p in path[:-1] if p not in ("params", "constants"))[:40] for path in paths})
    if not blocks:
        return ""
    return f" ({', '.join(blocks[:8])}{', ...' if len(blocks) > 8 else ''})"


def _adam(learning_rate, interval, wait=0, warmup=0):
    factor = 1.0 if interval is None else lazy_factor(interval)
    rate: Any = learning_rate * factor
    if warmup:
        rate = optax.linear_schedule(0.0, rate, warmup, wait)
    elif wait:
        rate = optax.join_schedules([optax.constant_schedule(0.0), optax.constant_schedule(rate)], [wait])
    return optax.adam(rate, b1=0.0, b2=0.99**factor, eps=1e-8)
