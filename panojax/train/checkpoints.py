"""Checkpoints of a run: written in the background, whole or not at all, the last ones and the best one kept."""

import contextlib
import itertools
import json
import math
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from orbax.checkpoint import checkpoint_managers as policies

from panojax.disk.reading import check_tree, read_json
from panojax.errors import InputError
from panojax.files import checksums
from panojax.files.quiet import first_line, quiet_orbax

MAX_BYTES = 2**40  # of a checkpoint's files together


class DamagedError(InputError):
    """A checkpoint whose files are not those that were written."""


class Checkpoints:
    """The checkpoints in a folder, each under its step's number.

    Attributes:
      folder: made where there is none.
      keep: how many of the newest are kept, besides the best.
      read_only: for readers, which a run may be writing beside: nothing in the folder is changed.
    """

    def __init__(self, folder: str | pathlib.Path, *, keep: int = 2, read_only: bool = False):
        if keep < 1:
            raise InputError(f"keep must be at least 1, got {keep}")
        self.folder = pathlib.Path(folder).resolve()
        self._read_only = read_only
        self._check_losses()
        with quiet_orbax(), _opening(self.folder):
            self._manager = ocp.CheckpointManager(
                self.folder,
                item_handlers={"state": ocp.StandardCheckpointHandler(), "source": ocp.JsonCheckpointHandler()},
                options=ocp.CheckpointManagerOptions(
                    best_fn=_validation_loss,
                    best_mode="min",
                    preservation_policy=policies.preservation_policy.AnyPreservationPolicy(
                        [
                            policies.preservation_policy.LatestN(keep),
                            policies.preservation_policy.BestN(
                                get_metric_fn=_validation_loss,
                                reverse=True,
                                n=1,
                                keep_checkpoints_without_metrics=False,
                            ),
                        ]
                    ),
                    cleanup_tmp_directories=not read_only,
                    read_only=read_only,
                    enable_async_checkpointing=True,
                ),
            )

    def save(self, step: int, state: Any, source: Any, *, validation: float | None = None) -> None:
        """Starts to write a checkpoint, once the one before is written. A step that has one is left as it is.

        Args:
          step: its name.
          state: pytree of arrays. They may be donated as soon as this returns.
          source: JSON, the data source's state.
          validation: the loss by which the best one is chosen.

        Raises:
          OSError, ValueError: writing this one or the one before failed.
        """
        if step in self._manager.all_steps():
            return
        if jax.default_backend() == "cpu":
            # There the writer would read the arrays' own memory, which the next step overwrites.
            state = jax.tree.map(jnp.copy, state)
        record = {"state": source, "sha256": checksums.array_sums(state), "shapes": _shapes(state)}
        record = json.loads(json.dumps(record))
        record["sum"] = checksums.own_sum(record)
        items = ocp.args.Composite(state=ocp.args.StandardSave(state), source=ocp.args.JsonSave(record))
        metrics = None if validation is None else {"loss": validation}
        self._manager.save(step, args=items, metrics=metrics, force=True)

    def restore(self, template: Any, step: int | None = None) -> tuple[Any, Any, int]:
        """The state, the data source's state and the step of the newest whole checkpoint, or of `step`'s.

        Damaged ones that are newer are said on stderr and moved to `damaged/` beside the checkpoints' folder.

        Args:
          template: a state of the same shapes and shardings.

        Raises:
          InputError: there is none, or none that is whole, or it does not fit the template.
        """
        if step is not None or self.latest is None:
            if step is None or step not in self._manager.all_steps():
                raise InputError(f"{self.folder} has no checkpoint{'' if step is None else f' of step {step}'}")
            return *self._read(template, step), step
        damaged: dict[int, str] = {}
        for newest in sorted(self._manager.all_steps(), reverse=True):
            try:
                state, source = self._read(template, newest)
            except DamagedError as error:
                damaged[newest] = str(error)
                continue
            for broken, message in damaged.items():
                self._put_aside(broken, message, newest)
            return state, source, newest
        raise InputError(
            f"{self.folder} has no checkpoint that can be read: {next(iter(damaged.values()))}; "
            "move the folder away to start anew"
        )

    def _read(self, template: Any, step: int) -> tuple[Any, Any]:
        """The state and the data source's state of a step. The processes of a run agree whether it is whole."""
        with quiet_orbax() as problems:
            found, problem = self._read_here(template, step)
            if problem:
                problems.append(problem)
        if jax.process_count() > 1:
            whole = bool(np.all(multihost_utils.process_allgather(np.array(not problem))))
            problem = problem or ("" if whole else "another process cannot read it")
        if problem:
            raise DamagedError(f"checkpoint {self.folder / str(step)} cannot be read: {problem}")
        return found

    def _read_here(self, template: Any, step: int) -> tuple[Any, str]:
        """The state and the data source's state of a step, and what keeps it from being read, or ""."""
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, template)
        wanted = _shapes(abstract)
        try:
            check_tree(self.folder / str(step), limit=MAX_BYTES)
            record = self._manager.restore(step, args=ocp.args.Composite(source=ocp.args.JsonRestore())).source
            if "sum" in record and record["sum"] != checksums.own_sum(record):
                raise ValueError("its record has another checksum")
            # What the record tells of shapes is checked; of older checkpoints, orbax's own metadata must do.
            stored = {name: tuple(shape) for name, shape in record["shapes"].items()} if "shapes" in record else None
            told = _shapes(self._manager.item_metadata(step).state)
            if stored is not None and told != stored:
                raise ValueError("its arrays have other shapes than its record says")
        except Exception as error:
            return None, first_line(error)
        stored = told if stored is None else stored
        if differing := sorted(name for name in {*stored, *wanted} if stored.get(name) != wanted.get(name)):
            name = differing[0]
            raise InputError(
                f"checkpoint {self.folder / str(step)} does not fit the run's configuration: "
                f"{len(differing)} arrays differ, such as {name}: {stored.get(name)} there, {wanted.get(name)} expected"
            )
        try:
            state = self._manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract))).state
            if wrong := checksums.differing(state, record.get("sha256", {})):
                raise ValueError(f"{len(wrong)} arrays, first {wrong[0]}, have another checksum")
        except Exception as error:
            return None, first_line(error)
        return (state, record["state"]), ""

    def _check_losses(self) -> None:
        """Puts checkpoints aside whose loss cannot be read: orbax reads all of them when it opens the folder."""
        try:
            steps = [int(path.name) for path in self.folder.iterdir() if path.name.isdecimal()]
        except FileNotFoundError:
            return
        broken = {step: problem for step in steps if (problem := _loss_problem(self.folder / str(step)))}
        if broken and (self._read_only or len(broken) == len(steps)):
            raise DamagedError(f"{self.folder} has no checkpoint that can be read: {next(iter(broken.values()))}")
        for step, problem in broken.items():
            self._move_aside(step, problem, max(set(steps) - broken.keys()))

    def _put_aside(self, step: int, message: str, good: int) -> None:
        """Moves a damaged checkpoint out of the way and says so."""
        if not self._read_only:
            self._move_aside(step, message, good)
            self._manager.reload()

    def _move_aside(self, step: int, message: str, good: int) -> None:
        if jax.process_index() == 0:
            aside = self.folder.parent / "damaged" / str(step)
            for number in itertools.count(1):
                if not aside.exists():
                    break
                aside = aside.with_name(f"{step}.{number}")
            aside.parent.mkdir(exist_ok=True)
            (self.folder / str(step)).rename(aside)
            print(f"{message}; it is kept in {aside}, and the run goes on from step {good}", file=sys.stderr)
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices(f"panojax_damaged_{step}")

    @property
    def latest(self) -> int | None:
        """The newest step, or None."""
        step: int | None = self._manager.latest_step()
        return step

    @property
    def best(self) -> int | None:
        """The step of the lowest validation loss, or the newest where none was validated."""
        step: int | None = self._manager.best_step()
        return self.latest if step is None else step

    def wait(self) -> None:
        """Returns when all is on disk. Raises what the writer raised."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits for the writer and ends its threads. Raises what the writer raised."""
        self._manager.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind, error, trace) -> None:
        try:
            self.close()
        except Exception:
            if error is None:
                raise


