"""The command line: what its commands write, and that bad input gives one line, exit code 2 and no file."""

import dataclasses
import importlib.util
import json
import os
import pathlib
import pickle
import re
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.data
import trimesh
from PIL import Image

import panojax
from panojax.commands import cli
from panojax.commands.arguments import read_camera
from panojax.commands.portrait import read_aligned
from panojax.encoders.encoder_config import light
from panojax.files.head_file import load_head, save_head
from panojax.files.output import to_uint8
from panojax.files.packed import write_packed
from panojax.params import random_params, tiny

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
QUICK = ["--video", "none"]
NEEDS_MODERNGL = pytest.mark.skipif(importlib.util.find_spec("moderngl") is None, reason="moderngl is looked for first")


def small():
    """`tiny` with fewer layers, rays and channels, to compile and run sooner."""
    less = {"plane_resolution": 32, "rendering_resolution": 16, "depth_samples": 12, "importance_samples": 12}
    generator = dataclasses.replace(tiny().generator, superresolution_channels=(8, 8), **less)
    sizes = {"depths": (1, 1, 1, 1), "widths": (16, 16, 16, 16), "head_width": 16}
    encoder = light(resolution=32, n_styles=generator.num_ws, w_dim=generator.w_dim, **sizes)
    return panojax.Config(generator, encoder)


@pytest.fixture(autouse=True)
def _no_compilation_cache(monkeypatch):
    """The cache is a setting of the whole process; `test_programs_are_kept` tries it in another one."""
    monkeypatch.setattr(cli, "keep_compiled_programs", lambda: None)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "model"
    params = random_params(small())
    write_packed(folder, params.config, params.generator, params.encoders)  # loads in a fifth of a checkpoint's time
    return str(folder)


@pytest.fixture(scope="session")
def params(checkpoint):
    """As the commands load them, so that what they compiled serves here too."""
    return panojax.load(checkpoint)


@pytest.fixture(scope="session")
def portrait(tmp_path_factory):
    """An aligned crop of 256 pixels a side."""
    path = tmp_path_factory.mktemp("photos") / "portrait.png"
    Image.fromarray(skimage.data.astronaut()[20:276, 100:356]).save(path)
    return path


@pytest.fixture(scope="session")
def head(params):
    return jax.jit(panojax.generate)(params, jnp.ones(64))


@pytest.fixture(scope="session")
def head_file(params, head, tmp_path_factory):
    path = tmp_path_factory.mktemp("heads") / "head.npz"
    save_head(head, path, params=params)
    return str(path)


def read(path):
    return np.asarray(Image.open(path))


