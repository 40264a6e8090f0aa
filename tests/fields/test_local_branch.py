"""The local branch: projection, lookups and the occlusion test against slow twins; heads that have one."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import local_model
import micro
import numpy as np
import pytest
import recipe
import scenes

import panojax
from panojax import kernels
from panojax.camera import look_at, pixel_rays
from panojax.camera import project as project_points
from panojax.encoders import dual
from panojax.encoders.encoder import abstract_encoder, encode_local
from panojax.encoders.stage import Context
from panojax.fields.local_branch import FADE, LocalBranch, check_branch, modulate, sample_map, sight
from panojax.files.head_file import load_head, save_head
from panojax.inversion import pipeline as inversion
from panojax.inversion.stages import local_input
from panojax.nn.ir_se import INPUT_LAYER
from panojax.nn.stylegan2 import pool

RADIUS = 0.28
CAMERA = np.asarray(look_at(0.5, 0.2))
EYE = CAMERA[[3, 7, 11]]
# Compiled once each: all tests give as many points.
POINTS = 64
project = jax.jit(project_points)
see = jax.jit(sight)
change = jax.jit(modulate)


def branch(camera=CAMERA, *, features=3, hidden=5, channels=4) -> LocalBranch:
    """A branch over a picture of a sphere, filled by recipe."""
    depth, weight = scenes.sphere_view(camera, 64, RADIUS)

    def draw(name, *shape):
        return jnp.asarray(recipe.normal(f"local/{name}", shape))

    return LocalBranch(
        draw("features", 16, 16, features),
        jnp.asarray(depth)[..., None],
        jnp.asarray(weight)[..., None],
        jnp.asarray(camera),
        draw("hidden", features + 2, hidden),
        draw("hidden_bias", hidden),
        draw("film", hidden, 2 * channels),
        draw("film_bias", 2 * channels),
    )


def on_sphere(name="local/points"):
    directions = recipe.normal(name, (POINTS, 3))
    return RADIUS * directions / np.linalg.norm(directions, axis=-1, keepdims=True)


def padded(points):
    """Float32 [POINTS, 3], of which the last ones are far away."""
    points = np.asarray(points, np.float32)
    return np.concatenate([points, np.full((POINTS - len(points), 3), 4, np.float32)])


def test_projection_inverts_pixel_rays():
    skewed = CAMERA.copy()
    skewed[16:] = [4.0, 0.3, 0.45, 0, 3.5, 0.52, 0, 0, 1]
    positions = recipe.uniform("local/positions", (POINTS, 2))
    distances = 2.2 + recipe.uniform("local/distances", (POINTS,))
    along_rays = jax.jit(pixel_rays)
    for camera in (CAMERA, np.asarray(look_at(3.0, 0.6)), skewed):
        origins, directions = (np.asarray(x) for x in along_rays(camera, positions))
        found, far = project(camera, origins + distances[:, None] * directions)
        np.testing.assert_allclose(found, positions, atol=1e-5)
        np.testing.assert_allclose(far, distances, rtol=1e-6)


def test_projection_of_points_that_no_picture_shows():
    """Behind the camera, and far to the side: outside of the picture."""
    right, forward = CAMERA[[0, 4, 8]], CAMERA[[2, 6, 10]]
    positions, _ = project(CAMERA, padded([EYE - forward, EYE, EYE + 0.01 * forward + 5 * right]))
    np.testing.assert_array_equal(positions[:2], -1)
    assert positions[2, 0] == 2


def test_lookups_are_bilinear():
    """Against a loop, with positions on borders and outside."""
    table = recipe.normal("local/table", (5, 7, 3))
    positions = 2 * recipe.uniform("local/around", (POINTS, 2)) - 0.5
    positions[:3] = [[0, 0], [1, 1], [0.5 / 7, 0.1]]
    want = np.zeros((POINTS, 3))
    for k, (x, y) in enumerate(positions):
        column, row = x * 7 - 0.5, y * 5 - 0.5
        for j in range(5):
            for i in range(7):
                want[k] += max(0, 1 - abs(column - i)) * max(0, 1 - abs(row - j)) * table[j, i]
    np.testing.assert_allclose(jax.jit(sample_map)(table, positions), want, atol=1e-5)


def test_what_the_portrait_shows_counts_and_what_lies_behind_does_not():
    for name in ("local/points", "local/others"):
        points = on_sphere(name)
        facing = np.sum(points * (EYE - points), -1) / (RADIUS * np.linalg.norm(EYE - points, axis=-1))
        _, behind, visibility = (np.asarray(x) for x in see(branch(), points))
        front, back = facing > 0.3, facing < -0.3
        assert front.sum() > 12 and back.sum() > 12
        np.testing.assert_allclose(visibility[front], 1, rtol=1e-6)
        assert np.abs(behind[front]).max() < 5e-3
        np.testing.assert_array_equal(visibility[back], 0)
        np.testing.assert_allclose(behind[back], -2 * RADIUS * facing[back], atol=0.02)  # a chord


def test_visibility_along_a_ray():
    """Seen up to FADE behind the surface, hidden from twice that on, half seen between; in front all is seen."""
    towards = -EYE / np.linalg.norm(EYE)
    steps = np.array([-0.3, 0.0, 0.9 * FADE, 1.5 * FADE, 2.1 * FADE, 0.5])
    points = EYE + (np.linalg.norm(EYE) - RADIUS + steps)[:, None] * towards
    np.testing.assert_allclose(see(branch(), padded(points))[2][:6], [1, 1, 1, 0.5, 0, 0], atol=0.02)
    beside = [[3.0, 0, 0], [0, 0.9, 0], 0.4 * CAMERA[[0, 4, 8]]]  # the last in the picture, beside the sphere
    np.testing.assert_array_equal(see(branch(), padded(beside))[2], 0)


def test_a_silhouette_is_not_as_deep_as_its_background():
    rim = RADIUS * np.array([[np.cos(a), 0, np.sin(a)] for a in (0.12, 0.2, 0.3)])
    _, behind, _ = see(branch(np.asarray(look_at(0.0))), padded(rim))
    assert np.abs(behind[:3]).max() < 0.08


def test_modulation():
    """Point by point, in NumPy; points that the portrait does not show keep their features."""
    local, points = branch(), on_sphere()
    features = recipe.normal("local/grid", (POINTS, 4))
    positions, behind, visibility = (np.asarray(x) for x in see(local, points))
    read = np.asarray(jax.jit(sample_map)(local.features, positions))
    weights = jax.tree.map(np.asarray, local)
    got = np.asarray(change(local, features, points))
    np.testing.assert_allclose(modulate(local, jnp.asarray(features), jnp.asarray(points)), got, atol=2e-5)  # eagerly
    for k in range(POINTS):
        inputs = [*read[k], np.clip(behind[k] / (2 * FADE), -1, 1), visibility[k]]
        hidden = np.logaddexp(0, inputs @ weights.hidden_kernel + weights.hidden_bias)
        scale, shift = np.split(visibility[k] * (hidden @ weights.film_kernel + weights.film_bias), 2)
        np.testing.assert_allclose(got[k], features[k] * (1 + scale) + shift, rtol=1e-4, atol=1e-4)
    hidden = visibility == 0
    assert 16 < hidden.sum() < 48
    np.testing.assert_array_equal(got[hidden], features[hidden])
    silent = dataclasses.replace(local, film_kernel=0 * local.film_kernel, film_bias=0 * local.film_bias)
    np.testing.assert_array_equal(change(silent, features, points), features)


def test_vmap_is_a_loop_and_every_array_has_a_finite_gradient():
    """Also with points at the camera's centre and behind it."""
    points = padded([*on_sphere()[:40], *(EYE + CAMERA[[2, 6, 10]] * np.array([[-1], [0.01]]))])
    features = recipe.normal("local/grid", (POINTS, 4))
    branches = [branch(), branch(np.asarray(look_at(-0.7, 0.1)))]
    both = jax.tree.map(lambda *x: np.stack(x), *branches)

    def loss(local):
        changed = modulate(local, features, points)
        return jnp.sum(jnp.sin(changed)), changed

    gradients, got = jax.jit(jax.vmap(jax.grad(loss, has_aux=True)))(both)
    for one, local in zip(got, branches):
        np.testing.assert_allclose(one, change(local, features, points), atol=2e-5)
    assert recipe.relative_error(got[0], got[1]) > 0.1
    for field in dataclasses.fields(gradients):
        gradient = getattr(gradients, field.name)
        assert np.isfinite(gradient).all() and np.any(gradient), field.name


