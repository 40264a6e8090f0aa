"""Training steps of one encoder: alone (encoder 1), and against a critic (encoder 2).

    step = compile_step(StepConfig(critic="trigrid-occluded"), mesh=None)
    state, metrics = step(state, frozen, {"image": images, "camera": labels}, key)

A step is a pure function of its arguments. Its randomness comes from `fold_in(key, state.step)`, so the same key serves
a whole run, and a run that was restored goes on as if it had not been stopped.
"""

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from panojax import camera as cameras
from panojax.devices.sharding import Mesh, batch_sharding, replicated, traced_over
from panojax.encoders.encoder_config import EncoderConfig
from panojax.encoders.stage import Context, Estimate, run
from panojax.errors import InputError
from panojax.generators import generator
from panojax.generators.generator import Head, View, head_occlusion, render_heads
from panojax.inversion.pipeline import reconstruct, stitch
from panojax.inversion.spaces import draw_latents, map_latents
from panojax.inversion.stages import stages_of
from panojax.losses import terms
from panojax.nn.stylegan2 import pool
from panojax.render.renderer import draw_uniforms
from panojax.train.encoder.objective import (
    Rendered,
    checkpointed,
    critic_logits,
    evaluate_objective,
    objective,
    reconstruction,
    shown_to_critic,
)
from panojax.train.encoder.proxy import code_distance
from panojax.train.encoder.state import Frozen, TrainState, critic_network, join, optimizer, update
from panojax.train.encoder.step_config import RENDERER, StepConfig
from panojax.train.encoder.tuning import tuned

LOCAL = "local_encoder"  # what learns alone where `StepConfig.learn` is "local"

Metrics = dict[str, jax.Array]
Step = Callable[[TrainState, Frozen, Mapping[str, jax.Array], jax.Array], tuple[TrainState, Metrics]]


def encoder_step(
    state: TrainState, frozen: Frozen, batch: Mapping[str, jax.Array], key: jax.Array, *, config: StepConfig
) -> tuple[TrainState, Metrics]:
    """One step without a critic: 0.8 LPIPS + 1.0 L2 + 0.5 (1 - cos) of the final picture at the portrait's camera.

    Args:
      state: parameters, statistics, optimiser.
      frozen: generator, mean codes, loss networks.
      batch: {"image": [N, S, S, 3] in [-1, 1], "camera": labels [N, 25]}; where pictures are augmented, "input": what
        the encoder sees, like "image"; where its last K samples are proxies, "proxy": what else `draw_proxies` gives;
        where its first K have another view, "other": that one's "image", "camera" and maybe "weight" [K].
      key: of the run; the step's own is folded in.
      config: static.

    Returns:
      The next state and scalars {"loss", "l2", "lpips", "id", ...}, all on the device.

    Source: dual-encoder inversion, Eq. 2 and 5.
    """
    if config.critic != "none":
        raise InputError(f'encoder_step has no critic, got config.critic {config.critic!r}: use "adversarial_step"')
    return _step(state, frozen, batch, key, config)


def adversarial_step(
    state: TrainState, frozen: Frozen, batch: Mapping[str, jax.Array], key: jax.Array, *, config: StepConfig
) -> tuple[TrainState, Metrics]:
    """One step of an encoder and of its critic, both from the same heads, so that neither sees the other's update.

    The encoder's loss gains 0.001 softplus(-D(O T_enc)). The critic's is 0.5 (softplus(-D(O T_synth)) + softplus(D(O
    T_enc))), and R1 on T_synth at every 16th step, where T_synth comes from latents drawn for each layer (z+) and O is
    what the encoder's own rendering leaves unseen, without a gradient, on both. Arguments and results are those of
    `encoder_step`, with more metrics.

    Source: dual-encoder inversion, Eq. 6 to 9, with the sign of a game.
    """
    if config.critic == "none" or state.critic is None:
        raise InputError("adversarial_step needs a critic in config and state: init_state with the same config")
    return _step(state, frozen, batch, key, config)


def compile_step(config: StepConfig, mesh: Mesh | None = None) -> Step:
    """The step that `config` asks for, jitted, with its state donated.

    With a mesh, batches are split over its devices and the state is the same on all of them; batch norms see the whole
    batch.
    """
    step = functools.partial(encoder_step if config.critic == "none" else adversarial_step, config=config)
    if mesh is None:
        return jax.jit(step, donate_argnums=0)
    same = replicated(mesh)
    return jax.jit(
        traced_over(mesh, step),
        donate_argnums=0,
        in_shardings=(same, same, batch_sharding(mesh), same),
        out_shardings=(same, same),
    )


