"""A mesh with a baked texture: its surface laid out flat, the colours gathered from pictures, and the .glb file."""

import dataclasses
import os
import pathlib

import numpy as np
from PIL import Image
from scipy import ndimage

from panojax.disk.staging import replaced_when_done
from panojax.errors import InputError
from panojax.export.colours import gather_colours
from panojax.export.surface import Surface, interpolate
from panojax.export.views import Views
from panojax.extras import need
from panojax.files.image_file import write_image

# Empty texels between the charts of the layout, for bilinear lookups and the coarser levels of viewers.
PADDING = 4
# What a chart may cost before it is cut, twice xatlas' own; bends cost a quarter and ragged borders a half of what they
# do there, and a chart's outline nothing: fewer charts, less between them, and less stretched ones.
CHART_COST, BENDS, BORDERS, OUTLINE = 4.0, 0.5, 3.0, 0.0


@dataclasses.dataclass(frozen=True)
class TexturedMesh:
    """Triangles with a picture.

    Attributes:
      vertices: float32 [W, 3] in world units; vertices on seams come several times.
      faces: int32 [F, 3].
      normals: float32 [W, 3].
      uv: float32 [W, 2] in [0, 1], (0, 0) at the upper left corner of the texture, as glTF has it.
      texture: uint8 [T, T', 3], sRGB.
      seen: the part of the texels on the surface that some picture shows.
    """

    vertices: np.ndarray
    faces: np.ndarray
    normals: np.ndarray
    uv: np.ndarray
    texture: np.ndarray
    seen: float


def bake_texture(surface: Surface, views: Views, *, size: int = 1024, progress: bool = False) -> TexturedMesh:
    """Lays a surface out flat and paints it with what pictures show of it, see `gather_colours`.

    Texels beside the charts take the colour of the nearest texel on one, so that seams do not show.

    Args:
      size: sides of the texture in texels, about: the layout decides.
      progress: show a bar on stderr.

    Raises:
      InputError: the size is out of range, xatlas is not installed, or no picture shows the surface.
    """
    check_texture(size)
    source, faces, uv, (height, width) = unwrap(surface, size)
    flat = Surface(surface.vertices[source], faces, surface.normals[source])
    rows, columns, face, barycentric = texels(uv, faces, height, width)
    points, normals = interpolate(flat, face, barycentric)
    colours, seen = gather_colours(surface, points, normals, views, progress=progress)
    texture, on_chart = np.zeros((height, width, 3), np.float32), np.zeros((height, width), bool)
    texture[rows, columns], on_chart[rows, columns] = colours, True
    texture = fill(texture, on_chart)
    return TexturedMesh(
        flat.vertices.astype(np.float32),
        faces.astype(np.int32),
        flat.normals.astype(np.float32),
        uv.astype(np.float32),
        np.round(texture).astype(np.uint8),
        float(seen.mean()),
    )


