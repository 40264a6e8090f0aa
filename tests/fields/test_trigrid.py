"""Tri-grid lookups against a loop over points, planes and corners."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe

from panojax.fields.trigrid import (
    PLANE_AXES,
    TriGrid,
    image_from_planes,
    planes_from_image,
    sample_planes,
    sample_trigrid,
    select_trigrid,
    texel_order,
)

SHAPE = (3, 3, 6, 5)


def planes(depth=3, name="planes"):
    return jnp.asarray(recipe.normal(f"trigrid/{name}", (3, depth, 6, 5, 4)))


def points(n=60):
    """Most within the box, some outside, and some exactly on corners, faces and texel centres."""
    inner = 2.4 * recipe.uniform("trigrid/points", (n, 3)) - 1.2
    return np.concatenate([inner, [[0, 0, 0], [-1, -1, -1], [1, 1, 1], [1, 0, -1], [2, 0, 0]]]).astype(np.float32)


def lookup(plane, u, v, w):
    """Trilinear value of one plane [D, H, W, C] at u, v, w in [-1, 1]: half-pixel centres, zeros outside."""
    depth, height, width, channels = plane.shape
    x, y, z = ((a + 1) * n / 2 - 0.5 for a, n in ((u, width), (v, height), (w, depth)))
    value = np.zeros(channels)
    for k in range(depth):
        for i in range(height):
            for j in range(width):
                weight = max(0, 1 - abs(x - j)) * max(0, 1 - abs(y - i)) * max(0, 1 - abs(z - k))
                value += weight * plane[k, i, j].astype(np.float64)
    return value


def bilinear(plane, u, v, w):
    """The same without depth: every w reads the only slice."""
    thick = np.repeat(plane, 2, axis=0)
    return lookup(thick, u, v, 0.0)


def twin(planes, points, axes, one=lookup):
    """[3, M, C]: each plane's lookup of its own order of the coordinates."""
    planes, points = np.asarray(planes), points.astype(np.float64)
    return np.stack([[one(plane, *p[list(order)]) for p in points] for plane, order in zip(planes, axes)])


@pytest.mark.parametrize("axes", PLANE_AXES.values(), ids=PLANE_AXES)
def test_trilinear_lookup(axes):
    want = twin(planes(), points(), axes)
    assert recipe.relative_error(sample_planes(planes(), points(), axes), want) < 1e-6
    assert recipe.relative_error(sample_trigrid(planes(), points(), axes), want.mean(0)) < 1e-6


def test_one_slice_with_depth_interpolation_fades_to_zero():
    """PanoHead's D = 1: the third coordinate fades the only slice out, as grid_sample with zeros outside does."""
    axes = PLANE_AXES["panohead"]
    got = sample_planes(planes(1), points(), axes)
    assert recipe.relative_error(got, twin(planes(1), points(), axes)) < 1e-6
    middle = sample_planes(planes(1), np.array([[0.1, 0.2, 0.0], [0.1, 0.2, 1.0]], np.float32), axes)
    np.testing.assert_allclose(middle[0, 1], middle[0, 0] / 2, rtol=1e-5)


def test_one_slice_without_depth_interpolation_ignores_the_third_coordinate():
    """EG3D's tri-planes."""
    axes = PLANE_AXES["eg3d"]
    got = sample_planes(planes(1), points(), axes, depth_interpolation=False)
    assert recipe.relative_error(got, twin(planes(1), points(), axes, bilinear)) < 1e-6


def test_far_points_are_zero():
    far = np.array([[5, 5, 5], [-5, -5, -5], [0, 0, 5e4], [1e9, 1e9, -1e9]], np.float32)
    assert not np.any(sample_planes(planes(), far, PLANE_AXES["panohead"]))


def test_lookup_chooses_per_plane_where_visible_is_not_zero():
    axes = PLANE_AXES["panohead"]
    visible = planes() * (recipe.uniform("trigrid/seen", SHAPE) > 0.6)[..., None]
    occluded = planes(name="occluded")
    seen, hidden = twin(visible, points(), axes), twin(occluded, points(), axes)
    want = np.zeros(seen.shape)
    for index in np.ndindex(*seen.shape):
        want[index] = seen[index] if seen[index] != 0 else hidden[index]
    assert 0.05 < np.mean((seen == 0) & (hidden != 0)) < 0.9
    assert recipe.relative_error(select_trigrid(visible, occluded, points(), axes), want.mean(0)) < 1e-6


