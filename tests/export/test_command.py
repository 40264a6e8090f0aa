"""`panojax export`: every format from a kept head, and input that cannot be used."""

import errno
import json

import numpy as np
import plyfile
import pytest
import trimesh
from PIL import Image

import panojax
from panojax.commands import cli
from panojax.commands.export import Options, check_target, run
from panojax.export.mesh import Mesh

QUICK = ["--views", "8", "--pitch", "-20", "20", "--mesh-resolution", "32"]


@pytest.fixture(autouse=True)
def _no_compilation_cache(monkeypatch):
    monkeypatch.setattr(cli, "keep_compiled_programs", lambda: None)


def export(files, to, out, *options):
    return cli.main(
        ["export", str(files / "head.npz"), "--to", to, "--out", str(out), "--checkpoint", str(files / "model")]
        + [str(option) for option in options]
    )


@pytest.fixture
def box(monkeypatch):
    """The bar as a mesh: `test_glb` extracts it."""
    shape = trimesh.creation.box((0.4, 1, 0.4))
    mesh = Mesh(np.float32(shape.vertices), np.int32(shape.faces), np.full((8, 3), 99, np.uint8), 10.0)
    monkeypatch.setattr("panojax.export.mesh.extract_mesh", lambda *args, **options: mesh)


def test_glb(files, tmp_path, capsys):
    assert export(files, "glb", tmp_path / "a.glb", *QUICK, "--faces", 500, "--texture", 128, "--unseen") == 0
    found = trimesh.load(tmp_path / "a.glb", force="mesh", process=False)
    assert 0 < len(found.faces) <= 500
    # The solid scene is a bar, cropped at 0.2 from its axis.
    np.testing.assert_allclose(np.abs(found.vertices).max(0), (0.2, 0.5, 0.2), atol=0.04)
    assert found.visual.material.baseColorTexture.size[0] >= 64
    printed = capsys.readouterr()
    assert "triangles, texture" in printed.out
    # No bar in a pipe, but a line now and then where it takes long.
    assert all(" of " in line and "\r" not in line for line in printed.err.splitlines())


def test_what_lies_beyond_the_pictures_is_left_away(files, tmp_path, monkeypatch, capsys):
    """The bar is higher than the pictures."""
    shape = trimesh.creation.box((0.4, 1, 0.4)).subdivide_to_size(0.04)
    mesh = Mesh(np.float32(shape.vertices), np.int32(shape.faces), np.zeros((len(shape.vertices), 3), np.uint8), 10.0)
    monkeypatch.setattr("panojax.export.mesh.extract_mesh", lambda *args, **options: mesh)
    for name, options in (("shown", []), ("whole", ["--unseen"])):
        words = [*QUICK, "--faces", 20_000, "--texture", 128, *options]
        assert export(files, "glb", tmp_path / f"{name}.glb", *words) == 0
    shown, whole = (trimesh.load(tmp_path / f"{name}.glb", force="mesh", process=False) for name in ("shown", "whole"))
    assert abs(whole.area - shape.area) < 1e-3 and shown.area < 0.8 * whole.area
    lines = [line for line in capsys.readouterr().out.splitlines() if "triangles, texture" in line]
    seen = [int(line.split(", ")[2].split("%")[0]) for line in lines]
    assert seen[0] > 97 and seen[1] < 80


def test_ply_and_splats(files, tmp_path, box, capsys):
    assert export(files, "ply", tmp_path / "a.ply", "--mesh-resolution", 32) == 0
    assert len(trimesh.load(tmp_path / "a.ply").faces) == 12
    assert export(files, "splat", tmp_path / "a.ply", *QUICK, "--splats", 500, "--harmonics", 3, "--overwrite") == 0
    table = plyfile.PlyData.read(tmp_path / "a.ply")["vertex"]
    assert len(table.data) == 500 and len(table.properties) == 17 + 45
    assert export(files, "splat", tmp_path / "b.ply", *QUICK, "--splats", 500, "--fit-steps", 3) == 0
    assert len(plyfile.PlyData.read(tmp_path / "b.ply")["vertex"].data) == 500
    assert "500 splats, fitted by 3 steps" in capsys.readouterr().out


