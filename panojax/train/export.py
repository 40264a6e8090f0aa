"""From a run's folder to a model that `panojax.load` reads: python -m panojax.train.export --workdir DIR

`DIR/model` gets the generator, the best encoder 1 by validation loss as "visible" and the best encoder 2 as "occluded";
before encoder 2 is trained, encoder 1 in both places. Parameters are the slow ones of the lookahead.

    python -m panojax.train.export --workdir DIR/e1 --out e1.npz

writes the newest state of a stage in half precision, in files that go on elsewhere: see `encoder.encoder_export`.
"""

import dataclasses
import pathlib
import shutil
import sys
from typing import Any

import jax
import numpy as np

from panojax.config import Config, from_json
from panojax.devices.sharding import data_mesh, placed_template
from panojax.disk.reading import read_json
from panojax.encoders import dual
from panojax.encoders.encoder import init_encoder
from panojax.encoders.encoder_config import EncoderConfig
from panojax.errors import InputError
from panojax.files.checkpoint import load, save
from panojax.inversion.spaces import GROUPS, mean_codes
from panojax.params import Params
from panojax.terminal.process import run_function
from panojax.train.checkpoints import Checkpoints
from panojax.train.encoder.encoder_export import is_export, read_stage, write_stage
from panojax.train.encoder.run_config import RunConfig
from panojax.train.encoder.state import TrainState, abstract_state
from panojax.train.encoder.step_config import RENDERER, StepConfig
from panojax.train.encoder.tuning import tuned_generator
from panojax.train.loop import CONFIG_FILE

STATE_FILE = CONFIG_FILE


