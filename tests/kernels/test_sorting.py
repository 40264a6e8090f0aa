"""Samples in order by counting and by sorting, and lookups along the last axis, against NumPy's."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import recipe

from panojax.kernels import sorting


def samples():
    """Values and keys [7, 24], some of which are equal."""
    keys = np.round(2 + recipe.uniform("marching/depths", (7, 24)), 1)
    assert min(len(set(row)) for row in keys) < 20
    return 4 * recipe.normal("marching/densities", (7, 24)), keys


def smooth(values, keys):
    """Something of neighbours, in the order of keys."""
    return jnp.cumsum(values * keys, axis=-1), jnp.sum(jnp.sin(values) * keys, axis=-1)


def test_both_ways_to_put_samples_in_order_agree():
    """The one for CPUs and the one for others, with gradients. Of equal keys the first one counts first."""

    def everything(way):
        values, back = jax.vjp(functools.partial(way, smooth), *samples())
        return values, back(jax.tree.map(jnp.cos, values))

    counted, in_order = everything(sorting._by_counting), everything(sorting._by_sorting)
    for one, other in zip(jax.tree.leaves(counted), jax.tree.leaves(in_order), strict=True):
        assert np.any(one)
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    values, keys = samples()
    order = np.argsort(keys, axis=-1, kind="stable")
    want = np.zeros_like(values)
    np.put_along_axis(want, order, np.cumsum(np.take_along_axis(values * keys, order, -1), -1), axis=-1)
    found, total = jax.jit(functools.partial(sorting.in_rising_order, smooth))(values, keys)
    np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(total, np.sum(np.sin(values) * keys, -1), rtol=1e-5)


def test_counting_is_a_search():
    rising, values = np.sort(samples()[1]), 2 + recipe.uniform("sorting/values", (7, 9))
    values[:, 0] = rising[:, 3]  # of those that are equal, too
    want = [np.searchsorted(row, value, side="right") for row, value in zip(rising, values)]
    np.testing.assert_array_equal(sorting.count_up_to(jnp.asarray(rising), jnp.asarray(values)), want)


def test_picking_is_taking_along_the_last_axis():
    values, index = samples()[0], np.random.default_rng(0).integers(0, 24, (7, 5))
    np.testing.assert_array_equal(sorting.pick(values, index), np.take_along_axis(values, index, -1))