def tree(folder):
    """Everything under a folder, hidden files too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def refused(capsys, *arguments, watch=None):
    """Runs a command that must fail as bad input; gives the message and checks that `watch` stays as it is."""
    before = tree(watch) if watch else None
    capsys.readouterr()
    code = cli.main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    assert code == 2
    # Progress may come before it, on a slow machine.
    lines = [line for line in printed.err.splitlines() if not re.match(r"[\w ]+: \d+ of \d+ ", line)]
    assert len(lines) == 1, printed.err
    assert lines[0].startswith("panojax: error: ")
    assert "Traceback" not in printed.out
    if watch:
        assert tree(watch) == before
    return lines[0].removeprefix("panojax: error: ")


def test_invert_an_aligned_portrait(params, checkpoint, portrait, tmp_path, capsys):
    label = np.asarray(panojax.look_at(0.2, -0.1))
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": [["portrait.png", label.tolist()]]}))
    out = tmp_path / "out"
    arguments = ["invert", portrait, "--checkpoint", checkpoint, "--camera", tmp_path / "dataset.json", "--out", out]
    options = ["--frames", 6, "--mesh", "--mesh-resolution", 24, "--mesh-format", "ply", "--stitching", "sample"]
    assert cli.main([str(a) for a in (*arguments, *options)]) == 0
    assert tree(out) == sorted(
        ["head.npz", "input.png", "mesh.ply", "reconstruction.png", "report.json", "sheet.png", "turntable.mp4"]
    )
    printed = capsys.readouterr()
    assert all(" of " in line for line in printed.err.splitlines())  # progress, on a slow machine
    for step in ("loading the model", "reading the picture", "inverting", "rendering the turntable", "mesh"):
        assert step in printed.out

    crop = skimage.data.astronaut()[20:276, 100:356] / np.float32(127.5) - 1
    small = crop.reshape(128, 2, 128, 2, 3).mean((1, 3))
    np.testing.assert_allclose(read(out / "input.png"), to_uint8(small), atol=1)
    head = load_head(out / "head.npz", params)
    expected = jax.jit(panojax.invert, static_argnames="stitching")(params, small, label, stitching="sample")
    for name in ("planes", "occluded_planes", "ws"):
        np.testing.assert_allclose(getattr(head, name), getattr(expected, name), atol=1e-4)
    view = jax.jit(panojax.render)(params, expected, label)
    np.testing.assert_allclose(read(out / "reconstruction.png").astype(int), to_uint8(view.image), atol=2)

    report = json.loads((out / "report.json").read_text())
    np.testing.assert_allclose(report["camera"], label, atol=1e-6)
    assert report["files"] == tree(out)
    assert report["alignment"] is None and report["stitching"] == "sample"
    assert len(trimesh.load(out / "mesh.ply", process=False).faces) == report["mesh"]["faces"] > 0
    assert str(tmp_path) not in json.dumps(report)
    assert read(out / "sheet.png").shape[1] > 7 * 128


def test_invert_a_folder(checkpoint, portrait, tmp_path, capsys, monkeypatch):
    """Each photo has a folder; what cannot be used is told, and a second run does what is missing."""
    monkeypatch.setattr(jax, "local_devices", lambda: jax.devices()[:1] * 2)  # as if two shared the work
    photos, out = tmp_path / "photos", tmp_path / "heads"
    photos.mkdir()
    for name in ("a.png", "b.png", "b.jpg"):
        Image.open(portrait).save(photos / name)
    (photos / "broken.png").write_bytes(b"no picture")
    arguments = ["invert", str(photos), "--aligned", "--checkpoint", checkpoint, "--out", str(out), *QUICK]
    assert cli.main(arguments) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("loading the model ...") and "broken.png was left out: " in printed[1]
    assert printed[2:] == [f"{out}: 3 heads, 1 left out"]
    assert sorted(path.name for path in out.iterdir()) == ["a", "b.jpg", "b.png"]
    heads = [(out / name / "head.npz").read_bytes() for name in ("a", "b.png")]
    assert heads[0] == heads[1] and json.loads((out / "a" / "report.json").read_text())["photo"] == "a.png"
    before = {path: path.stat().st_mtime_ns for path in out.glob("b*/*")}
    shutil.rmtree(out / "a")
    assert cli.main(arguments) == 0
    assert {path: path.stat().st_mtime_ns for path in out.glob("b*/*")} == before
    assert (out / "a" / "head.npz").read_bytes() == heads[0]

    empty, bad = tmp_path / "empty", tmp_path / "bad"
    empty.mkdir(), bad.mkdir()
    (bad / "x.png").write_bytes(b"")
    for folder, message in ((empty, "paths must name at least one photo"), (bad, "none of 1 could be inverted")):
        assert cli.main(["invert", str(folder), *arguments[2:6], str(tmp_path / "none"), *QUICK]) == 2
        assert message in capsys.readouterr().err and not (tmp_path / "none").exists()
    assert cli.main(["invert", str(photos), *arguments[2:6], str(portrait), *QUICK]) == 2
    assert "out must be a folder, got the file" in capsys.readouterr().err


def test_invert_a_photo_that_is_not_aligned(checkpoint, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["invert", "astronaut", "--checkpoint", checkpoint, "--out", str(out), *QUICK, "--half"]
    assert cli.main(arguments) == 0
    assert "face 112 px, crop 171 px" in capsys.readouterr().out
    report = json.loads((out / "report.json").read_text())
    assert report["camera_source"] == "estimated from the photo"
    assert report["alignment"]["faces"] == 1
    assert tree(out) == ["head.npz", "input.png", "reconstruction.png", "report.json", "sheet.png"]
    # The aligned crop shows her face in its middle: warmer and brighter than the suit below.
    crop = read(out / "input.png")
    assert crop.shape == (128, 128, 3)
    assert crop[50:80, 50:80].mean() > crop[115:, 40:90].mean() + 30


def test_generate_draws_the_seeds_of_the_original_tools(params, checkpoint, tmp_path):
    out = tmp_path / "out"
    options = ["--seeds", "2,5", "--truncation", "0.5", "--cutoff", "4", "--yaw", "-30", "0", "--pitch", "-10"]
    assert cli.main(["generate", "--checkpoint", checkpoint, "--out", str(out), *options]) == 0
    views = ["yaw+000_pitch-10.png", "yaw-030_pitch-10.png"]
    assert tree(out) == sorted(
        ["seed0002.npz", "seed0005.npz", "sheet.png", *(f"seed000{n}_{view}" for n in (2, 5) for view in views)]
    )
    z = np.random.RandomState(5).randn(64).astype(np.float32)
    expected = jax.jit(panojax.generate, static_argnames="cutoff")(params, z, truncation=0.5, cutoff=4)
    np.testing.assert_allclose(load_head(out / "seed0005.npz", params).planes, expected.planes, atol=1e-4)
    camera = panojax.look_at(np.radians(-30), np.radians(-10))
    view = jax.jit(panojax.render)(params, expected, camera)
    np.testing.assert_allclose(read(out / "seed0005_yaw-030_pitch-10.png").astype(int), to_uint8(view.image), atol=2)


def test_render_a_stored_head(params, head, checkpoint, head_file, tmp_path):
    out = tmp_path / "out"
    options = ["--yaw", "0", "90", "360", "--sheet", "--turntable", "--video", "webp", "--frames", "5"]
    options += ["--mesh", "--mesh-resolution", "16", "--resolution", "16"]
    assert cli.main(["render", head_file, "--checkpoint", checkpoint, "--out", str(out), *options]) == 0
    names = [f"yaw+{yaw:03d}_pitch+00.png" for yaw in (0, 90, 360)]
    assert tree(out) == sorted([*names, "mesh.glb", "sheet.png", "turntable.webp"])
    view = jax.jit(panojax.render, static_argnames="resolution")(
        params, head, panojax.look_at(np.pi / 2), resolution=16
    )
    np.testing.assert_allclose(read(out / names[1]).astype(int), to_uint8(view.image), atol=2)
    np.testing.assert_allclose(read(out / names[0]).astype(int), read(out / names[2]), atol=2)
    assert np.abs(read(out / names[0]).astype(int) - read(out / names[1])).max() > 10
    with Image.open(out / "turntable.webp") as video:
        assert video.n_frames == 5
    assert len(trimesh.load(out / "mesh.glb", force="mesh").faces) > 0


def test_an_existing_output_stays_unless_overwriting_is_asked_for(checkpoint, head_file, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "yaw+000_pitch+00.png").write_text("mine")
    (out / "notes.txt").write_text("mine")
    arguments = ["render", head_file, "--checkpoint", checkpoint, "--out", out]
    assert "--overwrite" in refused(capsys, *arguments, watch=tmp_path)
    assert (out / "yaw+000_pitch+00.png").read_text() == "mine"
    assert cli.main([*map(str, arguments), "--overwrite"]) == 0
    assert read(out / "yaw+000_pitch+00.png").shape == (128, 128, 3)
    assert tree(out) == ["notes.txt", "yaw+000_pitch+00.png"]


def test_convert_then_info(head_file, tmp_path, capsys):
    model = tmp_path / "model"
    assert cli.main(["convert", str(GOLDEN / "panohead_mini.pkl"), "--out", str(model)]) == 0
    assert "generator, 2." in capsys.readouterr().out
    assert cli.main(["info", str(model), "--parameters"]) == 0
    printed = capsys.readouterr().out
    assert "plane_resolution: 64" in printed and "decoder/net.0/kernel" in printed
    message = refused(capsys, "convert", GOLDEN / "panohead_mini.pkl", "--out", model, watch=tmp_path)
    assert "must not exist" in message
    message = refused(capsys, "invert", "astronaut", "--checkpoint", model, "--out", tmp_path / "x", watch=tmp_path)
    assert "two encoders" in message
    message = refused(capsys, "render", head_file, "--checkpoint", model, "--out", tmp_path / "x", watch=tmp_path)
    assert "another model (plane_resolution 32 and not 64" in message


def test_info(params, checkpoint, head_file, tmp_path, capsys):
    assert cli.main(["info", checkpoint]) == 0
    printed = capsys.readouterr().out
    sizes = {line.rsplit(maxsplit=1)[0].strip(): line.split()[-1] for line in printed.splitlines() if "," in line}
    decoder = sum(x.size for x in jax.tree.leaves(params.generator["params"]["decoder"]))
    assert sizes["generator decoder"] == f"{decoder:,}"
    assert cli.main(["info", head_file]) == 0
    said = capsys.readouterr().out
    assert "planes: [3, 3, 32, 32, 32]" in said
    (tmp_path / "me").mkdir()
    shutil.copy(head_file, tmp_path / "me" / "head.npz")
    assert cli.main(["info", str(tmp_path / "me")]) == 0  # a folder that `panojax invert` wrote
    assert capsys.readouterr().out.splitlines()[1:] == said.splitlines()[1:]
    assert cli.main(["info", str(GOLDEN / "panohead_mini.pkl")]) == 0
    printed = capsys.readouterr().out
    assert "G_ema, D" in printed and "D: MaskDualDiscriminatorV2" in printed
    assert "triplane_depth: 3" in printed and "neural_rendering_resolution: 64" in printed


def test_align_goes_on_after_a_bad_photo(tmp_path, capsys):
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.fromarray(skimage.data.astronaut()).save(photos / "a.png")
    (photos / "b.png").write_bytes(b"no picture")
    assert cli.main(["align", str(photos), "--size", "64", "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "b.png was left out" in printed and "1 aligned, 1 left out" in printed
    [[name, label]] = json.loads((tmp_path / "out" / "dataset.json").read_text())["labels"]
    assert read(tmp_path / "out" / name).shape == (64, 64, 3)
    # A label that `align` wrote is what `invert` reads.
    np.testing.assert_allclose(read_camera(str(tmp_path / "out" / "dataset.json"), name), label)
    assert "none of 1" in refused(capsys, "align", photos / "b.png", "--out", tmp_path / "none")


def save_rotated(picture, path):
    """A JPEG that a camera held sideways: the pixels lie on their side, and EXIF says so."""
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise when shown
    Image.fromarray(np.rot90(picture)).save(path, exif=exif, quality=98)


def test_pictures_of_every_kind(checkpoint, portrait, tmp_path):
    """An aligned crop gives the same input whatever its file's format."""
    picture = read(portrait)
    grey = np.asarray(Image.fromarray(picture).convert("L"))
    Image.fromarray(picture).convert("CMYK").save(tmp_path / "cmyk.jpg", quality=98)
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    save_rotated(picture, tmp_path / "rotated.jpg")
    large = Image.fromarray(picture).resize((10_000, 10_000), Image.Resampling.NEAREST)
    large.save(tmp_path / "large.jpg", quality=90)
    del large
    expected = read_aligned(str(portrait), None, 128).image
    for name in ("cmyk.jpg", "rotated.jpg", "large.jpg"):
        found = read_aligned(str(tmp_path / name), None, 128).image
        assert found.shape == (128, 128, 3)
        assert np.abs(found - expected).mean() < 0.03, name
    deep = read_aligned(str(tmp_path / "deep.png"), None, 128).image
    expected_grey = grey.reshape(128, 2, 128, 2).mean((1, 3)) / 127.5 - 1
    np.testing.assert_allclose(deep, np.repeat(expected_grey[..., None], 3, -1), atol=1e-3)
    out = tmp_path / "out"
    arguments = ["invert", str(tmp_path / "large.jpg"), "--aligned", "--checkpoint", checkpoint, "--out", str(out)]
    assert cli.main([*arguments, *QUICK]) == 0
    assert read(out / "input.png").shape == (128, 128, 3)


