"""What a first user meets at the command line: overview, version, folders of heads, what is missing, photos again."""

import io
import json
import pathlib
import sys

import numpy as np
import pytest
from PIL import Image

from panojax.commands import invert, invert_folder
from panojax.commands.arguments import head_file
from panojax.commands.cli import main
from panojax.errors import InputError
from panojax.terminal import bars, progress
from panojax.terminal.progress import counted


@pytest.fixture
def no_model(monkeypatch):
    """Loading a model is an error: what is missing has to be noticed before."""

    def fail(*arguments, **options):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("panojax.commands.arguments.load", fail)
    monkeypatch.setattr("panojax.commands.cli.keep_compiled_programs", lambda: None)


def test_bare_command_and_version(capsys):
    assert main(["help"]) == 0
    said = capsys.readouterr().out
    for words in ([], ["-h"], ["--help"]):
        assert main(words) == 0
        assert capsys.readouterr().out == said
    assert "panojax invert photo.jpg --out me" in said and "panojax COMMAND --help" in said
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("panojax ")


def test_a_word_that_is_no_command_is_told_in_one_line(capsys, tmp_path):
    assert error_of(capsys, "invrt", "me.jpg").endswith("got 'invrt': did you mean invert?")
    assert "did you mean render?" in error_of(capsys, "help", "rendr")
    assert "`panojax --help` tells" in error_of(capsys, "photo.jpg")
    (photo := tmp_path / "my photo.jpg").write_bytes(b"")
    assert f"`panojax invert '{photo}' --out FOLDER`" in error_of(capsys, photo)
    assert "got 'aaaa" in error_of(capsys, "a" * 5000)


@pytest.mark.parametrize("command", ["invert", "render", "edit", "interpolate", "export", "view", "align", "generate"])
def test_every_help_has_examples_names_and_both_sides_of_a_switch(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    said = capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["help", command])
    assert capsys.readouterr().out == said
    assert "For example:" in said and f"panojax {command} " in said.split("For example:")[1]
    positional = {"invert": "PHOTO", "render": "HEAD", "edit": "[REFERENCE]", "interpolate": "SECOND"}
    assert positional.get(command, "") in said.splitlines()[0] + said.split("options")[0]
    if command in ("invert", "render", "export"):
        assert "--mesh-largest, --no-mesh-largest" in said


def error_of(capsys, *arguments):
    assert main([str(argument) for argument in arguments]) == 2
    [line] = capsys.readouterr().err.splitlines()
    return line


def test_what_is_no_picture_is_refused_before_the_model_is_loaded(no_model, capsys, tmp_path, monkeypatch):
    (photo := tmp_path / "me.jpg").write_text("hello")
    assert "must be a picture" in error_of(capsys, "invert", photo, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "astronaut").write_text("a file that the word does not mean")
    with pytest.raises(AssertionError, match="the model was loaded"):
        main(["invert", "astronaut", "--out", str(tmp_path / "out")])


def test_what_is_missing_is_said_before_the_model_is_loaded(no_model, tmp_path, capsys):
    out = ("--out", tmp_path / "out")
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    assert "'no.jpg', which does not exist" in error_of(capsys, "invert", "no.jpg", *out)
    assert "'no.jpg', which does not exist" in error_of(capsys, "invert", tmp_path / "a.png", "no.jpg", *out)
    assert "no.json" in error_of(capsys, "invert", tmp_path / "a.png", "--camera", "no.json", *out)
    for command in (["render"], ["export", "--to", "mp4"], ["edit", "--strength", "age=1"]):
        line = error_of(capsys, command[0], "no.npz", *command[1:], "--out", tmp_path / "x.mp4")
        assert "no.npz" in line and "nothing there" in line
    assert "nothing there" in error_of(capsys, "interpolate", "no.npz", "other.npz", *out)
    assert "does not exist" in error_of(capsys, "view", "no.jpg", "--port", "0")
    assert not (tmp_path / "out").exists()


def test_a_folder_stands_for_its_head(tmp_path):
    (tmp_path / "me").mkdir()
    with pytest.raises(InputError, match=r"got '.*me' with none"):
        head_file(tmp_path / "me")
    (tmp_path / "me" / "seed0000.npz").touch()
    assert head_file(tmp_path / "me") == tmp_path / "me" / "seed0000.npz"
    (tmp_path / "me" / "seed0001.npz").touch()
    with pytest.raises(InputError, match=r"with seed0000\.npz, seed0001\.npz"):
        head_file(tmp_path / "me")
    (tmp_path / "me" / "head.npz").touch()
    assert head_file(tmp_path / "me") == tmp_path / "me" / "head.npz"


