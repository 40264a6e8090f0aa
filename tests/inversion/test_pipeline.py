"""From a portrait to a head: the public `invert`, on a tiny model."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe
import scenes

import panojax
from panojax.camera import look_at, mirror
from panojax.encoders import dual
from panojax.encoders.encoder import encode_offsets, encode_styles
from panojax.fields.trigrid import TriGrid, planes_from_image
from panojax.generators.generator import render_volume
from panojax.inversion import pipeline as inversion
from panojax.inversion import stages
from panojax.inversion.pipeline import stitch
from panojax.nn.layers import Numerics
from panojax.nn.stylegan2 import pool
from panojax.params import random_params
from panojax.render.renderer import draw_uniforms

CAMERAS = look_at(np.array([0.2, -0.5, 1.2]), np.array([0.1, 0.0, -0.2]))


@pytest.fixture(scope="module")
def params():
    return scenes.tiny_params()


@pytest.fixture(scope="module")
def inverted(params):
    """The first portrait's head and parts, jitted."""
    return scenes.invert(params, scenes.portraits(3)[0], CAMERAS[0], return_parts=True)


def test_shapes(params, inverted):
    head, parts = inverted
    config = params.config.generator
    for part in (head, parts.visible, parts.occluded):
        assert part.planes.shape == config.field.shape and part.ws.shape == (config.num_ws, config.w_dim)
        assert part.background.shape == (64, 64, config.plane_features) and part.occluded_planes is None
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(part))
    assert parts.mask.shape == config.field.cells
    assert recipe.relative_error(parts.occluded.planes, parts.visible.planes) > 0.1  # the encoders are two


