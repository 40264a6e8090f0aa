"""Moves along directions and between heads: what encoders added stays."""

import jax
import micro
import numpy as np
import pytest
import recipe

import panojax
from panojax.errors import InputError
from panojax.generators.generator import Head

move, between = jax.jit(panojax.move_head), jax.jit(panojax.interpolate)


@pytest.fixture(scope="module")
def params():
    return micro.micro_generator()


@pytest.fixture(scope="module")
def generated(params):
    """Codes [4, L, w_dim] and the generator's own tri-grids of them."""
    config = params.config.generator
    ws = recipe.normal("latent/ws", (4, config.num_ws, config.w_dim))
    return ws, np.asarray(jax.jit(jax.vmap(panojax.synthesize, (None, 0)))(params, ws))


def offset(generated, i):
    return recipe.normal(f"latent/offset{i}", generated[1][i].shape)


def test_a_move_keeps_the_offset(params, generated):
    ws, planes = generated
    step = (ws[1] - ws[0]) / 2
    moved = move(params, Head(planes[0] + offset(generated, 0), ws[0]), step, 2.0)
    np.testing.assert_allclose(moved.ws, ws[1], atol=1e-5)
    np.testing.assert_allclose(moved.planes, planes[1] + offset(generated, 0), atol=1e-4)
    assert moved.background is None


def test_no_strength_changes_nothing(params, generated):
    ws, planes = generated
    head = Head(planes[0] + offset(generated, 0), ws[0])
    same = move(params, head, ws[1], 0.0)
    np.testing.assert_array_equal(same.planes, head.planes)
    np.testing.assert_array_equal(same.ws, head.ws)


def test_zeros_of_stitched_heads_stay(params, generated):
    ws, planes = generated
    hole = planes[0].copy()
    hole[:, :, :2] = 0
    moved = move(params, Head(hole, ws[0], occluded_planes=planes[0] + 2), ws[1] - ws[0], 1.0)
    assert not np.asarray(moved.planes[:, :, :2]).any()
    np.testing.assert_allclose(moved.planes[:, :, 2:], planes[1][:, :, 2:], atol=1e-4)
    np.testing.assert_allclose(moved.occluded_planes, planes[1] + 2, atol=1e-4)


def test_interpolation(params, generated):
    """Its ends are the heads; in the middle, the generator's head of the mean code plus the mean offset."""
    ws, planes = generated
    first, second = (Head(planes[i] + offset(generated, i), ws[i]) for i in (0, 1))
    for share, want in ((0.0, first), (1.0, second)):
        found = between(params, first, second, share)
        np.testing.assert_allclose(found.planes, want.planes, atol=1e-4)
        np.testing.assert_allclose(found.ws, want.ws, atol=1e-6)
    middle = between(params, first, second, 0.5)
    own = jax.jit(panojax.synthesize)(params, (ws[0] + ws[1]) / 2)
    np.testing.assert_allclose(middle.planes, own + (offset(generated, 0) + offset(generated, 1)) / 2, atol=1e-4)


def test_bad_input_is_named(params, generated):
    ws, planes = generated
    head = Head(planes[0], ws[0])
    for direction, shape in ((np.ones(5), r"\(5,\)"), (np.ones((3, 16)), r"\(3, 16\)"), (np.ones((2, 16), int), "int")):
        with pytest.raises(InputError, match=rf"direction must be floats .* got .*{shape}"):
            panojax.move_head(params, head, direction)
    with pytest.raises(InputError, match=r"second\.planes must be floats"):
        panojax.interpolate(params, head, head.replace(planes=planes[0][:2]), 0.5)
