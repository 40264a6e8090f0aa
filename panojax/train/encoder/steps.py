"""Training steps of one encoder: alone (encoder 1), and against a critic (encoder 2).

    step = compile_step(StepConfig(critic="trigrid-occluded"), mesh=None)
    state, metrics = step(state, frozen, {"image": images, "camera": labels}, key)

A step is a pure function of its arguments. Its randomness comes from `fold_in(key, state.step)`, so the same key serves
a whole run, and a run that was restored goes on as if it had not been stopped.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from panojax import camera as cameras
from panojax.devices.sharding import Mesh, batch_sharding, replicated, traced_over
from panojax.encoders.encoder import encode_local, encode_offsets
from panojax.errors import InputError
from panojax.fields.local_branch import make_branch
from panojax.generators import generator
from panojax.generators.generator import Head, View
from panojax.inversion.pipeline import (
    head_occlusion,
    local_input,
    offset_planes,
    render_heads,
    residual_input,
    stitch,
    view_occlusion,
)
from panojax.inversion.spaces import GROUPS, draw_latents, map_latents, predict_styles
from panojax.losses import terms as losses
from panojax.nn.stylegan2 import pool
from panojax.render.renderer import draw_uniforms
from panojax.train.encoder.proxy import code_distance, proxy_terms
from panojax.train.encoder.state import Frozen, TrainState, critic_network, join, optimizer, update
from panojax.train.encoder.step_config import StepConfig

Metrics = dict[str, jax.Array]
Step = Callable[[TrainState, Frozen, Mapping[str, jax.Array], jax.Array], tuple[TrainState, Metrics]]


@struct.dataclass
class Encoded:
    """What an encoder made of portraits.

    Attributes:
      heads: with planes [N, *field.shape], codes [N, L, w_dim] and, where the encoder has one, the local branch.
      styled: the W+ stage's picture at the encoder's resolution [N, R, R, 3], or None without an F stage.
      batch_stats: {network: running statistics} as updated, or None.
    """

    heads: Head
    styled: jax.Array | None
    batch_stats: Any


def encoder_step(
    state: TrainState, frozen: Frozen, batch: Mapping[str, jax.Array], key: jax.Array, *, config: StepConfig
) -> tuple[TrainState, Metrics]:
    """One step without a critic: 0.8 LPIPS + 1.0 L2 + 0.5 (1 - cos) of the final picture at the portrait's camera.

    Args:
      state: parameters, statistics, optimiser.
      frozen: generator, mean codes, loss networks.
      batch: {"image": [N, S, S, 3] in [-1, 1], "camera": labels [N, 25]}; where pictures are augmented, "input": what
        the encoder sees, like "image"; where its last K samples are proxies, "proxy": what else `draw_proxies` gives;
        where its first K have another view, "other": that one's "image" and "camera".
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
    encoded = encode(frozen, variables, pictures, batch["camera"], config=config, train=False)
    view = render_heads(frozen.config.generator, frozen.generator, encoded.heads, batch["camera"])
    total, terms = _reconstruction(frozen, view.image, target, config)
    return {"loss": total, **terms}


