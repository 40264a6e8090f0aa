"""Whole runs: what a tiny one learns, and what becomes of one that is killed, stopped, full of NaN or out of disk."""

import dataclasses
import gc
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from folders_of_pictures import make_folder
from PIL import Image

import panojax
from panojax.data.drawn import draw_samples
from panojax.errors import InputError
from panojax.generators.generator import render_heads
from panojax.inversion import pipeline as inversion
from panojax.nn.stylegan2 import pool
from panojax.train.checkpoints import Checkpoints
from panojax.train.encoder import run as training
from panojax.train.encoder.presets import tiny
from panojax.train.encoder.state import TrainState
from panojax.train.export import best_encoder, export, read_run
from panojax.train.logs import read_log

# What Orbax's threads leave of a full disk complains when it is freed, be it in a later test.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module", autouse=True)
def _freed_here():
    """What this file leaves is freed before the next one's tests."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def trained(generator, tmp_path_factory):
    """A folder in which `tiny` trained encoder 1, then encoder 2 with its critic from encoder 1."""
    folder = tmp_path_factory.mktemp("run")
    rate = dataclasses.replace(tiny().step, learning_rate=4e-3)
    first = dataclasses.replace(
        tiny(), workdir=str(folder), batch=2, steps=120, save_every=60, picture_every=0, step=rate
    )
    training.train(first, params=generator)
    second = dataclasses.replace(first, stage="e2", steps=60, start=str(folder / "e1"), picture_every=60)
    training.train(second, params=generator)
    return folder


@pytest.fixture(scope="module")
def inverted(trained, generator):
    """The trained model, new portraits, their cameras, the stitched heads and their parts."""
    params = panojax.load(trained / "model")
    config = params.config
    keys = jax.random.split(jax.random.key(99), 8)
    draw = jax.jit(draw_samples, static_argnums=(0, 3))
    drawn = draw(config.generator, params.generator, keys, tiny().samples)
    invert = jax.jit(inversion.invert_batch, static_argnums=0)
    heads, parts = invert(config, params.generator, params.encoders, drawn["image"], drawn["camera"])
    return params, drawn, heads, parts


render = jax.jit(render_heads, static_argnums=0)


def distances(params, heads, others, labels):
    """Mean squared difference of two heads' raw renderings.

    Super-resolution follows the style codes, which stitched heads take from encoder 1.
    """
    a, b = (render(params.config.generator, params.generator, h, labels).raw for h in (heads, others))
    return float(jnp.mean(jnp.square(a - b)))


def test_encoder_1_halves_its_loss(trained):
    losses = [line["loss"] for line in read_log(trained / "e1") if "loss" in line]
    assert len(losses) == 12
    assert min(losses[-2:]) < 0.5 * losses[0]


def test_the_critic_separates(trained):
    """From chance, 0.5 (softplus(0) + softplus(0)) = 0.69, on; the encoder's reconstruction holds meanwhile."""
    lines = [line for line in read_log(trained / "e2") if "loss" in line]
    assert lines[0]["critic/loss"] == pytest.approx(np.log(2), abs=0.05)
    assert lines[-1]["critic/loss"] < 0.62
    assert lines[-1]["critic/real"] > lines[-1]["critic/fake"]
    assert any(line["critic/r1"] > 0 for line in lines)
    assert 0.5 < lines[-1]["critic/hidden"] < 1
    assert lines[-1]["l2"] < 1.5 * lines[0]["l2"]


def test_stitched_heads_keep_the_portrait_and_take_the_rest_from_encoder_2(inverted):
    params, drawn, heads, parts = inverted

    def error(heads):
        image = render(params.config.generator, params.generator, heads, drawn["camera"]).image
        return float(jnp.mean(jnp.square(pool(image, 64) - pool(drawn["image"], 64))))

    assert error(heads) < 1.1 * error(parts.visible)
    behind = panojax.look_at(jnp.full(8, jnp.pi))
    assert distances(params, heads, parts.occluded, behind) < distances(params, heads, parts.visible, behind)


def test_a_run_leaves_its_record(trained, generator):
    run, model = read_run(trained / "e2")
    assert (run.stage, run.objective.critic) == ("e2", "trigrid-occluded")
    assert model.encoder.n_styles == generator.config.generator.num_ws
    assert "psp_encoder/input_layer.0/kernel" in (trained / "e1" / "parameters.txt").read_text()
    with Image.open(trained / "e2" / "pictures" / "0000060.png") as sheet:
        # Four portraits, for each encoder 1, encoder 2 and both; the portrait and eight views of each.
        assert sheet.size == (9 * 128, 4 * 3 * 128)
    assert [line["step"] for line in read_log(trained / "e1") if "validation/loss" in line] == [60, 120]


