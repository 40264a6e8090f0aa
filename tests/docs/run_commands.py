"""Every command of README and docs, as written: parsed, and run on small data where that takes a minute or less.

python tests/docs/run_commands.py [--only WORDS]

Commands stand in fenced blocks, or in running text between backquotes with names such as HEAD and DIR for what the
reader has. Those of `LONG` are only parsed; the reason stands beside each.
"""

import argparse
import ast
import contextlib
import dataclasses
import importlib
import io
import os
import pathlib
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from typing import Any

ROOT = pathlib.Path(__file__).parents[2]
# What keeps a command from being run here: the beginning of it, or a part, and why.
LONG = {
    "panojax view": "serves until Ctrl-C",
    "panojax heads": "needs OpenGL and assets of 140 MB",
    "panojax convert": "needs PanoHead's weights",
    "--checkpoint panohead": "needs PanoHead's weights",
    "--identity sface": "needs an extra",
    "tuned": "needs the head of an optimisation",
    "--method": "optimises for minutes",
    "python -m panojax.train": "trains",
    "python -m panojax.eval": "takes minutes, or a GPU",
    "python -m panojax.data": "needs sets to prepare",
    "python -m panojax.synthetic": "needs OpenGL and assets of 140 MB",
    "python -m panojax.photo": "needs labelled crops, or the published networks",
}
SUFFIXES = {"FORMAT": ".glb", "glb": ".glb", "obj": ".obj", "ply": ".ply", "splat": ".ply"}
# Pages whose Python is run from top to bottom, too.
RUN_PYTHON = ("docs/recipes.md",)
# What names in running text stand for.
STANDS_FOR = {
    "PHOTO": "photo.jpg",
    "FOLDER": "photos",
    "HEAD": "me.npz",
    "HEAD/head.npz": "me.npz",
    "A": "me.npz",
    "B": "friend.npz",
    "REFERENCE": "friend.npz",
    "FIRST": "me.npz",
    "SECOND": "friend.npz",
    "FILE": "directions.npz",
    "N": "1",
    "CKPT": "network.pkl",
    "FORMAT": "glb",
    "MODEL": "model",
    "raw/photos": "photos",
}
COMMAND = re.compile(r"^(panojax [a-z]+\b(?!\.)|python3? -m panojax[\w.]*)")


@dataclasses.dataclass(frozen=True)
class Command:
    """A command of a page."""

    page: str
    line: int
    text: str
    fenced: bool

    @property
    def place(self) -> str:
        """Where it stands, and the command."""
        return f"{self.page}:{self.line}: {self.text}"

    @property
    def words(self) -> list[str]:
        """As a shell splits it, names replaced."""
        words = shlex.split(self.text.replace("PHOTO...", "PHOTO").replace("HEAD...", "HEAD"))
        kind = words[words.index("--to") + 1] if "--to" in words else None
        found = []
        for i, word in enumerate(words):
            if word in ("DIR", "PATH", "HEADS", "RUN"):
                suffix = SUFFIXES.get(kind or "")
                before = words[i - 1]
                found.append("me.npz" if before == "info" else f"{word.lower()}{suffix or ''}")
            else:
                found.append(STANDS_FOR.get(word, word))
        return found

    @property
    def is_part(self) -> bool:
        """Whether something is left out: "..." stands for more, and running text may leave out where results go."""
        mentioned = not self.fenced and "--out" not in self.text and self.text.split()[1] not in ("info", "view")
        return mentioned or "..." in self.text.replace("PHOTO...", "").replace("HEAD...", "")

    @property
    def long(self) -> str | None:
        """Why it is not run, or None."""
        if self.is_part:
            return "a part of a command"
        return next((why for what, why in LONG.items() if what in self.text), None)


def pages() -> list[pathlib.Path]:
    """README and the pages of docs."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def commands(page: pathlib.Path) -> Iterator[Command]:
    """The commands of a page in their order."""
    name, lines = page.relative_to(ROOT).as_posix(), page.read_text().splitlines()
    fence, pending, start = False, "", 0
    for number, line in enumerate(lines, 1):
        if line.lstrip().startswith("```"):
            fence, pending = not fence, ""
        elif fence:
            start = start if pending else number
            pending += line.split("  #")[0].strip()
            if pending.endswith("\\"):
                pending = pending[:-1]
                continue
            for part in re.split(r"&&|;|\|", pending):
                text = part.strip().removeprefix(".venv/bin/").removeprefix("$ ")
                if COMMAND.match(text):
                    yield Command(name, start, " ".join(text.split()), True)
            pending = ""
        else:
            for text in re.findall(r"`([^`]+)`", line):
                if COMMAND.match(text) and len(text.split()) > 2:
                    yield Command(name, number, text, False)


def check(command: Command) -> str | None:
    """What is wrong with a command's options, or None."""
    words = command.words
    if words[0] == "panojax":
        return _check_panojax(command, words[1:])
    module, rest = words[2], words[3:]
    subcommand = [word for word in rest[:1] if re.fullmatch(r"[a-z][\w-]*", word)]
    try:
        text = _help(module, subcommand)
    except (ImportError, AttributeError) as error:
        return f"{module} is no module with a command: {error}"
    unknown = [word for word in rest if word.startswith("--") and word.split("=")[0] not in text]
    return f"{module} has no {', '.join(unknown)}" if unknown else None


