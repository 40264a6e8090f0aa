"""Inversion by optimisation: style codes (W+), and then the generator around them (PTI).

    head = invert_wplus(params, image, camera, perception=load_perception("vgg", "none"))
    tuned, head = invert_pti(params, image, camera, perception=...)
    view = panojax.render(tuned, head, other_camera)

Sources: StyleGAN2's projector as EG3D and PanoHead use it (PanoHead, section 4.4); pivotal tuning (Roich et al. 2022).
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from panojax.camera import front
from panojax.config import Config
from panojax.encoders.stage import Context, Estimate, Stage
from panojax.errors import InputError
from panojax.generators import generator, networks
from panojax.generators.generator import Head, render_heads
from panojax.generators.generator_config import GeneratorConfig
from panojax.inversion.pipeline import reconstruct
from panojax.inversion.spaces import map_latents
from panojax.losses.perception import Perception
from panojax.losses.terms import l2
from panojax.nn.stylegan2 import pool
from panojax.params import Params

Progress = Callable[[int, float], None]
_SYNTHESIS = "backbone.synthesis"
_CHUNK = 50  # steps between reports, and in a compiled loop


@dataclasses.dataclass(frozen=True)
class ProjectionConfig:
    """The optimisation of style codes. The defaults are the projector's."""

    steps: int = 500
    """Adam steps."""
    learning_rate: float = 0.1
    """The highest; it rises and falls along cosines."""
    ramp_up: float = 0.05
    """Share of the steps in which the learning rate rises."""
    ramp_down: float = 0.25
    """Share of the steps in which it falls to 0."""
    noise_factor: float = 0.05
    """Noise on the codes at the start, in units of their spread."""
    noise_ramp: float = 0.75
    """Share of the steps after which there is none."""
    optimize_noise: bool = True
    """Optimise the backbone's per-pixel noise as well."""
    noise_weight: float = 1e5
    """Weight of its autocorrelation, which keeps it from carrying the picture."""
    samples: int = 10_000
    """Latents from which the codes' mean, the start, and spread are taken."""
    lpips: float = 1.0
    """Weight of the perceptual distance."""
    l2: float = 1.0
    """Weight of the mean squared error."""
    loss_resolution: int = 256
    """Pictures are pooled to this side, if they are larger."""

    def __post_init__(self):
        for name in ("steps", "samples", "loss_resolution"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if min(self.ramp_up, self.ramp_down, self.noise_ramp) <= 0:
            raise InputError("ramp_up, ramp_down and noise_ramp must be positive shares of the steps")


@dataclasses.dataclass(frozen=True)
class TuningConfig:
    """The generator's tuning around fixed codes."""

    steps: int = 500
    """Adam steps."""
    learning_rate: float = 3e-4
    """Constant."""
    lpips: float = 1.0
    """Weight of the perceptual distance."""
    l2: float = 1.0
    """Weight of the mean squared error."""
    loss_resolution: int = 256
    """Pictures are pooled to this side, if they are larger."""

    def __post_init__(self):
        for name in ("steps", "loss_resolution"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")


def invert_wplus(
    params: Params,
    image: jax.Array,
    camera: jax.Array | None = None,
    *,
    perception: Perception,
    config: ProjectionConfig = ProjectionConfig(),
    key: jax.Array | None = None,
    progress: Progress | None = None,
    together: bool = False,
) -> Head:
    """Heads whose style codes, one for each layer, are optimised to render portraits.

    Args:
      params: the generator's.
      image: [S, S, 3] or [N, S, S, 3], RGB in [-1, 1]; the portraits of a batch do not influence one another.
      camera: labels [25] or [N, 25]; None is the front.
      perception: its `lpips_network` is used.
      config: schedule and weights.
      key: of the noise; None is `jax.random.key(0)`.
      progress: called with (steps done, mean loss) every 50 steps.
      together: the portraits of a batch show one head, which is fitted to all at once.

    Returns:
      A Head, batched where `image` is and it shows several.

    Raises:
      InputError: shapes that do not fit.
    """
    context, single = _context(params, image, camera)
    single |= together
    stages = (OptimisedCodes(perception, config, key, progress, together),)
    estimate, _, _ = reconstruct(context, stages, dict.fromkeys(stage.name for stage in stages))
    return jax.tree.map(lambda x: x[0], estimate.heads) if single else estimate.heads


def invert_pti(
    params: Params,
    image: jax.Array,
    camera: jax.Array | None = None,
    *,
    perception: Perception,
    config: ProjectionConfig = ProjectionConfig(),
    tuning: TuningConfig = TuningConfig(),
    key: jax.Array | None = None,
    progress: Progress | None = None,
    together: bool = False,
) -> tuple[Params, Head]:
    """Optimises the codes of one portrait, then the generator's synthesis, rendering and super-resolution around them.

    Arguments are those of `invert_wplus` for a single portrait [S, S, 3], or several of one head `together`, and
    `tuning`, whose steps `progress` counts on from the projection's.

    Returns:
      Params of a generator of this head's own, and the Head, to be rendered with them.
    """
    context, single = _context(params, image, camera)
    if not (single or together):
        raise InputError(f"image must be [S, S, 3]: each portrait gets its own generator, got {context.pictures.shape}")
    stages = (
        OptimisedCodes(perception, config, key, progress, together),
        TunedGenerator(perception, tuning, progress, before=config.steps),
    )
    estimate, _, _ = reconstruct(context, stages, dict.fromkeys(stage.name for stage in stages))
    head = jax.tree.map(lambda x: x[0], estimate.heads)
    return Params(estimate.generator, params.encoders, config=params.config), head


@dataclasses.dataclass(frozen=True, eq=False)
class OptimisedCodes(Stage):
    """Style codes by gradient descent, in place of an encoder. It has no network, and is not to be jitted."""

    perception: Perception
    config: ProjectionConfig = ProjectionConfig()
    key: jax.Array | None = None
    progress: Progress | None = None
    together: bool = False
    """Whether all portraits show one head."""
    name: str = "optimised_codes"

    def init(self, model: Config, key: jax.Array) -> dict:
        """Nothing."""
        return {}

    def apply(self, context: Context, variables: Any, estimate: Estimate, *, train: bool) -> tuple[Estimate, None]:
        """Heads of optimised codes; of a single portrait, also the generator with its optimised noise."""
        model, generator_variables = context.model.generator, context.generator
        ws, noises = _project(context, self)
        heads = _heads(model, generator_variables, ws, noises)
        if len(ws) > 1:
            return Estimate(heads), None
        constants = _with_noise(generator_variables["constants"], jax.tree.map(lambda x: x[0], noises))
        return Estimate(heads, generator={"params": generator_variables["params"], "constants": constants}), None


@dataclasses.dataclass(frozen=True, eq=False)
class TunedGenerator(Stage):
    """The generator around one head's codes by gradient descent (PTI). It has no network, and is not to be jitted."""

    perception: Perception
    config: TuningConfig = TuningConfig()
    progress: Progress | None = None
    before: int = 0
    """Steps that `progress` was told of earlier."""
    name: str = "tuned_generator"

    def init(self, model: Config, key: jax.Array) -> dict:
        """Nothing."""
        return {}

    def apply(self, context: Context, variables: Any, estimate: Estimate, *, train: bool) -> tuple[Estimate, None]:
        """The head by a generator of its own, which the estimate holds."""
        model, ws = context.model.generator, estimate.heads.ws
        weights, constants = estimate.generator["params"], estimate.generator["constants"]
        fixed = {name: tree for name, tree in weights.items() if name.endswith("mapping")}
        tuned = {name: tree for name, tree in weights.items() if name not in fixed}
        target = _target(context.pictures, self.config.loss_resolution)
        arguments = (fixed, constants, self.perception, target, ws, context.labels)
        descent = _tuning(model, self.config)
        tuned = _descend(descent, tuned, arguments, self.config.steps, self.progress, before=self.before)
        own = {"params": fixed | tuned, "constants": constants}
        return Estimate(_heads(model, own, ws, {}), generator=own), None


def projector_schedule(config: ProjectionConfig, step: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The learning rate at a step, and the noise's standard deviation in units of the codes' spread."""
    t = step / config.steps
    rate = 0.5 - 0.5 * jnp.cos(jnp.pi * jnp.minimum(1.0, (1 - t) / config.ramp_down))
    rate = rate * jnp.minimum(1.0, t / config.ramp_up)
    noise = config.noise_factor * jnp.square(jnp.maximum(0.0, 1 - t / config.noise_ramp))
    return config.learning_rate * rate, noise


def noise_autocorrelation(noise: jax.Array) -> jax.Array:
    """Squared means of products of neighbours of noise [H, W], summed over its pyramid down to 8 x 8: a scalar.

    Source: StyleGAN2's noise regularisation.
    """
    total = jnp.zeros(())
    while True:
        total += sum(jnp.square(jnp.mean(noise * jnp.roll(noise, 1, axis))) for axis in (0, 1))
        if noise.shape[0] <= 8:
            return total
        noise = noise.reshape(noise.shape[0] // 2, 2, -1, 2).mean(axis=(1, 3))


def _project(context, stage):
    """Codes [N, L, w_dim] and the backbone's noise {path: [N, H, W]}; N is 1 where portraits show one head."""
    model, variables, config = context.model.generator, context.generator, stage.config
    key = jax.random.key(0) if stage.key is None else stage.key
    statistics_key, start_key, noise_key = jax.random.split(key, 3)
    average, spread = _code_statistics(model, variables, statistics_key, config.samples)
    n = 1 if stage.together else len(context.pictures)
    noises: dict = {}
    if config.optimize_noise:
        shapes = {path: x.shape for path, x in _noise(variables["constants"]).items()}
        keys = jax.random.split(start_key, len(shapes))
        noises = {
            path: jnp.broadcast_to(jax.random.normal(k, shape), (n, *shape))
            for k, (path, shape) in zip(keys, shapes.items())
        }
    start = jnp.broadcast_to(average, (n, model.num_ws, model.w_dim)), noises
    target = _target(context.pictures, config.loss_resolution)
    arguments = (networks.prepare(model, variables), stage.perception, target, context.labels, spread, noise_key)
    return _descend(_projection(model, config), start, arguments, config.steps, stage.progress)


class _Descent(NamedTuple):
    """What is minimised, by what, and what is done to the free variables after each step. Made once, so that the
    compiled loop serves every portrait."""

    loss: Callable
    optimiser: optax.GradientTransformation
    after: Callable


@functools.cache
def _projection(model: GeneratorConfig, config: ProjectionConfig) -> _Descent:
    def loss(free, arguments, index):
        variables, perception, target, labels, spread, key = arguments
        ws, noises = free
        deviation = spread * projector_schedule(config, index)[1]
        noisy = ws + deviation * jax.random.normal(jax.random.fold_in(key, index), ws.shape[1:])
        heads = Head(_planes(model, variables, noisy, noises), noisy)
        # The sum over the batch: each portrait's gradient is then what it would be alone.
        total = ws.shape[0] * _distance(model, variables, heads, labels, target, perception, config)
        penalty = sum((jnp.sum(jax.vmap(noise_autocorrelation)(x)) for x in noises.values()), jnp.zeros(()))
        return total + config.noise_weight * penalty

    def unit(x):
        x = x - jnp.mean(x, axis=(1, 2), keepdims=True)
        return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=(1, 2), keepdims=True) + 1e-12)

    def after(free):
        ws, noises = free
        return ws, {path: unit(x) for path, x in noises.items()}

    return _Descent(loss, optax.adam(lambda step: projector_schedule(config, step)[0], b1=0.9, b2=0.999), after)


@functools.cache
def _tuning(model: GeneratorConfig, config: TuningConfig) -> _Descent:
    def loss(tuned, arguments, index):
        del index
        fixed, constants, perception, target, ws, labels = arguments
        variables = {"params": fixed | tuned, "constants": constants}
        heads = Head(generator.synthesize(model, variables, ws), ws)
        return _distance(model, variables, heads, labels, target, perception, config)

    return _Descent(loss, optax.adam(config.learning_rate, b1=0.9, b2=0.999), lambda free: free)


def _descend(descent: _Descent, free, arguments, steps, progress, *, before=0):
    """The free variables after `steps` steps, `_CHUNK` in a compiled loop; `before` steps were reported earlier.

    On CPUs step by step: XLA's programs for CPUs take twice as long for a step within a loop.
    """
    carry = free, descent.optimiser.init(free)
    length = 1 if jax.default_backend() == "cpu" else _CHUNK
    losses = []
    for start in range(0, steps, length):
        count = min(length, steps - start)
        carry, loss = _run(carry, arguments, jnp.int32(start), descent=descent, count=count)
        losses.append(loss)
        done = start + count
        if progress is not None and (done % _CHUNK == 0 or done == steps):
            progress(before + done, float(np.mean(losses)))
            losses.clear()
    return carry[0]


@functools.partial(jax.jit, static_argnames=("descent", "count"))
def _run(carry, arguments, start, *, descent, count):
    def step(carry, index):
        free, state = carry
        value, gradients = jax.value_and_grad(descent.loss)(free, arguments, index)
        updates, state = descent.optimiser.update(gradients, state, free)
        return (descent.after(optax.apply_updates(free, updates)), state), value

    if count == 1:
        return step(carry, start)
    carry, values = jax.lax.scan(step, carry, start + jnp.arange(count))
    return carry, jnp.mean(values)


def _distance(model, variables, heads, labels, target, perception, weights):
    """Weighted LPIPS and L2 of heads' pictures, averaged over the batch. One head may have several pictures, which
    take their turns, so that memory does not grow with them."""
    if len(labels) > len(heads.ws):
        one = jax.checkpoint(
            lambda picture: _distance(model, variables, heads, picture[0][None], picture[1][None], perception, weights)
        )
        return jnp.mean(jax.lax.map(one, (labels, target)))
    image = pool(render_heads(model, variables, heads, labels).image.astype(jnp.float32), target.shape[1])
    total = weights.l2 * jnp.mean(l2(image, target))
    if weights.lpips and perception.lpips_network is not None:
        total += weights.lpips * jnp.mean(perception.distance(image, target))
    return total


@functools.partial(jax.jit, static_argnums=0)
def _heads(model, variables, ws, noises) -> Head:
    """Heads of codes [N, L, w_dim] and noise, with their backgrounds."""
    return generator.make_heads(model, variables, _planes(model, variables, ws, noises), ws)


def _planes(model: GeneratorConfig, variables: Any, ws: jax.Array, noises: Mapping) -> jax.Array:
    """Tri-grids of codes [N, L, w_dim], each with its own noise {path: [N, H, W]}."""
    if not noises:
        return generator.synthesize(model, variables, ws)

    def one(ws, noises):
        own = {**variables, "constants": _with_noise(variables["constants"], noises)}
        return generator.synthesize(model, own, ws[None])[0]

    return jax.vmap(one)(ws, noises)


def _noise(constants):
    flat = flatten_dict(constants[_SYNTHESIS])
    return {"/".join(path): x for path, x in flat.items() if path[-1] == "noise_const"}


def _with_noise(constants, noises):
    if not noises:
        return constants
    flat = flatten_dict(constants[_SYNTHESIS]) | {tuple(path.split("/")): x for path, x in noises.items()}
    return {**constants, _SYNTHESIS: unflatten_dict(flat)}


def _code_statistics(model, variables, key, samples):
    """The mean code [w_dim] at the front camera, and the root of the mean squared distance from it (a scalar)."""
    z = jax.random.normal(key, (samples, 1, model.z_dim))
    ws = jax.jit(map_latents, static_argnums=0)(model, variables, z)[:, 0]
    average = jnp.mean(ws, axis=0)
    return average, jnp.sqrt(jnp.mean(jnp.sum(jnp.square(ws - average), axis=-1)))


def _target(images, side):
    return pool(images.astype(jnp.float32), min(side, images.shape[1]))


def _context(params, image, camera):
    """What the stages read of portraits [N, S, S, 3], and whether a single one was given."""
    params.check_whole()
    image = jnp.asarray(image)
    single = image.ndim == 3
    images = image[None] if single else image
    if images.ndim != 4 or images.shape[-1] != 3 or images.shape[1] != images.shape[2]:
        raise InputError(f"image must be [S, S, 3] or [N, S, S, 3], got {image.shape}")
    labels = front() if camera is None else jnp.asarray(camera, jnp.float32)
    if labels.shape not in ((25,), (images.shape[0], 25)):
        raise InputError(f"camera must be [25] or [{images.shape[0]}, 25], got {labels.shape}")
    labels = jnp.broadcast_to(labels, (images.shape[0], 25))
    return Context(params.generator, None, images, labels, model=params.config), single
