"""The public functions under JAX's other modes: 64 bits, NaN as an error, leaked tracers as an error."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import panojax
from panojax.encoders.encoder_config import light
from panojax.errors import InputError
from panojax.params import random_params, tiny


@pytest.fixture(scope="module")
def params():
    """`tiny` with fewer layers."""
    generator = dataclasses.replace(tiny().generator, plane_resolution=16, depth_samples=8, importance_samples=8)
    encoder = light(resolution=32, n_styles=generator.num_ws, w_dim=generator.w_dim, depths=(1, 1, 1, 1))
    return random_params(panojax.Config(generator, encoder))


def run_all(params):
    """What the public functions give, each called without jit and within."""
    image = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (64, 64, 3)), jnp.float32)
    camera = panojax.look_at(0.2, 0.1)
    head = jax.jit(panojax.generate)(params, jnp.ones(64, jnp.float32), camera)
    view = jax.jit(panojax.render)(params, head, camera)
    mask = jax.jit(panojax.occlusion_mask)(params, view, camera)
    inverted = jax.jit(panojax.invert)(params, image, camera)

    between = jax.jit(panojax.interpolate)(params, head, inverted, 0.5)
    gradient = jax.grad(lambda z: jnp.mean(panojax.map_latent(params, z)))(jnp.ones(64, jnp.float32))
    return {
        "planes": head.planes,
        "image": view.image,
        "mask": mask,
        "inverted": inverted.planes,
        "between": between.planes,
        "orbit": panojax.orbit(4),
        "gradient": gradient,
    }


@pytest.fixture(scope="module")
def usual(params):
    return jax.device_get(run_all(params))


MODES = {
    "enable_x64": lambda: jax.enable_x64(True),
    "debug_nans": lambda: jax.debug_nans(True),
    "checking_leaks": jax.checking_leaks,
}


@pytest.mark.parametrize("mode", MODES)
def test_public_functions_give_the_same(params, usual, mode):
    with MODES[mode]():
        results = jax.device_get(run_all(params))
    for name, expected in usual.items():
        scale = np.abs(expected).max() + 1e-6
        # The mask is of zeros and ones; a rounding may move a few of its texels.
        far = np.abs(np.asarray(results[name], np.float64) - expected) > 1e-3 * scale
        assert far.mean() < 1e-3, name
        assert np.isfinite(results[name]).all(), name


@pytest.mark.parametrize("cutoff", [-1, 99, 1.5, "2"])
def test_cutoffs_that_are_none(params, cutoff):
    with pytest.raises(InputError, match="cutoff must be None or 0 to"):
        panojax.map_latent(params, jnp.ones(64), cutoff=cutoff)


def test_known_values_are_checked_and_traced_ones_are_not(params):
    blind = np.array(panojax.look_at(0.0))
    blind[16] = 0
    broken = np.array(panojax.look_at(0.0))
    broken[3] = np.nan
    for camera, message in ((blind, "must have focal lengths"), (broken, "camera must be finite")):
        with pytest.raises(InputError, match=message):
            panojax.map_latent(params, jnp.ones(64), camera)
        assert jax.jit(panojax.map_latent)(params, jnp.ones(64), camera).shape[1] == 128
    with pytest.raises(InputError, match="z must be finite"):
        panojax.map_latent(params, jnp.full(64, jnp.nan))
    with pytest.raises(InputError, match="truncation must be finite"):
        panojax.map_latent(params, jnp.ones(64), truncation=float("inf"))
    bad = jax.jit(panojax.map_latent)(params, jnp.full(64, jnp.nan))
    assert np.isnan(bad).all()


def calls_with_nan(params):
    """{name of the argument that is NaN: call}, of the public functions."""
    nan, camera = float("nan"), panojax.look_at(0.0)
    config = params.config.generator
    head = panojax.Head(planes=jnp.zeros(config.field.shape), ws=jnp.zeros((config.num_ws, config.w_dim)))
    broken = head.replace(planes=head.planes.at[0, 0, 0, 0, 0].set(nan))
    codes, region = np.full((config.num_ws, config.w_dim), nan, np.float32), jnp.ones(config.field.areas)
    picture = jnp.zeros((64, 64, 3))
    side = config.image_resolution
    masks = jnp.ones((1, side, side)).at[0, 0, 0].set(nan)
    return {
        "ws": lambda: panojax.synthesize(params, codes),
        "head.planes": lambda: panojax.render(params, broken, camera),
        "head.ws": lambda: panojax.render(params, head.replace(ws=jnp.asarray(codes)), camera),
        "density_noise": lambda: panojax.render(params, head, camera, density_noise=nan),
        "background_ws": lambda: panojax.render(params, head, camera, background_ws=codes),
        "threshold": lambda: panojax.invert(params, picture, camera, threshold=nan),
        "threshold ": lambda: panojax.invert_many(params, picture[None], camera[None], threshold=jnp.float32(nan)),
        "threshold  ": lambda: panojax.edit(params, head, head, region, threshold=nan),
        "share": lambda: panojax.interpolate(params, head, head, nan),
        "first.planes": lambda: panojax.interpolate(params, broken, head, 0.0),
        "second.planes": lambda: panojax.interpolate(params, head, broken, 0.0),
        "strength": lambda: panojax.move_head(params, head, np.ones_like(codes), nan),
        "direction": lambda: panojax.move_head(params, head, codes, 0.0),
        "region": lambda: panojax.edit(params, head, head, region.at[0, 0, 0].set(nan), fuse=False),
        "masks": lambda: panojax.find_region(params, head, masks, camera[None]),
        "centre": lambda: panojax.solid_region(params, np.float32([nan, 0, 0]), np.ones(3, np.float32)),
        "radii": lambda: panojax.solid_region(params, np.zeros(3, np.float32), np.float32([nan, 1, 1])),
    }


def test_nan_is_refused_by_name_in_every_argument(params):
    for name, call in calls_with_nan(params).items():
        with pytest.raises(InputError) as caught:
            call()
        assert str(caught.value) == f"{name.strip()} must be finite, got NaN or infinity", name


def test_sizes_that_give_no_picture(params):
    with pytest.raises(InputError, match=r"image must be \[S, S, 3\], got \(0, 0, 3\)"):
        panojax.invert(params, jnp.zeros((0, 0, 3)))
    head = panojax.Head(planes=jnp.zeros(params.config.generator.field.shape), ws=jnp.zeros((8, 128)))
    for resolution in (-1, 0, 1, 10**6):
        with pytest.raises(InputError, match="resolution must be at least 2 and at most 4096"):
            panojax.render(params, head, panojax.look_at(0.0), resolution=resolution)


def test_arguments_of_other_kinds_are_told_by_name(params):
    config, camera = params.config.generator, panojax.look_at(0.0)
    head = panojax.Head(planes=jnp.zeros(config.field.shape), ws=jnp.zeros((config.num_ws, config.w_dim)))
    cases = {
        "head must be a Head .*, got 'me.npz'": lambda: panojax.render(params, "me.npz", camera),
        "params must be a model .*, got a Head": lambda: panojax.render(head, head, camera),
        "head must be a Head .*, got a Params": lambda: panojax.render(params, params, camera),
        "second must be a Head .*, got a NoneType": lambda: panojax.interpolate(params, head, None, 0.5),
        "camera must be floats .25. .*, got 'front'": lambda: panojax.render(params, head, "front"),
        "direction must be floats .*, got 'age'": lambda: panojax.move_head(params, head, "age", 1.0),
        "region must be floats .*, got a NoneType": lambda: panojax.edit(params, head, head, None),
        r"image must be floats .any, any, 3. in .-1, 1., or a photo .*, got uint8": lambda: panojax.invert(
            params, np.zeros((64, 64, 3), np.uint8)
        ),
        r"image must be .S, S, 3., got \(3, 64, 64\): channels come last": lambda: panojax.invert(
            params, np.zeros((3, 64, 64), np.float32)
        ),
        "checkpoint must be a folder .*, got 'a.x00b'": lambda: panojax.load("a\0b"),
        "checkpoint must be a folder .*, got int": lambda: panojax.load(3),
    }
    for message, call in cases.items():
        with pytest.raises(InputError, match=message):
            call()
