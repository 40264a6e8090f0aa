"""The public functions: what they refuse, their options, and their shapes at the released size."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe
import scenes

import panojax
from panojax.camera import look_at, orbit
from panojax.config import Config
from panojax.encoders.encoder_config import released
from panojax.params import abstract_arrays, random_params

CAMERA = look_at(0.4, 0.1)
Z = np.linspace(-2, 2, 16, dtype=np.float32)


@pytest.fixture(scope="module")
def params():
    """A tiny model that uses everything: with noise, a mean code, and a solid head."""
    return lively(scenes.tiny_params())


def lively(params):
    def fill(path, leaf):
        name = path[-1].key
        if name == "noise_strength":
            return jnp.full_like(leaf, 0.3)
        return recipe.normal("api/w_avg", leaf.shape) if name == "w_avg" else leaf

    return params.replace(generator=jax.tree_util.tree_map_with_path(fill, params.generator))


@pytest.fixture(scope="module")
def head(params):
    return scenes.generate(params, Z)


@pytest.fixture(scope="module")
def view(params, head):
    return scenes.render(params, head, CAMERA)


def zeros(*shape):
    return np.zeros(shape, np.float32)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda p, h, v: panojax.map_latent(p, zeros(17)), r"z must be floats \[16\], got float32 \(17,\)"),
        (lambda p, h, v: panojax.map_latent(p, zeros(1, 16)), r"z must be floats \[16\], got float32 \(1, 16\)"),
        (lambda p, h, v: panojax.map_latent(p, np.zeros(16, int)), r"z must be floats \[16\], got int32 \(16,\)"),
        (
            lambda p, h, v: panojax.map_latent(p, Z, zeros(4, 16)),
            r"camera must be floats \[25\] \(16 extrinsics, then 9 intrinsics\), got float32 \(4, 16\)",
        ),
        (lambda p, h, v: panojax.generate(p, Z[:3]), r"z must be floats \[16\], got float32 \(3,\)"),
        (lambda p, h, v: panojax.generate(p, Z, zeros(24)), r"camera must be floats \[25\] .* got float32 \(24,\)"),
        (lambda p, h, v: panojax.synthesize(p, zeros(5, 24)), r"ws must be floats \[6, 24\], got float32 \(5, 24\)"),
        (lambda p, h, v: panojax.synthesize(p, h.ws, "loud"), "noise must be one of const, none, random, got 'loud'"),
        (lambda p, h, v: panojax.synthesize(p, h.ws, "random"), 'noise "random" needs a key, got None'),
        (
            lambda p, h, v: panojax.render(p, h.replace(planes=h.planes[:, :1]), CAMERA),
            r"head.planes must be floats \[3, 3, 16, 16, 8\], got float32 \(3, 1, 16, 16, 8\)",
        ),
        (
            lambda p, h, v: panojax.render(p, h.replace(ws=h.ws[:, :5]), CAMERA),
            r"head.ws must be floats \[any, 24\], got float32 \(6, 5\)",
        ),
        (
            lambda p, h, v: panojax.render(p, h.replace(background=zeros(64, 64, 3)), CAMERA),
            r"head.background must be floats \[any, any, 8\], got float32 \(64, 64, 3\)",
        ),
        (
            lambda p, h, v: panojax.render(p, h.replace(occluded_planes=zeros(3, 3)), CAMERA),
            r"head.occluded_planes must be floats \[3, 3, 16, 16, 8\], got float32 \(3, 3\)",
        ),
        (lambda p, h, v: panojax.render(p, h, zeros(24)), r"camera must be floats \[25\] .* got float32 \(24,\)"),
        (lambda p, h, v: panojax.render(p, h, CAMERA, 1), "resolution must be at least 2 and at most 4096, got 1"),
        (
            lambda p, h, v: panojax.render(p, h, CAMERA, uniforms=(zeros(255, 8), zeros(256, 8))),
            r"uniforms\[0\] must be floats \[256, 8\], got float32 \(255, 8\)",
        ),
        (
            lambda p, h, v: panojax.render(p, h, CAMERA, 4, uniforms=(zeros(16, 8), zeros(16, 9))),
            r"uniforms\[1\] must be floats \[16, 8\], got float32 \(16, 9\)",
        ),
        (
            lambda p, h, v: panojax.render(p, h, CAMERA, background_ws=zeros(6, 3)),
            r"background_ws must be floats \[any, 24\], got float32 \(6, 3\)",
        ),
        (lambda p, h, v: panojax.render(p, h, CAMERA, density_noise=1.0), "random noise needs a key, got None"),
        (
            lambda p, h, v: panojax.occlusion_mask(p, v.replace(depth=v.depth[:, :5]), CAMERA),
            r"view.depth must be floats \[16, 16, 1\], got float32 \(16, 5, 1\)",
        ),
        (
            lambda p, h, v: panojax.occlusion_mask(p, v.replace(weight=v.weight[:4]), CAMERA),
            r"view.weight must be floats \[16, 16, 1\], got float32 \(4, 16, 1\)",
        ),
        (lambda p, h, v: panojax.occlusion_mask(p, v, zeros(3)), r"camera must be floats \[25\] .* got float32 \(3,\)"),
        (
            lambda p, h, v: panojax.invert(p.generator_only(), zeros(32, 32, 3)),
            "params must hold two encoders to invert a picture, got a generator alone",
        ),
        (lambda p, h, v: panojax.invert(p, zeros(32, 31, 3)), r"image must be \[S, S, 3\], got \(32, 31, 3\)"),
        (lambda p, h, v: panojax.invert(p, zeros(1, 32, 32, 3)), r"image must be \[S, S, 3\], got \(1, 32, 32, 3\)"),
        (
            lambda p, h, v: panojax.invert(p, zeros(32, 32, 4)),
            r"image must be floats \[any, any, 3\], got float32 \(32, 32, 4\)",
        ),
        (
            lambda p, h, v: panojax.invert(p, np.zeros((32, 32, 3), np.uint8)),
            r"image must be floats \[any, any, 3\] in \[-1, 1\], or a photo .*, got uint8 \(32, 32, 3\)",
        ),
        (
            lambda p, h, v: panojax.invert(p, zeros(32, 32, 3), zeros(16)),
            r"camera must be floats \[25\] .* got float32 \(16,\)",
        ),
        (
            lambda p, h, v: panojax.invert(p, zeros(32, 32, 3), stitching="knit"),
            "stitching must be one of texel, sample, got 'knit'",
        ),
    ],
)
def test_bad_arguments_are_named(params, head, view, call, message):
    """One line: the argument, what was expected, what came; at trace time, and so under `jit`, too."""
    for run in (call, jax.jit(call)):
        with pytest.raises(panojax.InputError, match=f"^{message}") as caught:
            run(params, head, view)
        assert "\n" not in str(caught.value).split("\n----")[0]


def test_random_superresolution_needs_a_key(params, head):
    config = dataclasses.replace(params.config.generator, superresolution_noise="random")
    with pytest.raises(panojax.InputError, match="random noise needs a key, got None"):
        panojax.render(params.replace(config=Config(config)), head, CAMERA)


def test_truncation(params):
    """Nought gives the mean code, one leaves the code, and a cutoff leaves the later ones."""
    average = params.generator["constants"]["backbone.mapping"]["w_avg"]
    map_latent = jax.jit(panojax.map_latent, static_argnames="cutoff")
    ws = np.asarray(map_latent(params, Z))
    assert ws.shape == (6, 24) and (ws == ws[0]).all()
    np.testing.assert_allclose(map_latent(params, Z, truncation=0.0), np.tile(average, (6, 1)), rtol=1e-6)
    np.testing.assert_allclose(map_latent(params, Z, truncation=0.7), average + 0.7 * (ws - average), atol=1e-5)
    half = map_latent(params, Z, truncation=0.5, cutoff=2)
    np.testing.assert_allclose(half[:2], average + 0.5 * (ws[:2] - average), atol=1e-5)
    np.testing.assert_allclose(half[2:], ws[2:], atol=1e-6)


def test_the_conditioning_camera_is_the_front_by_default(params):
    map_latent = jax.jit(panojax.map_latent)
    front, side = (map_latent(params, Z, look_at(yaw)) for yaw in (0.0, 1.0))
    np.testing.assert_allclose(map_latent(params, Z), front, atol=1e-6)
    assert recipe.relative_error(side, front) > 1e-3


def test_generate_is_its_parts(params, head):
    ws = jax.jit(panojax.map_latent)(params, Z, truncation=0.7)
    np.testing.assert_allclose(head.ws, ws, atol=1e-5)
    planes = jax.jit(panojax.synthesize)(params, ws)
    assert recipe.relative_error(head.planes, planes) < 1e-5
    assert head.planes.shape == params.config.generator.field.shape


def test_noise_modes(params, head):
    synthesize = jax.jit(panojax.synthesize, static_argnames="noise")
    none, const = (synthesize(params, head.ws, noise=noise) for noise in ("none", "const"))
    keys = [jax.random.key(k) for k in (0, 0, 1)]
    first, again, other = (synthesize(params, head.ws, noise="random", key=key) for key in keys)
    np.testing.assert_array_equal(first, again)
    for a, b in ((none, const), (none, first), (const, first), (first, other)):
        assert recipe.relative_error(a, b) > 0.01
    still = scenes.tiny_params()  # its noise has no strength
    np.testing.assert_array_equal(synthesize(still, head.ws, noise="none"), synthesize(still, head.ws, noise="const"))


def test_shapes_of_a_view(view):
    chex.assert_shape([view.image, view.raw], [(128, 128, 3), (16, 16, 3)])
    chex.assert_shape([view.depth, view.weight, view.mask], (16, 16, 1))
    chex.assert_type(jax.tree.leaves(view), jnp.float32)
    chex.assert_tree_all_finite(view)
    np.testing.assert_allclose(view.mask, 1.002 * view.weight - 0.001, atol=1e-6)
    assert 0.2 < np.mean(view.weight) < 0.9  # the solid bar and what is around it


def test_the_background_may_be_kept_or_made(params, head, view):
    """A head without its background makes the same from its codes; other codes give another, behind the head alone."""
    made = scenes.render(params, panojax.Head(planes=head.planes, ws=head.ws), CAMERA)
    given = scenes.render(params, head, CAMERA, background_ws=head.ws[:1])  # the last code serves the rest
    for other in (made, given):
        np.testing.assert_allclose(other.raw, view.raw, atol=1e-5)
        np.testing.assert_allclose(other.image, view.image, atol=1e-4)
    changed = scenes.render(params, head, CAMERA, background_ws=-head.ws[:1])
    difference = np.abs(changed.raw - view.raw).max(-1)
    solid = np.asarray(view.weight[..., 0]) > 0.999
    assert difference[~solid].max() > 0.05 and difference[solid].max() < 0.01
    np.testing.assert_array_equal(changed.weight, view.weight)


def test_heads_of_numpy_arrays(params, head, view):
    plain = jax.tree.map(np.asarray, head)
    np.testing.assert_array_equal(scenes.render(params, plain, np.asarray(CAMERA)).image, view.image)


def test_draws(params, head, view):
    """A key decides everything; without one, the draws are the midpoints; given ones take its place."""
    first, again, other = (scenes.render(params, head, CAMERA, key=jax.random.key(k)) for k in (0, 0, 1))
    np.testing.assert_array_equal(first.image, again.image)
    for a, b in ((first, other), (first, view)):
        assert 1e-3 < recipe.relative_error(a.weight, b.weight) < 0.5
    middles = np.full((256, 8), 0.5, np.float32), np.tile((np.arange(8, dtype=np.float32) + 0.5) / 8, (256, 1))
    given = scenes.render(params, head, CAMERA, uniforms=middles)
    np.testing.assert_allclose(given.raw, view.raw, atol=1e-5)


def test_noise_of_the_superresolution_comes_from_the_key(params, head):
    config = dataclasses.replace(params.config.generator, superresolution_noise="random")
    noisy = params.replace(config=Config(config))
    draws = tuple(np.full((256, 8), 0.5, np.float32) for _ in range(2))
    first, again, other = (scenes.render(noisy, head, CAMERA, key=jax.random.key(k), uniforms=draws) for k in (0, 0, 1))
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.raw, other.raw)
    assert recipe.relative_error(first.image, other.image) > 1e-3


def test_vmap_over_cameras_is_a_loop(params, head):
    cameras = orbit(3, pitch=0.2)
    views = jax.jit(jax.vmap(functools.partial(panojax.render, params, head)))(cameras)
    for i in range(3):
        alone = scenes.render(params, head, cameras[i])
        chex.assert_trees_all_close(jax.tree.map(lambda x, i=i: x[i], views), alone, atol=2e-4, rtol=1e-7)


def test_bfloat16_is_close(params, head, view):
    """40 dB, in units of the picture's own span: the planes are stored in bfloat16, the rays stay float32."""
    low = params.with_dtype("bfloat16")
    low_head = scenes.generate(low, Z)
    assert low_head.planes.dtype == jnp.bfloat16 and low_head.ws.dtype == jnp.float32
    low_view = scenes.render(low, low_head, CAMERA)
    assert low_view.image.dtype == low_view.depth.dtype == jnp.float32
    assert scenes.psnr(low_view.image, view.image, np.ptp(view.image)) >= 40
    assert scenes.psnr(low_view.raw, view.raw, np.ptp(view.raw)) >= 40
    assert scenes.psnr(low_view.weight, view.weight, 1.0) >= 40


