"""Labels in another convention are named and converted, by every reader."""

import json
import pathlib

import numpy as np
import pytest
from PIL import Image

from panojax.camera import look_at, mirror, orbit
from panojax.camera_conventions import check_camera, convert_label, from_opengl, from_pixels, from_world_to_camera
from panojax.commands.arguments import read_camera
from panojax.data import eg3d_folder
from panojax.data.photo_reader import list_photos
from panojax.errors import InputError
from panojax.synthetic.cameras import camera_label

TRUE = np.asarray(look_at(0.5, -0.2), np.float64)
FLIP = np.diag([1.0, -1, -1, 1])


def with_matrix(matrix, label=TRUE):
    return np.concatenate([np.asarray(matrix, np.float64).ravel(), label[16:]])


def matrix(label=TRUE):
    return label[:16].reshape(4, 4)


def lens(**values):
    label = TRUE.copy()
    places = {"fx": 16, "skew": 17, "cx": 18, "fy": 20, "cy": 21}
    for name, value in values.items():
        label[places[name]] = value
    return label


def scaled(factor):
    label = TRUE.copy()
    label[[3, 7, 11]] *= factor
    return label


PIXELS = TRUE * np.where(np.isin(np.arange(25), range(16, 22)), 512, 1)
OPENGL, COLMAP = with_matrix(matrix() @ FLIP), with_matrix(np.linalg.inv(matrix()))
FRONT_OPENGL = with_matrix(matrix(np.asarray(look_at(0.0), np.float64)) @ FLIP)
WRONG = {
    "pixels": (PIXELS, "looks like intrinsics in pixels"),
    "opengl": (OPENGL, "looks like OpenGL axes .--camera-convention opengl"),
    "opengl from the front": (FRONT_OPENGL, "looks like OpenGL axes"),
    "opengl and pixels": (np.concatenate([OPENGL[:16], PIXELS[16:]]), "intrinsics in pixels .* and OpenGL axes"),
    "world to camera": (COLMAP, "looks like a world-to-camera matrix .--camera-convention colmap"),
    "world to camera, a little aside": (
        with_matrix(np.linalg.inv(matrix(np.asarray(look_at(0.1), np.float64)))),
        "looks like a world-to-camera matrix",
    ),
    "opengl world to camera": (with_matrix(np.linalg.inv(matrix() @ FLIP)), "a world-to-camera matrix with OpenGL"),
    "millimetres": (scaled(1000), "lengths in millimetres"),
    "centimetres": (scaled(100), "lengths in centimetres"),
    "other lengths": (scaled(7), r"lengths in another unit \(divide the translation by 7\)"),
    "no translation": (scaled(0), "got 0: it looks like a rotation alone"),
    "inside the box": (scaled(0.1), "stand 1.1 to 6.8 from the head's centre"),
    "centre at zero": (lens(cx=0, cy=0), r"principal point .*, got 0: it looks like .*add 0.5"),
    "centre aside": (lens(cx=0.95), "principal point near the picture's middle"),
    "negative focal length": (lens(fy=-4.26), "focal lengths of 0.5 to 40"),
    "skew": (lens(skew=2.0), "without skew"),
    "upside down": (with_matrix(matrix() @ np.diag([-1.0, -1, 1, 1])), "upright, got one that is upside down"),
    "past the head": (np.asarray(look_at(0.3, pivot=(0.9, 0, 0)), np.float64), "looks past its centre by"),
}


@pytest.mark.parametrize("name", WRONG)
def test_labels_of_other_conventions_are_named(name):
    label, message = WRONG[name]
    with pytest.raises(InputError, match=f"pose must .*{message}") as caught:
        check_camera(label, "pose")
    assert "\n" not in str(caught.value)


def test_labels_that_see_the_head_pass():
    yaws, pitches = np.meshgrid(np.linspace(-3.1, 3.1, 9), np.linspace(-1.2, 1.2, 5))
    labels = [*np.asarray(look_at(yaws.ravel(), pitches.ravel())), *np.asarray(orbit(8, radius=2.0))]
    labels += [np.asarray(look_at(0.4, pivot=(0.1, -0.1, 0.15))), np.asarray(mirror(look_at(0.4)))]
    labels += [camera_label(yaw, elevation) for yaw in (0.0, 0.3, 2.0) for elevation in (-0.5, 0.7)]
    for label in labels:
        np.testing.assert_array_equal(check_camera(label), np.asarray(label, np.float32))


@pytest.mark.parametrize("found", [from_opengl(OPENGL), from_world_to_camera(COLMAP), from_pixels(PIXELS, 512)])
def test_conversions_give_the_label(found):
    np.testing.assert_allclose(found, TRUE, atol=1e-6)


def test_conventions_convert_and_find_their_own_mistakes():
    np.testing.assert_allclose(check_camera(OPENGL, convention="opengl"), TRUE, atol=1e-6)
    both = np.concatenate([COLMAP[:16], PIXELS[16:]])
    np.testing.assert_allclose(check_camera(both, convention="colmap", side=512), TRUE, atol=1e-6)
    with pytest.raises(InputError, match=r"in units of the picture's side, got 2182.8"):
        convert_label(both, "colmap")
    with pytest.raises(
        InputError, match=r"must look at the head.*: it looks like panojax's own convention already, not opengl"
    ):
        check_camera(TRUE, convention="opengl")
    with pytest.raises(InputError, match="camera convention must be one of opencv, opengl, colmap, got 'nerf'"):
        convert_label(TRUE, "nerf")


@pytest.fixture
def folder(tmp_path):
    for i in range(2):
        Image.new("RGB", (64, 64), (20, 90, 30 * i)).save(tmp_path / f"{i}.png")
    return tmp_path


def write_labels(folder: pathlib.Path, label) -> None:
    rows = [[f"{i}.png", list(map(float, label))] for i in range(2)]
    (folder / "dataset.json").write_text(json.dumps({"labels": rows}))


def test_every_reader_refuses_and_converts(folder):
    label = np.concatenate([OPENGL[:16], TRUE[16:22] * 64, TRUE[22:]])
    write_labels(folder, label)
    options = eg3d_folder.FolderOptions(folder, "set", size=64)
    source, picture = str(folder / "dataset.json"), str(folder / "0.png")
    readers = {
        "command": lambda: read_camera(source, picture),
        "numbers": lambda: read_camera(",".join(map(str, label)), picture),
        "prepared": lambda: eg3d_folder.plan(options),
        "trained on": lambda: list_photos([folder]),
    }
    for read in readers.values():
        with pytest.raises(InputError, match=r"looks like intrinsics in pixels .* and OpenGL axes"):
            read()
    np.testing.assert_allclose(read_camera(source, picture, convention="opengl", side=64), TRUE, atol=1e-6)
    converted = eg3d_folder.FolderOptions(folder, "set", size=64, camera_convention="opengl")
    items = [item for items in eg3d_folder.plan(converted).splits.values() for item in items]
    assert len(items) == 2
    for item in items:
        np.testing.assert_allclose(item.label, TRUE, atol=1e-6)
