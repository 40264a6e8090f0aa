"""From runs to a model that ships: stages' folders and exports in, files that `panojax.load` reads out."""

import dataclasses
import json
import shutil

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import panojax
from panojax.config import Config
from panojax.encoders import dual
from panojax.files import packed
from panojax.files.checkpoint import save
from panojax.params import Params
from panojax.train import package as packaging
from panojax.train.encoder import run as training
from panojax.train.encoder.presets import tiny
from panojax.train.encoder.state import TrainState
from panojax.train.export import best_encoder, read_run
from panojax.train.generator.gan_export import write_weights
from panojax.train.generator.gan_presets import tiny as tiny_generator
from panojax.train.generator.gan_state import init_state, init_weights
from panojax.train.loop import CONFIG_FILE


@pytest.fixture(scope="module")
def state():
    """A generator's state; the average is not the generator."""
    run = dataclasses.replace(tiny_generator(), seed=5)
    state = init_state(run.objective, init_weights(run.objective, run.seed), images=3000)
    return state.replace(averaged=jax.tree.map(lambda x: x * 1.25, state.averaged))


@pytest.fixture(scope="module")
def generator(state):
    return Params(state.average, config=Config(tiny_generator().model))


@pytest.fixture(scope="module")
def export(state, tmp_path_factory):
    """The files of a generator's export."""
    path = tmp_path_factory.mktemp("export") / "weights.npz"
    return tuple(map(str, write_weights(path, tiny_generator().model, state, part_bytes=20_000)))


@pytest.fixture(scope="module")
def stages(generator, tmp_path_factory):
    """Both stages of a run of two steps that each scale every parameter."""

    def compile_step(config, mesh):
        def take_step(state, frozen, batch, key):
            params = jax.tree.map(lambda x: x * 1.1, state.encoder.params)
            stepped = state.encoder.replace(params=params)
            return TrainState(state.step + 1, stepped, state.critic), {"loss": jnp.float32(1)}

        return take_step

    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "compile_step", compile_step)
        patch.setattr(training, "evaluate", lambda *_, config: {"loss": jnp.float32(1)})
        patch.setattr(training, "export", lambda workdir, params: "")
        run = dataclasses.replace(tiny(), workdir=str(folder), steps=2, save_every=2, picture_every=0)
        training.train(run, params=generator)
        training.train(dataclasses.replace(run, stage="e2", seed=1), params=generator)
    return folder


def pack(out, generator, **options):
    return packaging.package(packaging.PackageConfig(tuple(map(str, generator)), out, **options))


def halves(tree):
    """As packing rounds an array of each encoder."""
    return jax.tree.map(
        lambda x: np.asarray(x, np.float32 if x.size < packed.SMALL else np.float16).astype(np.float32), tree
    )


def check_same(got, want):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    chex.assert_trees_all_equal(got, want)


def test_an_export_and_both_stages(export, state, stages, tmp_path, capsys):
    arguments = [
        "--generator",
        *export,
        "--visible",
        stages / "e1",
        "--occluded",
        stages / "e2",
        "--out",
        tmp_path / "m",
    ]
    assert packaging.main([str(a) for a in arguments]) == 0
    assert "MB in all" in capsys.readouterr().out
    params = panojax.load(tmp_path / "m")
    assert params.config.framing == "heads"
    exported = jax.tree.map(lambda x: np.asarray(x, np.float16).astype(np.float32), state.average)
    check_same(params.generator, exported)
    _, model = read_run(stages / "e1")
    for which, stage in ((dual.VISIBLE, "e1"), (dual.OCCLUDED, "e2")):
        check_same(dual.part(params.encoders["both"], which), halves(best_encoder(stages / stage, model)))
    assert params.encoders["latent_average"].shape == (params.config.generator.num_ws, params.config.generator.w_dim)
    about = packed.read_manifest(tmp_path / "m")["about"]
    assert about == {"generator": {"kimg": 3.0}, "visible": {"steps": 2}, "occluded": {"steps": 2}}
    invert = jax.jit(panojax.invert)
    head = invert(params, jnp.zeros((64, 64, 3)))
    assert np.isfinite(head.planes).all()


def test_a_model_and_encoder_1_alone(generator, stages, tmp_path):
    save(generator, tmp_path / "model")
    pack(tmp_path / "out", [tmp_path / "model"], visible=stages / "e1", framing="panohead")
    assert not (tmp_path / "out" / packed.OCCLUDED).exists()
    params = panojax.load(tmp_path / "out")
    assert params.config.framing == "panohead"
    check_same(*(dual.part(params.encoders["both"], which) for which in (dual.VISIBLE, dual.OCCLUDED)))
    # What is packed can be packed again, with its encoders, to the same bytes.
    pack(tmp_path / "again", [tmp_path / "out"])
    for name in (packed.GENERATOR, packed.VISIBLE):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()


