"""The encoder with a local branch learns from proxies (E3DGE); tiny, on a CPU."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import local_model
import numpy as np
import pytest
import recipe
import scenes

from panojax.camera import look_at
from panojax.encoders import dual
from panojax.encoders.encoder import encode_local
from panojax.encoders.stage import Context
from panojax.fields.local_branch import make_branch
from panojax.generators.generator import Head, synthesize
from panojax.inversion import pipeline as inversion
from panojax.inversion.stages import init_variables, local_input
from panojax.losses.perception import Perception
from panojax.nn.stylegan2 import pool
from panojax.train.encoder.presets import tiny, tiny_e3dge
from panojax.train.encoder.proxy import ProxyWeights, draw_proxies, proxy_terms
from panojax.train.encoder.state import Frozen, Learner, abstract_state, init_state
from panojax.train.encoder.step_config import StepConfig
from panojax.train.encoder.steps import compile_step, encode, encoder_step
from panojax.train.loop import remember

RUN = tiny_e3dge()
STEP = dataclasses.replace(RUN.step, offsets=False)
RATE, STEPS = 0.1, 5


@pytest.fixture(scope="module")
def frozen():
    params = local_model.params()
    return Frozen(params.generator, params.encoders["latent_average"], Perception(), config=params.config)


@pytest.fixture(scope="module")
def prepared(frozen):
    """Two proxies, without their second views, and what a local branch is given for heads of other codes."""
    config, model = frozen.config.generator, frozen.config

    @jax.jit
    def prepare(keys, ws):
        proxies = draw_proxies(config, frozen.generator, keys, RUN.samples, STEP.proxy)
        proxies = {name: x for name, x in proxies.items() if not name.startswith("other")}
        heads = Head(synthesize(config, frozen.generator, ws), ws)
        pictures = pool(proxies["image"], model.encoder.resolution)
        context = Context(frozen.generator, frozen.latent_average, pictures, proxies["camera"], model=model)
        return proxies, heads, *local_input(context, heads)

    ws = recipe.normal("local/codes", (2, *frozen.latent_average.shape))
    return prepare(jax.random.split(jax.random.key(0), 2), ws)


@pytest.fixture(scope="module")
def learned(frozen, prepared):
    """Descent by the local branch's parameters alone, towards the proxies' fields: (parameters, terms, gradients)."""
    config, encoder = frozen.config.generator, frozen.config.encoder
    proxies, heads, inputs, view = prepared
    variables = init_variables(frozen.config, jax.random.key(3), offsets=False)["local_encoder"]

    def loss(local, statistics, proxies):
        networks = {"local_encoder": {"params": local, "batch_stats": statistics}}
        features, fusion = encode_local(encoder, networks, inputs)
        branch = make_branch(features, view, proxies["camera"], fusion)
        terms = proxy_terms(config, frozen.generator, heads.replace(local=branch), proxies["depth"], proxies)
        return 0.01 * terms["density"] + terms["feature"], terms

    @jax.jit
    def descend(local, statistics, proxies):
        (total, terms), slope = jax.value_and_grad(loss, has_aux=True)(local, statistics, proxies)
        return jax.tree.map(lambda x, g: x - RATE * g, local, slope), {"loss": total, **terms}, slope

    local, steps = variables["params"], []
    for _ in range(STEPS):
        after, terms, slope = descend(local, variables["batch_stats"], proxies)
        steps.append((local, terms, slope))
        local = after
    return steps


def test_the_branch_begins_silent_and_all_of_it_learns(learned):
    """At first only its last layer, which is zero, has a gradient; then all layers have one, and it is finite."""
    (local, _, first), *_, (_, _, last) = learned
    assert not np.any(local["film"]["kernel"]) and np.any(local["hidden"]["kernel"])
    assert all(np.any(x) for x in jax.tree.leaves(first["film"]))
    assert not any(np.any(x) for name in ("hidden", "features") for x in jax.tree.leaves(first[name]))
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(last))
    assert all(any(np.any(x) for x in jax.tree.leaves(layer)) for layer in (last["hidden"], *last["features"].values()))


def test_the_branch_lowers_the_loss(learned):
    (_, before, _), *_, (_, after, _) = learned
    assert after["loss"] < 0.98 * before["loss"] and after["feature"] < before["feature"]
    assert after["code"] == before["code"]


def test_a_step_trains_it(frozen, prepared):
    """Shapes only: the state of the preset's step has the branch, its statistics and its optimiser's."""
    state = abstract_state(frozen.config, STEP)
    assert set(jax.eval_shape(Learner.variables, state.encoder)) == {"psp_encoder", "local_encoder"}
    known = dict(prepared[0])
    image, camera = known.pop("image"), known.pop("camera")
    batch = {"image": image, "camera": camera, "proxy": known | {"other_image": image, "other_camera": camera}}
    step = functools.partial(encoder_step, config=STEP)
    after, metrics = jax.eval_shape(step, state, frozen, batch, jax.eval_shape(lambda: jax.random.key(0)))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(lambda x: (x.shape, x.dtype), state)
    assert "proxy/view" in metrics


def test_the_branch_learns_alone(frozen, prepared):
    """A step leaves the other networks, and their statistics, as they are."""
    config = dataclasses.replace(STEP, learn="local", proxy=ProxyWeights())
    state = init_state(frozen.config, config, jax.random.key(4))
    batch = {name: prepared[0][name] for name in ("image", "camera")}
    after, metrics = compile_step(config)(jax.tree.map(jnp.copy, state), frozen, batch, jax.random.key(0))
    assert np.isfinite(metrics["loss"])

    def changed(network):
        pairs = zip(*(jax.tree.leaves(x.encoder.variables()[network]) for x in (state, after)))
        return [bool(np.any(a != b)) for a, b in pairs]

    assert any(changed("local_encoder")) and not any(changed("psp_encoder"))
    assert np.any(after.encoder.params.fast.tree()["local_encoder"]["film"]["kernel"])
    with pytest.raises(ValueError, match=r'step\.learn "local" needs a local branch'):
        dataclasses.replace(tiny(), step=config)


def test_the_branch_learns_on_the_heads_that_inversion_stitches(monkeypatch):
    """Of every other texel: the random model hides none from the portrait."""
    params = local_model.params()
    model, both = params.config, params.encoders["both"]
    mask = jnp.asarray(np.indices(model.generator.field.cells).sum(0) % 2, jnp.float32)[None]
    monkeypatch.setattr("panojax.inversion.pipeline.head_occlusion", lambda *_, **__: mask)
    visible, occluded = (dual.part(both, which) for which in (dual.VISIBLE, dual.OCCLUDED))
    occluded = {name: occluded[name] for name in occluded if name != "local_encoder"}
    frozen = Frozen(params.generator, params.encoders["latent_average"], Perception(), occluded, config=model)
    image, label = scenes.portraits(1), look_at(0.3)[None]
    invert = jax.jit(inversion.invert_batch, static_argnums=0)
    expected, parts = invert(model, params.generator, params.encoders, image, label)
    step = functools.partial(encode, config=StepConfig())
    heads = jax.jit(step)(frozen, visible, pool(image, model.encoder.resolution), label)[0].heads
    for planes, same in ((expected.planes, True), (parts.visible.planes, False)):
        assert (recipe.relative_error(heads.planes, planes) < 1e-5) == same
    assert recipe.relative_error(heads.local.features, expected.local.features) < 1e-4
    with pytest.raises(ValueError, match="occluded goes with stage e1 and learn local, got e1 and all"):
        dataclasses.replace(tiny(), occluded="default")


def test_latent_spaces_have_no_local_branch():
    with pytest.raises(ValueError, match=r"encoder.local_features must be 0 in space z\+"):
        dataclasses.replace(RUN, step=dataclasses.replace(STEP, space="z+"))


def test_a_run_of_before_the_option_goes_on(tmp_path):
    """Its configuration lacks the branch's fields: they have their defaults."""
    folder = tmp_path / "e1"
    remember(folder, tiny(), free=frozenset())
    record = json.loads((folder / "config.json").read_text())
    for name in ("local_features", "local_hidden", "local_channels"):
        del record["run"]["encoder"][name]
    (folder / "config.json").write_text(json.dumps(record))
    remember(folder, tiny(), free=frozenset())
    with pytest.raises(ValueError, match="another encoder"):
        remember(folder, dataclasses.replace(tiny(), encoder=RUN.encoder), free=frozenset())
