"""Losses, regularisers, blur and schedules of the generator's training, against slow twins and known values."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy_original import filtered

from panojax.errors import InputError
from panojax.generators.generator import Head
from panojax.generators.generator_config import GeneratorConfig
from panojax.losses.terms import adversarial, discriminator
from panojax.train.generator import gan_losses as generator_losses
from panojax.train.generator import schedules
from panojax.train.generator.fit import depth_distance, pyramid_distance
from panojax.train.generator.gan_config import DiscriminatorConfig, GanConfig
from panojax.train.generator.gan_losses import (
    blur,
    density_variation,
    gaussian_matrix,
    panohead_matrix,
    r1_penalty,
    translation_penalty,
)
from panojax.train.generator.gan_presets import tiny
from panojax.train.generator.gan_state import (
    GanState,
    adam_steps,
    discriminator_adam,
    generator_adam,
    with_moments,
)

RNG = np.random.default_rng(0)
RELEASED = GanConfig()


def softplus(x):
    return np.log1p(np.exp(x))


def test_the_game_is_the_non_saturating_one():
    real, fake = RNG.standard_normal((2, 7))
    np.testing.assert_allclose(adversarial(jnp.asarray(fake)), np.mean(softplus(-fake)), rtol=1e-6)
    expected = np.mean(softplus(-real)) + np.mean(softplus(fake))
    np.testing.assert_allclose(discriminator(jnp.asarray(real), jnp.asarray(fake)), expected, rtol=1e-6)


def quartic_judge(image, raw, mask):
    """A logit of each sample alone, with cross terms between its pictures."""
    sums = [jnp.sum(x**2, axis=(1, 2, 3)) for x in (image, raw, mask)]
    return sums[0] * sums[1] + jnp.sin(sums[2]) * sums[0]


def test_r1_equals_finite_differences():
    shapes = (3, 2, 2, 3), (3, 1, 1, 3), (3, 2, 2, 1)
    image, raw, mask = (0.5 * RNG.standard_normal(shape) for shape in shapes)
    squared = np.zeros((3, 3))  # sample, picture
    with jax.enable_x64(True):
        for which, x in enumerate((image, raw, mask)):
            for index in np.ndindex(*x.shape):
                ends = []
                for sign in (1, -1):
                    moved = [image.copy(), raw.copy(), mask.copy()]
                    moved[which][index] += sign * 1e-5
                    ends.append(float(quartic_judge(*map(jnp.asarray, moved))[index[0]]))
                squared[index[0], which] += ((ends[0] - ends[1]) / 2e-5) ** 2
    total, terms = r1_penalty(
        quartic_judge, *(jnp.asarray(x, jnp.float32) for x in (image, raw, mask)), weight=2.0, mask_weight=0.5
    )
    pictures, masks = squared[:, :2].sum(1).mean(), squared[:, 2].mean()
    np.testing.assert_allclose(terms["r1"], pictures, rtol=1e-5)
    np.testing.assert_allclose(terms["r1_mask"], masks, rtol=1e-5)
    np.testing.assert_allclose(total, 2.0 / 2 * pictures + 0.5 / 2 * masks, rtol=1e-5)


def test_translation_penalty_sums_squared_means():
    delta = RNG.standard_normal((5, 3)).astype(np.float32)
    expected = sum(np.mean(delta[:, axis]) ** 2 for axis in range(3))
    np.testing.assert_allclose(translation_penalty(jnp.asarray(delta)), expected, rtol=1e-6)


@pytest.mark.parametrize("half", [1.0, 0.5])
def test_density_variation_equals_loop(monkeypatch, half):
    """On a field that is known: the head's own number times x^2 + y z."""

    def field(model, variables, head, points):
        return head.planes[0, 0, 0, 0, 0] * (points[:, 0] ** 2 + points[:, 1] * points[:, 2]), None

    monkeypatch.setattr(generator_losses.generator, "query_field", field)
    model, key = tiny().model, jax.random.key(2)
    heads = Head(jnp.asarray([1.0, 3.0]).reshape(2, 1, 1, 1, 1, 1), jnp.zeros((2, 1, 1)))
    got = density_variation(model, {}, heads, key, points=20, distance=0.1, half=half)
    place_key, offset_key = jax.random.split(key)
    places = half * np.asarray(jax.random.uniform(place_key, (2, 20, 3), minval=-1, maxval=1))
    moved = places + 0.1 * np.asarray(jax.random.normal(offset_key, (2, 20, 3)))
    apart = [
        scale * abs((a[0] ** 2 + a[1] * a[2]) - (b[0] ** 2 + b[1] * b[2]))
        for scale, these, those in zip((1, 3), places, moved)
        for a, b in zip(these, those)
    ]
    np.testing.assert_allclose(got, np.mean(apart), rtol=1e-5)


