"""`python -m panojax...`: every module that is a command says how it is called, with an example, and errs in a line."""

import pathlib
import runpy
import sys
import warnings

import pytest

import panojax

ROOT = pathlib.Path(panojax.__file__).parent
BLOCK = '\nif __name__ == "__main__":'
# The old name of a command, and the command with commands of its own.
OTHERS = ("panojax.train.data", "panojax")


def _module(path: pathlib.Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(part for part in parts if part != "__main__")


MODULES = sorted(_module(path) for path in ROOT.rglob("*.py") if BLOCK in path.read_text())


def run(module: str, *arguments: str, monkeypatch) -> int:
    """The exit code of `python -m module arguments`, in this process."""
    monkeypatch.setattr(sys, "argv", ["", *arguments])
    with warnings.catch_warnings(), pytest.raises(SystemExit) as end:
        warnings.simplefilter("ignore")  # that the module has been imported before
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    return end.value.code


@pytest.mark.parametrize("module", [name for name in MODULES if name not in OTHERS])
def test_help_has_the_name_and_an_example(module, monkeypatch, capsys):
    assert run(module, "--help", monkeypatch=monkeypatch) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"usage: python -m {module} ")
    examples = [line for line in said.splitlines()[1:] if line.strip().startswith(f"python -m {module} ")]
    assert examples and all(len(line.split()) > 3 for line in examples)


BROKEN = [
    ("panojax.synthetic.sheet", "--out nowhere/sheet.jpg --identities 0"),
    ("panojax.data.augment", "--heads nowhere --out sheet.jpg"),
    ("panojax.eval.curves", "--model tiny --curves speed"),
    ("panojax.eval.benchmark", "--small --out taken/figures.json"),
    ("panojax.eval.benchmark_training", "--config tiny --out taken/figures.json"),
    ("panojax.eval.targets", "--small --out taken/figures.json"),
    ("panojax.photo.calibrate", "framing nowhere"),
    ("panojax.photo.pack", "--yunet nowhere.onnx --out out"),
    ("panojax.train.export", "--workdir nowhere"),
    ("panojax.data.speed", "nowhere"),
]


@pytest.mark.parametrize("module, arguments", BROKEN)
def test_bad_input_is_a_line(module, arguments, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("taken").touch()
    assert run(module, *arguments.split(), monkeypatch=monkeypatch) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert any(word in last for word in ("nowhere", "taken", "identities", "speed"))
