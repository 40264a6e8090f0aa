"""A stage's state in files to carry: what they hold, and what begins with them."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import micro
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict

from panojax.config import Config
from panojax.errors import InputError
from panojax.files.checkpoint import save
from panojax.inversion.spaces import fit_encoder
from panojax.train.encoder import run as training
from panojax.train.encoder.encoder_export import goes_on, is_export, read_stage, write_stage
from panojax.train.encoder.presets import tiny
from panojax.train.encoder.state import TrainState, init_state, optimizer, update
from panojax.train.export import best_encoder, main, read_run, read_state
from panojax.train.loop import Stopped
from panojax.train.package import PackageConfig, package


@pytest.fixture(scope="module")
def generator():
    return micro.micro_generator()


@pytest.fixture(scope="module")
def second(generator):
    """A run of encoder 2 and a state of it after two updates by gradients of all sizes."""
    run = dataclasses.replace(tiny(), stage="e2", steps=9)
    model = Config(generator.config.generator, fit_encoder(generator.config.generator, run.encoder, "w+"))
    state = init_state(model, run.objective, jax.random.key(0))

    def learn(learner, rate):
        optimiser = optimizer(run.step, rate)
        gradients = jax.tree.map(
            lambda x: 1e-3 * jnp.sin(jnp.arange(x.size).reshape(x.shape)), learner.params.fast.tree()
        )
        step = jax.jit(lambda learner: update(learner, gradients, learner.batch_stats, optimiser))
        return step(step(learner))

    state = TrainState(jnp.int32(2), learn(state.encoder, 1e-3), learn(state.critic, 1e-3))
    return run, model, state


@pytest.fixture(scope="module")
def exported(second, tmp_path_factory):
    name = tmp_path_factory.mktemp("export") / "e2.npz"
    write_stage(name, *second, part_bytes=100_000)
    return name


def moments(learner):
    return optax.tree_utils.tree_get(learner.optimizer, "nu").tree()


def test_what_an_export_holds(second, exported, tmp_path):
    run, model, state = second
    stage = read_stage(exported)
    assert (stage.run, stage.model, stage.step) == (run, model, 2)
    for name, learner in (("encoder", state.encoder), ("critic", state.critic)):
        chex.assert_trees_all_close(stage.learners[name]["params"], learner.params.slow.tree(), rtol=1e-3, atol=1e-7)
        kept, own = (flatten_dict(tree) for tree in (stage.learners[name]["moments"], moments(learner)))
        chex.assert_trees_all_close(kept, {path: own[path] for path in kept}, rtol=0.16, atol=1e-23)
        assert not any(np.any(x) for path, x in own.items() if path not in kept)
    variables = state.encoder.variables()
    assert jax.tree.structure(stage.variables) == jax.tree.structure(variables)
    for name, own in variables.items():  # of few numbers, so not halved
        chex.assert_trees_all_equal(stage.variables[name]["batch_stats"], own["batch_stats"])
    lean = write_stage(tmp_path / "lean.npz", *second, lean=True)
    assert sum(path.stat().st_size for path in lean) < 0.6 * sum(
        path.stat().st_size for path in exported.parent.iterdir()
    )
    assert read_stage(tmp_path / "lean.npz").learners.keys() == {"encoder"}
    assert not goes_on(read_stage(tmp_path / "lean.npz"), run)


def begun(run, second, folder):
    """The state that a run of these options begins with."""
    run = dataclasses.replace(run, workdir=str(folder))

    class Nothing:
        latest = None

    class Frozen:
        config = second[1]

    return training._begin(run, Frozen, Nothing, training.data_mesh())


def test_the_same_stage_goes_on(second, exported, tmp_path):
    run, _, state = second
    decaying = dataclasses.replace(run.step, decay_start=1, decay_steps=4)
    for step in (run.step, decaying):
        again, source, number = begun(dataclasses.replace(run, start=str(exported), step=step), second, tmp_path)
        assert (source, number, int(again.step)) == (None, 2, 2)
        for learner, own in ((again.encoder, state.encoder), (again.critic, state.critic)):
            chex.assert_trees_all_close(learner.params.fast.tree(), own.params.slow.tree(), rtol=1e-3, atol=1e-7)
            chex.assert_trees_all_close(moments(learner), moments(own), rtol=0.16, atol=1e-23)
            counts = optax.tree_utils.tree_get_all_with_path(learner.optimizer, "count")
            assert [int(count) for _, count in counts] == [2] * (1 + (step is decaying))


def test_a_stage_that_has_all_its_steps_is_said(second, exported, tmp_path):
    with pytest.raises(InputError, match="steps must be more than the 2 that start has made, got 2"):
        begun(dataclasses.replace(second[0], start=str(exported), steps=2), second, tmp_path)


def test_another_stage_begins_with_the_encoder(second, exported, tmp_path):
    run, _, _ = second
    for other in (dataclasses.replace(run, plain_e2=True), dataclasses.replace(run, stage="e1")):
        state, _, number = begun(dataclasses.replace(other, start=str(exported)), second, tmp_path)
        assert number == 0 and int(state.step) == 0 and state.critic is None
        chex.assert_trees_all_equal(
            state.encoder.params.fast.tree(), read_stage(exported).learners["encoder"]["params"]
        )
        assert not any(np.any(x) for x in jax.tree.leaves(moments(state.encoder)))


def test_an_export_serves_where_a_folder_does(generator, second, exported, tmp_path, monkeypatch, capsys):
    """`export --out` of a folder, whose run had no more time, and a model packed of it."""

    def compile_step(config, mesh):
        return lambda state, *_: (state.replace(step=state.step + 1), {"loss": jnp.float32(1)})

    monkeypatch.setattr(training, "compile_step", compile_step)
    run = dataclasses.replace(tiny(), workdir=str(tmp_path), steps=2, save_every=2, picture_every=0)
    monkeypatch.setattr(training, "_Pictures", lambda *_: None)
    with pytest.raises(Stopped, match="stopped at step 1 with a checkpoint"):
        training.train(run, params=generator, deadline=0.0)
    folder, name = tmp_path / "e1", tmp_path / "carried" / "e1.npz"
    assert main(["--workdir", str(folder), "--out", str(name)]) == 0
    assert capsys.readouterr().out.split() == [f"{name}.000"] and is_export(name)
    assert read_run(name) == read_run(folder) and int(read_state(folder)[2].step) == 1
    model = read_run(folder)[1]
    chex.assert_trees_all_close(best_encoder(name, model), best_encoder(folder, model), rtol=1e-3, atol=1e-7)
    save(generator, tmp_path / "generator")
    for kind, visible in (("folder", folder), ("export", name)):
        package(PackageConfig((str(tmp_path / "generator"),), tmp_path / kind, visible=visible))
    assert (tmp_path / "folder" / "visible.npz").read_bytes() == (tmp_path / "export" / "visible.npz").read_bytes()


def test_bad_input_is_named(exported, second, tmp_path):
    for path in exported.parent.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "e2.npz.000").unlink()
    with pytest.raises(InputError, match=r"must name all files of a stage's export, .*e2\.npz\.000"):
        read_stage(tmp_path / "e2.npz")
    run = dataclasses.replace(second[0], start=str(exported))
    other = dataclasses.replace(run, encoder=dataclasses.replace(run.encoder, head_width=32))
    model = dataclasses.replace(second[1], encoder=dataclasses.replace(second[1].encoder, head_width=32))
    with pytest.raises(InputError, match="has an encoder or a generator of other sizes"):
        begun(other, (other, model), tmp_path)
