import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe

import panojax
from panojax.data.drawn import SampleConfig, draw_samples
from panojax.errors import InputError
from panojax.generators.generator import Head
from panojax.inversion.optimize import (
    ProjectionConfig,
    TuningConfig,
    invert_pti,
    invert_wplus,
    noise_autocorrelation,
    projector_schedule,
)
from panojax.losses.perception import Perception

CONFIG = ProjectionConfig(steps=100, samples=200, loss_resolution=64)


@pytest.fixture(scope="module")
def portraits(generator):
    draw = jax.jit(draw_samples, static_argnums=(0, 3))
    keys = jax.random.split(jax.random.key(5), 2)
    return draw(generator.config.generator, generator.generator, keys, SampleConfig(latent="z", yaw_degrees=10.0))


@pytest.fixture(scope="module")
def projected(generator, portraits):
    """Both portraits at once, and what was reported."""
    reports = []
    heads = invert_wplus(
        generator,
        portraits["image"],
        portraits["camera"],
        perception=Perception(),
        config=CONFIG,
        progress=lambda step, loss: reports.append((step, loss)),
    )
    return heads, reports


def error(params, head, portraits, i):
    image = jax.jit(panojax.render)(params, head, portraits["camera"][i]).image
    return float(jnp.mean(jnp.square(image - portraits["image"][i])))


def test_codes_come_near_the_portrait(generator, portraits, projected):
    heads, reports = projected
    assert [step for step, _ in reports] == [50, 100]
    mean = jax.jit(panojax.generate, static_argnames="cutoff")(generator, jnp.zeros(16), truncation=0.0)
    for i in range(2):
        found = error(generator, Head(heads.planes[i], heads.ws[i]), portraits, i)
        assert found < 0.5 * error(generator, mean, portraits, i)


def test_tuning_brings_the_generator_nearer(generator, portraits, projected):
    tuned, head = invert_pti(
        generator,
        portraits["image"][0],
        portraits["camera"][0],
        perception=Perception(),
        config=CONFIG,
        tuning=TuningConfig(steps=50, learning_rate=3e-3, loss_resolution=64),
    )
    # A portrait alone gets the codes that it gets in a batch.
    assert head.ws.shape == (6, 32)
    assert recipe.relative_error(head.ws, projected[0].ws[0]) < 0.02
    before = error(generator, jax.tree.map(lambda x: x[0], projected[0]), portraits, 0)
    assert error(tuned, head, portraits, 0) < 0.7 * before
    kept, moved = (
        jax.tree.leaves(
            jax.tree.map(
                lambda a, b: bool(jnp.array_equal(a, b)),
                generator.generator["params"][name],
                tuned.generator["params"][name],
            )
        )
        for name in ("backbone.mapping", "superresolution")
    )
    assert all(kept) and not all(moved)
    np.testing.assert_allclose(head.planes, jax.jit(panojax.synthesize)(tuned, head.ws), atol=1e-4)


def test_schedule_equals_the_projector_s():
    config = dataclasses.replace(CONFIG, steps=200)
    for step in (0, 3, 10, 77, 149, 150, 160, 199):
        t = step / 200
        ramp = 0.5 - 0.5 * np.cos(min(1.0, (1.0 - t) / 0.25) * np.pi)
        expected = 0.1 * ramp * min(1.0, t / 0.05), 0.05 * max(0.0, 1.0 - t / 0.75) ** 2
        np.testing.assert_allclose(projector_schedule(config, jnp.int32(step)), expected, atol=1e-7)


def test_noise_autocorrelation_equals_loop():
    noise = recipe.normal("optimize/noise", (16, 16))
    expected, level = 0.0, noise
    while True:
        n = len(level)
        across = np.mean([level[i, j] * level[i, j - 1] for i in range(n) for j in range(n)])
        down = np.mean([level[i, j] * level[i - 1, j] for i in range(n) for j in range(n)])
        expected += across**2 + down**2
        if n <= 8:
            break
        level = np.array(
            [[level[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean() for j in range(n // 2)] for i in range(n // 2)]
        )
    np.testing.assert_allclose(noise_autocorrelation(noise), expected, rtol=1e-5)


def test_bad_input_is_named(generator):
    with pytest.raises(InputError, match=r"image must be \[S, S, 3\] or"):
        invert_wplus(generator, jnp.zeros((64, 32, 3)), perception=Perception())
    with pytest.raises(InputError, match=r"camera must be \[25\] or \[2, 25\], got \(3, 25\)"):
        invert_wplus(generator, jnp.zeros((2, 64, 64, 3)), jnp.zeros((3, 25)), perception=Perception())
    with pytest.raises(InputError, match="own generator"):
        invert_pti(generator, jnp.zeros((2, 64, 64, 3)), perception=Perception())
    with pytest.raises(InputError, match="steps must be at least 1"):
        ProjectionConfig(steps=0)
