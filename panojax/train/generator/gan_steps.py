"""One step of the generator's training: the generator against the tri-discriminator, then the other way round.

    step = compile_step(Objective(model, DiscriminatorConfig(), GanConfig()), mesh=None)
    state, metrics = step(state, {"image": images, "mask": masks, "camera": labels, "pose": labels}, key, number)

A step is a pure function of its arguments. Its randomness comes from `fold_in(key, state.step)`. The regularisers that
are due at some steps only are updates, and compiled functions, of their own, or a compiled step that has them: a branch
on the device would make the host wait for it at each step.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from panojax.devices.sharding import Mesh, batch_sharding, replicated
from panojax.errors import InputError
from panojax.losses import terms as losses
from panojax.nn.stylegan2 import pool, resize
from panojax.train.generator import schedules
from panojax.train.generator.fakes import make_fakes, make_heads
from panojax.train.generator.gan_config import GanConfig
from panojax.train.generator.gan_losses import (
    blur,
    density_variation,
    gaussian_matrix,
    panohead_matrix,
    r1_penalty,
    translation_penalty,
)
from panojax.train.generator.gan_state import GanState, Objective, discriminator_adam, generator_adam

Batch = Mapping[str, jax.Array]
Metrics = dict[str, jax.Array]
Step = Callable[[GanState, Batch, jax.Array, int], tuple[GanState, Metrics]]


def generator_step(
    state: GanState, batch: Batch, key: jax.Array, *, objective: Objective, density: bool = False
) -> tuple[GanState, Metrics]:
    """One step of the generator, and one of the discriminator.

    Args:
      batch: real pictures {"image": [N, S, S, 3] in [-1, 1], "mask": [N, S, S, 1] in [0, 1], "camera": [N, 25]}, S the
        discriminator's resolution, and "pose": cameras [N, 25] of the heads to be made; maybe "more_poses" [N, 2, 25]:
        those of the heads that the discriminator learns from, and of the density regulariser's, else they are the same.
      key: of the run; the step's own is folded in.
      objective: static.
      density: static; whether `density_step` is due, which lies between the two.

    Returns:
      The next state and scalars {"generator", "discriminator", "real_sign", "fake_sign", ...}.

    Raises:
      InputError: the batch has other shapes.

    Source: PanoHead, on StyleGAN2's training.
    """
    model, config = objective.generator, objective.step
    _check(batch, objective)
    keys = jax.random.split(jax.random.fold_in(key, state.step))
    generator_state, fakes, metrics = _update_generator(state, batch, keys[0], objective)
    state = state.replace(**generator_state)  # type: ignore[attr-defined]
    if density:
        state, more = density_step(state, batch, key, objective=objective)
        metrics |= more
    if config.fresh_fakes:
        batch = {**batch, "pose": _pose(batch, 0)}
        make = functools.partial(make_fakes, model, config, state.generator, images=state.images)
        _, fakes = _in_parts(lambda part, key: (None, make(part["pose"], key=key)), config, batch, keys[1])
    discriminator_state, more = _update_discriminator(state, batch, jax.lax.stop_gradient(fakes), objective)
    state = state.replace(**discriminator_state)  # type: ignore[attr-defined]
    means = {"backbone.mapping": jnp.mean(fakes.w, axis=0)}
    if fakes.translation is not None:
        means["t_mapping"] = jnp.mean(fakes.translation, axis=0)
    return advance(state, state.generator["params"], means, batch["image"].shape[0], config), metrics | more


def density_step(state: GanState, batch: Batch, key: jax.Array, *, objective: Objective) -> tuple[GanState, Metrics]:
    """An update of the generator by `density_interval` times the total variation of its densities.

    Arguments and results are those of `generator_step`, which does this only where it is told to, between its halves,
    as the original's phases lie; the metric is {"density"}.
    """
    model, config, constants = objective.generator, objective.step, state.generator["constants"]
    place_key, head_key = jax.random.split(jax.random.fold_in(jax.random.fold_in(key, state.step), 1))

    def loss(params):
        variables = {"params": params, "constants": constants}
        pose = _pose(batch, 1)
        heads, _ = make_heads(model, config, variables, pose, images=state.images, key=head_key, together=True)
        variation = density_variation(
            model,
            variables,
            heads,
            place_key,
            points=config.density_points,
            distance=config.density_distance,
            half=1.0 if config.density_region == "cube" else model.box_warp / 2,
            noise=schedules.density_noise(state.images, config) if config.density_noise_kimg else None,
        )
        value = config.density_interval * variation
        return config.density_weight * value, {"density": value}

    gradient, metrics = jax.grad(loss, has_aux=True)(state.generator["params"])
    params, moments = _update(generator_adam(config), gradient, state.generator_optimizer, state.generator["params"])
    generator = {**state.generator, "params": params}
    return state.replace(generator=generator, generator_optimizer=moments), metrics  # type: ignore[attr-defined]


def r1_step(state: GanState, batch: Batch, key: jax.Array, *, objective: Objective) -> tuple[GanState, Metrics]:
    """An update of the discriminator by `r1_interval` times R1 on the real pictures.

    Arguments and results are those of `generator_step`, which does not do this; the metrics are {"r1", "r1_mask"}.
    """
    config = objective.step
    show, real = _shown(state, batch, objective)

    def loss(params):
        def of_part(part, key):
            total, terms = r1_penalty(
                lambda image, raw, mask: judge(objective, params, *show(image, raw), mask, part["camera"]),
                part["image"],
                part["raw"],
                part["mask"],
                weight=config.r1_weight,
                mask_weight=config.r1_mask_weight,
            )
            return (total, terms), None

        means, _ = _in_parts(of_part, config, real, key)
        total, terms = jax.tree.map(lambda x: config.r1_interval * x, means)
        return total, terms

    gradient, metrics = jax.grad(loss, has_aux=True)(state.discriminator)
    params, moments = _update(discriminator_adam(config), gradient, state.discriminator_optimizer, state.discriminator)
    return state.replace(discriminator=params, discriminator_optimizer=moments), metrics  # type: ignore[attr-defined]


def compile_step(objective: Objective, mesh: Mesh | None = None) -> Step:
    """`generator_step` and what is due after it, jitted, with the state donated.

    The regularisers are due at every `interval`-th step, from number 0 on; at the others their metrics are 0. Those of
    weight 0 make no update, not even by Adam's moments, as in the original. With a mesh, batches are split over its
    devices.
    """
    config = objective.step
    options: dict[str, Any] = {"donate_argnums": 0}
    if mesh is not None:
        same = replicated(mesh)
        options |= {"in_shardings": (same, batch_sharding(mesh), same), "out_shardings": (same, same)}
    step, with_density, r1 = (
        jax.jit(functools.partial(function, objective=objective), **options)
        for function in (generator_step, functools.partial(generator_step, density=True), r1_step)
    )
    zero = np.float32(0)

    def take(state, batch, key, number):
        due = config.density_weight and number % config.density_interval == 0
        state, metrics = (with_density if due else step)(state, batch, key)
        metrics = {**({"density": zero} if config.density_weight else {}), **metrics, "r1": zero, "r1_mask": zero}
        if (config.r1_weight or config.r1_mask_weight) and number % config.r1_interval == 0:
            state, more = r1(state, batch, key)
            metrics |= more
        return state, metrics

    return take


def judge(objective: Objective, params: Any, image, raw, mask, labels) -> jax.Array:
    """Logits [N] of pictures at the discriminator's resolution, raw pictures and masks, all as it is shown them."""
    network = objective.discriminator.network(objective.generator.c_dim)
    logits: Any = network.apply({"params": params}, image, raw, mask, labels)
    return logits


