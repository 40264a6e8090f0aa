"""Volume rendering along rays against loops over sorted samples."""

import jax
import jax.numpy as jnp
import numpy as np
import recipe

from panojax.render.marching import clip_depth, interval_weights, sample_weights


def samples(rays=7, count=10):
    densities = 4 * recipe.normal("marching/densities", (rays, count))
    depths = 2 + recipe.uniform("marching/depths", (rays, count))
    return densities, depths


def march(densities, depths):
    """The weights of one ray's intervals, its samples rising."""
    transmittance, weights = 1.0, []
    for i in range(len(depths) - 1):
        middle = (densities[i] + densities[i + 1]) / 2
        alpha = 1 - np.exp(-np.logaddexp(0, middle - 1) * (depths[i + 1] - depths[i]))
        weights.append(alpha * transmittance)
        transmittance *= 1 - alpha + 1e-10
    return np.array(weights)


def test_interval_weights():
    densities, depths = samples()
    depths = np.sort(depths)
    want = [march(*ray) for ray in zip(densities.astype(np.float64), depths.astype(np.float64))]
    np.testing.assert_allclose(interval_weights(densities, depths), want, rtol=2e-5, atol=1e-6)


def test_sample_weights_of_unsorted_samples():
    """Each sample's weight makes the colour that averaging both ends of each interval makes."""
    densities, depths = samples()
    colours = recipe.normal("marching/colours", (*depths.shape, 3)).astype(np.float64)
    weights, total, depth = sample_weights(densities, depths)
    for ray in range(len(depths)):
        order = np.argsort(depths[ray])
        t, c = depths[ray, order].astype(np.float64), colours[ray, order]
        intervals = march(densities[ray, order].astype(np.float64), t)
        colour = sum(w * (c[i] + c[i + 1]) / 2 for i, w in enumerate(intervals))
        np.testing.assert_allclose(np.asarray(weights[ray]) @ colours[ray], colour, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(total[ray], intervals.sum(), rtol=1e-5)
        expected = sum(w * (t[i] + t[i + 1]) / 2 for i, w in enumerate(intervals)) / intervals.sum()
        np.testing.assert_allclose(depth[ray], expected, rtol=1e-5)


def test_the_order_of_samples_does_not_matter():
    densities, depths = samples()
    weights, total, depth = sample_weights(densities, depths)
    order = np.random.RandomState(0).permutation(depths.shape[1])
    shuffled, total_again, depth_again = sample_weights(densities[:, order], depths[:, order])
    np.testing.assert_array_equal(shuffled, weights[:, order])
    np.testing.assert_array_equal(total_again, total)
    np.testing.assert_array_equal(depth_again, depth)


def test_a_wall_is_opaque_and_where_it_is():
    depths = np.linspace(2, 3, 41, dtype=np.float32)
    densities = np.where(depths > 2.5, 1000, -1000).astype(np.float32)
    _, total, depth = sample_weights(densities, depths)
    np.testing.assert_allclose(total, 1, atol=1e-5)
    assert (
        2.5 < depth < 2.5 + 2 / 40
    )  # the interval that straddles the wall is all but clear: 1000 and -1000 average to 0


def test_nothing_hit_is_far_and_clipped():
    densities, depths = samples(rays=3)
    densities[1] = -1000
    weights, total, depth = sample_weights(densities, depths)
    assert total[1] == 0 and np.isinf(depth[1]) and not np.any(weights[1])
    clipped = np.asarray(clip_depth(depth, depths))
    np.testing.assert_allclose(clipped[1], depths.max())
    np.testing.assert_array_equal(clipped[[0, 2]], np.asarray(depth)[[0, 2]])


def test_gradients_are_finite_where_nothing_is_hit():
    densities, depths = samples(rays=3)
    densities[1], densities[2] = -1000, 1000

    def loss(densities):
        weights, total, depth = sample_weights(densities, depths)
        return jnp.sum(weights**2) + jnp.sum(total) + jnp.sum(clip_depth(depth, depths))

    gradient = jax.jit(jax.grad(loss))(jnp.asarray(densities))
    assert np.isfinite(gradient).all() and np.any(gradient[0])


def test_jit():
    eager, jitted = sample_weights(*samples()), jax.jit(sample_weights)(*samples())
    for got, want in zip(jitted, eager):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-7)