@functools.partial(jax.jit, static_argnames="config")
def evaluate(frozen: Frozen, variables: Any, batch: Mapping[str, jax.Array], *, config: StepConfig) -> Metrics:
    """{"loss", "l2", "lpips", "id"} of an encoder on a batch, with its running statistics and midpoint sampling.

    Args:
      variables: `Learner.variables()`.
    """
    pictures, target = _pictures(frozen, batch, config)
    frozen = tuned(frozen, variables.get(RENDERER, {}).get("params"), config)
    heads = encode(frozen, variables, pictures, batch["camera"], config=config)[0].heads
    view = render_heads(frozen.config.generator, frozen.generator, heads, batch["camera"])
    total, losses = reconstruction(frozen, config, view.image, target)
    return {"loss": total, **losses}


def encode(
    frozen: Frozen,
    variables: Any,
    pictures: jax.Array,
    labels: jax.Array,
    *,
    config: StepConfig,
    train: Collection[str] = (),
    released: jax.Array | None = None,
    key: jax.Array | None = None,
) -> tuple[Estimate, dict[str, Any]]:
    """What one encoder sees in portraits [N, R, R, 3] at its resolution, from labels [N, 25].

    With `frozen.occluded` the joined stages see, and join, the stitched heads.

    Args:
      variables: {stage's name: {"params", "batch_stats"}}.
      train: names of the stages that learn.
      released: how many style codes are their own so far, or None for all: see `release_codes`.
      key: for networks that draw at random where they learn.

    Returns:
      The estimate, and {name: batch_stats as updated} of the stages that learn.
    """
    context = _context(frozen, pictures, labels, config, released, key)
    estimate, _, stats = reconstruct(context, stages(frozen, config), variables, occluded=frozen.occluded, train=train)
    return estimate, stats


def stages(frozen: Frozen, config: StepConfig) -> tuple[Any, ...]:
    """The stages that a step trains or uses: those up to the last one that learns."""
    found = stages_of(frozen.config.encoder, space=config.space, offsets=config.offsets)
    names = [stage.name for stage in found]
    return found[: names.index(learners(config, names)[-1]) + 1]


def learners(config: StepConfig, names: Sequence[str]) -> list[str]:
    """Which of an encoder's stages learn.

    Raises:
      InputError: `config.learn` is none of them.
    """
    if config.learn == "all":
        return list(names)
    wanted = LOCAL if config.learn == "local" else config.learn
    if wanted not in names:
        raise InputError(
            f"learn must be all, local or a stage of the encoder, {', '.join(names)}, got {config.learn!r}"
        )
    return [wanted]


def stitched(frozen: Frozen, visible: Head, occluded: Head, labels: jax.Array) -> Head:
    """The dual encoder's heads: `visible` where its own depth from labels [N, 25] is seen, else `occluded`."""
    mask = head_occlusion(frozen.config.generator, frozen.generator, visible, labels)
    return stitch(frozen.config.generator.field, visible, occluded, mask)


def _context(frozen, pictures, labels, config, released=None, key=None):
    """What stages read in training. The later stages' inputs pass no gradient to the first one, but by its picture."""
    return Context(
        frozen.generator,
        frozen.latent_average,
        pictures,
        labels,
        released,
        key,
        model=frozen.config,
        recompute=config.recompute,
        styled_gradient=bool(config.style_weight),
    )


