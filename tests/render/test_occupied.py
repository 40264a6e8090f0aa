"""Empty space is not looked into, and pictures stay as they are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from export_scene import bar_head, bar_params

import panojax
from panojax import api
from panojax.export import turntable
from panojax.render import occupied
from panojax.render.occupied import in_occupied, look_up_kept, occupied_cells
from panojax.render.renderer import EMPTY

RNG = np.random.RandomState(0)


@pytest.mark.parametrize("kept", ["none", "all", "one", "last", "block", "half"])
def test_kept_points_have_the_fields_values(monkeypatch, kept):
    """However many there are: none, a block to the point, one that does not fill the last block."""
    monkeypatch.setattr(occupied, "BLOCK", 16)
    points = RNG.standard_normal((70, 3)).astype(np.float32)
    masks = {"none": [], "all": range(70), "one": [3], "last": [69], "block": range(5, 37), "half": range(0, 70, 2)}
    keep = np.isin(np.arange(70), list(masks[kept]))
    calls = []

    def field(x):
        jax.debug.callback(lambda: calls.append(1))
        return jnp.sum(x, axis=-1), jnp.stack([x[:, 0], x[:, 1] ** 2], axis=-1)

    densities, colours = jax.jit(lambda p, k: look_up_kept(field, p, k, EMPTY))(points, keep)
    jax.effects_barrier()
    assert len(calls) == -(-keep.sum() // 16)
    np.testing.assert_allclose(densities, np.where(keep, points.sum(-1), EMPTY), rtol=1e-6)
    expected = np.stack([points[:, 0], points[:, 1] ** 2], axis=-1) * keep[:, None]
    np.testing.assert_allclose(colours, expected, rtol=1e-6)


def test_cells_of_a_ball():
    """Those that it touches and their neighbours; none far from it. Axes are x, y and z."""
    middle = np.array([0.4, -0.2, 0.1], np.float32)

    def density(points):
        return jnp.where(jnp.linalg.norm(points - middle, axis=-1) < 0.25, 20.0, -20.0)

    cells = np.asarray(occupied_cells(density, box_warp=2.0, cells=20))
    places = (np.indices((20, 20, 20)) + 0.5) / 10 - 1
    distance = np.linalg.norm(places - middle[:, None, None, None], axis=0)
    assert cells[distance < 0.25].all() and not cells[distance > 0.25 + 2 * 0.1 * 3**0.5].any()
    assert 0 < cells.mean() < 0.1
    np.testing.assert_array_equal(in_occupied(cells, jnp.asarray(places.reshape(3, -1).T), 2.0), cells.ravel())
    outside = np.float32(
        [[1.01, 0, 0], [0, -1.01, 0], [8, 8, 8]]
    )  # no cell tells of those; the renderer does of the last
    none = np.zeros((20, 20, 20), bool)
    assert in_occupied(none, outside, 2.0).tolist() == in_occupied(~none, outside, 2.0).tolist() == [True, True, False]


def test_views_stay_as_they_are():
    """The bar from four sides and above, one head or two in a batch; under `vmap` over cameras."""
    params, head = bar_params(), bar_head()
    cells = api.occupied_cells(params, head)
    assert 0.02 < float(cells.mean()) < 0.6
    cameras = np.stack(
        [np.asarray(panojax.look_at(yaw, pitch)) for yaw, pitch in ((0.0, 0.0), (1.6, 0.3), (3.0, -0.4))]
    )
    plain = jax.vmap(lambda camera: panojax.render(params, head, camera))(cameras)
    render = jax.jit(lambda camera: panojax.render(params, head, camera, occupied=cells))
    for i, camera in enumerate(cameras):
        view = render(camera)
        np.testing.assert_allclose(view.image, plain.image[i], atol=2e-3)
        np.testing.assert_allclose(view.weight, plain.weight[i], atol=1e-3)
    many = jax.vmap(lambda camera: panojax.render(params, head, camera, occupied=cells).image)(cameras)
    np.testing.assert_allclose(many, plain.image, atol=2e-3)


def test_turntables_look_only_where_the_head_is(monkeypatch):
    """For many views on a CPU; a few are rendered as they are."""
    params, head = bar_params(), bar_head()
    found, real = [], turntable.where
    monkeypatch.setattr(turntable, "where", lambda *args: found.append(1) or real(*args))
    cameras = np.asarray(panojax.orbit(turntable.MANY))
    pictures = np.stack(list(turntable.render_views(params, head, cameras)))
    assert found == [1]
    few = np.stack(list(turntable.render_views(params, head, cameras[:2])))
    assert found == [1]
    np.testing.assert_allclose(pictures[:2], few, atol=2e-3)
