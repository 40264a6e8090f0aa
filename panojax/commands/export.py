"""`panojax export`: a head's file for other programs."""

import dataclasses
import os
import pathlib
from typing import Annotated, Any, Literal

import tyro

from panojax.disk.locks import contents
from panojax.disk.staging import check_writable
from panojax.errors import InputError
from panojax.extras import need

SUFFIXES = {"glb": ".glb", "obj": ".obj", "ply": ".ply", "splat": ".ply", "mp4": ".mp4", "webp": ".webp"}
FOLDERS = ("transforms", "colmap")


@dataclasses.dataclass(frozen=True)
class Options:
    """Write a head, which `invert` or `generate` stored, for other programs.

    glb, obj: a mesh with a baked texture; obj has its .mtl and .png beside it. ply: a mesh with coloured vertices.
    splat: Gaussian splats (.ply). transforms: posed pictures for nerfstudio and instant-ngp. colmap: posed pictures as
    COLMAP's text. mp4, webp: a turntable.

    For example:

        panojax export me --to glb --out me.glb
        panojax export me/head.npz --to splat --out me.ply
    """

    head: Annotated[pathlib.Path, tyro.conf.Positional, tyro.conf.arg(metavar="HEAD")]
    """File of the head (.npz), or the folder that `panojax invert` wrote."""
    to: Literal["glb", "obj", "ply", "splat", "transforms", "colmap", "mp4", "webp"]
    """What to write."""
    out: pathlib.Path
    """File to write, new; for transforms and colmap a folder, new or empty."""
    checkpoint: str | None = None
    """Folder of the model that made the head; by default the one that the head's file names, or else "default"."""
    views: int = 96
    """Pictures around the head that give textures and splats their colours, or are written themselves."""
    pitch: tuple[float, ...] | None = None
    """Pitches of those pictures in degrees, by default -30 0 30; positive looks from below. A turntable has the first
    one, by default 0."""
    resolution: int | None = None
    """Side of the volume rendering; by default the checkpoint's."""
    size: int | None = None
    """Side of posed pictures and turntables in pixels; by default the model's."""
    faces: int = 30_000
    """Triangles of a glb or obj."""
    texture: int = 1024
    """Sides of their texture in texels, about."""
    splats: int | None = None
    """Number of splats; by default 40000 where they are fitted, else 100000."""
    fit_steps: int | None = None
    """Steps that fit splats to the pictures; by default 1000 on a GPU, and none on a CPU, where one takes a second."""
    harmonics: int = 0
    """Degree of the splats' spherical harmonics, 0 to 3; the original viewer of such files only opens 3. From 1 on, the
    colours of fitted splats change with the direction of view."""
    y_up: bool = False
    """Keep the head's axes in splats; by default y points down there, as viewers of such files expect."""
    points: int = 5_000
    """Points on the surface that go with posed pictures."""
    frames: int = 72
    """Frames of a turntable."""
    fps: int = 24
    """Frames of a turntable in a second."""
    mesh_resolution: int | None = None
    """Grid points of the mesh along each side; by default two a texel of the tri-grid, at most 256."""
    mesh_level: float | None = None
    """Density at the mesh's surface; by default 10, or that of half the greatest opacity where it is lower."""
    mesh_largest: bool = True
    """Keep only the largest connected piece of the mesh."""
    unseen: bool = False
    """Also keep what no picture shows, such as the cut through the neck, in the nearest colours; else it is left away
    (a ply always has all)."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Compute type."""
    overwrite: bool = False
    """Replace the file. A folder must be new or empty all the same."""


def run(options: Options) -> None:
    """Runs the command. InputError says what is wrong with its input; nothing is written then."""
    from panojax.commands.arguments import load_heads

    check(options)
    params, (head,) = load_heads([options.head], options.checkpoint, {}, dtype=options.dtype)
    write = {
        "glb": _write_glb,
        "obj": _write_glb,
        "ply": _write_ply,
        "splat": _write_splat,
        "transforms": _write_posed,
        "colmap": _write_posed,
        "mp4": _write_video,
        "webp": _write_video,
    }[options.to]
    print(f"{options.out}: {write(options, params, head)}")


