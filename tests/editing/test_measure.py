"""Changes between heads, from pictures made by hand."""

import jax
import jax.numpy as jnp
import numpy as np

import panojax
from panojax import api
from panojax.editing.measure import compare_heads
from panojax.generators.generator import Head


def test_changes_by_hand(params, monkeypatch):
    """Of two cameras, the second sees the heads twice as bright and twice as far."""
    before, after = (Head(jnp.full((1,), value), jnp.zeros((2, 16))) for value in (0.1, 0.3))

    def render(_, head, camera):
        level = head.planes[0] * camera[0]
        weight = jnp.array([[1.0, 1.0], [0.0, 0.0]]).at[1, 1].set(jnp.where(head.planes[0] > 0.2, 1.0, 0.0))[..., None]
        depth = jnp.full((2, 2, 1), 1.0) * level
        return panojax.View(jnp.full((128, 128, 3), level), depth, depth, weight, weight)

    monkeypatch.setattr(api, "render", render)
    cameras = np.zeros((2, 25), np.float32)
    cameras[:, 0] = 1, 2
    where = np.zeros((2, 128, 128), np.float32)
    where[:, :, :64] = 1

    def embed(pictures):
        """The angle of a face is its brightness."""
        angle = pictures.mean((1, 2, 3))
        return 5 * jnp.stack([jnp.cos(angle), jnp.sin(angle)], -1)

    compare = jax.jit(lambda *x: compare_heads(params, *x, where=where, embed=embed))
    found = compare(before, after, cameras)
    np.testing.assert_allclose(found.picture, [0.1, 0.2], rtol=1e-5)  # of a span of 2
    np.testing.assert_allclose(found.depth, [0.2, 0.4], rtol=1e-5)
    np.testing.assert_allclose(found.silhouette, [2 / 3, 2 / 3], rtol=1e-6)
    np.testing.assert_allclose(found.identity, np.cos([0.2, 0.4]), rtol=1e-5)
    same = compare(after, after, cameras)
    assert not same.picture.any() and not same.depth.any() and (same.silhouette == 1).all()
    np.testing.assert_allclose(same.identity, 1, rtol=1e-6)
