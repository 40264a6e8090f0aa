import jax
import numpy as np
import pytest
import recipe

from panojax import camera
from panojax.encoders.encoder_config import light
from panojax.errors import InputError
from panojax.generators import generator
from panojax.inversion.spaces import draw_latents, fit_encoder, map_latents, mean_codes


def test_each_layer_has_its_own_latent(generator):
    """Z+ equals a loop over layers, each mapped on its own at the front camera."""
    config, variables = generator.config.generator, generator.generator
    z = recipe.normal("spaces/z", (2, config.num_ws, config.z_dim))
    got = map_latents(config, variables, z, truncation=0.85)
    for i, layer in np.ndindex(2, config.num_ws):
        ws = single(config, variables, z[i, layer])
        np.testing.assert_allclose(got[i, layer], ws[layer], atol=1e-5)


def single(config, variables, z):
    return generator.map_latent(config, variables, z[None], camera.front()[None], truncation=0.85)[0]


def test_draws_of_a_key_do_not_depend_on_the_batch(generator):
    config = generator.config.generator
    keys = jax.random.split(jax.random.key(0), 3)
    z = draw_latents(config, keys)
    assert z.shape == (3, config.num_ws, config.z_dim)
    np.testing.assert_array_equal(draw_latents(config, keys[2:])[0], z[2])
    assert np.abs(z[:, 0] - z[:, 1]).min() > 0
    one = draw_latents(config, keys, space="z")
    np.testing.assert_array_equal(one[:, 0], one[:, -1])
    with pytest.raises(InputError, match="z or z\\+"):
        draw_latents(config, keys, space="w")


def test_mean_codes(generator):
    config, variables = generator.config.generator, generator.generator
    key = jax.random.key(1)
    average = mean_codes(config, variables, key, samples=500)
    z = jax.random.normal(key, (500, 1, config.z_dim))
    ws = np.stack([single_untruncated(config, variables, x[0])[0] for x in z[:500:10]])
    assert average.shape == (config.num_ws, config.w_dim)
    np.testing.assert_array_equal(average[0], average[-1])
    # 50 of the 500 codes: their mean is within five standard errors.
    assert np.all(np.abs(ws.mean(0) - average[0]) < 5 * ws.std(0) / np.sqrt(50))


def single_untruncated(config, variables, z):
    return generator.map_latent(config, variables, z[None], camera.front()[None])[0]


@pytest.mark.parametrize(("space", "width"), [("w+", 32), ("z+", 16), ("z", 16)])
def test_encoder_is_fitted_to_the_generator(generator, space, width):
    fitted = fit_encoder(generator.config.generator, light(resolution=32), space)
    assert (fitted.n_styles, fitted.w_dim, fitted.out_channels, fitted.planes_channels) == (6, width, 72, 0)
