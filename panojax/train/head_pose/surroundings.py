"""What heads are put before: crops of panoramas, and drawn clutter."""

import concurrent.futures
import functools
import multiprocessing
import os
import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from panojax.errors import InputError
from panojax.files.image_file import float_to_uint8, read_image

SIDE = 192
MANY = 2000  # pictures, from which on starting processes is worth it
CLUTTER = ("leaves", "noise", "stripes", "gradient", "balls")
SHARES = (0.45, 0.2, 0.1, 0.15, 0.1)


def draw_surroundings(count: int, seed: int, panoramas: Sequence[np.ndarray] = ()) -> np.ndarray:
    """Pictures without people: uint8 [count, SIDE, SIDE, 3].

    Two in five are crops of `panoramas` (uint8 [H, 2 H, 3], in latitude and longitude), where there are any; the rest
    is clutter by `clutter`. Picture i is the seed's, whatever the count; many are drawn by several processes.
    """
    draw = functools.partial(_draw_one, seed=seed, panoramas=tuple(panoramas))
    processes = (os.cpu_count() or 1) if count >= MANY else 1
    if processes == 1:
        return np.stack([draw(i) for i in range(count)])
    with concurrent.futures.ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        return np.stack(list(pool.map(draw, range(count), chunksize=50)))


def _draw_one(number, *, seed, panoramas):
    rng = np.random.default_rng((seed, number))
    if panoramas and rng.random() < 0.4:
        return look(panoramas[int(rng.integers(len(panoramas)))], rng)
    return clutter(str(rng.choice(CLUTTER, p=SHARES)), rng)


def read_panoramas(folder: pathlib.Path) -> dict[str, np.ndarray]:
    """{name: uint8 [H, 2 H, 3]} of a folder's pictures, twice as wide as high. InputError where there is none."""
    found = {
        path.stem: float_to_uint8(read_image(path)[0])
        for path in sorted(folder.iterdir() if folder.is_dir() else ())
        if path.suffix.lower() in (".png", ".jpg")
    }
    if not found or any(picture.shape[1] != 2 * picture.shape[0] for picture in found.values()):
        raise InputError(f"surroundings must be a folder of pictures twice as wide as high, got {str(folder)!r}")
    return found


