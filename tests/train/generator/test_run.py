"""Whole runs of the generator's training: what a tiny one learns, resuming, starting from another, exports."""

import dataclasses
import functools
import itertools
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import panojax
from panojax.devices.sharding import data_mesh, replicate, run_key
from panojax.errors import InputError
from panojax.synthetic.cameras import camera_label
from panojax.synthetic.render import View
from panojax.synthetic.splits import split_of
from panojax.synthetic.storage import write_identity
from panojax.train.generator import gan_export as exporting
from panojax.train.generator import run as training
from panojax.train.generator.gan_config import FitConfig
from panojax.train.generator.gan_feed import open_feed
from panojax.train.generator.gan_presets import tiny
from panojax.train.generator.gan_state import init_state, init_weights, second_moments
from panojax.train.logs import read_log
from panojax.train.loop import TERMINATED, Stopped

SIDE, VIEWS, STEPS = 32, 8, 18


def ball(yaw, colour):
    """A head of sorts: a disc, light in front and of a colour of its own behind."""
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    inside = x**2 + y**2 < 11**2
    facing = (1 + np.cos(yaw)) / 2
    rgb = facing * np.array([230, 190, 160]) + (1 - facing) * np.asarray(colour)
    rgba = np.zeros((SIDE, SIDE, 4), np.uint8)
    rgba[inside] = [*rgb.astype(np.uint8), 255]
    return rgba