@pytest.mark.parametrize(
    ("photos", "names"),
    [
        (["x.png", "y.jpg"], ["x", "y"]),
        (["a.png", "a.jpg", "a.jpg.png"], ["a.png", "a.jpg_2", "a.jpg"]),
        (["1/a.png", "2/a.png", "2/b.png"], ["a.png", "a.png_2", "b"]),
        (["A.png", "a.png"], ["A.png", "a.png_2"]),
    ],
)
def test_folders_of_heads_have_names_of_their_own(photos, names):
    found = invert_folder.folder_names(photos)
    assert len({name.casefold() for name in found}) == len(photos)
    assert found == names


@pytest.fixture
def inversions(monkeypatch):
    """Stands in for the model: which photos are inverted, and files that depend on the options."""
    done = []

    def invert_photo(photo, options, model, folder, seconds):
        done.append(pathlib.Path(photo).name)
        files = ["head.npz", "report.json", *(["mesh.glb"] if options.mesh else [])]
        for name in files:
            (folder / name).write_text(options.method)
        report = {"request": invert.request(options, photo), "files": files, "alignment": None}
        (folder / "report.json").write_text(json.dumps(report))
        return report

    monkeypatch.setattr(invert_folder, "invert_photo", invert_photo)
    monkeypatch.setattr(invert_folder, "load", lambda options, seconds: invert.Model(np.zeros(1), None))
    monkeypatch.setattr("panojax.commands.cli.keep_compiled_programs", lambda: None)
    return done


def test_a_folder_run_again_sees_what_has_changed(inversions, tmp_path, capsys):
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for i, name in enumerate(("x.png", "y.png")):
        Image.new("RGB", (32 + i, 32)).save(photos / name)

    def run(*options):
        inversions.clear()
        assert main(["invert", str(photos), "--out", str(out), *options]) == 0
        return sorted(inversions), capsys.readouterr().out

    assert run("--mesh")[0] == ["x.png", "y.png"]
    done, said = run("--mesh")
    assert done == [] and "2 heads, 0 left out" in said
    Image.new("RGB", (50, 50)).save(photos / "x.png")
    done, said = run("--mesh")
    assert done == ["x.png"] and "1 photo or the options changed since, made anew: " in said and "x.png" in said
    done, said = run("--method", "wplus")
    assert done == ["x.png", "y.png"] and (out / "x" / "head.npz").read_text() == "wplus"
    assert not (out / "x" / "mesh.glb").exists()
    (photos / "y.png").unlink()
    done, said = run("--method", "wplus")
    assert done == [] and "also holds heads whose photos are not in" in said and said.count("y") >= 1
    # Several photos are a folder of them.
    inversions.clear()
    Image.new("RGB", (40, 40)).save(tmp_path / "x.png")
    assert main(["invert", str(tmp_path / "x.png"), str(photos), "--out", str(tmp_path / "two")]) == 0
    assert len(inversions) == 2 and {path.name for path in (tmp_path / "two").iterdir()} == {"x.png", "x.png_2"}


def test_one_is_told_as_one():
    assert [counted(number, "head") for number in (0, 1, 2)] == ["0 heads", "1 head", "2 heads"]


def test_bars_are_lines_in_a_pipe(capsys, monkeypatch):
    monkeypatch.setitem(bars._LINES, "delay", 0)
    monkeypatch.setitem(bars._LINES, "mininterval", 0)
    monkeypatch.setitem(bars._LINES, "miniters", 1)
    assert list(bars.bar(range(3), desc="heads", unit="head")) == [0, 1, 2]
    lines = capsys.readouterr().err.splitlines()
    assert any(line.startswith("heads: 2 of 3 heads, ") for line in lines)
    assert all("\r" not in line and line.strip() for line in lines)
    assert list(bars.bar(range(3), hidden=True)) == [0, 1, 2] and capsys.readouterr().err == ""


class Screen(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("terminal", [False, True])
def test_a_bar_leaves_the_steps_line_alone(monkeypatch, terminal):
    """stdout and stderr are one window: before, the bar was drawn over `making ...`, or stood behind it."""
    window = Screen() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stdout", window)
    monkeypatch.setattr(sys, "stderr", window)
    monkeypatch.setattr(bars, "LATE", 0.0)
    for name, value in {"delay": 0, "mininterval": 0, "miniters": 1}.items():
        monkeypatch.setitem(bars._LINES, name, value)
    seconds = {}
    with progress.step("making", seconds):
        for _ in bars.bar(range(2), desc="heads", unit="head"):
            pass
    with progress.step("writing", seconds):
        pass
    with pytest.raises(InputError), progress.step("reading", seconds):
        raise InputError("no")
    lines = window.getvalue().replace("\r", "\n").splitlines()
    assert lines[0] == "making ..." and "making: 0.0 s" in lines and lines[-2:] == ["writing ... 0.0 s", "reading ..."]
    assert any(line.startswith("heads:") for line in lines)