def test_a_stage_is_resumed_only_as_it_was(trained, generator):
    run, _ = read_run(trained / "e1")
    with pytest.raises(InputError, match="another batch, seed"):
        training.train(dataclasses.replace(run, batch=8, seed=1), params=generator)


def test_export_chooses_the_best_and_replaces_the_model(trained, generator, tmp_path):
    before = panojax.load(trained / "model")
    assert "both encoders" in export(trained, generator)
    after = panojax.load(trained / "model")
    for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after)):
        np.testing.assert_array_equal(a, b)
    _, model = read_run(trained / "e2")
    best = best_encoder(trained / "e2", model)
    np.testing.assert_array_equal(
        after.encoders["both"]["psp_encoder"]["params"]["input_layer.0"]["kernel"][1],
        best["psp_encoder"]["params"]["input_layer.0"]["kernel"],
    )
    assert sorted(p.name for p in trained.iterdir()) == ["e1", "e2", "model"]
    with pytest.raises(InputError, match="stage's folder"):
        export(tmp_path)


# A step that costs nothing, to test what the loop does around it.


@jax.jit
def add(tree, number):
    return jax.tree.map(lambda x: x + number, tree)


def counting_step(spoil=None):
    """Adds a number drawn from the key and the batch to every parameter; `spoil(step)` may make it misbehave."""

    def take_step(state, frozen, batch, key):
        step = int(state.step)
        draw = jax.random.normal(jax.random.fold_in(key, step)) + jnp.mean(batch["image"])
        draw = draw if spoil is None else draw * spoil(step)
        encoder = state.encoder.replace(params=add(state.encoder.params, 0.01 * draw))
        return TrainState(state.step + 1, encoder, None), {"loss": jnp.abs(draw) + 1}

    return take_step


class Counter:
    """A source of pictures that are one number: how many batches were given."""

    def __init__(self):
        self.given = 0

    def __next__(self):
        self.given += 1
        image = np.full((4, 64, 64, 3), self.given / 100, np.float32)
        return {"image": image, "camera": np.tile(np.asarray(panojax.look_at(0.0)), (4, 1))}

    def get_state(self):
        return {"given": self.given}

    def set_state(self, state):
        self.given = state["given"]


def loop_in(folder, generator, patch):
    """A function that runs the loop in `folder / name` with a counting step, and exports nothing."""
    patch.setattr(training, "evaluate", lambda frozen, variables, batch, config: {"loss": jnp.float32(1)})
    patch.setattr(training, "export", lambda workdir, params: "")
    patch.setattr(training, "_Pictures", lambda *_: lambda state: jnp.zeros((8, 8, 3)))
    short = dataclasses.replace(tiny(), data=("given",), steps=20, save_every=5, log_every=1, picture_every=0)

    def run(name, spoil=None, **options):
        patch.setattr(training, "compile_step", lambda config, mesh: counting_step(spoil))
        config = dataclasses.replace(short, workdir=str(folder / name), **options)
        given = {} if "data" in options else {"source": Counter(), "validation": Counter()}
        return training.train(config, params=generator, **given)

    return run


@pytest.fixture
def loop(generator, tmp_path, monkeypatch):
    return loop_in(tmp_path, generator, monkeypatch)


@pytest.fixture(scope="module")
def whole(generator, tmp_path_factory):
    """The state after a run that nothing interrupts."""
    with pytest.MonkeyPatch.context() as patch:
        return loop_in(tmp_path_factory.mktemp("loop"), generator, patch)("whole")


def equal(state, other):
    leaves = zip(jax.tree.leaves(state), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(a, b) for a, b in leaves)


def test_a_run_in_pieces_equals_a_whole_one(loop, whole):
    loop("pieces", steps=7)
    pieces = loop("pieces")
    assert int(whole.step) == 20
    assert equal(whole, pieces)


def test_a_run_on_folders_in_pieces_equals_a_whole_one(loop, whole, tmp_path):
    """Pictures come by the seed and the step alone, mirrored and balanced, from disk or from memory."""
    data = (str(make_folder(tmp_path / "raw", masks=False)),)
    on_data = loop("all at once", data=data, held_out=0.3)
    loop("in pieces", data=data, held_out=0.3, steps=7)
    assert equal(loop("in pieces", data=data, held_out=0.3, cache_gigabytes=0.0), on_data)
    assert not equal(loop("other seed", data=data, held_out=0.3, seed=1), on_data) and not equal(on_data, whole)


