"""Prepares a set: `python -m panojax.data {heads,eg3d-folder,mead} --source DIR --out DIR`."""

import pathlib
import sys
from typing import Annotated

import tyro

from panojax.data.eg3d_folder import FolderOptions
from panojax.data.heads_set import HeadsOptions
from panojax.data.mead import MeadOptions
from panojax.data.prepare import prepare
from panojax.terminal.process import run_process

SetOptions = (
    Annotated[HeadsOptions, tyro.conf.subcommand("heads")]
    | Annotated[FolderOptions, tyro.conf.subcommand("eg3d-folder")]
    | Annotated[MeadOptions, tyro.conf.subcommand("mead")]
)


def command(
    options: Annotated[SetOptions, tyro.conf.arg(name="")],
    out: pathlib.Path,
    beam: tuple[str, ...] | None = None,
) -> None:
    """Checks a data set, writes it as array_record files for the training pipeline, and prints where.

    For example:

        python -m panojax.data heads --source raw/heads --out sets
        python -m panojax.data eg3d-folder --name ffhq --source raw/ffhq --masks raw/ffhq_masks --out sets

    Args:
        options: The set.
        out: Folder for prepared sets.
        beam: Write by Apache Beam with these options, such as runner=DirectRunner direct_num_workers=8.
    """
    print(prepare(options, out, beam=beam))


def main(arguments: list[str] | None = None) -> int:
    """The command line; 2 for input that cannot be used."""

    def body() -> None:
        tyro.cli(
            command,
            args=arguments,
            prog="python -m panojax.data",
            config=(tyro.conf.CascadeSubcommandArgs, tyro.conf.OmitSubcommandPrefixes),
        )

    return run_process(body, "")


if __name__ == "__main__":
    sys.exit(main())
