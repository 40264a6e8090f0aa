"""Ways to look texels up, one for values and two for gradients, against one another; their twin in fields/ is slow."""

import jax
import jax.numpy as jnp
import numpy as np
import recipe

from panojax.kernels import lookup as lookups
from panojax.kernels.lookup import sample_planes

AXES = ((0, 1, 2), (0, 2, 1), (1, 2, 0))


def planes():
    return jnp.asarray(recipe.normal("trigrid/planes", (3, 3, 6, 5, 4)))


def points():
    """Most within the box, some outside, and some exactly on corners, faces and texel centres."""
    inner = 2.4 * recipe.uniform("trigrid/points", (60, 3)) - 1.2
    return np.concatenate([inner, [[0, 0, 0], [-1, -1, -1], [1, 1, 1], [1, 0, -1], [2, 0, 0]]]).astype(np.float32)


def test_both_ways_to_add_rows_agree(monkeypatch):
    """Tangents for CPUs and for others, forward and transposed, with points off the planes."""
    table = planes()
    where = jnp.concatenate([jnp.asarray(points()), jnp.array([[4.0, 4, 4], [-1.02, 0.3, 1.01], [0.99, -4, 0]])])

    def everything():
        look_up = lambda table, where: sample_planes(table, where, AXES)  # noqa: E731
        value, back = jax.vjp(look_up, table, where)
        tangent = jax.jvp(lambda where: look_up(table, where), (where,), (jnp.cos(where),))[1]
        return value, back(jnp.cos(value)), tangent

    one_way = jax.tree.leaves(everything())
    stacked = lambda table, rows, weights: lookups._add_at_once(table, jnp.stack(rows), jnp.stack(weights))  # noqa: E731
    monkeypatch.setattr(lookups, "_add", stacked)
    other_way = jax.tree.leaves(everything())
    assert len(one_way) == 4 and not np.any(other_way[0][:, -3])
    for one, other in zip(one_way, other_way):
        assert np.any(one) and recipe.relative_error(one, np.asarray(other)) < 1e-6


def test_a_weight_may_change_alone():
    table, rows = jnp.asarray(planes()).reshape(-1, 4), [jnp.array([0, 3]), jnp.array([29, 3])]
    fixed, change = jnp.array([0.1, 0.2]), jnp.array([2.0, -1.0])
    _, tangent = jax.jvp(lambda weight: lookups._add_rows(table, rows, [weight, fixed]), (fixed,), (change,))
    np.testing.assert_allclose(tangent, table[rows[0]] * change[:, None], rtol=1e-6)


def test_values_alone_are_those_that_are_differentiated():
    for depth_interpolation in (True, False):
        options = AXES, depth_interpolation
        got = lookups._sample(options, planes(), points())
        np.testing.assert_allclose(got, lookups._sample_by_corners(options, planes(), points()), atol=1e-6)