def test_posed_pictures(files, tmp_path, capsys, box):
    assert export(files, "transforms", tmp_path / "t", *QUICK, "--points", 50) == 0
    record = json.loads((tmp_path / "t" / "transforms.json").read_text())
    assert len(record["frames"]) == 8 and record["w"] == 128
    with Image.open(tmp_path / "t" / record["frames"][7]["file_path"]) as picture:
        assert picture.mode == "RGBA" and picture.size == (128, 128)
    assert export(files, "colmap", tmp_path / "c", *QUICK, "--points", 50) == 0
    names = sorted(str(path.relative_to(tmp_path / "c")) for path in tmp_path.glob("c/sparse/0/*"))
    assert names == ["sparse/0/cameras.txt", "sparse/0/images.txt", "sparse/0/points3D.txt"]
    assert "8 pictures, 50 points" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "t"]


def test_turntable(files, tmp_path, monkeypatch):
    """With plain frames for rendered ones: `panojax render` tries those."""

    def frames(params, head, cameras, *, resolution):
        np.testing.assert_allclose(cameras[0, 7], 0.3, atol=1e-5)  # 10 of 90 degrees up, at a distance of 2.7
        return (np.full((16, 16, 3), 90 * i, np.uint8) for i in range(len(cameras)))

    monkeypatch.setattr("panojax.export.turntable.render_views", frames)
    assert export(files, "webp", tmp_path / "a.webp", "--frames", 3, "--pitch", -10) == 0
    with Image.open(tmp_path / "a.webp") as video:
        assert video.n_frames == 3 and video.size == (16, 16)


@pytest.mark.parametrize(
    ("to", "out", "options", "message"),
    [
        ("glb", "a.ply", {}, "out must end in .glb for glb"),
        ("colmap", "mine.txt", {}, "out must be a folder for colmap, got the file"),
        ("transforms", ".", {}, "out must not exist or be empty for transforms"),
        ("glb", "mine.txt/a.glb", {}, "out must be a folder, got the file"),
        ("glb", "a.glb", {"faces": 3}, "faces must be 100"),
        ("glb", "a.glb", {"texture": 1}, "texture must be 64"),
        ("glb", "a.glb", {"views": 0}, "views must be"),
        ("glb", "a.glb", {"pitch": (91.0,)}, "pitches must lie within 89"),
        ("glb", "a.glb", {"resolution": 1}, "resolution of the volume rendering"),
        ("glb", "a.glb", {"mesh_resolution": 4}, "8 to 1024"),
        ("splat", "a.ply", {"splats": 0}, "splats must be 1"),
        ("splat", "a.ply", {"fit_steps": -1}, "steps of the fit must be 0 to"),
        ("splat", "a.ply", {"harmonics": 4}, "harmonics must be of degree 0 to 3"),
        ("colmap", "c", {"points": 0}, "points must be 1"),
        ("mp4", "a.mp4", {"frames": 0}, "frames must be 1"),
        ("mp4", "a.mp4", {"fps": 0}, "fps must be 1"),
    ],
)
def test_refuses_before_anything_is_read(tmp_path, to, out, options, message):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(panojax.InputError, match=message):
        run(Options(head=tmp_path / "no.npz", to=to, out=tmp_path / out, checkpoint="no", **options))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_refusal_is_one_line(files, tmp_path, capsys):
    assert export(files, "glb", tmp_path / "a.obj") == 2
    assert capsys.readouterr().err == f"panojax: error: out must end in .glb for glb, got '{tmp_path / 'a.obj'}'\n"


def test_a_file_stays_unless_overwriting_is_asked_for(tmp_path):
    (tmp_path / "a.glb").write_text("mine")
    with pytest.raises(panojax.InputError, match="unless --overwrite is given"):
        check_target(tmp_path / "a.glb", "glb", overwrite=False)
    check_target(tmp_path / "a.glb", "glb", overwrite=True)
    (tmp_path / "b.glb").mkdir()
    with pytest.raises(panojax.InputError, match="out must be a file for glb, got the folder"):
        check_target(tmp_path / "b.glb", "glb", overwrite=True)


def test_a_folder_that_may_not_be_written_to(tmp_path, monkeypatch):
    """As root everything may be, so the question is answered here."""

    def refuse(**options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    with pytest.raises(panojax.InputError, match="out must be writable"):
        check_target(tmp_path / "new" / "a.glb", "glb", overwrite=False)
