"""A folder of results appears as a whole or not at all."""

import errno
import os
import pathlib
import subprocess
import sys
import tempfile

import pytest

from panojax.disk.staging import output_folder, replaced_when_done
from panojax.errors import InputError, OutputError


def everything(folder):
    """Paths of all files and folders, with the files' text."""
    paths = sorted(folder.rglob("*"))
    return {str(path.relative_to(folder)): path.read_text() if path.is_file() else None for path in paths}


def fill(out, **options):
    with output_folder(out, **options) as folder:
        (folder / "a.txt").write_text("new a")
        (folder / "b.txt").write_text("new b")
        assert not (out / "b.txt").exists()


def test_makes_the_folder_and_those_above(tmp_path):
    fill(tmp_path / "x" / "y")
    assert everything(tmp_path) == {"x": None, "x/y": None, "x/y/a.txt": "new a", "x/y/b.txt": "new b"}


def test_fills_an_empty_folder_and_the_current_one(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with output_folder(".") as folder:
        (folder / "a.txt").write_text("new a")
    assert everything(tmp_path) == {"empty": None, "empty/a.txt": "new a"}


def test_a_failure_leaves_nothing(tmp_path):
    with pytest.raises(KeyError), output_folder(tmp_path / "x" / "y") as folder:
        (folder / "a.txt").write_text("half")
        raise KeyError
    assert everything(tmp_path) == {}


def test_refuses_a_folder_with_files_before_any_work(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="--overwrite"), output_folder(tmp_path):
        pytest.fail("the block ran")
    assert everything(tmp_path) == {"mine.txt": "mine"}


def test_overwrites_files_of_the_same_names_alone(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.txt").write_text("old a")
    (out / "mine.txt").write_text("mine")
    fill(out, overwrite=True)
    assert everything(out) == {"a.txt": "new a", "b.txt": "new b", "mine.txt": "mine"}
    with pytest.raises(KeyError), output_folder(out, overwrite=True) as folder:
        (folder / "a.txt").write_text("half")
        raise KeyError
    assert everything(tmp_path) == {
        "out": None,
        "out/a.txt": "new a",
        "out/b.txt": "new b",
        "out/mine.txt": "mine",
    }


def test_a_folder_in_the_way_stops_all(tmp_path):
    (tmp_path / "b.txt").mkdir()
    with pytest.raises(InputError, match=r"got b\.txt"), output_folder(tmp_path, overwrite=True) as folder:
        (folder / "a.txt").write_text("new a")
        (folder / "b.txt").write_text("new b")
    assert everything(tmp_path) == {"b.txt": None}


def test_refuses_files_in_the_way(tmp_path):
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="out must be"), output_folder(out):
            pytest.fail("the block ran")
    assert everything(tmp_path) == {"file": "mine"}


def test_a_full_disk_is_bad_input(tmp_path):
    with pytest.raises(InputError, match="No space left"), output_folder(tmp_path / "out"):
        raise OSError(28, os.strerror(28))
    assert everything(tmp_path) == {}


def test_a_disk_at_fault_has_another_code_than_bad_input(tmp_path):
    with pytest.raises(OutputError) as caught, output_folder(tmp_path / "out"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.code == 74
    with pytest.raises(OutputError, match="out must be writable") as caught, output_folder("/proc/nowhere"):
        pytest.fail("the block ran")
    assert caught.value.code == 2


def test_a_file_staged_among_results_is_told_as_they_are(tmp_path):
    def full(folder):
        with replaced_when_done(folder / "a.png"):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OutputError) as caught, output_folder(tmp_path / "out") as folder:
        full(folder)
    assert str(caught.value) == f"out must be writable, got '{tmp_path}/out': No space left on device"
    with pytest.raises(OutputError, match=r"path must be writable, got '.*/a\.png'"), output_folder(tmp_path / "out"):
        full(tmp_path)
    assert everything(tmp_path) == {}


def test_errors_of_other_files_are_not_blamed_on_the_results(tmp_path):
    with pytest.raises(FileNotFoundError), output_folder(tmp_path / "out"):
        open(tmp_path / "input.png").close()
    assert everything(tmp_path) == {}


@pytest.mark.parametrize("name", ["x" * 250, "頭" * 80, "x" * 5000, "null\0byte"])
def test_long_names_work_or_are_refused_before_the_work(tmp_path, name):
    out, possible = tmp_path / name, len(os.fsencode(name)) <= 255 and "\0" not in name
    if possible:
        fill(out)
        with replaced_when_done(out / name) as partial:
            partial.write_text("long")
        assert (out / name).read_text() == "long"
        return
    for block in (output_folder(out), replaced_when_done(out)):
        with pytest.raises(OutputError, match="must be writable") as caught, block:
            pytest.fail("the block ran")
        assert len(str(caught.value)) < 600
    assert everything(tmp_path) == {}


def test_a_link_to_another_file_system_and_to_a_file(tmp_path):
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        (tmp_path / "link").symlink_to(other)
        (tmp_path / "new").symlink_to(f"{other}/made")  # leads to nothing yet
        fill(tmp_path / "link")
        assert sorted(os.listdir(other)) == ["a.txt", "b.txt"]
        fill(tmp_path / "new")
        assert sorted(os.listdir(f"{other}/made")) == ["a.txt", "b.txt"]
        (tmp_path / "file.txt").symlink_to(f"{other}/a.txt")
        with replaced_when_done(tmp_path / "file.txt", overwrite=True) as partial:
            partial.write_text("through the link")
        assert (tmp_path / "file.txt").is_symlink() and pathlib.Path(other, "a.txt").read_text() == "through the link"


def in_a_namespace(script, folder):
    """Runs a shell script as root of a user namespace with mounts of its own; skips where there are none."""
    command = ["unshare", "-m", *([] if os.geteuid() == 0 else ["-U", "-r"]), "bash", "-euc", script]
    if subprocess.run([*command[:-1], "true"], capture_output=True).returncode:
        pytest.skip("no mount namespaces here")
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


FILL = f"""{sys.executable} -c '
import sys
from panojax.disk.staging import output_folder
with output_folder(sys.argv[1]) as folder:
    (folder / "a.txt").write_text("new a")
' """


def test_a_mount_and_a_writable_folder_in_a_read_only_one(tmp_path):
    mount = "mkdir vol; mount -t tmpfs tmpfs vol; " + FILL + "vol; ls -A vol"
    done = in_a_namespace(mount, tmp_path)
    assert (done.returncode, done.stdout) == (0, "a.txt\n"), done.stderr
    read_only = (
        "mkdir -p ro/mine; mount --bind ro ro; mount -t tmpfs tmpfs ro/mine; mount -o remount,bind,ro ro; "
        + FILL
        + "ro/mine; ls -A ro/mine"
    )
    done = in_a_namespace(read_only, tmp_path)
    assert (done.returncode, done.stdout) == (0, "a.txt\n"), done.stderr


def test_two_at_once_and_the_second_one_knows(tmp_path):
    with output_folder(tmp_path / "out") as folder:
        (folder / "first.txt").write_text("first")
        with pytest.raises(OutputError, match=r"one run at a time, got '.*out', in which process \d+ on .* is at work"):
            fill(tmp_path / "out")
    assert everything(tmp_path / "out") == {"first.txt": "first"}
    assert os.listdir(tmp_path) == ["out"]


def test_a_folder_or_file_that_appears_meanwhile_is_kept(tmp_path):
    with pytest.raises(InputError, match="filled in the meantime"), output_folder(tmp_path / "out") as folder:
        (folder / "first.txt").write_text("first")
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="must not exist yet"), replaced_when_done(tmp_path / "file") as partial:
        partial.write_text("late")
        (tmp_path / "file").write_text("mine")
    assert everything(tmp_path) == {"out": None, "out/mine.txt": "mine", "file": "mine"}


