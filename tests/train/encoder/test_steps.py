import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe

from panojax.config import Config
from panojax.data.drawn import draw_samples
from panojax.devices.sharding import data_mesh, run_key
from panojax.encoders.encoder_config import EncoderConfig
from panojax.errors import InputError
from panojax.generators.generator import head_occlusion
from panojax.generators.generator_config import GeneratorConfig
from panojax.inversion.spaces import fit_encoder, mean_codes
from panojax.losses.perception import Perception
from panojax.params import abstract_generator
from panojax.train.encoder.presets import PRESETS, tiny
from panojax.train.encoder.run_config import RunConfig
from panojax.train.encoder.state import Frozen, abstract_state, all_finite, init_state
from panojax.train.encoder.step_config import StepConfig
from panojax.train.encoder.steps import adversarial_step, compile_step, encode, encoder_step, evaluate

E1 = tiny().step
E2 = dataclasses.replace(E1, critic="trigrid-occluded", adversarial_weight=0.1)


def frozen_for(generator, config, *, encoder=None):
    model = generator.config.generator
    average = mean_codes(model, generator.generator, jax.random.key(1), samples=100)
    sizes = fit_encoder(model, encoder or tiny().encoder, config.space)
    return Frozen(generator.generator, average, Perception(), config=Config(model, sizes))


@pytest.fixture(scope="module")
def batch(generator):
    draw = jax.jit(draw_samples, static_argnums=(0, 3))
    return draw(generator.config.generator, generator.generator, jax.random.split(jax.random.key(2), 2), tiny().samples)


def take(config, frozen, batch, *, steps=1, key=None):
    """The state before, after some steps, and their metrics."""
    before = init_state(frozen.config, config, jax.random.key(3))
    function = functools.partial(encoder_step if config.critic == "none" else adversarial_step, config=config)
    step = jax.jit(function)
    state, metrics = before, []
    for _ in range(steps):
        state, numbers = step(state, frozen, batch, jax.random.key(4) if key is None else key)
        metrics.append({name: float(value) for name, value in numbers.items()})
    return before, state, metrics


@pytest.fixture(scope="module")
def adversarial(generator, batch):
    """Two steps of encoder 2 and its critic, batch norms frozen, in one part and in two."""
    config = dataclasses.replace(E2, freeze_batch_norm=True, offsets=False)
    frozen = frozen_for(generator, config)
    return [take(dataclasses.replace(config, accumulate=n), frozen, batch, steps=2) for n in (1, 2)]


def test_accumulated_gradients_are_the_batch_s(adversarial):
    """The first update of RAdam is the gradient itself, so equal parameters mean equal gradients."""
    (before, whole, metrics), (_, parts, part_metrics) = adversarial
    for one, two in zip(metrics, part_metrics):
        for name in one:
            assert two[name] == pytest.approx(one[name], rel=1e-4, abs=1e-6), name
    for name in ("encoder", "critic"):
        start, a, b = (getattr(state, name).params.fast for state in (before, whole, parts))
        a, b = (jax.tree.map(jnp.subtract, x, start) for x in (a, b))
        flat = [np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(x)]) for x in (a, b)]
        assert np.abs(flat[0]).max() > 0
        assert recipe.relative_error(flat[1], flat[0]) < 1e-3


def test_r1_is_lazy(adversarial):
    _, (_, _, metrics) = adversarial
    assert metrics[0]["critic/r1"] > 0
    assert metrics[1]["critic/r1"] == 0


def test_frozen_batch_norms_keep_their_statistics(adversarial):
    before, after, _ = adversarial[0]
    for name in ("encoder", "critic"):
        pairs = zip(*(jax.tree.leaves(getattr(s, name).batch_stats) for s in (before, after)))
        assert all(np.array_equal(a, b) for a, b in pairs)


PULLED = dataclasses.replace(
    E2,
    offsets=False,
    weights=dataclasses.replace(E2.weights, l2=0.0),
    adversarial_weight=1.0,
    learning_rate=2.0,
    critic_learning_rate=1e-12,
    jitter=False,
)


@pytest.fixture(scope="module")
def pulled(generator, batch):
    """Two steps of the adversarial loss alone, without jitter: the frozen networks, the state before, and metrics."""
    frozen = frozen_for(generator, PULLED)
    before, _, metrics = take(PULLED, frozen, batch, steps=2)
    return frozen, before, metrics


def test_encoder_2_is_pulled_towards_the_critic_s_taste(pulled):
    """A step raises the critic's logits of the hidden part of encoded heads.

    Ranger's first steps are gradient descent, so a large rate shows in one.
    """
    _, _, (before, after) = pulled
    assert after["critic/fake"] > before["critic/fake"] + 1e-3
    assert after["adversarial"] < before["adversarial"] - 1e-4


def test_mask_is_what_the_encoder_s_own_rendering_hides(pulled, batch):
    """`critic/hidden` is the mean of the occlusion masks of the encoded heads."""
    frozen, before, (metrics, _) = pulled
    pictures = jax.image.resize(batch["image"], (2, 32, 32, 3), "linear")

    @jax.jit
    def mask(variables):
        heads = encode(
            frozen, variables, pictures, batch["camera"], config=PULLED, train=("psp_encoder", "triplanenet_encoder")
        )[0].heads
        return head_occlusion(frozen.config.generator, frozen.generator, heads, batch["camera"])

    assert metrics["critic/hidden"] == pytest.approx(float(mask(before.encoder.variables()).mean()), abs=0.02)
    assert 0.5 < metrics["critic/hidden"] < 0.95


