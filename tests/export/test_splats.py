"""Gaussian splats: the file read back by plyfile, and splatted."""

import numpy as np
import plyfile
import pytest
import scenes
from export_scene import GREY, RADIUS, ball_surface, ball_views, colour, smooth_picture, splat
from scipy.spatial.transform import Rotation

from panojax.camera import look_at
from panojax.errors import InputError
from panojax.export import splats_from_surface, write_splats
from panojax.export.splats import towards

COUNT = 3000


@pytest.fixture(scope="module")
def splats():
    return splats_from_surface(ball_surface(), ball_views(), count=COUNT)


def read(path):
    """Centres, covariances, colours in [0, 255] and opacities of a splat file, as 3DGS defines them."""
    table = plyfile.PlyData.read(path)["vertex"]

    def columns(*names):
        return np.stack([np.asarray(table[name], np.float64) for name in names], axis=-1)

    turns = Rotation.from_quat(columns("rot_0", "rot_1", "rot_2", "rot_3"), scalar_first=True).as_matrix()
    scales = np.exp(columns("scale_0", "scale_1", "scale_2"))
    covariances = np.einsum("kij,kj,klj->kil", turns, scales**2, turns)
    colours = 255 * (0.5 + 0.28209479177387814 * columns("f_dc_0", "f_dc_1", "f_dc_2"))
    return columns("x", "y", "z"), covariances, colours, 1 / (1 + np.exp(-columns("opacity")[:, 0])), table


def test_file_has_the_layout_of_3dgs(splats, tmp_path):
    write_splats(splats, tmp_path / "ball.ply", degree=1, y_up=True)
    centres, covariances, colours, opacity, table = read(tmp_path / "ball.ply")
    rest = [f"f_rest_{i}" for i in range(9)]
    names = ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", *rest, "opacity"]
    names += ["scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]
    assert [p.name for p in table.properties] == names
    assert {p.val_dtype for p in table.properties} == {"f4"}
    assert len(table.data) == COUNT
    np.testing.assert_allclose(np.linalg.norm(centres, axis=-1), RADIUS, rtol=0.01)
    assert np.quantile(np.abs(colours - colour(centres)), 0.99) < 4
    np.testing.assert_allclose(opacity, 0.98, atol=1e-5)
    # The thinnest direction of each is the normal.
    sizes, directions = np.linalg.eigh(covariances)
    outward = centres / np.linalg.norm(centres, axis=-1, keepdims=True)
    assert np.abs(np.sum(directions[..., 0] * outward, -1)).min() > 0.98
    assert (sizes[:, 0] < 0.02 * sizes[:, 1]).all()
    assert not any(np.any(table[name]) for name in rest)


def test_splats_look_like_the_pictures(splats, tmp_path):
    write_splats(splats, tmp_path / "ball.ply", y_up=True)
    centres, covariances, colours, opacity, _ = read(tmp_path / "ball.ply")
    label = np.asarray(look_at(0.4, 0.2))
    expected = smooth_picture(label, 48)
    got = splat(centres, covariances, colours, opacity, label, 48)
    from_middle = np.hypot(*(np.mgrid[:48, :48] - 23.5))  # the ball's rim is at 21.3
    inner, outer = from_middle < 17, from_middle > 23
    assert scenes.psnr(got[inner], expected[inner], span=255) > 34
    # Discs that are seen from the side stand out over the rim by less than a pixel, and this picture has few.
    assert scenes.psnr(got, expected, span=255) > 20
    np.testing.assert_allclose(got[outer], GREY, atol=0.5)


def test_usual_axes_of_such_files_are_turned_about_x(splats, tmp_path):
    write_splats(splats, tmp_path / "up.ply", y_up=True)
    write_splats(splats, tmp_path / "down.ply")
    up, down = read(tmp_path / "up.ply"), read(tmp_path / "down.ply")
    turn = np.diag([1, -1, -1])
    np.testing.assert_allclose(down[0], up[0] @ turn, atol=1e-6)
    np.testing.assert_allclose(down[1], turn @ up[1] @ turn, atol=1e-9)
    assert len(down[4].properties) == 17


def test_quaternions_turn_z_into_normals():
    normals = np.array([[0, 0, 1], [0, 0, -1], [1, 0, 0], [0, -1, 0], [0.6, 0, -0.8], [0, 1e-7, -1]])
    turned = Rotation.from_quat(towards(normals), scalar_first=True).apply([0, 0, 1])
    np.testing.assert_allclose(turned, normals, atol=1e-6)


def test_refuses(splats, tmp_path):
    with pytest.raises(InputError, match="splats must be 1 to"):
        splats_from_surface(ball_surface(), ball_views(), count=0)
    with pytest.raises(InputError, match=r"must end in \.ply"):
        write_splats(splats, tmp_path / "a.splat")
    with pytest.raises(InputError, match="degree of the spherical harmonics must be 0 to 3, got 4"):
        write_splats(splats, tmp_path / "a.ply", degree=4)
    assert not list(tmp_path.iterdir())