@pytest.fixture(scope="module")
def params():
    return local_model.params()


@pytest.fixture(scope="module")
def inverted(params):
    """Stitched of every other texel: the random model hides none from the portrait."""
    mask = np.indices(params.config.generator.field.cells).sum(0) % 2
    invert = functools.partial(panojax.invert, return_parts=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inversion, "head_occlusion", lambda *_, **__: jnp.asarray(mask, jnp.float32)[None])
        return jax.jit(invert)(params, scenes.portraits(1)[0], CAMERA)


def test_without_the_option_the_parameters_are_as_ever(params):
    """Names, and the draws of training's start. That results are, too, the tests of inversion say."""
    on = params.config.encoder
    off = dataclasses.replace(on, local_features=0)
    assert set(abstract_encoder(off)) == {"psp_encoder", "triplanenet_encoder"}
    assert set(abstract_encoder(on)) == {*abstract_encoder(off), "local_encoder"}
    assert panojax.EncoderConfig() == panojax.EncoderConfig(local_features=0)


@jax.jit
def localized(params, variables, head, portraits):
    """The features and the depth that an encoder's branch has of a head without one."""
    heads = jax.tree.map(lambda x: x[None], dataclasses.replace(head, local=None))
    pictures = pool(portraits, params.config.encoder.resolution)
    average = params.encoders["latent_average"]
    context = Context(params.generator, average, pictures, CAMERA[None], model=params.config)
    inputs, view = local_input(context, heads)
    features, _ = encode_local(params.config.encoder, variables, inputs)
    return features[0], view.depth[0]


