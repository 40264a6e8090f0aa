"""A warm start: the generator learns to draw the data's own heads, whose identities, masks and depths are known.

Each identity has a latent that is learned with the generator (GLO, Bojanowski et al. 2018), a mirrored one another. The
adversarial stage then starts from the generator (`--start`): latents, discriminator and moments are not used further.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from panojax import camera as cameras
from panojax.devices.sharding import Mesh, batch_sharding, replicated
from panojax.generators import generator
from panojax.generators.generator import Head
from panojax.nn.stylegan2 import pool, resize
from panojax.train.generator.fakes import render_jittered, synthesize_planes
from panojax.train.generator.gan_config import FitConfig
from panojax.train.generator.gan_presets import GeneratorRun
from panojax.train.generator.gan_state import GanState, Objective, abstract_state
from panojax.train.generator.gan_steps import Metrics, Step, advance


@struct.dataclass
class FitState:
    """The adversarial stage's state, of which the generator and its average change here, and the heads' latents.

    Attributes:
      gan: its discriminator and moments stay as they are.
      codes: latents [2 I, z_dim] of the I identities, then of the mirrored ones.
      optimizer: moments of the generator's parameters and the latents.
    """

    gan: GanState
    codes: jax.Array
    optimizer: Any

    @property
    def images(self) -> jax.Array:
        """Pictures shown."""
        return self.gan.images

    @property
    def generator(self) -> Any:
        """The generator's variables."""
        return self.gan.generator

    @property
    def average(self) -> Any:
        """Their running average."""
        return self.gan.average


def fit_adam(fit: FitConfig) -> optax.GradientTransformation:
    """Adam with a learning rate for the generator and another for the latents."""
    rates = {"generator": fit.learning_rate, "codes": fit.code_learning_rate}
    adams = {name: optax.adam(rate, b1=0.9, b2=0.99) for name, rate in rates.items()}
    return optax.multi_transform(adams, {name: name for name in rates})


def init_fit(gan: GanState, fit: FitConfig, key: jax.Array) -> FitState:
    """Random latents for `fit.heads` heads beside a state."""
    z_dim = gan.generator["params"]["backbone.mapping"]["fc0"]["kernel"].shape[0]
    z_dim -= gan.generator["params"]["backbone.mapping"]["embed"]["kernel"].shape[1]
    codes = jax.random.normal(key, (fit.heads, z_dim))
    learned = {"generator": gan.generator["params"], "codes": codes}
    return FitState(gan, codes, fit_adam(fit).init(learned))


def abstract_run_state(run: GeneratorRun) -> Any:
    """What a run's checkpoints hold, as `jax.ShapeDtypeStruct`s."""
    gan = abstract_state(run.objective)
    if run.stage == "gan":
        return gan
    return jax.eval_shape(lambda gan: init_fit(gan, run.fit, jax.random.key(0)), gan)


def fit_step(
    state: FitState, batch: Mapping[str, jax.Array], key: jax.Array, *, objective: Objective, fit: FitConfig
) -> tuple[FitState, Metrics]:
    """One step of the generator and the latents towards real pictures.

    Args:
      batch: {"image": [N, S, S, 3] in [-1, 1], "mask": [N, S, S, 1] in [0, 1], "camera": [N, 25], "identity": rows of
        the latents [N]}, and maybe "depth": [N, S, S, 1] along the rays in world units, 0 where nothing solid is.
      key: of the run; the step's own is folded in.
      objective, fit: static.

    Returns:
      The next state and the unweighted terms {"loss", "image", "raw", "mask", "depth"}.
    """
    model, gan = objective.generator, state.gan
    noise_key, ray_key, finish_key = jax.random.split(jax.random.fold_in(key, gan.step), 3)
    n, side = batch["image"].shape[0], model.rendering_resolution
    front = cameras.look_at(0.0, radius=model.camera_radius, pivot=model.camera_pivot)
    constants = gan.generator["constants"]

    def loss(learned):
        variables = {"params": learned["generator"], "constants": constants}
        z = learned["codes"][batch["identity"]]
        ws = generator.map_latent(model, variables, z, jnp.broadcast_to(front, (n, 25)))
        planes = synthesize_planes(model, variables, ws, noise=objective.step.noise, key=noise_key)
        heads = Head(planes, ws)
        rendered = render_jittered(model, objective.step, variables, heads, batch["camera"], key=ray_key)
        view = generator.finish(model, variables, rendered, heads, noise=objective.step.noise, key=finish_key)
        image = pool(view.image.astype(jnp.float32), objective.discriminator.resolution)
        terms = {
            "image": pyramid_distance(image, batch["image"], fit.levels),
            "raw": jnp.mean(jnp.square(view.raw.astype(jnp.float32) - resize(batch["image"], side))),
            "mask": jnp.mean(jnp.square(view.mask - resize(batch["mask"], side))),
        }
        if "depth" in batch:
            terms["depth"] = depth_distance(view.depth, batch["depth"])
        total = sum(getattr(fit, name) * value for name, value in terms.items())
        return total, ({"loss": total, **terms}, jnp.mean(jax.lax.stop_gradient(ws[:, 0]), axis=0))

    learned = {"generator": gan.generator["params"], "codes": state.codes}
    gradient, (metrics, w) = jax.grad(loss, has_aux=True)(learned)
    updates, moments = fit_adam(fit).update(gradient, state.optimizer, learned)
    learned = optax.apply_updates(learned, updates)
    gan = advance(gan, learned["generator"], {"backbone.mapping": w}, n, objective.step)
    return FitState(gan, learned["codes"], moments), metrics


def compile_fit_step(objective: Objective, fit: FitConfig, mesh: Mesh) -> Step:
    """The step, jitted, with its state donated and its batch split over a mesh."""
    same = replicated(mesh)
    step = jax.jit(
        functools.partial(fit_step, objective=objective, fit=fit),
        donate_argnums=0,
        in_shardings=(same, batch_sharding(mesh), same),
        out_shardings=(same, same),
    )
    return lambda state, batch, key, number: step(state, batch, key)


def pyramid_distance(image: jax.Array, target: jax.Array, levels: int) -> jax.Array:
    """The mean over `levels` of |image - target|, each level pooled to half the side of the one before."""
    side = image.shape[1]
    distances = [jnp.mean(jnp.abs(pool(image - target, side >> level))) for level in range(levels)]
    return jnp.mean(jnp.stack(distances))


def depth_distance(depth: jax.Array, target: jax.Array) -> jax.Array:
    """The mean of |depth - target| where most of a pixel is solid: depth [N, R, R, 1], target [N, S, S, 1], 0: not."""
    side = depth.shape[1]
    solid = pool((target > 0).astype(jnp.float32), side)
    counted = solid > 0.9
    known = pool(target, side) / jnp.maximum(solid, 0.1)
    apart = jnp.where(counted, jnp.abs(jnp.where(counted, depth, 0.0) - known), 0.0)
    return jnp.sum(apart) / jnp.maximum(jnp.sum(counted), 1)
