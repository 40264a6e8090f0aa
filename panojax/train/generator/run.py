"""Trains a generator of heads: python -m panojax.train.generator PRESET --workdir DIR --data FOLDER ...

    python -m panojax.train.generator heads64 --workdir R64 --data HEADS

The run's folder gets `config.json`, `parameters.txt`, `log.jsonl`, `checkpoints/`, `pictures/` and, at its end,
`model/`, which `panojax.load` reads. The same command again resumes; so does a run that `--start`s from another one's
weights in a folder of its own.

Exit codes: 0 done; 2 bad input; 70 a number is not finite; 74 a checkpoint could not be written; 75 stopped by SIGTERM,
SIGINT or `--minutes` with a checkpoint, so that the same command goes on.
"""

import dataclasses
import functools
import pathlib
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from panojax import camera as cameras
from panojax.devices.sharding import Mesh, data_mesh, placed_template, replicate, replicated, run_key
from panojax.errors import InputError
from panojax.generators import generator
from panojax.generators.generator import Head, render_heads
from panojax.generators.generator_config import GeneratorConfig
from panojax.nn.stylegan2 import pool
from panojax.train.checkpoints import Checkpoints
from panojax.train.command import run_command
from panojax.train.generator.fit import FitState, abstract_run_state, compile_fit_step, init_fit
from panojax.train.generator.gan_export import read_start, write_model
from panojax.train.generator.gan_feed import open_feed
from panojax.train.generator.gan_presets import PRESETS, GeneratorRun
from panojax.train.generator.gan_state import GanState, init_state, init_weights, take_over, with_moments
from panojax.train.generator.gan_steps import Step, compile_step
from panojax.train.generator.schedules import rendering_resolution
from panojax.train.loop import Loop, alone, remember, write_overview

YAWS = (0, 45, 90, 135, 180, 225, 270, 315)  # degrees, of the pictures
TRUNCATION = 0.7
_SIDE = 128  # of a picture in a sheet, at most
# Fields that a resumed run may change.
_FREE = frozenset(
    [
        *("workdir", "kimg", "minutes", "log_every", "save_every", "picture_every", "picture_seeds", "keep", "start"),
        *("data_on_device", "device_gigabytes", "cache_gigabytes"),
        *("distributed", "coordinator", "processes", "process"),
    ]
)


def train(config: GeneratorRun) -> GanState | FitState:
    """Runs to the last step, from the run's newest checkpoint if it has one, and writes the averaged generator.

    Raises:
      InputError: the configuration does not fit the files, or the checkpoints.
      Stopped: by a signal, by the time, by numbers that are not finite, or by a disk that takes no more.
    """
    if not config.workdir:
        raise InputError("workdir must name the run's folder (--workdir DIR)")
    with alone(pathlib.Path(config.workdir)):
        return _train(config)


def _train(config: GeneratorRun) -> GanState | FitState:
    """`train`, in a folder that no other run has."""
    folder, mesh = pathlib.Path(config.workdir), data_mesh()
    feed = open_feed(config, mesh)
    config = dataclasses.replace(config, fit=dataclasses.replace(config.fit, heads=2 * feed.heads))
    remember(folder, config, free=_FREE)
    with Checkpoints(folder / "checkpoints", keep=config.keep) as checkpoints:
        state, step = _begin(config, checkpoints, mesh)
        before = int(state.images) - step * config.batch
        if jax.process_index() == 0:
            write_overview(folder / "parameters.txt", state.generator["params"])
        take_step = _StepAtResolution(config, mesh)
        key = run_key(config.seed, mesh)
        draw = jax.jit(functools.partial(picture_sheet, config.model), static_argnums=1, out_shardings=replicated(mesh))

        def kimg(step: int) -> dict[str, float]:
            return {"kimg": (before + step * config.batch) / 1000}

        loop = Loop(
            config,
            folder,
            checkpoints,
            picture=lambda state: draw(state.average, config.picture_seeds),
            notes=kimg,
            minutes=config.minutes,
        )
        state = loop.go(
            state, step, lambda state, step: take_step(before + step * config.batch)(state, feed(step), key, step)
        )
    if jax.process_index() == 0:
        write_model(folder / "model", config.model, state.average, data=config.data)
    return state


def picture_sheet(model: GeneratorConfig, variables: dict, seeds: int) -> jax.Array:
    """Heads of latents 0, 1, ... (truncated, conditioned on the front camera), a row each, from eight yaws.

    Returns:
      [seeds * side, 8 * side, 3] in about [-1, 1].
    """
    side = min(_SIDE, model.image_resolution)
    aim: Any = {"radius": model.camera_radius, "pivot": model.camera_pivot}
    z = jax.vmap(lambda seed: jax.random.normal(jax.random.key(seed), (model.z_dim,)))(jnp.arange(seeds))
    front = jnp.broadcast_to(cameras.look_at(0.0, **aim), (seeds, 25))
    ws = generator.map_latent(model, variables, z, front, truncation=TRUNCATION)
    planes = generator.synthesize(model, variables, ws)
    heads: Head = generator.make_heads(model, variables, planes, ws)

    def seen(label):
        view = render_heads(model, variables, heads, jnp.broadcast_to(label, (seeds, 25)))
        return pool(view.image.astype(jnp.float32), side)

    views = jax.lax.map(seen, cameras.look_at(np.radians(YAWS), **aim))  # [8, seeds, side, side, 3]
    return views.transpose(1, 2, 0, 3, 4).reshape(seeds * side, len(YAWS) * side, 3)


class _StepAtResolution:
    """The compiled step for a number of pictures shown, as the rendering resolution grows with them."""

    def __init__(self, config: GeneratorRun, mesh: Mesh):
        self._config, self._mesh = config, mesh
        self._compiled: dict[int, Step] = {}

    def __call__(self, images: int) -> Step:
        objective = self._config.objective
        side = rendering_resolution(images, objective.generator, objective.step)
        if side not in self._compiled:
            self._compiled.clear()  # an earlier one will not come back
            objective = objective.at_rendering(side)
            if self._config.stage == "fit":
                self._compiled[side] = compile_fit_step(objective, self._config.fit, self._mesh)
            else:
                self._compiled[side] = compile_step(objective, self._mesh)
        return self._compiled[side]


def _begin(config: GeneratorRun, checkpoints: Checkpoints, mesh: Mesh) -> tuple[Any, int]:
    """The newest checkpoint's state and step, or those of a new run."""
    objective = config.objective
    if checkpoints.latest is not None:
        restored, _, step = checkpoints.restore(placed_template(abstract_run_state(config), mesh))
        return restored, step
    weights, images, moments = init_weights(objective, config.seed), 0, None
    if config.start:
        images, earlier = read_start(config.start)
        moments = earlier.get("moments")
        weights, message = take_over(weights, earlier)
        if jax.process_index() == 0:
            print(f"start: {images / 1000:.0f} kimg\n{message}", file=sys.stderr)
    state: Any = init_state(objective, weights, images=images)
    if moments is not None:
        state = with_moments(state, moments)
    if config.stage == "fit":
        state = init_fit(state, config.fit, jax.random.fold_in(jax.random.key(config.seed), 3))
    return replicate(state, mesh), 0


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns its exit code."""
    return run_command(train, PRESETS, arguments, prog="python -m panojax.train.generator", description=__doc__)