def test_inverted_heads_keep_their_branch(params, inverted):
    """Each has what it misses itself of the portrait, the stitched one by the visible encoder. It acts on what the
    portrait shows, and a generator alone renders it."""
    head, parts = inverted
    check_branch(head.local, 4, "head.local")
    both = params.encoders["both"]
    for one, which in ((head, dual.VISIBLE), (parts.visible, dual.VISIBLE), (parts.occluded, dual.OCCLUDED)):
        features, depth = localized(params, dual.part(both, which), one, scenes.portraits(1))
        assert recipe.relative_error(one.local.features, features) < 1e-4
        np.testing.assert_allclose(one.local.depth, depth, atol=1e-4)
    assert recipe.relative_error(parts.visible.local.features, head.local.features) > 1e-3
    assert recipe.relative_error(parts.occluded.local.features, head.local.features) > 0.1
    np.testing.assert_array_equal(head.local.camera, CAMERA)
    assert head.local.features.shape == (32, 32, 6) and head.local.depth.shape == (16, 16, 1)
    renderer = params.generator_only()
    silent = jax.tree.map(jnp.zeros_like, head.local).replace(camera=head.local.camera)
    pictures = [
        [scenes.render(renderer, dataclasses.replace(head, local=local), camera).raw for local in (head.local, silent)]
        for camera in (CAMERA, look_at(0.5 + np.pi, 0.2))
    ]
    here, there = (recipe.relative_error(*pair) for pair in pictures)
    assert here > 0.1 and there < here / 2  # they share the edges


def test_files_keep_the_branch(tmp_path):
    params = micro.micro_generator()
    config = params.config.generator
    planes, ws = jnp.ones(config.field.shape), jnp.ones((config.num_ws, config.w_dim))
    head = panojax.Head(planes, ws, local=branch())
    save_head(head, tmp_path / "head.npz", params=params)
    found = load_head(tmp_path / "head.npz", params)
    assert jax.tree.structure(found) == jax.tree.structure(head)
    chex.assert_trees_all_equal(found, head)
    with np.load(tmp_path / "head.npz") as file:
        arrays = dict(file)
    del arrays["local.depth"]
    np.savez(tmp_path / "part.npz", **arrays)
    with pytest.raises(panojax.InputError, match=r"missing \['local.depth'\]"):
        load_head(tmp_path / "part.npz")


def test_bad_input_is_named(params):
    check_branch(branch(), 4, "local")
    for field, value in (("depth", jnp.ones((64, 32, 1))), ("camera", jnp.ones(16)), ("film_bias", jnp.ones(8, int))):
        with pytest.raises(panojax.InputError, match=f"head.local.{field} must be floats"):
            check_branch(dataclasses.replace(branch(), **{field: value}), 4, "head.local")
    with pytest.raises(panojax.InputError, match="film_kernel"):
        check_branch(branch(), 5, "local")
    config = params.config.encoder
    with pytest.raises(panojax.InputError, match="x must be"):
        encode_local(config, None, jnp.ones((1, 32, 32, 6)))
    with pytest.raises(panojax.InputError, match="local_features must be positive"):
        encode_local(dataclasses.replace(config, local_features=0), None, jnp.ones((1, 32, 32, 4)))
    with pytest.raises(panojax.InputError, match="local_channels must be the generator's plane_features, 4, got 32"):
        panojax.Config(params.config.generator, dataclasses.replace(config, local_channels=32))
    with pytest.raises(panojax.InputError, match="local_features must be 0 to 8192, got -1"):
        dataclasses.replace(config, local_features=-1)


def test_storage_keeps_first_convolutions_exact():
    """Those of all three networks, the branch's, which lies one level deeper, among them: they compute in float32."""
    params = local_model.params().with_dtype("bfloat16")
    was, now = (kernels.unpack(p.encoders["both"]) for p in (params, params.for_inference()))
    for network, path in (("psp_encoder", ()), ("triplanenet_encoder", ()), ("local_encoder", ("features",))):
        before, after = was[network]["params"], now[network]["params"]
        for name in (*path, INPUT_LAYER, "kernel"):
            before, after = before[name], after[name]
        after = after.value
        assert after.dtype == "float32"
        np.testing.assert_array_equal(after, before)


def test_storage_keeps_the_order_of_the_branchs_channels():
    """The planes' channels get another one, those of the map over the portrait do not, though layers' names agree."""
    params = local_model.params()
    was, now = (kernels.unpack(p.encoders["both"]) for p in (params, params.for_inference()))
    _, order = params.config.generator.field.reordered()
    check_last_layer(was["triplanenet_encoder"]["params"], now["triplanenet_encoder"]["params"], order)
    check_last_layer(
        was["local_encoder"]["params"]["features"], now["local_encoder"]["params"]["features"], slice(None)
    )


def check_last_layer(before, after, order):
    before, after = before["final_head.4"], after["final_head.4"]
    np.testing.assert_array_equal(after["bias"], before["bias"][..., order])
    np.testing.assert_array_equal(after["kernel"].value, before["kernel"][..., order])
