"""`panojax edit` and `panojax interpolate`: what they write, and input that cannot be used."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from micro import micro_generator
from PIL import Image

import panojax
from panojax.commands import cli
from panojax.commands.edit import Options, _changes, check, mask_camera, parse_strengths
from panojax.editing.directions import save_directions
from panojax.files.head_file import load_head, save_head
from panojax.generators.generator import Head

CORNER = [-0.5, -0.5, -0.5, 0.2, 0.2, 0.2]  # of the 4 x 4 texels of each plane, the first


def flat_head(value):
    config = micro_generator().config.generator
    return Head(np.full(config.field.shape, value, np.float32), np.zeros((config.num_ws, config.w_dim), np.float32))


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """Noise for rendered pictures, and no cache of the whole process: other tests try those."""
    monkeypatch.setattr(cli, "keep_compiled_programs", lambda: None)
    monkeypatch.setattr("panojax.commands.edit._shown", lambda *_: np.zeros((8, 128, 128)))
    monkeypatch.setattr("panojax.commands.edit._changes", lambda *_: {"depth": [0.0]})
    rng = np.random.default_rng(0)

    def render_views(params, head, cameras, *, resolution=None):
        yield from rng.uniform(-1, 1, (len(cameras), 128, 128, 3)).astype(np.float32)

    monkeypatch.setattr("panojax.export.turntable.render_views", render_views)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A model, two heads of it, one of another model, directions, and masks of 128 and 64 pixels."""
    folder, params = tmp_path_factory.mktemp("edit"), micro_generator()
    panojax.save(params, folder / "model")
    save_head(flat_head(1.0), folder / "head.npz", params=params)
    save_head(flat_head(3.0), folder / "reference.npz", params=params)
    decoder = params.generator["params"]["decoder"]
    decoder = decoder | {"net.2": decoder["net.2"] | {"bias": decoder["net.2"]["bias"] + 1}}
    other = params.generator | {"params": params.generator["params"] | {"decoder": decoder}}
    save_head(flat_head(1.0), folder / "stranger.npz", params=params.replace(generator=other))
    shape = (params.config.generator.num_ws, params.config.generator.w_dim)
    save_directions({"age": np.ones(shape), "smile": -np.ones(shape)}, folder / "directions.npz", params=params)
    mask = np.zeros((128, 128), np.uint8)
    mask[:, :64] = 255
    Image.fromarray(mask).save(folder / "left.png")
    Image.fromarray(mask[:64, :64]).save(folder / "small.png")
    return folder


def edit(files, out, *options, command="edit", second="reference.npz"):
    heads = [files / "head.npz", *([files / second] if second else [])]
    arguments = [command, *heads, "--out", out, "--checkpoint", files / "model", *options]
    return cli.main([str(argument) for argument in arguments])


def test_a_part_under_masks_of_both_heads(files, tmp_path, capsys, monkeypatch):
    """Each head is searched with its own masks and cameras, and the union is copied."""
    searched = []

    def find_region(params, head, masks, cameras, *, threshold):
        searched.append(float(head.planes.mean()))
        np.testing.assert_array_equal(masks.mean((1, 2)), [0.5] * len(searched))
        np.testing.assert_allclose(cameras[-1], panojax.look_at(np.pi / 2 * (len(searched) - 1)), atol=1e-6)
        assert threshold == (0.1 if len(searched) == 1 else 0.2)
        return np.zeros((3, 4, 4), np.float32) + (np.arange(4) == len(searched))

    monkeypatch.setattr(panojax, "find_region", find_region)
    left = files / "left.png"
    options = ["--source-mask", left, "--source-camera", "0", "--mask", left, left, "--camera", "front", "90"]
    options += ["--no-fuse", "--threshold", "0.2", "--source-threshold", "0.1", "--border", "0"]
    assert edit(files, tmp_path / "out", *options) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["head.npz", "report.json", "sheet.png"]
    assert searched == [1, 3]
    found = np.asarray(load_head(tmp_path / "out" / "head.npz", micro_generator()).planes)
    np.testing.assert_array_equal(found, np.broadcast_to([[1], [3], [3], [1]], found.shape))
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["reference"] == "reference.npz" and report["fused"] is False and report["region"] == [0.5] * 3
    assert capsys.readouterr().err == ""


