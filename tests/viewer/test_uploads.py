"""Photos that come in over the page's websocket, and what is refused in one line."""

import asyncio
import io
import json

import numpy as np
import pytest
from browser import bomb
from PIL import Image

from panojax.errors import InputError
from panojax.viewer import uploads
from panojax.viewer.uploads import Uploads, check_photo, check_size, safe_name


def picture(kind="JPEG", side=32):
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (side, side, 3), np.uint8)).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("me.jpg", "me"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\Ann & Bob.PNG", "Ann Bob"),
        ("<img src=x onerror=alert(1)>.jpg", "img src x onerror alert 1"),
        ("Zoë.jpg", "Zoë"),
        ("a\nb\0c.jpg", "a b c"),
        (".jpg", "jpg"),
        ("", "photo"),
        ("...", "photo"),
        (None, "None"),
        ("x" * 5000, "x" * 60),
    ],
)
def test_names_are_harmless(given, name):
    assert safe_name(given) == name


@pytest.mark.parametrize("size", [None, -1, True, 0.5, "9", 0, uploads.MAX_BYTES + 1, 2**30])
def test_sizes_that_are_not_taken(size):
    with pytest.raises(InputError, match="me must"):
        check_size("me", size)


def test_photos_are_known_by_their_bytes():
    assert check_photo("me", picture("PNG")).suffix == ".png"
    assert check_photo("me", picture("JPEG")).suffix == ".jpg"
    for data, message in (
        (b"#!/bin/sh\nrm -rf ~\n", "which is none"),
        (b"<svg onload='alert(1)'/>", "which is none"),
        (bomb(), "million pixels"),
        (picture()[:-200], "whole picture"),
        (picture(side=8), "at least 16 pixels"),
    ):
        with pytest.raises(InputError, match=message):
            check_photo("me", data)


class Window:
    """As much of a window as uploads know."""

    def __init__(self):
        self.refused, self.told, self.photos, self.shown, self.room = [], [], [], [], 24

    def refuse(self, name, line):
        self.refused.append((name, line))

    def tell(self, line):
        self.told.append(line)

    def check_room(self, count):
        if count > self.room:
            raise InputError("no room")

    def take(self, photos):
        self.photos += photos

    def show(self, number):
        self.shown.append(number)


class Connection:
    """A page that sends each file when it is asked for it, in parts; `lies` sends others."""

    def __init__(self, header, files=(), part=100):
        self.asked, self.files, self.part = [], files, part
        self.out = [header if isinstance(header, str | bytes) else json.dumps(header)]

    async def send(self, text):
        self.asked.append(json.loads(text)["next"])
        data = self.files[self.asked[-1]]
        self.out += [data[i : i + self.part] for i in range(0, len(data), self.part)]

    async def recv(self):
        if not self.out:
            await asyncio.sleep(60)
        return self.out.pop(0)


def drop(window, sizes, files, **header):
    told = [{"name": f"photo{i}.jpg", "size": size} for i, size in enumerate(sizes)]
    connection = Connection({"window": "key", "files": told} | header, files)
    asyncio.run(Uploads({"key": window}.get).receive(connection))
    return connection.asked


def test_a_drop_of_several_photos():
    window, files = Window(), [picture(), picture("PNG")]
    assert drop(window, map(len, files), files) == [0, 1]
    assert [(photo.name, photo.data, photo.suffix) for photo in window.photos] == [
        ("photo0", files[0], ".jpg"),
        ("photo1", files[1], ".png"),
    ]
    assert window.told[-1] == "receiving photo1, 100%" and not window.refused


def test_a_gigabyte_is_refused_before_a_byte_of_it_is_sent():
    window, good = Window(), picture()
    assert drop(window, (2**30, len(good)), (b"", good)) == [1]
    assert window.refused == [("photo0", "photo0 must have at most 64 MiB, got 1024 MiB")]
    assert [photo.name for photo in window.photos] == ["photo1"]


def test_scripts_and_bombs_are_refused_in_one_line():
    window, files = Window(), [b"#!/bin/sh\nreboot\n", bomb()]
    drop(window, map(len, files), files)
    assert [name for name, _ in window.refused] == ["photo0", "photo1"] and not window.photos
    assert "photo0 must be a picture" in window.refused[0][1] and "million pixels" in window.refused[1][1]
    assert not any("\n" in line for _, line in window.refused)


def test_more_bytes_than_were_told():
    window = Window()
    drop(window, (50,), (bytes(120),))
    assert window.refused == [("photo0", "photo0 must have the bytes that it came with, 50, got others")]
    drop(window, (50,), (["text"],))
    assert len(window.refused) == 2 and not window.photos


def test_silence_ends_a_drop(monkeypatch):
    """Of a drop that stops arriving, what has arrived is taken, and the page told."""
    monkeypatch.setattr(uploads, "PATIENCE", 0.05)
    window, good = Window(), picture()
    drop(window, (len(good), 500, 500), (good, bytes(100), b""))
    assert [photo.name for photo in window.photos] == ["photo0"]
    assert window.refused == [("photo1", "it stopped arriving")]


def test_a_file_that_the_page_cannot_read():
    """Such as a folder, for which the page sends an empty text: the others are taken."""
    window, good = Window(), picture()
    drop(window, (4096, len(good)), ([""], good))
    assert [photo.name for photo in window.photos] == ["photo1"] and len(window.refused) == 1


def test_no_room_and_too_much_at_once(monkeypatch):
    """Both are said before a byte is sent."""
    window, good = Window(), picture()
    window.room = 1
    assert drop(window, (len(good), len(good)), (good, good)) == []
    assert window.refused == [("photos", "no room")]
    monkeypatch.setattr(uploads, "MAX_DROP", 2**21)
    assert drop(window, (2**21, 2**21), (b"", b"")) == []
    assert window.refused[-1] == ("photos", "at most 2 MiB at once, got 4 MiB")


def test_too_many_at_once():
    window = Window()
    assert drop(window, [10] * 25, [b""] * 25) == []
    assert window.refused == [("photos", "at most 24 at once, got 25")]


@pytest.mark.parametrize(
    "header",
    [
        *(b"bytes", "", "[]", "null", "{}", "9" * 5, "[" * 9000, "x" * 2**17),
        *({"window": "other", "show": 1}, {"window": "key", "files": 3}, {"window": "key", "files": [1]}),
    ],
)
def test_headers_that_are_none(header):
    window = Window()
    asyncio.run(Uploads({"key": window}.get).receive(Connection(header)))
    assert not (window.photos or window.shown or window.refused)


def test_a_click_in_the_gallery():
    window = Window()
    assert drop(window, (), (), show=3) == []
    assert window.shown == [3]