@pytest.fixture(scope="module", autouse=True)
def _one_step():
    """One step is traced and compiled for all runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "compile_step", functools.lru_cache(training.compile_step))
        yield


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """A folder of twelve identities as `panojax heads` writes them."""
    folder = tmp_path_factory.mktemp("heads")
    rng = np.random.default_rng(0)
    for number in [n for n in range(40) if split_of(n) == "train"][:12]:
        colour, yaws = rng.integers(0, 200, 3), 2 * np.pi * (np.arange(VIEWS) + rng.random()) / VIEWS
        views = [
            View(ball(yaw, colour), np.zeros((SIDE, SIDE), np.uint16), np.zeros((SIDE, SIDE), np.uint8)) for yaw in yaws
        ]
        labels = np.stack([camera_label(yaw, 0.0) for yaw in yaws])
        write_identity(folder / f"{number:06d}.zip", {}, labels, views)
    return folder


def run(heads, workdir, steps, **options):
    config = tiny()
    every = {"log_every": 1, "save_every": 100, "picture_every": 0}
    return dataclasses.replace(
        config, workdir=str(workdir), data=(str(heads),), kimg=steps * config.batch / 1000, **(every | options)
    )


@pytest.fixture(scope="module")
def stepped(heads):
    """`tiny` before, after the first step and after the second, with both metrics."""
    objective, mesh = tiny().objective, data_mesh()
    feed = open_feed(run(heads, "unused", 1), mesh)
    states, metrics = [init_state(objective, init_weights(objective), images=64)], []
    step = training.compile_step(objective, mesh)
    for i in range(2):
        state, values = step(replicate(states[-1], mesh), feed(i), run_key(1, mesh), i)
        states.append(state)
        metrics.append(values)
    return states, metrics


def difference(a, b):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return max(float(np.max(np.abs(np.asarray(x) - np.asarray(y)))) for x, y in pairs)


def test_a_step_moves_both_networks(stepped):
    states, metrics = stepped
    for before, after in itertools.pairwise(states):
        assert 0 < difference(before.generator["params"], after.generator["params"]) < 0.1
        assert 0 < difference(before.discriminator, after.discriminator) < 0.1
    assert all(np.isfinite(float(x)) for values in metrics for x in values.values())
    assert (int(states[2].step), int(states[2].images)) == (2, 64 + 2 * 4)


def test_r1_is_an_update_of_its_own_at_its_interval(stepped):
    states, metrics = stepped
    assert float(metrics[0]["r1"]) > 0 and float(metrics[0]["r1_mask"]) > 0
    assert float(metrics[1]["r1"]) == float(metrics[1]["r1_mask"]) == 0
    assert [int(state.discriminator_optimizer[0].count) for state in states] == [0, 2, 3]
    assert [int(state.generator_optimizer[0].count) for state in states] == [0, 1, 2]


def test_the_average_follows_by_its_half_life(stepped):
    """At 64 and 68 pictures it is a twentieth of these, 3.2 and 3.4: a step of 4 leaves 0.5 ** (4 / 3.2) of it.

    Rounding of numbers up to 300 leaves 1e-4.
    """
    states, _ = stepped
    for before, after, half_life in zip(states, states[1:], (3.2, 3.4)):
        kept = 0.5 ** (4 / half_life)
        expected = jax.tree.map(
            lambda a, b, kept=kept: kept * np.asarray(a) + (1 - kept) * np.asarray(b),
            before.averaged,
            after.generator["params"],
        )
        assert difference(expected, after.averaged) < 1e-4
    moved = states[1].generator["constants"]["backbone.mapping"]["w_avg"]
    assert 0 < float(jnp.max(jnp.abs(moved))) < 0.002 * 5


@pytest.fixture(scope="module")
def trained(heads, tmp_path_factory):
    """A run of 18 steps, stopped by time after the first and then resumed; its folder."""
    folder = tmp_path_factory.mktemp("run")
    config = run(heads, folder, STEPS, picture_every=STEPS)
    with pytest.raises(Stopped, match="the same command goes on") as stop:
        training.train(dataclasses.replace(config, minutes=1e-9))
    assert stop.value.code == TERMINATED
    training.train(config)
    return folder


def test_the_discriminator_separates_at_first_and_all_stays_finite(trained):
    lines = read_log(trained)
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    assert all(value is not None for line in lines for value in line.values())
    assert min(line["discriminator"] for line in lines) < 0.9 * lines[0]["discriminator"]
    assert max(line["real_sign"] - line["fake_sign"] for line in lines) > 1
    assert [line["step"] for line in lines if line["r1"]] == [1, 17]
    assert lines[-1]["kimg"] == pytest.approx(STEPS * 4 / 1000)


def test_a_run_leaves_pictures_and_a_model(trained):
    with Image.open(trained / "pictures" / f"{STEPS:07d}.png") as sheet:
        assert sheet.size == (8 * 128, 2 * 128)
    assert (trained / "pictures" / "0000001.png").exists()  # drawn where the time was over
    assert "backbone.synthesis" in (trained / "parameters.txt").read_text()
    params = panojax.load(trained / "model")
    _, state = exporting.read_state(trained)
    chex.assert_trees_all_equal(params.generator, state.average)


def test_a_resumed_run_equals_a_whole_one(heads, trained, tmp_path):
    """Bit for bit on a CPU."""
    whole = training.train(run(heads, tmp_path / "whole", STEPS))
    _, pieces = exporting.read_state(trained)
    chex.assert_trees_all_equal(whole, pieces)


def test_weights_travel_in_half_precision(trained, tmp_path):
    config, state = exporting.read_state(trained)
    parts = exporting.write_weights(tmp_path / "weights.npz", config.model, state, part_bytes=50_000)
    assert len(parts) > 2 and all(part.stat().st_size <= 50_000 for part in parts)
    model, images, weights = exporting.read_weights(parts[::-1])
    assert (model, images) == (config.model, STEPS * 4)
    for name in ("generator", "average", "discriminator"):
        stored = getattr(state, name)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6), weights[name], stored)
    for name, moments in second_moments(state).items():  # a byte each, to 15%; the smallest are 0
        pairs = ((np.ravel(x) for x in jax.tree.leaves(tree)) for tree in (moments, weights["moments"][name]))
        stored, kept = map(np.concatenate, map(list, pairs))
        np.testing.assert_allclose(kept, stored, rtol=0.16, atol=1e-22)
        assert (stored > 0).mean() > 0.5
    with pytest.raises(InputError, match="files must be all parts"):
        exporting.read_weights(parts[:-1])
    with pytest.raises(InputError, match="files must be all parts"):
        exporting.read_weights([tmp_path / "none.000"])
    fewer = exporting.write_weights(tmp_path / "weights.npz", config.model, state)
    assert len(fewer) == 1 and not parts[1].exists()


def test_a_run_starts_from_files_and_from_a_folder(heads, trained, tmp_path, capsys):
    """One more step: counted on, from the same weights but for half precision, and moments that agree."""
    assert (
        exporting.main(["--workdir", str(trained), "--out", str(tmp_path / "w.npz"), "--model", str(tmp_path / "m")])
        == 0
    )
    files = [line for line in capsys.readouterr().out.split() if ".npz" in line]
    from_files = training.train(run(heads, tmp_path / "files", 1, start=tuple(files)))
    told = capsys.readouterr().err
    assert "start: 0 kimg" in told and ", 0 new, 0 dropped" in told
    assert int(from_files.images) == (STEPS + 1) * 4
    images, from_folder = exporting.read_start([str(trained)])
    assert images == STEPS * 4
    for name, moments in second_moments(from_files).items():
        before = exporting.read_weights(files)[2]["moments"][name]
        for a, b in zip(jax.tree.leaves(moments), jax.tree.leaves(before), strict=True):
            assert np.all(np.asarray(a) >= 0.9 * np.asarray(b))  # one step of a decay of 0.99 or its power
    del from_folder["moments"]
    for name, tree in from_folder.items():
        for a, b in zip(jax.tree.leaves(tree), jax.tree.leaves(getattr(from_files, name)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=0.02)  # Adam's first steps are its learning rate
    assert exporting.main(["--files", *files, "--model", str(tmp_path / "again")]) == 0
    halves, full = panojax.load(tmp_path / "again"), panojax.load(tmp_path / "m")
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6), halves.generator, full.generator)


def test_a_warm_start_learns_the_heads_and_serves_as_one(heads, tmp_path):
    """The loss falls by a tenth within 18 steps; a run goes on from the generator."""
    model = dataclasses.replace(tiny().model, importance_samples=0)  # compiles faster
    config = run(heads, tmp_path / "fit", STEPS, stage="fit", fit=FitConfig(learning_rate=0.01), model=model)
    state = training.train(config)
    losses = [line["loss"] for line in read_log(tmp_path / "fit")]
    assert np.mean(losses[-3:]) < 0.9 * np.mean(losses[:3])
    assert state.codes.shape == (2 * 12, config.model.z_dim)
    images, weights = exporting.read_start([str(tmp_path / "fit")])
    assert images == STEPS * 4
    chex.assert_trees_all_equal(weights["generator"], state.gan.generator)


def test_without_tyro_the_command_says_so(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tyro", None)
    assert training.main(["tiny"]) == 2
    assert capsys.readouterr().err == "error: the command line needs tyro: pip install 'panojax'\n"


def test_bad_input_is_one_line(heads, trained, tmp_path, capsys):
    assert training.main(["tiny"]) == 2
    assert capsys.readouterr().err == "error: workdir must name the run's folder (--workdir DIR)\n"
    assert training.main(["tiny", "--workdir", str(tmp_path / "r")]) == 2
    assert "data must name at least one folder" in capsys.readouterr().err
    with pytest.raises(InputError, match="another batch, seed"):
        training.train(run(heads, trained, STEPS, batch=8, seed=1))
    for arguments, message in [
        ([], "give either --workdir or --files"),
        (["--workdir", str(trained)], "give --out, --model or both"),
        (["--files", "a", "--out", "b"], "out goes with a workdir"),
        (["--workdir", str(tmp_path), "--out", "b"], "must be a folder of a generator's run"),
    ]:
        assert exporting.main(arguments) == 2
        assert message in capsys.readouterr().err