def test_other_parameters_of_a_configuration_do_not_recompile(params):
    traced = []

    def function(params, z):
        traced.append(params.config)
        return panojax.map_latent(params, z)

    jitted = jax.jit(function)
    for seed in range(3):
        jitted(random_params(scenes.tiny_config(), seed), Z)
    assert len(traced) == 1
    jitted(params.with_dtype("bfloat16"), Z)
    assert len(traced) == 2


@pytest.fixture(scope="module")
def abstract():
    config = Config(panojax.GeneratorConfig(), released())
    arrays = abstract_arrays(config)
    return panojax.Params(arrays["generator"], arrays["encoders"], config=config)


def floats(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def shapes(tree):
    return jax.tree.map(lambda x: x.shape, tree)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_released_size(abstract, dtype):
    """Nothing is computed: shapes and types alone."""
    params = abstract.with_dtype(dtype)
    head = jax.eval_shape(panojax.generate, params, floats(512))
    assert shapes(head) == panojax.Head((3, 3, 256, 256, 32), (14, 512), (128, 128, 32))
    assert head.planes.dtype == dtype and head.ws.dtype == jnp.float32
    for resolution, side in ((None, 64), (128, 128)):
        view = jax.eval_shape(functools.partial(panojax.render, resolution=resolution), params, head, floats(25))
        assert view.image.shape == (512, 512, 3) and view.raw.shape == (side, side, 3)
        assert view.depth.shape == view.weight.shape == view.mask.shape == (side, side, 1)
        assert {x.dtype for x in jax.tree.leaves(view)} == {jnp.dtype("float32")}
    assert jax.eval_shape(panojax.occlusion_mask, params, view, floats(25)).shape == (3, 3, 256, 256)
    assert jax.eval_shape(panojax.map_latent, params, floats(512), floats(25)).shape == (14, 512)


def test_released_inversion(abstract):
    invert = functools.partial(panojax.invert, return_parts=True)
    head, parts = jax.eval_shape(invert, abstract, floats(512, 512, 3), floats(25))
    assert shapes(head) == shapes(parts.visible) == shapes(parts.occluded)
    assert shapes(head) == panojax.Head((3, 3, 256, 256, 32), (14, 512), (128, 128, 32))
    assert parts.mask.shape == (3, 3, 256, 256)
    sample = jax.eval_shape(functools.partial(panojax.invert, stitching="sample"), abstract, floats(256, 256, 3))
    assert sample.occluded_planes.shape == (3, 3, 256, 256, 32)