def look(panorama: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A perspective view, uint8 [SIDE, SIDE, 3], of a panorama, level or nearly so, 35 to 100 degrees wide."""
    height, width = panorama.shape[:2]
    half = np.tan(np.radians(rng.uniform(35, 100)) / 2)
    x, y = np.meshgrid(*(np.linspace(-half, half, SIDE),) * 2)
    tilt, turn = rng.normal(0, 0.25), rng.uniform(0, 2 * np.pi)
    up, out = np.cos(tilt) * -y + np.sin(tilt), np.cos(tilt) + np.sin(tilt) * y
    longitude = (np.arctan2(x, out) + turn) % (2 * np.pi)
    latitude = np.arctan2(up, np.hypot(x, out))
    column = longitude / (2 * np.pi) * width
    row = np.clip((0.5 - latitude / np.pi) * height - 0.5, 0, height - 1.001)
    j, i = np.floor(column).astype(int), np.floor(row).astype(int)
    right, below = (column - j)[..., None], (row - i)[..., None]
    j, beside = j % width, (j + 1) % width
    upper = panorama[i, j] * (1 - right) + panorama[i, beside] * right
    lower = panorama[i + 1, j] * (1 - right) + panorama[i + 1, beside] * right
    return (upper * (1 - below) + lower * below + 0.5).astype(np.uint8)


def clutter(kind: str, rng: np.random.Generator) -> np.ndarray:
    """A drawn picture uint8 [SIDE, SIDE, 3].

    Kinds: "leaves", shapes of all sizes that hide each other, as objects do (the dead leaves model); "noise" of a
    random spectrum; "stripes"; a "gradient", as of a studio; "balls", shaded ones of the colours of skin and hair.
    """
    if kind == "gradient":
        return _bytes(_gradient(rng))
    if kind == "noise":
        return _bytes(_noise(rng))
    if kind == "stripes":
        angle, period = rng.uniform(0, np.pi), rng.uniform(4, 60)
        x, y = np.meshgrid(np.arange(SIDE), np.arange(SIDE))
        wave = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / period)
        if rng.random() < 0.5:
            wave = wave * np.sin(2 * np.pi * (y * np.cos(angle) - x * np.sin(angle)) / period)
        wave = (wave > rng.uniform(-0.5, 0.5))[..., None] if rng.random() < 0.6 else wave[..., None] / 2 + 0.5
        return _bytes(wave * _colour(rng) + (1 - wave) * _gradient(rng))
    if kind == "balls":
        picture = _gradient(rng) if rng.random() < 0.5 else _noise(rng)
        for _ in range(rng.integers(1, 6)):
            _ball(picture, rng)
        return _bytes(picture)
    return _leaves(rng)


def _leaves(rng):
    image = Image.fromarray(_bytes(_gradient(rng)))
    draw = ImageDraw.Draw(image)
    smallest, largest = rng.uniform(3, 8), rng.uniform(30, 130)
    palette = [tuple(int(255 * c) for c in _colour(rng)) for _ in range(rng.integers(3, 12))]
    for _ in range(rng.integers(20, 220)):
        # Sizes by the inverse cube: as much area at every size.
        radius = (smallest**-2 + rng.random() * (largest**-2 - smallest**-2)) ** -0.5
        x, y = rng.uniform(0, SIDE, 2)
        tone = rng.uniform(0.75, 1.25)
        colour = tuple(int(np.clip(c * tone, 0, 255)) for c in palette[rng.integers(len(palette))])
        shape = rng.integers(4)
        if shape == 0:
            stretch = rng.uniform(0.4, 1.6)
            draw.ellipse((x - radius, y - radius * stretch, x + radius, y + radius * stretch), fill=colour)
        elif shape == 1:
            draw.line((x, y, *(np.array((x, y)) + rng.normal(0, 2 * radius, 2))), colour, width=int(1 + radius / 6))
        else:
            corners = rng.integers(3, 7) if shape == 2 else 4
            angles = np.sort(rng.uniform(0, 2 * np.pi, corners)) if shape == 2 else np.arange(4) * np.pi / 2 + 0.785
            angles = angles + (rng.uniform(0, 2 * np.pi) if rng.random() < 0.5 else 0)
            stretch = rng.uniform(0.3, 1.8)
            points = [(x + radius * np.cos(a), y + radius * stretch * np.sin(a)) for a in angles]
            draw.polygon(points, fill=colour)
    if rng.random() < 0.4:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 4)))
    picture = np.asarray(image) / 255
    return _bytes(picture + rng.uniform(0, 0.5) * (_noise(rng) - 0.5) if rng.random() < 0.6 else picture)


def _noise(rng):
    """Noise with a power spectrum that falls by a random power of the frequency, of random colours."""
    frequency = np.hypot(np.fft.fftfreq(SIDE)[:, None] * rng.uniform(0.4, 2.5), np.fft.rfftfreq(SIDE)[None])
    fall = (frequency + 1 / SIDE) ** -rng.uniform(0.6, 2.2)
    fields = []
    for _ in range(3):
        spectrum = np.fft.rfft2(rng.standard_normal((SIDE, SIDE))) * fall
        field = np.fft.irfft2(spectrum, (SIDE, SIDE))
        fields.append(field / field.std())
    mixed = np.stack(fields, -1) @ (rng.normal(0, 0.12, (3, 3)) + rng.uniform(0, 0.25) * np.ones((3, 3)) / 1.7)
    return _colour(rng) + mixed


def _gradient(rng):
    x, y = np.meshgrid(np.linspace(-1, 1, SIDE), np.linspace(-1, 1, SIDE))
    angle = rng.uniform(0, 2 * np.pi)
    t = 0.5 + 0.35 * (x * np.cos(angle) + y * np.sin(angle)) * rng.random()
    if rng.random() < 0.5:
        t = t * np.exp(-(x**2 + y**2) * rng.uniform(0, 0.6))
    t = t[..., None]
    first = _colour(rng)
    second = _colour(rng) if rng.random() < 0.4 else first * rng.uniform(0.5, 1)
    return t * first + (1 - t) * second


def _ball(picture, rng):
    """Paints an ellipsoid with a light of its own, in place."""
    skin = np.array((0.85, 0.6, 0.48)) * rng.uniform(0.25, 1.1)
    hair = np.array((0.25, 0.18, 0.13)) * rng.uniform(0.1, 3.5)
    colour = (skin, hair, _colour(rng))[rng.integers(3)]
    radii, middle = (
        np.exp(rng.uniform(np.log(8), np.log(70))) * np.array((1, rng.uniform(0.7, 1.6))),
        rng.uniform(0, SIDE, 2),
    )
    x, y = np.meshgrid(np.arange(SIDE), np.arange(SIDE))
    x, y = (x - middle[0]) / radii[0], (y - middle[1]) / radii[1]
    depth = np.sqrt(np.clip(1 - x * x - y * y, 0, 1))
    light = rng.normal(0, 1, 3)
    light /= np.linalg.norm(light)
    shade = 0.45 + 0.55 * np.clip(x * light[0] + y * light[1] + depth * abs(light[2]), 0, 1)
    inside = x * x + y * y < 1
    grain = 1 + rng.uniform(0, 0.2) * rng.standard_normal((SIDE, SIDE))
    picture[inside] = ((shade * grain)[..., None] * colour)[inside]


def _colour(rng):
    """Greyish more often than not."""
    grey, tint = rng.random(), rng.random(3)
    share = rng.beta(0.8, 1.6)
    return (1 - share) * grey + share * tint


def _bytes(picture):
    return (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)
