"""What is shown to people: contact sheets and turntable videos. Pictures are uint8 [H, W, 3]."""

import contextlib
import itertools
import pathlib
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from panojax.disk.staging import replaced_when_done
from panojax.errors import InputError
from panojax.files.image_file import float_to_uint8

VIDEO_SUFFIXES = (".mp4", ".webp")
PAPER, INK = 255, 32


def to_uint8(picture: np.ndarray) -> np.ndarray:
    """A picture [H, W, 3] in [-1, 1] (clipped), or already in bytes, as uint8."""
    picture = np.asarray(picture)
    return picture if picture.dtype == np.uint8 else float_to_uint8(picture)


def sized(pictures: Iterable[np.ndarray], size: int | None) -> Iterator[np.ndarray]:
    """Pictures at `size` pixels a side, in bytes; None leaves them as they are."""
    for picture in pictures:
        if size is None or len(picture) == size:
            yield picture
        else:
            yield np.asarray(Image.fromarray(to_uint8(picture)).resize((size, size), Image.Resampling.LANCZOS))


def contact_sheet(
    pictures: Sequence[np.ndarray], titles: Sequence[str], *, columns: int, max_side: int = 512
) -> np.ndarray:
    """Pictures in rows from left to right, each with its title above it, as one picture on white.

    Args:
      pictures: N pictures, in bytes or in [-1, 1]; cells are as large as the first one.
      titles: N short texts.
      columns: cells of a row.
      max_side: larger pictures are reduced to this side.

    Raises:
      InputError: there is no picture, or another number of titles, or no column.
    """
    if not pictures or len(pictures) != len(titles) or columns < 1:
        raise InputError(
            f"a sheet needs a title for each picture and a column, got {len(pictures)} pictures, {len(titles)} titles "
            f"and {columns} columns"
        )
    height, width = np.shape(pictures[0])[:2]
    scale = min(1.0, max_side / max(height, width))
    height, width = max(1, round(height * scale)), max(1, round(width * scale))
    strip = max(16, height // 10)
    gap = max(2, height // 64)
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    paper = Image.new("RGB", (columns * (width + gap) + gap, rows * (height + strip + gap)), (PAPER,) * 3)
    draw, font = ImageDraw.Draw(paper), ImageFont.load_default(size=strip * 0.65)
    for index, (picture, title) in enumerate(zip(pictures, titles)):
        left, top = gap + index % columns * (width + gap), index // columns * (height + strip + gap)
        draw.text((left + width / 2, top + strip / 2), title, fill=(INK,) * 3, font=font, anchor="mm")
        cell = Image.fromarray(to_uint8(picture))
        if cell.size != (width, height):
            cell = cell.resize((width, height), Image.Resampling.LANCZOS)
        paper.paste(cell, (left, top + strip))
    return np.asarray(paper)


def write_video(
    path: str | pathlib.Path, frames: Iterable[np.ndarray], *, fps: int = 30, overwrite: bool = False
) -> None:
    """Writes frames as they come: H.264 in an .mp4 that any player shows, or an endless .webp animation.

    A frame with an odd side is extended by its last row or column in the .mp4.

    Args:
      path: ends in .mp4 or .webp.
      frames: pictures of one size, in bytes or in [-1, 1]; each is let go when it is written.
      fps: frames a second, 1 to 240.
      overwrite: replace a file that is there.

    Raises:
      InputError: another suffix, frames a second, or no frame; frames of several sizes; no ffmpeg; the file exists.
    """
    path = pathlib.Path(path)
    if path.suffix.lower() not in VIDEO_SUFFIXES:
        raise InputError(f"path must end in {' or '.join(VIDEO_SUFFIXES)}, got {str(path)!r}")
    if not 1 <= fps <= 240:
        raise InputError(f"fps must be 1 to 240 frames a second, got {fps}")
    write = _write_mp4 if path.suffix.lower() == ".mp4" else _write_webp
    with replaced_when_done(path, overwrite=overwrite) as partial:
        write(partial, _checked(frames), fps)


def _checked(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The frames in bytes, after a look at their shape."""
    first = None
    for frame in frames:
        first = np.shape(frame) if first is None else first
        if np.shape(frame) != first or len(first) != 3 or first[2] != 3:
            raise InputError(f"frames must be [H, W, 3] and of one size, got {np.shape(frame)} after {first}")
        yield to_uint8(frame)
    if first is None:
        raise InputError("frames must hold at least one picture, got none")


def _write_mp4(path: pathlib.Path, frames: Iterator[np.ndarray], fps: int) -> None:
    first = next(frames)
    height, width = first.shape[:2]
    even = ((0, height % 2), (0, width % 2), (0, 0))
    # Colours are converted and tagged as BT.709: of untagged ones, players guess by the picture's size.
    command = [
        *(find_ffmpeg(), "-y", "-loglevel", "error"),
        *("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width + width % 2}x{height + height % 2}"),
        *("-r", str(fps), "-i", "-", "-an"),
        *("-vf", "scale=out_color_matrix=bt709:out_range=tv", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "16"),
        *("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709"),
        *("-movflags", "+faststart", "-f", "mp4", f"file:{path}"),
    ]
    # Not imageio-ffmpeg's own writer: it runs Python in the forked child, which JAX's threads make unsafe. The session
    # of its own keeps Ctrl-C from the child.
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(command, stdin=subprocess.PIPE, stderr=said, start_new_session=True) as process,
    ):
        assert process.stdin is not None
        try:
            for frame in itertools.chain([first], frames):
                process.stdin.write(np.pad(frame, even, mode="edge").tobytes())
            process.stdin.close()
        except BaseException as error:
            process.kill()
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            # A broken pipe says that ffmpeg ended first; what it said follows.
            if not isinstance(error, BrokenPipeError):
                raise
        if process.wait():
            said.seek(0)
            reason = said.read().decode(errors="replace").strip() or f"exit code {process.returncode}"
            raise InputError(f"path must be a video that ffmpeg can write, it said: {reason.splitlines()[-1]}")


def find_ffmpeg(otherwise: str = ", or write a .webp") -> str:
    """The program that comes with imageio-ffmpeg, or the system's."""
    import imageio_ffmpeg

    try:
        return imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError:
        raise InputError(f"an .mp4 needs ffmpeg, which is not there: install it{otherwise}") from None


def _write_webp(path, frames, fps):
    images = (Image.fromarray(frame) for frame in frames)
    first = next(images)
    # The time of each frame is in whole milliseconds.
    first.save(
        path, "WEBP", save_all=True, append_images=images, duration=round(1000 / fps), loop=0, quality=90, method=2
    )