def _shown(state, batch, objective):
    """How pictures and raw pictures are shown to the discriminator, `show(image, raw, made=False)`; and what is shown
    so of real ones: {"image", "raw", "mask", "camera"}.

    The blur: PanoHead's filters the real pictures for good, so that R1 is taken by the filtered ones, and leaves made
    raw pictures as they are; the even one is part of showing them.
    """
    config, side = objective.step, objective.discriminator.resolution
    rendered = objective.generator.rendering_resolution
    real = {
        "image": batch["image"],
        "raw": resize(batch["image"], rendered),
        "mask": resize(batch["mask"], rendered),
        "camera": batch["camera"],
    }
    if not config.blur_kimg:
        return lambda image, raw, made=False: (pool(image, side), raw), real
    sigma = schedules.blur_sigma(state.images, batch["image"].shape[0], config)
    if config.blur == "even":
        kernels = [gaussian_matrix(size, sigma) for size in (side, rendered)]
        return lambda image, raw, made=False: (blur(pool(image, side), kernels[0]), blur(raw, kernels[1])), real
    kernels = [panohead_matrix(size, sigma, widest=config.blur_sigma) for size in (side, rendered)]
    real |= {"image": blur(real["image"], kernels[0]), "raw": blur(real["raw"], kernels[1])}
    return lambda image, raw, made=False: (blur(pool(image, side), kernels[0]) if made else image, raw), real


def advance(state: GanState, params: Any, means: Mapping[str, jax.Array], size: int, config: GanConfig) -> GanState:
    """The state after a step of the generator to `params`: its running average, what its mappings give on average, and
    both counts.

    Args:
      means: of what the step's mappings gave, by their paths: "backbone.mapping" [w_dim], maybe "t_mapping" [3].
      size: how many pictures the step saw.
    """
    kept = schedules.ema_decay(state.images, size, config)
    averaged = jax.tree.map(lambda a, b: b + kept * (a - b), state.averaged, params)
    constants = dict(state.generator["constants"])
    for path, mean in means.items():
        mapping = constants[path]
        constants[path] = {**mapping, "w_avg": mean + config.w_average_decay * (mapping["w_avg"] - mean)}
    advanced: GanState = state.replace(  # type: ignore[attr-defined]
        step=state.step + 1,
        images=state.images + size,
        generator={"params": params, "constants": constants},
        averaged=averaged,
    )
    return advanced