def check(options: Options) -> None:
    """Raises InputError for what cannot be written, before anything slow starts."""
    from panojax.commands import results
    from panojax.export.splat_fitting import check_steps
    from panojax.export.splats import check_splats
    from panojax.export.surface import check_faces
    from panojax.export.texture import check_texture
    from panojax.export.views import check_size, surround
    from panojax.generators.generator_config import GeneratorConfig

    check_target(options.out, options.to, overwrite=options.overwrite)
    results.check_rendering(options.resolution)
    check_size(options.size)
    if options.to in ("mp4", "webp"):
        results.check_turn(options.frames, _turn_pitch(options), options.fps)
        return
    results.check_mesh(options.mesh_resolution)
    if options.to != "ply":
        surround(options.views, _pitches(options), GeneratorConfig())
    if options.to in ("glb", "obj"):
        check_faces(options.faces)
        check_texture(options.texture)
        need("fast_simplification", "simplifying meshes")
    if options.to == "splat":
        check_splats(_count(options))
        check_steps(_fit_steps(options))
        if not 0 <= options.harmonics <= 3:
            raise InputError(f"harmonics must be of degree 0 to 3, got {options.harmonics}")
    if options.to in FOLDERS and not 1 <= options.points <= 1_000_000:
        raise InputError(f"points must be 1 to 1000000, got {options.points}")


def check_target(out: pathlib.Path, to: str, *, overwrite: bool) -> None:
    """Looks whether `out` is a path that `to` can be written to.

    Raises:
      InputError: another suffix; the file exists and is not to be replaced; the folder is not empty; a file where a
        folder is needed or the other way round; nothing may be written there.
    """
    suffix, target = SUFFIXES.get(to), pathlib.Path(os.path.realpath(out))
    if suffix and target.suffix.lower() != suffix:
        raise InputError(f"out must end in {suffix} for {to}, got {str(out)!r}")
    if suffix and target.is_dir():
        raise InputError(f"out must be a file for {to}, got the folder {str(out)!r}")
    if suffix and target.exists() and not overwrite:
        raise InputError(f"out must not exist, unless --overwrite is given, got {str(out)!r}")
    if not suffix and target.exists() and not target.is_dir():
        raise InputError(f"out must be a folder for {to}, got the file {str(out)!r}")
    if not suffix and target.is_dir() and contents(target):
        raise InputError(f"out must not exist or be empty for {to}, got {str(out)!r}")
    check_writable(target.parent if suffix else target)


def _turn_pitch(options: Options) -> float:
    return options.pitch[0] if options.pitch else 0.0


def _pitches(options: Options) -> tuple[float, ...]:
    return (-30.0, 0.0, 30.0) if options.pitch is None else options.pitch


def _mesh(options: Options, params: Any, head: Any) -> Any:
    from panojax.export.mesh import extract_mesh
    from panojax.terminal.progress import step

    with step("extracting the mesh", {}):
        return extract_mesh(
            params,
            head,
            resolution=options.mesh_resolution or min(256, 2 * params.config.generator.field.resolution),
            level=options.mesh_level,
            largest_component=options.mesh_largest,
            progress=True,
        )


def _views(options: Options, params: Any, head: Any) -> Any:
    from panojax.export.views import surround, take_views
    from panojax.terminal.progress import step

    labels = surround(options.views, _pitches(options), params.config.generator)
    with step(f"rendering {len(labels)} views", {}):
        return take_views(params, head, labels, resolution=options.resolution, progress=True)


def _surface(options: Options, mesh: Any, views: Any) -> Any:
    """A mesh as a surface, without what no picture shows unless that is asked for."""
    from panojax.export.colours import shown_surface
    from panojax.export.surface import closed_surface
    from panojax.terminal.progress import step

    surface = closed_surface(mesh.vertices, mesh.faces)
    if options.unseen:
        return surface
    with step("leaving away what no view shows", {}):
        return shown_surface(surface, views, progress=True)