def encode(
    frozen: Frozen,
    variables: Any,
    pictures: jax.Array,
    labels: jax.Array,
    *,
    config: StepConfig,
    train: bool,
    released: jax.Array | None = None,
) -> Encoded:
    """The heads that one encoder sees in portraits [N, R, R, 3] at its resolution, from labels [N, 25].

    The F stage's input, the W+ stage's rendering and what it misses, passes no gradient to the W+ stage; nor does the
    local branch's, the rendering of both, to either. `released` is how many style codes are their own so far, or None
    for all: see `release_codes`. With `frozen.occluded` the local branch sees, and joins, the stitched heads.
    """
    model = frozen.config
    encoder = model.encoder
    assert encoder is not None
    keep = _checkpointed(config)
    train_others = train and config.learn == "all"
    stats = {name: network["batch_stats"] for name, network in variables.items()}

    @keep
    def synthesize(ws):
        return generator.synthesize(model.generator, frozen.generator, ws)

    ws, updated = _styles(frozen, variables, pictures, config, train=train_others, released=released)
    stats["psp_encoder"] = updated or stats["psp_encoder"]
    planes = synthesize(ws)

    def finished(heads, styled):
        if frozen.occluded is not None:
            heads = stitched(frozen, heads, _occluded(frozen, pictures, labels, config), labels)
        if encoder.local_features:
            heads, stats["local_encoder"] = _localized(frozen, variables, heads, pictures, labels, config, train)
        return Encoded(heads, styled, stats if train else None)

    if not config.offsets:
        return finished(Head(planes, ws), None)
    stage = Head(planes, ws)
    if not config.style_weight:
        stage = jax.lax.stop_gradient(stage)
    inputs = keep(lambda heads: residual_input(model, frozen.generator, heads, pictures, labels))(stage)
    styled, inputs = inputs[..., :3], jax.lax.stop_gradient(inputs)
    seen = None
    if encoder.planes_channels:
        seen = model.generator.field.to_image(jax.lax.stop_gradient(planes))
        seen = pool(seen.astype(jnp.float32), encoder.resolution)

    @keep
    def offsets(encoder_variables, inputs, seen):
        output = encode_offsets(encoder, encoder_variables, inputs, seen, train=train_others)
        return output if train_others else (output, None)

    offset, updated = offsets(variables, inputs, seen)
    stats["triplanenet_encoder"] = updated or stats["triplanenet_encoder"]
    planes = planes + offset_planes(model.generator, offset).astype(planes.dtype)
    return finished(Head(planes, ws), styled)


def _styles(frozen, variables, pictures, config, *, train, released):
    """The W+ stage: style codes and its statistics as updated."""

    @_checkpointed(config)
    def styles(encoder_variables, pictures):
        return predict_styles(
            frozen.config,
            frozen.generator,
            encoder_variables,
            frozen.latent_average,
            pictures,
            space=config.space,
            train=train,
            released=released,
        )

    return styles(variables, pictures)


def stitched(frozen: Frozen, visible: Head, occluded: Head, labels: jax.Array) -> Head:
    """The dual encoder's heads: `visible` where its own depth from labels [N, 25] is seen, else `occluded`."""
    mask = head_occlusion(frozen.config.generator, frozen.generator, visible, labels)
    return stitch(frozen.config.generator.field, visible, occluded, mask)


def _occluded(frozen, pictures, labels, config):
    """The heads of the finished encoder 2, without a local branch."""
    model = frozen.config
    model = dataclasses.replace(model, encoder=dataclasses.replace(model.encoder, local_features=0))
    alone = dataclasses.replace(frozen, occluded=None, config=model)
    return encode(alone, frozen.occluded, pictures, labels, config=config, train=False).heads