def _update_generator(state, batch, key, objective):
    """What changes of the state in the generator's half, the heads that were judged, and metrics."""
    model, config = objective.generator, objective.step
    constants = state.generator["constants"]
    show, _ = _shown(state, batch, objective)

    def loss(params, part, key):
        fakes = make_fakes(
            model, config, {"params": params, "constants": constants}, part["pose"], images=state.images, key=key
        )
        shown = show(fakes.image, fakes.raw, made=True)
        logits = judge(objective, state.discriminator, *shown, fakes.mask, part["pose"])
        metrics = {"generator": losses.adversarial(logits)}
        total = metrics["generator"]
        if fakes.translation is not None:
            metrics["translation"] = translation_penalty(fakes.translation)
            total = total + config.adaptation_weight * metrics["translation"]
        return total, (metrics, fakes)

    def gradients(part, key):
        gradient, (metrics, fakes) = jax.grad(loss, has_aux=True)(state.generator["params"], part, key)
        return (gradient, metrics), fakes

    (gradient, metrics), fakes = _in_parts(gradients, config, batch, key)
    params, moments = _update(generator_adam(config), gradient, state.generator_optimizer, state.generator["params"])
    return {"generator": {**state.generator, "params": params}, "generator_optimizer": moments}, fakes, metrics


def _update_discriminator(state, batch, fakes, objective):
    """What changes of the state in the discriminator's half, and metrics."""
    config = objective.step
    show, real = _shown(state, batch, objective)
    fake = {"image": fakes.image, "raw": fakes.raw, "mask": fakes.mask, "camera": batch["pose"]}

    def logits(params, x, made):
        return judge(objective, params, *show(x["image"], x["raw"], made=made), x["mask"], x["camera"])

    def loss(params, part):
        real_logits, fake_logits = logits(params, part["real"], False), logits(params, part["fake"], True)
        total = losses.discriminator(real_logits, fake_logits)
        return total, {
            "discriminator": total,
            "real_sign": jnp.mean(jnp.sign(real_logits)),
            "fake_sign": jnp.mean(jnp.sign(fake_logits)),
        }

    def gradients(part, key):
        return jax.grad(loss, has_aux=True)(state.discriminator, part), None

    both = {"real": real, "fake": fake}
    (gradient, metrics), _ = _in_parts(gradients, config, both, jax.random.key(0))
    params, moments = _update(discriminator_adam(config), gradient, state.discriminator_optimizer, state.discriminator)
    return {"discriminator": params, "discriminator_optimizer": moments}, metrics


def _pose(batch, number):
    """Cameras [N, 25] of the heads of the discriminator's half, 0, or of the density regulariser's, 1."""
    return batch["more_poses"][:, number] if "more_poses" in batch else batch["pose"]


def _update(optimiser, gradient, moments, params):
    updates, moments = optimiser.update(gradient, moments, params)
    return optax.apply_updates(params, updates), moments


def _in_parts(function, config, inputs, key):
    """function(inputs [n, ...], key) -> (means, outputs [n, ...]) on a batch, in the configured number of parts.

    Part i takes samples i, i + parts, ...: each device of a mesh then keeps the samples that it has.
    """
    parts = config.accumulate
    if parts == 1:
        return function(inputs, key)
    split = jax.tree.map(lambda x: jnp.moveaxis(x.reshape(-1, parts, *x.shape[1:]), 1, 0), dict(inputs))
    keys = jax.random.split(key, parts)
    means, _ = jax.eval_shape(function, jax.tree.map(lambda x: x[0], split), keys[0])

    def add(total, part):
        means, outputs = function(*part)
        return jax.tree.map(jnp.add, total, means), outputs

    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), means)
    total, outputs = jax.lax.scan(add, zeros, (split, keys))
    joined = jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1).reshape(-1, *x.shape[2:]), outputs)
    return jax.tree.map(lambda x: x / parts, total), joined


def _check(batch, objective):
    n, side = batch["image"].shape[0], objective.discriminator.resolution
    wanted = {"image": (n, side, side, 3), "mask": (n, side, side, 1), "camera": (n, 25), "pose": (n, 25)}
    wanted |= {"more_poses": (n, 2, 25)} if "more_poses" in batch else {}
    for name, shape in wanted.items():
        if name not in batch or batch[name].shape != shape:
            raise InputError(f"batch must hold {name} {shape}, got {batch[name].shape if name in batch else 'none'}")
    if n % objective.step.accumulate:
        raise InputError(f"the batch must divide into accumulate = {objective.step.accumulate} parts, got {n} samples")
