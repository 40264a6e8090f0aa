"""The loop around a training step: resuming, signals, NaN, full disks, checkpoints, logs, pictures.

    loop = Loop(config, folder, checkpoints, validate=..., picture=...)
    state = loop.go(state, step, lambda state, step: take_step(state, feed(step), key))

A run that cannot go on raises `Stopped`, whose code is the process's exit code: 70 the numbers are not finite, or
diverged; 74 something could not be written; 75 a signal came, or its time is over, and the same command goes on.
"""

import contextlib
import json
import math
import pathlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import jax
import numpy as np
from jax.experimental import multihost_utils

from panojax.config import from_json, to_json
from panojax.disk.locks import alone_in
from panojax.disk.reading import read_json
from panojax.disk.staging import clean_leftovers, replaced_when_done
from panojax.errors import InputError
from panojax.files.quiet import quiet_orbax
from panojax.train.checkpoints import Checkpoints
from panojax.train.encoder.state import all_finite
from panojax.train.logs import Averages, Log, Progress, write_sheet

DIVERGED, UNWRITABLE, TERMINATED = 70, 74, 75
CONFIG_FILE = "config.json"

TakeStep = Callable[[Any, int], tuple[Any, dict[str, jax.Array]]]


class Stopped(RuntimeError):
    """A run that ended before its last step. `code` is the process's exit code."""

    def __init__(self, message: str, code: int):
        super().__init__(message)
        self.code = code


class Intervals(Protocol):
    """What the loop reads of a run's configuration; the fields are explained there."""

    @property
    def batch(self) -> int: ...

    @property
    def steps(self) -> int: ...

    @property
    def log_every(self) -> int: ...

    @property
    def save_every(self) -> int: ...

    @property
    def picture_every(self) -> int: ...


class Loop:
    """Takes a state to the last step of a run.

    Attributes:
      intervals: when to do what.
      folder: where log and pictures go.
      checkpoints: of the run.
      source_state: gives the data source's state, JSON, to be saved with a checkpoint.
      validate: state -> numbers with "loss", by which the best checkpoint is chosen; None validates nothing.
      picture: state -> a sheet [H, W, 3] in [-1, 1].
      notes: step -> more numbers for the log.
      divergence: the run stops where the logged "loss" is this many times the lowest so far; None watches only for
        numbers that are not finite.
      minutes: after so many the run saves, draws and stops; None sets no limit.
      deadline: a time of `time.monotonic()` at which it does so.
    """

    def __init__(
        self,
        intervals: Intervals,
        folder: pathlib.Path,
        checkpoints: Checkpoints,
        *,
        source_state: Callable[[], Any] = lambda: None,
        validate: Callable[[Any], dict[str, float]] | None = None,
        picture: Callable[[Any], jax.Array] | None = None,
        notes: Callable[[int], dict[str, float]] = lambda step: {},
        divergence: float | None = None,
        minutes: float | None = None,
        deadline: float | None = None,
    ):
        self.intervals, self.folder, self.checkpoints = intervals, folder, checkpoints
        self.source_state, self.validate, self.picture = source_state, validate, picture
        self.notes, self.divergence = notes, divergence
        self.first_process = jax.process_index() == 0
        self.lowest = math.inf
        limits = (deadline, None if minutes is None else time.monotonic() + 60 * minutes)
        self.deadline = min((limit for limit in limits if limit is not None), default=math.inf)

    def go(self, state: Any, step: int, take_step: TakeStep) -> Any:
        """The state after the last step, from the state after `step` of them.

        Args:
          take_step: (state, step) -> the next state and scalars on the device. The state may be donated.

        Raises:
          Stopped: see the module's docstring.
        """
        every = self.intervals
        log = Log(self.folder, step=step) if self.first_process else None
        progress, averages = Progress(step, every.steps, every.batch), Averages()
        with _signals() as received:
            while step < every.steps:
                state, metrics = take_step(state, step)
                averages.add(metrics)
                step += 1
                if step % every.log_every == 0 or step == every.steps:
                    numbers = self.notes(step) | averages.read()
                    self._check(step, numbers)
                    if log is not None:
                        self._write(step, log.write, step, numbers | progress.line(step, numbers))
                if self._stopped(received, step):
                    self._save(step, state, None)
                    if not received:
                        self._draw(step, state)
                    self._flush(step)
                    raise Stopped(f"stopped at step {step} with a checkpoint; the same command goes on", TERMINATED)
                if step % every.save_every == 0 or step == every.steps:
                    validation = self.validate(state) if self.validate is not None else {}
                    self._save(step, state, validation.get("loss"))
                    if log is not None and validation:
                        named = {f"validation/{name}": value for name, value in validation.items()}
                        self._write(step, log.write, step, named)
                if every.picture_every and (step % every.picture_every == 0 or step == every.steps):
                    self._draw(step, state)
            self._flush(step)
        return state

    def _check(self, step, numbers):
        """Stops a run with a number that is not finite, or a loss far above the lowest so far."""
        broken = [name for name, value in numbers.items() if not math.isfinite(value)]
        if broken:
            raise Stopped(f"step {step}: {', '.join(broken)} not finite; {self._last_good()}", DIVERGED)
        if self.divergence is None:
            return
        if numbers["loss"] > self.divergence * self.lowest:
            raise Stopped(f"step {step}: loss {numbers['loss']:.4g} diverged; {self._last_good()}", DIVERGED)
        self.lowest = min(self.lowest, numbers["loss"])

    def _stopped(self, received, step):
        """Whether a signal came, to any process, or the time is over: they agree where they log."""
        asked = bool(received) or time.monotonic() > self.deadline
        if jax.process_count() == 1:
            return asked
        if step % self.intervals.log_every:
            return False
        return bool(np.any(multihost_utils.process_allgather(np.array(asked))))

    def _save(self, step, state, validation):
        if not bool(all_finite(state)) or (validation is not None and not math.isfinite(validation)):
            raise Stopped(f"step {step}: parameters are not finite; {self._last_good()}", DIVERGED)
        self._write(step, self.checkpoints.save, step, state, self.source_state(), validation=validation)

    def _draw(self, step, state):
        if self.picture is None:
            return
        sheet = self.picture(state)
        if self.first_process:
            self._write(step, write_sheet, self.folder / "pictures" / f"{step:07d}.png", sheet)

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


