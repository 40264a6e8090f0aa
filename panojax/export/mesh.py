"""A head as a coloured triangle mesh: its densities on a grid, the surface at one level by marching cubes."""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from panojax.errors import InputError
from panojax.extras import need
from panojax.generators import networks
from panojax.generators.generator import Head, query_field
from panojax.params import Params
from panojax.render.renderer import EMPTY, crop_density
from panojax.terminal.bars import bar

# Points of one call. A point's features on three planes take a kilobyte with their temporaries.
CHUNK = 2**17
LEVEL = 10.0
MESH_SUFFIXES = (".ply", ".glb")


@dataclasses.dataclass(frozen=True)
class Mesh:
    """A closed triangle mesh.

    Attributes:
      vertices: float32 [V, 3] in world units; y is up, the face looks along +z.
      faces: int32 [F, 3], vertices of a triangle, counter-clockwise seen from outside.
      colours: uint8 [V, 3], sRGB.
      level: the density at the surface, before its softplus.
    """

    vertices: np.ndarray
    faces: np.ndarray
    colours: np.ndarray
    level: float


def extract_mesh(
    params: Params,
    head: Head,
    *,
    resolution: int = 256,
    level: float | None = None,
    largest_component: bool = True,
    progress: bool = False,
) -> Mesh:
    """The surface of a head where its density has one level.

    A density x of the field stands for softplus(x - 1) of opacity per world unit: at 10, light is halved in 0.077
    units, a thirteenth of the box. Space that rendering crops is empty, and so is all outside the box, which closes the
    mesh. The colour of a vertex is the raw RGB picture's there: the colour features of the field through the ToRGB
    layer with the head's last style code, and without the super-resolution.

    Args:
      resolution: grid points along each side of the box, 8 to 1024.
      level: density at the surface; None is 10, or the level of half the greatest opacity where that is lower.
      largest_component: keep only the connected piece that has most triangles.
      progress: show a bar on stderr.

    Raises:
      InputError: the resolution is out of range, or the head has no surface at this level.
    """
    check_resolution(resolution)
    if level is not None and not np.isfinite(level):
        raise InputError(f"level must be a finite density, got {level}")
    grid = density_grid(params, head, resolution, progress=progress)
    solid = grid[grid > EMPTY]
    low, high = (float(solid.min()), float(solid.max())) if solid.size else (np.inf, -np.inf)
    surface = min(LEVEL, half_level(high)) if level is None and solid.size else level
    if surface is None or not surface < high:
        found = f"densities of {low:.3g} to {high:.3g}" if solid.size else "no density at all"
        raise InputError(f"level must lie within the head's densities, got {surface} and {found}: there is no surface")
    vertices, faces = surface_at(grid, surface)
    if largest_component:
        vertices, faces = largest_piece(vertices, faces)
    # Grid points are at the centres of cells; `surface_at` counts from the first one.
    step = params.config.generator.box_warp / resolution
    vertices = ((vertices + 0.5) * step - params.config.generator.box_warp / 2).astype(np.float32)
    return Mesh(vertices, faces.astype(np.int32), vertex_colours(params, head, vertices), float(surface))


def check_resolution(resolution: int) -> None:
    """Raises InputError unless a mesh can be extracted from so many grid points a side."""
    if not 8 <= resolution <= 1024:
        raise InputError(f"resolution of a mesh must be 8 to 1024 grid points a side, got {resolution}")


def half_level(density: float) -> float:
    """The density, before its softplus, of half the opacity that `density` has."""
    half = float(np.logaddexp(density - 1, 0)) / 2
    return 1 + half + float(np.log(-np.expm1(-half)))


def density_grid(params: Params, head: Head, resolution: int, *, progress: bool = False) -> np.ndarray:
    """Densities float32 [R, R, R] along x, y, z at the centres of the box's cells, before the softplus, cropped."""
    params, total = params.generator_only(), resolution**3
    grid = np.empty(total, np.float32)
    starts = range(0, total, CHUNK)
    for start in bar(starts, desc="density", unit="chunk", hidden=not progress):
        size = min(CHUNK, total - start)
        grid[start : start + size] = np.asarray(_densities(params, head, start, resolution=resolution))[:size]
    if np.isnan(grid).any():
        raise InputError("the head's densities must be numbers, got NaN")
    return grid.reshape(resolution, resolution, resolution)


