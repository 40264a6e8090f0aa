"""What an encoder is trained for: named losses with weights, each a function of what was rendered. The seam for losses.

A loss of your own is a function of `Rendered` and a line of a preset:

    def silhouette(rendered):
        return jnp.mean(jnp.square(rendered.view.mask - pool(rendered.batch["mask"], rendered.view.mask.shape[1])))

    StepConfig(losses=(("silhouette", 0.1, silhouette),))
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from panojax.generators.generator import Head, View, render_heads, view_occlusion
from panojax.losses import terms
from panojax.nn.stylegan2 import pool
from panojax.train.encoder.proxy import proxy_terms
from panojax.train.encoder.state import Frozen, critic_network, join
from panojax.train.encoder.step_config import StepConfig

Loss = Callable[["Rendered"], jax.Array]
BESIDE_SIDE = 8  # squares along a plane whose means the critic "trigrid-beside" sees


@dataclasses.dataclass(frozen=True)
class Rendered:
    """What an encoder made of a batch of N portraits, and all that it may be compared with.

    Properties are computed when a loss first asks for them, once.
    """

    frozen: Frozen
    """Generator and loss networks."""
    config: StepConfig
    """Of the step."""
    batch: Mapping[str, Any]
    """See `steps.encoder_step`."""
    heads: Head
    """[N]."""
    view: View
    """Of the heads from the portraits' cameras, at the generator's resolution."""
    target: jax.Array
    """The portraits [N, R, R, 3] in [-1, 1], R = config.loss_resolution."""
    styled: jax.Array | None = None
    """The picture of the style codes alone, at the encoder's resolution; None without an F stage."""
    critic: tuple[Any, Any] | None = None
    """Parameters and statistics of the critic."""
    cameras: jax.Array | None = None
    """Labels [N, 25] all around, for the critic of pictures."""

    @functools.cached_property
    def image(self) -> jax.Array:
        """The view's picture, as large as `target`."""
        return pool(self.view.image.astype(jnp.float32), self.target.shape[1])

    @functools.cached_property
    def hidden(self) -> jax.Array:
        """Where the critic looks, [N, *field.cells]: 1 where the portrait does not see, or everywhere. A constant."""
        if self.config.critic not in ("trigrid-occluded", "trigrid-beside"):
            return jnp.ones(self.heads.planes.shape[:-1])
        depth, weight = jax.lax.stop_gradient((self.view.depth, self.view.weight))
        occlusion = functools.partial(
            view_occlusion, self.frozen.config.generator, threshold=self.config.mask_threshold
        )
        return jax.vmap(occlusion)(depth, weight, self.batch["camera"])

    @functools.cached_property
    def shown(self) -> jax.Array:
        """What the critic is shown of the heads."""
        return shown_to_critic(self.frozen, self.config, self.heads, self.hidden, self.cameras)

    @functools.cached_property
    def proxies(self) -> dict[str, jax.Array]:
        """Losses of the batch's last samples, of which more is known: see `proxy.proxy_terms`."""
        known = self.batch["proxy"]
        last, depth = self.last(len(known["ws"])), self.view.depth[-len(known["ws"]) :]
        return proxy_terms(self.frozen.config.generator, self.frozen.generator, last, depth, known)

    def first(self, count: int) -> Head:
        """The first heads."""
        return jax.tree.map(lambda x: x[:count], self.heads)

    def last(self, count: int) -> Head:
        """The last heads."""
        return jax.tree.map(lambda x: x[-count:], self.heads)


