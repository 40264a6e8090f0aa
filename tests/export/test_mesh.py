"""Meshes: surfaces against spheres, grids and colours against direct queries of the field, files read back."""

import dataclasses
import json
import struct
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trimesh

import panojax
from panojax.export import mesh as meshes
from panojax.export.mesh import Mesh, density_grid, extract_mesh, half_level, largest_piece, surface_at, write_mesh
from panojax.generators.generator import finish, query_field
from panojax.params import random_params, tiny
from panojax.render.renderer import Rendered

RESOLUTION = 56  # 175,616 points: one chunk and a part


@pytest.fixture(scope="module")
def params():
    return random_params(dataclasses.replace(tiny(), encoder=None))


@pytest.fixture(scope="module")
def head(params):
    return jax.jit(panojax.generate)(params, jax.random.normal(jax.random.key(3), (64,)))


@pytest.fixture(scope="module")
def mesh(params, head):
    return extract_mesh(params, head, resolution=RESOLUTION)


@jax.jit
def field(params, head, points):
    """Densities [M] and colour features [M, C] of points [M, 3]."""
    return query_field(params.config.generator, params.generator, head, points)


def ball(resolution, centre, radius):
    """Densities [R, R, R] that fall by 4 a grid step through 0 at a sphere; all in grid steps."""
    index = np.stack(np.mgrid[:resolution, :resolution, :resolution], -1)
    return (4 * (radius - np.linalg.norm(index - np.array(centre), axis=-1))).astype(np.float32)


def as_trimesh(vertices, faces):
    return trimesh.Trimesh(vertices, faces, process=False)


def test_surface_of_a_ball():
    vertices, faces = surface_at(ball(32, (15.0, 14.0, 17.0), 10.0), 0.0)
    np.testing.assert_allclose(np.linalg.norm(vertices - (15, 14, 17), axis=-1), 10, atol=0.05)
    shape = as_trimesh(vertices, faces)
    assert shape.is_watertight and shape.is_winding_consistent
    assert shape.volume == pytest.approx(4 / 3 * np.pi * 1000, rel=0.01)  # positive: triangles face outward


def test_surface_is_closed_where_it_meets_the_grid():
    vertices, faces = surface_at(ball(16, (0.0, 8.0, 8.0), 6.0), 0.0)
    assert as_trimesh(vertices, faces).is_watertight
    assert vertices[:, 0].min() >= -1


def test_largest_piece_drops_the_smaller_ball():
    big, small = ball(40, (12.0, 12.0, 12.0), 9.0), ball(40, (31.0, 31.0, 31.0), 4.0)
    both = surface_at(np.maximum(big, small), 0.0)
    alone = surface_at(big, 0.0)
    vertices, faces = largest_piece(*both)
    assert len(both[0]) > len(vertices) == len(alone[0])
    np.testing.assert_allclose(np.linalg.norm(vertices - 12, axis=-1), 9, atol=0.06)
    assert as_trimesh(vertices, faces).is_watertight
    assert len(faces) == len(alone[1])


def test_grid_is_the_field_at_the_centres_of_cells(params, head):
    grid = density_grid(params, head, RESOLUTION)
    rng = np.random.default_rng(0)
    index = np.concatenate([rng.integers(0, RESOLUTION, (200, 3)), [[0, 0, 0], [RESOLUTION - 1] * 3, [28, 0, 28]]])
    points = (index + 0.5) / RESOLUTION - 0.5
    densities, _ = field(params, head, jnp.asarray(points, jnp.float32))
    outside = (np.abs(points[:, 0]) > 0.4) | (np.abs(points[:, 2]) > 0.4)
    assert 20 < outside.sum() < 180
    expected = np.where(outside, -1000, densities)
    np.testing.assert_allclose(grid[tuple(index.T)], expected, atol=1e-4)


def test_mesh_lies_where_the_field_has_its_level(params, head):
    grid = density_grid(params, head, RESOLUTION)
    level = float(np.quantile(grid[grid > -1000], 0.7))
    mesh = extract_mesh(params, head, resolution=RESOLUTION, level=level)
    densities, _ = field(params, head, jnp.asarray(mesh.vertices))
    inside = (np.abs(mesh.vertices[:, [0, 2]]) < 0.38).all(-1) & (np.abs(mesh.vertices[:, 1]) < 0.48)
    assert inside.sum() > 500
    # Between grid points the surface is interpolated linearly, and random fields are rough.
    assert np.median(np.abs(np.asarray(densities) - level)[inside]) < 0.1
    assert np.abs(mesh.vertices[:, [0, 2]]).max() < 0.4 + 1 / RESOLUTION
    assert as_trimesh(mesh.vertices, mesh.faces).is_watertight
    assert as_trimesh(mesh.vertices, mesh.faces).volume > 0
    assert (mesh.vertices.dtype, mesh.faces.dtype, mesh.colours.dtype) == (np.float32, np.int32, np.uint8)


def test_colours_are_the_raw_picture_of_opaque_points(params, head, mesh):
    """A ray that is filled by one feature shows the same raw RGB: `finish` is the twin."""
    points = jnp.asarray(mesh.vertices[:64])
    _, feature = field(params, head, points)
    one = jnp.ones((1, 8, 8, 1))
    batch = jax.tree.map(lambda x: x[None], head)
    view = finish(params.config.generator, params.generator, Rendered(feature.reshape(1, 8, 8, -1), one, one), batch)
    expected = np.clip(np.asarray(view.raw).reshape(64, 3) * 127.5 + 127.5, 0, 255)
    np.testing.assert_allclose(mesh.colours[:64], expected, atol=0.51)
    assert len(np.unique(mesh.colours, axis=0)) > 50


