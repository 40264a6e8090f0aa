import threading

import numpy as np
import pytest

from panojax.errors import InputError
from panojax.eval.records import Records, claim, file_name, weights_digest


def test_jobs_are_done_once_and_dealt_to_all_workers(tmp_path):
    jobs = {f"sample {i}": i for i in range(12)}
    together, done = threading.Barrier(3, timeout=20), []

    def worker(number):
        if number in (2, 3, 4):
            together.wait()  # the first three jobs are at work at once
        done.append(number)
        return {"square": np.array(number**2)}

    Records(tmp_path, {name: jobs[name] for name in list(jobs)[:2]}).fill(
        [lambda i: {"square": np.array(-1)}], label=""
    )
    records = Records(tmp_path, jobs)
    assert records.missing() == list(jobs)[2:]
    records.fill([worker] * 3, label="")
    assert sorted(done) == list(range(2, 12)) and not records.missing()
    assert [int(record["square"]) for record in records.read_all()] == [-1, -1, *(i**2 for i in range(2, 12))]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failure_stops_the_work_and_keeps_what_is_done(tmp_path, workers):
    def worker(number):
        if number == 3:
            raise InputError("bad sample")
        return {"x": np.zeros(1)}

    records = Records(tmp_path, {str(i): i for i in range(100)})
    with pytest.raises(InputError, match="bad sample"):
        records.fill([worker] * workers, label="")
    assert 3 <= 100 - len(records.missing()) < 100
    assert not list(tmp_path.glob(".*"))


def test_shards_do_different_jobs(tmp_path):
    records = Records(tmp_path, {str(i): i for i in range(5)})
    records.fill([lambda i: {"x": np.array(i)}], label="", shard=(1, 2))
    assert records.missing() == ["0", "2", "4"]


def test_a_damaged_record_is_named(tmp_path):
    records = Records(tmp_path, {"a": 0})
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(InputError, match=r"out must hold whole records, .*a\.npz cannot be read .*: delete it"):
        records.read("a")


def test_a_folder_is_kept_for_its_settings(tmp_path):
    claim(tmp_path / "out", {"seed": 0, "angles": (30, 60)})
    claim(tmp_path / "out", {"seed": 0, "angles": [30, 60]})
    with pytest.raises(
        InputError, match=r"out must be new or hold results of the same settings, .* seed 0 there, 1 asked"
    ):
        claim(tmp_path / "out", {"seed": 1, "angles": (30, 60)})
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "me.png").touch()
    with pytest.raises(InputError, match=r"out must be a new or empty folder, or one of an earlier run, got .*photos"):
        claim(tmp_path / "photos", {})
    with pytest.raises(InputError, match=r"out must be writable, got .*me\.png"):
        claim(tmp_path / "photos" / "me.png" / "out", {})


def test_names_of_files_stay_different():
    names = ["000012", "a/b", "a_b", "a b", "x" * 200, "x" * 201]
    files = {file_name(name) for name in names}
    assert len(files) == len(names) and file_name("000012") == "000012" and max(map(len, files)) < 100


def test_digests_tell_weights_apart():
    tree = {"a": np.zeros(3, np.float32), "b": {"c": np.ones(2, np.float32)}}
    same = {"b": {"c": np.ones(2, np.float32)}, "a": np.zeros(3, np.float32)}
    assert weights_digest(tree) == weights_digest(same)
    assert weights_digest(tree) != weights_digest({**tree, "a": np.array([0, 0, 1e-7], np.float32)})
    assert weights_digest(tree) != weights_digest({"z": tree["a"], "b": tree["b"]})
