"""GOAE's encoder through its training: codes in groups, then AFA with the codes as they are; tiny, on a CPU."""

import dataclasses
import gc

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe
from conftest import solid_generator

import panojax
from panojax.commands import info
from panojax.data.drawn import draw_samples
from panojax.devices.sharding import data_mesh
from panojax.errors import InputError
from panojax.eval.methods import Inverter, OptimisationOptions, load_models, parse_methods
from panojax.losses.perception import Perception
from panojax.train.encoder import run as training
from panojax.train.encoder.presets import goae, tiny, tiny_goae
from panojax.train.encoder.step_config import StepConfig
from panojax.train.encoder.steps import _released
from panojax.train.export import best_encoder, read_run
from panojax.train.logs import read_log

pytestmark = [
    # What Orbax's threads leave complains when it is freed, be it in a later test.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

STEPS = 40, 60  # of the codes, of AFA


@pytest.fixture(scope="module", autouse=True)
def _freed_here():
    yield
    gc.collect()


@pytest.fixture(scope="module")
def generator():
    return solid_generator(64)


class Portraits:
    """A source of two portraits, the same in each batch."""

    def __init__(self, params):
        draw = jax.jit(draw_samples, static_argnums=(0, 3))
        keys = jax.random.split(jax.random.key(6), 2)
        self.batch = jax.device_get(draw(params.config.generator, params.generator, keys, tiny().samples))

    def __next__(self):
        return dict(self.batch)

    def get_state(self):
        return 0

    def set_state(self, state):
        pass


@pytest.fixture(scope="module")
def trained(generator, tmp_path_factory):
    """A folder in which `tiny_goae` trained the codes, then AFA, on two portraits."""
    folder, run = tmp_path_factory.mktemp("goae"), tiny_goae()
    step = dataclasses.replace(run.step, release=((5, 4), (10, 7), (15, 14)))
    common = {"data": ("two",), "batch": 2, "log_every": 5, "picture_every": 0, "validation_batches": 1}
    codes = dataclasses.replace(run, workdir=str(folder), steps=STEPS[0], save_every=STEPS[0], step=step, **common)
    source = Portraits(generator)
    training.train(codes, params=generator, source=source, validation=source)
    learn = dataclasses.replace(step, learn="goae_features", learning_rate=0.01)
    features = dataclasses.replace(codes, workdir=str(folder / "afa"), start=str(folder / "e1"), step=learn)
    features = dataclasses.replace(features, steps=STEPS[1], save_every=STEPS[1])
    training.train(features, params=generator, source=source, validation=source)
    return folder


def losses(folder):
    return [line["loss"] for line in read_log(folder / "e1") if "loss" in line]


def test_the_loss_falls_by_half_through_the_stages(trained):
    """The codes bring it down, and AFA, which begins by changing nothing, further."""
    codes, features = losses(trained), losses(trained / "afa")
    print(codes, features)
    assert (5 * len(codes), 5 * len(features)) == STEPS
    assert codes[-1] < 0.8 * codes[0]
    assert features[0] < 1.1 * codes[-1]
    assert features[-1] < 0.9 * features[0]
    assert features[-1] < 0.5 * codes[0]


def test_each_stage_changes_its_own_network(trained):
    first, second = (best_encoder(folder / "e1", read_run(folder / "e1")[1]) for folder in (trained, trained / "afa"))
    jax.tree.map(np.testing.assert_array_equal, first["goae_codes"], second["goae_codes"])
    before, after = first["goae_features"], second["goae_features"]
    assert np.all(before["params"]["cross_att_gamma"]["linear2"]["bias"] == 1)
    assert np.all(before["batch_stats"]["input_layer.1"]["mean"] == 0)
    assert (
        recipe.relative_error(after["params"]["output_layer.2"]["kernel"], before["params"]["output_layer.2"]["kernel"])
        > 0
    )
    assert np.any(after["batch_stats"]["input_layer.1"]["mean"])
    for name in ("coarse", "mid", "fine"):
        assert np.any(first["goae_codes"]["params"][f"cross_att_{name}"]["linear2"]["bias"]), name


def test_the_model_inverts_and_is_evaluated(trained, generator, capsys):
    """By the public function, as the evaluation's method, and as `panojax info` tells it."""
    params = panojax.load(trained / "afa" / "model")
    assert params.config.encoders == 1
    drawn = jax.jit(draw_samples, static_argnums=(0, 3))(
        params.config.generator, params.generator, jax.random.split(jax.random.key(5), 1), tiny().samples
    )
    image, label = drawn["image"][0], drawn["camera"][0]
    head = jax.jit(panojax.invert)(params, image, label)
    (method,) = parse_methods("goae")
    assert method.title == "GOAE"
    (model,) = load_models((method,), params).values()
    _, heads = Inverter(method, model, Perception(), OptimisationOptions())(image, label, jax.random.key(0))
    np.testing.assert_allclose(heads.planes[0], head.planes, atol=1e-4)
    info.run(info.Options(str(trained / "afa" / "model")))
    shown = capsys.readouterr().out
    assert "codes_resolution: 64" in shown and "encoders both" in shown


@pytest.mark.parametrize(
    "methods, message",
    [
        ("dual", "methods: dual needs two encoders, --checkpoint has one"),
        ("e2", "methods: e2 needs two encoders, --checkpoint has one"),
    ],
)
def test_methods_that_need_other_encoders_are_refused(trained, methods, message):
    params = panojax.load(trained / "model")
    with pytest.raises(InputError, match=message):
        load_models(parse_methods(methods), params)


def test_goae_needs_its_encoder():
    with pytest.raises(InputError, match="methods: goae needs a GoaeEncoder, --checkpoint has a EncoderConfig"):
        load_models(parse_methods("goae"), panojax.load("random"))


def test_codes_are_released_by_the_step(trained):
    frozen = training.freeze(read_run(trained / "e1")[0], solid_generator(64), data_mesh())
    config = read_run(trained / "e1")[0].step
    assert [int(_released(frozen, jnp.int32(n), config)) for n in (0, 4, 5, 14, 15)] == [1, 1, 4, 7, 14]
    later = dataclasses.replace(config, learn="goae_features")
    assert _released(frozen, jnp.int32(0), later) is None


@pytest.mark.parametrize(
    "make, message",
    [
        (
            lambda: dataclasses.replace(goae(), step=StepConfig(learn="afa")),
            "step.learn must be all, local or one of goae_codes",
        ),
        (
            lambda: dataclasses.replace(goae(), step=StepConfig(learn="goae_features")),
            "^step.learn goae_features needs start, a run or a model in which goae_codes has learned, got none$",
        ),
        (
            lambda: StepConfig(release=((20, 4), (10, 7))),
            "release must be pairs of a step and a number of codes, both rising",
        ),
    ],
)
def test_impossible_runs_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
