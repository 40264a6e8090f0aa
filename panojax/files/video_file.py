"""Frames of a video that someone made, by ffmpeg: few, small, and only of the common containers."""

import os
import pathlib
import re
import subprocess
import tempfile
from collections.abc import Iterator
from typing import IO

import numpy as np

from panojax.disk.reading import shown
from panojax.errors import InputError
from panojax.files.output import find_ffmpeg

SUFFIXES = (".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi")
# ffmpeg's demuxers for these. Playlists and lists of files, which name others, are not among them.
_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi"
_HEADER = re.compile(rb"P6\s(\d+)\s(\d+)\s255\s")
_SLOWEST = 2.0  # frames a second where the video does not say how long it is


def is_video(path: str | os.PathLike) -> bool:
    """Whether a file's name is a video's."""
    return pathlib.PurePath(path).suffix.lower() in SUFFIXES


def read_frames(
    path: str | os.PathLike, *, most: int = 120, fastest: float = 15.0, side: int = 1280
) -> Iterator[tuple[float, np.ndarray]]:
    """Frames spread evenly over a video: (seconds from its start, uint8 [H, W, 3]), upright as its rotation says.

    Args:
      path: the video.
      most: frames at most.
      fastest: frames a second at most.
      side: larger frames are reduced so that none of their sides is longer.

    Raises:
      InputError: there is no such file, it is no video, or it has no frame that can be decoded.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise InputError(f"video must be a file, got {shown(path)}, which is none")
    rate = min(fastest, most / seconds) if (seconds := _duration(path)) else _SLOWEST
    scale = f"scale='min({side},iw)':'min({side},ih)':force_original_aspect_ratio=decrease"
    command = [
        *_input(path),
        *("-map", "0:v:0", "-vf", f"fps={rate:.6f}:round=up,{scale}", "-frames:v", str(most)),
        *("-f", "image2pipe", "-c:v", "ppm", "-"),
    ]
    count = 0
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, start_new_session=True) as process,
    ):
        assert process.stdout is not None
        try:
            while (frame := _next_frame(process.stdout, side)) is not None:
                yield count / rate, frame
                count += 1
        finally:
            process.kill()
        if not count:
            said.seek(0)
            reason = said.read().decode(errors="replace").strip() or "it has no frame"
            raise InputError(f"video must be one that ffmpeg can read, {shown(path)}: {reason.splitlines()[-1][:200]}")


def _input(path: pathlib.Path) -> list[str]:
    guard = ["-format_whitelist", _CONTAINERS, "-protocol_whitelist", "file,pipe"]
    return [find_ffmpeg(otherwise=""), "-nostdin", "-loglevel", "error", *guard, "-i", f"file:{path}"]


def _duration(path: pathlib.Path) -> float | None:
    """Seconds of a video as it says itself, or None."""
    command = [*_input(path), "-hide_banner"]
    command[command.index("error")] = "info"
    done = subprocess.run(command, capture_output=True, start_new_session=True, check=False)
    found = re.search(rb"Duration: (\d+):(\d\d):(\d\d(?:\.\d+)?)", done.stderr)
    if found is None:
        return None
    seconds = 3600 * int(found[1]) + 60 * int(found[2]) + float(found[3])
    return seconds if seconds > 0 else None


def _next_frame(stream: IO[bytes], side: int) -> np.ndarray | None:
    """The next PPM picture of a stream, or None at its end."""
    header = b""
    while not (match := _HEADER.fullmatch(header)):
        byte = stream.read(1)
        if not byte or len(header) > 32:
            return None
        header += byte
    width, height = int(match[1]), int(match[2])
    if not 0 < width <= side or not 0 < height <= side:
        return None
    pixels = stream.read(3 * width * height)
    if len(pixels) < 3 * width * height:
        return None
    return np.frombuffer(pixels, np.uint8).reshape(height, width, 3)
