"""Rays and depths along them against loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe

from panojax.camera import camera_rays, look_at
from panojax.render import rays


def test_rays_go_through_pixel_centres():
    labels = look_at(np.array([0.4, 3.0]), np.array([0.2, -0.5]))
    origins, directions = camera_rays(labels, 5)
    assert origins.shape == directions.shape == (2, 25, 3)
    for label, origin, direction in zip(np.asarray(labels, np.float64), origins, directions):
        matrix, lens = label[:16].reshape(4, 4), label[16:].reshape(3, 3)
        for k in range(25):
            row, column = divmod(k, 5)
            ray = matrix[:3, :3] @ np.linalg.solve(lens, [(column + 0.5) / 5, (row + 0.5) / 5, 1])
            np.testing.assert_allclose(direction[k], ray / np.linalg.norm(ray), atol=1e-6)
            np.testing.assert_allclose(origin[k], matrix[:3, 3], atol=1e-6)


def test_skewed_intrinsics():
    label = np.asarray(look_at(0.3)).copy()
    label[16:] = [4.0, 0.3, 0.45, 0, 3.5, 0.52, 0, 0, 1]
    matrix, lens = label[:16].reshape(4, 4), label[16:].reshape(3, 3)
    _, directions = camera_rays(jnp.asarray(label), 4)
    ends = np.asarray(directions) @ matrix[:3, :3] @ lens.T
    pixels = ends[:, :2] / ends[:, 2:]
    side = (np.arange(4) + 0.5) / 4
    want = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    np.testing.assert_allclose(pixels, want, atol=1e-5)


def box_twin(origins, directions, side):
    """Entry and exit per ray by slabs; then the reference's rule for those that miss."""
    enter, leave = np.zeros(len(origins)), np.zeros(len(origins))
    for i, (o, d) in enumerate(zip(origins.astype(np.float64), directions.astype(np.float64))):
        with np.errstate(divide="ignore"):
            low, high = (-side / 2 - o) / d, (side / 2 - o) / d
        enter[i], leave[i] = np.minimum(low, high).max(), np.maximum(low, high).min()
    hit = enter <= leave
    start = np.where(hit, enter, enter[hit].min())
    end = np.where(hit, leave, enter[hit].max())  # the greatest entry, not exit: a quirk that is kept
    return start, end, hit


def test_box_range_with_misses():
    labels = look_at(np.array([0.1, 0.9]), 0.3)
    origins, directions = (np.asarray(a) for a in camera_rays(labels, 16))
    start, end, hit = box_twin(origins.reshape(-1, 3), directions.reshape(-1, 3), 0.5)
    assert 50 < hit.sum() < 2 * 256 - 50
    got = rays.box_range(origins, directions, 0.5)
    np.testing.assert_allclose(got[0].ravel(), start, rtol=2e-5)
    np.testing.assert_allclose(got[1].ravel(), end, rtol=2e-5)


def test_box_range_of_axis_aligned_rays():
    origins = np.array([[0, 0, 2], [0.1, -0.2, 2], [0.9, 0, 2]], np.float32)
    directions = np.array([[0, 0, -1]] * 3, np.float32)
    start, end = rays.box_range(origins, directions, 1.0)
    np.testing.assert_allclose(start, 1.5, rtol=1e-6)
    np.testing.assert_allclose(end, [2.5, 2.5, 1.5], rtol=1e-6)


@pytest.mark.parametrize("disparity", [False, True])
def test_stratified_depths(disparity):
    start, end = np.array([2.0, 2.25], np.float32), np.array([3.0, 3.3], np.float32)
    uniforms = recipe.uniform("rays/coarse", (2, 6))
    want = np.zeros((2, 6))
    for ray in range(2):
        for k in range(6):
            if disparity:
                position = k / 5 + uniforms[ray, k] / 5
                want[ray, k] = 1 / ((1 - position) / start[ray] + position / end[ray])
            else:
                step = (end[ray] - start[ray]) / 5
                want[ray, k] = start[ray] + k * step + uniforms[ray, k] * step
    got = np.asarray(rays.stratified_depths(start, end, uniforms, disparity=disparity))
    np.testing.assert_allclose(got, want, rtol=1e-6)
    assert (np.diff(got) > 0).all()


