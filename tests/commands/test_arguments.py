"""From the strings of a command line to seeds, cameras and folders."""

import json
import math

import numpy as np
import pytest

from panojax.camera import look_at, orbit
from panojax.commands.arguments import parse_seeds, read_camera, turn, view_grid
from panojax.errors import InputError
from panojax.generators.generator_config import GeneratorConfig

LABEL = np.asarray(look_at(0.3, 0.1))
OTHER = np.asarray(look_at(-0.5, 0.0))


@pytest.mark.parametrize(
    ("text", "seeds"), [("0", (0,)), ("0-3,7", (0, 1, 2, 3, 7)), (" 5 , 2-3 ", (5, 2, 3)), ("1,1,0-1", (1, 0))]
)
def test_seeds(text, seeds):
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "1,", "3-1", "-1", "1.5", "0-4-5", "4294967296", "٣", "0-99999", "1 2"])
def test_bad_seeds(text):
    with pytest.raises(InputError, match="seeds must"):
        parse_seeds(text)


def test_view_grid_is_every_pitch_with_every_yaw_in_degrees():
    names, labels = view_grid((0, -30), (0, 22.5), GeneratorConfig(camera_radius=2.0))
    assert names == ["yaw+000_pitch+00", "yaw-030_pitch+00", "yaw+000_pitch+22.5", "yaw-030_pitch+22.5"]
    expected = look_at(math.radians(-30), math.radians(22.5), radius=2.0)
    np.testing.assert_allclose(labels[3], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("yaws", "pitches"), [((), (0,)), ((math.nan,), (0,)), ((400,), (0,)), ((0,), (90,)), (range(360), (0, 1, 2))]
)
def test_bad_views(yaws, pitches):
    with pytest.raises(InputError, match=r"(yaw|pitch)"):
        view_grid(yaws, pitches, GeneratorConfig())


def test_turn_is_the_orbit():
    titles, labels = turn(4, 0.0, GeneratorConfig())
    assert titles == ["0°", "90°", "180°", "270°"]
    np.testing.assert_allclose(labels, orbit(4), atol=1e-6)
    with pytest.raises(InputError, match="frames"):
        turn(0, 0.0, GeneratorConfig())


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a").mkdir()
    rows = [["a/x.png", LABEL.tolist()], ["b/x.png", OTHER.tolist()], ["y.png", OTHER.tolist()]]
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": rows}))
    return tmp_path


def test_camera_from_numbers_and_words():
    for text in (",".join(map(str, LABEL)), str(LABEL.tolist()), " ".join(map(str, LABEL))):
        np.testing.assert_allclose(read_camera(text, "x.png"), LABEL)
    np.testing.assert_allclose(read_camera("front", "x.png"), look_at(0.0))


def test_camera_from_files(folder):
    source = str(folder / "dataset.json")
    np.testing.assert_allclose(read_camera(source, str(folder / "a" / "x.png")), LABEL)
    np.testing.assert_allclose(read_camera(source, "elsewhere/b/x.png"), OTHER)
    np.testing.assert_allclose(read_camera(source, "elsewhere/y.png"), OTHER)
    for content in (LABEL.tolist(), {"label": LABEL.tolist()}, {"labels": {"x.png": LABEL.tolist()}}):
        (folder / "one.json").write_text(json.dumps(content))
        np.testing.assert_allclose(read_camera(str(folder / "one.json"), "x.png"), LABEL)


def test_camera_of_a_picture_in_a_folder_of_another_name(folder):
    (folder / "d.json").write_text(json.dumps({"labels": [["00000/x.png", LABEL.tolist()]]}))
    np.testing.assert_allclose(read_camera(str(folder / "d.json"), "crops/x.png"), LABEL)


@pytest.mark.parametrize(
    ("picture", "message"),
    [("c/x.png", r"one label of x\.png, got 2"), ("z.png", r"one label of z\.png, got 0 of it; it has 3: a/x\.png")],
)
def test_camera_that_is_not_in_the_file(folder, picture, message):
    with pytest.raises(InputError, match=message):
        read_camera(str(folder / "dataset.json"), picture)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1, 2", "camera must be"),
        ("[" * 100_000, "camera must be"),
        ("{}", "labels"),
        ('{"labels": [["x.png"]]}', "labels"),
        ('{"labels": [["x.png", "y"]]}', "25 numbers"),
        ('{"labels": [["x.png", null]]}', "25 numbers"),
        ("[[1], 2]", "25 numbers"),
        ("7", "labels"),
        ("\0", "camera must be"),
    ],
)
def test_broken_camera_files(tmp_path, content, message):
    (tmp_path / "c.json").write_text(content)
    with pytest.raises(InputError, match=message):
        read_camera(str(tmp_path / "c.json"), "x.png")


@pytest.mark.parametrize("text", ["", "nowhere.json", "side", ".", "1"])
def test_no_camera(text):
    with pytest.raises(InputError, match="camera must be"):
        read_camera(text, "x.png")
