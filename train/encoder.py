"""Trains one encoder: python -m panojax.train.encoder PRESET --workdir DIR --stage e1 ...

The run's folder gets, for each stage, `config.json`, `parameters.txt`, `log.jsonl`, `checkpoints/` and `pictures/`; the
finished model is exported to `model/`, which `panojax.load` reads. The same command again resumes.

Exit codes: 0 done; 2 bad input; 70 the loss is not finite, or diverged; 74 a checkpoint could not be written; 75
stopped by SIGTERM or SIGINT with a checkpoint, so that the same command goes on.
"""

import contextlib
import dataclasses
import functools
import json
import math
import os
import pathlib
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import tyro
from clu import parameter_overview
from jax.experimental import multihost_utils

from panojax import camera as cameras
from panojax.config import Config, to_json
from panojax.errors import InputError
from panojax.layers import pool
from panojax.params import Params, load
from panojax.train.checkpoints import Checkpoints
from panojax.train.encoder_steps import compile_step, encode, evaluate
from panojax.train.export import STATE_FILE, best_encoder, export
from panojax.train.feed import Feed, open_source
from panojax.train.logs import Averages, Log, Progress, picture_sheet, stitched, write_sheet
from panojax.train.perception import load_perception
from panojax.train.presets import PRESETS, RunConfig
from panojax.train.sharding import data_mesh, placed_template, replicate, replicated, run_key
from panojax.train.sources import Source
from panojax.train.spaces import fit_encoder, mean_codes
from panojax.train.state import Frozen, TrainState, abstract_state, all_finite, init_state

DIVERGED, UNWRITABLE, TERMINATED = 70, 74, 75
YAWS = (0, 45, 90, 135, 180, 225, 270, 315)  # degrees, of the pictures
# Fields that a resumed run may change.
_FREE = frozenset(["workdir", "steps", "log_every", "save_every", "picture_every", "keep", "divergence"]) | frozenset(
    ["distributed", "coordinator", "processes", "process"]
)


class Stopped(RuntimeError):
    """A run that ended before its last step. `code` is the process's exit code."""

    def __init__(self, message: str, code: int):
        super().__init__(message)
        self.code = code


def train(
    config: RunConfig,
    *,
    params: Params | None = None,
    source: Source | None = None,
    validation: Source | None = None,
) -> TrainState:
    """Runs a stage to its last step, from its newest checkpoint if it has one, and exports the model.

    Args:
      config: the run.
      params: the generator, instead of `config.generator`'s.
      source: photos, instead of `config.data`'s: see `panojax.train.sources`. Give `data` a name all the same.
      validation: held-out photos; needed with `source`.

    Raises:
      InputError: the configuration does not fit the files, or the checkpoints.
      Stopped: by a signal, by numbers that are not finite, or by a disk that takes no more.
    """
    if not config.workdir:
        raise InputError("workdir must name the run's folder (--workdir DIR)")
    params = load(config.generator) if params is None else params
    folder = pathlib.Path(config.workdir) / config.stage
    mesh = data_mesh()
    frozen = freeze(config, params, mesh)
    _remember(folder, config, frozen.config)
    with Checkpoints(folder / "checkpoints", keep=config.keep) as checkpoints:
        state, source_state, step = _begin(config, frozen, checkpoints, mesh)
        if jax.process_index() == 0:
            overview = parameter_overview.get_parameter_overview(state.encoder.params.fast)
            (folder / "parameters.txt").write_text(overview + "\n")
        if source is None:
            source, validation = (open_source(config, frozen, part) for part in ("train", "validation"))
        if source is not None and source_state is not None:
            source.set_state(source_state)
        feed = Feed(config, frozen, mesh, source)
        held_out = Feed(config, frozen, mesh, validation, validation=True)
        batches = [held_out(i) for i in range(config.validation_batches)]
        run = _Run(config, frozen, folder, checkpoints, feed, batches, mesh)
        state = run.go(state, step, run_key(config.seed, mesh), compile_step(config.objective, mesh))
    if jax.process_count() == 1 and config.step.space == "w+":
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
    frozen = Frozen(params.generator, average, perception, config=Config(generator, encoder))
    placed: Frozen = replicate(frozen, mesh)
    return placed


