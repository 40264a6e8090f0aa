"""The command line: `panojax` and `python -m panojax`.

Input that cannot be used gives one line on stderr and the exit code 2.
"""

import difflib
import hashlib
import os
import pathlib
import platform
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import tyro

from panojax.commands import align, convert, edit, export, generate, heads, info, interpolate, invert, render, view
from panojax.commands.overview import answer
from panojax.devices.programs import keep_programs
from panojax.disk.cache import cache_folder
from panojax.disk.reading import shown
from panojax.errors import InputError
from panojax.terminal.process import check_platforms, run_process

Command = (
    Annotated[convert.Options, tyro.conf.subcommand("convert")]
    | Annotated[generate.Options, tyro.conf.subcommand("generate")]
    | Annotated[invert.Options, tyro.conf.subcommand("invert")]
    | Annotated[render.Options, tyro.conf.subcommand("render")]
    | Annotated[edit.Options, tyro.conf.subcommand("edit")]
    | Annotated[interpolate.Options, tyro.conf.subcommand("interpolate")]
    | Annotated[export.Options, tyro.conf.subcommand("export")]
    | Annotated[view.Options, tyro.conf.subcommand("view")]
    | Annotated[info.Options, tyro.conf.subcommand("info")]
    | Annotated[align.Options, tyro.conf.subcommand("align")]
    | Annotated[heads.Options, tyro.conf.subcommand("heads")]
)
MODULES = (convert, generate, invert, render, edit, interpolate, export, view, info, align, heads)
RUN: dict[type, Callable[[Any], None]] = {module.Options: module.run for module in MODULES}
NAMES = tuple(module.__name__.rpartition(".")[2] for module in MODULES)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line (None: this process's) and gives its exit code."""

    def body() -> None:
        words = list(sys.argv[1:] if arguments is None else arguments)
        if text := answer(words):
            print(text)
            return
        if words[0] == "help":
            words = [*words[1:], "--help"]
        check_command(words[0])
        options = tyro.cli(
            Command,  # type: ignore[arg-type]
            args=words,
            prog="panojax",
            description="Single-image 360-degree head reconstruction.",
            config=(tyro.conf.OmitSubcommandPrefixes,),
        )
        check_platforms()
        keep_compiled_programs()
        RUN[type(options)](options)

    return run_process(body)


def check_command(word: str) -> None:
    """Raises InputError for a word that is no command, with the one it may have been meant to be."""
    if word in NAMES or word.startswith("-"):
        return
    near = difflib.get_close_matches(word, NAMES, n=1)
    hint = f"did you mean {near[0]}?" if near else "`panojax --help` tells what each does"
    if os.path.exists(word):
        hint = f"it comes first, as in `panojax invert {shlex.quote(word)} --out FOLDER`"
    raise InputError(f"command must be one of {', '.join(NAMES)}, got {shown(word)}: {hint}")


def keep_compiled_programs() -> None:
    """Lets JAX keep what it compiles in the user's cache folder (XDG), so that a second run starts at once.

    What was traced is kept there, too. JAX_COMPILATION_CACHE_DIR names another folder;
    JAX_ENABLE_COMPILATION_CACHE=false keeps nothing.
    """
    import jax

    if not jax.config.values["jax_enable_compilation_cache"]:
        return
    named = jax.config.values["jax_compilation_cache_dir"]
    if named is not None:
        if "://" not in str(named):  # not in a bucket
            keep_programs(pathlib.Path(named) / "traced")
        return
    cache = cache_folder()
    if cache is None:
        return
    # Programs for one processor may crash another, and homes are shared between machines.
    folder = cache / "xla" / processor()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    if os.access(folder, os.W_OK):
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
        keep_programs(folder / "traced")


def processor() -> str:
    """A name for this machine's kind of processor, with its instruction sets."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    features = [line for line in lines if line.startswith(("flags", "Features", "model name"))][:2]
    text = "\n".join(features) or platform.processor()
    return f"{platform.machine()}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