def test_warm_start_distances_equal_loops():
    image, target = RNG.standard_normal((2, 2, 8, 8, 3)).astype(np.float32)
    levels = []
    for size in (8, 4):
        pooled = (image - target).reshape(2, size, 8 // size, size, 8 // size, 3).mean(axis=(2, 4))
        levels.append(np.abs(pooled).mean())
    np.testing.assert_allclose(pyramid_distance(jnp.asarray(image), jnp.asarray(target), 2), np.mean(levels), rtol=1e-5)
    known = 2.5 + RNG.random((2, 8, 8, 1)).astype(np.float32)
    known[0, :4] = 0
    known[1, 0, 0] = 0  # a pixel in four: not solid enough to count
    depth = 2.5 + RNG.random((2, 4, 4, 1)).astype(np.float32)
    depth[0, 0, 0] = np.inf
    counted = [
        abs(depth[n, i, j, 0] - known[n, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean())
        for n, i, j in np.ndindex(2, 4, 4)
        if (known[n, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2] > 0).all()
    ]
    assert len(counted) == 8 + 15
    np.testing.assert_allclose(depth_distance(jnp.asarray(depth), jnp.asarray(known)), np.mean(counted), rtol=1e-5)


@pytest.mark.parametrize("sigma", [0.3, 0.34, 0.7, 2.0, 3.4, 10.0])
def test_panoheads_blur_equals_loop(sigma):
    """Also where the filter is wider than the picture; below a third of a pixel there is none. Before, our Gaussian was
    normalised at the border and 1.2 times as wide: 1 to 60% away."""
    x = RNG.standard_normal((2, 9, 9, 3))
    kernel = panohead_matrix(9, jnp.float32(sigma), widest=10.0)
    expected = filtered(x, sigma)
    np.testing.assert_allclose(blur(jnp.asarray(x, jnp.float32), kernel), expected, atol=1e-6)
    before = np.asarray(blur(jnp.asarray(x, jnp.float32), gaussian_matrix(9, jnp.float32(sigma))))
    assert np.linalg.norm(before - expected) > 0.01 * np.linalg.norm(expected)


@pytest.mark.parametrize("sigma", [0.7, 2.0])
def test_even_blur_equals_loop(sigma):
    x = RNG.standard_normal((2, 9, 9, 3))
    expected = np.zeros_like(x)
    for i, j in np.ndindex(9, 9):
        weights = np.array(
            [[np.exp(-((a - i) ** 2 + (b - j) ** 2) / (2 * sigma**2)) for b in range(9)] for a in range(9)]
        )
        expected[:, i, j] = np.einsum("ab,nabc->nc", weights / weights.sum(), x)
    kernel = gaussian_matrix(9, jnp.float32(sigma))
    np.testing.assert_allclose(blur(jnp.asarray(x, jnp.float32), kernel), expected, atol=1e-5)


def test_blur_leaves_plain_pictures_and_sigma_0_alone():
    x = jnp.asarray(RNG.standard_normal((1, 8, 8, 1)), jnp.float32)
    for kernel in (gaussian_matrix(8, jnp.float32(0)), panohead_matrix(8, jnp.float32(0), widest=10.0)):
        np.testing.assert_array_equal(kernel, np.eye(8))
        np.testing.assert_array_equal(blur(x, kernel), x)
    np.testing.assert_allclose(blur(jnp.ones((1, 8, 8, 1)), gaussian_matrix(8, jnp.float32(3))), 1, rtol=1e-6)


def test_schedules_at_known_kimg():
    """The spec: blur 10 -> 0 and density noise 1 -> 0 over 200 kimg, conditioning swap 1 -> 0.7 over 1000."""
    rows = {
        0: (10, 1, 1.0),
        50_000: (7.5, 0.75, 0.985),
        200_000: (0, 0, 0.94),
        1_000_000: (0, 0, 0.7),
        25_000_000: (0, 0, 0.7),
    }
    for images, (sigma, noise, swap) in rows.items():
        for batch in (32, 8):  # the blur alone is counted at batch 32
            found = schedules.blur_sigma(images * batch // 32, batch, RELEASED)
            np.testing.assert_allclose(found, sigma, atol=1e-6)
        np.testing.assert_allclose(schedules.density_noise(images, RELEASED), noise, atol=1e-6)
        np.testing.assert_allclose(schedules.conditioning_swap(images, RELEASED), swap, rtol=1e-6)
    at_once = GanConfig(blur_kimg=0, density_noise_kimg=0, conditioning_swap_kimg=0)
    assert schedules.blur_sigma(0, 32, at_once) == schedules.density_noise(0, at_once) == 0
    assert schedules.conditioning_swap(0, at_once) == pytest.approx(0.7)


def test_the_average_has_a_half_life_of_10_kimg_at_batch_32():
    """Half is left after 10 kimg in batches of 32, after 20 in batches of 64; early, a twentieth of what was shown."""
    for batch in (32, 64):
        decay = float(schedules.ema_decay(10_000_000, batch, RELEASED))
        half_life = 1000 * 10 * batch / 32
        np.testing.assert_allclose(decay ** (half_life / batch), 0.5, rtol=1e-3)
    assert float(schedules.ema_decay(0, 32, RELEASED)) == 0
    np.testing.assert_allclose(schedules.ema_decay(64_000, 32, RELEASED), 0.5 ** (32 / 3200), rtol=1e-6)


def test_rendering_resolution_grows_in_steps():
    model = GeneratorConfig(rendering_resolution=128)
    grows = GanConfig(rendering_start=64, rendering_kimg=1000)
    sides = [schedules.rendering_resolution(images, model, grows) for images in range(0, 1_100_000, 1000)]
    assert sides[0] == 64 and sides[-1] == 128 and sides == sorted(sides)
    assert {side % 8 for side in sides} == {0} and len(set(sides)) == 9
    assert schedules.rendering_resolution(500_000, model, grows) == 96
    assert schedules.rendering_resolution(0, model, RELEASED) == 128


@pytest.mark.parametrize(
    ("optimiser", "rate", "interval", "density"),
    [
        (generator_adam, 0.0025, 4, 0.25),
        (generator_adam, 0.0025, None, 0.0),
        (discriminator_adam, 0.002, 16, 0.0),
    ],
)
def test_adam_is_corrected_for_lazy_regularisation(optimiser, rate, interval, density):
    """Learning rate times k / (k + 1), betas to that power; not so without a regulariser. The twin is Adam in NumPy."""
    factor = 1 if interval is None else interval / (interval + 1)
    assert interval is None or schedules.lazy_factor(interval) == factor
    adam, beta = optimiser(dataclasses.replace(RELEASED, density_weight=density)), 0.99**factor
    params = expected = np.ones(3)
    state, second = adam.init(jnp.asarray(params, jnp.float32)), np.zeros(3)
    params = jnp.asarray(params, jnp.float32)
    for step in range(1, 6):
        gradient = RNG.standard_normal(3)
        second = beta * second + (1 - beta) * gradient**2
        expected = expected - rate * factor * gradient / (np.sqrt(second / (1 - beta**step)) + 1e-8)
        updates, state = adam.update(jnp.asarray(gradient, jnp.float32), state, params)
        params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(params, expected, rtol=1e-5)


@pytest.mark.parametrize(("wait", "warmup"), [(3, 4), (3, 0), (0, 4)])
def test_the_generator_waits_and_its_rate_rises(wait, warmup):
    """With gradients of one size Adam's updates are the rate; moments of an earlier run do not end the waiting."""
    config = dataclasses.replace(RELEASED, generator_wait=wait, generator_warmup=warmup)
    adam = generator_adam(config)
    params = {"params": {"layer": jnp.ones(2)}, "constants": {}}
    state = GanState(
        step=jnp.int32(0),
        images=jnp.int32(0),
        generator=params,
        averaged=params["params"],
        discriminator={"layer": jnp.ones(2)},
        generator_optimizer=adam.init(params["params"]),
        discriminator_optimizer=discriminator_adam(config).init({"layer": jnp.ones(2)}),
    )
    moments = {"generator": {"layer": np.ones(2)}, "discriminator": {"layer": np.ones(2)}, "steps": 10_000}
    state = with_moments(state, moments)
    assert adam_steps(state) == 10_000
    moved, optimizer = [], state.generator_optimizer
    for _ in range(10):
        updates, optimizer = adam.update({"layer": jnp.ones(2)}, optimizer)
        moved.append(-float(updates["layer"][0]))
    rising = [config.learning_rate * min(1.0, i / warmup if warmup else 1.0) for i in range(10 - wait)]
    np.testing.assert_allclose(moved, [0.0] * wait + rising, rtol=1e-5)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("generator_wait", -1, "generator_wait must not be negative, got -1"),
        ("conditioning_swap", 1.5, "conditioning_swap must lie in 0..1, got 1.5"),
        ("r1_interval", 0, "r1_interval must be at least 1, got 0"),
        ("learning_rate", 0.0, "learning_rate must be positive"),
        ("blur_kimg", -1.0, "blur_kimg must not be negative"),
        ("noise", "some", "noise must be one of random, const, none"),
        ("rendering_start", 4, "rendering_start must be at least 8"),
        ("blur", "some", "blur must be one of panohead, even, got 'some'"),
        ("density_region", "ball", "density_region must be one of cube, box, got 'ball'"),
    ],
)
def test_bad_options_are_named(option, value, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(RELEASED, **{option: value})


def test_the_released_setting():
    """The numbers of the spec, each once."""
    assert (RELEASED.learning_rate, RELEASED.discriminator_learning_rate) == (0.0025, 0.002)
    assert (RELEASED.r1_weight, RELEASED.r1_mask_weight, RELEASED.r1_interval) == (1.0, 1.0, 16)
    assert (RELEASED.adaptation_weight, RELEASED.background_swap) == (10.0, 0.2)
    assert DiscriminatorConfig().network(25).resolution == 512
