"""Many photos at once: good ones are aligned, bad ones listed, and a second run does only what is missing."""

import json
import sys
import types

import numpy as np
import pytest
from PIL import Image

from panojax.data.balance import back_copies
from panojax.data.photo_reader import open_photos
from panojax.disk.locks import alone_in
from panojax.errors import InputError, OutputError
from panojax.files.image_file import read_image, write_image
from panojax.photo import finding
from panojax.photo import folder as folder_module
from panojax.photo.folder import align_folder
from panojax.photo.framing import HEADS
from panojax.photo.head_pose import Head
from panojax.photo.pose import pose_rotation


@pytest.fixture
def photos(tmp_path, astronaut):
    """A good photo, an empty file and a picture without a face, in a folder."""
    source = tmp_path / "photos"
    write_image(source / "a.png", astronaut)
    (source / "b.jpg").write_bytes(b"")
    write_image(source / "c.png", np.zeros((64, 64, 3), np.uint8))
    (source / "notes.txt").write_text("no photo")
    return source


def run(photos, out, **options):
    return align_folder(photos, out, size=64, progress=False, **options)


def test_a_folder_is_an_eg3d_data_set(photos, tmp_path):
    out = tmp_path / "out"
    report = run([photos, tmp_path / "missing.png", photos / "a.png"], out)
    a = str(photos / "a.png")
    assert report.aligned == ((a, "img00000000.png"), (a, "img00000004.png"))
    assert [photo.rpartition("/")[2] for photo, _ in report.failed] == ["b.jpg", "c.png", "missing.png"]
    reasons = [reason for _, reason in report.failed]
    assert "empty" in reasons[0] and "photo must show a head" in reasons[1] and "does not exist" in reasons[2]
    assert report.warned[0][0] == a and "details will be missing" in report.warned[0][1][0]
    labels = json.loads((out / "dataset.json").read_text())["labels"]
    assert [name for name, _ in labels] == ["img00000000.png", "img00000004.png"]
    assert all(len(label) == 25 for _, label in labels) and labels[0][1] == labels[1][1]
    np.testing.assert_allclose(labels[0][1][16:], [4.2647, 0, 0.5, 0, 4.2647, 0.5, 0, 0, 1])
    with Image.open(out / "img00000000.png") as image, Image.open(out / "mask00000000.png") as mask:
        assert (image.mode, image.size, mask.mode, mask.size) == ("RGB", (64, 64), "L", (64, 64))
        assert np.asarray(mask)[32, 32] == 255
    assert [entry["photo"] for entry in json.loads((out / "failed.json").read_text())] == [p for p, _ in report.failed]
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


def test_heads_from_behind_are_counted(photos, tmp_path, monkeypatch, astronaut):
    """Also by a run that finds them done; and their labels are those of cameras behind the head."""
    back = Head((250.0, 160.0), 200.0, pose_rotation(3.0, 0.1), 0.9)
    write_image(photos / "c.png", astronaut[::-1], overwrite=True)
    monkeypatch.setattr(finding, "detect_faces", lambda rgb: [])
    monkeypatch.setattr(finding, "find_heads", lambda rgb: [back] if rgb.shape[0] == 512 else [])
    for _ in range(2):
        report = run([photos / "a.png", photos / "c.png"], tmp_path / "out")
        assert (len(report.aligned), report.behind, report.by_network) == (2, 2, 2)
    cameras = open_photos(tmp_path / "out", masks=".").cameras
    np.testing.assert_array_equal(back_copies(cameras, 4), [4, 4])
    assert "aligned by the head pose network" in report.warned[0][1][0]


def test_a_second_run_does_only_what_is_missing(photos, tmp_path, monkeypatch, astronaut):
    out, calls = tmp_path / "out", []
    true_align = folder_module.align
    monkeypatch.setattr(folder_module, "align", lambda photo, **o: (calls.append(photo), true_align(photo, **o))[1])
    sources = [photos / "a.png", photos / "d.png"]
    write_image(photos / "d.png", astronaut[:, ::-1])
    first = run(sources, out)
    assert run(sources, out) == first and len(calls) == 2
    (out / "mask00000001.png").unlink()
    assert run(sources, out) == first and calls[2:] == [str(sources[1])]
    write_image(photos / "a.png", astronaut[:500], overwrite=True)
    run(sources, out)
    assert calls[3:] == [str(sources[0])]
    (photos / "a.png").unlink()
    assert [photo for photo, _ in run(sources, out).failed] == [str(sources[0])]
    assert not (out / "img00000000.png").exists()


