"""`panojax invert --method wplus|pti`: a head by optimisation, and its model kept beside it."""

import importlib.util
import json
import shutil

import numpy as np
import pytest
from micro import micro_generator
from PIL import Image

import panojax
from panojax.commands import cli

QUICK = ["--aligned", "--steps", "2", "--lpips", "none", "--video", "none"]


def run(*arguments):
    return cli.main([str(argument) for argument in arguments])


def refused(capsys, *arguments):
    """The message of a command that must fail as bad input."""
    capsys.readouterr()
    assert run(*arguments) == 2
    return capsys.readouterr().err


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "micro"
    panojax.save(micro_generator(), folder)
    return folder


@pytest.fixture(scope="module")
def inverted(checkpoint, tmp_path_factory):
    """The results' folder of each method."""
    folders = {}
    for method in ("wplus", "pti"):
        folders[method] = tmp_path_factory.mktemp(method) / "out"
        arguments = ["astronaut", "--checkpoint", checkpoint, "--out", folders[method], *QUICK]
        assert run("invert", *arguments, "--method", method) == 0
    return folders


def test_results_are_those_of_every_method(inverted):
    common = {"head.npz", "input.png", "reconstruction.png", "report.json", "sheet.png"}
    for method, own in (("wplus", set()), ("pti", {"tuned_model"})):
        files = {path.name for path in inverted[method].iterdir()}
        report = json.loads((inverted[method] / "report.json").read_text())
        assert files == common | own == set(report["files"])
        assert (report["method"], report["steps"], report["stitching"]) == (method, 2, None)


def test_a_head_is_rendered_by_the_model_it_names(inverted, checkpoint, tmp_path, capsys):
    head = inverted["pti"] / "head.npz"
    assert run("render", head, "--out", tmp_path / "views") == 0
    again, first = (
        np.asarray(Image.open(path), int)
        for path in (tmp_path / "views" / "yaw+000_pitch+00.png", inverted["pti"] / "reconstruction.png")
    )
    np.testing.assert_allclose(again, first, atol=1)
    message = refused(capsys, "render", head, "--checkpoint", checkpoint, "--out", tmp_path / "none")
    assert "another model" in message
    shutil.copy(head, tmp_path / "moved.npz")
    assert "own model beside it" in refused(capsys, "render", tmp_path / "moved.npz", "--out", tmp_path / "none")
    # Codes that were optimised belong to the model as it was.
    codes = inverted["wplus"] / "head.npz"
    assert run("render", codes, "--checkpoint", checkpoint, "--out", tmp_path / "others") == 0


def test_overwriting_replaces_the_tuned_model_and_no_other_folder(inverted, checkpoint, tmp_path, capsys):
    out = tmp_path / "out"
    shutil.copytree(inverted["pti"], out)
    (out / "tuned_model" / "old").touch()
    arguments = ["invert", "astronaut", "--method", "pti", "--overwrite", "--checkpoint", checkpoint]
    assert run(*arguments, "--out", out, *QUICK) == 0
    assert not (out / "tuned_model" / "old").exists()
    (tmp_path / "mine" / "tuned_model").mkdir(parents=True)
    assert "got tuned_model" in refused(capsys, *arguments, "--out", tmp_path / "mine", *QUICK)


def test_bad_input_is_named(checkpoint, tmp_path, capsys, monkeypatch):
    arguments = ["invert", "astronaut", "--aligned", "--checkpoint", checkpoint, "--out", tmp_path / "out"]
    assert "--method wplus and pti need none" in refused(capsys, *arguments)
    assert "steps must be at least 1" in refused(capsys, *arguments, "--method", "wplus", "--steps", "0")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    message = refused(capsys, *arguments, "--method", "wplus")
    assert "panojax[losses]" in message and "--lpips none" in message
    assert not (tmp_path / "out").exists()
