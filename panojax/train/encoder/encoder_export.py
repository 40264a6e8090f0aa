"""A stage of an encoder's training in half precision, in files small enough to carry from machine to machine.

    python -m panojax.train.export --workdir RUN/e1 --out e1.npz

writes e1.npz.000, e1.npz.001, ...: the newest encoder (Ranger's slow parameters) with its batch norms' statistics, the
critic, both second moments (a byte each; the first ones are back after twenty steps), the step and the configuration.
`--start e1.npz` of a run of the same stage goes on from them; another stage begins with the encoder. Wherever the
folder of a stage serves, so does the export's name.
"""

import dataclasses
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict

from panojax.config import Config, from_json, to_json
from panojax.errors import InputError
from panojax.train.carried import PART_BYTES, branch, find_parts, halves, moment_bytes, read_parts, write_parts
from panojax.train.encoder.run_config import RunConfig
from panojax.train.encoder.state import Learner, TrainState, init_state
from panojax.train.flat import Flat, flatten
from panojax.train.ranger import synced

_SINGLE = 4096  # arrays of fewer numbers are not halved, as in a packed model


@dataclasses.dataclass(frozen=True)
class StageExport:
    """What an export holds.

    Attributes:
      run, model: the configurations of the run, and of generator and encoder.
      step: steps taken.
      learners: {"encoder", maybe "critic"}: {"params", "batch_stats", "moments"} trees, float32. Moments of what did
        not learn are missing.
    """

    run: RunConfig
    model: Config
    step: int
    learners: dict[str, dict[str, Any]]

    @property
    def variables(self) -> dict[str, Any]:
        """The encoder's {network: {"params", "batch_stats"}}."""
        encoder = self.learners["encoder"]
        return {
            name: {"params": params, "batch_stats": encoder["batch_stats"].get(name, {})}
            for name, params in encoder["params"].items()
        }


def is_export(name: str | pathlib.Path) -> bool:
    """Whether there are files of an export under this name."""
    return bool(find_parts(name))


def write_stage(
    name: str | pathlib.Path,
    run: RunConfig,
    model: Config,
    state: TrainState,
    *,
    lean: bool = False,
    part_bytes: int = PART_BYTES,
) -> list[pathlib.Path]:
    """Writes `name`.000, `name`.001, ... and gives their paths. Files of an earlier export under this name go.

    Args:
      lean: the encoder alone, to be packed or started from: neither moments nor critic.

    Raises:
      InputError: a number does not fit half precision.
    """
    arrays: dict[str, np.ndarray] = {}
    learners = {"encoder": state.encoder} | ({"critic": state.critic} if state.critic and not lean else {})
    for which, learner in learners.items():
        arrays |= halves(f"{which}/params", learner.params.slow.tree(), single=_SINGLE)
        arrays |= halves(f"{which}/batch_stats", learner.batch_stats, single=_SINGLE)
        if not lean:
            moments = moment_bytes(f"{which}/moments", _second_moments(learner))
            arrays |= {path: x for path, x in moments.items() if x.any()}
    about = {"run": to_json(run), "model": to_json(model), "step": int(state.step)}
    return write_parts(name, about, arrays, part_bytes)


def read_stage(name: str | pathlib.Path) -> StageExport:
    """What `write_stage` wrote under a name.

    Raises:
      InputError: a file is missing, or damaged, or not of these.
    """
    try:
        about, arrays = read_parts(find_parts(name))
        run, model = from_json(RunConfig, about["run"]), from_json(Config, about["model"])
        learners = {"encoder": _learner(arrays, "encoder")}
        if any(path.startswith("critic/") for path in arrays):
            learners["critic"] = _learner(arrays, "critic")
        return StageExport(run, model, int(about["step"]), learners)
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise InputError(f"{name} must name all files of a stage's export, {name}.000 and so on: {error}") from None


def goes_on(earlier: StageExport, run: RunConfig) -> bool:
    """Whether a run that starts from an export continues it: the same stage, learning and tuning the same against the
    same critic, from the moments that the export must have."""

    def kind(run):
        step = run.objective
        tuned = sorted(step.tune), step.tune and step.tune_scale
        return run.stage, step.learn, tuned, step.rendered, step.critic, step.critic_widths, step.offsets

    known = {"encoder"} | ({"critic"} if run.objective.critic != "none" else set())
    whole = earlier.learners.keys() >= known and "moments" in earlier.learners["encoder"]
    return whole and kind(earlier.run) == kind(run)


def continued(earlier: StageExport, run: RunConfig, model: Config, variables: Any, key: jax.Array) -> TrainState:
    """The state that an export was taken of, up to rounding, with first moments of zero.

    Args:
      variables: of the encoder, for `model`.
      key: draws what the export lacks.

    Raises:
      InputError: the critic has other sizes.
    """
    fresh = init_state(model, run.objective, key, encoder=variables)
    state = TrainState(jnp.asarray(earlier.step, jnp.int32), _warm(fresh.encoder, earlier, "encoder"), fresh.critic)
    if fresh.critic is None:
        return state
    kept = earlier.learners["critic"]
    shapes = [jax.tree.map(np.shape, tree) for tree in (fresh.critic.params.fast.tree(), kept["params"])]
    if shapes[0] != shapes[1]:
        raise InputError("start must be an export with a critic of this run's sizes")
    params, stats = (jax.tree.map(jnp.array, kept.get(name, {})) for name in ("params", "batch_stats"))
    critic = dataclasses.replace(fresh.critic, params=synced(flatten(params)), batch_stats={"critic": {}, **stats})
    return dataclasses.replace(state, critic=_warm(critic, earlier, "critic"))


def _warm(learner: Learner, earlier: StageExport, which: str) -> Learner:
    """The learner with an export's second moments, 0 where it has none, and its count of steps."""
    moments = flatten_dict(earlier.learners[which].get("moments", {}))
    template = learner.params.fast.tree()
    tree = jax.tree.map(jnp.zeros_like, template)
    flat = flatten_dict(tree)
    taken = {path: jnp.array(moments[path]) if path in moments else x for path, x in flat.items()}
    nu: Flat = flatten(_like(tree, taken))
    optimizer = optax.tree_utils.tree_set(learner.optimizer, nu=nu, count=jnp.asarray(earlier.step, jnp.int32))
    return dataclasses.replace(learner, optimizer=optimizer)


def _like(tree, flat, path=()):
    """`flat`, {path: leaf}, in the structure of a tree of dicts, empty ones included."""
    if not isinstance(tree, dict):
        return flat[path]
    return {name: _like(inner, flat, (*path, name)) for name, inner in tree.items()}


def _second_moments(learner: Learner) -> Any:
    nu: Flat = optax.tree_utils.tree_get(learner.optimizer, "nu")
    return nu.tree()


def _learner(arrays, which):
    """{"params", "batch_stats", "moments"}, of those that are there."""
    names = {path.split("/")[1] for path in arrays if path.startswith(f"{which}/")}
    found = {name: branch(arrays, f"{which}/{name}") for name in names}
    if "params" not in found:
        raise KeyError(f"no {which}")
    return {"batch_stats": {}} | found
