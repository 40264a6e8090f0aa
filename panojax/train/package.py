"""From trained networks to the few small files of a model that ships.

    python -m panojax.train.package --generator R256 --visible ENC/e1 --occluded ENC/e2 --out panojax/default_model

`panojax.load` reads the folder, and as "default" what lies in `panojax/default_model`.
"""

import dataclasses
import pathlib
import sys
from typing import Any, Literal

from panojax.config import Config
from panojax.errors import InputError
from panojax.files.checkpoint import load
from panojax.files.packed import MAX_BYTES, is_packed, read_manifest, write_packed
from panojax.params import Params
from panojax.train.command import exit_code
from panojax.train.encoder.encoder_export import is_export, read_stage
from panojax.train.export import assemble, read_run
from panojax.train.generator.gan_export import read_state, read_weights
from panojax.train.logs import read_log
from panojax.train.loop import CONFIG_FILE


@dataclasses.dataclass(frozen=True)
class PackageConfig:
    """What to pack, and where to."""

    generator: tuple[str, ...]
    """A generator's run, a model's folder, or all files of a `generator_export`."""
    out: pathlib.Path
    """Folder for the model; one that is there is replaced, other files stay."""
    visible: pathlib.Path | None = None
    """Stage folder of encoder 1, RUN/e1, or its export's name; without it the generator's model's, or none."""
    occluded: pathlib.Path | None = None
    """Likewise of encoder 2, RUN/e2; without it the model's, or encoder 1 in both places."""
    framing: Literal["heads", "panohead"] = "heads"
    """How the training pictures were cropped: `panojax invert` crops photos so."""
    max_megabytes: float = MAX_BYTES / 1e6
    """Size of all files together that is refused."""


def package(config: PackageConfig) -> dict[str, int]:
    """Writes the files; their sizes in bytes.

    Raises:
      InputError: something is missing, does not fit, or is too large. Nothing is written then.
    """
    params, about = read_generator(config.generator)
    for folder, stage in ((config.visible, "e1"), (config.occluded, "e2")):
        if folder is not None and read_run(folder)[0].stage != stage:
            raise InputError(f"{folder} must be a folder of stage {stage}: --visible takes e1, --occluded e2")
    if config.visible is not None or config.occluded is not None:
        params = assemble(params, config.visible, config.occluded, keep=True)
    model = dataclasses.replace(params.config, framing=config.framing)
    stages = {"visible": config.visible, "occluded": config.occluded}
    for name, folder in stages.items():
        if folder is not None:
            about[name] = _trained(folder, about.get(name, {}))
    return write_packed(
        config.out,
        model,
        params.generator,
        params.encoders,
        about=about,
        max_bytes=round(1e6 * config.max_megabytes),
    )


def read_generator(paths: tuple[str, ...]) -> tuple[Params, dict[str, Any]]:
    """A generator, averaged where it is a run's, with the encoders of a model; and how long it was trained, if known.

    Raises:
      InputError: the paths are none of what `PackageConfig.generator` says.
    """
    if len(paths) == 1 and pathlib.Path(paths[0]).is_dir():
        folder = pathlib.Path(paths[0])
        if not (folder / CONFIG_FILE).is_file():
            about = read_manifest(folder)["about"] if is_packed(folder) else {}
            return load(folder), about
        run, state = read_state(folder)
        return Params(state.average, config=Config(run.model)), {"generator": {"kimg": int(state.images) / 1000}}
    model, images, weights = read_weights(paths)
    return Params(weights["average"], config=Config(model)), {"generator": {"kimg": images / 1000}}


def _trained(folder: pathlib.Path, before: dict[str, int]) -> dict[str, int]:
    """The last step that a stage's export, or the log of its folder, tells of; where only the local branch learned,
    added to what is known of the encoder that it replaces."""
    if is_export(folder):
        step = read_stage(folder).step
    else:
        step = max((int(line["step"]) for line in read_log(folder)), default=0)
    if read_run(folder)[0].step.learn != "local":
        return {"steps": step}
    return {**before, "local_steps": before.get("local_steps", 0) + step}


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns its exit code."""
    import tyro  # only the command line needs it

    def run() -> None:
        config = tyro.cli(PackageConfig, args=arguments, prog="python -m panojax.train.package", description=__doc__)
        sizes = package(config)
        told = ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in sizes.items())
        print(f"{config.out}: {told}; {sum(sizes.values()) / 1e6:.1f} MB in all")

    return exit_code(run)


if __name__ == "__main__":
    sys.exit(main())
