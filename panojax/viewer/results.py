"""What a head becomes on the page: files of it to keep, and a new head with a part of another."""

import functools
import pathlib
import tempfile
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from panojax.camera import orbit
from panojax.editing.parts import PARTS, segment
from panojax.editing.region import check_region, find_region
from panojax.editing.transfer import edit
from panojax.errors import check_choice
from panojax.export.colours import shown_surface
from panojax.export.mesh import extract_mesh
from panojax.export.splats import splats_from_surface, write_splats
from panojax.export.surface import Surface, closed_surface, simplify
from panojax.export.texture import bake_texture, write_textured
from panojax.export.views import Views, surround
from panojax.files.head_file import save_head
from panojax.generators.generator import Head
from panojax.params import Params
from panojax.viewer.picture import take_views

VIEWS, PITCHES = 36, (-30.0, 0.0, 30.0)
FACES, SPLATS = 30_000, 60_000
PART_VIEWS = 8
_edit = jax.jit(edit, static_argnames="fuse")
_find_region = jax.jit(find_region)


def textured_mesh(params: Params, head: Head) -> bytes:
    """A .glb file of a head with a baked texture, twice as fine as the model's pictures."""
    surface, views = _shape(params, head)
    surface = simplify(surface, FACES)
    textured = bake_texture(surface, views, size=min(1024, 2 * params.config.generator.image_resolution))
    return _written(".glb", lambda path: write_textured(textured, path))


def splat_file(params: Params, head: Head) -> bytes:
    """A .ply file of a head as Gaussian splats."""
    surface, views = _shape(params, head)
    splats = splats_from_surface(surface, views, count=SPLATS)
    return _written(".ply", lambda path: write_splats(splats, path))


def head_file(params: Params, head: Head) -> bytes:
    """The .npz file of a head. `params` are the model's as they were loaded, whose mark the file gets."""
    return _written(".npz", lambda path: save_head(head, path, params=params))


def with_part(params: Params, head: Head, reference: Head, part: str, *, drawn_by: Params | None = None) -> Head:
    """A head with a part of another one, found by the part segmenter from eight sides.

    Args:
      drawn_by: parameters that render as `params` do, of which a program is at hand.
      part: one of `editing.parts.PARTS` but the background.

    Raises:
      InputError: neither head shows the part.
    """
    check_choice("part", part, PARTS[1:])
    labels = orbit(PART_VIEWS, radius=params.config.generator.camera_radius)
    drawn_by, regions = params.generator_only() if drawn_by is None else drawn_by, []
    for shown in (head, reference):
        images = take_views(drawn_by, shown, np.asarray(labels)).images / np.float32(127.5) - 1
        masks = np.stack([segment(image)[..., PARTS.index(part)] for image in images])
        regions.append(_find_region(params.generator_only(), shown, jnp.asarray(masks), labels))
    region = check_region(params, functools.reduce(jnp.maximum, regions))
    return _edit(
        params, head, reference, region, fuse=params.config.encoder is not None and params.config.encoders == 2
    )


def _shape(params: Params, head: Head) -> tuple[Surface, Views]:
    """What pictures show of a head's surface, and the pictures."""
    mesh = extract_mesh(params, head, resolution=min(256, 2 * params.config.generator.field.resolution))
    views = take_views(params, head, surround(VIEWS, PITCHES, params.config.generator))
    return shown_surface(closed_surface(mesh.vertices, mesh.faces), views), views


def _written(suffix: str, write: Callable[[pathlib.Path], None]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / f"head{suffix}"
        write(path)
        return path.read_bytes()
