"""MakeHuman's files as arrays: the base mesh, its targets (morphs), and the parts fitted to it (hair, eyes, brows,
...).

Positions are in MakeHuman's units and axes: decimetres, x to the person's left, y up, z out of the face.
"""

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from panojax.errors import InputError

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

# Pairs of base vertices whose distance along x, y, z tells how large a head is: offsets of fitted parts scale with it.
SCALE_PAIRS = ((5399, 11998), (791, 881), (962, 5320))
CHIN, CROWN, BACK, FACE = 791, 881, 962, 5320

# SCALE_PAIRS on the human each part was made on; the npm files lack them. Recovered to 1e-3 from each file's own
# vertices (they equal the fit to one of these four humans); short01's are from the MakeHuman file, which shrinks it on
# purpose.
MADE_ON_BASE = (1.480, 2.3298, 1.9221)
MADE_ON_FEMALE = (1.398, 2.2028, 1.8441)
MADE_ON_MALE = (1.434, 2.4098, 2.0001)
MADE_ON_AVERAGE = (1.416, 2.3064, 1.9221)
MADE_ON = {
    "afro01": MADE_ON_BASE,
    "short04": MADE_ON_BASE,
    "short01": (1.6682, 2.8351, 2.3542),
    "short02": MADE_ON_MALE,
    **dict.fromkeys(("bob01", "bob02", "Braid01", "long01", "ponytail01", "short03"), MADE_ON_FEMALE),
    **dict.fromkeys(("Eyelashes01", "eyelashes02", "eyelashes03", "eyelashes04"), MADE_ON_BASE),
}


@dataclass(frozen=True)
class Surface:
    """Triangles over welded vertices.

    A corner is a (vertex, texture coordinate) pair, so that seams keep both of theirs.
    """

    vertices: Ints  # (corners,) the welded vertex of each corner
    uv: Floats  # (corners, 2) texture coordinates, v up
    triangles: Ints  # (triangles, 3) corners


@dataclass(frozen=True)
class Body:
    """The base mesh: all vertices (19158, 3), and a surface per group ("body", "helper-tights", ...)."""

    positions: Floats
    groups: dict[str, Surface]


@dataclass(frozen=True)
class Proxy:
    """A part bound to the base mesh: vertex i is sum_k weights[i, k] * base[refs[i, k]] + offsets[i] * scale."""

    name: str
    refs: Ints  # (vertices, 3)
    weights: Floats  # (vertices, 3)
    offsets: Floats  # (vertices, 3) decimetres on the human the part was made on
    made_on: tuple[float, float, float]  # SCALE_PAIRS of that human, decimetres
    surface: Surface


def make_surface(vertices: Ints, uv_indices: Ints, uv: Floats) -> Surface:
    """Weld equal (vertex, uv) pairs of a triangle list.

    `vertices`, `uv_indices`: (triangles, 3); `uv`: (coordinates, 2).
    """
    pairs = np.stack([vertices.reshape(-1), uv_indices.reshape(-1)], axis=1)
    corners, inverse = np.unique(pairs, axis=0, return_inverse=True)
    triangles = inverse.reshape(-1, 3).astype(np.int32)
    return Surface(corners[:, 0].astype(np.int32), uv[corners[:, 1]].astype(np.float32), triangles)


def fan(polygon: list[int]) -> list[list[int]]:
    """Triangles of a convex polygon given by its corners in order."""
    return [[polygon[0], polygon[k], polygon[k + 1]] for k in range(1, len(polygon) - 1)]


def parse_obj(text: str) -> Body:
    """Read a Wavefront OBJ with texture coordinates; faces are split into triangles, one surface per group line."""
    positions: list[list[float]] = []
    uv: list[list[float]] = []
    faces: dict[str, tuple[list[list[int]], list[list[int]]]] = {}
    group = ""
    for line in text.splitlines():
        words = line.split()
        if not words:
            continue
        if words[0] == "v":
            positions.append([float(word) for word in words[1:4]])
        elif words[0] == "vt":
            uv.append([float(word) for word in words[1:3]])
        elif words[0] == "g":
            group = words[1] if len(words) > 1 else ""
        elif words[0] == "f":
            corners = [word.split("/") for word in words[1:]]
            if any(len(corner) < 2 or not corner[1] for corner in corners):
                raise InputError(f"base mesh must have texture coordinates on every face, got {line!r}")
            vertices, coordinates = faces.setdefault(group, ([], []))
            vertices += fan([int(corner[0]) - 1 for corner in corners])
            coordinates += fan([int(corner[1]) - 1 for corner in corners])
    coordinates_of = np.array(uv, np.float32)
    groups = {
        name: make_surface(np.array(vertices, np.int32), np.array(coordinates, np.int32), coordinates_of)
        for name, (vertices, coordinates) in faces.items()
    }
    return Body(np.array(positions, np.float32), groups)


def parse_target(text: str) -> tuple[Ints, Floats]:
    """Read a target: lines `vertex dx dy dz`. Returns vertices (n,) and moves (n, 3) in decimetres."""
    rows = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    numbers = np.array(" ".join(rows).split(), np.float64)
    if numbers.size != 4 * len(rows):
        raise InputError(f"target must have lines of 4 numbers, got {numbers.size} numbers in {len(rows)} lines")
    table = numbers.reshape(-1, 4)
    return table[:, 0].astype(np.int32), table[:, 1:].astype(np.float32)