def objective(config: StepConfig, batch: Mapping[str, Any]) -> dict[str, tuple[float, Loss]]:
    """{name: (weight, loss)} of a step on a batch that holds what `batch` holds. Losses give scalars, or one a sample.

    Source: dual-encoder inversion, Eq. 5 and 6; TriPlaneNet ("styled"), e4e ("deltas"), E3DGE ("proxy").
    """
    losses = picture_losses(config)
    if config.style_weight:
        losses |= {
            f"styled/{name}": (config.style_weight * weight, functools.partial(_of_styled, loss))
            for name, (weight, loss) in losses.items()
        }
    if config.delta_weight:
        losses["deltas"] = config.delta_weight, code_deltas
    if config.view_weight and "other" in batch:
        losses["other"] = config.view_weight, other_view
    if "proxy" in batch:
        losses |= {
            f"proxy/{name}": (getattr(config.proxy, name), functools.partial(_proxy, name))
            for name in known_of_proxies(batch["proxy"])
        }
        if "other_image" in batch["proxy"]:
            losses["proxy/view"] = config.proxy.view, proxy_view
    if config.critic != "none":
        losses["adversarial"] = config.adversarial_weight, adversarial
    return losses | {name: (weight, loss) for name, weight, loss in config.losses}


def picture_losses(config: StepConfig) -> dict[str, tuple[float, Loss]]:
    """Eq. 5's part of `objective`: what compares the picture of `Rendered` with its target, one a sample."""
    losses: dict[str, tuple[float, Loss]] = {
        "lpips": (config.weights.lpips, lpips),
        "l2": (config.weights.l2, l2),
        "id": (config.weights.identity, identity),
    }
    return losses | ({"colour": (config.weights.colour, colours)} if config.weights.colour else {})