def test_planes_and_image_round_trip():
    """Channel order: plane, feature, slice."""
    image = np.arange(2 * 2 * 2 * 18, dtype=np.float32).reshape(2, 2, 2, 18)
    got = planes_from_image(jnp.asarray(image), depth=3)
    assert got.shape == (2, 3, 3, 2, 2, 2)
    for plane, feature, depth in np.ndindex(3, 2, 3):
        np.testing.assert_array_equal(got[:, plane, depth, :, :, feature], image[..., plane * 6 + feature * 3 + depth])
    np.testing.assert_array_equal(image_from_planes(got), image)
    ordered = jnp.asarray(image[..., texel_order(18, 3)])
    np.testing.assert_array_equal(planes_from_image(ordered, depth=3, by_texel=True), got)


def test_gradients_reach_the_corners_only():
    """The gradient into the planes is the corners' weights, and sums to one per plane and point within."""
    axes, point = PLANE_AXES["panohead"], jnp.array([[0.1, -0.3, 0.2]])
    total = lambda p: jnp.sum(sample_planes(p, point, axes)[..., 0])  # noqa: E731
    gradient = np.asarray(jax.jit(jax.grad(total))(jnp.asarray(planes())))
    np.testing.assert_allclose(gradient.sum((1, 2, 3)), [[1, 0, 0, 0]] * 3, atol=1e-6)
    assert np.count_nonzero(gradient) == 3 * 8
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(sample_trigrid(planes(), x, axes))))(jnp.asarray(points()))
    assert np.isfinite(gradient).all()


def test_jit_and_low_precision():
    axes = PLANE_AXES["panohead"]
    eager = sample_trigrid(planes(), points(), axes)
    jitted = jax.jit(lambda p, x: sample_trigrid(p, x, axes))
    assert recipe.relative_error(jitted(planes(), points()), eager) < 1e-6
    low = jitted(jnp.asarray(planes(), jnp.bfloat16), points())
    assert low.dtype == jnp.float32  # only the planes are stored low
    assert recipe.relative_error(low, eager) < 1e-2


@pytest.mark.parametrize("shape", ["ellipsoid", "box"])
@pytest.mark.parametrize("name", ["panohead", "mirrored", "oblique"])
def test_the_shadow_of_a_solid_on_planes_of_any_axes(name, shape):
    """Texels that points of the solid fall on; of an oblique box, the rectangle around them."""
    axes = PLANE_AXES["panohead"]
    if name != "panohead":
        turned = -np.eye(3)[::-1] if name == "mirrored" else np.linalg.qr(recipe.normal("shadow", (3, 3)))[0]
        axes = (*axes[:2], tuple(tuple(map(float, row)) for row in turned))
    grid = TriGrid(size=32, depth=1, width=1, axes=axes)
    centre, radii = np.float32([0.1, -0.2, 0.15]), np.float32([0.4, 0.25, 0.3])
    points = np.random.default_rng(0).uniform(-1, 1, (200_000, 3))
    if shape == "ellipsoid":
        points = points[(points**2).sum(axis=1) <= 1]
    points = centre + radii * points
    for along, shadow in zip(axes, np.asarray(grid.solid_area(centre, radii, shape))):
        rows = np.eye(3)[list(along)] if isinstance(along[0], int) else np.asarray(along)
        column, line = (np.floor((points @ row + 1) * 16).astype(int) for row in rows[:2])
        hit = np.zeros((32, 32), bool)
        hit[line, column] = True
        inner = hit[1:-1, 1:-1] & hit[:-2, 1:-1] & hit[2:, 1:-1] & hit[1:-1, :-2] & hit[1:-1, 2:]
        assert not np.any(shadow & ~hit) or (name == "oblique" and shape == "box")
        assert shadow[1:-1, 1:-1][inner].all()