def _write_glb(options: Options, params: Any, head: Any) -> str:
    from panojax.export.surface import simplify
    from panojax.export.texture import bake_texture, write_obj, write_textured
    from panojax.terminal.progress import step

    mesh, views = _mesh(options, params, head), _views(options, params, head)
    surface = _surface(options, mesh, views)
    with step("simplifying the mesh", {}):
        surface = simplify(surface, options.faces)
    with step("baking the texture", {}):
        textured = bake_texture(surface, views, size=options.texture, progress=True)
    write = write_textured if options.to == "glb" else write_obj
    write(textured, options.out, overwrite=options.overwrite)
    height, width = textured.texture.shape[:2]
    return (
        f"{len(textured.faces)} triangles, texture {width} x {height}, {textured.seen:.0%} of it from {options.views} "
        "views, the rest from its neighbours"
    )


def _write_ply(options: Options, params: Any, head: Any) -> str:
    from panojax.export.mesh import write_mesh

    mesh = _mesh(options, params, head)
    write_mesh(mesh, options.out, overwrite=options.overwrite)
    return f"{len(mesh.vertices)} vertices, {len(mesh.faces)} triangles"


def _fit_steps(options: Options) -> int:
    import jax

    if options.fit_steps is not None:
        return options.fit_steps
    return 0 if jax.default_backend() == "cpu" else 1_000


def _count(options: Options) -> int:
    if options.splats is not None:
        return options.splats
    return 40_000 if _fit_steps(options) else 100_000


def _write_splat(options: Options, params: Any, head: Any) -> str:
    from panojax.export.splat_fitting import fit_splats
    from panojax.export.splats import splats_from_surface, write_splats
    from panojax.terminal.progress import step

    steps, count = _fit_steps(options), _count(options)
    mesh, views = _mesh(options, params, head), _views(options, params, head)
    surface = _surface(options, mesh, views)
    with step("placing the splats", {}):
        splats = splats_from_surface(surface, views, count=count, progress=True)
    if steps:
        with step("fitting the splats", {}):
            splats = fit_splats(splats, views, steps=steps, degree=min(options.harmonics, 1), progress=True)
    write_splats(splats, options.out, degree=options.harmonics, y_up=options.y_up, overwrite=options.overwrite)
    return f"{count} splats, " + (f"fitted by {steps} steps" if steps else "on the surface; --fit-steps fits them")


def _write_posed(options: Options, params: Any, head: Any) -> str:
    from panojax.disk.staging import output_folder
    from panojax.export.colours import gather_colours
    from panojax.export.posed import write_colmap, write_transforms
    from panojax.export.surface import sample_surface
    from panojax.terminal.progress import step

    mesh, views = _mesh(options, params, head), _views(options, params, head)
    surface = _surface(options, mesh, views)
    points, normals = sample_surface(surface, options.points)
    with step("colouring the points", {}):
        colours, _ = gather_colours(surface, points, normals, views, progress=True)
    write = write_transforms if options.to == "transforms" else write_colmap
    views = views if options.size is None else views.resized(options.size)
    with output_folder(options.out) as folder, step("writing the pictures", {}):
        write(folder, views, points, colours, progress=True)
    return f"{len(views.labels)} pictures, {options.points} points"


def _write_video(options: Options, params: Any, head: Any) -> str:
    from panojax.commands.arguments import turn
    from panojax.export.turntable import render_views
    from panojax.files.output import sized, write_video
    from panojax.terminal.bars import bar
    from panojax.terminal.progress import step

    _, cameras = turn(options.frames, _turn_pitch(options), params.config.generator)
    with step("rendering the turntable", {}):
        views = render_views(params, head, cameras, resolution=options.resolution)
        frames = bar(sized(views, options.size), total=options.frames, desc=options.out.name, unit="frame")
        write_video(options.out, frames, fps=options.fps, overwrite=options.overwrite)
    return f"{options.frames} frames"
