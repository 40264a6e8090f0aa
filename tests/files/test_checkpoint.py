"""Checkpoints of models: damage is noticed, and where they go is looked at before the work."""

import logging
import os
import pathlib
import random
import subprocess
import sys
import tempfile

import jax
import numpy as np
import pytest
from micro import micro_generator

import panojax
from panojax.errors import InputError, OutputError
from panojax.files import checksums, quiet

# What Orbax's threads leave of reads that fail complains when it is freed, be it in a later test.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def params():
    return micro_generator()


@pytest.fixture(scope="module")
def folder(params, tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "model"
    panojax.save(params, path)
    return path


def equal(one, other):
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, one, other)))


def flip(path, rng):
    """Flips a bit; gives what was there."""
    data = path.read_bytes()
    changed = bytearray(data)
    changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(changed)
    return data


def test_a_flipped_bit_in_any_file_is_noticed(params, folder):
    """Or it changes nothing: some bits are padding."""
    rng, refused = random.Random(0), 0
    files = [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size]
    for path in files:
        before = flip(path, rng)
        try:
            found = panojax.load(folder)
        except InputError as error:
            assert "\n" not in str(error) and "checkpoint" in str(error)
            refused += 1
        else:
            assert equal(found.generator, params.generator) and found.config == params.config, path
        path.write_bytes(before)
    assert refused >= 4
    assert equal(panojax.load(folder).generator, params.generator)


def test_changed_numbers_are_noticed_unless_not_asked_for(params, folder, tmp_path, monkeypatch):
    """What orbax itself cannot notice: another value in a whole file."""
    monkeypatch.setattr(
        panojax.files.checkpoint, "array_sums", lambda tree: dict.fromkeys(checksums.array_sums(tree), "0")
    )
    panojax.save(params, tmp_path / "other")
    with pytest.raises(InputError, match=r"is damaged: (\d+) of \1 arrays, first .*, have another checksum; convert"):
        panojax.load(tmp_path / "other")
    assert equal(panojax.load(tmp_path / "other", verify=False).generator, params.generator)


def test_a_changed_configuration_is_noticed(params, tmp_path):
    panojax.save(params, tmp_path / "model")
    path = next(path for path in (tmp_path / "model").rglob("*") if path.is_file() and b"box_warp" in path.read_bytes())
    text = path.read_text()
    assert '"box_warp": 1.0' in text
    path.write_text(text.replace('"box_warp": 1.0', '"box_warp": 3.0'))
    with pytest.raises(InputError, match="its configuration has another checksum"):
        panojax.load(tmp_path / "model")
    assert panojax.load(tmp_path / "model", verify=False).config.generator.box_warp == 3


def test_checkpoints_of_earlier_versions_have_no_sums(params, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(panojax.files.checkpoint, "array_sums", lambda tree: {})
    panojax.save(params, tmp_path / "old")
    assert equal(panojax.load(tmp_path / "old").generator, params.generator)


def test_special_files_in_a_checkpoint(params, tmp_path):
    panojax.save(params, tmp_path / "model")
    path = max((path for path in (tmp_path / "model").rglob("*") if path.is_file()), key=lambda p: p.stat().st_size)
    for make in (os.mkfifo, lambda p: os.symlink("/dev/zero", p)):
        path.unlink()
        make(path)
        with pytest.raises(InputError, match="expected files and folders alone"):
            panojax.load(tmp_path / "model")


@pytest.mark.parametrize("out", ["x" * 5000, "/proc/model", "file/model"])
def test_impossible_places(params, tmp_path, out):
    (tmp_path / "file").write_text("mine")
    for write in (lambda: panojax.save(params, tmp_path / out), lambda: panojax.convert("none.pkl", tmp_path / out)):
        with pytest.raises(OutputError, match="must be writable"):
            write()
    with pytest.raises(InputError, match="checkpoint must be a folder"):
        panojax.load(tmp_path / out)
    assert os.listdir(tmp_path) == ["file"]


def test_an_empty_folder_or_a_link_to_another_disk_is_filled(params, tmp_path):
    (tmp_path / "empty").mkdir()
    panojax.save(params, tmp_path / "empty")
    assert equal(panojax.load(tmp_path / "empty").generator, params.generator)
    with pytest.raises(InputError, match="must not exist or be empty"):
        panojax.save(params, tmp_path / "empty")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        (tmp_path / "link").symlink_to(other)
        panojax.save(params, tmp_path / "link")
        assert equal(panojax.load(tmp_path / "link").generator, params.generator)
        assert not [name for name in os.listdir(other) if name.startswith(".")]


def test_a_full_disk(tmp_path):
    """A file system of 256 kB: one line and 74, and nothing is left on it."""
    script = (
        "mkdir small; mount -t tmpfs -o size=256k tmpfs small; "
        f"{sys.executable} -m panojax convert {ROOT}/tests/golden/panohead_mini.pkl --out small/model; "
        "echo code $?; ls -A small"
    )
    prefix = ["unshare", "-m", *([] if os.geteuid() == 0 else ["-U", "-r"]), "bash", "-uc"]
    if subprocess.run([*prefix, "true"], capture_output=True).returncode:
        pytest.skip("no mount namespaces here")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*prefix, script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200)
    assert done.stdout.splitlines()[-1] == "code 74", done
    assert "No space left on device" in done.stderr and "Traceback" not in done.stderr


def test_sums_tell_all_apart():
    tree = {"a": np.arange(6.0).reshape(2, 3), "b": {"c": np.ones(3, np.float32)}}
    sums = checksums.array_sums(tree)
    assert set(sums) == {"a", "b/c"} and checksums.differing(tree, sums) == []
    for other in (np.arange(6.0).reshape(3, 2), np.arange(6.0, dtype="f4").reshape(2, 3), -tree["a"]):
        assert checksums.differing({**tree, "a": other}, sums) == ["a"]
    assert checksums.array_sums({"a": np.asfortranarray(tree["a"])})["a"] == sums["a"]
    assert checksums.json_sum({"a": 1, "b": 2}) == checksums.json_sum({"b": 2, "a": 1}) != checksums.json_sum({"a": 1})


def test_only_orbax_tasks_are_passed_over():
    """asyncio does not log a task of orbax that fails after the block that started it; it logs any other."""
    with quiet.quiet_orbax():
        pass
    seen = []
    logger, handler = logging.getLogger("asyncio"), logging.Handler()
    handler.emit = seen.append
    logger.addHandler(handler)
    try:
        for name in ("site-packages/orbax/serialization.py", "my/own.py"):
            try:
                exec(compile("raise ValueError(28)", name, "exec"))
            except ValueError as error:
                logger.error("Task exception was never retrieved", exc_info=error)
        read = ValueError('OUT_OF_RANGE: Error reading "a" in OCDBT database')  # never raised: it has no frames
        logger.error("Future exception was never retrieved", exc_info=read)
        logger.error("something else")
    finally:
        logger.removeHandler(handler)
    assert [record.getMessage() for record in seen] == ["Task exception was never retrieved", "something else"]