def test_broken_pictures(checkpoint, portrait, tmp_path, capsys):
    photos, data = tmp_path / "photos", portrait.read_bytes()
    photos.mkdir()
    (photos / "empty.png").write_bytes(b"")
    (photos / "half.png").write_bytes(data[: len(data) // 2])
    (photos / "text.png").write_text("no picture")
    Image.fromarray(np.zeros((64, 96, 3), np.uint8)).save(photos / "wide.png")
    Image.fromarray(np.full((300, 300, 3), 128, np.uint8)).save(photos / "faceless.png")
    for name, expected, options in (
        ("empty.png", "is empty", ["--aligned"]),
        ("empty.png", "is empty", []),
        ("half.png", "whole picture", ["--aligned"]),
        ("text.png", "which is none", []),
        ("wide.png", "must be square, got 96 x 64", ["--aligned"]),
        ("faceless.png", "photo must show a head, got none", []),
        ("none.png", "does not exist", []),
        (".", "none of 5 could be inverted", []),  # a folder of broken pictures
    ):
        arguments = ["invert", photos / name, *options, "--checkpoint", checkpoint, "--out", tmp_path / "out"]
        assert expected in refused(capsys, *arguments, watch=tmp_path)


def label_text(change):
    label = np.asarray(panojax.look_at(0.2), np.float64)
    return ",".join(map(str, change(label)))


def replaced(index, value):
    def change(label):
        label[index] = value
        return label

    return change


@pytest.mark.parametrize(
    ("camera", "message"),
    [
        (label_text(lambda x: x[:24]), "25 numbers"),
        (label_text(replaced(3, np.nan)), "must be finite"),
        (label_text(replaced(slice(0, 16), 0.0)), "rotation"),
        (label_text(replaced(15, 0.0)), "bottom row"),
        (label_text(replaced(16, 0.0)), "invertible intrinsics"),
        ("nowhere.json", "expected a file, got nothing there"),
    ],
)
def test_bad_cameras(camera, message, checkpoint, portrait, tmp_path, capsys):
    arguments = ["invert", portrait, "--checkpoint", checkpoint, "--out", tmp_path / "out", f"--camera={camera}"]
    assert message in refused(capsys, *arguments, watch=tmp_path)


def test_a_picture_that_the_data_set_lacks(checkpoint, portrait, tmp_path, capsys):
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": [["other.png", [0] * 25]]}))
    arguments = ["invert", portrait, "--checkpoint", checkpoint, "--out", tmp_path / "out"]
    message = refused(capsys, *arguments, "--camera", tmp_path / "dataset.json", watch=tmp_path)
    assert "one label of portrait.png, got 0 of it; it has 1: other.png" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate", "--seeds", "3-x"], "seeds must be"),
        (["generate", "--truncation", "nan"], "truncation"),
        (["generate", "--cutoff", "-1"], "cutoff"),
        (["generate", "--yaw", "nan"], "yaw must"),
        (["generate", "--resolution", "1"], "resolution of the volume rendering"),
        (["generate", "--frames", "0"], "frames must be"),
        (["invert", "astronaut", "--frames", "99999"], "frames must be"),
        (["invert", "astronaut", "--fps", "0"], "fps must be"),
        (["invert", "astronaut", "--pitch", "95"], "pitch must"),
        (["invert", "astronaut", "--mesh", "--mesh-resolution", "2"], "resolution of a mesh"),
        (["invert", "astronaut", "--face", "biggest"], "face must be"),
        (["invert", "astronaut", "--aligned", "--mesh", "--mesh-level", "1e9", *QUICK], "there is no surface"),
        (["render", "none.npz"], "nothing there"),
        (["heads", "--identities", "0"], "identities must be"),
        pytest.param(["heads", "--assets", "nowhere"], "--fetch-assets", marks=NEEDS_MODERNGL),
        (["align", "none.png", "--size", "3"], "size must be"),
    ],
)
def test_bad_options(arguments, message, checkpoint, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if arguments[0] in ("generate", "invert", "render"):
        arguments = [*arguments, "--checkpoint", checkpoint]
    assert message in refused(capsys, *arguments, "--out", tmp_path / "out", watch=tmp_path)


def test_heads_and_info_need_something(tmp_path, capsys):
    assert "got neither" in refused(capsys, "heads")
    assert "does not exist" in refused(capsys, "info", tmp_path / "nothing")
    assert "panojax convert" in refused(capsys, "info", tmp_path)


class Bomb:
    """What a hostile pickle runs."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_hostile_and_broken_checkpoints(tmp_path, capsys):
    bomb, data = tmp_path / "bomb.pkl", (GOLDEN / "panohead_mini.pkl").read_bytes()
    bomb.write_bytes(pickle.dumps({"G_ema": Bomb(tmp_path / "executed")}))
    (tmp_path / "half.pkl").write_bytes(data[: len(data) // 2])
    (tmp_path / "empty.pkl").write_bytes(b"")
    (tmp_path / "folder.pkl").mkdir()
    for name in ("bomb.pkl", "half.pkl", "empty.pkl", "folder.pkl", "none.pkl"):
        message = refused(capsys, "convert", tmp_path / name, "--out", tmp_path / "out", watch=tmp_path)
        assert name in message
        assert refused(capsys, "info", tmp_path / name, watch=tmp_path)
    pickle.loads(bomb.read_bytes())  # it would have worked
    assert (tmp_path / "executed").is_dir()


def test_checkpoints_of_other_architectures(checkpoint, tmp_path, capsys):
    mini = GOLDEN / "panohead_mini.pkl"
    message = refused(capsys, "convert", mini, "--network", "D", "--out", tmp_path / "out", watch=tmp_path)
    assert "MaskDualDiscriminatorV2" in message
    encoders = ["--visible", mini, "--occluded", mini]
    refused(capsys, "convert", mini, *encoders, "--out", tmp_path / "out", watch=tmp_path)
    message = refused(capsys, "convert", mini, "--visible", mini, "--out", tmp_path / "out", watch=tmp_path)
    assert "together" in message
    # A checkpoint of ours whose arrays are not those of its configuration.
    broken = tmp_path / "broken"
    panojax.save(random_params(small()), broken)
    [meta] = [path for path in broken.rglob("*") if path.is_file() and b'"channel_base"' in path.read_bytes()]
    config = json.loads(meta.read_text())
    config["model"]["generator"]["channel_base"] = 2048
    meta.write_text(json.dumps(config))
    message = refused(capsys, "generate", "--checkpoint", broken, "--out", tmp_path / "out", watch=tmp_path)
    assert "broken" in message
    for folder in (tmp_path / "none", mini, tmp_path):
        message = refused(capsys, "generate", "--checkpoint", folder, "--out", tmp_path / "out", watch=tmp_path)
        assert "`panojax convert` wrote" in message


def test_a_model_of_nans(params, tmp_path, capsys):
    decoder = jax.tree.map(lambda x: x * jnp.nan, params.generator["params"]["decoder"])
    trees = {**params.generator, "params": {**params.generator["params"], "decoder": decoder}}
    panojax.save(
        params.replace(generator=trees, encoders=None, config=panojax.Config(params.config.generator)), tmp_path / "nan"
    )
    arguments = ["generate", "--checkpoint", tmp_path / "nan", "--seeds", "0", "--out", tmp_path / "out"]
    assert "finite pictures" in refused(capsys, *arguments, watch=tmp_path)


def test_heads_of_other_models_and_broken_heads(checkpoint, params, head_file, tmp_path, capsys):
    data = pathlib.Path(head_file).read_bytes()
    (tmp_path / "half.npz").write_bytes(data[: len(data) // 2])
    panojax.save(random_params(small(), seed=1), tmp_path / "other")
    arguments = ["--out", tmp_path / "out", "--checkpoint"]
    assert "half.npz" in refused(capsys, "render", tmp_path / "half.npz", *arguments, checkpoint, watch=tmp_path)
    message = refused(capsys, "render", head_file, *arguments, tmp_path / "other", watch=tmp_path)
    assert "another model" in message


def test_meshes_without_trimesh(checkpoint, head_file, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "trimesh", None)
    arguments = ["render", head_file, "--checkpoint", checkpoint, "--mesh", "--out", tmp_path / "out"]
    assert "pip install 'panojax[export]'" in refused(capsys, *arguments, watch=tmp_path)


def test_stopping_leaves_nothing(checkpoint, head_file, tmp_path, capsys, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("panojax.export.turntable._render", interrupted)
    assert cli.main(["render", head_file, "--checkpoint", checkpoint, "--out", str(tmp_path / "out")]) == 130
    assert capsys.readouterr().err == "panojax: stopped\n"
    assert tree(tmp_path) == []


def test_wrong_usage_is_told_by_the_parser(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["invert", "astronaut"])
    assert stopped.value.code == 2
    assert "--out" in capsys.readouterr().err


def run_module(*arguments, cache, **options):
    """`python -m panojax` as a user runs it."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "JAX_PLATFORMS": "cpu"}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    command = [sys.executable, "-m", "panojax", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, **options)


def test_programs_are_kept(checkpoint, head_file, tmp_path):
    arguments = ["render", head_file, "--checkpoint", checkpoint, "--resolution", 4, "--out"]
    first = run_module(*arguments, tmp_path / "a", cache=tmp_path / "cache")
    assert (first.returncode, first.stderr) == (0, "")

    def kept():
        # Whether a program is small enough to be left out depends on how busy the machine is; this one never is.
        names = tree(tmp_path / "cache")
        assert any(name.endswith(".program") for name in names)  # traced
        return [name for name in names if "_pictures" in name and name.endswith("-cache")]

    programs = kept()
    assert programs
    second = run_module(*arguments, tmp_path / "b", cache=tmp_path / "cache")
    assert (second.returncode, second.stderr) == (0, "")
    assert kept() == programs
    name = "yaw+000_pitch+00.png"
    np.testing.assert_array_equal(read(tmp_path / "a" / name), read(tmp_path / "b" / name))


def test_module_refuses_in_one_line(tmp_path):
    done = run_module("convert", tmp_path / "none.pkl", "--out", tmp_path / "out", cache=tmp_path / "cache")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("panojax: error: ")
    assert tree(tmp_path / "cache" / "panojax")[0] == "xla"
    assert not (tmp_path / "out").exists()


def test_help_imports_nothing_that_commands_alone_need():
    code = "import sys, panojax.commands.cli; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"trimesh", "skimage", "clu", "imageio_ffmpeg", "panojax.photo", "panojax.synthetic.generate", "optax"}
    assert "panojax.commands.cli" in loaded
    assert not heavy & set(loaded)
