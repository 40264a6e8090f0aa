"""`panojax invert FOLDER` as kills, full disks and long names meet it; the inversion itself is a stand-in."""

import errno
import json
import os
import pathlib
import threading
import time

import pytest
from PIL import Image

from panojax.commands import invert, invert_folder
from panojax.errors import InputError, OutputError

FILES = ["head.npz", "input.png", "report.json", "sheet.png"]


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (32, 32)).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def made(monkeypatch):
    """Photos that were inverted; each writes four files of its name."""
    done = []

    def invert_photo(photo, options, model, folder, seconds):
        done.append(os.path.basename(photo))
        for name in FILES[:2] + FILES[3:]:
            (folder / name).write_text(photo)
        report = {"files": FILES, "alignment": None, "request": invert.request(options, photo)}
        (folder / "report.json").write_text(json.dumps(report))
        return report

    monkeypatch.setattr(invert_folder, "invert_photo", invert_photo)
    monkeypatch.setattr(invert_folder, "load", lambda options, seconds: invert.Model({}, None))
    return done


def run(photos, out, **options):
    invert_folder.invert_folder(invert.Options(photo=(str(photos),), out=out, **options))


def test_all_is_made_once(photos, tmp_path, made):
    out = tmp_path / "out"
    run(photos, out)
    run(photos, out)
    assert sorted(made) == ["a.png", "b.png"]
    assert sorted(os.listdir(out)) == ["a", "b"] and sorted(os.listdir(out / "a")) == FILES


def test_workers_of_one_device(photos, tmp_path, made, monkeypatch):
    """The first head has the device alone, as it compiles; then as many are made at once as there are workers."""
    for name in ("c", "d", "e"):
        Image.new("RGB", (32, 32)).save(photos / f"{name}.png")
    together, alone = threading.Barrier(2, timeout=60), []
    invert_photo = invert_folder.invert_photo

    def meeting(photo, *arguments):
        if len(alone) < 2:  # the first shows no head, so that the second compiles
            alone.append(photo)
            other = alone[:]
            time.sleep(0.3)
            assert alone == other
            if len(alone) == 1:
                raise InputError("photo must show a head, got none")
        else:
            together.wait()
        return invert_photo(photo, *arguments)

    monkeypatch.setattr(invert_folder, "invert_photo", meeting)
    Image.new("RGB", (32, 32)).save(photos / "f.png")
    run(photos, tmp_path / "out", workers=2)
    assert len(made) == 5
    monkeypatch.setattr(invert_folder, "invert_photo", invert_photo)
    run(photos, tmp_path / "out", workers=3)  # how many are at work makes no other heads: the one that failed alone
    assert len(made) == 6 == len(set(made))
    for wrong in (0, 65):
        with pytest.raises(InputError, match="workers must be between 1 and 64, got"):
            invert.run(invert.Options(photo=(str(photos),), out=tmp_path / "other", workers=wrong))


@pytest.mark.parametrize("left", [["head.npz"], ["head.npz", "sheet.png"], ["head.npz", "report.json"]])
def test_what_a_kill_left_is_made_again(photos, tmp_path, made, left):
    """The last case was possible before: a report without the files that it lists."""
    out = tmp_path / "out"
    run(photos, out)
    for name in set(FILES) - set(left):
        (out / "a" / name).unlink()
    run(photos, out)
    assert sorted(made[:2]) == ["a.png", "b.png"] and made[2:] == ["a.png"]
    assert sorted(os.listdir(out / "a")) == FILES


def test_other_files_in_the_place_of_a_head_stay(photos, tmp_path, made, capsys):
    out = tmp_path / "out"
    (out / "a").mkdir(parents=True)
    (out / "a" / "mine.txt").write_text("mine")
    run(photos, out)
    assert "a.png was left out: out must not exist or be empty" in capsys.readouterr().out
    assert os.listdir(out / "a") == ["mine.txt"]


def test_names_of_240_bytes(photos, tmp_path, made):
    for name in ("頭" * 80, "x" * 240):
        Image.new("RGB", (32, 32)).save(photos / f"{name}.png")
    run(photos, tmp_path / "out")
    assert {"頭" * 80, "x" * 240} < set(os.listdir(tmp_path / "out"))


def test_a_full_disk_is_no_fault_of_a_photo(photos, tmp_path, made, monkeypatch):
    def full(photo, options, model, folder, seconds):
        raise OSError(errno.ENOSPC, "No space left on device", str(folder / "head.npz"))

    monkeypatch.setattr(invert_folder, "invert_photo", full)
    with pytest.raises(OutputError, match=r"out must be writable, got .*: No space left on device") as caught:
        run(photos, tmp_path / "out")
    assert caught.value.code == 74
    assert not (tmp_path / "out").exists()


def test_two_at_once(photos, tmp_path, made, monkeypatch):
    def second(photo, options, model, folder, seconds):
        with pytest.raises(OutputError, match="one run at a time"):
            run(photos, tmp_path / "out")
        raise InputError("enough")

    monkeypatch.setattr(invert_folder, "invert_photo", second)
    with pytest.raises(InputError):
        run(photos, tmp_path / "out")


def test_a_place_that_cannot_be_written_is_told_before_the_model_is_loaded(photos, monkeypatch):
    monkeypatch.setattr(invert_folder, "load", lambda *arguments: pytest.fail("the model was loaded"))
    with pytest.raises(OutputError, match="out must be writable"):
        run(photos, pathlib.Path("/proc/heads"))