def test_pieces_are_put_together_where_each_is_trained(export, stages, tmp_path):
    """Encoder 1 travels inside a packed model to where encoder 2 is, and is then replaced alone."""
    pack(tmp_path / "first", export, visible=stages / "e1")
    pack(tmp_path / "both", [tmp_path / "first"], occluded=stages / "e2")
    pack(tmp_path / "at_once", export, visible=stages / "e1", occluded=stages / "e2")
    pack(tmp_path / "again", [tmp_path / "both"], visible=stages / "e1")
    for name in (packed.GENERATOR, packed.VISIBLE, packed.OCCLUDED):
        for other in ("both", "again"):
            assert (tmp_path / other / name).read_bytes() == (tmp_path / "at_once" / name).read_bytes()
    assert packed.read_manifest(tmp_path / "again") == packed.read_manifest(tmp_path / "at_once")


def test_a_generator_alone(export, state, tmp_path):
    pack(tmp_path / "out", export)
    params = panojax.load(tmp_path / "out")
    assert params.encoders is None
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [packed.GENERATOR, packed.MANIFEST]


def test_training_starts_from_what_was_packed(export, generator, stages, tmp_path):
    pack(tmp_path / "model", export, visible=stages / "e1", occluded=stages / "e2")
    params = panojax.load(tmp_path / "model")
    for stage, which in (("e1", dual.VISIBLE), ("e2", dual.OCCLUDED)):
        run = dataclasses.replace(tiny(), stage=stage, start=str(tmp_path / "model"))
        check_same(training._start(run, read_run(stages / "e1")[1]), dual.part(params.encoders["both"], which))
    other = dataclasses.replace(generator.config, encoder=tiny().encoder)
    with pytest.raises(panojax.InputError, match="start must be a stage's folder or a model with encoders of"):
        training._start(run, other)


def test_one_encoder_may_have_a_local_branch(export, stages, tmp_path):
    """The other, and one that training starts from, gets one that changes nothing."""
    pack(tmp_path / "plain", export, visible=stages / "e1")
    params = panojax.load(tmp_path / "plain")
    first = dual.part(params.encoders["both"], dual.VISIBLE)
    sizes = {"local_features": 4, "local_channels": params.config.generator.plane_features}
    model = dataclasses.replace(params.config, encoder=dataclasses.replace(params.config.encoder, **sizes))
    started = {
        str(start): training._start(dataclasses.replace(tiny(), start=str(start)), model)
        for start in (tmp_path / "plain", stages / "e1")
    }
    branch = started[str(tmp_path / "plain")].pop("local_encoder")
    assert not np.any(branch["params"]["film"]["kernel"]) and np.any(branch["params"]["hidden"]["kernel"])
    check_same(started[str(tmp_path / "plain")], first)
    check_same(started[str(stages / "e1")].pop("local_encoder"), branch)
    check_same(halves(started[str(stages / "e1")]), first)

    shutil.copytree(stages / "e1", tmp_path / "e1")  # as if the branch alone had learned
    told = json.loads((tmp_path / "e1" / CONFIG_FILE).read_text())
    told["run"]["step"]["learn"] = "local"
    told["run"]["encoder"]["local_features"] = 4
    (tmp_path / "e1" / CONFIG_FILE).write_text(json.dumps(told))
    for before, steps in (({"steps": 7}, 2), ({"steps": 7, "local_steps": 3}, 5)):
        assert packaging._trained(tmp_path / "e1", before) == {"steps": 7, "local_steps": steps}

    learned = jax.tree.map(lambda x: x + 1, branch)
    both = dual.join(*[first | {"local_encoder": learned}] * 2)
    packed.write_packed(tmp_path / "branch", model, params.generator, params.encoders | {"both": both})
    pack(tmp_path / "out", [tmp_path / "branch"], occluded=stages / "e2")
    got = panojax.load(tmp_path / "out").encoders["both"]
    for which, wanted in ((dual.VISIBLE, learned), (dual.OCCLUDED, branch)):
        check_same(dual.part(got, which)["local_encoder"], halves(wanted))


def test_bad_input_is_named(export, stages, tmp_path, capsys):
    save(panojax.load("random"), tmp_path / "other")
    wrong = {
        "must be a folder of stage e1": [*export, "--visible", stages / "e2"],
        "encoder 2 needs encoder 1 beside it": [*export, "--occluded", stages / "e2"],
        "generator with another configuration": [tmp_path / "other", "--visible", stages / "e1"],
        "files must be all parts": export[:-1],
        "checkpoint must be a folder": [stages],
        "must take at most 0.1 MB": [*export, "--visible", stages / "e1", "--max-megabytes", "0.1"],
    }
    for message, arguments in wrong.items():
        assert packaging.main(["--generator", *map(str, arguments), "--out", str(tmp_path / "out")]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