def read_target(path: Path) -> tuple[Ints, Floats]:
    """`parse_target` of a file, gzipped if its name ends in .gz. InputError if it is not there."""
    if not path.is_file():
        raise InputError(f"target must be a file of the assets folder, got {path}")
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return parse_target(content.decode(errors="replace"))


def parse_three_faces(faces: list[int]) -> tuple[Ints, Ints]:
    """Triangles (vertex and uv indices, each (triangles, 3)) of a Three.js JSON v3 face list.

    Each face starts with a bit mask: 1 quad, 2 material, 4 face uv, 8 vertex uvs, 16 face normal, 32 vertex normals, 64
    face colour, 128 vertex colours. Source: the JSON Model format 3.1 page of the Three.js wiki. Faces without vertex
    uvs are refused.
    """
    vertices: list[list[int]] = []
    coordinates: list[list[int]] = []
    i = 0
    while i < len(faces):
        kind = faces[i]
        n = 4 if kind & 1 else 3
        if not kind & 8:
            raise InputError(f"faces must have a texture coordinate per vertex (bit 8), got kind {kind} at {i}")
        corners_at = i + 1
        uv_at = corners_at + n + bool(kind & 2) + bool(kind & 4)
        i = uv_at + n + bool(kind & 16) + n * bool(kind & 32) + bool(kind & 64) + n * bool(kind & 128)
        if i > len(faces):
            raise InputError(f"faces must end with a whole face, got {len(faces)} numbers where {i} are needed")
        vertices += fan(faces[corners_at : corners_at + n])
        coordinates += fan(faces[uv_at : uv_at + n])
    return np.array(vertices, np.int32).reshape(-1, 3), np.array(coordinates, np.int32).reshape(-1, 3)


def parse_proxy(name: str, data: dict[str, Any]) -> Proxy:
    """A fitted part from its Three.js JSON with refs, weights and offsets; InputError names what is missing."""
    needed = ("faces", "uvs", "ref_vIdxs", "weights", "offsets")
    if missing := [key for key in needed if key not in data]:
        raise InputError(f"proxy {name} must have {needed}, missing: {missing}")
    vertices, coordinates = parse_three_faces(data["faces"])
    uv = np.array(data["uvs"][0], np.float32).reshape(-1, 2)
    return Proxy(
        name=name,
        refs=np.array(data["ref_vIdxs"], np.int32).reshape(-1, 3),
        weights=np.array(data["weights"], np.float32).reshape(-1, 3),
        offsets=np.array(data["offsets"], np.float32).reshape(-1, 3),
        made_on=MADE_ON.get(name, MADE_ON_AVERAGE),
        surface=make_surface(vertices, coordinates, uv),
    )


def read_proxy(path: Path) -> Proxy:
    """`parse_proxy` of a JSON file named after the part."""
    return parse_proxy(path.stem, json.loads(path.read_text()))


def head_size(positions: Floats) -> Floats:
    """Distances (3,) in decimetres along x, y, z between SCALE_PAIRS on base positions (vertices, 3)."""
    pairs = np.array(SCALE_PAIRS)
    axes = np.arange(3)
    return np.abs(positions[pairs[:, 0], axes] - positions[pairs[:, 1], axes])


def fit_proxy(proxy: Proxy, positions: Floats) -> Floats:
    """Positions (vertices, 3) of a part on a head with base positions (19158, 3), in decimetres."""
    scale = head_size(positions) / np.array(proxy.made_on, np.float32)
    anchors = (positions[proxy.refs] * proxy.weights[..., None]).sum(axis=1)
    return anchors + proxy.offsets * scale


def vertex_normals(positions: Floats, triangles: Ints) -> Floats:
    """Unit normals (vertices, 3), each the area-weighted mean of its triangles'; zero where a vertex has none."""
    a, b, c = (positions[triangles[:, k]] for k in range(3))
    face_normals = np.cross(b - a, c - a)
    normals = np.stack(
        [
            np.bincount(triangles.reshape(-1), np.repeat(face_normals[:, axis], 3), minlength=len(positions))
            for axis in range(3)
        ],
        axis=1,
    )
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    return (normals / np.maximum(lengths, 1e-12)).astype(np.float32)


def surface_normals(positions: Floats, surface: Surface) -> Floats:
    """Unit normals (corners, 3): smooth across texture seams, because they are taken on welded vertices."""
    return vertex_normals(positions, surface.vertices[surface.triangles])[surface.vertices]


def keep_triangles(surface: Surface, keep: NDArray[np.bool_]) -> Surface:
    """The surface with only the triangles where `keep` (triangles,) is true, and only the corners they use."""
    corners, inverse = np.unique(surface.triangles[keep], return_inverse=True)
    triangles = inverse.reshape(-1, 3).astype(np.int32)
    return Surface(surface.vertices[corners], surface.uv[corners], triangles)


def drop_pieces(surface: Surface, smallest: int) -> Surface:
    """The surface without connected pieces of fewer than `smallest` corners."""
    labels = np.arange(len(surface.vertices))
    while smallest > 1:  # the least corner number of a triangle spreads to its others until all pieces have one label
        least = labels[surface.triangles].min(axis=1)
        spread = labels.copy()
        for k in range(3):
            np.minimum.at(spread, surface.triangles[:, k], least)
        if np.array_equal(spread, labels):
            break
        labels = spread[spread]
    sizes = np.bincount(labels, minlength=len(labels))
    return keep_triangles(surface, sizes[labels[surface.triangles[:, 0]]] >= smallest)
