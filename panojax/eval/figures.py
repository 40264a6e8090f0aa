"""Figures of the evaluation: sheets of views, and curves of a figure over the angle from the portrait."""

import functools
import io
import math
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from PIL import Image

from panojax.disk.staging import replaced_when_done
from panojax.errors import InputError
from panojax.eval.records import Record
from panojax.files.image_file import write_image
from panojax.files.output import contact_sheet

COLOURS = ("#1b6ca8", "#d1495b", "#3a7d44", "#e08e1b", "#6a4c93", "#17a2a2", "#7f5539", "#555555")
WIDTH, HEIGHT, MARGIN = 420, 260, 48


def write_sheet(path: pathlib.Path, records: Mapping[str, Sequence[Record]], *, max_side: int = 192) -> None:
    """Writes `views_sheet` as a .png, if there is anything to show."""
    sheet = views_sheet(records, max_side=max_side)
    if sheet is not None:
        write_image(path, sheet, overwrite=True)


def views_sheet(records: Mapping[str, Sequence[Record]], *, max_side: int = 192) -> np.ndarray | None:
    """Portraits and views of them: a row a method, below a row of the true pictures where there are others.

    Args:
      records: {method: its records of the same samples}; those with "shown" are drawn.
      max_side: of a picture.

    Returns:
      A picture in bytes, or None where no record is shown.
    """
    pictures, titles = [], []
    for samples in zip(*records.values()):
        if "shown" not in samples[0]:
            continue
        true, angles = samples[0]["true"], [f"{angle}°" for angle in samples[0]["titles"].tolist()]
        rows = [("true", true)] if len(true) == len(angles) > 1 else []
        rows += [(method, record["shown"]) for method, record in zip(records, samples)]
        side = rows[-1][1].shape[1]
        for name, views in rows:
            pictures += [_at_side(true[0], side), *(_at_side(view, side) for view in views)]
            titles += ["input", *(f"{name} {angle}" for angle in angles)]
        columns = 1 + len(angles)
        missing = -len(pictures) % columns
        pictures += [np.full_like(pictures[-1], 255)] * missing
        titles += [""] * missing
    return contact_sheet(pictures, titles, columns=columns, max_side=max_side) if pictures else None


def write_jpeg(path: pathlib.Path, picture: np.ndarray, *, max_bytes: int, comment: str = "") -> None:
    """Writes a picture in bytes [H, W, 3] as a .jpg of the best quality that `max_bytes` allow.

    Args:
      comment: kept in the file.

    Raises:
      InputError: it does not fit at a quality of 40.
    """
    image = Image.fromarray(picture)
    save = functools.partial(image.save, format="JPEG", optimize=True, comment=comment)
    _write_best(path, save, range(92, 39, -4), max_bytes)


def write_animation(
    path: pathlib.Path, frames: Sequence[np.ndarray], *, max_bytes: int, fps: int = 12, comment: str = ""
) -> None:
    """Writes pictures in bytes [H, W, 3] as an endless .webp of the best quality that `max_bytes` allow.

    Args:
      comment: kept in the file, as XMP.

    Raises:
      InputError: it does not fit at a quality of 40.
    """
    first, *others = map(Image.fromarray, frames)
    options: dict[str, Any] = {
        "save_all": True,
        "append_images": others,
        "duration": round(1000 / fps),
        "loop": 0,
        "method": 4,
    }
    save = functools.partial(first.save, format="WEBP", xmp=comment.encode(), **options)
    _write_best(path, save, (90, 80, 70, 60, 50, 40), max_bytes)


def _write_best(path: pathlib.Path, save: Callable[..., None], qualities: Iterable[int], max_bytes: int) -> None:
    """Writes what `save(file, quality=...)` makes at the first of the qualities whose bytes are not too many."""
    for quality in qualities:
        buffer = io.BytesIO()
        save(buffer, quality=quality)
        if len(buffer.getvalue()) <= max_bytes:
            break
    else:
        raise InputError(f"{path} takes more than {max_bytes} bytes at any quality: show less")
    with replaced_when_done(path, overwrite=True) as partial:
        partial.write_bytes(buffer.getvalue())


def write_curves(
    path: pathlib.Path,
    title: str,
    x: Sequence[float],
    curves: Mapping[str, Sequence[float]],
    *,
    axis: str = "degrees from the portrait",
    ticks: Sequence[float] | None = None,
) -> None:
    """Curves over x as an .svg; NaN leaves a gap.

    Args:
      title: what the figures are.
      x: rising.
      curves: {method: figures, not negative}.
      axis: what x is.
      ticks: numbers below the axis; None has one at each of x, and marks the figures there.
    """
    finite = [y for ys in curves.values() for y in ys if not math.isnan(y)]
    if not finite or len(x) < 2:
        return
    top = max(finite) * 1.05 or 1.0

    def place(a: float, b: float) -> tuple[float, float]:
        across = (WIDTH - 2 * MARGIN) * (a - x[0]) / (x[-1] - x[0])
        return MARGIN + across, HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * b / top

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH + 110}" height="{HEIGHT}" font-family="sans-serif" '
        'font-size="11" fill="none"><rect width="100%" height="100%" fill="white"/>',
        f'<path d="M{MARGIN} {MARGIN}V{HEIGHT - MARGIN}H{WIDTH - MARGIN}" stroke="#888"/>',
        _text(MARGIN, MARGIN - 16, title, "start"),
        _text(WIDTH / 2, HEIGHT - 10, axis, "middle"),
    ]
    below = x if ticks is None else ticks
    lines += [_text(place(a, 0)[0], HEIGHT - MARGIN + 16, f"{a:g}", "middle") for a in below]
    lines += [_text(MARGIN - 6, place(x[0], top * i / 4)[1] + 4, f"{top * i / 4:.3g}", "end") for i in range(5)]
    for i, (method, ys) in enumerate(curves.items()):
        colour = COLOURS[i % len(COLOURS)]
        points = [place(a, y) for a, y in zip(x, ys) if not math.isnan(y)]
        path_data = " ".join(f"{'L' if j else 'M'}{a:.1f} {b:.1f}" for j, (a, b) in enumerate(points))
        lines.append(f'<path d="{path_data}" stroke="{colour}" stroke-width="1.8"/>')
        if ticks is None:
            lines += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.4" fill="{colour}"/>' for a, b in points]
        lines.append(_text(WIDTH - MARGIN + 12, MARGIN + 16 * i, method, "start", colour))
    with replaced_when_done(path, overwrite=True) as partial:
        partial.write_text("\n".join([*lines, "</svg>"]) + "\n")


def _text(x: float, y: float, text: str, anchor: str, colour: str = "#222") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'


def _at_side(picture: np.ndarray, side: int) -> np.ndarray:
    if picture.shape[0] == side:
        return picture
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BOX))
