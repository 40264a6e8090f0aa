"""What is made in one kernel, in order or block by block, against the plain way."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import recipe

from panojax.kernels import fusion


def test_weighted_sums_are_products():
    x, weights = recipe.normal("fusion/x", (5, 7, 8)), recipe.normal("fusion/w", (8,))
    for function in (fusion.weighted_sum, fusion._weighted_sum):
        np.testing.assert_allclose(function(x, weights), x @ weights, rtol=1e-5, atol=1e-5)


def test_written_in_order_changes_nothing():
    x = recipe.normal("fusion/x", (5, 7, 8))
    np.testing.assert_array_equal(fusion.written_in_order(x), x)
    assert "optimization_barrier" in jax.jit(fusion.written_in_order).lower(x).as_text()


def query(static, scale, points):
    return static * scale * jnp.sum(points, axis=-1), jnp.sin(points)


def test_blocks_are_all_points():
    for count, loops in ((3 * fusion.BLOCK, 1), (100, 0)):
        points = recipe.normal("fusion/points", (count, 3))
        call = jax.jit(lambda scale, points: fusion.by_blocks(query, 2, scale, points))
        text = call.trace(3.0, points).lower(lowering_platforms=("cpu",)).as_text()
        assert len(re.findall(r"stablehlo\.while\b", text)) == loops
        for got, want in zip(call(3.0, points), query(2, 3.0, points)):
            np.testing.assert_allclose(got, want, atol=1e-5)
        slope = jax.grad(lambda scale: jnp.sum(fusion.by_blocks(query, 2, scale, points)[0]))(3.0)  # noqa: B023
        np.testing.assert_allclose(slope, 2 * np.sum(points), rtol=1e-3)