@contextlib.contextmanager
def _opening(folder: pathlib.Path) -> Iterator[None]:
    """What orbax says of files that it cannot understand, as an error of one line."""
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DamagedError(f"{folder} must be a folder of checkpoints that are whole: {first_line(error)}") from error


def _loss_problem(folder: pathlib.Path) -> str | None:
    """What is wrong with what orbax reads of a checkpoint when it opens its folder: its record and its loss."""
    record = folder / "_CHECKPOINT_METADATA"
    if record.exists() and not _is_record(record):
        return f"checkpoint {folder} cannot be read: its metadata are damaged"
    path = folder / "metrics" / "metrics"
    if not path.parent.exists():
        return None
    try:
        if not math.isfinite(_validation_loss(read_json(path))):
            raise ValueError("the loss is not finite")
    except (ValueError, KeyError, TypeError) as error:
        return f"checkpoint {folder} cannot be read: its loss is damaged ({first_line(error)})"
    return None


def _is_record(path: pathlib.Path) -> bool:
    """Whether a file is a checkpoint's metadata: times in nanoseconds, and names of handlers and numbers by names."""
    try:
        record = read_json(path)
    except InputError:
        return False
    if not isinstance(record, dict):
        return False
    for name, value in record.items():
        whole = type(value) is int if name.endswith("nsecs") else isinstance(value, dict)
        if value is not None and not whole and not (name == "item_handlers" and isinstance(value, str)):
            return False
    handlers = record.get("item_handlers")
    return not isinstance(handlers, dict) or all(isinstance(value, str) for value in handlers.values())


def _validation_loss(metrics: Any) -> float:
    return float(metrics["loss"])


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """{path: shape}; the same for named tuples and for the dicts that they are stored as."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {checksums.path_name(path): tuple(leaf.shape) for path, leaf in leaves}
