"""Contact sheets and videos, read back."""

import os
import re
import subprocess

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from panojax.errors import InputError
from panojax.files.output import contact_sheet, to_uint8, write_video


def gradient(height, width, shift=0):
    """Smooth colours uint8 [height, width, 3] that differ in every channel."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 255 // height, columns * 255 // width, np.full_like(rows, 40 + shift)], -1).astype(np.uint8)


def decode(path):
    """The frames [N, H, W, 3] of a video, by ffmpeg."""
    exe = imageio_ffmpeg.get_ffmpeg_exe()
    said = subprocess.run([exe, "-i", str(path)], capture_output=True, text=True, check=False).stderr
    width, height = map(int, re.search(r"yuv420p.* (\d+)x(\d+)", said).groups())
    command = [exe, "-loglevel", "error", "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3), said


def test_to_uint8_rounds_clips_and_keeps_bytes():
    picture = np.array([[[-1.0, 0.0, 1.0], [-7.0, 0.5, 7.0]]])
    assert to_uint8(picture).tolist() == [[[0, 128, 255], [0, 191, 255]]]
    bytes_ = gradient(4, 4)
    assert to_uint8(bytes_) is bytes_
    with pytest.raises(InputError, match="finite"):
        to_uint8(np.full((2, 2, 3), np.nan))


def test_sheet_holds_every_picture_and_draws_its_title():
    pictures = [np.full((100, 100, 3), 20 * (i + 1), np.uint8) for i in range(5)]
    sheet = contact_sheet(pictures, ["0°", "90°", "", "270°", "back"], columns=3)
    strip, gap = 16, 2
    assert sheet.shape == (2 * (100 + strip + gap), 3 * (100 + gap) + gap, 3)
    for i, picture in enumerate(pictures):
        top, left = i // 3 * (100 + strip + gap) + strip, gap + i % 3 * (100 + gap)
        np.testing.assert_array_equal(sheet[top : top + 100, left : left + 100], picture)
        title = sheet[top - strip : top, left : left + 100]
        assert (title.min() < 128) == (i != 2)  # ink, but for the empty title
    assert (sheet[118 + strip :, 2 * 102 + gap :] == 255).all()  # the cell that is left over


def test_sheet_reduces_large_pictures():
    sheet = contact_sheet([gradient(600, 300)], ["front"], columns=4, max_side=200)
    assert sheet.shape == (200 + 20 + 3, 100 + 2 * 3, 3)


@pytest.mark.parametrize(("count", "titles", "columns"), [(0, 0, 1), (2, 1, 1), (1, 1, 0)])
def test_sheet_refuses(count, titles, columns):
    with pytest.raises(InputError, match="a sheet needs"):
        contact_sheet([gradient(8, 8)] * count, ["x"] * titles, columns=columns)


def test_mp4_keeps_frames_colours_and_order(tmp_path):
    frames = [gradient(64, 96, 20 * i) for i in range(10)]
    write_video(tmp_path / "turn.mp4", iter(frames), fps=25)
    decoded, said = decode(tmp_path / "turn.mp4")
    assert "h264" in said and "yuv420p" in said and "bt709" in said and "25 fps" in said
    assert decoded.shape == (10, 64, 96, 3)
    # Chroma at half the resolution and crf 16 are off by a few of 255; a wrong matrix or range by ten and more.
    assert np.abs(decoded.astype(int) - np.stack(frames)).mean() < 2.5
    assert os.listdir(tmp_path) == ["turn.mp4"]


def test_mp4_makes_sides_even(tmp_path):
    write_video(tmp_path / "odd.mp4", [gradient(33, 47)] * 3)
    decoded, _ = decode(tmp_path / "odd.mp4")
    assert decoded.shape == (3, 34, 48, 3)


def test_webp_is_an_endless_animation(tmp_path):
    frames = [gradient(40, 30, 50 * i) / 127.5 - 1 for i in range(4)]
    write_video(tmp_path / "turn.webp", frames, fps=20)
    with Image.open(tmp_path / "turn.webp") as image:
        assert (image.n_frames, image.size, image.info["loop"]) == (4, (30, 40), 0)
        image.seek(3)
        image.load()
        assert image.info["duration"] == 50
        assert np.abs(np.asarray(image.convert("RGB")).astype(int) - gradient(40, 30, 150)).mean() < 5


@pytest.mark.parametrize(
    ("name", "frames", "fps", "message"),
    [
        ("a.gif", [gradient(8, 8)], 30, "must end in .mp4 or .webp"),
        ("a.mp4", [gradient(8, 8)], 0, "fps must be 1 to 240"),
        ("a.mp4", [], 30, "at least one"),
        ("a.webp", [], 30, "at least one"),
        ("a.mp4", [gradient(8, 8), gradient(8, 10)], 30, "of one size"),
        ("a.mp4", [gradient(8, 8)[..., 0]], 30, "H, W, 3"),
        ("a.mp4", [np.full((8, 8, 3), np.nan)], 30, "finite"),
    ],
)
def test_video_refuses_and_writes_nothing(tmp_path, name, frames, fps, message):
    with pytest.raises(InputError, match=message):
        write_video(tmp_path / name, frames, fps=fps)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.mp4", "a.webp"])
def test_video_passes_on_what_stops_its_frames(tmp_path, name):
    def frames():
        yield from [gradient(256, 256, i) for i in range(20)]
        raise KeyError("stopped")

    with pytest.raises(KeyError, match="stopped"):
        write_video(tmp_path / name, frames())
    assert not list(tmp_path.iterdir())


def test_video_keeps_an_existing_file(tmp_path):
    path = tmp_path / "a.webp"
    path.write_bytes(b"mine")
    with pytest.raises(InputError, match="must not exist yet"):
        write_video(path, [gradient(8, 8)])
    assert path.read_bytes() == b"mine"
    write_video(path, [gradient(8, 8)], overwrite=True)
    assert path.read_bytes()[:4] == b"RIFF"


def test_video_says_what_ffmpeg_said(tmp_path, monkeypatch):
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\necho 'no such encoder' >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(program))
    with pytest.raises(InputError, match="it said: no such encoder"):
        write_video(tmp_path / "a.mp4", [gradient(256, 256)] * 50)
    assert os.listdir(tmp_path) == ["ffmpeg"]


def test_video_says_that_there_is_no_ffmpeg(tmp_path, monkeypatch):
    def missing():
        raise RuntimeError("No ffmpeg exe could be found.")

    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", missing)
    with pytest.raises(InputError, match=r"install it, or write a \.webp"):
        write_video(tmp_path / "a.mp4", [gradient(8, 8)])
    assert not list(tmp_path.iterdir())