def _check_panojax(command: Command, arguments: list[str]) -> str | None:
    import tyro

    from panojax.commands import cli

    if command.is_part:
        text = _said(lambda: cli.main([arguments[0], "--help"]))
        unknown = [word for word in arguments[1:] if word.startswith("--") and word not in text]
        return f"panojax {arguments[0]} has no {', '.join(unknown)}" if unknown else None
    try:
        with contextlib.redirect_stderr(io.StringIO()) as said, contextlib.redirect_stdout(said):
            tyro.cli(cli.Command, args=arguments, config=(tyro.conf.OmitSubcommandPrefixes,))  # type: ignore[arg-type]
    except SystemExit as end:
        return None if end.code == 0 else " ".join(said.getvalue().split())[:300]
    return None


def _help(module: str, subcommand: list[str]) -> str:
    """What a module's command says of itself."""
    before, sys.argv = sys.argv, [module, *subcommand, "--help"]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the module has been imported before
            text = _said(lambda: runpy.run_module(module, run_name="__main__", alter_sys=True))
    finally:
        sys.argv = before
    # Options of a group may be written with underscores and dashes alike.
    return text + text.replace("-", "_").replace("__", "--") + text.replace("_", "-")


def _said(call) -> str:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), contextlib.suppress(SystemExit):
        call()
    return said.getvalue()


def python_problems(page: pathlib.Path) -> list[str]:
    """Names of panojax in a page's Python that do not exist."""
    problems = []
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        try:
            tree = ast.parse(block)
        except SyntaxError as error:
            problems.append(f"{page.name}: {error}")
            continue
        for node in ast.walk(tree):
            asked: list[tuple[Any, str]] = []
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "panojax":
                asked = [(importlib.import_module(node.module or ""), alias.name) for alias in node.names]
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "panojax":
                asked = [(importlib.import_module("panojax"), node.attr)]
            problems += [f"{page.name}: {module.__name__} has no {x}" for module, x in asked if not _has(module, x)]
    return problems


def _has(module, name: str) -> bool:
    if hasattr(module, name):
        return True
    try:
        importlib.import_module(f"{module.__name__}.{name}")
    except ImportError:
        return False
    return True


def make_sandbox(folder: pathlib.Path) -> None:
    """What the commands read: photos, heads of the default model, masks, directions, the model under another name."""
    import jax
    import numpy as np
    import skimage.data
    from PIL import Image

    import panojax
    from panojax.commands.generate import latent
    from panojax.files.checkpoint import DEFAULT_FOLDER

    photo = Image.fromarray(skimage.data.astronaut())
    (folder / "photos").mkdir()
    (folder / "raw" / "photos").mkdir(parents=True)
    for name in ("photo.jpg", "portrait.jpg", "photos/a.jpg", "raw/photos/a.jpg"):
        photo.save(folder / name)
    params = panojax.load()
    generate = jax.jit(panojax.generate)
    for seed, name in enumerate(("me", "friend", "head", "other")):
        head = generate(params, latent(seed, params.config.generator.z_dim))
        panojax.save_head(head, folder / f"{name}.npz", params=params)
    mask = np.zeros((256, 256), np.uint8)
    mask[40:120, 70:190] = 255
    for name in ("a.png", "b.png", "hair.png"):
        Image.fromarray(mask).save(folder / name)
    shutil.copy(DEFAULT_FOLDER / "directions.npz", folder / "directions.npz")
    shutil.copytree(DEFAULT_FOLDER, folder / "model")


def run(command: Command, folder: pathlib.Path, cache: pathlib.Path) -> str | None:
    """Runs a command in a sandbox; what it said last if it failed, or None."""
    words = command.words
    if "--out" in words:
        target = folder / words[words.index("--out") + 1]
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)
    return _run(_program(words), folder, cache)


def run_python(page: pathlib.Path, folder: pathlib.Path, cache: pathlib.Path) -> str | None:
    """Runs a page's Python from top to bottom in a sandbox; what it said last if it failed, or None."""
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    return _run([sys.executable, "-c", "\n".join(blocks)], folder, cache)


def _program(words: list[str]) -> list[str]:
    start = [sys.executable, "-m", "panojax"] if words[0] == "panojax" else [sys.executable, "-m", words[2]]
    return [*start, *(words[1:] if words[0] == "panojax" else words[3:])]


def _run(program: list[str], folder: pathlib.Path, cache: pathlib.Path) -> str | None:
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }
    done = subprocess.run(program, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else (done.stderr.strip() or done.stdout.strip())[-500:]


def main() -> int:
    """Checks all commands, then runs those that are not long. The exit code is how many failed, at most 100."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="run the commands that have these words alone")
    only = parser.parse_args().only
    found = [command for page in pages() for command in commands(page)]
    failed = [f"{command.place}: {wrong}" for command in found if (wrong := check(command))]
    failed += [problem for page in pages() for problem in python_problems(page)]
    with tempfile.TemporaryDirectory() as folder:
        sandbox, cache = pathlib.Path(folder) / "work", pathlib.Path(folder) / "cache"
        sandbox.mkdir()
        make_sandbox(sandbox)
        done = set()
        for command in found:
            if command.long or tuple(command.words) in done or (only and only not in command.text):
                print(f"parsed  {command.place}  ({command.long or 'run before'})")
                continue
            start = time.monotonic()
            done.add(tuple(command.words))
            wrong = run(command, sandbox, cache)
            print(f"{'FAILED' if wrong else 'ran   '}  {command.place}  ", end="")
            print(f"({time.monotonic() - start:.0f} s)", flush=True)
            if wrong:
                failed.append(f"{command.place}: {wrong}")
        for page in RUN_PYTHON if only is None else ():
            wrong = run_python(ROOT / page, sandbox, cache)
            print(f"{'FAILED' if wrong else 'ran   '}  the Python of {page}", flush=True)
            if wrong:
                failed.append(f"{page}: {wrong}")
    print("\n".join(failed) or f"{len(found)} commands are as they are written")
    return min(len(failed), 100)


if __name__ == "__main__":
    sys.exit(main())