def test_an_interrupted_run_leaves_no_half_photo(photos, tmp_path, monkeypatch):
    out = tmp_path / "out"
    true_write = folder_module.write_image

    def stop_at_the_mask(path, *arguments, **options):
        if path.name.startswith("mask"):
            raise KeyboardInterrupt
        true_write(path, *arguments, **options)

    monkeypatch.setattr(folder_module, "write_image", stop_at_the_mask)
    with pytest.raises(KeyboardInterrupt):
        run([photos / "a.png"], out)
    assert not (out / "img00000000.json").exists() and not (out / "dataset.json").exists()
    monkeypatch.setattr(folder_module, "write_image", true_write)
    assert len(run([photos / "a.png"], out).aligned) == 1


def test_other_folders_are_left_alone(photos, tmp_path):
    with pytest.raises(InputError, match="out must be a new or empty folder or one that align filled"):
        run([photos / "a.png"], photos)
    run([photos / "c.png"], tmp_path / "out")
    with pytest.raises(InputError, match="out must have been filled with the same face, size and framing"):
        run([photos / "c.png"], tmp_path / "out", framing=HEADS)
    with pytest.raises(InputError, match="out must be a folder, got the file"):
        run([photos / "c.png"], photos / "notes.txt")


def test_crops_of_photos_that_are_gone_go_with_them(photos, tmp_path, astronaut):
    """So that the folder stays a data set whose pictures all have labels."""
    out = tmp_path / "out"
    write_image(photos / "d.png", astronaut[:, ::-1])
    run([photos / "a.png", photos / "d.png"], out)
    assert (out / "img00000001.png").exists()
    run([photos / "a.png"], out)
    left = sorted(path.name for path in out.glob("*0000*"))
    assert left == ["img00000000.json", "img00000000.png", "mask00000000.png"]
    assert len(json.loads((out / "dataset.json").read_text())["labels"]) == 1


def test_pictures_that_cannot_be_read_here_are_named(photos, tmp_path, astronaut, monkeypatch):
    """HEIC without its package, and .jfif, which is JPEG."""
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (photos / "a.png").rename(photos / "a.keep")
    (photos / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    Image.fromarray(np.uint8((astronaut + 1) * 127.5)).save(photos / "e.jfif", "JPEG")
    report = run([photos], tmp_path / "out")
    assert [photo.rpartition("/")[2] for photo, _ in report.aligned] == ["e.jfif"]
    reasons = {photo.rpartition("/")[2]: reason for photo, reason in report.failed}
    assert "HEIC: convert it first, or pip install pillow-heif" in reasons["IMG_1.HEIC"]


def test_heic_is_read_where_its_package_is_there(tmp_path, monkeypatch):
    """A stand-in for `pillow_heif`, which decodes."""
    picture = Image.fromarray(np.arange(32 * 32 * 3, dtype=np.uint32).astype(np.uint8).reshape(32, 32, 3))
    opened = types.SimpleNamespace(to_pillow=lambda: picture)
    module = types.SimpleNamespace(open_heif=lambda file, convert_hdr_to_8bit: opened)
    monkeypatch.setitem(sys.modules, "pillow_heif", module)
    (tmp_path / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    rgb, alpha = read_image(tmp_path / "IMG_1.HEIC")
    np.testing.assert_allclose((rgb + 1) * 127.5, np.asarray(picture), atol=1e-4)
    assert alpha is None


@pytest.mark.parametrize(
    ("paths", "options", "message"),
    [
        ([], {}, "paths must name at least one photo"),
        ("a.png", {}, "paths must be a list of photos, got 'a.png'"),
        (["a.png"], {"face": "all"}, "face must be largest, center, only or a number"),
    ],
)
def test_bad_arguments_are_refused(tmp_path, paths, options, message):
    with pytest.raises(InputError, match=message):
        run(paths, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_no_fault_of_a_photo(photos, tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise OutputError("path must be writable, got 'img00000000.png': No space left on device", 74)

    monkeypatch.setattr(folder_module, "write_image", full)
    monkeypatch.setattr(folder_module, "align", lambda photo, **options: types.SimpleNamespace(image=None, mask=0))
    with pytest.raises(OutputError, match=r"^out must be writable, got .*No space left on device") as caught:
        run([photos], tmp_path / "out")
    assert caught.value.code == 74


def test_one_run_at_a_time_and_places_that_cannot_be_written(photos, tmp_path):
    with alone_in(tmp_path / "out"), pytest.raises(OutputError, match="one run at a time"):
        (tmp_path / "out" / folder_module.SETTINGS).unlink(missing_ok=True)
        run([photos], tmp_path / "out")
    for out in ("/proc/aligned", tmp_path / ("x" * 300)):
        with pytest.raises(OutputError, match="out must be writable"):
            run([photos], out)
