"""What several commands write: turntables and meshes of a head."""

import math
import pathlib
from typing import Any

import jax.numpy as jnp
import numpy as np

from panojax.commands.arguments import turn
from panojax.errors import InputError
from panojax.export.mesh import check_resolution, extract_mesh, write_mesh
from panojax.export.turntable import render_views
from panojax.extras import need
from panojax.files.output import sized, to_uint8, write_video
from panojax.generators.generator import Head
from panojax.generators.generator_config import GeneratorConfig
from panojax.nn.stylegan2 import pool
from panojax.params import Params
from panojax.terminal.bars import bar
from panojax.terminal.progress import is_quiet


def check_turn(frames: int, pitch: float, fps: int) -> None:
    """Raises InputError for a turntable that cannot be made, before anything slow starts."""
    turn(frames, pitch, GeneratorConfig())
    if not 1 <= fps <= 240:
        raise InputError(f"fps must be 1 to 240 frames a second, got {fps}")


def check_rendering(resolution: int | None) -> None:
    """Raises InputError for a side of the volume rendering that gives no picture."""
    if resolution is not None and not 2 <= resolution <= 1024:
        raise InputError(f"resolution of the volume rendering must be 2 to 1024, got {resolution}")


def check_mesh(resolution: int | None) -> None:
    """Raises InputError for a mesh that cannot be made, before anything slow starts."""
    need("trimesh", "writing meshes")
    if resolution is not None:
        check_resolution(resolution)


def check_truncation(truncation: float, cutoff: int | None) -> None:
    """Raises InputError for a truncation that gives no head."""
    if not math.isfinite(truncation):
        raise InputError(f"truncation must be a finite number, got {truncation}")
    if cutoff is not None and cutoff < 0:
        raise InputError(f"cutoff must be a number of style codes from 0, got {cutoff}")


def write_turntable(
    path: pathlib.Path,
    params: Params,
    head: Head,
    *,
    frames: int,
    pitch: float,
    fps: int,
    resolution: int | None = None,
    size: int | None = None,
    occupied: Any = None,
) -> None:
    """Renders a full turn around a head, at a pitch in degrees, into a video."""
    _, cameras = turn(frames, pitch, params.config.generator)
    views = sized(render_views(params, head, cameras, resolution=resolution, occupied=occupied), size)
    write_video(path, bar(views, total=frames, desc=path.name, unit="frame", hidden=is_quiet()), fps=fps)


def write_head_mesh(
    path: pathlib.Path, params: Params, head: Head, *, resolution: int | None, level: float | None, largest: bool
) -> dict[str, Any]:
    """Writes a head's mesh and gives its numbers; `resolution` None is two points a texel, at most 256."""
    resolution = resolution or min(256, 2 * params.config.generator.field.resolution)
    mesh = extract_mesh(
        params, head, resolution=resolution, level=level, largest_component=largest, progress=not is_quiet()
    )
    write_mesh(mesh, path)
    return {"resolution": resolution, "level": mesh.level, "vertices": len(mesh.vertices), "faces": len(mesh.faces)}


def at_size(image: np.ndarray, size: int) -> np.ndarray:
    """A square picture [S, S, 3] at `size` pixels a side."""
    return np.asarray(pool(jnp.asarray(image)[None], size)[0])


def thumbnail(image: np.ndarray, size: int) -> np.ndarray:
    """A square picture in bytes, at most `size` pixels a side, for sheets of many."""
    return to_uint8(at_size(image, min(size, image.shape[0])))
