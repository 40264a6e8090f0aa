"""Trains one encoder: python -m panojax.train.encoder PRESET --workdir DIR --stage e1 ...

    python -m panojax.train.encoder tiny --workdir RUN
    python -m panojax.train.encoder heads --workdir RUN --generator default --data HEADS --stage e1

The run's folder gets, for each stage, `config.json`, `parameters.txt`, `log.jsonl`, `checkpoints/` and `pictures/`; the
finished model is exported to `model/`, which `panojax.load` reads. The same command again resumes.

Exit codes: 0 done; 2 bad input; 70 the loss is not finite, or diverged; 74 a checkpoint could not be written; 75
stopped by SIGTERM or SIGINT with a checkpoint, so that the same command goes on.
"""

import dataclasses
import functools
import pathlib
import sys
from typing import Any

import jax
import numpy as np

from panojax import camera as cameras
from panojax.config import Config
from panojax.data.framing import data_framing
from panojax.data.pipeline import Source
from panojax.devices.sharding import data_mesh, placed_template, replicate, replicated, run_key
from panojax.encoders import dual
from panojax.errors import InputError
from panojax.files.checkpoint import load
from panojax.generators import networks
from panojax.inversion.spaces import GROUPS, fit_encoder, mean_codes
from panojax.inversion.stages import init_variables
from panojax.losses.perception import load_perception
from panojax.nn.stylegan2 import pool
from panojax.params import Params
from panojax.train.checkpoints import Checkpoints
from panojax.train.command import run_command
from panojax.train.encoder.encoder_export import continued, goes_on, is_export, read_stage
from panojax.train.encoder.feed import Feed, open_source
from panojax.train.encoder.presets import PRESETS
from panojax.train.encoder.run_config import RunConfig
from panojax.train.encoder.state import Frozen, TrainState, abstract_state, init_state
from panojax.train.encoder.step_config import RENDERER
from panojax.train.encoder.steps import compile_step, encode, evaluate, stitched
from panojax.train.encoder.tuning import parts_of, tuned, with_base
from panojax.train.export import STATE_FILE, best_encoder, export, fits, read_run, with_branch
from panojax.train.logs import Averages, picture_sheet
from panojax.train.loop import DIVERGED, TERMINATED, UNWRITABLE, Loop, Stopped, alone, remember, write_overview

__all__ = ["DIVERGED", "TERMINATED", "UNWRITABLE", "Stopped", "freeze", "main", "train"]

YAWS = (0, 45, 90, 135, 180, 225, 270, 315)  # degrees, of the pictures
# Fields that a resumed run may change.
_FREE = frozenset(
    ["workdir", "steps", "minutes", "log_every", "save_every", "picture_every", "keep", "divergence"]
) | frozenset(["cache_gigabytes", "distributed", "coordinator", "processes", "process"])


def train(
    config: RunConfig,
    *,
    params: Params | None = None,
    source: Source | None = None,
    validation: Source | None = None,
    deadline: float | None = None,
) -> TrainState:
    """Runs a stage to its last step, from its newest checkpoint if it has one, and exports the model.

    Args:
      config: the run.
      params: the generator, instead of `config.generator`'s.
      source: photos, instead of `config.data`'s: see `panojax.data.pipeline`. Give `data` a name all the same.
      validation: held-out photos; needed with `source`.
      deadline: of `time.monotonic()`, at which the run stops as after `config.minutes`, what is read and compiled
        before the first step counted in.

    Raises:
      InputError: the configuration does not fit the files, or the checkpoints.
      Stopped: by a signal, by numbers that are not finite, or by a disk that takes no more.
    """
    if not config.workdir:
        raise InputError("workdir must name the run's folder (--workdir DIR)")
    with alone(pathlib.Path(config.workdir) / config.stage):
        return _train(config, load(config.generator) if params is None else params, source, validation, deadline)


def _train(
    config: RunConfig,
    params: Params,
    source: Source | None,
    validation: Source | None,
    deadline: float | None = None,
) -> TrainState:
    """`train`, in a folder that no other run has."""
    folder, mesh = pathlib.Path(config.workdir) / config.stage, data_mesh()
    frozen = freeze(config, params, mesh)
    if source is None:
        source, validation = (open_source(config, frozen, part) for part in ("train", "validation"))
    remember(folder, config, free=_FREE, model=frozen.config)
    with Checkpoints(folder / "checkpoints", keep=config.keep) as checkpoints:
        state, source_state, step = _begin(config, frozen, checkpoints, mesh)
        if jax.process_index() == 0:
            write_overview(folder / "parameters.txt", state.encoder.params.fast.tree())
        if source is not None and source_state is not None:
            source.set_state(source_state)
        feed = Feed(config, frozen, mesh, source)
        held_out = Feed(config, frozen, mesh, validation, validation=True)
        batches = [held_out(i) for i in range(config.validation_batches)]
        loop = Loop(
            config,
            folder,
            checkpoints,
            source_state=lambda: source and source.get_state(),
            validate=lambda state: _validate(config, frozen, batches, state),
            picture=_Pictures(config, frozen, batches, mesh),
            divergence=config.divergence,
            minutes=config.minutes,
            deadline=deadline,
        )
        key, take_step = run_key(config.seed, mesh), compile_step(config.objective, mesh)
        state = loop.go(state, step, lambda state, step: take_step(state, frozen, feed(step), key))
    whole = (pathlib.Path(config.workdir) / "e1" / STATE_FILE).exists()  # encoder 1 may lie on another machine
    if whole and jax.process_count() == 1 and config.step.space == "w+":
        message = export(config.workdir, params)
        print(message, file=sys.stderr)
    return state


