"""Commands and Python of README and docs fit the program; `run_commands.py` also runs them."""

import pathlib

import pytest

from docs import pages as reader

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
