"""What the browser itself draws while the camera moves: a head's surface with coloured vertices, as a .glb file.

It is made once for a head, so that the server need not draw thirty pictures a second. The exact picture takes its place
when the camera is still.
"""

import json
import struct

import numpy as np

from panojax.export.colours import gather_colours
from panojax.export.mesh import extract_mesh
from panojax.export.surface import closed_surface
from panojax.export.views import surround
from panojax.generators.generator import Head
from panojax.params import Params
from panojax.viewer.picture import take_views

# Grid points along each side: about as many vertices as a picture of 256 pixels has of the head.
GRID = 144
VIEWS, PITCHES = 20, (-25.0, 25.0)
# viser's page has three.js's filmic tone mapping (ACES, fitted by S. Hill), which nothing turns off: from linear
# colours by one matrix, a curve for each channel, and another matrix. Colours are stored as what it maps to ours.
EXPOSURE = 1 / 0.6
TO_CURVE = np.array([[0.59719, 0.35458, 0.04823], [0.07600, 0.90834, 0.01566], [0.02840, 0.13383, 0.83777]])
FROM_CURVE = np.array([[1.60475, -0.53108, -0.07367], [-0.10208, 1.10813, -0.00605], [-0.00327, -0.07276, 1.07602]])
# (v (v + A) - B) / (v (C v + D) + E).
A, B, C, D, E = 0.0245786, 0.000090537, 0.983729, 0.4329510, 0.238081
BRIGHTEST = 0.985  # the curve's own end is at 1 / C, infinitely far


def moving_mesh(params: Params, head: Head) -> bytes:
    """A .glb file that looks in viser's page as the model's own pictures do, nearly.

    Raises:
      InputError: the head has no surface.
    """
    mesh = extract_mesh(params, head, resolution=min(GRID, 2 * params.config.generator.field.resolution))
    surface = closed_surface(mesh.vertices, mesh.faces)
    views = take_views(params, head, surround(VIEWS, PITCHES, params.config.generator))
    colours, _ = gather_colours(surface, surface.vertices, surface.normals, views)
    return glb(mesh.vertices, mesh.faces, before_tone_mapping(colours / 255))


def tone_mapped(linear: np.ndarray) -> np.ndarray:
    """What the page shows of linear colours [..., 3]: linear colours in [0, 1]."""
    v = linear * EXPOSURE @ TO_CURVE.T
    return np.clip((v * (v + A) - B) / (v * (C * v + D) + E) @ FROM_CURVE.T, 0, 1)


def before_tone_mapping(colours: np.ndarray) -> np.ndarray:
    """Linear colours [..., 3] that the page shows as sRGB colours in [0, 1]; the brightest need more than 1."""
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    y = np.clip(linear @ np.linalg.inv(FROM_CURVE).T, 0, BRIGHTEST)
    # y (v (C v + D) + E) = v (v + A) - B, a quadratic in v with one root that is not negative.
    a, b, c = 1 - C * y, A - D * y, -(B + E * y)
    v = (np.sqrt(b**2 - 4 * a * c) - b) / (2 * a)
    return np.maximum(v @ np.linalg.inv(TO_CURVE).T / EXPOSURE, 0)


def glb(vertices: np.ndarray, faces: np.ndarray, colours: np.ndarray) -> bytes:
    """A binary glTF 2.0 file of one mesh that is not shaded.

    trimesh keeps eight bits of a colour; these are floats, as they may be above 1.

    Args:
      vertices: [V, 3]; faces [F, 3]; colours [V, 3], linear.
    """
    positions, tints = np.ascontiguousarray(vertices, "<f4"), np.ascontiguousarray(colours, "<f4")
    indices = np.ascontiguousarray(faces, "<u4")
    views: list[dict] = []
    accessors: list[dict] = []
    start = 0
    for array, target, kind, component in (
        (positions, 34962, "VEC3", 5126),
        (tints, 34962, "VEC3", 5126),
        (indices.reshape(-1), 34963, "SCALAR", 5125),
    ):
        accessors.append({"bufferView": len(views), "componentType": component, "count": len(array), "type": kind})
        views.append({"buffer": 0, "byteOffset": start, "byteLength": array.nbytes, "target": target})
        start += array.nbytes
    accessors[0] |= {"min": positions.min(0).tolist(), "max": positions.max(0).tolist()}
    unlit = "KHR_materials_unlit"
    tree = {
        "asset": {"version": "2.0", "generator": "panojax"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0, "COLOR_0": 1}, "indices": 2, "material": 0}]}],
        "materials": [{"extensions": {unlit: {}}}],
        "extensionsUsed": [unlit],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": start}],
    }
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    body = positions.tobytes() + tints.tobytes() + indices.tobytes()
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(body), b"BIN\0") + body
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks
