"""The decoder and the super-resolution learn beside the local branch, and end in the model's generator."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import local_model
import numpy as np
import pytest
import scenes

from panojax import camera
from panojax.devices.sharding import data_mesh
from panojax.generators.generator import Head, render_heads, synthesize
from panojax.losses.perception import Perception
from panojax.params import Params
from panojax.train.encoder import run as training
from panojax.train.encoder.encoder_export import write_stage
from panojax.train.encoder.presets import tiny, tiny_e3dge
from panojax.train.encoder.state import Frozen, TrainState, init_state
from panojax.train.encoder.step_config import RENDERER, StepConfig
from panojax.train.encoder.steps import compile_step
from panojax.train.encoder.tuning import parts_of, tuned
from panojax.train.export import assemble, read_state

MESH = data_mesh()
PARTS = ("decoder", "superresolution")
STEP = StepConfig(
    offsets=False, learn="local", tune=PARTS, tune_scale=0.25, learning_rate=0.1, loss_resolution=32, critic_widths=(4,)
)


@pytest.fixture(scope="module")
def params():
    return local_model.params()


@pytest.fixture(scope="module")
def frozen(params):
    average, parts = params.encoders["latent_average"], parts_of(params.generator, PARTS)
    return Frozen(params.generator, average, Perception(), tuned=parts, config=params.config)


@pytest.fixture(scope="module")
def stepped(frozen):
    """A state, and the same after a step."""
    state = init_state(frozen.config, STEP, jax.random.key(4))
    batch = {"image": scenes.portraits(2), "camera": jnp.tile(camera.front(), (2, 1))}
    after, metrics = compile_step(STEP)(jax.tree.map(jnp.copy, state), frozen, batch, jax.random.key(0))
    assert np.isfinite(metrics["loss"])
    return state, after


def test_both_learn_and_the_encoder_does_not(stepped):
    state, after = (one.encoder.params.fast.tree() for one in stepped)
    assert set(state) == {"psp_encoder", "local_encoder", RENDERER}
    assert not any(np.any(x) for x in jax.tree.leaves(state[RENDERER]))
    chex.assert_trees_all_equal(state["psp_encoder"], after["psp_encoder"])
    for part in PARTS:
        assert any(np.any(x) for x in jax.tree.leaves(after[RENDERER][part]))
    assert np.any(after["local_encoder"]["film"]["kernel"])


def test_pictures_are_by_the_tuned_parts(frozen, stepped):
    """A change of the last layer's bias, scaled, is a change of colour."""
    deltas = jax.tree.map(jnp.zeros_like, stepped[1].encoder.params.fast.tree()[RENDERER])
    last = deltas["superresolution"]["block1"]["torgb"]
    last["bias"] = last["bias"] + 0.4
    ws = jnp.tile(frozen.latent_average, (1, 1, 1))
    render = jax.jit(lambda frozen: render_heads(model, frozen.generator, head, camera.front()[None]).image)
    model = frozen.config.generator
    head = Head(synthesize(model, frozen.generator, ws), ws)
    before, after = render(frozen), render(tuned(frozen, deltas, STEP))
    np.testing.assert_allclose(after - before, 0.25 * 0.4, atol=1e-4)
    assert tuned(frozen, None, STEP) is frozen


@pytest.fixture(scope="module")
def run(params, tmp_path_factory):
    """A run's folder, after two steps that each add 1 to parameters and moments."""

    def compile_step(config, mesh):
        def take_step(state, frozen, batch, key):
            learner = state.encoder
            more = {name: jax.tree.map(lambda x: x + 1, getattr(learner, name)) for name in ("params", "optimizer")}
            encoder = learner.replace(**more)
            return TrainState(state.step + 1, encoder, state.critic), {"loss": jnp.float32(1)}

        return take_step

    config = dataclasses.replace(
        tiny_e3dge(),
        workdir=str(tmp_path_factory.mktemp("run")),
        encoder=params.config.encoder,
        step=dataclasses.replace(tiny_e3dge().step, offsets=True, learn="local", tune=PARTS, tune_scale=0.25),
        steps=2,
        save_every=2,
        picture_every=0,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "compile_step", compile_step)
        patch.setattr(training, "evaluate", lambda *_, config: {"loss": jnp.float32(1)})
        patch.setattr(training, "export", lambda workdir, params: "")
        training.train(config, params=params.generator_only())
    return config


def test_a_model_gets_the_tuned_generator(run, params, tmp_path):
    generator = params.generator_only()
    expected = jax.tree.map(lambda x: x + 0.25 * 2, parts_of(params.generator, PARTS))
    export = tmp_path / "e1.npz"
    write_stage(export, *read_state(f"{run.workdir}/e1"))
    for stage in (f"{run.workdir}/e1", export):
        made = assemble(generator, stage)
        chex.assert_trees_all_close(parts_of(made.generator, PARTS), expected, rtol=1e-6)
        assert RENDERER not in made.encoders["both"]
        rest = set(params.generator["params"]) - set(PARTS)
        chex.assert_trees_all_equal(*(parts_of(tree, rest) for tree in (made.generator, params.generator)))
        with pytest.raises(ValueError, match="generator must be the one whose decoder and super-resolution were tuned"):
            assemble(made.generator_only(), stage)


def test_a_run_goes_on_with_its_own_generator_alone(run, params, tmp_path):
    write_stage(tmp_path / "e1.npz", *read_state(f"{run.workdir}/e1"))
    again = dataclasses.replace(run, start=str(tmp_path / "e1.npz"), steps=5)
    frozen = training.freeze(again, params.generator_only(), MESH)
    checkpoints = type("None_", (), {"latest": None})()
    state, _, step = training._begin(again, frozen, checkpoints, MESH)
    assert step == 2
    assert all(np.all(x == 2) for x in jax.tree.leaves(state.encoder.params.slow.tree()[RENDERER]))
    other = Params(jax.tree.map(lambda x: x * 1.5, params.generator), config=params.generator_only().config)
    elsewhere = training.freeze(again, other, MESH)
    with pytest.raises(ValueError, match="start must have tuned decoder, superresolution of this generator"):
        training._begin(again, elsewhere, checkpoints, MESH)
    fewer = dataclasses.replace(again, step=dataclasses.replace(again.step, tune=("decoder",)))
    with pytest.raises(ValueError, match="start must have tuned decoder, as tune says, got decoder, superresolution"):
        training._begin(fewer, training.freeze(fewer, params.generator_only(), MESH), checkpoints, MESH)
    slower = dataclasses.replace(again, step=dataclasses.replace(again.step, tune_scale=0.125))
    state, _, step = training._begin(slower, frozen, checkpoints, MESH)
    assert step == 0  # the moments were of other steps
    assert all(np.all(x == 4) for x in jax.tree.leaves(state.encoder.params.slow.tree()[RENDERER]))
    plain = dataclasses.replace(again, step=dataclasses.replace(again.step, tune=()))
    state, _, step = training._begin(plain, frozen, checkpoints, MESH)
    assert step == 0 and RENDERER not in state.encoder.params.slow.tree()


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"tune must be one of decoder, superresolution, got .mapping"):
        StepConfig(tune=("mapping",))
    with pytest.raises(ValueError, match="tune must name parts once, of a step that renders and has no critic"):
        StepConfig(tune=("decoder", "decoder"))
    with pytest.raises(ValueError, match=r"tune must be empty in space z\+"):
        StepConfig(tune=("decoder",), space="z+", offsets=False)
    with pytest.raises(ValueError, match="tune_scale must be positive, got 0"):
        StepConfig(tune_scale=0)
    with pytest.raises(ValueError, match="tune goes with stage e1, got decoder with e2"):
        dataclasses.replace(tiny(), stage="e2", plain_e2=True, step=dataclasses.replace(tiny().step, tune=("decoder",)))