def _localized(frozen, variables, heads, pictures, labels, config, train):
    """Heads with the local branch's features of their portraits, and the statistics of its network."""
    model = frozen.config
    inputs, view = local_input(model, frozen.generator, heads, pictures, labels)

    @_checkpointed(config)
    def features(encoder_variables, inputs):
        output = encode_local(model.encoder, encoder_variables, inputs, train=train)
        return output if train else (*output, None)

    read, fusion, stats = features(variables, inputs)
    return dataclasses.replace(heads, local=make_branch(read, view, labels, fusion)), stats


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
    adversary, field = state.critic is not None, frozen.config.generator.field
    ray_keys, latent_keys, camera_keys = jnp.moveaxis(jax.vmap(lambda key: jax.random.split(key, 3))(keys), 1, 0)
    pictures, target = _pictures(frozen, batch, config)
    labels = batch["camera"]
    novel = _cameras_around(frozen, camera_keys) if config.critic == "image" else None

    def judged(heads, hidden):
        """What the critic sees of heads."""
        if config.critic == "image":
            image = _checkpointed(config)(
                lambda heads: render_heads(frozen.config.generator, frozen.generator, heads, novel).image
            )(heads)
            return pool(image, config.loss_resolution)
        if config.critic == "codes":
            return heads.ws.reshape(-1, heads.ws.shape[-1])
        return field.critic_image(heads.planes, hidden)

    train = not config.freeze_batch_norm
    released = _released(state.step, config) if frozen.config.encoder.deltas else None

    def codes_loss(params):
        variables = join(params, stats[0])
        ws, updated = _styles(frozen, variables, pictures, config, train=train, released=released)
        loss = config.proxy.code * code_distance(ws, batch["proxy"])
        metrics = {"loss": loss, "proxy/code": loss / config.proxy.code}
        return loss, (stats[0] | {"psp_encoder": updated} if train else stats[0], metrics, None, None)

    def encoder_loss(params):
        if config.learn == "local":
            params = jax.lax.stop_gradient(params) | {GROUPS[2]: params[GROUPS[2]]}
        variables = join(params, stats[0])
        encoded = encode(frozen, variables, pictures, labels, config=config, train=train, released=released)
        view = _render(frozen, encoded.heads, labels, ray_keys, config)
        total, metrics = _reconstruction(frozen, view.image, target, config)
        if config.style_weight:
            styled, styled_terms = _reconstruction(frozen, encoded.styled, target, config)
            total = total + config.style_weight * styled
            metrics |= {f"styled/{name}": value for name, value in styled_terms.items()}
        if config.delta_weight:
            metrics["deltas"] = jnp.mean(losses.code_deltas(encoded.heads.ws))
            total = total + config.delta_weight * metrics["deltas"]
        if config.view_weight and "other" in batch:
            count = len(batch["other"]["camera"])
            first = jax.tree.map(lambda x: x[:count], encoded.heads)
            metrics["other"] = _other_view(frozen, first, batch["other"], config)
            total = total + config.view_weight * metrics["other"]
        if "proxy" in batch:
            extra, proxy_metrics = _proxy_loss(frozen, encoded.heads, view, batch["proxy"], config)
            total, metrics = total + extra, metrics | proxy_metrics
        fake = hidden = None
        if adversary:
            hidden = _hidden(frozen, encoded.heads, view, labels, config)
            fake = judged(encoded.heads, hidden)
            logits, _ = _judge(frozen, state.critic.params.fast.tree(), stats[1], fake, config)
            metrics["adversarial"] = losses.adversarial(logits)
            total = total + config.adversarial_weight * metrics["adversarial"]
        metrics["loss"] = total
        return total, (encoded.batch_stats if train else stats[0], metrics, fake, hidden)

    gradients, (encoder_stats, metrics, fake, hidden) = jax.grad(
        encoder_loss if config.rendered else codes_loss, has_aux=True
    )(state.encoder.params.fast.tree())
    if not adversary:
        return (gradients, None), (encoder_stats, None), metrics
    fake = jax.lax.stop_gradient(fake)
    real = jax.lax.stop_gradient(judged(_draw_heads(frozen, latent_keys), hidden))

    def critic_loss(params):
        real_logits, critic_stats = _judge(frozen, params, stats[1], real, config)
        fake_logits, critic_stats = _judge(frozen, params, critic_stats, fake, config)
        total = losses.critic(real_logits, fake_logits)
        metrics = {
            "critic/loss": total,
            "critic/real": jnp.mean(real_logits),
            "critic/fake": jnp.mean(fake_logits),
            "critic/hidden": jnp.mean(hidden),
        }

        def penalty():
            # With the running statistics, so that a sample's gradient is its own; they are constants, as in PyTorch.
            variables = join(params, jax.lax.stop_gradient(critic_stats))["critic"]
            network = critic_network(frozen.config, config)
            return jnp.mean(losses.r1(lambda x: network.apply(variables, x), real))

        squared = losses.every(state.step, config.r1_interval, penalty)
        metrics["critic/r1"] = squared
        return total + 0.5 * config.r1_weight * squared, (critic_stats, metrics)

    critic_gradients, (critic_stats, more) = jax.grad(critic_loss, has_aux=True)(state.critic.params.fast.tree())
    return (gradients, critic_gradients), (encoder_stats, critic_stats), metrics | more


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

    @_checkpointed(config)
    def render(heads):
        rendered = generator.render_volume(model, frozen.generator, heads, labels, uniforms)
        return generator.finish(model, frozen.generator, rendered, heads)

    return render(heads)


