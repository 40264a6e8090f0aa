"""Posed pictures: nerfstudio's and COLMAP's conventions, read by their own definitions and by pycolmap."""

import dataclasses
import json

import numpy as np
import plyfile
import pytest
from export_scene import ball_surface, ball_views, colour
from PIL import Image
from scipy.spatial.transform import Rotation

from panojax.errors import InputError
from panojax.export import sample_surface, write_colmap, write_transforms
from panojax.export.posed import rgba, straight_colours
from panojax.export.views import Views, project

SIDE = 96


@pytest.fixture(scope="module")
def points():
    return sample_surface(ball_surface(), 60)[0]


@pytest.fixture(scope="module")
def folders(points, tmp_path_factory):
    base = tmp_path_factory.mktemp("posed")
    for name, write in (("transforms", write_transforms), ("colmap", write_colmap)):
        (base / name).mkdir()
        write(base / name, ball_views(), points, colour(points))
    return base


def check_picture(path, pixels, towards, points):
    """The points that face the camera have their colours at their pixels, and the corners are transparent."""
    image = np.asarray(Image.open(path))
    assert image.shape == (SIDE, SIDE, 4)
    assert image[0, 0, 3] == 0 and image[SIDE // 2, SIDE // 2, 3] == 255
    facing = np.sum(towards * points, -1) > 0.5 * np.linalg.norm(towards, axis=-1) * np.linalg.norm(points, axis=-1)
    columns, rows = np.floor(pixels[facing]).astype(int).T
    assert facing.sum() > 8
    np.testing.assert_allclose(image[rows, columns, :3], colour(points[facing]), atol=9)  # a pixel away is 6 more


def test_transforms_reproject(folders, points):
    record = json.loads((folders / "transforms" / "transforms.json").read_text())
    assert (record["w"], record["h"], record["camera_model"]) == (SIDE, SIDE, "OPENCV")
    assert record["camera_angle_x"] == pytest.approx(2 * np.arctan(SIDE / 2 / record["fl_x"]))
    assert len(record["frames"]) == 12
    for label, frame in zip(ball_views().labels, record["frames"]):
        cam2world = np.array(frame["transform_matrix"])
        x, y, z = np.linalg.inv(cam2world[:3, :3]) @ (points - cam2world[:3, 3]).T
        assert (z < 0).all()  # OpenGL looks along -z
        pixels = np.stack([record["cx"] + record["fl_x"] * x / -z, record["cy"] - record["fl_y"] * y / -z], -1)
        np.testing.assert_allclose(pixels, SIDE * project(points, label)[0], atol=1e-3)
        check_picture(folders / "transforms" / frame["file_path"], pixels, cam2world[:3, 3] - points, points)
    cloud = plyfile.PlyData.read(folders / "transforms" / record["ply_file_path"])["vertex"]
    np.testing.assert_allclose(np.stack([cloud[a] for a in "xyz"], -1), points, atol=1e-6)
    np.testing.assert_allclose(np.stack([cloud[a] for a in ("red", "green", "blue")], -1), colour(points), atol=0.51)


def lines(path):
    return [line for line in path.read_text().split("\n") if not line.startswith("#")]


def test_colmap_reprojects(folders, points):
    """By COLMAP's description of its text format: poses are world to camera, two lines a picture."""
    model = folders / "colmap" / "sparse" / "0"
    number, kind, width, height, *lens = lines(model / "cameras.txt")[0].split()
    assert (number, kind, width, height) == ("1", "PINHOLE", str(SIDE), str(SIDE))
    fx, fy, cx, cy = map(float, lens)
    rows = lines(model / "images.txt")
    assert rows[1::2][:12] == [""] * 12  # no observations
    for row in rows[0:24:2]:
        _, *pose, camera, name = row.split()
        quaternion, translation = np.array(pose[:4], float), np.array(pose[4:], float)
        assert camera == "1" and len(translation) == 3
        rotation = Rotation.from_quat(quaternion, scalar_first=True).as_matrix()
        x, y, z = (points @ rotation.T + translation).T
        assert (z > 0).all()
        pixels = np.stack([fx * x / z + cx, fy * y / z + cy], -1)
        check_picture(folders / "colmap" / "images" / name, pixels, -rotation.T @ translation - points, points)
    table = np.array([line.split() for line in lines(model / "points3D.txt") if line], float)
    np.testing.assert_allclose(table[:, 1:4], points, atol=1e-6)
    np.testing.assert_allclose(table[:, 4:7], colour(points), atol=0.51)


def test_pycolmap_opens_it(folders, points):
    pycolmap = pytest.importorskip("pycolmap", reason="pycolmap, 135 MB, is not among the test packages")
    model = pycolmap.Reconstruction(str(folders / "colmap" / "sparse" / "0"))
    assert len(model.images) == 12 and len(model.points3D) == len(points)
    for number, image in model.images.items():
        expected = SIDE * project(points, ball_views().labels[number - 1])[0]
        found = np.stack([image.project_point(point) for point in points])
        np.testing.assert_allclose(found, expected, atol=1e-3)


def test_refuses_cameras_of_several_kinds(points, tmp_path):
    labels = ball_views().labels.copy()
    labels[1, 16] *= 1.1
    with pytest.raises(InputError, match="cameras must share their intrinsics"):
        write_transforms(tmp_path, dataclasses.replace(ball_views(), labels=labels), points, colour(points))


@pytest.mark.parametrize("background", [255.0, None])
def test_colours_are_straight_where_alpha_fades(background):
    """A dark disc whose rim fades before white has its own colour there: no pale halo on another background."""
    x = np.linspace(-1, 1, 64)
    alpha = np.clip(6 - 8 * np.hypot(*np.meshgrid(x, x)), 0, 1).astype(np.float32)
    own = np.array([60.0, 30, 20])
    image = np.round(own * alpha[..., None] + 255 * (1 - alpha[..., None])).astype(np.uint8)
    found = rgba(image, alpha, background)
    rim = (alpha > 0.02) & (alpha < 0.98)
    assert rim.sum() > 100
    assert np.abs(found[rim][:, :3].astype(float) - own).max() <= (4 if background else 25)
    np.testing.assert_array_equal(found[..., 3], np.round(255 * alpha))
    solid = alpha == 1
    np.testing.assert_array_equal(found[solid][:, :3], image[solid])
    np.testing.assert_array_equal(straight_colours(image * 1.0, np.zeros((64, 64)), background), image)


def test_pictures_of_another_size():
    views = ball_views()
    small = views.resized(48)
    assert small.images.shape == (len(views.images), 48, 48, 3) and views.resized(SIDE) is views
    assert np.abs(small.images[0][24, 24].astype(int) - views.images[0][48, 48]).max() < 12
    assert isinstance(small, Views) and small.opacity is views.opacity