def read_run(folder: str | pathlib.Path) -> tuple[RunConfig, Config]:
    """The configurations of a stage's folder or export: the run's and the networks'.

    Raises:
      InputError: it is none.
    """
    if is_export(folder):
        stage = read_stage(folder)
        return stage.run, stage.model
    path = pathlib.Path(folder) / STATE_FILE
    try:
        record = read_json(path)
        return from_json(RunConfig, record["run"]), from_json(Config, record["model"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder} must be a stage's folder such as DIR/e1: {error}") from None


def best_encoder(folder: str | pathlib.Path, model: Config) -> dict[str, Any]:
    """The variables {network: {"params", "batch_stats"}} of a stage's best checkpoint, or export, as NumPy arrays.

    Where `model` has a local branch and the stage has none, one that changes nothing is added.

    Raises:
      InputError: there is none, or its networks are not those of `model`.
    """
    run, stored = read_run(folder)
    if not fits(stored, model):
        raise InputError(f"{folder} has an encoder or a generator of other sizes than this run's")
    if is_export(folder):
        return with_branch(read_stage(folder).variables, model.encoder)
    template = placed_template(abstract_state(stored, run.objective), data_mesh())
    with Checkpoints(pathlib.Path(folder) / "checkpoints", keep=run.keep, read_only=True) as checkpoints:
        state, _, _ = checkpoints.restore(template, checkpoints.best)
    variables: dict[str, Any] = jax.tree.map(np.asarray, state.encoder.variables())
    return with_branch(variables, model.encoder)


def read_state(folder: str | pathlib.Path) -> tuple[RunConfig, Config, TrainState]:
    """The configurations of a stage's folder and its newest checkpoint.

    Raises:
      InputError: it is none, or has no checkpoint.
    """
    run, model = read_run(folder)
    template = placed_template(abstract_state(model, run.objective), data_mesh())
    with Checkpoints(pathlib.Path(folder) / "checkpoints", keep=run.keep, read_only=True) as checkpoints:
        state, _, _ = checkpoints.restore(template)
    return run, model, state


def fits(stored: Config, model: Config) -> bool:
    """Whether a stored encoder is one of `model`, a local branch aside that only `model` has; in any compute type."""
    generator = dataclasses.replace(stored.generator, dtype=model.generator.dtype)
    return generator == model.generator and _same_but_branch(stored.encoder, model.encoder)


def _same_but_branch(stored: Any, encoder: Any) -> bool:
    if not (isinstance(stored, EncoderConfig) and isinstance(encoder, EncoderConfig)):
        if type(stored) is type(encoder) and hasattr(encoder, "dtype"):
            stored = dataclasses.replace(stored, dtype=encoder.dtype)
        return stored is not None and bool(stored == encoder)
    names = () if stored.local_features else ("local_features", "local_hidden", "local_channels")
    branch = {name: getattr(encoder, name) for name in names}
    return dataclasses.replace(stored, dtype=encoder.dtype, **branch) == encoder


def with_branch(variables: Any, encoder: Any) -> Any:
    """Variables with a local branch, where `encoder` has one: one that changes nothing, if they lack it."""
    if not isinstance(encoder, EncoderConfig) or not encoder.local_features or GROUPS[2] in variables:
        return variables
    return variables | {GROUPS[2]: init_encoder(encoder, jax.random.key(0))[GROUPS[2]]}


def export(workdir: str | pathlib.Path, params: Params | None = None) -> str:
    """Writes `workdir/model` from the stages that are there, in the place of an earlier one.

    Args:
      params: the generator; None loads the one that the stages were trained with.

    Returns:
      A line that says what was written.

    Raises:
      InputError: there is no encoder 1, or the encoders predict other latents than W+.
    """
    workdir = pathlib.Path(workdir)
    second = (workdir / "e2" / STATE_FILE).exists()
    params = load(read_run(workdir / "e1")[0].generator) if params is None else params
    whole = assemble(params, workdir / "e1", workdir / "e2" if second else None)
    target, partial, old = (workdir / name for name in ("model", ".model.partial", ".model.old"))
    for leftover in (partial, old):
        shutil.rmtree(leftover, ignore_errors=True)
    save(whole, partial)
    if target.exists():
        target.rename(old)
    partial.rename(target)
    shutil.rmtree(old, ignore_errors=True)
    alone = "encoder 1" if whole.config.encoders == 1 else "encoder 1 in both places"
    return f"wrote {target} with {'both encoders' if second else alone}"


def assemble(
    params: Params, first: pathlib.Path | None, second: pathlib.Path | None = None, *, keep: bool = False
) -> Params:
    """A generator with the best encoders of stages' folders, tuned where the first one's training did; without a second
    one, the first in both places, or alone where it is not the package's own kind of encoder.

    Args:
      params: the generator. Its model's mean codes are kept, where it has encoders.
      first, second: stages' folders.
      keep: where no folder is given, the model's own encoder serves, if it has one.

    Raises:
      InputError: a folder is no stage's, or its encoder was not trained into W+ for a generator of these sizes; the two
        have other sizes, a local branch aside; there is no first one.
    """
    generator = params.generator
    own = params.encoders["both"] if keep and params.encoders is not None else None
    found: list[Any] = []
    sizes: list[Any] = []
    framing = params.config.framing
    for folder, which in ((first, dual.VISIBLE), (second, dual.OCCLUDED)):
        if folder is not None:
            variables, trained, step = _stage_encoder(folder, params)
            renderer = variables.pop(RENDERER, None)
            if renderer is not None and which == dual.VISIBLE:
                generator = tuned_generator(generator, renderer, step)
            found.append(variables)
            sizes.append(trained.encoder)
            framing = trained.framing
        elif own is not None and (which == dual.VISIBLE or not _one_encoder(own)):
            found.append(dual.part(own, which))
            sizes.append(params.config.encoder)
        elif found:
            found.append(found[0])
            sizes.append(sizes[0])
        else:
            raise InputError("encoder 2 needs encoder 1 beside it, in a folder or in the model, got it alone")
    if second is None and own is None and not isinstance(sizes[0], EncoderConfig):
        found, sizes = found[:1], sizes[:1]
    encoder = max(sizes, key=lambda size: getattr(size, "local_features", 0))
    if not all(_same_but_branch(size, encoder) for size in sizes):
        raise InputError("encoders 1 and 2 must have the same sizes to make a model")
    found = [with_branch(variables, encoder) for variables in found]
    if params.encoders is not None:
        average = params.encoders["latent_average"]
    else:
        average = mean_codes(trained.generator, params.generator, jax.random.key(0))  # as in training
    encoders = {"both": dual.join(*found), "latent_average": average}
    config = dataclasses.replace(params.config, encoder=encoder, encoders=len(found), framing=framing)
    return Params(generator, encoders, config=config)


def _stage_encoder(folder: pathlib.Path, params: Params) -> tuple[dict[str, Any], Config, StepConfig]:
    """The best encoder of a stage's folder, which was trained for this generator, the configuration of both, and the
    steps'."""
    run, model = read_run(folder)
    if run.step.space != "w+":
        raise InputError(f"only encoders into W+ make a model, got one into {run.step.space}")
    if dataclasses.replace(model.generator, dtype=params.config.generator.dtype) != params.config.generator:
        raise InputError(f"{folder} has an encoder of a generator with another configuration")
    return _whole(best_encoder(folder, model), model), model, run.step


def _one_encoder(both: Any) -> bool:
    """Whether a model has the same encoder in both places."""
    return all(np.array_equal(x[0], x[1]) for x in jax.tree.leaves(both))


def _whole(variables, model):
    """Variables with an F stage: where none was trained, one that gives zeros. Others' stages are all there."""
    if GROUPS[1] in variables or not isinstance(model.encoder, EncoderConfig):
        return variables
    silent = init_encoder(model.encoder, jax.random.key(0))[GROUPS[1]]
    last = "final_head_two.4" if model.encoder.planes_channels else "final_head.4"
    params = silent["params"] | {last: jax.tree.map(np.zeros_like, silent["params"][last])}
    return variables | {GROUPS[1]: silent | {"params": params}}


def command(workdir: str, out: str | None = None, lean: bool = False) -> None:
    """Writes DIR/model from DIR/e1 and, if there is one, DIR/e2; with --out, a stage's newest state to carry.

    For example:

        python -m panojax.train.export --workdir RUN
        python -m panojax.train.export --workdir RUN/e1 --out e1.npz

    Args:
      workdir: the run's folder DIR, or with --out a stage's, DIR/e1.
      out: name of the stage's files, to which .000, .001, ... are appended.
      lean: the encoder alone goes into these files, neither moments nor critic.
    """
    if out is None:
        print(export(workdir))
        return
    for part in write_stage(out, *read_state(workdir), lean=lean):
        print(part)


def main(arguments: list[str] | None = None) -> int:
    """The command line; 2 for input that cannot be used."""
    return run_function(command, "python -m panojax.train.export", arguments)


if __name__ == "__main__":
    sys.exit(main())
