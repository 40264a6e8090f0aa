"""Several portraits of one person to one head, on a model of a few texels."""

import functools
import math
import types

import jax
import jax.numpy as jnp
import local_model
import numpy as np
import pytest
import recipe
import scenes

import panojax
from panojax.camera import camera_rays, look_at, project
from panojax.errors import InputError
from panojax.fields.local_branch import LocalMix, facing, mix_branches, modulate, share_branches
from panojax.fields.trigrid import TriGrid
from panojax.inversion import refine, several
from panojax.inversion.refine import RefineConfig, move_camera, refine_cameras
from panojax.losses.perception import Perception

CAMERAS = look_at(np.array([0.1, 1.5, math.pi]))


@pytest.fixture(scope="module")
def params():
    return local_model.params(planes=16, depth=3)


@pytest.fixture(scope="module")
def images():
    return scenes.portraits(3)


@pytest.fixture(scope="module")
def three(params, images):
    return panojax.invert_many(params, images, CAMERAS)


@pytest.fixture(scope="module")
def parts(params, images):
    return [panojax.invert(params, x, c, return_parts=True)[1] for x, c in zip(images, CAMERAS)]


def assert_same(found, expected):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b)


def assert_near(found, expected, tolerance=1e-5):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected)):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * max(1.0, float(np.abs(b).max())))


@pytest.mark.parametrize("stitching", ["texel", "sample"])
def test_one_portrait_is_invert_bit_for_bit(params, images, stitching):
    found = panojax.invert_many(params, images[:1], CAMERAS[:1], stitching=stitching)
    assert_same(found, panojax.invert(params, images[0], CAMERAS[0], stitching=stitching))


def test_each_cell_comes_from_the_portraits_that_show_it(params, three, parts):
    """One portrait's where it alone shows a cell, between theirs where several do, encoder 2's of the frontal one where
    none does."""
    masks = np.stack([np.asarray(part.mask) for part in parts])
    own = np.stack([np.asarray(part.visible.planes) for part in parts])
    planes, count = np.asarray(three.planes), np.sum(1 - masks, axis=0)
    assert {0, 1, 2} <= set(np.unique(count).astype(int))
    for i in range(3):
        alone = (count == 1) & (masks[i] == 0)
        assert alone.any()
        np.testing.assert_allclose(planes[alone], own[i][alone], rtol=1e-4, atol=1e-4)
    # Another program, whose sums have another order.
    np.testing.assert_allclose(
        planes[count == 0], np.asarray(parts[0].occluded.planes)[count == 0], rtol=1e-4, atol=1e-5
    )
    seen = np.where(masks[..., None] == 0, own, np.nan)[:, count == 2]
    between = planes[count == 2]
    assert (between >= np.nanmin(seen, 0) - 1e-3).all() and (between <= np.nanmax(seen, 0) + 1e-3).all()
    np.testing.assert_allclose(three.ws, parts[0].visible.ws, rtol=1e-4, atol=1e-5)
    assert isinstance(three.local, LocalMix) and len(three.local.branches) == 3


def test_sample_stitching_keeps_both(params, images, three):
    head = panojax.invert_many(params, images, CAMERAS, stitching="sample")
    seen = np.asarray(head.planes) != 0
    np.testing.assert_allclose(np.asarray(head.planes)[seen], np.asarray(three.planes)[seen], rtol=1e-5)
    np.testing.assert_allclose(np.where(seen, head.planes, head.occluded_planes), three.planes, rtol=1e-5, atol=1e-6)


def test_order_does_not_matter_but_of_branches(params, images, three):
    turned = panojax.invert_many(params, images[::-1], CAMERAS[::-1])
    assert_near(turned.replace(local=None), three.replace(local=None))


