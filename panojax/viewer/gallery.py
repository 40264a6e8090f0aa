"""The folder in which the page keeps photos and heads, and their thumbnails as the page shows them."""

import base64
import html
import io
import pathlib
import threading
from collections.abc import Iterable, Iterator

import numpy as np
from PIL import Image

from panojax.disk.staging import output_folder
from panojax.errors import InputError
from panojax.files.head_file import load_head, save_head
from panojax.files.image_file import read_image, write_image
from panojax.files.output import to_uint8
from panojax.generators.generator import Head
from panojax.params import Params
from panojax.terminal.progress import note
from panojax.viewer.uploads import Photo

HEAD, THUMBNAIL = "head.npz", "thumbnail.png"
SIDE = 96  # of a thumbnail in pixels


class Gallery:
    """A folder with a folder for each head: head.npz, thumbnail.png, and the photos that it was made of.

    Args:
      folder: made when the first head is kept.
    """

    def __init__(self, folder: pathlib.Path):
        self.folder = folder.absolute()
        self._keeping = threading.Lock()

    def keep(self, name: str, head: Head, picture: np.ndarray, photos: Iterable[Photo], *, params: Params) -> str:
        """Stores a head, whole or not at all, and gives the name of its folder, one that was not there.

        Args:
          name: harmless, see `uploads.safe_name`.
          picture: uint8 [S, S, 3] of it.
          params: the model that renders it.
        """
        with self._keeping:
            free = next(
                candidate
                for number in range(1, 100_000)
                if not (self.folder / (candidate := name if number == 1 else f"{name} {number}")).exists()
            )
            self._write(free, head, picture, photos, params)
        return free

    def _write(self, name: str, head: Head, picture: np.ndarray, photos: Iterable[Photo], params: Params) -> None:
        with output_folder(self.folder / name) as folder:
            save_head(head, folder / HEAD, params=params)
            write_image(folder / THUMBNAIL, thumbnail(picture))
            for number, photo in enumerate(photos):
                (folder / f"photo{number or ''}{photo.suffix}").write_bytes(photo.data)

    def heads(self, params: Params, most: int) -> Iterator[tuple[str, Head, np.ndarray | None]]:
        """Name, head and thumbnail of what is there and belongs to the model, at most so many, the oldest first."""
        found = sorted(self.folder.glob(f"*/{HEAD}"), key=lambda path: path.stat().st_mtime)
        for path in found[-most:] if most else ():
            try:
                yield path.parent.name, load_head(path, params), _read(path.with_name(THUMBNAIL))
            except InputError as error:
                note(f"left out: {error}")


def thumbnail(picture: np.ndarray) -> np.ndarray:
    """A picture uint8 [S, S, 3] at most `SIDE` pixels a side."""
    image = Image.fromarray(picture)
    image.thumbnail((SIDE, SIDE))
    return np.asarray(image)


def _read(path: pathlib.Path) -> np.ndarray | None:
    try:
        return thumbnail(to_uint8(read_image(path)[0]))
    except InputError:
        return None


def drop_zone(key: str, folder: pathlib.Path) -> str:
    """HTML of where photos are dropped, which `drop.js` looks for.

    Args:
      key: of the window.
      folder: where they are kept.
    """
    return (
        f'<div data-panojax-window="{html.escape(key)}" data-panojax-drop style="margin:0.5em;padding:1em;'
        'border:2px dashed #888;border-radius:8px;text-align:center;cursor:pointer">'
        "<b>Drop photos here</b>, or click to choose<br>"
        f"<small>kept in {html.escape(str(folder))}</small></div>"
    )


def gallery_html(heads: Iterable[tuple[int, str, np.ndarray]], shown: Iterable[int]) -> str:
    """HTML of thumbnails that show their heads when they are clicked.

    Args:
      heads: number, name and thumbnail uint8 [S, S, 3] of each.
      shown: numbers of those that the window shows.
    """
    shown, cells = set(shown), []
    for number, name, picture in heads:
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=85)
        source = base64.b64encode(file.getvalue()).decode()
        frame = "#228be6" if number in shown else "transparent"
        cells.append(
            f'<div data-panojax-head="{number}" title="{html.escape(name)}" style="width:64px;cursor:pointer">'
            f'<img src="data:image/jpeg;base64,{source}" alt="{html.escape(name)}" '
            f'style="width:60px;height:60px;border:2px solid {frame};border-radius:6px"><div style="font-size:11px;'
            f'overflow:hidden;white-space:nowrap;text-overflow:ellipsis">{html.escape(name)}</div></div>'
        )
    return f'<div style="display:flex;flex-wrap:wrap;gap:4px;margin:0.5em">{"".join(cells)}</div>'