def test_texel_stitching(inverted):
    """T = (1 - O) T1 + O T2; codes and background are the visible head's."""
    head, parts = inverted
    mask = np.asarray(parts.mask)[..., None]
    assert set(np.unique(mask)) == {0, 1} and 0.3 < mask.mean() < 0.99
    want = (1 - mask) * parts.visible.planes + mask * parts.occluded.planes
    np.testing.assert_allclose(head.planes, want, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(head.ws, parts.visible.ws)
    np.testing.assert_array_equal(head.background, parts.visible.background)


def test_sample_stitching(params, inverted):
    """Both tri-grids are kept, the visible one blank where it is occluded, and each lookup chooses."""
    _, parts = inverted
    head = stitch(TriGrid(), parts.visible, parts.occluded, parts.mask, rule="sample")
    np.testing.assert_allclose(head.planes, (1 - parts.mask[..., None]) * parts.visible.planes)
    np.testing.assert_array_equal(head.occluded_planes, parts.occluded.planes)
    assert np.isfinite(scenes.render(params, head, CAMERAS[0]).image).all()
    # Nothing visible: the occluded head alone, with the visible one's codes.
    blank = scenes.render(params, head.replace(planes=jnp.zeros_like(head.planes)), CAMERAS[0])
    alone = scenes.render(params, parts.visible.replace(planes=parts.occluded.planes), CAMERAS[0])
    np.testing.assert_allclose(blank.raw, alone.raw, atol=1e-4)


def test_the_mask_is_of_the_visible_head(params, inverted):
    """The mask is that of the visible head's own depth from the portrait's camera, at the usual resolution."""
    _, parts = inverted
    view = scenes.render(params, parts.visible, CAMERAS[0])
    mask = jax.jit(panojax.occlusion_mask)(params, view, CAMERAS[0])
    assert np.mean(np.asarray(mask) != parts.mask) < 1e-3


def test_depth_does_not_need_colours(params, inverted):
    config, uniforms = params.config.generator, draw_uniforms(None, (1, 16 * 16), params.config.generator)
    heads, variables = jax.tree.map(lambda x: x[None], inverted[0]), params.generator
    rendered = jax.jit(render_volume, static_argnums=0, static_argnames="colours")
    want, got = (
        rendered(config, variables, heads, CAMERAS[:1], uniforms, colours=colours) for colours in (True, False)
    )
    assert want.feature.shape == (1, 16, 16, config.plane_features) and got.feature.shape == (1, 16, 16, 0)
    np.testing.assert_allclose(got.weight, want.weight, atol=1e-5)
    np.testing.assert_allclose(got.depth, want.depth, atol=1e-5)


@pytest.mark.parametrize("channels", [6, 9])
def test_against_the_stages_one_by_one(channels):
    """Each encoder alone: codes + mean, tri-grid, its rendering, the residuals, and the offsets added."""
    params = scenes.tiny_params(offset_channels=channels)
    config, encoder = params.config.generator, params.config.encoder
    picture, camera = scenes.portraits(3)[1], CAMERAS[1]
    _, parts = scenes.invert(params, picture, camera, return_parts=True)
    for i, head in ((dual.VISIBLE, parts.visible), (dual.OCCLUDED, parts.occluded)):
        variables = dual.part(params.encoders["both"], i)
        ws = jax.jit(encode_styles, static_argnums=0)(encoder, variables, picture[None])[0]
        ws = ws + params.encoders["latent_average"]
        assert recipe.relative_error(head.ws, ws) < 1e-5
        first = panojax.Head(planes=jax.jit(panojax.synthesize)(params, head.ws), ws=head.ws)
        seen = [pool(scenes.render(params, first, c).image[None], 32)[0] for c in (camera, mirror(camera))]
        inputs = [seen[0], picture - seen[0], picture[:, ::-1] - seen[1]][: channels // 3]
        inputs = np.concatenate(inputs, axis=-1)[None]
        offsets = jax.jit(encode_offsets, static_argnums=0)(encoder, variables, inputs)
        want = first.planes + planes_from_image(pool(offsets, 16), config.plane_depth)[0]
        assert recipe.relative_error(head.planes, want) < 1e-4


def test_vmap_is_a_loop(params):
    """Three portraits, by either stitching rule: the batch by "sample", the loop's parts stitched by hand."""
    pictures = scenes.portraits(3)
    invert = functools.partial(panojax.invert, params, stitching="sample", return_parts=True)
    batched = jax.jit(jax.vmap(invert))(pictures, CAMERAS)
    for i in range(3):
        _, parts = scenes.invert(params, pictures[i], CAMERAS[i], return_parts=True)
        head = stitch(TriGrid(), parts.visible, parts.occluded, parts.mask, rule="sample")
        assert jax.tree.structure(batched) == jax.tree.structure((head, parts))
        for got, want in zip(jax.tree.leaves(batched), jax.tree.leaves((head, parts))):
            assert recipe.relative_error(got[i], want) < 1e-5


def test_pictures_of_another_size(params):
    """They are averaged to the encoder's size first."""
    picture = scenes.portraits(1, 48)[0]
    got, _ = scenes.invert(params, picture, CAMERAS[0], return_parts=True)
    want, _ = scenes.invert(params, pool(picture[None], 32)[0], CAMERAS[0], return_parts=True)
    assert recipe.relative_error(got.planes, want.planes) < 1e-5


def test_encoders_that_see_planes():
    """TriPlaneNet v2: the F stage takes the first tri-grid, too."""
    config = scenes.tiny_config(offset_channels=9)
    config = dataclasses.replace(config, encoder=dataclasses.replace(config.encoder, planes_channels=72))
    params = jax.eval_shape(lambda: random_params(config))
    head = jax.eval_shape(panojax.invert, params, jnp.zeros((32, 32, 3)))
    assert head.planes.shape == config.generator.field.shape


@pytest.fixture
def float64(monkeypatch):
    """Computes in float64 throughout: the library casts to `jnp.float32` and to its configurations' types by name."""
    with jax.enable_x64(True):
        monkeypatch.setattr(jnp, "float32", jnp.float64)
        monkeypatch.setattr(Numerics, "__post_init__", lambda self: None)
        params = scenes.tiny_params()
        # Importance samples follow the densities but pass no gradient, by design: differences would see them move.
        generator = dataclasses.replace(params.config.generator, importance_samples=0, depth_samples=16)
        object.__setattr__(generator, "dtype", "float64")
        encoder = dataclasses.replace(params.config.encoder, dtype="float64", param_dtype="float64")
        params = params.replace(config=panojax.Config(generator, encoder))
        yield jax.tree.map(lambda x: np.asarray(x, np.float64), params)


def picture_loss(params, head):
    view = panojax.render(params, head, CAMERAS[0].astype("float64"))
    assert view.image.dtype == view.depth.dtype == "float64"
    return sum(jnp.mean(jnp.sin(x)) for x in (view.image, view.raw, view.weight, view.depth))


def check_gradient(value_and_grad, x, *, step=1e-6, tolerance=1e-5):
    """The gradient of each leaf of x along three random directions against central differences."""
    _, gradients = value_and_grad(x)
    leaves, tree = jax.tree.flatten(x)
    for k, (leaf, gradient) in enumerate(zip(leaves, jax.tree.leaves(gradients))):
        assert gradient.dtype == "float64" and np.isfinite(gradient).all() and np.any(gradient)
        for i in range(3):
            direction = np.random.RandomState(i).standard_normal(leaf.shape)
            ends = [
                value_and_grad(tree.unflatten([*leaves[:k], leaf + sign * step * direction, *leaves[k + 1 :]]))[0]
                for sign in (1, -1)
            ]
            slope, difference = np.vdot(gradient, direction), (ends[0] - ends[1]) / (2 * step)
            # A random direction's slope is about the gradient's norm, and may by chance be much less.
            assert abs(slope - difference) < tolerance * np.linalg.norm(gradient)


def test_gradients_by_planes_and_codes(float64):
    """Tri-grids of both stitching rules' kind, and style codes through the backbone, background and pictures."""
    params, draw = float64, np.random.RandomState(0).standard_normal
    config = params.config.generator
    x = {
        "planes": draw(config.field.shape),
        "occluded": draw(config.field.shape),
        "ws": draw((config.num_ws, config.w_dim)),
    }
    seen = np.ones(config.field.shape)
    seen[:, :, :8] = 0

    def loss(x):
        planes = seen * (x["planes"] + panojax.synthesize(params, x["ws"]))
        return picture_loss(params, panojax.Head(planes=planes, ws=x["ws"], occluded_planes=x["occluded"]))

    check_gradient(jax.jit(jax.value_and_grad(loss)), x)


def test_gradient_by_image(float64, monkeypatch):
    """Through `invert` and `render`.

    What passes no gradient by design is held still for the differences: the F stage's input, and the mask.
    """
    params, picture = float64, scenes.portraits(1)[0].astype("float64")
    computed, given = {}, {}

    def hold(module, name):
        original = getattr(module, name)

        def call(*args, **options):
            computed[name] = original(*args, **options)
            return jnp.where(given["hold"], given[name], computed[name]) if given else computed[name]

        monkeypatch.setattr(module, name, call)

    hold(stages, "residual_input")
    hold(inversion, "head_occlusion")

    def loss(x, held):
        given.update(held)
        value = picture_loss(params, panojax.invert(params, x, CAMERAS[0].astype("float64")))
        return value, jax.lax.stop_gradient(computed.copy())

    function = jax.jit(jax.value_and_grad(loss, has_aux=True))
    config = params.config.generator
    blank = {"residual_input": np.zeros((2, 32, 32, 6)), "head_occlusion": np.zeros((1, *config.field.cells))}
    (_, values), gradient = function(picture, blank | {"hold": False})

    def held(x):
        (value, _), gradient = function(x, values | {"hold": True})
        return value, gradient

    check_gradient(held, picture)
    assert recipe.relative_error(gradient, held(picture)[1]) < 1e-9