def test_a_part_in_a_solid(files, tmp_path):
    assert edit(files, tmp_path / "out", "--ellipsoid", *CORNER, "--border", "0", "--no-fuse", "--half") == 0
    found = np.asarray(load_head(tmp_path / "out" / "head.npz", micro_generator()).planes)
    assert (found[:, :, 0, 0] == 3).all() and (found[:, :, 1:] == 1).all() and (found[:, :, :, 1:] == 1).all()


def test_reports(monkeypatch):
    """Pictures are compared where less than half of them rests on the region."""

    def render(_, head, camera):
        return panojax.View(jnp.full((128, 128, 3), head.planes.mean()), *[jnp.ones((2, 2, 1))] * 4)

    monkeypatch.setattr(panojax.api, "render", render)
    params, cameras = micro_generator(), np.asarray(panojax.orbit(2))
    shown = np.array([1.0, 0.0])[:, None, None] * np.ones((1, 128, 128))
    changes = _changes(params, flat_head(1.0), flat_head(3.0), shown, cameras, None)
    assert changes == {"picture": [0, 1], "depth": [0, 0], "silhouette": [1, 1]}


def test_moves(files, tmp_path, capsys):
    """The strengths add up; a name that is not in the file is refused."""
    arguments = ["--directions", files / "directions.npz", "--strength"]
    assert edit(files, tmp_path / "out", *arguments, "age=3", "smile=1", second=None) == 0
    found = load_head(tmp_path / "out" / "head.npz", micro_generator())
    np.testing.assert_allclose(found.ws, 2, atol=1e-6)
    capsys.readouterr()
    assert edit(files, tmp_path / "no", *arguments, "grin=3", second=None) == 2
    assert "strength must name directions of" in capsys.readouterr().err


def test_interpolation(files, tmp_path):
    options = ["--share", "0", "0.5", "--yaw", "0", "--heads", "--turntable", "--frames", "3", "--video", "webp"]
    assert edit(files, tmp_path / "out", *options, command="interpolate") == 0
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["share0.5.npz", "share0.npz", "strip.png", "turntable.webp"]
    params = micro_generator()
    half = load_head(tmp_path / "out" / "share0.5.npz", params)
    np.testing.assert_allclose(half.planes[..., 1], 2, atol=1e-4)
    with Image.open(tmp_path / "out" / "strip.png") as strip, Image.open(tmp_path / "out" / "turntable.webp") as video:
        assert strip.width > 2 * 128 and strip.height < 2 * 128 and video.n_frames == 3


