"""A sheet of heads seen from all sides, to look at.

python -m panojax.synthetic.sheet --out docs/heads_sheet.jpg --identities 40 --yaws 8 --size 128 --seed 0 --columns 2
"""

import math
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from panojax.disk.staging import replaced_when_done
from panojax.errors import InputError
from panojax.synthetic.assets import open_assets
from panojax.synthetic.cameras import camera_label
from panojax.synthetic.editions import draw_person, open_renderer
from panojax.terminal.bars import bar
from panojax.terminal.process import run_function

BACKGROUND = 235


def over(rgba: NDArray[np.uint8], background: float = BACKGROUND) -> NDArray[np.uint8]:
    """A picture (..., 4) with straight alpha over a grey background, 0..255."""
    alpha = rgba[..., 3:] / np.float32(255)
    return (rgba[..., :3] * alpha + (1 - alpha) * background + 0.5).astype(np.uint8)


def draw_sheet(
    identities: int,
    yaws: int,
    size: int,
    seed: int,
    columns: int,
    *,
    start: int = 0,
    elevation: float = 5.0,
    assets: Path | None = None,
    edition: int = 2,
) -> NDArray[np.uint8]:
    """RGB bytes of `identities` heads in `columns` columns, each a row of `yaws` views at `elevation` degrees."""
    source = open_assets(assets, edition)
    renderer = open_renderer(edition, size)
    labels = [camera_label(2 * math.pi * i / yaws, math.radians(elevation)) for i in range(yaws)]
    rows = []
    for number in bar(range(start, start + identities), desc="heads", unit="head"):
        draw_person(renderer, source, seed, number)
        rows.append(np.concatenate([over(renderer.view(label).rgba) for label in labels], axis=1))
    renderer.close()
    while len(rows) % columns:
        rows.append(np.full_like(rows[0], BACKGROUND))
    lines = [np.concatenate(rows[i : i + columns], axis=1) for i in range(0, len(rows), columns)]
    return np.concatenate(lines, axis=0)


def write_sheet(
    out: Path,
    *,
    identities: int = 40,
    yaws: int = 8,
    size: int = 128,
    seed: int = 0,
    columns: int = 2,
    start: int = 0,
    quality: int = 85,
    edition: int = 2,
) -> None:
    """Draws a sheet of heads seen from all sides.

    For example:

        python -m panojax.synthetic.sheet --out heads_sheet.jpg --identities 40 --columns 2

    Args:
      out: a picture file.
      identities: heads, in the order of their numbers.
      yaws: views of each, evenly around it.
      size: pixels of a view's side.
      seed: of the heads.
      columns: heads beside one another.
      start: number of the first head.
      quality: of a JPEG.
      edition: of the heads, 1 or 2.
    """
    for name, value in {"identities": identities, "yaws": yaws, "size": size, "columns": columns}.items():
        if value < 1:
            raise InputError(f"{name} must be at least 1, got {value}")
    with replaced_when_done(out, overwrite=True) as partial:
        sheet = draw_sheet(identities, yaws, size, seed, columns, start=start, edition=edition)
        Image.fromarray(sheet).save(partial, quality=quality)


def main(arguments: list[str] | None = None) -> int:
    """The command line; 2 for input that cannot be used."""
    return run_function(write_sheet, "python -m panojax.synthetic.sheet", arguments)


if __name__ == "__main__":
    sys.exit(main())
