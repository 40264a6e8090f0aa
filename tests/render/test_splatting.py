"""Differentiable splatting against the slow splatter of the tests, and its gradients against differences."""

import jax
import numpy as np
import pytest
from export_scene import splat as slow_splat
from in_double import in_double
from scipy.spatial.transform import Rotation

from panojax.camera import look_at
from panojax.render import splatting
from panojax.render.splatting import Gaussians, splat, tile_capacity

LABEL = np.asarray(look_at(0.4, 0.2))


def gaussians(count, seed=0, deviation=(0.004, 0.02)):
    rng = np.random.default_rng(seed)
    arrays = Gaussians(
        means=rng.uniform(-0.3, 0.3, (count, 3)),
        log_scales=np.log(rng.uniform(*deviation, (count, 3))),
        rotations=rng.normal(size=(count, 4)),
        f_dc=rng.normal(size=(count, 3)),
        slopes=0.1 * rng.normal(size=(count, 3, 3)),
        logits=rng.normal(size=count) + 1,
    )
    return jax.tree.map(np.float32, arrays)


def as_3dgs(g, label):
    """Centres, covariances, colours and opacities, for the slow splatter."""
    axes = Rotation.from_quat(g.rotations, scalar_first=True).as_matrix() * np.exp(g.log_scales)[:, None]
    towards = g.means - label[[3, 7, 11]]
    towards /= np.linalg.norm(towards, axis=-1, keepdims=True)
    colours = 0.5 + 0.28209479177387814 * g.f_dc + np.einsum("kcd,kd->kc", g.slopes, towards)
    return g.means, axes @ axes.transpose(0, 2, 1), np.maximum(colours, 0), 1 / (1 + np.exp(-g.logits))


@pytest.mark.parametrize("side", [64, 40])
def test_against_the_slow_splatter(side):
    """To what Gaussians add below 1/255, and beyond three deviations."""
    g = gaussians(300)
    picture, cover = splat(g, LABEL, side, 300)
    want = slow_splat(*as_3dgs(g, LABEL), LABEL, side, behind=0, low_pass=splatting.LOW_PASS)
    assert picture.shape == (side, side, 3) and np.abs(picture - want).max() < 0.02
    assert np.abs(picture - want).mean() < 0.002 < 0.05 < want.mean()
    white = slow_splat(*as_3dgs(g, LABEL), LABEL, side, behind=1, low_pass=splatting.LOW_PASS)
    np.testing.assert_allclose(cover, 1 - (white - want)[..., 0], atol=0.03)


def test_the_nearest_are_kept():
    """Where a tile holds fewer than reach it, the far ones are left out: behind an opaque wall nothing changes."""
    label = np.asarray(look_at(0.0, 0.0))
    grid = np.stack([*np.meshgrid(np.linspace(-0.1, 0.1, 9), np.linspace(-0.1, 0.1, 9)), np.full((9, 9), 0.2)], -1)
    wall = gaussians(81).replace(means=np.float32(grid.reshape(-1, 3)), logits=np.full(81, 8, np.float32))
    wall = wall.replace(log_scales=np.full((81, 3), np.log(0.02), np.float32))
    behind = gaussians(200, seed=2)
    behind = behind.replace(means=behind.means * np.float32([0.2, 0.2, 0.2]) - np.float32([0, 0, 0.2]))
    both = jax.tree.map(lambda a, b: np.concatenate([a, b]), behind, wall)
    middle = slice(28, 36)
    all_of_them, few = (splat(both, label, 64, capacity)[0][middle, middle] for capacity in (281, 90))
    np.testing.assert_allclose(few, all_of_them, atol=1e-3)
    assert tile_capacity(40_000, 256) == 320 and tile_capacity(10, 256) == 10


def test_gradients():
    """Along random directions of each kind of number, against differences in float64."""
    g = gaussians(12, seed=3, deviation=(0.03, 0.05))
    weights = np.random.default_rng(4).normal(size=(32, 32, 4)).astype(np.float32)

    def loss(g):
        picture, cover = splat(g, LABEL, 32, 12)
        return (picture * weights[..., :3]).sum() + (cover * weights[..., 3]).sum()

    value, gradient = in_double(loss), in_double(jax.grad(loss))(g)
    rng, step = np.random.default_rng(5), 1e-6
    for name in ("means", "log_scales", "rotations", "f_dc", "slopes", "logits"):
        at, by = np.float64(getattr(g, name)), getattr(gradient, name)
        direction = rng.normal(size=at.shape)
        ends = [value(g.replace(**{name: at + sign * step * direction})) for sign in (1, -1)]
        difference = (float(ends[0]) - float(ends[1])) / (2 * step)
        assert abs(difference - np.vdot(by, direction)) < 1e-4 * np.linalg.norm(by) * np.linalg.norm(direction), name
        assert np.linalg.norm(by) > 0