def test_a_weight_of_nothing_leaves_a_portrait_out(params, images):
    weights = jnp.array([1.0, 0.0])
    head = panojax.invert_many(params, images[:2], CAMERAS[:2], weights)
    alone = panojax.invert(params, images[0], CAMERAS[0])
    assert_near(head.replace(local=None), alone.replace(local=None))
    views = [np.asarray(scenes.render(params, one, CAMERAS[0]).image) for one in (head, alone)]
    assert recipe.relative_error(*views) < 1e-4


def test_the_same_portrait_twice_is_one(params, images):
    twice = panojax.invert_many(params, images[[0, 0]], CAMERAS[jnp.array([0, 0])])
    once = panojax.invert(params, images[0], CAMERAS[0])
    assert_near(twice.replace(local=None), once.replace(local=None))
    for camera in CAMERAS[:2]:
        views = [np.asarray(scenes.render(params, one, camera).image) for one in (twice, once)]
        assert recipe.relative_error(*views) < 1e-4


def test_jit_and_vmap(params, images, three):
    assert_near(jax.jit(panojax.invert_many)(params, images, CAMERAS), three)
    pictures, labels = np.stack([images, images[::-1]]), np.stack([CAMERAS, CAMERAS])
    batch = jax.jit(jax.vmap(functools.partial(panojax.invert_many, params)))(pictures, labels)
    assert_near(jax.tree.map(lambda x: x[0], batch), three)
    other = panojax.invert_many(params, pictures[1], labels[1])
    assert_near(jax.tree.map(lambda x: x[1], batch), other)


def test_head_files_keep_it(params, three, tmp_path):
    panojax.save_head(three, tmp_path / "me.npz", params=params)
    assert_same(panojax.load_head(tmp_path / "me.npz", params), three)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": []}, "images must be 1 to 16 portraits of one person, got 0"),
        (
            {"images": np.zeros((50, 8, 8, 3)), "cameras": np.zeros((50, 25))},
            "images must be 1 to 16 .* got 50: choose",
        ),
        (
            {"images": [np.zeros((8, 8, 3)), np.zeros((9, 9, 3))]},
            r"images must have one size, .* images\[1\], \(9, 9, 3\)",
        ),
        ({"images": np.zeros((2, 8, 9, 3))}, r"images must be \[K, S, S, 3\]"),
        ({"images": np.zeros((2, 8, 8, 3), np.uint8)}, "images must be floats .* got uint8"),
        (
            {"images": np.stack([np.zeros((8, 8, 3)), np.full((8, 8, 3), 9.0)])},
            r"images\[1\] must be in \[-1, 1\], got 9",
        ),
        ({"cameras": np.asarray(CAMERAS)}, r"cameras must be floats \[2, 25\].* got float32 \(3, 25\)"),
        ({"cameras": np.zeros((2, 25))}, r"cameras\[0\] must"),
        ({"weights": np.ones(3)}, r"weights must be floats \[2\]"),
        ({"weights": np.zeros(2)}, r"weights must be finite, from 0 and not all 0, got \[0.0, 0.0\]"),
        ({"weights": np.array([1.0, -1.0])}, "weights must be finite"),
        ({"stitching": "voxel"}, "stitching must be one of"),
    ],
)
def test_bad_input_is_one_line_with_the_argument_s_name(params, change, message):
    arguments = {"images": np.zeros((2, 8, 8, 3), np.float32), "cameras": np.asarray(CAMERAS[:2]), "weights": None}
    with pytest.raises(InputError, match=message) as caught:
        panojax.invert_many(params, **(arguments | change))
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="params must hold encoders"):
        panojax.invert_many(params.generator_only(), **arguments)


def test_facing_is_the_cosine_on_a_sphere():
    camera, radius, side = np.asarray(look_at(0.7)), 0.28, 96
    depth, weight = scenes.sphere_view(camera, side, radius)
    origins, directions = (np.asarray(x) for x in camera_rays(jnp.asarray(camera), side))
    points = (origins + depth.reshape(-1, 1) * directions).reshape(side, side, 3)
    want = np.abs(np.sum(points / radius * directions.reshape(side, side, 3), axis=-1))
    found = np.asarray(facing(depth, weight, camera))
    inside = (weight > 0) & (want > 0.4)
    np.testing.assert_allclose(found[inside], want[inside], atol=0.03)
    assert (found[weight == 0] == 0).all()