def test_nan_stops_with_the_last_good_checkpoint(loop, whole):
    with pytest.raises(training.Stopped, match=r"step 13: loss not finite; last good checkpoint: .*/e1/checkpoints/10"):
        loop("nan", spoil=lambda step: np.nan if step == 12 else 1.0)
    assert equal(loop("nan"), whole)


def test_nan_between_logs_is_never_saved(loop, tmp_path):
    with pytest.raises(training.Stopped, match=r"step 10: parameters are not finite.*checkpoints/5") as stop:
        loop("nan", spoil=lambda step: np.nan if step == 7 else 1.0, log_every=20)
    assert stop.value.code == training.DIVERGED
    with Checkpoints(tmp_path / "nan" / "e1" / "checkpoints") as checkpoints:
        assert checkpoints.latest == 5


def test_divergence_stops(loop):
    with pytest.raises(training.Stopped, match=r"step 16: loss .* diverged; last good checkpoint: .*/15"):
        loop("wild", spoil=lambda step: 1e6 if step == 15 else 1.0)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # Orbax's threads complain, too
def test_a_full_disk_stops_and_the_run_goes_on_from_the_checkpoint_before(loop, whole, tmp_path):
    """The writer gets EFBIG, by a limit on the size of files from step 8 on."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(step):
        if step == 8:
            wait_for(lambda: (tmp_path / "full" / "e1" / "checkpoints" / "5").exists())
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
        return 1.0

    try:
        with pytest.raises(training.Stopped, match=r"cannot write: .*last good checkpoint: .*/5") as stop:
            loop("full", spoil=fill, log_every=20)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert stop.value.code == training.UNWRITABLE
    assert equal(loop("full", log_every=20), whole)


def test_signals_save_and_stop(loop, whole):
    def interrupt(step):
        if step == 11:
            os.kill(os.getpid(), signal.SIGTERM)
        return 1.0

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(training.Stopped, match="stopped at step 12 with a checkpoint") as stop:
        loop("stopped", spoil=interrupt)
    assert stop.value.code == training.TERMINATED
    assert signal.getsignal(signal.SIGTERM) is before
    assert equal(loop("stopped"), whole)


def test_time_ends_a_run_that_goes_on(loop, whole):
    with pytest.raises(training.Stopped, match="stopped at step 1 with a checkpoint") as stop:
        loop("timed", minutes=1e-9)
    assert stop.value.code == training.TERMINATED
    assert equal(loop("timed"), whole)


# Real processes.


def command(generator_folder, workdir, *options):
    return [
        *(sys.executable, "-m", "panojax.train.encoder", "tiny", "--generator", str(generator_folder)),
        *("--workdir", str(workdir), "--picture-every", "0", "--log-every", "1", *options),
    ]


def start(arguments, **environment):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", **environment}
    return subprocess.Popen(arguments, env=environment, stderr=subprocess.PIPE, text=True)


def finish(process, timeout=200):
    try:
        _, errors = process.communicate(timeout=timeout)
    finally:
        process.kill()
    return process.returncode, errors


def wait_for(happened, timeout=200):
    until = time.monotonic() + timeout
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_two_processes_see_the_losses_of_one(generator_folder, tmp_path):
    options = ("--steps", "6", "--save-every", "6", "--step.no-offsets")
    code, errors = finish(start(command(generator_folder, tmp_path / "one", *options)))
    assert code == 0, errors
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    together = ("--distributed", "--coordinator", address, "--processes", "2", "--process")
    two = command(generator_folder, tmp_path / "two", *options, *together)
    processes = [start([*two, str(i)]) for i in range(2)]
    for code, errors in map(finish, processes):
        assert code == 0, errors
    one, two = (read_log(tmp_path / name / "e1") for name in ("one", "two"))
    assert len(one) == len(two) == 7
    for a, b in zip(one, two):
        for name in a.keys() - {"images_per_second"}:
            assert b[name] == pytest.approx(a[name], rel=1e-5), (name, a, b)


def test_command_names_bad_input(tmp_path, capsys):
    assert training.main(["tiny"]) == 2
    assert capsys.readouterr().err == "error: workdir must name the run's folder (--workdir DIR)\n"
    assert training.main(["tiny", "--workdir", str(tmp_path), "--generator", str(tmp_path / "none")]) == 2
    assert "checkpoint must be a folder" in capsys.readouterr().err
    (tmp_path / "e1").mkdir()
    (tmp_path / "e1" / "config.json").write_text(json.dumps({"run": 1}))
    with pytest.raises(InputError, match="stage's folder"):
        read_run(tmp_path / "e1")
