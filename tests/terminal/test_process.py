"""What surrounds a command's work: streams, signals, homes, platforms, disks, and that all end in one line."""

import contextlib
import errno
import os
import pathlib
import signal
import subprocess
import sys
import time

import jax
import pytest

from panojax.disk import cache
from panojax.errors import InputError, OutputError
from panojax.terminal.process import run_process

ROOT = pathlib.Path(__file__).parents[2]


def fails(capsys, error):
    """The exit code of a body that raises, and its line on stderr."""

    def body():
        raise error

    code = run_process(body)
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    return code, printed.err.removeprefix("panojax: ").strip()


@pytest.mark.parametrize(
    "error, code, line",
    [
        (InputError("out must be\nanother"), 2, "error: out must be another"),
        (OutputError("out must be writable", 74), 74, "error: out must be writable"),
        (OSError(errno.ENOSPC, "No space left on device", "a/b"), 74, "error: 'a/b': No space left on device"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "x" * 5000), 2, "error: 'xxx"),
        (PermissionError(errno.EACCES, "Permission denied", "a"), 2, "error: 'a': Permission denied"),
        (KeyboardInterrupt(), 130, "stopped"),
        (MemoryError("10 GiB"), 74, "error: the memory does not suffice: 10 GiB"),
    ],
)
def test_failures_are_one_line(capsys, error, code, line):
    got, text = fails(capsys, error)
    assert got == code and text.startswith(line) and len(text) < 400


def test_a_fault_of_ours_is_not_hidden():
    def body():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_process(body)
    assert run_process(lambda: None) == 0 and run_process(lambda: 75) == 75


def test_signals_are_as_before_afterwards():
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)]
    run_process(lambda: None)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)] == before
    assert signal.set_wakeup_fd(-1) == -1


BODY = """
import sys
from panojax.terminal.process import run_process
from panojax.disk.staging import output_folder
{setup}
def body():
    with output_folder("out") as folder:
        (folder / "a.txt").write_text("a")
        {work}
    print("made \\udce9 ünï")
sys.exit(run_process(body))
"""


def run_script(folder, work="pass", shell="", setup="", **environment):
    """Runs a body in a process of its own, `shell` appended to its command line."""
    (folder / "body.py").write_text(BODY.format(work=work, setup=setup), errors="surrogateescape")
    return subprocess.run(
        ["bash", "-c", f"{sys.executable} body.py {shell}"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
    )


@pytest.mark.parametrize("shell", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_closed_streams(tmp_path, shell):
    done = run_script(tmp_path, shell=shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "out" / "a.txt").read_text() == "a"


def test_names_that_stdout_cannot_show(tmp_path):
    for encoding in ("utf-8:strict", "ascii:strict"):
        folder = tmp_path / encoding
        folder.mkdir()
        done = run_script(folder, PYTHONIOENCODING=encoding)
        assert (done.returncode, done.stderr) == (0, "") and "made \\udce9" in done.stdout


def test_a_reader_that_has_gone(tmp_path):
    done = run_script(tmp_path, work="print('x\\n' * 100_000)", shell="| head -1; exit ${PIPESTATUS[0]}")
    assert (done.returncode, done.stdout, done.stderr) == (141, "x\n", "")


def test_help_to_a_reader_that_has_gone():
    command = f"{sys.executable} -m panojax invert --help | true; exit ${{PIPESTATUS[0]}}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, timeout=120)
    assert done.stderr == "" and done.returncode in (0, 141)


# The second work holds on as a long call of XLA does: no handler of Python's runs.
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("work", ["time.sleep(60)", "for _ in range(99): ctypes.CDLL(None).sleep(60)"])
def test_a_stopped_command_leaves_nothing_and_answers_soon(tmp_path, number, work):
    setup = "import ctypes, time"
    (tmp_path / "body.py").write_text(BODY.format(work=f"print(flush=True)\n        {work}", setup=setup))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    heard = "import signal, runpy; signal.signal(signal.SIGINT, signal.default_int_handler)"
    body = "runpy.run_path('body.py', run_name='__main__')"
    with (
        subprocess.Popen(  # a shell's background jobs, and so their children, are deaf to SIGINT
            [sys.executable, "-c", f"{heard}; {body}"],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process,
        contextlib.ExitStack() as ends,
    ):
        ends.callback(process.kill)  # or leaving would wait for a process that did not stop
        process.stdout.readline()
        assert len(os.listdir(tmp_path)) > 1
        process.send_signal(number)
        start = time.monotonic()
        process.wait(timeout=60)
        assert time.monotonic() - start < 20
        assert process.returncode == (130 if number == signal.SIGINT else 143)
        assert b"Traceback" not in process.stderr.read()
    assert sorted(set(os.listdir(tmp_path)) - {"__pycache__"}) == ["body.py"]


def test_no_home_and_no_user(tmp_path, monkeypatch):
    """As in a container that runs as any number."""

    def nobody():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(pathlib.Path, "home", nobody)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache.cache_folder() is None
    from panojax.commands import cli
    from panojax.synthetic import assets

    cli.keep_compiled_programs()
    monkeypatch.delenv("PANOJAX_HEAD_ASSETS", raising=False)
    with pytest.raises(InputError, match="XDG_CACHE_HOME be set"):
        assets.default_assets()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.cache_folder() == tmp_path / "panojax"


@pytest.mark.parametrize(
    "platform, module", [("abacus", "panojax info random"), ("cuda", "panojax.eval.benchmark --small")]
)
def test_a_platform_that_is_not_there(tmp_path, platform, module):
    """Commands that look first, and those in whose middle JAX looks."""
    if platform == "cuda" and any(device.platform == "gpu" for device in jax.devices()):
        pytest.skip("there is one")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": platform}
    command = [sys.executable, "-m", *module.split()]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    wrong = f"error: JAX_PLATFORMS must name devices of this machine, got '{platform}': "
    assert wrong in done.stderr and "AssertionError" not in done.stderr