@pytest.mark.parametrize(
    ("second", "options", "message"),
    [
        ("reference.npz", ["--mask", "small.png", "--camera", "front"], "mask must be 128 x 128 pixels"),
        ("stranger.npz", ["--mask", "left.png", "--camera", "front"], "got one of another model"),
        ("reference.npz", ["--ellipsoid", "9", "9", "9", "1", "1", "1"], "region must hold at least one texel"),
        ("reference.npz", ["--mask", "none.png", "--camera", "front"], "none.png"),
    ],
)
def test_files_that_do_not_fit(files, tmp_path, capsys, second, options, message):
    options = [files / option if option.endswith(".png") else option for option in options]
    assert edit(files, tmp_path / "out", *options, "--no-fuse", second=second) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_fusing_needs_encoders(files, tmp_path, capsys):
    assert edit(files, tmp_path / "out", "--ellipsoid", *CORNER) == 2
    assert "checkpoint must hold two encoders to fuse the parts" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written(files, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    assert edit(files, tmp_path / "file" / "out", "--ellipsoid", *CORNER, "--no-fuse") == 2
    assert "out must be writable" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "a reference or --strength must say how to edit, got neither"),
        ({"reference": "b.npz", "directions": "d.npz"}, "got both"),
        ({"reference": "b.npz"}, "--part, --ellipsoid and --box must say which part, got none"),
        ({"reference": "b.npz", "part": "hair", "box": (0,) * 6}, "got part, box"),
        ({"reference": "b.npz", "part": "hair", "source_mask": ("m.png",)}, "must say which part, got part"),
        ({"reference": "b.npz", "part": "hair", "strength": ("age=1",)}, "got both"),
        ({"directions": "d.npz", "strength": ("age=1",), "part": "hair"}, "a part must come with a reference"),
        ({"reference": "b.npz", "mask": ("m.png",)}, "--camera must be given once for each of the 1 masks, got 0"),
        (
            {"reference": "b.npz", "mask": ("m.png",), "camera": ("0",), "source_mask": ("a.png", "b.png")},
            "--source-camera must be given once for each of the 2 masks",
        ),
        ({"reference": "b.npz", "part": "hair", "threshold": 1.0}, "threshold must be a share"),
        ({"reference": "b.npz", "part": "hair", "source_threshold": -0.1}, "source_threshold must be a share"),
        ({"reference": "b.npz", "box": (0, 0, 0, 1, 0, 1)}, "box must be a centre and three positive radii"),
        ({"directions": "d.npz"}, "strength must be given with --directions"),
        ({"directions": "d.npz", "strength": ("age",)}, "strength must be NAME=NUMBER, got 'age'"),
        ({"directions": "d.npz", "strength": ("=3",)}, "strength must be NAME=NUMBER, got '=3'"),
    ],
)
def test_refuses_before_anything_is_read(options, message):
    with pytest.raises(panojax.InputError, match=message):
        check(Options(head="a.npz", out="out", **options))


def test_directions_that_come_with_the_default_model(files, tmp_path, capsys, monkeypatch):
    """They serve its heads, and no other model's."""
    arguments = ["--strength", "smile=1", "--yaw", "0"]
    assert edit(files, tmp_path / "out", *arguments, second=None) == 2
    assert "only heads of the default model have some" in capsys.readouterr().err
    params = panojax.load(files / "model")
    config = params.config.generator
    vector = np.full((config.num_ws, config.w_dim), 0.5, np.float32)
    save_directions({"smile": vector}, tmp_path / "directions.npz", params=params)
    monkeypatch.setattr("panojax.editing.directions.DEFAULT_FOLDER", tmp_path)
    assert edit(files, tmp_path / "out", *arguments, second=None) == 0
    assert json.loads((tmp_path / "out" / "report.json").read_text())["strength"] == {"smile": 1.0}


def test_cameras_of_masks():
    config = micro_generator().config.generator
    np.testing.assert_allclose(mask_camera("front", "m.png", config), panojax.look_at(0.0), atol=1e-6)
    np.testing.assert_allclose(mask_camera("90", "m.png", config), panojax.look_at(np.pi / 2), atol=1e-6)
    found = mask_camera("-30,10", "m.png", config)
    np.testing.assert_allclose(found, panojax.look_at(-np.pi / 6, np.pi / 18), atol=1e-6)
    label = np.asarray(panojax.look_at(0.3))
    np.testing.assert_allclose(mask_camera(",".join(map(str, label)), "m.png", config), label, atol=1e-6)
    with pytest.raises(panojax.InputError, match="camera must be"):
        mask_camera("left", "m.png", config)


def test_strengths():
    assert parse_strengths(("age=-1.5", "a=b=2")) == {"age": -1.5, "a=b": 2.0}
    with pytest.raises(panojax.InputError, match="NAME=NUMBER"):
        parse_strengths(("age=inf",))