def importance_twin(depths, weights, uniforms):
    """One ray: smooth the weights, search the CDF over the intervals' midpoints."""
    count = len(weights)
    peaks = [max(weights[max(i - 1, 0) : i + 1]) for i in range(count + 1)]
    smooth = [(peaks[i] + peaks[i + 1]) / 2 + 0.01 for i in range(count)]
    pdf = np.array(smooth[1:-1]) + 1e-5
    cdf = np.concatenate([[0], np.cumsum(pdf / pdf.sum())])
    middles = (depths[1:] + depths[:-1]) / 2
    out = []
    for u in uniforms:
        above = np.searchsorted(cdf, u, side="right")
        low, high = max(above - 1, 0), min(above, len(pdf))
        width = cdf[high] - cdf[low]
        width = 1 if width < 1e-5 else width
        out.append(middles[low] + (u - cdf[low]) / width * (middles[high] - middles[low]))
    return np.array(out)


def test_importance_depths():
    depths = np.sort(2 + recipe.uniform("rays/depths", (2, 5, 12)), axis=-1)
    weights = recipe.uniform("rays/weights", (2, 5, 11)) ** 6
    weights[0, 0], weights[0, 1] = 0, np.eye(11)[4]  # nothing hit; all in one interval
    uniforms = recipe.uniform("rays/fine", (2, 5, 9))
    uniforms[..., 0] = 0
    uniforms[..., 1] = np.nextafter(np.float32(1), np.float32(0))
    got = rays.importance_depths(depths, weights, uniforms)
    want = np.zeros((2, 5, 9))
    for ray in np.ndindex(2, 5):
        want[ray] = importance_twin(*(a[ray].astype(np.float64) for a in (depths, weights, uniforms)))
    np.testing.assert_allclose(got, want, rtol=1e-5)
    middles = (depths[..., 1:] + depths[..., :-1]) / 2
    assert (np.asarray(got) >= middles[..., :1] - 1e-6).all() and (np.asarray(got) <= middles[..., -1:] + 1e-6).all()


def test_importance_depths_gather_where_weights_are():
    depths = np.linspace(2, 3, 49, dtype=np.float32)
    weights = np.exp(-0.5 * ((depths[1:] + depths[:-1]) / 2 - 2.6) ** 2 / 0.03**2).astype(np.float32)
    uniforms = (np.arange(64, dtype=np.float32) + 0.5) / 64
    got = np.asarray(rays.importance_depths(depths, weights, uniforms))
    assert np.mean(np.abs(got - 2.6) < 0.1) > 0.8
    assert (np.diff(got) >= 0).all()


def test_no_gradient_through_the_draws():
    depths = jnp.linspace(2.0, 3.0, 8)
    weights = jnp.asarray(recipe.uniform("rays/weights", (7,)))
    uniforms = jnp.linspace(0.1, 0.9, 4)
    gradients = jax.jit(jax.grad(lambda d, w: jnp.sum(rays.importance_depths(d, w, uniforms)), (0, 1)))(depths, weights)
    assert not any(np.any(g) for g in gradients)


def test_box_range_where_every_ray_misses():
    """The original's mark of a miss, -1 and -2, is left as it is; before, the limits were infinite."""
    label = np.asarray(look_at(0.1)).copy()
    label[7] += 9
    start, end = rays.box_range(*camera_rays(jnp.asarray(label), 4), 0.5)
    np.testing.assert_array_equal(start, np.full(16, -1.0))
    np.testing.assert_array_equal(end, np.full(16, -2.0))
