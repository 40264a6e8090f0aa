"""How PanoHead's metrics render a generator, against the same steps taken one by one."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe
import scenes

from panojax.camera import look_at
from panojax.errors import InputError
from panojax.eval.panohead import GeneratorMeasuring, original_front, original_view, run_generator
from panojax.generators import generator
from panojax.render.renderer import draw_uniforms


def adapting(scale=1.0):
    """A small generator whose heads shift their cameras, with noise in backbone and background."""
    params = scenes.tiny_params(encoders=False, background=True, camera_adaptation=True)

    def louder(path, leaf):
        names = [getattr(key, "key", None) for key in path]
        if names[-1] == "noise_strength":
            return leaf + 0.5
        return leaf + scale * jnp.array([0.1, -0.05, 0.2]) if names[-3:] == ["t_mapping", "fc1", "bias"] else leaf

    return params.replace(generator=jax.tree_util.tree_map_with_path(louder, params.generator))


@pytest.mark.parametrize("part", ["front", "back"])
def test_a_head_as_the_original_renders_it(part):
    """FID-all and -front: the camera adapted by the head's own translation; FID-back: as it is. Random noise, bytes."""
    params = adapting()
    config, variables, key = params.config.generator, params.generator, jax.random.key(7)
    camera = look_at(0.5 if part == "front" else 2.8)
    conditioning = camera if part == "front" else original_front()
    seen = functools.partial(original_view, config, side=64, adapted=part == "front")
    view = jax.jit(seen)(variables, key, conditioning, camera, 1.0)
    keys = [jax.random.fold_in(key, n) for n in range(1, 5)]
    z = jax.random.normal(key, (1, config.z_dim))

    @jax.jit
    def parts(variables, z):
        ws = generator.map_latent(config, variables, z, conditioning[None])
        planes = generator.synthesize(config, variables, ws, noise="random", key=keys[0])
        return planes, ws, generator.background(config, variables, ws, noise="random", key=keys[1])

    label = np.asarray(camera).copy()
    if part == "front":
        delta = generator.adapt_camera(config, variables, z, camera[None])[1][0]
        assert np.abs(delta).max() > 0.05
        label[[3, 7, 11]] += delta
    uniforms = draw_uniforms(keys[2], (1, config.rendering_resolution**2), config)

    @jax.jit
    def picture(variables, heads, label):
        rendered = generator.render_volume(config, variables, heads, label, uniforms)
        return generator.finish(config, variables, rendered, heads).image[0]

    want = np.asarray(picture(variables, generator.Head(*parts(variables, z)), label[None]), np.float64)
    want = want.reshape(64, 2, 64, 2, 3).mean(axis=(1, 3))
    want = np.floor((want * 127.5 + 128).clip(0, 255)) / 127.5 - 1
    different = np.abs(np.asarray(view.image) - want) > 1e-4  # rounding to bytes at an edge
    assert different.mean() < 2e-3
    plain = scenes.render(params, scenes.generate(params, z[0], conditioning, truncation=1.0), camera)
    assert recipe.relative_error(plain.depth, view.depth) > 1e-3  # what was measured before


def test_the_originals_front():
    """LookAtPoseSampler.sample(3.14 / 2, 3.14 / 2): a thousandth of a radian from the front."""
    yaw, polar = 3.14 / 2, np.arccos(1 - 2 * (3.14 / 2) / np.pi)
    origin = 2.7 * np.array([np.sin(polar) * np.cos(np.pi - yaw), np.cos(polar), np.sin(polar) * np.sin(np.pi - yaw)])
    np.testing.assert_allclose(np.asarray(original_front())[[3, 7, 11]], origin, atol=1e-6)


def test_zero_conditioning_leaves_no_camera():
    """The original adds the translation to a label of zeros, and renders NaN."""
    params = adapting()
    config = dataclasses.replace(params.config.generator, zero_conditioning=True)
    params = params.replace(config=dataclasses.replace(params.config, generator=config))

    class Networks:
        features = True

    with pytest.raises(InputError, match='rendering must be "own" for a generator with camera adaptation and zero'):
        run_generator(None, [], params, Networks(), GeneratorMeasuring(samples=2), {})
    with pytest.raises(InputError, match="rendering must be one of panohead, own, got 'some'"):
        GeneratorMeasuring(rendering="some")
