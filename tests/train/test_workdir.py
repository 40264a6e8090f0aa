"""Where a training goes is looked at before anything is read, and one run has it at a time."""

import errno
import resource
import signal

import numpy as np
import pytest

from panojax.disk.locks import alone_in
from panojax.errors import OutputError
from panojax.train.encoder import run as encoder
from panojax.train.encoder.presets import tiny
from panojax.train.generator import run as generator
from panojax.train.logs import Log, read_log
from panojax.train.loop import remember, write_overview

COMMANDS = [
    pytest.param(encoder, ["tiny", "--generator", "none"], "e1", id="encoder"),
    pytest.param(generator, ["tiny", "--data", "none"], "", id="generator"),
]


def refused(capsys, module, arguments, workdir):
    """The exit code of a command, and the line that it says."""
    code = module.main([*arguments, "--workdir", str(workdir)])
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1 and len(printed.err) < 600
    return code, printed.err


@pytest.mark.parametrize("module, arguments, stage", COMMANDS)
@pytest.mark.parametrize("workdir", ["/proc/run", "x" * 5000, "file/run"])
def test_impossible_places(module, arguments, stage, workdir, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    code, line = refused(capsys, module, arguments, workdir)
    assert code == 2 and line.startswith("error: workdir must be writable, got '")


@pytest.mark.parametrize("module, arguments, stage", COMMANDS)
def test_a_second_run_is_told_who_is_at_work(module, arguments, stage, tmp_path, capsys):
    with alone_in(tmp_path / stage):
        code, line = refused(capsys, module, arguments, tmp_path)
    assert code == 2 and "workdir must be used by one run at a time" in line and "process" in line


@pytest.mark.parametrize("module, arguments, stage", COMMANDS)
def test_a_disk_that_is_full_from_the_start(module, arguments, stage, tmp_path, monkeypatch, capsys):
    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "config.json"))

    monkeypatch.setattr(module, "_train", full)
    monkeypatch.setattr(encoder, "load", lambda name: None)
    code, line = refused(capsys, module, arguments, tmp_path)
    assert code == 74 and line == f"error: '{tmp_path}/config.json': No space left on device\n"


def test_records_that_a_full_disk_does_not_take_are_named_and_leave_nothing(tmp_path):
    """Configuration, overview and log, under a limit on the size of files; what was there stays."""
    Log(tmp_path).write(1, {"loss": 0.5})
    before = sorted(path.name for path in tmp_path.iterdir())
    limits, heard = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8, limits[1]))
        for write, name in (
            (lambda: remember(tmp_path, tiny(), free=frozenset()), "config.json"),
            (lambda: write_overview(tmp_path / "parameters.txt", {"a": np.zeros(3)}), "parameters.txt"),
            (lambda: Log(tmp_path, step=1), "log.jsonl"),
        ):
            with pytest.raises(OutputError, match=rf"must be writable, got '.*{name}': File too large") as error:
                write()
            assert error.value.code == 74
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, heard)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert [line["step"] for line in read_log(tmp_path)] == [1]
