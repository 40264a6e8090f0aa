"""A run that is killed, stopped, short of disk, damaged or started twice, at random, ends as one left alone."""

import os
import random
import signal
import subprocess
import sys
import time

import jax
import numpy as np

from panojax.train.checkpoints import Checkpoints
from panojax.train.encoder.state import abstract_state
from panojax.train.export import read_run
from panojax.train.logs import read_log
from panojax.train.loop import TERMINATED, UNWRITABLE

# The suite tries a few; PANOJAX_EVENTS=20 tries more.
EVENTS = int(os.environ.get("PANOJAX_EVENTS", "3"))
STEPS = 24


def start(generator_folder, workdir, *, prefix=""):
    """A run in a process of its own."""
    words = [
        *(sys.executable, "-m", "panojax.train.encoder", "tiny", "--generator", generator_folder, "--workdir", workdir),
        *("--picture-every", 0, "--log-every", 1, "--steps", STEPS, "--save-every", 3, "--step.no-offsets"),
        *("--batch", 2),
    ]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    command = ["bash", "-c", prefix + 'exec "$@"', "bash", *map(str, words)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def finish(process, timeout=300):
    try:
        _, errors = process.communicate(timeout=timeout)
    finally:
        process.kill()
    assert "Traceback" not in errors, errors
    return process.returncode, errors


def newest(folder):
    """Its newest checkpoint, or None."""
    steps = [int(path.name) for path in (folder / "checkpoints").glob("*") if path.name.isdecimal()]
    return folder / "checkpoints" / str(max(steps)) if steps else None


def wait_for(process, folder, steps):
    """Waits until a run has logged so many more steps, or has ended."""
    done = max((line["step"] for line in read_log(folder)), default=0) if (folder / "log.jsonl").exists() else 0
    first, until = done, time.monotonic() + 200
    while done < min(first + steps, STEPS) and process.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.02)
        if (folder / "log.jsonl").exists():
            done = max((line["step"] for line in read_log(folder)), default=0)


def happen(event, rng, begin, folder):
    """One event in a run's life; the run has ended afterwards."""
    if event == "damage":
        target = newest(folder)
        if target is None or len(list((folder / "checkpoints").iterdir())) < 2:
            return
        path = rng.choice(sorted(path for path in target.rglob("*") if path.is_file() and path.stat().st_size))
        data = bytearray(path.read_bytes())
        if rng.random() < 0.5:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        else:
            del data[rng.randrange(len(data)) :]
        path.write_bytes(data)
        return
    # Files of more than 1 kB cannot be written, as on a disk that is nearly full.
    process = begin("ulimit -f 1; trap '' XFSZ; ") if event == "full disk" else begin("")
    wait_for(process, folder, rng.randrange(1, 6))
    time.sleep(rng.random() / 10)
    if event == "full disk":
        code, errors = finish(process)
        assert code in (0, UNWRITABLE), (code, errors)
    elif event == "two at once":
        code, errors = finish(begin(""))
        if process.poll() is None:
            assert code == 2 and "must be used by one run at a time" in errors, (code, errors)
        process.kill()
        finish(process)
    else:
        number = {"kill": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT}[event]
        process.send_signal(number)
        code, errors = finish(process)
        # A run that a signal meets before its first step or after its last ends as any process.
        assert code in (0, TERMINATED, -number, 128 + number), (code, errors)
        assert code != TERMINATED or "the same command goes on" in errors


def test_nothing_is_lost(generator_folder, tmp_path):
    seed = time.time_ns() % 2**32
    rng, folder = random.Random(seed), tmp_path / "resumed" / "e1"
    code, errors = finish(start(generator_folder, tmp_path / "whole"))
    assert code == 0, errors
    kinds = ["kill", "SIGTERM", "two at once", "damage", "full disk", "SIGINT"]
    events = [kinds[i % len(kinds)] for i in range(EVENTS)]
    rng.shuffle(events)
    print(f"seed {seed}: {', '.join(events)}")
    for event in events:
        happen(event, rng, lambda prefix: start(generator_folder, tmp_path / "resumed", prefix=prefix), folder)
    code, errors = finish(start(generator_folder, tmp_path / "resumed"))
    assert code == 0, errors
    run, model = read_run(folder)
    states = []
    for name in ("whole", "resumed"):
        with Checkpoints(tmp_path / name / "e1" / "checkpoints", read_only=True) as checkpoints:
            assert checkpoints.latest == STEPS
            states.append(checkpoints.restore(abstract_state(model, run.objective))[0])
    same = jax.tree.map(lambda a, b: np.array_equal(a, b, equal_nan=True), *states)
    assert all(jax.tree.leaves(same))
    losses = [
        [(line["step"], line["loss"]) for line in read_log(tmp_path / name / "e1") if "loss" in line]
        for name in ("whole", "resumed")
    ]
    assert losses[0] == losses[1]
    names = [path.name for path in (tmp_path / "resumed").rglob("*")]
    assert not [name for name in names if "tmp" in name or ".partial" in name]
