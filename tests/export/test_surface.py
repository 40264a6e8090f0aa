"""Surfaces: simplified, with normals, and points spread evenly over them."""

import sys

import numpy as np
import pytest
import trimesh
from export_scene import RADIUS, ball_surface

from panojax.errors import InputError
from panojax.export import closed_surface, sample_surface, simplify
from panojax.export.mesh import Mesh


def ball_mesh():
    ball = ball_surface()
    colours = np.zeros((len(ball.vertices), 3), np.uint8)
    return Mesh(ball.vertices.astype(np.float32), ball.faces.astype(np.int32), colours, 0.0)


def test_normals_and_areas_of_a_ball():
    ball = ball_surface()
    outward = ball.vertices / np.linalg.norm(ball.vertices, axis=-1, keepdims=True)
    assert np.sum(ball.normals * outward, -1).min() > 0.99
    assert ball.areas.sum() == pytest.approx(4 * np.pi * RADIUS**2, rel=0.01)
    np.testing.assert_allclose(ball.areas, trimesh.Trimesh(ball.vertices, ball.faces, process=False).area_faces)


def test_a_vertex_without_triangles_has_some_normal():
    surface = closed_surface([[0, 0, 0], [1, 0, 0], [0, 1, 0], [5, 5, 5]], [[0, 1, 2]])
    np.testing.assert_allclose(np.linalg.norm(surface.normals, axis=-1), 1)


def test_simplify_keeps_the_ball():
    before = ball_mesh()
    after = simplify(before, 600)
    assert len(before.faces) > 2000 and 500 < len(after.faces) <= 600
    np.testing.assert_allclose(np.linalg.norm(after.vertices, axis=-1), RADIUS, rtol=0.03)
    assert trimesh.Trimesh(after.vertices, after.faces, process=False).is_watertight
    np.testing.assert_array_equal(simplify(before, 10_000).faces, before.faces)


def test_samples_lie_evenly_on_the_ball():
    points, normals = sample_surface(ball_surface(), 4000)
    np.testing.assert_allclose(np.linalg.norm(points, axis=-1), RADIUS, rtol=0.01)
    assert np.sum(points * normals, -1).min() > 0.98 * RADIUS
    octants = np.bincount((points > 0) @ (1, 2, 4))
    np.testing.assert_allclose(octants, 500, rtol=0.03)  # random points would be off by 4%
    again, _ = sample_surface(ball_surface(), 4000)
    np.testing.assert_array_equal(points, again)


def test_refuses(monkeypatch):
    with pytest.raises(InputError, match="faces must be 100 to 2000000 triangles, got 3"):
        simplify(ball_mesh(), 3)
    with pytest.raises(InputError, match="count must be at least 1"):
        sample_surface(ball_surface(), 0)
    monkeypatch.setitem(sys.modules, "fast_simplification", None)
    with pytest.raises(InputError, match=r"pip install 'panojax\[export\]'"):
        simplify(ball_mesh(), 600)
