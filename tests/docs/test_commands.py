"""Commands and Python of README and docs fit the program; `run_commands.py` also runs them."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from docs import pages as reader
from docs import run_commands

PAGES = [page for page in reader.pages() if any(reader.commands(page))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_have_the_options_that_pages_say(page):
    wrong = {command.text: reader.check(command) for command in reader.commands(page)}
    assert not {text: reason for text, reason in wrong.items() if reason}


@pytest.mark.parametrize("page", reader.pages(), ids=lambda page: page.name)
def test_python_names_what_there_is(page):
    assert not reader.python_problems(page)


def test_commands_are_found_and_wrong_ones_told(tmp_path, monkeypatch):
    (tmp_path / "docs").mkdir()
    page = tmp_path / "README.md"
    page.write_text(
        "Run `panojax render HEAD --out DIR` or `panojax.load()`.\n\n```bash\n"
        "pip install . && panojax invert a.jpg \\\n"
        "    --out b  # comment\npanojax render me.npz --sized 3 --out x\n```\n"
        "`panojax generate ... --sedes 3`, `python -m panojax.train.encoder --nothing 3`\n"
    )
    monkeypatch.setattr(reader, "ROOT", tmp_path)
    found = list(reader.commands(page))
    assert [command.text for command in found] == [
        "panojax render HEAD --out DIR",
        "panojax invert a.jpg --out b",
        "panojax render me.npz --sized 3 --out x",
        "panojax generate ... --sedes 3",
        "python -m panojax.train.encoder --nothing 3",
    ]
    monkeypatch.setattr(reader, "ROOT", pathlib.Path(reader.__file__).parents[2])
    wrong = [reader.check(command) for command in found]
    assert wrong[:2] == [None, None] and "--sized" in wrong[2] and "--sedes" in wrong[3] and "--nothing" in wrong[4]
    assert found[0].words == ["panojax", "render", "me.npz", "--out", "dir"]


def test_short_commands_and_python_run():
    """As written, on small data; `run_commands.py --all` runs the long ones, too."""
    assert run_commands.main(["--jobs", "1"]) == 0


def test_tables_name_commands_that_there_are():
    """What is left out or made small is on a page, and each command that is run whole or made small is so once."""
    texts = [command.text for page in reader.pages() for command in reader.commands(page)]
    for table in (run_commands.NEVER, run_commands.LONG, run_commands.SMALL):
        assert not [part for part in table if not any(part in text for text in texts)]


def test_a_worker_ends_with_the_commands_code(tmp_path):
    """Commands in one process, each in its folder: a good one, bad input, a traceback, a module."""
    asked = [
        ["panojax", "--version"],
        ["panojax", "render", "nothing.npz", "--out", "out"],
        ["python", "-c", "raise ZeroDivisionError"],
        ["python", "-m", "panojax.photo.calibrate", "framing", "nothing"],
        ["python", "-c", "import pathlib; pathlib.Path('made').touch()"],
    ]
    lines = "".join(json.dumps({"words": words, "folder": str(tmp_path)}) + "\n" for words in asked)
    worker = str(pathlib.Path(reader.__file__).with_name("worker.py"))
    environment = {**os.environ, "PYTHONPATH": str(reader.ROOT)}
    done = subprocess.run([sys.executable, worker], input=lines, env=environment, capture_output=True, text=True)
    ends = [json.loads(line) for line in done.stdout.splitlines()]
    assert [end["code"] for end in ends] == [0, 2, 1, 2, 0] and (tmp_path / "made").exists()
    assert "nothing.npz" in ends[1]["said"] and "ZeroDivisionError" in ends[2]["said"]
