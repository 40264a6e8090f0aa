"""One step of the generator's training, its parts, and the real sizes traced."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from panojax import camera
from panojax.errors import InputError
from panojax.generators.networks import build
from panojax.nn.stylegan2 import pool
from panojax.params import count
from panojax.train.generator import gan_steps
from panojax.train.generator.discriminator import LabelMapping
from panojax.train.generator.fakes import make_fakes, mix_styles, swap_samples
from panojax.train.generator.gan_presets import PRESETS, GeneratorRun, heads64, heads128, heads256, panohead512, tiny
from panojax.train.generator.gan_state import (
    Objective,
    abstract_state,
    abstract_weights,
    init_state,
    init_weights,
    take_over,
)
from panojax.train.generator.gan_steps import _in_parts, density_step, generator_step, judge, r1_step

BATCH = 4


def random_batch(side, batch=BATCH, seed=0):
    rng = np.random.default_rng(seed)
    labels = camera.look_at(rng.uniform(-3, 3, (2, batch)))
    return {
        "image": jnp.asarray(rng.uniform(-1, 1, (batch, side, side, 3)), jnp.float32),
        "mask": jnp.asarray(rng.uniform(0, 1, (batch, side, side, 1)), jnp.float32),
        "camera": labels[0],
        "pose": labels[1],
        "identity": jnp.arange(batch),
    }


def test_random_weights_follow_the_modules_own_rule():
    """What mappings and decoder draw: as large; zeros and ones where they are so."""
    objective = dataclasses.replace(
        tiny().objective, generator=dataclasses.replace(tiny().model, decoder_lr_multiplier=0.5)
    )
    config, drawn = objective.generator, init_weights(objective)
    modules, judge = build(config), LabelMapping(16, layers=1)
    key, label = jax.random.key(0, impl="unsafe_rbg"), jnp.zeros((1, 25))
    own = {
        "backbone.mapping": jax.jit(modules["backbone.mapping"].init)(key, jnp.zeros((1, config.z_dim)), label),
        "decoder": jax.jit(modules["decoder"].init)(key, jnp.zeros((1, config.plane_features))),
    }
    pairs = [(tree["params"], drawn["generator"]["params"][path]) for path, tree in own.items()]
    mapping = jax.jit(judge.init)(key, label)["params"]
    pairs.append((mapping, {name: drawn["discriminator"]["mapping"][name] for name in mapping}))
    for expected, got in pairs:
        for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(got), strict=True):
            assert a.shape == b.shape
            if np.std(a) == 0:
                np.testing.assert_array_equal(a, b)
            else:
                np.testing.assert_allclose(np.std(b), np.std(a), rtol=4 / np.sqrt(a.size))
    styles = drawn["generator"]["params"]["backbone.synthesis"]["b4"]["conv1"]["affine"]
    np.testing.assert_array_equal(styles["bias"], 1)


def test_the_batch_is_checked():
    objective = tiny().objective
    state = abstract_state(objective)
    step = functools.partial(jax.eval_shape, functools.partial(generator_step, objective=objective), state)
    with pytest.raises(InputError, match=r"batch must hold image \(4, 16, 16, 3\), got \(4, 8, 8, 3\)"):
        step(random_batch(8), jax.random.key(0))
    with pytest.raises(InputError, match=r"batch must hold pose \(4, 25\), got none"):
        step({name: x for name, x in random_batch(16).items() if name != "pose"}, jax.random.key(0))


def test_samples_are_swapped_with_the_one_before():
    x = jnp.arange(10_000)[:, None] * jnp.ones(3)
    np.testing.assert_array_equal(swap_samples(x, 1.0, jax.random.key(0)), jnp.roll(x, 1, axis=0))
    np.testing.assert_array_equal(swap_samples(x, 0.0, jax.random.key(0)), x)
    some = np.asarray(swap_samples(x, 0.7, jax.random.key(0)))
    assert (some == some[:, :1]).all()
    assert np.mean(some[:, 0] != np.arange(10_000)) == pytest.approx(0.7, abs=0.02)
    together = [np.asarray(swap_samples(x, 0.7, jax.random.key(n), together=True)) for n in range(200)]
    assert np.mean([y[1, 0] == 0 for y in together]) == pytest.approx(0.7, abs=0.1)
    assert {len({*(y[:, 0] - np.arange(10_000))[1:]}) for y in together} == {1}


def test_styles_are_mixed_from_a_layer_on():
    """The same one for all samples, as the original draws it."""
    ws, other = jnp.zeros((3, 6, 2)), jnp.ones((3, 6, 2))
    keys = jax.random.split(jax.random.key(0), 2000)
    mixed = np.asarray(jax.vmap(lambda key: mix_styles(ws, other, 0.5, key))(keys))[..., 0]
    assert (mixed == mixed[:, :1]).all()
    mixed = mixed[:, 0]
    assert (np.diff(mixed, axis=1) >= 0).all() and (mixed[:, 0] == 0).all()
    firsts = 6 - mixed.sum(1)
    assert np.mean(firsts < 6) == pytest.approx(0.5, abs=0.05)
    assert set(firsts) == {1, 2, 3, 4, 5, 6}


def test_parts_average_to_the_whole():
    inputs = {"x": jnp.arange(12.0).reshape(6, 2)}

    def function(part, key):
        return {"mean": jnp.mean(part["x"], axis=0)}, 2 * part["x"]

    whole = _in_parts(function, tiny().step, inputs, jax.random.key(0))
    thirds = _in_parts(function, dataclasses.replace(tiny().step, accumulate=3), inputs, jax.random.key(0))
    chex.assert_trees_all_close(whole, thirds, rtol=1e-7)


def test_all_options_together_trace_to_the_same_state():
    model = dataclasses.replace(
        tiny().model,
        background=True,
        raw_to_rgb=True,
        decoder_activation="none",
        white_back=False,
        dtype="bfloat16",
    )
    step = dataclasses.replace(
        tiny().step,
        accumulate=2,
        blur_kimg=1.0,
        density_weight=0.25,
        fresh_fakes=False,
        recompute=True,
        style_mixing=0.9,
    )
    objective = Objective(model, tiny().discriminator, step)
    state = abstract_state(objective)
    metrics = {"generator", "discriminator", "translation", "real_sign", "fake_sign"}
    for step, names in [
        (generator_step, metrics),
        (functools.partial(generator_step, density=True), metrics | {"density"}),
        (density_step, {"density"}),
        (r1_step, {"r1", "r1_mask"}),
    ]:
        after, metrics = jax.eval_shape(
            functools.partial(step, objective=objective), state, random_batch(16), jax.random.key(0)
        )
        assert after == state
        assert metrics.keys() == names and {x.shape for x in metrics.values()} == {()}


@pytest.mark.parametrize(
    ("preset", "generator", "discriminator"),
    [(panohead512, 53.74, 31.36), (heads64, 7.04, 6.45), (heads128, 7.63, 6.57), (heads256, 7.63, 6.60)],
)
def test_real_sizes_in_millions(preset, generator, discriminator):
    weights = abstract_weights(preset().objective)
    assert count(weights["generator"]["params"]) / 1e6 == pytest.approx(generator, abs=0.05)
    assert count(weights["discriminator"]) / 1e6 == pytest.approx(discriminator, abs=0.05)


@pytest.mark.parametrize(
    ("preset", "side", "rendered"), [(panohead512, 512, 64), (heads64, 128, 32), (heads256, 256, 64)]
)
def test_real_sizes_give_these_shapes(preset, side, rendered):
    objective, n = preset().objective, preset().batch
    weights = abstract_weights(objective)
    labels = jax.ShapeDtypeStruct((n, 25), jnp.float32)
    make = functools.partial(make_fakes, objective.generator, objective.step, images=0, key=jax.random.key(0))
    fakes = jax.eval_shape(make, weights["generator"], labels)
    assert (fakes.image.shape, fakes.raw.shape) == ((n, side, side, 3), (n, rendered, rendered, 3))
    assert (fakes.mask.shape, fakes.w.shape) == ((n, rendered, rendered, 1), (n, objective.generator.w_dim))
    assert {x.dtype for x in (fakes.image, fakes.raw, fakes.mask, fakes.w)} == {jnp.dtype("float32")}
    image = jax.eval_shape(functools.partial(pool, size=objective.discriminator.resolution), fakes.image)
    judged = functools.partial(judge, objective)
    logits = jax.eval_shape(judged, weights["discriminator"], image, fakes.raw, fakes.mask, labels)
    assert (logits.shape, logits.dtype) == ((n,), jnp.float32)


def test_a_larger_run_takes_what_fits():
    """From a tri-grid of 8 and pictures of 16 to 16 and 32: both networks gain a block."""
    small = tiny()
    large = dataclasses.replace(
        small,
        model=dataclasses.replace(small.model, plane_resolution=16),
        discriminator=dataclasses.replace(small.discriminator, resolution=32),
    )
    earlier = init_weights(small.objective, 1) | {"average": init_weights(small.objective, 2)["generator"]}
    weights = init_weights(large.objective, 3)
    taken, message = take_over(weights, earlier)
    backbone = taken["generator"]["params"]["backbone.synthesis"]
    smaller = earlier["generator"]["params"]["backbone.synthesis"]
    for block in ("b4", "b8"):
        np.testing.assert_array_equal(backbone[block]["conv1"]["kernel"], smaller[block]["conv1"]["kernel"])
    assert not backbone["b16"]["torgb"]["kernel"].any() and backbone["b16"]["conv0"]["kernel"].any()
    for got, expected in [
        (taken["average"]["params"]["decoder"]["net.2"], earlier["average"]["params"]["decoder"]["net.2"]),
        (taken["discriminator"]["b16"]["conv0"], earlier["discriminator"]["b16"]["conv0"]),
        (taken["discriminator"]["b32"]["skip"], weights["discriminator"]["b32"]["skip"]),
    ]:
        chex.assert_trees_all_equal(got, expected)
    assert "backbone.synthesis/b16/torgb" in message and "b16/fromrgb" in message
    state = init_state(large.objective, taken, images=7)
    assert jax.tree.map(jnp.shape, state) == jax.tree.map(lambda x: x.shape, abstract_state(large.objective))
    assert int(state.images) == 7
    with pytest.raises(InputError, match="start must be a run of a generator of like sizes"):
        take_over(weights, {**earlier, "generator": {"params": {"other": {"kernel": np.zeros(3)}}}})


def test_bad_runs_are_named():
    for options, message in [
        ({"batch": 6}, "batch must be a multiple of 4"),
        ({"back_repeat": 0}, "back_repeat must be at least 1"),
        ({"minutes": 0.0}, "kimg and minutes must be positive"),
        ({"background": "kept"}, 'background must be "white"'),
        ({"discriminator": panohead512().discriminator}, "discriminator.resolution must be at most"),
    ]:
        with pytest.raises(InputError, match=message):
            dataclasses.replace(tiny(), **options)
    assert GeneratorRun().steps == 781_250
    assert set(PRESETS) == {"panohead512", "heads256", "heads128", "heads64", "tiny"}


@pytest.mark.parametrize(("weights", "updates"), [((0.0, 0.0), 1), ((1.0, 0.0), 11), ((0.0, 1.0), 11)])
def test_r1_of_weight_0_is_no_update(monkeypatch, weights, updates):
    """As the original, whose optimiser leaves alone what has no gradient; an update of zeros would move by momentum."""
    monkeypatch.setattr(gan_steps, "generator_step", lambda state, batch, key, **_: (state + 1, {}))
    monkeypatch.setattr(gan_steps, "r1_step", lambda state, batch, key, **_: (state + 10, {}))
    objective = tiny().objective
    step = dataclasses.replace(objective.step, r1_weight=weights[0], r1_mask_weight=weights[1])
    take = gan_steps.compile_step(dataclasses.replace(objective, step=step))
    state, metrics = take(jnp.zeros(()), {}, jax.random.key(0), 0)
    assert state == updates and metrics["r1"] == metrics["r1_mask"] == 0