def test_colours_of_an_eg3d_model_are_its_first_features():
    config = tiny()
    generator = dataclasses.replace(
        config.generator, raw_to_rgb=False, decoder_activation="sigmoid", background=False, camera_adaptation=False
    )
    params = random_params(dataclasses.replace(config, generator=generator, encoder=None))
    head = jax.jit(panojax.generate)(params, jnp.ones(64))
    points = np.random.default_rng(1).uniform(-0.4, 0.4, (5, 3)).astype(np.float32)
    _, feature = field(params, head, points)
    expected = np.clip((2 * np.asarray(feature[:, :3]) - 1) * 127.5 + 127.5, 0, 255)
    np.testing.assert_allclose(meshes.vertex_colours(params, head, points), expected, atol=0.51)


def test_half_level_halves_the_opacity():
    def opacity(x):
        return np.logaddexp(x - 1, 0)

    for density in (-3.0, 0.0, 3.5, 40.0):
        assert opacity(half_level(density)) == pytest.approx(opacity(density) / 2, rel=1e-9)


def test_default_level(params, head, mesh, monkeypatch):
    grid = density_grid(params, head, RESOLUTION)
    assert mesh.level == pytest.approx(half_level(float(grid.max())))
    monkeypatch.setattr(meshes, "density_grid", lambda *args, **kwargs: 8 * ball(16, (8.0, 8.0, 8.0), 6.0))
    assert extract_mesh(params, head, resolution=16).level == 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resolution": 7}, "8 to 1024"),
        ({"resolution": 2000}, "8 to 1024"),
        ({"level": float("nan")}, "finite"),
        ({"level": 1e6}, "there is no surface"),
    ],
)
def test_extract_refuses(params, head, options, message):
    with pytest.raises(panojax.InputError, match=message):
        extract_mesh(params, head, **{"resolution": 16, **options})


def test_extract_refuses_empty_and_broken_heads(params, head):
    emptied = dataclasses.replace(params.config.generator, crop_margin=0.6)
    nothing = params.replace(config=dataclasses.replace(params.config, generator=emptied))
    with pytest.raises(panojax.InputError, match="no density at all"):
        extract_mesh(nothing, head, resolution=16)
    with pytest.raises(panojax.InputError, match="NaN"):
        extract_mesh(params, head.replace(planes=head.planes * jnp.nan), resolution=16)


SMALL = Mesh(
    np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32),
    np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32),
    np.array([[255, 0, 0], [0, 128, 0], [10, 20, 30], [255, 255, 255]], np.uint8),
    10.0,
)


def test_ply_read_back(tmp_path):
    write_mesh(SMALL, tmp_path / "a.ply")
    found = trimesh.load(tmp_path / "a.ply", process=False)
    np.testing.assert_array_equal(found.vertices, SMALL.vertices)
    np.testing.assert_array_equal(found.faces, SMALL.faces)
    np.testing.assert_array_equal(found.visual.vertex_colors[:, :3], SMALL.colours)


def test_glb_read_back_with_linear_colours_that_are_not_shaded(tmp_path):
    write_mesh(SMALL, tmp_path / "a.GLB")
    data = (tmp_path / "a.GLB").read_bytes()
    size = struct.unpack_from("<I", data, 12)[0]
    tree, binary = json.loads(data[20 : 20 + size]), data[28 + size :]
    assert tree["extensionsUsed"] == ["KHR_materials_unlit"]
    [primitive] = tree["meshes"][0]["primitives"]
    assert tree["materials"][primitive["material"]]["extensions"] == {"KHR_materials_unlit": {}}
    accessor = tree["accessors"][primitive["attributes"]["COLOR_0"]]
    start = tree["bufferViews"][accessor["bufferView"]]["byteOffset"]
    colours = np.frombuffer(binary, np.uint8, 16, start).reshape(4, 4)
    # sRGB 128 is 0.2158 in linear light, 30 is 0.0130.
    assert colours.tolist() == [[255, 0, 0, 255], [0, 55, 0, 255], [1, 2, 3, 255], [255, 255, 255, 255]]
    found = trimesh.load(tmp_path / "a.GLB", force="mesh", process=False)
    np.testing.assert_allclose(found.vertices, SMALL.vertices)
    assert found.volume == pytest.approx(1 / 6)


def test_write_refuses(tmp_path, monkeypatch):
    with pytest.raises(panojax.InputError, match=r"must end in \.ply or \.glb"):
        write_mesh(SMALL, tmp_path / "a.obj")
    (tmp_path / "a.ply").write_bytes(b"mine")
    with pytest.raises(panojax.InputError, match="must not exist yet"):
        write_mesh(SMALL, tmp_path / "a.ply")
    assert (tmp_path / "a.ply").read_bytes() == b"mine"
    monkeypatch.setitem(sys.modules, "trimesh", None)
    with pytest.raises(panojax.InputError, match=r"pip install 'panojax\[export\]'"):
        write_mesh(SMALL, tmp_path / "b.ply")
    assert [path.name for path in tmp_path.iterdir()] == ["a.ply"]