def test_cells_have_the_greatest_value_of_their_points():
    field = TriGrid(size=8, depth=1, width=2, depth_interpolation=False)
    points = jnp.zeros((2, 2, 3)).at[0, 0].set(0.5).at[1, 1].set(-0.5)
    values = jnp.array([[0.25, 1.0], [1.0, 0.75]])
    valid = jnp.array([[True, False], [False, True]])
    found = np.asarray(field.shown(points, values, valid))
    np.testing.assert_allclose(np.unique(found), [0, 0.25, 0.75])
    np.testing.assert_array_equal(found > 0, np.asarray(field.unseen(points, valid)) == 0)
    both = np.asarray(field.shown(points.at[1, 1].set(0.5), values, valid))
    np.testing.assert_allclose(np.unique(both), [0, 0.75])


def test_branches_of_one_head_share_what_one_would_have(params, images):
    """At every point their shares sum to what a single branch has, also in a mix with another head's."""
    points = np.random.RandomState(0).uniform(-0.15, 0.15, (64, 3)).astype(np.float32)
    features = np.ones((64, 4), np.float32)
    once = panojax.invert(params, images[0], CAMERAS[0]).local
    twice = panojax.invert_many(params, images[[0, 0]], CAMERAS[jnp.array([0, 0])]).local
    other = panojax.invert(params, images[1], CAMERAS[0]).local
    expected = modulate(once, features, points)
    assert not np.allclose(expected, features)
    np.testing.assert_allclose(modulate(twice, features, points), expected, rtol=1e-4, atol=1e-4)
    mixes = [mix_branches(local, other, jnp.float32(0.25)) for local in (once, twice)]
    np.testing.assert_allclose(*(modulate(mix, features, points) for mix in mixes), rtol=1e-4, atol=1e-4)


def test_sharp_portraits_count_more():
    sharp = scenes.portraits(1, 64)[0] * 0.5 + np.random.RandomState(0).uniform(-0.3, 0.3, (64, 64, 3))
    blurred = np.asarray(jax.image.resize(jax.image.resize(sharp, (8, 8, 3), "linear"), (64, 64, 3), "linear"))
    found = np.asarray(several.sharpness(jnp.stack([blurred, sharp, np.zeros_like(sharp)])))
    np.testing.assert_allclose(found, [several.BLUNTEST, 1, several.BLUNTEST])


def test_cameras_are_moved_as_said():
    change = np.array([0.0, 0.2, 0.0, math.log(1.1), 0.01, -0.02], np.float32)
    turned = move_camera(look_at(0.3), jnp.asarray(change))
    np.testing.assert_array_equal(move_camera(np.asarray(look_at(0.3)), change), turned)  # NumPy's arrays, too
    expected = np.asarray(look_at(0.5)).copy()
    expected[[16, 20]] *= 1.1
    expected[[18, 21]] += 0.01, -0.02
    np.testing.assert_allclose(turned, expected, atol=1e-5)
    assert np.isfinite(jax.jacfwd(move_camera, argnums=1)(look_at(0.3), jnp.zeros(6))).all()


def blobs(model, variables, heads, labels, *, resolution):
    """Stands in for the renderer: soft coloured blobs at points [1, P, 3], as a camera sees them."""
    places, _ = project(labels[0], heads[0])
    side = (jnp.arange(resolution) + 0.5) / resolution
    apart = jnp.square(side[None, :, None] - places[:, 0]) + jnp.square(side[:, None, None] - places[:, 1])
    colours = jnp.asarray(np.random.RandomState(1).uniform(-1, 1, (len(heads[0]), 3)))
    return types.SimpleNamespace(raw=(jnp.exp(-apart / (2 * 0.05**2)) @ colours)[None])