@functools.partial(jax.jit, static_argnames="resolution")
def _densities(params, head, start, *, resolution):
    """Densities [CHUNK] of the grid points from `start` on, z fastest."""
    config = params.config.generator
    index = start + jnp.arange(CHUNK)
    steps = jnp.stack([index // resolution**2, index // resolution % resolution, index % resolution], axis=-1)
    points = (steps + 0.5) * (config.box_warp / resolution) - config.box_warp / 2
    densities, _ = query_field(config, params.generator, head, points)
    return crop_density(densities, points, config)


def surface_at(grid: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [V, 3] in grid steps and faces [F, 3] of the closed surface where a grid [X, Y, Z] crosses `level`."""
    from skimage.measure import marching_cubes

    # Marching cubes interpolates: an emptiness of -1000 would move the surface onto the last solid point.
    closed = np.pad(np.clip(grid, level - 10, level + 10), 1, constant_values=level - 10)
    vertices, faces, _, _ = marching_cubes(closed, level, allow_degenerate=False)
    return vertices - 1, faces[:, ::-1]


def largest_piece(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The connected piece of a mesh that has most triangles."""
    n = len(vertices)
    edges = np.concatenate([faces[:, :2], faces[:, 1:]])
    graph = sparse.coo_matrix((np.ones(len(edges), bool), (edges[:, 0], edges[:, 1])), shape=(n, n))
    _, piece = csgraph.connected_components(graph, directed=False)
    kept = piece == np.bincount(piece[faces[:, 0]]).argmax()
    number = np.cumsum(kept) - 1
    return vertices[kept], number[faces[kept[faces[:, 0]]]]


def vertex_colours(params: Params, head: Head, points: np.ndarray) -> np.ndarray:
    """Raw RGB uint8 [M, 3] of world points [M, 3], see `extract_mesh`."""
    from panojax.files.image_file import float_to_uint8

    params, colours = params.generator_only(), np.empty((len(points), 3), np.uint8)
    for start in range(0, len(points), CHUNK):
        some = points[start : start + CHUNK]
        padded = np.pad(some, ((0, CHUNK - len(some)), (0, 0)))
        colours[start : start + CHUNK] = float_to_uint8(np.asarray(_colours(params, head, padded))[: len(some)])
    return colours


@jax.jit
def _colours(params, head, points):
    """Raw RGB [M, 3], about [-1, 1]."""
    config = params.config.generator
    _, feature = query_field(config, params.generator, head, points)
    if config.decoder_activation == "sigmoid":
        feature = feature * 2 - 1
    if not config.raw_to_rgb:
        return feature[:, :3]
    layer: Callable = networks.build(config)["torgb"].apply
    variables = networks.module_variables(params.generator, "torgb")
    return layer(variables, feature[None, None], head.ws[-1:])[0, 0]


def write_mesh(mesh: Mesh, path: str | os.PathLike, *, overwrite: bool = False) -> None:
    """Writes a mesh as .ply (binary) or .glb, with its colours at the vertices and without a light's shading.

    Args:
      path: the suffix says the format. glTF wants linear colours, so a .glb holds converted ones.
      overwrite: replace a file that is there.

    Raises:
      InputError: another suffix, trimesh is not installed, or the file exists.
    """
    from panojax.disk.staging import replaced_when_done

    path = pathlib.Path(path)
    suffix = check_mesh_suffix(path)
    trimesh = need("trimesh", "writing meshes")
    glb = suffix == ".glb"
    colours = linear_colours(mesh.colours) if glb else mesh.colours
    shape = trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_colors=colours, process=False)
    options = {"tree_postprocessor": _unlit} if glb else {}
    with replaced_when_done(path, overwrite=overwrite) as partial:
        partial.write_bytes(shape.export(file_type=suffix[1:], **options))


def check_mesh_suffix(path: str | os.PathLike) -> str:
    """The suffix of a mesh's file, in lower case, or an InputError if there is no such format."""
    suffix = pathlib.Path(path).suffix.lower()
    if suffix not in MESH_SUFFIXES:
        raise InputError(f"path must end in {' or '.join(MESH_SUFFIXES)}, got {str(path)!r}")
    return suffix


def linear_colours(colours: np.ndarray) -> np.ndarray:
    """sRGB bytes as linear-light bytes."""
    c = colours / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    return np.round(linear * 255).astype(np.uint8)


def _unlit(tree: dict) -> None:
    """Gives every primitive a material that viewers do not shade: the colours hold the photo's light already."""
    extension = "KHR_materials_unlit"
    plain = {"baseColorFactor": [1, 1, 1, 1], "metallicFactor": 0, "roughnessFactor": 1}
    tree["materials"] = [{"pbrMetallicRoughness": plain, "extensions": {extension: {}}}]
    tree["extensionsUsed"] = sorted({*tree.get("extensionsUsed", ()), extension})
    for mesh in tree["meshes"]:
        for primitive in mesh["primitives"]:
            primitive["material"] = 0