def freeze(config: RunConfig, params: Params, mesh: Any) -> Frozen:
    """The generator, the mean codes and the loss networks of a run, on all devices of a mesh."""
    params = params.with_dtype(config.dtype)
    generator = params.config.generator
    encoder = fit_encoder(generator, dataclasses.replace(config.encoder, dtype=config.dtype), config.step.space)
    if params.encoders is not None and config.step.space == "w+":
        average = params.encoders["latent_average"]
    else:
        average = mean_codes(generator, params.generator, jax.random.key(0))
    perception = load_perception(config.lpips, config.identity)
    # The encoders see the data's crops, and photos are to be cropped as these.
    framing = data_framing(config.data) or params.config.framing
    model = Config(generator, encoder, framing=framing)
    occluded = None if config.occluded is None else _encoder(config, "occluded", dual.OCCLUDED, model)
    parts = parts_of(params.generator, config.step.tune) or None
    prepared = networks.prepare(generator, params.generator)
    frozen = Frozen(prepared, average, perception, occluded, parts, config=model)
    placed: Frozen = replicate(frozen, mesh)
    return placed


def _validate(config, frozen, held_out, state):
    """Means over the held-out batches, with the slow parameters."""
    averages, variables = Averages(), state.encoder.variables()
    for batch in held_out:
        averages.add(evaluate(frozen, variables, batch, config=config.objective))
    return averages.read()


class _Pictures:
    """The sheet of a state: portraits, and their heads from all around."""

    def __init__(self, config, frozen, held_out, mesh):
        self.config, self.frozen, self.held_out = config, frozen, held_out
        self._sheet = jax.jit(_sheet, static_argnames="config", out_shardings=replicated(mesh))

    def __call__(self, state: TrainState) -> jax.Array:
        visible = None
        if self.config.stage == "e2" and (pathlib.Path(self.config.workdir) / "e1" / STATE_FILE).exists():
            visible = self._visible
        variables = state.encoder.variables()
        return self._sheet(self.frozen, visible, variables, self.held_out[0], config=self.config.objective)

    @functools.cached_property
    def _visible(self):
        """Encoder 1 of the same run, for pictures."""
        return best_encoder(pathlib.Path(self.config.workdir) / "e1", self.frozen.config)


def _sheet(frozen, visible, variables, batch, config):
    """Up to four portraits: a row of this encoder's head, and where encoder 1 is given its own and the stitched one, by
    the generator of this run: not by what encoder 1 tuned."""
    image, labels = batch["image"][:4], batch["camera"][:4]
    model = frozen.config

    frozen = tuned(frozen, variables.get(RENDERER, {}).get("params"), config)

    def heads(variables):
        pictures = pool(image, model.encoder.resolution)
        return encode(frozen, variables, pictures, labels, config=config)[0].heads

    rows = [heads(variables)]
    if visible is not None:
        first = heads(visible)
        rows = [first, rows[0], stitched(frozen, first, rows[0], labels)]
    around = cameras.look_at(np.radians(YAWS), radius=model.generator.camera_radius, pivot=model.generator.camera_pivot)
    return picture_sheet(frozen, image, rows, around, side=min(128, model.generator.image_resolution))


def _begin(config, frozen, checkpoints, mesh):
    """The newest checkpoint's state, source state and step, or new ones."""
    model, objective = frozen.config, config.objective
    if checkpoints.latest is not None:
        return checkpoints.restore(placed_template(abstract_state(model, objective), mesh))
    encoder = _start(config, model) if config.start is not None else None
    key = jax.random.fold_in(jax.random.key(config.seed), 3)
    encoder = _with_renderer(config, frozen, encoder, key)
    if config.start is not None and is_export(config.start):
        earlier = read_stage(config.start)
        if goes_on(earlier, config):
            if earlier.step >= config.steps:
                raise InputError(f"steps must be more than the {earlier.step} that start has made, got {config.steps}")
            return replicate(continued(earlier, config, model, encoder, key), mesh), None, earlier.step
    return replicate(init_state(model, objective, key, encoder=encoder), mesh), None, 0


def _with_renderer(config, frozen, encoder, key):
    """The encoder to begin with, and beside it what is tuned of the generator; None for a random one without that."""
    if not config.step.tune:
        return encoder and {name: network for name, network in encoder.items() if name != RENDERER}
    if encoder is None:
        encoder = init_variables(frozen.config, key, offsets=config.step.offsets)
    scale = config.step.tune_scale
    before = read_run(config.start)[0].step.tune_scale if RENDERER in encoder else scale
    return with_base(encoder, frozen.tuned, rescaled=before / scale)


def _start(config, model):
    """The encoder that a stage starts from."""
    return _encoder(config, "start", dual.VISIBLE if config.stage == "e1" else dual.OCCLUDED, model)


def _encoder(config, field, which, model):
    """The encoder of a stage's folder, or one of a model's two, that a field of the run's configuration names."""
    path = getattr(config, field)
    if (pathlib.Path(path) / STATE_FILE).exists() or is_export(path):
        return best_encoder(path, model)
    params = load(path, dtype=config.dtype)
    if params.encoders is None or not fits(params.config, model):
        raise InputError(f"{field} must be a stage's folder or a model with encoders of this run's sizes, got {path}")
    both = dual.part(params.encoders["both"], which)
    both = {name: both[name] for name in both if config.step.offsets or name != GROUPS[1]}
    return with_branch(both, model.encoder)


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns its exit code."""
    return run_command(train, PRESETS, arguments, prog="python -m panojax.train.encoder", description=__doc__)
