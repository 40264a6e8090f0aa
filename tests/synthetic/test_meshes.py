import gzip

import numpy as np
import pytest

from panojax.errors import InputError
from panojax.synthetic import meshes

OBJ = """
v 0 0 0
v 1 0 0
v 1 1 0
v 0 1 0
vt 0 0
vt 1 0
vt 1 1
vt 0 1
vt 0.5 0.5
g body
f 1/1 2/2 3/3 4/4
g helper
f 1/5 2/2 3/3
"""


def test_obj_splits_quads_and_groups():
    body = meshes.parse_obj(OBJ)
    assert body.positions.shape == (4, 3)
    quad = body.groups["body"]
    assert quad.triangles.shape == (2, 3)
    np.testing.assert_array_equal(np.sort(quad.vertices), [0, 1, 2, 3])
    np.testing.assert_allclose(quad.uv[quad.triangles[0]], [[0, 0], [1, 0], [1, 1]])
    seam = body.groups["helper"]
    np.testing.assert_allclose(seam.uv[seam.triangles[0, 0]], [0.5, 0.5])


def test_obj_needs_texture_coordinates():
    with pytest.raises(InputError, match="texture coordinates"):
        meshes.parse_obj("v 0 0 0\nf 1 1 1\n")


def test_target_lines(tmp_path):
    text = "# comment\n3 .5 -.001 0\n\n7 1 2 3\n"
    for path, content in (
        (tmp_path / "a.target", text.encode()),
        (tmp_path / "a.target.gz", gzip.compress(text.encode())),
    ):
        path.write_bytes(content)
        vertices, moves = meshes.read_target(path)
        np.testing.assert_array_equal(vertices, [3, 7])
        np.testing.assert_allclose(moves, [[0.5, -0.001, 0], [1, 2, 3]])
    with pytest.raises(InputError, match="lines of 4 numbers"):
        meshes.parse_target("1 2 3\n")
    with pytest.raises(InputError, match=r"got .*none\.target"):
        meshes.read_target(tmp_path / "none.target")


def test_three_faces_skip_what_the_mask_announces():
    quad = [1 | 2 | 8, 10, 11, 12, 13, 99, 0, 1, 2, 3]  # quad, material, vertex uvs
    triangle = [8 | 32 | 128, 20, 21, 22, 4, 5, 6, 70, 71, 72, 80, 81, 82]  # vertex uvs, normals, colours
    vertices, coordinates = meshes.parse_three_faces(quad + triangle)
    np.testing.assert_array_equal(vertices, [[10, 11, 12], [10, 12, 13], [20, 21, 22]])
    np.testing.assert_array_equal(coordinates, [[0, 1, 2], [0, 2, 3], [4, 5, 6]])


@pytest.mark.parametrize(("faces", "said"), [([0, 1, 2, 3], "bit 8"), ([8, 1, 2, 3, 0], "whole face")])
def test_three_faces_refuse(faces, said):
    with pytest.raises(InputError, match=said):
        meshes.parse_three_faces(faces)


def test_proxy_fits_by_weights_and_scaled_offsets():
    data = {
        "faces": [8, 0, 1, 2, 0, 1, 2],
        "uvs": [[0, 0, 1, 0, 1, 1]],
        "ref_vIdxs": [[0, 1, 2]] * 3,
        "weights": [[1, 0, 0], [0.5, 0.5, 0], [0.25, 0.25, 0.5]],
        "offsets": [[0, 0, 0], [1, 1, 1], [0, 0, 2]],
    }
    proxy = meshes.parse_proxy("short04", data)
    rng = np.random.default_rng(0)
    positions = rng.normal(size=(12000, 3)).astype(np.float32)
    for axis, (a, b) in enumerate(meshes.SCALE_PAIRS):  # twice as large as the human it was made on
        positions[a, axis], positions[b, axis] = 0, -2 * meshes.MADE_ON_BASE[axis]
    a, b, c = positions[:3]
    expected = [a, (a + b) / 2 + 2, a / 4 + b / 4 + c / 2 + [0, 0, 4]]
    np.testing.assert_allclose(meshes.fit_proxy(proxy, positions), expected, atol=1e-5)
    del data["weights"]
    with pytest.raises(InputError, match=r"missing: \['weights'\]"):
        meshes.parse_proxy("short04", data)


def test_normals_are_shared_across_seams():
    body = meshes.parse_obj(OBJ.replace("v 1 1 0", "v 1 1 1"))
    surface = body.groups["body"]
    normals = meshes.surface_normals(body.positions, surface)
    faces = np.cross([1, 0, 0], [1, 1, 1]), np.cross([1, 1, 1], [0, 1, 0])
    mean = sum(faces) / np.linalg.norm(sum(faces))
    corner = np.flatnonzero(surface.vertices == 0)[0]
    np.testing.assert_allclose(normals[corner], mean, atol=1e-6)


def test_small_pieces_are_dropped():
    strip = np.array([[0, 1, 2], [1, 2, 3], [3, 4, 2], [10, 11, 12]], np.int32)
    surface = meshes.make_surface(strip, strip, np.zeros((13, 2), np.float32))
    left = meshes.drop_pieces(surface, 4)
    np.testing.assert_array_equal(left.vertices[left.triangles], strip[:3])
    assert len(meshes.drop_pieces(surface, 0).triangles) == 4
