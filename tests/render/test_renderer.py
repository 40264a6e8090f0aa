"""Rendering of analytic fields against a loop over rays, and the options of the renderer."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe
import scenes

from panojax.camera import camera_rays, look_at
from panojax.render.rays import box_range, importance_depths, stratified_depths
from panojax.render.renderer import EMPTY, SOLID, crop_density, draw_uniforms, render_rays

CONFIG = scenes.tiny_config(encoders=False, crop_margin=0.1).generator
RESOLUTION = 6
RAYS = RESOLUTION**2


def blob(points):
    """A soft ball: densities [..., K] and three colours [..., K, 3] of points [..., K, 3]."""
    densities = 40 * (0.3 - jnp.linalg.norm(points, axis=-1))
    return densities, jnp.sin(5 * points) / 2


def rays(yaw=0.4, n=None):
    labels = look_at(yaw) if n is None else look_at(yaw + np.arange(n), 0.2)
    return camera_rays(labels, RESOLUTION)


def uniforms(config=CONFIG, lead=()):
    shape = (*lead, RAYS)
    return (
        recipe.uniform("renderer/coarse", (*shape, config.depth_samples)),
        recipe.uniform("renderer/fine", (*shape, config.importance_samples)),
    )


def render(config=CONFIG, field=blob, *, draws=None, **options):
    return jax.jit(functools.partial(render_rays, field, config=config, **options))(
        *rays(), uniforms(config) if draws is None else draws
    )


def twin(config, densities_at):
    """Feature, weight and unclipped depth per ray: coarse samples, importance samples, one sorted march."""
    origins, directions = (np.asarray(a, np.float64) for a in rays())
    coarse, fine = uniforms(config)
    if config.ray_start == "auto":
        start, end = (np.asarray(a) for a in box_range(*rays(), config.box_warp))
    else:
        start, end = (np.full(RAYS, x, np.float32) for x in (config.ray_start, config.ray_end))
    feature, weight, depth, seen = np.zeros((RAYS, 3)), np.zeros((RAYS, 1)), np.zeros(RAYS), []
    for ray in range(RAYS):
        t = np.asarray(stratified_depths(start[ray], end[ray], coarse[ray], disparity=config.disparity_sampling))
        intervals = march(densities_at(origins[ray] + t[:, None] * directions[ray]), t)
        if config.importance_samples:
            more = importance_depths(t, intervals.astype(np.float32), fine[ray])
            t = np.sort(np.concatenate([t, more]))
        points = origins[ray] + t[:, None] * directions[ray]
        intervals = march(densities_at(points), t)
        colours = np.asarray(blob(points)[1])
        feature[ray] = intervals @ ((colours[1:] + colours[:-1]) / 2)
        weight[ray] = intervals.sum()
        with np.errstate(invalid="ignore"):
            depth[ray] = intervals @ ((t[1:] + t[:-1]) / 2) / intervals.sum()
        seen += [t.min(), t.max()]
    depth = np.clip(np.nan_to_num(depth, nan=np.inf), min(seen), max(seen))
    if config.white_back:
        feature += 1 - weight
    return feature, weight, depth[:, None]


def march(densities, t):
    middle = (densities[1:] + densities[:-1]) / 2
    alphas = 1 - np.exp(-np.logaddexp(0, middle - 1) * np.diff(t))
    return alphas * np.concatenate([[1], np.cumprod(1 - alphas + 1e-10)[:-1]])


def cropped(points):
    densities = np.asarray(blob(points)[0], np.float64)
    for k, (x, _, z) in enumerate(points):
        if abs(x) > 0.5 - 0.1 or abs(z) > 0.5 - 0.1:
            densities[k] = -1000
    return densities


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"white_back": True},
        {"importance_samples": 0},
        {"disparity_sampling": True},
        {"ray_start": "auto", "ray_end": "auto"},
        {"crop_margin": None},
    ],
    ids=lambda changes: "-".join(changes) or "released",
)
def test_against_a_loop(changes):
    config = dataclasses.replace(CONFIG, **changes)
    density = cropped if config.crop_margin else lambda points: np.asarray(blob(points)[0], np.float64)
    feature, weight, depth = twin(config, density)
    got = render(config)
    assert np.ptp(weight) > 0.5
    np.testing.assert_allclose(got.weight, weight, atol=2e-4)
    np.testing.assert_allclose(got.feature, feature, atol=2e-4)
    np.testing.assert_allclose(got.depth, depth, atol=2e-4)


def test_crop_leaves_y_alone():
    points = np.array([[0.39, 0, 0], [0.41, 0, 0], [0, 0.6, 0], [0, 0, -0.41], [0, -2, -0.39]], np.float32)
    got = crop_density(jnp.full(5, 3.0), points, CONFIG)
    np.testing.assert_array_equal(got, [3, EMPTY, 3, EMPTY, 3])
    wide = dataclasses.replace(CONFIG, box_warp=2.0)
    np.testing.assert_array_equal(crop_density(jnp.full(5, 3.0), points, wide), [3] * 5)
    free = dataclasses.replace(CONFIG, crop_margin=None)
    np.testing.assert_array_equal(crop_density(jnp.full(5, 3.0), points, free), [3] * 5)


def test_clouds_are_culled_or_binarised_by_alpha():
    densities = np.linspace(-4, 6, 21, dtype=np.float32)
    points = np.zeros((21, 3), np.float32)
    alpha = np.array([1 - np.exp(-np.log1p(np.exp(d - 1.0))) for d in densities])
    thin = alpha < 0.5
    assert 3 < thin.sum() < 18
    culled = crop_density(densities, points, dataclasses.replace(CONFIG, cull_clouds=0.5))
    np.testing.assert_array_equal(culled, np.where(thin, EMPTY, densities))
    binary = crop_density(densities, points, dataclasses.replace(CONFIG, binarize_clouds=0.5))
    np.testing.assert_array_equal(binary, np.where(thin, EMPTY, SOLID))


def test_density_noise_statistics():
    """Far above the softplus' bend, -log(1 - weight) sums length * (mean density - 1) over the intervals.

    So with four samples at regular distances, it holds a/2 + b + c + d/2 of their noise.
    """
    config = dataclasses.replace(
        CONFIG, depth_samples=4, importance_samples=0, crop_margin=None, ray_start=2.0, ray_end=2.1
    )
    n, deviation = 4000, 0.5
    origins, directions = jnp.zeros((n, 3)), jnp.broadcast_to(jnp.array([0.0, 0, 1]), (n, 3))
    draws = jnp.full((n, 4), 0.5), jnp.zeros((n, 0))

    def field(points):
        return jnp.full(points.shape[:-1], 30.0), points

    def weights(density_noise):
        seen = render_rays(
            field, origins, directions, draws, config, density_noise=density_noise, key=jax.random.key(3)
        )
        return np.asarray(seen.weight, np.float64)[:, 0]

    noise = -np.log1p(-weights(deviation)) / (0.1 / 3) - 3 * 29
    assert abs(noise.mean()) < 4 * deviation * np.sqrt(2.5 / n)
    assert abs(noise.std() / (deviation * np.sqrt(2.5)) - 1) < 0.05
    np.testing.assert_array_equal(weights(0.0), weights(0.0)[0])


def test_noise_depends_on_the_key_and_not_on_the_crop():
    first, again, other = (render(density_noise=1.0, key=jax.random.key(k)) for k in (0, 0, 1))
    np.testing.assert_array_equal(first.feature, again.feature)
    assert recipe.relative_error(other.feature, first.feature) > 1e-3
    empty = render(dataclasses.replace(CONFIG, crop_margin=0.5), density_noise=50.0, key=jax.random.key(0))
    assert not np.any(empty.weight)


def test_draws():
    coarse, fine = draw_uniforms(None, (5,), CONFIG)
    np.testing.assert_array_equal(coarse, np.full((5, 8), 0.5))
    np.testing.assert_allclose(fine, np.broadcast_to((np.arange(8) + 0.5) / 8, (5, 8)))
    coarse, fine = draw_uniforms(jax.random.key(0), (5,), CONFIG)
    assert coarse.shape == fine.shape == (5, 8)
    for draws in (coarse, fine):
        assert (np.asarray(draws) >= 0).all() and (np.asarray(draws) < 1).all()
    assert not np.array_equal(coarse, fine)
    none = dataclasses.replace(CONFIG, importance_samples=0)
    assert draw_uniforms(None, (5,), none)[1].shape == (5, 0)


def test_jit_is_eager_and_batches_are_vmaps():
    origins, directions = rays(n=2)
    draws = uniforms(lead=(2,))
    eager = render_rays(blob, origins, directions, draws, CONFIG)
    jitted = jax.jit(lambda *args: render_rays(blob, *args, CONFIG))(origins, directions, draws)
    mapped = jax.jit(jax.vmap(lambda *args: render_rays(blob, *args, CONFIG)))(origins, directions, draws)
    for got in (jitted, mapped):
        np.testing.assert_allclose(got.feature, eager.feature, atol=1e-5)
        np.testing.assert_allclose(got.weight, eager.weight, atol=1e-5)
    np.testing.assert_allclose(jitted.depth, eager.depth, atol=1e-5)


def test_empty_space_is_finite():
    """Values and gradients, where no ray hits anything."""

    def loss(density):
        seen = render(field=lambda p: (density * jnp.ones(p.shape[:-1]), p))
        return jnp.sum(seen.feature) + jnp.sum(seen.depth), seen

    (_, seen), gradient = jax.value_and_grad(loss, has_aux=True)(jnp.float32(-1000.0))
    assert not np.any(seen.weight) and np.isfinite(seen.depth).all() and np.isfinite(gradient)
    assert np.asarray(seen.depth).max() <= 3.3 + (3.3 - 2.25) / (CONFIG.depth_samples - 1) + 1e-5