def test_a_camera_finds_back(monkeypatch):
    """From 4 degrees and 3% away, by the derivatives of what it sees; and no farther than it may."""
    monkeypatch.setattr(refine, "render_heads", blobs)
    points = jnp.asarray(np.random.RandomState(0).uniform(-0.2, 0.2, (8, 3)), jnp.float32)
    true = look_at(0.4)
    picture = blobs(None, None, points[None], true[None], resolution=32).raw[0]
    wrong = move_camera(true, jnp.array([0.02, 0.06, -0.03, 0.03, 0.01, 0.0]))

    def register(config):
        call = jax.jit(lambda: refine.register(None, None, points, picture, wrong, Perception(), config))
        return call()

    change, before, after = register(RefineConfig(steps=8, noise=0.01, side=32))
    assert after < before / 10
    np.testing.assert_allclose(move_camera(wrong, change), true, atol=0.02)
    tight = RefineConfig(steps=4, noise=0.01, side=32, degrees=0.5, percent=0.1)
    change, *_ = register(tight)
    assert (np.abs(change) <= tight.bound * (1 + 1e-5)).all() and np.abs(change).max() > 0


def test_refining_tells_how_far_cameras_moved(params, images):
    config, steps = RefineConfig(steps=2, side=16), []
    found, moves = refine_cameras(params, images, CAMERAS, config=config, progress=lambda: steps.append(1))
    assert found.shape == (3, 25) and len(steps) == 3
    rotations = [np.asarray(x)[:, :16].reshape(-1, 4, 4)[:, :3, :3] for x in (found, CAMERAS)]
    cosines = (np.einsum("kij,kij->k", *rotations) - 1) / 2
    np.testing.assert_allclose(moves.degrees, np.degrees(np.arccos(np.clip(cosines, -1, 1))), atol=0.05)
    assert (np.asarray(moves.after) <= np.asarray(moves.before) * 1.05).all()
    assert (moves.percent <= config.percent * (1 + 1e-5)).all() and moves.bounded.dtype == bool
    with pytest.raises(InputError, match=r"cameras \[K, 25\], got .* \(2, 25\)"):
        refine_cameras(params, images, CAMERAS[:2])
    with pytest.raises(InputError, match="degrees must be positive, got 0"):
        RefineConfig(degrees=0)


def test_the_odd_one_is_named(monkeypatch, images):
    faces = {0: [1.0, 0.1], 1: [1.0, 0.0], 2: [0.0, 1.0]}
    embeddings = iter([])
    monkeypatch.setattr(several, "_embed", lambda perception, image: np.array([next(embeddings)]))
    labels = look_at(np.array([0.0, 0.2, -0.3]))
    embeddings = iter([faces[0], faces[1], faces[2]])
    index, distance = several.odd_one(Perception(), images, labels)
    assert index == 2 and 0.9 < distance <= 1
    embeddings = iter([faces[0], faces[1], faces[0]])
    assert several.odd_one(Perception(), images, labels) is None
    assert several.odd_one(Perception(), images, CAMERAS) is None  # one face alone is seen


def test_heads_between_heads_keep_their_portraits_apart():
    """Groups of a mix of mixes: portraits of one head share, those of another head never do with them."""

    def head(count):
        return share_branches((None,) * count, jnp.ones(count)) if count > 1 else LocalMix((None,), jnp.ones(1))

    half = jnp.float32(0.5)
    nested = mix_branches(mix_branches(head(1), mix_branches(head(2), head(1), half), half), head(3), half)
    assert len(nested.branches) == 7
    groups = np.asarray(nested.groups)
    assert groups[1] == groups[2] and len({*groups[4:]}) == 1 and len({*groups}) == 4
