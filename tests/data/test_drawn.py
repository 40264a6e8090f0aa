import functools

import jax
import numpy as np
import pytest

from panojax.data.drawn import SampleConfig, draw_heads, draw_samples, sample_cameras
from panojax.errors import InputError
from panojax.generators.generator import render_heads
from panojax.nn.stylegan2 import pool


def test_samples_are_what_the_generator_renders(generator):
    """One at a time or together, a key gives one sample; its picture is the rendering of its head."""
    config, variables = generator.config.generator, generator.generator
    options = SampleConfig(yaw_degrees=30.0)
    keys = jax.random.split(jax.random.key(7), 2)
    draw = jax.jit(draw_samples, static_argnums=(0, 3))
    drawn, alone = draw(config, variables, keys, options), draw(config, variables, keys[1:], options)
    np.testing.assert_allclose(drawn["camera"][1], alone["camera"][0], atol=1e-6)
    np.testing.assert_allclose(drawn["image"][1], alone["image"][0], atol=1e-4)
    latents = jax.vmap(lambda key: jax.random.split(key)[0])(keys)
    heads = jax.jit(draw_heads, static_argnums=(0, 3))(config, variables, latents, options)
    again = jax.jit(render_heads, static_argnums=0)(config, variables, heads, drawn["camera"])
    np.testing.assert_allclose(drawn["image"], np.clip(again.image, -1, 1), atol=1e-4)
    masked = jax.jit(functools.partial(draw_samples, masks=True), static_argnums=(0, 3))(
        config, variables, keys, options
    )
    np.testing.assert_allclose(masked["image"], drawn["image"], atol=1e-4)
    np.testing.assert_allclose(masked["mask"], np.clip(pool(again.mask, 128), 0, 1), atol=1e-4)
    yaws = np.arctan2(drawn["camera"][:, 3], drawn["camera"][:, 11])
    assert np.all(np.abs(yaws) < np.radians(30.1))
    assert abs(yaws[0] - yaws[1]) > 1e-3


def test_yaws_may_favour_the_front(generator):
    """Half of them within 180 * 0.5 ** 1.6 degrees, and all the way round."""
    keys = jax.random.split(jax.random.key(3), 400)
    options = SampleConfig(yaw_degrees=180.0, yaw_power=1.6)
    labels = jax.jit(sample_cameras, static_argnums=(0, 2))(generator.config.generator, keys, options)
    yaws = np.degrees(np.arctan2(labels[:, 3], labels[:, 11]))
    assert abs(np.mean(np.abs(yaws) < 180 * 0.5**1.6) - 0.5) < 0.07
    assert yaws.min() < -150 and yaws.max() > 150
    with pytest.raises(InputError, match="yaw_power must be positive"):
        SampleConfig(yaw_power=0.0)
