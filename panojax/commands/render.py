"""`panojax render`: a head's file from any side."""

import dataclasses
import pathlib
from typing import Annotated, Literal

import tyro


@dataclasses.dataclass(frozen=True)
class Options:
    """Render a head that `invert` or `generate` stored, with the model that made it.

    Writes a picture for each yaw at each pitch, and what else is asked for.

    For example:
        panojax render me --yaw -45 0 45 --out views
        panojax render me/head.npz --turntable --out turn
    """

    head: Annotated[pathlib.Path, tyro.conf.Positional, tyro.conf.arg(metavar="HEAD")]
    """File of the head (.npz), or the folder that `panojax invert` wrote."""
    out: pathlib.Path
    """Folder for the results, new or empty."""
    checkpoint: str | None = None
    """Folder of the model that made the head; by default the one that the head's file names, or else "default"."""
    yaw: tuple[float, ...] = (0.0,)
    """Angles around the head in degrees, 0 in front of the face and 90 where x is greatest."""
    pitch: tuple[float, ...] = (0.0,)
    """Pitches in degrees; positive looks from below. The first one is also the sheet's and the turntable's."""
    resolution: int | None = None
    """Side of the volume rendering; by default the checkpoint's."""
    size: int | None = None
    """Side of the pictures and the turntable in pixels; by default the model's."""
    sheet: bool = False
    """Write sheet.png, twelve views around the head."""
    turntable: bool = False
    """Write a video of a full turn."""
    frames: int = 72
    """Frames of the turntable."""
    fps: int = 24
    """Frames of the turntable in a second."""
    video: Literal["mp4", "webp"] = "mp4"
    """Format of the turntable."""
    mesh: bool = False
    """Write a mesh with coloured vertices."""
    mesh_format: Literal["ply", "glb"] = "glb"
    """Format of the mesh."""
    mesh_resolution: int | None = None
    """Grid points of the mesh along each side; by default two a texel, at most 256."""
    mesh_level: float | None = None
    """Density at the mesh's surface; by default 10, or that of half the greatest opacity where it is lower."""
    mesh_largest: bool = True
    """Keep only the largest connected piece of the mesh."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Compute type."""
    overwrite: bool = False
    """Replace results of the same names in the folder."""


def run(options: Options) -> None:
    """Runs the command. InputError says what is wrong with its input; nothing is written then."""
    from panojax.commands import results
    from panojax.commands.arguments import view_grid
    from panojax.disk.staging import output_folder
    from panojax.export.views import check_size
    from panojax.generators.generator_config import GeneratorConfig

    view_grid(options.yaw, options.pitch, GeneratorConfig())
    results.check_rendering(options.resolution)
    check_size(options.size)
    results.check_turn(options.frames, options.pitch[0], options.fps)
    if options.mesh:
        results.check_mesh(options.mesh_resolution)
    with output_folder(options.out, overwrite=options.overwrite) as folder:
        _render(options, folder)
        names = sorted(path.name for path in folder.iterdir())
    print(f"{options.out}: {', '.join(names)}")


def _render(options: Options, folder: pathlib.Path) -> None:
    """Does the work and writes all files to `folder`."""
    from panojax.commands import results
    from panojax.commands.arguments import load_heads, turn, view_grid
    from panojax.export.turntable import render_views
    from panojax.files.output import contact_sheet, sized
    from panojax.photo import write_image
    from panojax.terminal.progress import step

    seconds: dict[str, float] = {}
    params, (head,) = load_heads([options.head], options.checkpoint, seconds, dtype=options.dtype)
    config = params.config.generator
    names, cameras = view_grid(options.yaw, options.pitch, config)
    with step("rendering", seconds):
        views = render_views(params, head, cameras, resolution=options.resolution)
        for name, view in zip(names, sized(views, options.size)):
            write_image(folder / f"{name}.png", view)
    if options.sheet:
        with step("rendering the sheet", seconds):
            titles, around = turn(12, options.pitch[0], config)
            sides = list(render_views(params, head, around, resolution=options.resolution))
            write_image(folder / "sheet.png", contact_sheet(sides, titles, columns=6))
    if options.turntable:
        with step("rendering the turntable", seconds):
            results.write_turntable(
                folder / f"turntable.{options.video}",
                params,
                head,
                frames=options.frames,
                pitch=options.pitch[0],
                fps=options.fps,
                resolution=options.resolution,
                size=options.size,
            )
    if options.mesh:
        with step("extracting the mesh", seconds):
            results.write_head_mesh(
                folder / f"mesh.{options.mesh_format}",
                params,
                head,
                resolution=options.mesh_resolution,
                level=options.mesh_level,
                largest=options.mesh_largest,
            )
