"""Checkpoints of a run: written in the background, whole or not at all, the last ones and the best one kept."""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from panojax.errors import InputError


class Checkpoints:
    """The checkpoints in a folder, each under its step's number.

    Attributes:
      folder: made where there is none.
      keep: how many of the newest are kept, besides the best.
    """

    def __init__(self, folder: str | pathlib.Path, *, keep: int = 2):
        if keep < 1:
            raise InputError(f"keep must be at least 1, got {keep}")
        self.folder = pathlib.Path(folder).resolve()
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
                            get_metric_fn=_validation_loss, reverse=True, n=1, keep_checkpoints_without_metrics=False
                        ),
                    ]
                ),
                cleanup_tmp_directories=True,
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
        items = ocp.args.Composite(state=ocp.args.StandardSave(state), source=ocp.args.JsonSave({"state": source}))
        metrics = None if validation is None else {"loss": validation}
        self._manager.save(step, args=items, metrics=metrics, force=True)

    def restore(self, template: Any, step: int | None = None) -> tuple[Any, Any, int]:
        """The state, the data source's state and the step of the newest checkpoint, or of `step`'s.

        Args:
          template: a state of the same shapes and shardings.

        Raises:
          InputError: there is none, or it does not fit the template.
        """
        step = self.latest if step is None else step
        if step is None or step not in self._manager.all_steps():
            raise InputError(f"{self.folder} has no checkpoint{'' if step is None else f' of step {step}'}")
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, template)
        stored = _shapes(self._manager.item_metadata(step).state)
        wanted = _shapes(abstract)
        differing = sorted(name for name in {*stored, *wanted} if stored.get(name) != wanted.get(name))
        if differing:
            name = differing[0]
            raise InputError(
                f"checkpoint {self.folder / str(step)} does not fit the run's configuration: {len(differing)} arrays "
                f"differ, such as {name}: {stored.get(name)} there, {wanted.get(name)} expected"
            )
        try:
            items = self._manager.restore(
                step,
                args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract), source=ocp.args.JsonRestore()),
            )
        except Exception as error:
            raise InputError(f"checkpoint {self.folder / str(step)} cannot be read: {_first_line(error)}") from error
        return items.state, items.source["state"], step

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


def _validation_loss(metrics: Any) -> float:
    return float(metrics["loss"])


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """{path: shape}; the same for named tuples and for the dicts that they are stored as."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {"/".join(map(_name, path)): tuple(leaf.shape) for path, leaf in leaves}


def _name(key: Any) -> str:
    return str(next(getattr(key, name) for name in ("key", "name", "idx") if hasattr(key, name)))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