@contextlib.contextmanager
def alone(folder: pathlib.Path) -> Iterator[None]:
    """Holds a run's folder for the block, in the first of its processes; OutputError says which run has it already."""
    with alone_in(folder, "workdir") if jax.process_index() == 0 else contextlib.nullcontext(), quiet_orbax():
        clean_leftovers(folder)
        yield


def remember(folder: pathlib.Path, run: Any, *, free: frozenset[str], **parts: Any) -> None:
    """Writes a run's `config.json`, or checks that the run it was written for is this one.

    Args:
      folder: the run's.
      run: its configuration, a dataclass.
      free: fields of it that a resumed run may change.
      parts: further dataclasses that are written beside it and may not change.

    Raises:
      InputError: the folder holds a run with another configuration, or no configuration.
    """
    path = folder / CONFIG_FILE
    record = json.loads(json.dumps({"run": to_json(run), **{name: to_json(part) for name, part in parts.items()}}))
    if path.exists():
        try:
            earlier = read_json(path)
            # Fields that came with a later version have their defaults.
            typed = {"run": run, **parts}
            stored = {name: to_json(from_json(type(part), earlier[name])) for name, part in typed.items()}
            stored = json.loads(json.dumps(stored))
            old, new = ({**x["run"], **{name: x[name] for name in parts}} for x in (stored, record))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} must be a run's configuration: {error}") from None
        changed = sorted(name for name in {*old, *new} - free if old.get(name) != new.get(name))
        if changed:
            raise InputError(f"{folder} holds a run with another {', '.join(changed)}: resume it as it was, or move it")
    if jax.process_index() == 0:
        folder.mkdir(parents=True, exist_ok=True)
        with replaced_when_done(path, overwrite=True) as partial:
            partial.write_text(json.dumps(record, indent=1) + "\n")


def write_overview(path: pathlib.Path, params: Any) -> None:
    """Writes every parameter's shape, mean and deviation, by clu; one line says so where clu is not installed."""
    try:
        from clu import parameter_overview

        text = parameter_overview.get_parameter_overview(params)
    except ImportError:
        text = "the package clu, which lists parameters, is not installed"
    with replaced_when_done(path, overwrite=True) as partial:
        partial.write_text(text + "\n")


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
