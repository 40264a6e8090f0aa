"""The base installation does what the README says of it, and what needs more says so in one line."""

import importlib.metadata
import json
import pathlib
import re
import subprocess
import sys
import tomllib

import local_model
import pytest
import recipe
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import panojax
from panojax import extras

PROJECT = tomllib.loads((pathlib.Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]

# Runs command lines where some modules are absent; prints each one's exit code and what it said on stderr.
BARE = """
import contextlib, importlib, io, json, sys

absent, lines = map(json.loads, sys.argv[1:])

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
results = []
for module, *arguments in lines:
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        code = importlib.import_module(module).main(arguments)
    results.append([code, said.getvalue()])
print(json.dumps(results))
"""


def closure(requirements: list[str]) -> set[str]:
    """Names of the distributions that are installed with these."""
    found: set[str] = set()
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        marked = requirement.marker is None or any(
            requirement.marker.evaluate({"extra": extra}) for extra in (*requirement.extras, "")
        )
        if name in found or not marked:
            continue
        found.add(name)
        waiting += [Requirement(text) for text in importlib.metadata.requires(name) or []]
    return found


def absent_from_base() -> list[str]:
    """Top-level modules that a base installation would not have."""
    base = closure(PROJECT["dependencies"])
    owners = importlib.metadata.packages_distributions()
    owners |= {module: [package] for module, (package, _) in extras.PACKAGES.items()}  # some are files without a folder
    ours = {"panojax", "pip", "setuptools", "pkg_resources"}
    return sorted(m for m, names in owners.items() if m not in ours and not base & set(map(canonicalize_name, names)))


def test_what_extras_bring_is_absent_from_base():
    optional = {module for module, (_, extra) in extras.PACKAGES.items() if extra}
    assert optional | {"array_record", "chex", "pytest"} <= set(absent_from_base())


def test_the_base_installation_runs_the_commands(tmp_path):
    """Where nothing else can be imported; models are small."""
    panojax.save(local_model.params(), tmp_path / "model")
    model = ["--checkpoint", str(tmp_path / "model")]
    head, other = tmp_path / "me" / "head.npz", tmp_path / "drawn" / "seed0000.npz"

    def line(*words, out=None):
        return ["panojax.commands.cli", *map(str, words), *(["--out", str(tmp_path / out)] if out else [])]

    lines = [
        line("convert", recipe.GOLDEN / "panohead_mini.pkl", out="converted"),
        line("invert", "astronaut", *model, "--frames", 3, out="me"),
        line("info", tmp_path / "model"),
        line("generate", "--seeds", 0, *model, out="drawn"),
        line("render", head, "--sheet", *model, out="views"),
        line("interpolate", head, other, "--frames", 3, *model, out="between"),
    ]
    wanting = {
        "trimesh": line("render", head, "--mesh", *model, out="none"),
        "clu": line("info", tmp_path / "model", "--parameters"),
        "viser": line("view", head, *model),
        "tensorflow-datasets": ["panojax.data.__main__", "heads", "--source", str(tmp_path), "--out", str(tmp_path)],
    }
    arguments = [json.dumps(absent_from_base()), json.dumps([*lines, *wanting.values()])]
    done = subprocess.run([sys.executable, "-c", BARE, *arguments], capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-2000:]
    results = json.loads(done.stdout.splitlines()[-1])
    assert [code for code, _ in results[: len(lines)]] == [0] * len(lines), results
    assert {p.name for p in (tmp_path / "me").iterdir()} >= {"head.npz", "sheet.png", "turntable.mp4"}
    for package, (code, said) in zip(wanting, results[len(lines) :]):
        assert code == 2 and re.fullmatch(rf".*error: .* needs {package}: pip install 'panojax\[\w+\]'\n", said), said


@pytest.mark.parametrize("module", extras.PACKAGES)
def test_a_missing_package_is_one_line_that_names_an_extra_which_has_it(module, monkeypatch):
    package, extra = extras.PACKAGES[module]
    monkeypatch.setitem(sys.modules, module, None)
    install = f"panojax[{extra}]" if extra else "panojax"
    with pytest.raises(panojax.InputError) as caught:
        extras.need(module, "drawing")
    assert str(caught.value) == f"drawing needs {package}: pip install '{install}'"
    brought = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    assert canonicalize_name(package) in {canonicalize_name(Requirement(text).name) for text in brought}


def test_everything_is_all():
    """The extra `all` has all that a user of the package may want; `likeness` (135 MB) measures models."""
    given = PROJECT["optional-dependencies"]
    [everything] = map(Requirement, given["all"])
    assert everything.extras == given.keys() - {"all", "beam", "cuda", "likeness", "test", "docs", "dev"}
