"""Operations that change nothing give the head as it was, bit for bit; between two heads both keep their portrait."""

import dataclasses

import jax
import jax.numpy as jnp
import local_model
import numpy as np
import pytest
import scenes

import panojax
from panojax.camera import look_at
from panojax.errors import InputError
from panojax.fields.local_branch import LocalMix, mix_branches, modulate


@pytest.fixture(scope="module")
def params():
    return local_model.params()


@pytest.fixture(scope="module")
def heads(params):
    """Two heads with local branches of other cameras; the first one's portrait is seen from the left."""
    pictures = scenes.portraits(2)
    return tuple(panojax.invert(params, image, look_at(yaw)) for image, yaw in zip(pictures, (0.3, -0.4)))


def assert_same(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected)):
        np.testing.assert_array_equal(a, b)


def test_the_ends_of_an_interpolation_are_the_heads(params, heads):
    first, second = heads
    for share, head in ((0, first), (1, second), (0.0, first), (1.0, second), (np.float32(1), second)):
        assert_same(panojax.interpolate(params, first, second, share), head)
    # A share that a trace does not know gives the same arrays; the branches stay apart, each with its own camera.
    between = jax.jit(panojax.interpolate)
    for share, head in ((0.0, first), (1.0, second)):
        found = between(params, first, second, share)
        for name in ("planes", "ws"):
            np.testing.assert_array_equal(getattr(found, name), getattr(head, name))
        want, got = (panojax.render(params, x, look_at(0.1)).image for x in (head, found))
        np.testing.assert_allclose(got, want, atol=1e-5)


def test_between_two_heads_both_local_branches_count(params, heads):
    first, second = heads
    middle = panojax.interpolate(params, first, second, 0.25)
    assert isinstance(middle.local, LocalMix)
    np.testing.assert_allclose(middle.local.shares, (0.75, 0.25))
    for branch, head in zip(middle.local.branches, heads):
        assert_same(branch, head.local)
    points = jnp.asarray(np.random.default_rng(0).uniform(-0.4, 0.4, (64, 3)), jnp.float32)
    features = jnp.ones((64, params.config.generator.field.features))
    own = [modulate(head.local, features, points) for head in heads]
    np.testing.assert_allclose(modulate(middle.local, features, points), 0.75 * own[0] + 0.25 * own[1], atol=1e-5)
    # Between such heads, too; and a head without a branch gives none.
    again = panojax.interpolate(params, middle, second, 0.5)
    np.testing.assert_allclose(again.local.shares, (0.375, 0.125, 0.5))
    bare = panojax.interpolate(params, dataclasses.replace(first, local=None), second, 0.25)
    np.testing.assert_allclose(bare.local.shares, (0.25,))
    assert mix_branches(None, None, jnp.float32(0.5)) is None


def test_a_direction_of_no_strength(params, heads):
    config = params.config.generator
    direction = np.ones((config.num_ws, config.w_dim), np.float32)
    assert_same(panojax.move_head(params, heads[0], direction, 0.0), heads[0])
    assert_same(jax.jit(panojax.move_head)(params, heads[0], direction, 0.0), heads[0])
    assert_same(jax.jit(panojax.move_head)(params, heads[0], 0 * direction), heads[0])


@pytest.mark.parametrize("fuse", [False, True])
def test_a_part_of_the_head_itself(params, heads, fuse):
    region = panojax.solid_region(params, np.zeros(3, np.float32), np.full(3, 0.2, np.float32))
    assert_same(panojax.edit(params, heads[0], heads[0], region, fuse=fuse), heads[0])
    traced = jax.jit(lambda source, reference: panojax.edit(params, source, reference, region, fuse=fuse))
    assert_same(traced(heads[0], heads[0]), heads[0])


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_saving_and_loading(params, heads, tmp_path, share):
    head = panojax.interpolate(params, *heads, share)
    panojax.save_head(head, tmp_path / "head.npz", params=params)
    assert_same(panojax.load_head(tmp_path / "head.npz", params), head)


def test_files_of_mixed_branches_are_checked(params, heads, tmp_path):
    head = panojax.interpolate(params, *heads, 0.5)
    panojax.save_head(head, tmp_path / "head.npz", params=params)
    with np.load(tmp_path / "head.npz") as file:
        arrays = dict(file)
    for change, message in (
        ({"local.shares": np.ones(3, np.float32)}, "missing .*local2.features"),
        ({"local.shares": np.ones((2, 1), np.float32)}, "unknown .*local1.camera"),
        ({"local.shares": np.ones(0, np.float32)}, "unknown"),
        ({"local1.camera": np.ones(7, np.float32)}, r"branches\[1\].camera must be floats"),
    ):
        np.savez(tmp_path / "bad.npz", **(arrays | change))
        with pytest.raises(InputError, match=message):
            panojax.load_head(tmp_path / "bad.npz", params)


def test_a_part_takes_what_the_portrait_showed_of_it_along(params, heads):
    """What comes from another head is not painted over with the photo; elsewhere the photo's details stay."""
    first, second = heads
    config = params.config.generator
    everywhere = jnp.ones(config.field.areas)
    whole = panojax.edit(params, first, second, everywhere, fuse=False)
    shown = np.asarray(first.local.weight) > 0.5
    assert shown.any() and np.asarray(whole.local.weight)[shown].max() < 0.1
    left = panojax.solid_region(params, np.float32([-0.3, 0, 0]), np.float32([0.3, 1, 1]), shape="box")
    some = panojax.edit(params, first, second, left, fuse=False, border=0)
    change = np.asarray(first.local.weight - some.local.weight)[shown]
    assert change.min() >= 0 and (change > 0.4).any() and (change < 0.2).any()
    mixed = panojax.interpolate(params, first, second, 0.5)
    both = panojax.edit(params, mixed, second, everywhere, fuse=False)
    assert all(
        np.asarray(branch.weight).mean() < 0.3 * np.asarray(first.local.weight).mean() for branch in both.local.branches
    )
