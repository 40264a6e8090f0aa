"""Photos that a person drops on the page: how they come in, and what is refused before it is believed.

The page opens a websocket, says which files it has and how large they are, and sends the bytes of one when it is asked
for it. So nothing that is too large is ever sent, and what comes is counted. Names are for showing alone: they never
become a path before `safe_name` has been at them.
"""

import asyncio
import dataclasses
import io
import json
import pathlib
import re
import unicodedata
from collections.abc import Callable
from typing import Any, Protocol

from PIL import Image

from panojax.errors import InputError
from panojax.files.image_file import FORMATS, read_image

MAX_BYTES = 64 * 2**20  # of a photo
MAX_PHOTOS = 24  # of one drop
MAX_DROP = 256 * 2**20  # bytes of one drop
MAX_AT_ONCE = 4  # drops that are on their way
MAX_HEADER = 2**16
PATIENCE = 60.0  # seconds without a byte
SUFFIXES = {"JPEG": ".jpg", "MPO": ".jpg", "TIFF": ".tif", "JPEG2000": ".jp2"}


@dataclasses.dataclass(frozen=True)
class Photo:
    """A photo that can be decoded.

    Attributes:
      name: short and harmless, without a suffix.
      data: the file as it came.
      suffix: by what the file is, whatever its name said.
    """

    name: str
    data: bytes
    suffix: str


class Host(Protocol):
    """One browser's window, as uploads know it."""

    def refuse(self, name: str, line: str) -> None:
        """Says in one line why a file is not taken."""

    def tell(self, line: str) -> None:
        """Says what is going on."""

    def check_room(self, count: int) -> None:
        """Raises InputError where so many photos more are too many."""

    def take(self, photos: list[Photo]) -> None:
        """Gets the photos of one drop."""

    def show(self, number: int) -> None:
        """Shows a head of the gallery."""


def safe_name(text: object) -> str:
    """A file's name without its folders and suffix, of letters, digits, blanks, - and _ alone, at most 60."""
    stem = pathlib.PurePosixPath(str(text)[:1000].replace("\\", "/")).stem
    plain = unicodedata.normalize("NFC", stem)
    return re.sub(r"[^\w-]+", " ", plain)[:60].strip(" -_") or "photo"


def check_size(name: str, size: object) -> int:
    """A file's size in bytes, or an InputError unless it is one that is taken."""
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise InputError(f"{name} must come with its size in bytes, got {str(size)[:40]!r}")
    if size == 0:
        raise InputError(f"{name} must be a picture, got an empty file")
    if size > MAX_BYTES:
        raise InputError(f"{name} must have at most {MAX_BYTES >> 20} MiB, got {size >> 20} MiB")
    return size


def check_photo(name: str, data: bytes) -> Photo:
    """The photo in a file's bytes, decoded once as `panojax.photo.align` does.

    Raises:
      InputError: it is no picture, broken, or a decompression bomb.
    """
    size = f"{check_size(name, len(data))} bytes"
    try:
        read_image(data)
    except InputError as error:
        raise InputError(
            str(error).replace("source", name, 1).replace(f"got {size}", f"got a file of {size}")
        ) from error
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            kind = image.format or ""
    except OSError:
        kind = "HEIC"  # which Pillow leaves to another package
    return Photo(name, data, SUFFIXES.get(kind, f".{kind.lower()}"))


def _silences() -> tuple[type[Exception], ...]:
    """What a connection raises that says no more; the package comes with viser, which the base installation lacks."""
    from websockets.exceptions import ConnectionClosed

    return TimeoutError, ConnectionClosed


class Uploads:
    """The page's websocket: one connection for each drop.

    Args:
      find: the window of a key that only its own page knows, or None.
    """

    def __init__(self, find: Callable[[str], Host | None]):
        self._find, self._busy = find, 0

    async def receive(self, connection: Any) -> None:
        """Serves a connection to its end."""
        try:
            header = await asyncio.wait_for(connection.recv(), PATIENCE)
        except _silences():
            return
        try:
            if not isinstance(header, str) or len(header) > MAX_HEADER:
                raise ValueError("no header")
            asked = json.loads(header)
            host = self._find(str(asked["window"]))
            shown, files = asked.get("show"), [(entry["name"], entry["size"]) for entry in asked.get("files", ())]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return
        if host is None:
            return
        if isinstance(shown, int):
            await asyncio.to_thread(host.show, shown)
        if not files:
            return
        if len(files) > MAX_PHOTOS or self._busy >= MAX_AT_ONCE:
            most = f"at most {MAX_PHOTOS} at once, got {len(files)}"
            host.refuse("photos", most if len(files) > MAX_PHOTOS else "wait until those before them have arrived")
            return
        total = sum(size for _, size in files if isinstance(size, int) and 0 < size <= MAX_BYTES)
        if total > MAX_DROP:
            host.refuse("photos", f"at most {MAX_DROP >> 20} MiB at once, got {total >> 20} MiB")
            return
        try:
            host.check_room(len(files))
        except InputError as error:
            host.refuse("photos", str(error))
            return
        self._busy += 1
        try:
            photos = await _all(connection, host, files)
        finally:
            self._busy -= 1
        if photos:
            host.take(photos)


async def _all(connection: Any, host: Host, files: list[tuple[object, object]]) -> list[Photo]:
    """The photos of a drop's files that are taken; those before the one at which the page fell silent."""
    photos = []
    for i, (name, size) in enumerate(files):
        try:
            photo = await _one(connection, host, i, name, size)
        except _silences():
            host.refuse(safe_name(name), "it stopped arriving")
            break
        if photo is not None:
            photos.append(photo)
    return photos


async def _one(connection: Any, host: Host, index: int, told_name: object, told_size: object) -> Photo | None:
    """The photo of one file of a drop; None where it is refused."""
    name = safe_name(told_name)
    try:
        size = check_size(name, told_size)
        await connection.send(json.dumps({"next": index}))
        data = bytearray()
        while len(data) < size:
            part = await asyncio.wait_for(connection.recv(), PATIENCE)
            if not isinstance(part, bytes) or not 0 < len(part) <= size - len(data):
                raise InputError(f"{name} must have the bytes that it came with, {size}, got others")
            data += part
            host.tell(f"receiving {name}, {100 * len(data) // size}%")
        return await asyncio.to_thread(check_photo, name, bytes(data))
    except InputError as error:
        host.refuse(name, str(error))
    except MemoryError:
        host.refuse(name, "it needs more memory than there is")
    return None
