"""Weights of a generator's run in half precision, in files small enough to carry from machine to machine.

    python -m panojax.train.generator.gan_export --workdir RUN --out weights.npz
    python -m panojax.train.generator.gan_export --files weights.npz.* --model MODEL

The first writes `weights.npz.000`, `weights.npz.001`, ... of at most 15 MiB, which put together (`cat`) are one NumPy
archive: generator, its average, discriminator, Adam's second moments (a byte each; the first ones are not used), and
the number of pictures shown. `--start weights.npz.*` of a run goes on from these files. The second command writes the
averaged generator as a model that `panojax.load` reads.
"""

import argparse
import pathlib
import shutil
import sys
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from panojax.config import Config, from_json, to_json
from panojax.data.framing import data_framing
from panojax.devices.sharding import data_mesh, placed_template
from panojax.disk.reading import read_json
from panojax.errors import InputError
from panojax.files.checkpoint import save
from panojax.generators.generator_config import GeneratorConfig
from panojax.params import Params
from panojax.train.carried import PART_BYTES, branch, halves, moment_bytes, read_parts, write_parts
from panojax.train.checkpoints import Checkpoints
from panojax.train.command import exit_code
from panojax.train.generator.fit import abstract_run_state
from panojax.train.generator.gan_presets import GeneratorRun
from panojax.train.generator.gan_state import GanState, adam_steps, second_moments
from panojax.train.loop import CONFIG_FILE

_NETWORKS = ("generator", "average", "discriminator")


def read_run(folder: str | pathlib.Path) -> GeneratorRun:
    """The configuration of a run's folder.

    Raises:
      InputError: it is no folder of a generator's run.
    """
    path = pathlib.Path(folder) / CONFIG_FILE
    try:
        run: GeneratorRun = from_json(GeneratorRun, read_json(path)["run"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder} must be a folder of a generator's run: {error}") from None
    return run


def read_state(folder: str | pathlib.Path) -> tuple[GeneratorRun, GanState]:
    """The configuration and the newest checkpoint of a run's folder, of a warm start without its latents."""
    run = read_run(folder)
    template = placed_template(abstract_run_state(run), data_mesh())
    with Checkpoints(pathlib.Path(folder) / "checkpoints", keep=run.keep, read_only=True) as checkpoints:
        state, _, _ = checkpoints.restore(template)
    return run, state.gan if run.stage == "fit" else state


def write_weights(
    path: str | pathlib.Path,
    model: GeneratorConfig,
    state: GanState,
    *,
    lean: bool = False,
    part_bytes: int = PART_BYTES,
) -> list[pathlib.Path]:
    """Writes `path`.000, `path`.001, ... and gives their paths. Files of an earlier export under this name go.

    Args:
      lean: leave out Adam's moments, and the generator that its average stands for: half as much.

    Raises:
      InputError: a number does not fit half precision.
    """
    arrays: dict[str, Any] = {}
    for network in ("average", "discriminator") if lean else _NETWORKS:
        arrays |= halves(network, getattr(state, network))
    for network, moments in {} if lean else second_moments(state).items():
        arrays |= moment_bytes(f"moments/{network}", moments)
    about = {"model": to_json(model), "images": int(state.images), "steps": adam_steps(state)}
    return write_parts(path, about, arrays, part_bytes)


def read_weights(files: Sequence[str | pathlib.Path]) -> tuple[GeneratorConfig, int, dict[str, Any]]:
    """What `write_weights` wrote, in float32: the model, the pictures shown, {"generator", "average", "discriminator"},
    and "moments" where the files have them.

    Args:
      files: all of them, in any order.

    Raises:
      InputError: one is missing, or damaged, or not of these.
    """
    try:
        about, arrays = read_parts(files)
        model = from_json(GeneratorConfig, about["model"])
        weights = {"average": branch(arrays, "average"), "discriminator": {}}
        if any(name.startswith("discriminator/") for name in arrays):
            weights["discriminator"] = branch(arrays, "discriminator")
        whole = any(name.startswith("generator/") for name in arrays)
        weights["generator"] = branch(arrays, "generator") if whole else weights["average"]
        if any(name.startswith("moments/") for name in arrays):
            weights["moments"] = branch(arrays, "moments") | {"steps": int(about.get("steps", 1000))}
        return model, int(about["images"]), weights
    except (ValueError, KeyError, TypeError) as error:
        names = ", ".join(map(str, files))
        raise InputError(f"files must be all parts that generator_export wrote, got {names}: {error}") from None


def read_start(start: Sequence[str]) -> tuple[int, dict[str, Any]]:
    """The pictures shown and the weights {"generator", "average", "discriminator"} of `GeneratorRun.start`, with Adam's
    second "moments" where they are known."""
    if len(start) == 1 and pathlib.Path(start[0]).is_dir():
        _, state = read_state(start[0])
        weights = {name: jax.tree.map(np.asarray, getattr(state, name)) for name in _NETWORKS}
        moments = jax.tree.map(np.asarray, second_moments(state)) | {"steps": adam_steps(state)}
        return int(state.images), weights | {"moments": moments}
    _, images, weights = read_weights(start)
    return images, weights


def write_model(
    folder: str | pathlib.Path, model: GeneratorConfig, average: Any, *, data: Sequence[str | pathlib.Path] = ()
) -> None:
    """Writes the averaged generator as a model that `panojax.load` reads, in the place of an earlier one.

    Its framing is that of the `data` folders it was trained on, where they say one.
    """
    framing = data_framing(data) or "panohead"
    target = pathlib.Path(folder)
    partial, old = (target.with_name(f".{target.name}.{name}") for name in ("partial", "old"))
    for leftover in (partial, old):
        shutil.rmtree(leftover, ignore_errors=True)
    save(Params(jax.tree.map(np.asarray, average), config=Config(model, framing=framing)), partial)
    if target.exists():
        target.rename(old)
    partial.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m panojax.train.generator.gan_export",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--workdir", help="a run's folder")
    parser.add_argument("--files", nargs="+", help="files of an export, instead of a run")
    parser.add_argument("--out", help="write half-precision weights under this name, with .000, .001, ... appended")
    parser.add_argument("--model", help="write the averaged generator as a model folder")
    options = parser.parse_args(arguments)

    def run() -> None:
        if (options.workdir is None) == (options.files is None):
            raise InputError("give either --workdir or --files")
        if options.out is None and options.model is None:
            raise InputError("give --out, --model or both")
        if options.files is not None and options.out is not None:
            raise InputError("out goes with a workdir: files are such an export already")
        if options.workdir is not None:
            described, state = read_state(options.workdir)
            model, average, data = described.model, state.average, tuple(described.data)
        else:
            model, _, weights = read_weights(options.files)
            average, data = weights["average"], ()
        if options.out is not None:
            for part in write_weights(options.out, model, state):
                print(part)
        if options.model is not None:
            write_model(options.model, model, average, data=data)
            print(options.model)

    return exit_code(run)


if __name__ == "__main__":
    sys.exit(main())