def fill(picture: np.ndarray, known: np.ndarray) -> np.ndarray:
    """A picture [H, W, C] whose pixels that are not known [H, W] continue the others smoothly.

    Coarser and coarser means of what is known (pull), which then fill what is finer (push). Source: Gortler and others,
    "The Lumigraph", 1996.
    """
    height, width = known.shape
    if known.all() or not known.any() or max(height, width) == 1:
        return picture
    weight = np.pad(known.astype(np.float32), ((0, height % 2), (0, width % 2)))
    padded = np.pad(picture * known[..., None], ((0, height % 2), (0, width % 2), (0, 0)))
    blocks = (len(weight) // 2, 2, weight.shape[1] // 2, 2)
    count = weight.reshape(blocks).sum((1, 3))
    means = padded.reshape(*blocks, -1).sum((1, 3)) / np.maximum(count, 1)[..., None]
    coarse = fill(means, count > 0)
    zoomed = ndimage.zoom(coarse, (2, 2, 1), order=1, mode="nearest", grid_mode=True)[:height, :width]
    return np.where(known[..., None], picture, zoomed)


def check_texture(size: int) -> None:
    """Raises InputError for a texture that cannot be made, before anything slow starts."""
    need("xatlas", "laying out textures")
    if not 64 <= size <= 8192:
        raise InputError(f"texture must be 64 to 8192 texels a side, got {size}")


def unwrap(surface: Surface, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[int, int]]:
    """Cuts a surface into charts and packs them into one picture, by xatlas.

    Returns:
      source: the surface's vertex [W] that each vertex of the layout is.
      faces: [F, 3], vertices of the layout.
      uv: float64 [W, 2], see `TexturedMesh`.
      shape: height and width of the layout in texels.
    """
    xatlas = need("xatlas", "laying out textures")
    atlas = xatlas.Atlas()
    atlas.add_mesh(
        surface.vertices.astype(np.float32), surface.faces.astype(np.uint32), surface.normals.astype(np.float32)
    )
    options = xatlas.PackOptions()
    options.resolution, options.padding, options.bilinear, options.bruteForce = size, PADDING, True, True
    charts = xatlas.ChartOptions()
    charts.max_cost, charts.max_iterations = CHART_COST, 4
    charts.normal_deviation_weight, charts.straightness_weight, charts.roundness_weight = BENDS, BORDERS, OUTLINE
    atlas.generate(chart_options=charts, pack_options=options)
    source, faces, uv = atlas[0]
    return source.astype(np.int64), faces.astype(np.int64), uv.astype(np.float64), (atlas.height, atlas.width)


def texels(uv: np.ndarray, faces: np.ndarray, height: int, width: int) -> tuple[np.ndarray, ...]:
    """The texels whose centres lie on a triangle of the layout.

    Args:
      uv: [W, 2] in [0, 1], faces [F, 3].

    Returns:
      rows [M], columns [M], triangles [M], and barycentric coordinates [M, 3] of each texel, once each.
    """
    # Texel (r, c) has its centre at the whole numbers (c, r).
    corners = uv[faces] * (width, height) - 0.5
    low = np.ceil(corners.min(1)).astype(np.int64).clip(0)
    high = np.floor(corners.max(1)).astype(np.int64).clip(max=(width - 1, height - 1))
    wide, tall = (high - low + 1).clip(0).T
    # Every texel of every triangle's bounding box, one after the other.
    face = np.repeat(np.arange(len(faces)), wide * tall)
    first = np.repeat(np.cumsum(wide * tall) - wide * tall, wide * tall)
    within = np.arange(len(face)) - first
    columns = low[face, 0] + within % wide[face]
    rows = low[face, 1] + within // wide[face]
    a, b, c = (corners[face, i] for i in range(3))
    centre = np.stack([columns, rows], axis=-1)
    parts = np.stack([_cross(c - b, centre - b), _cross(a - c, centre - c), _cross(b - a, centre - a)], axis=-1)
    area = parts.sum(-1, keepdims=True)
    barycentric = parts / np.where(area == 0, 1, area)
    inside = (barycentric >= -1e-9).all(-1) & (area[:, 0] != 0)
    rows, columns, face, barycentric = rows[inside], columns[inside], face[inside], barycentric[inside]
    # A centre on the edge of two triangles is in both.
    _, once = np.unique(rows * width + columns, return_index=True)
    return rows[once], columns[once], face[once], barycentric[once]


def _cross(a, b):
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def write_obj(mesh: TexturedMesh, path: str | os.PathLike, *, overwrite: bool = False) -> None:
    """Writes an .obj, and beside it, under the same name, its material (.mtl) and its texture (.png).

    Raises:
      InputError: another suffix, or one of the files exists.
    """
    path = pathlib.Path(path)
    if path.suffix.lower() != ".obj":
        raise InputError(f"path must end in .obj, got {str(path)!r}")
    material, picture = path.with_suffix(".mtl"), path.with_suffix(".png")
    for file in (path, material, picture):
        if file.exists() and not overwrite:
            raise InputError(f"path must not exist yet, or overwriting be asked for, got {str(file)!r}")
    lines = [f"mtllib {material.name}", "usemtl head"]
    # OBJ counts v from below.
    uv = np.stack([mesh.uv[:, 0], 1 - mesh.uv[:, 1]], axis=-1)
    for kind, rows in (("v", mesh.vertices), ("vt", uv), ("vn", mesh.normals)):
        lines += [f"{kind} {' '.join(f'{value:.6g}' for value in row)}" for row in rows.tolist()]
    lines += ["f " + " ".join(f"{i}/{i}/{i}" for i in face) for face in (mesh.faces + 1).tolist()]
    write_image(picture, mesh.texture, overwrite=overwrite)
    with replaced_when_done(material, overwrite=overwrite) as partial:
        partial.write_text(f"newmtl head\nKd 1 1 1\nKs 0 0 0\nillum 0\nmap_Kd {picture.name}\n")
    with replaced_when_done(path, overwrite=overwrite) as partial:
        partial.write_text("\n".join(lines) + "\n")


def write_textured(mesh: TexturedMesh, path: str | os.PathLike, *, overwrite: bool = False) -> None:
    """Writes a .glb with the texture inside, in a material that viewers do not shade: the light is in the picture.

    Raises:
      InputError: another suffix, trimesh is not installed, or the file exists.
    """
    path = pathlib.Path(path)
    if path.suffix.lower() != ".glb":
        raise InputError(f"path must end in .glb, got {str(path)!r}")
    trimesh = need("trimesh", "writing meshes")
    material = trimesh.visual.material.PBRMaterial(
        baseColorTexture=Image.fromarray(mesh.texture), metallicFactor=0.0, roughnessFactor=1.0
    )
    # trimesh counts v from below and turns it round when it writes.
    uv = np.stack([mesh.uv[:, 0], 1 - mesh.uv[:, 1]], axis=-1)
    shape = trimesh.Trimesh(
        mesh.vertices,
        mesh.faces,
        vertex_normals=mesh.normals,
        visual=trimesh.visual.TextureVisuals(uv=uv, material=material),
        process=False,
    )
    with replaced_when_done(path, overwrite=overwrite) as partial:
        partial.write_bytes(shape.export(file_type="glb", include_normals=True, tree_postprocessor=_unlit))


def _unlit(tree: dict) -> None:
    """Marks every material as one that is not shaded."""
    extension = "KHR_materials_unlit"
    tree["extensionsUsed"] = sorted({*tree.get("extensionsUsed", ()), extension})
    for material in tree["materials"]:
        material.setdefault("extensions", {})[extension] = {}