def _reconstruction(frozen, image, target, config):
    """Eq. 5 of pictures pooled to the target's resolution."""
    perception = frozen.perception
    return losses.encoder_loss(
        pool(image.astype(jnp.float32), target.shape[1]),
        target,
        lpips=perception.distance,
        embed=perception.embed,
        weights=config.weights,
    )


def _proxy_loss(frozen, heads, view, proxies, config):
    """The weighted losses of the batch's last samples, and the terms by name."""
    model, weights = frozen.config.generator, config.proxy
    count = proxies["ws"].shape[0]
    last = jax.tree.map(lambda x: x[-count:], heads)
    terms = proxy_terms(model, frozen.generator, last, view.depth[-count:], proxies)
    if "other_image" in proxies:
        other = {"image": proxies["other_image"], "camera": proxies["other_camera"]}
        terms["view"] = _other_view(frozen, last, other, config)
    total = sum(getattr(weights, name) * value for name, value in terms.items())
    return total, {f"proxy/{name}": value for name, value in terms.items()}


def _other_view(frozen, heads, other, config):
    """Eq. 5 of heads seen from the cameras of other views, {"image": [N, S, S, 3], "camera": [N, 25]}."""
    image = render_heads(frozen.config.generator, frozen.generator, heads, other["camera"]).image
    target = pool(other["image"].astype(jnp.float32), config.loss_resolution)
    return _reconstruction(frozen, image, target, config)[0]


def _hidden(frozen, heads, view, labels, config):
    """What the critic is shown of planes [N, *field.cells]: 1 where the portrait does not see, or everywhere."""
    if config.critic != "trigrid-occluded":
        return jnp.ones(heads.planes.shape[:-1])
    depth, weight = jax.lax.stop_gradient((view.depth, view.weight))
    occlusion = functools.partial(view_occlusion, frozen.config.generator, threshold=config.mask_threshold)
    return jax.vmap(occlusion)(depth, weight, labels)


def _draw_heads(frozen: Frozen, keys) -> Head:
    """Heads of latents drawn for each layer by keys [N]: what the critic takes for real."""
    model = frozen.config.generator
    ws = map_latents(model, frozen.generator, draw_latents(model, keys))
    return Head(generator.synthesize(model, frozen.generator, ws), ws)


def _released(step, config):
    """How many style codes are their own at a step, where they come one by one (e4e's progressive training)."""
    return 1 + jnp.maximum(step - config.delta_start + config.delta_interval, 0) // config.delta_interval


def _cameras_around(frozen, keys):
    """Cameras [N, 25] anywhere on the horizontal circle around the head, drawn by keys [N]."""
    model = frozen.config.generator
    yaws = jax.vmap(lambda key: jax.random.uniform(key, minval=-jnp.pi, maxval=jnp.pi))(keys)
    return cameras.look_at(yaws, radius=model.camera_radius, pivot=model.camera_pivot)


def _judge(frozen, params, batch_stats, x, config):
    """The critic's logits [N] by the batch's own statistics (or the running ones), and the running ones after it."""
    network = critic_network(frozen.config, config)
    variables = join(params, batch_stats)["critic"]
    if config.freeze_batch_norm:
        return network.apply(variables, x), batch_stats
    apply = _checkpointed(config)(lambda *inputs: network.apply(*inputs, train=True, mutable=["batch_stats"]))
    logits, updated = apply(variables, x)
    return logits, {"critic": updated.get("batch_stats", {})}


def _checkpointed(config):
    """`jax.checkpoint` where the configuration recomputes, else nothing."""
    return jax.checkpoint if config.recompute else lambda function: function
