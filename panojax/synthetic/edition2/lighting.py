"""Light all around a head as a map of radiance, and the one direction in it that throws shadows.

Maps are (32, 64, 3) in latitude and longitude: row 0 looks up, column j at azimuth 2 pi (j + 1/2) / 64 from +z to +x.
Irradiances are divided by pi, so that a white surface lit by 1 has radiance 1.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from panojax.synthetic.cameras import Doubles
from panojax.synthetic.edition2.people import Light
from panojax.synthetic.meshes import Floats
from panojax.synthetic.pictures import LUMINANCE

ROWS, COLUMNS = 32, 64
KEY_RADIUS = np.radians(32.0)  # of the lobe about the brightest place that becomes the shadowing light
SHARPEST = 60.0  # a map's radiance over its mean is cut there once the key light is out
STRONGEST = 0.42  # the key's irradiance over the sum of the rest's from all sides
KEY_CAST = 0.5  # share of its cast that the key light keeps: cameras balance it
CAST = 0.45  # share of their colours that environments keep, so that hair is one colour all around
STUDIO_LOBE = 6.0  # sharpness of lamps in the map


@dataclass(frozen=True)
class Surround:
    """A light without its key: radiance of the rest, and the key's direction (towards it) and colour."""

    radiance: Floats  # (32, 64, 3)
    key: Floats  # (3,) unit
    key_colour: Floats  # (3,) irradiance / pi facing it


def map_directions() -> tuple[Doubles, Doubles]:
    """Unit directions (32, 64, 3) of a map's pixels and their solid angles (32, 64)."""
    polar = np.pi * (np.arange(ROWS) + 0.5) / ROWS
    azimuth = 2 * np.pi * (np.arange(COLUMNS) + 0.5) / COLUMNS
    ring = np.sin(polar)[:, None]
    up = np.broadcast_to(np.cos(polar)[:, None], (ROWS, COLUMNS))
    directions = np.stack([ring * np.sin(azimuth), up, ring * np.cos(azimuth)], axis=-1)
    return directions, np.broadcast_to(ring * (np.pi / ROWS) * (2 * np.pi / COLUMNS), (ROWS, COLUMNS))


@cache
def read_map(path: Path) -> Floats:
    """A map of the assets folder: (32, 64, 3)."""
    return np.load(path, allow_pickle=False).astype(np.float32)


def irradiance(radiance: Doubles, normal: Any) -> Doubles:
    """Irradiance / pi (3,) of a map on a surface that faces `normal`."""
    directions, angles = map_directions()
    facing = np.maximum(directions @ np.asarray(normal, float), 0) * angles
    return np.einsum("ij,ijk->k", facing, radiance) / np.pi


def lamp_map(light: Light) -> Doubles:
    """The map of sky, ground and the second and third lamp."""
    directions, _ = map_directions()
    up = 0.5 + 0.5 * directions[..., 1:2]
    radiance = up * np.array(light.sky) + (1 - up) * np.array(light.ground)
    for towards, colour in zip(light.directions[1:], light.colours[1:]):
        lobe = np.exp(STUDIO_LOBE * (directions @ np.array(towards) - 1))[..., None]
        radiance = radiance + lobe * STUDIO_LOBE * np.array(colour) / 2
    return radiance


def split_key(radiance: Doubles) -> Surround:
    """Take the light about a map's brightest place out of it as a key light."""
    directions, angles = map_directions()
    brightness = radiance @ LUMINANCE
    wide = gaussian_filter(brightness, (1.5, 3), mode=("nearest", "wrap"))
    row, column = np.unravel_index(wide.argmax(), wide.shape)
    near = directions @ directions[row, column] > np.cos(KEY_RADIUS)
    usual = 1.2 * (brightness * angles)[~near].sum() / angles[~near].sum()
    over = np.where(near, np.maximum(1 - usual / np.maximum(brightness, 1e-6), 0), 0)[..., None]
    taken = radiance * over * angles[..., None]
    weight = taken @ LUMINANCE
    if weight.sum() <= 1e-9:
        return Surround(radiance.astype(np.float32), np.array([0, 1, 0], np.float32), np.zeros(3, np.float32))
    key = (weight[..., None] * directions).sum((0, 1))
    key /= np.linalg.norm(key)
    rest = np.minimum(radiance * (1 - over), SHARPEST * brightness.mean())
    colour = taken.sum((0, 1)) / np.pi
    limit = STRONGEST * (angles * brightness * (1 - over[..., 0])).sum() / np.pi
    grey = float(LUMINANCE @ colour)
    colour = colour * KEY_CAST + grey * (1 - KEY_CAST)
    colour *= min(1.0, limit / max(float(LUMINANCE @ colour), 1e-6))
    return Surround(rest.astype(np.float32), key.astype(np.float32), colour.astype(np.float32))


def surround_of(light: Light, assets: Path) -> Surround:
    """The light of a head: of its environment's map, turned and scaled, or of its lamps."""
    if not light.environment:
        colour = np.array(light.colours[0], np.float32)
        return Surround(lamp_map(light).astype(np.float32), np.array(light.directions[0], np.float32), colour)
    radiance = read_map(assets / f"environments/{light.environment}.npy").astype(np.float64)
    radiance = np.roll(radiance, round(light.turn / 360 * COLUMNS), axis=1)
    _, angles = map_directions()
    mean = np.einsum("ij,ijk->k", angles, radiance) / (4 * np.pi)
    radiance = radiance / (mean / (LUMINANCE @ mean)) ** light.neutral
    radiance = CAST * radiance + (1 - CAST) * (radiance @ LUMINANCE)[..., None]
    front = sum(LUMINANCE @ irradiance(radiance, normal) for normal in ((0, 0, 1), (0.7, 0, 0.7), (-0.7, 0, 0.7))) / 3
    floor = 0.2 * light.strength  # so that no side of a head is black
    return split_key(radiance * light.strength / front + floor * (mean / (LUMINANCE @ mean)) ** (1 - light.neutral))


def sampled(surround: Surround, directions: Doubles) -> Floats:
    """Mean radiance (n, 3) of a map about each of n even directions: every pixel goes to its nearest one."""
    towards, angles = map_directions()
    nearest = (towards.reshape(-1, 3) @ directions.T).argmax(axis=1)
    total = np.zeros((len(directions), 3))
    np.add.at(total, nearest, surround.radiance.reshape(-1, 3) * angles.reshape(-1, 1))
    shares = np.bincount(nearest, angles.reshape(-1), len(directions))
    return (total / np.maximum(shares, 1e-9)[:, None]).astype(np.float32)