def evaluate_objective(
    losses: Mapping[str, tuple[float, Loss]], rendered: Rendered
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The weighted sum, and the losses' unweighted means by name."""
    metrics = {name: jnp.mean(loss(rendered)) for name, (_, loss) in losses.items()}
    total = sum((weight * metrics[name] for name, (weight, _) in losses.items()), jnp.zeros(()))
    return total, metrics


def lpips(rendered: Rendered) -> jax.Array:
    """Perceptual distance of the picture [N]."""
    return rendered.frozen.perception.distance(rendered.image, rendered.target)


def l2(rendered: Rendered) -> jax.Array:
    """Mean squared error of the picture [N]."""
    return terms.l2(rendered.image, rendered.target)


def identity(rendered: Rendered) -> jax.Array:
    """1 - cos of the faces' embeddings [N]; 0 where the camera sees none, see `StepConfig.identity_yaw`."""
    embed, limit = rendered.frozen.perception.embed, rendered.config.identity_yaw
    # The target's embedding is a constant to what is trained, and so is cheaper without a gradient.
    apart = terms.identity(embed(rendered.image), jax.lax.stop_gradient(embed(rendered.target)))
    if limit >= 180:
        return apart
    x, z = rendered.batch["camera"][:, 3], rendered.batch["camera"][:, 11]
    return jnp.where(jnp.abs(jnp.arctan2(x, z)) <= jnp.radians(limit), apart, 0.0)


def colours(rendered: Rendered) -> jax.Array:
    """Difference of the coarse colours [N]."""
    return terms.colours(rendered.image, rendered.target)


def code_deltas(rendered: Rendered) -> jax.Array:
    """Distances of the style codes from the first one [N]."""
    return terms.code_deltas(rendered.heads.ws)


def other_view(rendered: Rendered) -> jax.Array:
    """Eq. 5 at another true view, of the first heads, times its "weight" where it has one [K]."""
    other = rendered.batch["other"]
    apart = _at_other_view(rendered, rendered.first(len(other["camera"])), other["image"], other["camera"])
    return other.get("weight", 1.0) * apart


def proxy_view(rendered: Rendered) -> jax.Array:
    """Eq. 5 at another view of the generator's samples, the last heads."""
    known = rendered.batch["proxy"]
    heads = rendered.last(len(known["ws"]))
    return _at_other_view(rendered, heads, known["other_image"], known["other_camera"])


def adversarial(rendered: Rendered) -> jax.Array:
    """softplus(-D(O T_enc)): the critic's part in the encoder's loss."""
    assert rendered.critic is not None
    logits, _ = critic_logits(rendered.frozen, rendered.config, *rendered.critic, rendered.shown)
    return terms.adversarial(logits)


def reconstruction(
    frozen: Frozen, config: StepConfig, image: jax.Array, target: jax.Array
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Eq. 5 of pictures [N, S, S, 3], pooled to the target's resolution: the sum, and {"lpips", "l2", "id"}."""
    pooled = pool(image.astype(jnp.float32), target.shape[1])
    perception = frozen.perception
    options: Any = {"lpips": perception.distance, "embed": perception.embed, "weights": config.weights}
    return terms.encoder_loss(pooled, target, **options)


def known_of_proxies(proxies: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the terms of `proxy_terms` that samples allow."""
    names = ("code", *(("density", "feature") if "xyz" in proxies else ()), *(("depth",) if "depth" in proxies else ()))
    return names


def shown_to_critic(frozen: Frozen, config: StepConfig, heads: Head, hidden: jax.Array, cameras: Any) -> jax.Array:
    """What the critic sees of heads [N]: pictures from cameras [N, 25], style codes [N L, w_dim], or hidden planes."""
    model = frozen.config.generator
    if config.critic == "image":
        render = checkpointed(config)(lambda heads: render_heads(model, frozen.generator, heads, cameras).image)
        return pool(render(heads), config.loss_resolution)
    if config.critic == "codes":
        return heads.ws.reshape(-1, heads.ws.shape[-1])
    shown = model.field.critic_image(heads.planes, hidden)
    return shown + _coarsely_seen(model.field, heads.planes, hidden) if config.critic == "trigrid-beside" else shown


def _coarsely_seen(field, planes, hidden):
    """What the portrait sees of planes as means over squares, a constant; 0 where it sees nothing. Finer detail would
    tell encoded planes from synthesised ones by what encoder 2 cannot change."""
    seen, share = (field.critic_image(jax.lax.stop_gradient(x), 1 - hidden) for x in (planes, jnp.ones_like(planes)))
    side = seen.shape[1]
    squares = math.gcd(side, BESIDE_SIDE)
    means = pool(seen.astype(jnp.float32), squares) / jnp.maximum(pool(share.astype(jnp.float32), squares), 1e-3)
    for axis in (1, 2):
        means = jnp.repeat(means, side // squares, axis)
    return (share * means).astype(planes.dtype)


def critic_logits(
    frozen: Frozen, config: StepConfig, params: Any, batch_stats: Any, x: jax.Array
) -> tuple[jax.Array, Any]:
    """The critic's logits [N] by the batch's own statistics (or the running ones), and the running ones after it."""
    network: Any = critic_network(frozen.config, config)
    variables = join(params, batch_stats)["critic"]
    if config.freeze_batch_norm:
        return network.apply(variables, x), batch_stats
    apply = checkpointed(config)(lambda *inputs: network.apply(*inputs, train=True, mutable=["batch_stats"]))
    logits, updated = apply(variables, x)
    return logits, {"critic": updated.get("batch_stats", {})}


def checkpointed(config: StepConfig) -> Callable[..., Any]:
    """`jax.checkpoint` where the configuration recomputes, else nothing."""
    return jax.checkpoint if config.recompute else lambda function: function


def _of_styled(loss, rendered):
    view = dataclasses.replace(rendered.view, image=rendered.styled)
    return loss(dataclasses.replace(rendered, view=view))


def _proxy(name, rendered):
    return rendered.proxies[name]


def _at_other_view(rendered, heads, image, cameras):
    """Eq. 5 of heads [K] from cameras [K, 25] against pictures [K, S, S, 3]: [K]."""
    frozen, config = rendered.frozen, rendered.config
    view = render_heads(frozen.config.generator, frozen.generator, heads, cameras)
    target = pool(image.astype(jnp.float32), config.loss_resolution)
    other = Rendered(frozen, config, {"camera": cameras}, heads, view, target)
    return sum((weight * loss(other) for weight, loss in picture_losses(config).values()), jnp.zeros(len(cameras)))