class _Run:
    """The loop and what it writes."""

    def __init__(self, config, frozen, folder, checkpoints, feed, held_out, mesh):
        self.config, self.frozen, self.folder = config, frozen, folder
        self.checkpoints, self.feed, self.held_out = checkpoints, feed, held_out
        self.first_process = jax.process_index() == 0
        self.lowest = math.inf
        self._sheet = jax.jit(_sheet, static_argnames="config", out_shardings=replicated(mesh))

    def go(self, state: TrainState, step: int, key: jax.Array, take_step: Any) -> TrainState:
        config = self.config
        log = Log(self.folder, step=step) if self.first_process else None
        progress, averages = Progress(step, config.steps, config.batch), Averages()
        with _signals() as received:
            while step < config.steps:
                state, metrics = take_step(state, self.frozen, self.feed(step), key)
                averages.add(metrics)
                step += 1
                if step % config.log_every == 0 or step == config.steps:
                    numbers = averages.read()
                    self._check(step, numbers)
                    if log is not None:
                        self._write(step, log.write, step, numbers | progress.line(step, numbers))
                if self._stopped(received, step):
                    self._save(step, state, None)
                    self._flush(step)
                    raise Stopped(f"stopped at step {step} with a checkpoint; the same command goes on", TERMINATED)
                if step % config.save_every == 0 or step == config.steps:
                    validation = self._validate(state)
                    self._save(step, state, validation["loss"])
                    if log is not None:
                        named = {f"validation/{name}": value for name, value in validation.items()}
                        self._write(step, log.write, step, named)
                if config.picture_every and (step % config.picture_every == 0 or step == config.steps):
                    self._picture(step, state)
            self._flush(step)
        return state

    def _check(self, step, numbers):
        """Stops a run whose loss is not finite, or far above the lowest so far."""
        broken = [name for name, value in numbers.items() if not math.isfinite(value)]
        if broken:
            raise Stopped(f"step {step}: {', '.join(broken)} not finite; {self._last_good()}", DIVERGED)
        if numbers["loss"] > self.config.divergence * self.lowest:
            raise Stopped(f"step {step}: loss {numbers['loss']:.4g} diverged; {self._last_good()}", DIVERGED)
        self.lowest = min(self.lowest, numbers["loss"])

    def _stopped(self, received, step):
        """Whether a signal came, to any process: they agree where they log."""
        if jax.process_count() == 1:
            return bool(received)
        if step % self.config.log_every:
            return False
        return bool(np.any(multihost_utils.process_allgather(np.array(bool(received)))))

    def _validate(self, state):
        """Means over the held-out batches, with the slow parameters."""
        averages, variables = Averages(), state.encoder.variables()
        for batch in self.held_out:
            averages.add(evaluate(self.frozen, variables, batch, config=self.config.objective))
        return averages.read()

    def _save(self, step, state, validation):
        if not bool(all_finite(state)) or (validation is not None and not math.isfinite(validation)):
            raise Stopped(f"step {step}: parameters are not finite; {self._last_good()}", DIVERGED)
        source = self.feed.source and self.feed.source.get_state()
        self._write(step, self.checkpoints.save, step, state, source, validation=validation)

    def _flush(self, step):
        self._write(step, self.checkpoints.wait)

    def _write(self, step, write, *arguments, **options):
        try:
            write(*arguments, **options)
        except Exception as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            raise Stopped(f"step {step}: cannot write: {reason}; {self._last_good()}", UNWRITABLE) from error

    def _last_good(self):
        with contextlib.suppress(Exception):
            self.checkpoints.wait()
        latest = self.checkpoints.latest
        where = "there is no checkpoint yet" if latest is None else f"{self.checkpoints.folder / str(latest)}"
        return f"last good checkpoint: {where}"

    def _picture(self, step, state):
        visible = None
        if self.config.stage == "e2" and (pathlib.Path(self.config.workdir) / "e1" / STATE_FILE).exists():
            visible = self._visible
        variables = state.encoder.variables()
        sheet = self._sheet(self.frozen, visible, variables, self.held_out[0], config=self.config.objective)
        if self.first_process:
            self._write(step, write_sheet, self.folder / "pictures" / f"{step:07d}.png", sheet)

    @functools.cached_property
    def _visible(self):
        """Encoder 1 of the same run, for pictures."""
        return best_encoder(pathlib.Path(self.config.workdir) / "e1", self.frozen.config)


def _sheet(frozen, visible, variables, batch, config):
    """Up to four portraits: a row of this encoder's head, and where encoder 1 is given its own and the stitched one."""
    image, labels = batch["image"][:4], batch["camera"][:4]
    model = frozen.config

    def heads(variables):
        pictures = pool(image, model.encoder.resolution)
        return encode(frozen, variables, pictures, labels, config=config, train=False).heads

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
    encoder = best_encoder(config.start, model) if config.start is not None else None
    state = init_state(model, objective, jax.random.fold_in(jax.random.key(config.seed), 3), encoder=encoder)
    return replicate(state, mesh), None, 0


def _remember(folder: pathlib.Path, config: RunConfig, model: Config) -> None:
    """Writes `config.json`, or checks that the run it was written for is this one."""
    path = folder / STATE_FILE
    record = json.loads(json.dumps({"run": to_json(config), "model": to_json(model)}))
    if path.exists():
        try:
            earlier = json.loads(path.read_text())
            old, new = ({**x["run"], "model": x["model"]} for x in (earlier, record))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} must be a run's configuration: {error}") from None
        changed = sorted(name for name in {*old, *new} - _FREE if old.get(name) != new.get(name))
        if changed:
            raise InputError(f"{folder} holds a run with another {', '.join(changed)}: resume it as it was, or move it")
    if jax.process_index() == 0:
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        partial.write_text(json.dumps(record, indent=1) + "\n")
        partial.replace(path)


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Collects SIGTERM and SIGINT in a list instead of dying of them (in the main thread: others get no signals)."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def note(number, frame):
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns its exit code."""
    presets = {name: ((preset.__doc__ or "").splitlines()[0], preset()) for name, preset in PRESETS.items()}
    config = tyro.extras.overridable_config_cli(
        presets, args=arguments, prog="python -m panojax.train.encoder", description=__doc__
    )
    try:
        if config.distributed:
            jax.distributed.initialize(config.coordinator, config.processes, config.process)
        train(config)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Stopped as stop:
        print(f"stopped: {stop}", file=sys.stderr)
        return stop.code
    return 0


if __name__ == "__main__":
    sys.exit(main())