def _step(state, frozen, batch, key, config):
    """Gradients of the batch, part by part, and one update of each learner."""
    size = batch["image"].shape[0]
    sizes = {x.shape[0] for x in jax.tree.leaves(dict(batch))}
    if any(n % config.accumulate for n in sizes):
        raise InputError(f"the batch must divide into accumulate = {config.accumulate} parts, got {size} samples")
    keys = jax.random.split(jax.random.fold_in(key, state.step), size)
    inputs = dict(batch), keys
    stats = state.encoder.batch_stats, state.critic and state.critic.batch_stats
    if config.accumulate == 1:
        gradients, stats, metrics = _gradients(state, stats, frozen, *inputs, config)
    else:
        # Part i takes samples i, i + accumulate, ...: each device of a mesh then keeps the samples that it has.
        parts = jax.tree.map(
            lambda x: jnp.moveaxis(x.reshape(-1, config.accumulate, *x.shape[1:]), 1, 0),
            inputs,
        )

        def part(stats, inputs):
            gradients, stats, metrics = _gradients(state, stats, frozen, *inputs, config)
            return stats, (gradients, metrics)

        first, rest = jax.tree.map(lambda x: x[0], parts), jax.tree.map(lambda x: x[1:], parts)
        stats, total = part(stats, first)

        def add(carry, inputs):
            stats, total = carry
            stats, more = part(stats, inputs)
            return (stats, jax.tree.map(jnp.add, total, more)), None

        (stats, total), _ = jax.lax.scan(add, (stats, total), rest)
        gradients, metrics = jax.tree.map(lambda x: x / config.accumulate, total)
    encoder = update(state.encoder, gradients[0], stats[0], optimizer(config, config.learning_rate))
    critic = state.critic
    if critic is not None:
        critic = update(critic, gradients[1], stats[1], optimizer(config, config.critic_learning_rate))
    return TrainState(state.step + 1, encoder, critic), metrics


def _gradients(state, stats, frozen, batch, keys, config):
    """(encoder's, critic's) gradients, both statistics, and metrics for one part of a batch with a key a sample."""
    ray_keys, latent_keys, camera_keys = jnp.moveaxis(jax.vmap(lambda key: jax.random.split(key, 3))(keys), 1, 0)
    around = _cameras_around(frozen, camera_keys) if config.critic == "image" else None
    critic = None if state.critic is None else (state.critic.params.fast.tree(), stats[1])
    if config.rendered:
        loss = functools.partial(_encoder_loss, critic=critic, around=around, ray_keys=ray_keys)
    else:
        loss = _codes_loss
    loss = functools.partial(loss, stats=stats[0], step=state.step, frozen=frozen, batch=batch, config=config)
    gradients, (encoder_stats, metrics, rendered) = jax.grad(loss, has_aux=True)(state.encoder.params.fast.tree())
    if critic is None:
        return (gradients, None), (encoder_stats, None), metrics
    fake, hidden = jax.lax.stop_gradient(rendered)
    drawn = _draw_heads(frozen, latent_keys, config.critic_space)
    real = jax.lax.stop_gradient(shown_to_critic(frozen, config, drawn, hidden, around))
    loss = functools.partial(_critic_loss, stats=stats[1], step=state.step, frozen=frozen, config=config)
    critic_gradients, (critic_stats, more) = jax.grad(loss, has_aux=True)(critic[0], real, fake)
    more["critic/hidden"] = jnp.mean(hidden)
    return (gradients, critic_gradients), (encoder_stats, critic_stats), metrics | more


def _encoder_loss(params, *, stats, step, frozen, batch, config, critic, around, ray_keys):
    """The objective's total; statistics as updated, metrics, and what the critic is shown of the heads and where."""
    learning = learners(config, [stage.name for stage in stages(frozen, config)])
    if config.tune:
        learning.append(RENDERER)
    params = {name: tree if name in learning else jax.lax.stop_gradient(tree) for name, tree in params.items()}
    pictures, target = _pictures(frozen, batch, config)
    train = () if config.freeze_batch_norm else learning
    options = {"config": config, "train": train, "released": _released(frozen, step, config)}
    options["key"] = jax.random.fold_in(ray_keys[0], 1)
    # What stages see of their own head is a constant: the renderer learns by the pictures that are compared.
    before = tuned(frozen, jax.lax.stop_gradient(params.get(RENDERER)), config)
    estimate, updated = encode(before, join(params, stats), pictures, batch["camera"], **options)
    frozen = tuned(frozen, params.get(RENDERER), config)
    view = _render(frozen, estimate.heads, batch["camera"], ray_keys, config)
    rendered = Rendered(
        frozen, config, batch, estimate.heads, view, target, estimate.styled, critic=critic, cameras=around
    )
    total, metrics = evaluate_objective(objective(config, batch), rendered)
    shown = None if critic is None else (rendered.shown, rendered.hidden)
    return total, (stats | updated, metrics | {"loss": total}, shown)


