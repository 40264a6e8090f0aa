"""What the pages say: commands and Python of README and docs, and whether the program knows them.

Commands stand in fenced or indented blocks, or in running text between backquotes with names such as HEAD and DIR for
what the reader has.
"""

import ast
import contextlib
import dataclasses
import functools
import importlib
import io
import pathlib
import re
import runpy
import shlex
import sys
import warnings
from collections.abc import Iterator
from typing import Any

ROOT = pathlib.Path(__file__).parents[2]
SUFFIXES = {"FORMAT": ".glb", "glb": ".glb", "obj": ".obj", "ply": ".ply", "splat": ".ply"}
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
        for before, word in zip(["", *words], words):
            if word in ("DIR", "PATH") and not self.fenced:
                found.append("me.npz" if before == "info" else f"{word.lower()}{SUFFIXES.get(kind or '', '')}")
            elif before == "--out":
                found.append(word)
            elif before == "info" and word == "FILE":
                found.append(STANDS_FOR["CKPT"])
            else:
                found.append(STANDS_FOR.get(word, word))
        return found

    @property
    def is_part(self) -> bool:
        """Whether something is left out: "..." stands for more, and running text may leave out where results go."""
        mentioned = not self.fenced and "--out" not in self.text and self.text.split()[1] not in ("info", "view")
        rest = self.text.replace("PHOTO...", "").replace("HEAD...", "")
        return mentioned or rest.endswith("--out") or "..." in rest


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
        elif fence or line.startswith("    "):
            start = start if pending else number
            pending += line.split("  #")[0].strip()
            if pending.endswith("\\"):
                pending = pending[:-1]
                continue
            for part in re.split(r"&&|;|\|", pending):
                text = re.sub(r"^(\$|\.venv/bin/|[A-Z_]+=\S+)\s*", "", part.strip())
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
    subcommand = tuple(word for word in rest[:1] if re.fullmatch(r"[a-z][\w-]*", word))
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


@functools.cache
def _help(module: str, subcommand: tuple[str, ...]) -> str:
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