def test_f_stage_passes_no_gradient_to_the_w_stage_through_its_input(generator, batch):
    """The offsets depend on the W+ stage's rendering, yet not their gradient; the codes have one of their own."""
    frozen = frozen_for(generator, E1)
    state = init_state(frozen.config, E1, jax.random.key(3))
    variables = state.encoder.variables()
    pictures = jax.image.resize(batch["image"][:1], (1, 32, 32, 3), "linear")

    def norms(params, config):
        psp = variables["psp_encoder"] | {"params": params}

        def outputs(params):
            tree = variables | {"psp_encoder": psp | {"params": params}}
            seen = frozen, tree, pictures, batch["camera"][:1]
            encoded, _ = encode(*seen, config=config)
            alone, _ = encode(*seen, config=dataclasses.replace(config, offsets=False))
            return jnp.sum(jnp.square(encoded.heads.planes - alone.heads.planes)), jnp.sum(encoded.heads.ws)

        jacobian = jax.jacrev(outputs)(params)
        return [sum(jnp.sum(jnp.square(x)) for x in jax.tree.leaves(tree)) for tree in jacobian]

    offsets, codes = jax.jit(norms, static_argnums=1)(variables["psp_encoder"]["params"], E1)
    assert codes > 1e-3
    assert offsets < 1e-8 * codes


ABLATIONS = {
    "Z+": {"space": "z+", "offsets": False, "recompute": True},
    "picture critic": {"critic": "image", "critic_widths": (8, 8, 8, 8), "offsets": False},
    "tri-grid critic": {"critic": "trigrid", "offsets": False},
    "both pictures": {"style_weight": 1.0},
}


@pytest.mark.parametrize("name", ABLATIONS)
def test_ablations_take_a_step(generator, batch, name):
    config = dataclasses.replace(E1, **ABLATIONS[name])
    frozen = frozen_for(generator, config)
    before, after, (metrics,) = take(config, frozen, {k: v[:2] for k, v in batch.items()})
    assert np.isfinite(list(metrics.values())).all()
    assert after.step == 1 and bool(all_finite(after))
    moved = jax.tree.map(
        lambda *both: bool(jnp.any(both[0] != both[1])), *(s.encoder.params.fast.tree() for s in (before, after))
    )
    # Biases before a batch norm have no gradient, and so stay; nearly all else moves.
    assert np.mean(jax.tree.leaves(moved)) > 0.7
    if config.critic == "trigrid":
        assert metrics["critic/hidden"] == 1
    if config.style_weight:
        assert metrics["loss"] == pytest.approx(metrics["l2"] + metrics["styled/l2"], rel=1e-5)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_fit_the_released_generator(name):
    run: RunConfig = PRESETS[name]()
    model = GeneratorConfig()
    config = Config(model, fit_encoder(model, run.encoder, run.step.space))
    state = abstract_state(config, dataclasses.replace(run, stage="e2").objective)
    if isinstance(config.encoder, EncoderConfig):  # other encoders ask the generator in their stages
        assert config.encoder.n_styles == model.num_ws == 14
    assert state.critic is not None


@pytest.mark.parametrize(("name", "stage"), [("paper", "e2"), ("e4e", "e1")])
def test_steps_trace_at_full_size(name, stage):
    """Shapes only: PanoHead's released generator, 512 px, the preset's encoder, and its critic where it has one."""
    run: RunConfig = dataclasses.replace(PRESETS[name](), stage=stage)
    model = GeneratorConfig()
    config = Config(model, fit_encoder(model, run.encoder, run.step.space))
    objective = run.objective
    second = objective.critic != "none"
    frozen = Frozen(
        abstract_generator(model), jax.ShapeDtypeStruct((14, 512), jnp.float32), Perception(), config=config
    )
    state = abstract_state(config, objective)
    shapes = {
        "image": jax.ShapeDtypeStruct((2, 256, 256, 3), jnp.float32),
        "camera": jax.ShapeDtypeStruct((2, 25), "f4"),
    }
    step = functools.partial(adversarial_step if second else encoder_step, config=objective)
    after, metrics = jax.eval_shape(step, state, frozen, shapes, jax.eval_shape(lambda: jax.random.key(0)))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(lambda x: (x.shape, x.dtype), state)
    assert metrics["loss"].shape == ()


def test_bad_input_is_named(generator, batch):
    frozen = frozen_for(generator, E1)
    state = init_state(frozen.config, E1, jax.random.key(0))
    key = run_key(0, data_mesh())
    with pytest.raises(InputError, match="encoder_step has no critic"):
        encoder_step(state, frozen, batch, key, config=E2)
    with pytest.raises(InputError, match="adversarial_step needs a critic"):
        adversarial_step(state, frozen, batch, key, config=E2)
    with pytest.raises(InputError, match="divide into accumulate = 3 parts, got 2"):
        encoder_step(state, frozen, batch, key, config=dataclasses.replace(E1, accumulate=3))
    with pytest.raises(InputError, match=r"64 pixels a side.*got 32"):
        evaluate(frozen, state.encoder.variables(), batch | {"image": batch["image"][:, :32, :32]}, config=E1)
    with pytest.raises(InputError, match=r"camera \[N, 25\], got"):
        compile_step(E1)(state, frozen, batch | {"camera": batch["camera"][:, :16]}, key)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"space": "w"}, "space must be one of"),
        ({"critic": "patch"}, "critic must be one of"),
        ({"accumulate": 0}, "accumulate must be at least 1"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"space": "z"}, "offsets False"),
        ({"style_weight": 1.0, "offsets": False}, "style_weight must be 0"),
    ],
)
def test_impossible_configurations_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        StepConfig(**options)