def _codes_loss(params, *, stats, step, frozen, batch, config):
    """The distance of the first stage's style codes from the samples' own, without a rendering."""
    first = stages(frozen, config)[:1]
    pictures, _ = _pictures(frozen, batch, config)
    context = _context(frozen, pictures, batch["camera"], config, _released(frozen, step, config))
    train = () if config.freeze_batch_norm else (first[0].name,)
    estimate, updated = run(first, context, join(params, stats), train=train)
    distance = code_distance(estimate.heads.ws, batch["proxy"])
    loss = config.proxy.code * distance
    return loss, (stats | updated, {"loss": loss, "proxy/code": distance}, None)


def _critic_loss(params, real, fake, *, stats, step, frozen, config):
    """The critic's loss on what it is shown of synthesised and of encoded heads, and the lazy R1 penalty."""
    real_logits, stats = critic_logits(frozen, config, params, stats, real)
    fake_logits, stats = critic_logits(frozen, config, params, stats, fake)
    total = terms.critic(real_logits, fake_logits)

    def penalty():
        # With the running statistics, so that a sample's gradient is its own; they are constants, as in PyTorch.
        variables = join(params, jax.lax.stop_gradient(stats))["critic"]
        network = critic_network(frozen.config, config)
        return jnp.mean(terms.r1(lambda x: network.apply(variables, x), real))

    squared = terms.every(step, config.r1_interval, penalty)
    metrics = {
        "critic/loss": total,
        "critic/real": jnp.mean(real_logits),
        "critic/fake": jnp.mean(fake_logits),
        "critic/r1": squared,
    }
    return total + 0.5 * config.r1_weight * squared, (stats, metrics)


def _pictures(frozen, batch, config):
    """What the encoder sees, "input" or else "image", at its resolution, and the portraits at the loss's."""
    image = batch["image"]
    encoder = frozen.config.encoder
    side = min(image.shape[1:3])
    if image.ndim != 4 or image.shape[-1] != 3 or batch["camera"].shape != (image.shape[0], 25):
        raise InputError(
            f"batch must hold image [N, S, S, 3] and camera [N, 25], got {image.shape} and {batch['camera'].shape}"
        )
    if side < max(config.loss_resolution, encoder.resolution):
        raise InputError(
            f"pictures must have {max(config.loss_resolution, encoder.resolution)} pixels a side, as the loss or the "
            f"encoder does, got {side}"
        )
    seen, image = batch.get("input", image).astype(jnp.float32), image.astype(jnp.float32)
    return pool(seen, encoder.resolution), pool(image, config.loss_resolution)


def _render(frozen: Frozen, heads: Head, labels, keys, config: StepConfig) -> View:
    """The final pictures: with samples along the rays drawn by keys [N], or at the middles."""
    model = frozen.config.generator
    rays = model.rendering_resolution**2
    if config.jitter:
        uniforms = jax.vmap(lambda key: draw_uniforms(key, (rays,), model))(keys)
    else:
        uniforms = draw_uniforms(None, (labels.shape[0], rays), model)

    @checkpointed(config)
    def render(heads):
        rendered = generator.render_volume(model, frozen.generator, heads, labels, uniforms)
        return generator.finish(model, frozen.generator, rendered, heads)

    return render(heads)


def _draw_heads(frozen: Frozen, keys, space: str) -> Head:
    """Heads of latents drawn by keys [N], for each layer or for all: what the critic takes for real."""
    model = frozen.config.generator
    ws = map_latents(model, frozen.generator, draw_latents(model, keys, space=space))
    return Head(generator.synthesize(model, frozen.generator, ws), ws)


def _released(frozen, step, config):
    """How many style codes are their own at a step, where they learn and come one after the other (e4e, GOAE)."""
    encoder = frozen.config.encoder
    names = [stage.name for stage in stages(frozen, config)]
    if names[0] not in learners(config, names):
        return None
    if config.release:
        first, codes = jnp.int32(1), [(jnp.int32(start), jnp.int32(count)) for start, count in config.release]
        return functools.reduce(lambda now, pair: jnp.where(step >= pair[0], pair[1], now), codes, first)
    if not isinstance(encoder, EncoderConfig) or not encoder.deltas:
        return None
    return 1 + jnp.maximum(step - config.delta_start + config.delta_interval, 0) // config.delta_interval


def _cameras_around(frozen, keys):
    """Cameras [N, 25] anywhere on the horizontal circle around the head, drawn by keys [N]."""
    model = frozen.config.generator
    yaws = jax.vmap(lambda key: jax.random.uniform(key, minval=-jnp.pi, maxval=jnp.pi))(keys)
    return cameras.look_at(yaws, radius=model.camera_radius, pivot=model.camera_pivot)