KILLED = """
import os, signal, sys
from panojax.disk.staging import output_folder
with output_folder(sys.argv[1]) as folder:
    (folder / "half.txt").write_text("half")
    print(flush=True)
    signal.pause()
"""


def test_what_a_kill_leaves_is_cleaned_by_the_next_run(tmp_path):
    with subprocess.Popen([sys.executable, "-c", KILLED, tmp_path / "out"], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        staging = [name for name in os.listdir(tmp_path) if name.endswith(".partial")]
        fill(tmp_path / "other")  # the owner lives: its folder stays
        assert len(staging) == 1 and staging[0] in os.listdir(tmp_path)
        process.kill()
    fill(tmp_path / "out")
    assert sorted(os.listdir(tmp_path)) == ["other", "out"]


def test_the_report_comes_last_and_the_old_one_goes_first(tmp_path, monkeypatch):
    (tmp_path / "report.json").write_text("old")
    moved, replace = [], pathlib.Path.replace

    def watch(path, target):
        moved.append((target.name, (tmp_path / "report.json").exists()))
        return replace(path, target)

    monkeypatch.setattr(pathlib.Path, "replace", watch)
    with output_folder(tmp_path, overwrite=True) as folder:
        for name in ("a.png", "report.json", "z.png"):
            (folder / name).write_text("new")
    assert moved == [("a.png", False), ("z.png", False), ("report.json", False)]
