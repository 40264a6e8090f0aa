"""`panojax interpolate`: the heads between two heads."""

import dataclasses
import math
import pathlib
from typing import Annotated, Any, Literal

import tyro

from panojax.errors import InputError
from panojax.terminal.progress import counted, step


@dataclasses.dataclass(frozen=True)
class Options:
    """Show the heads between two that `invert` or `generate` stored.

    Writes strip.png, a row of heads for each yaw, and what else is asked for.

    For example:
        panojax interpolate me other --out between --turntable
    """

    first: Annotated[pathlib.Path, tyro.conf.Positional, tyro.conf.arg(metavar="FIRST")]
    """File of a head (.npz)."""
    second: Annotated[pathlib.Path, tyro.conf.Positional, tyro.conf.arg(metavar="SECOND")]
    """File of another head of the same model."""
    out: pathlib.Path
    """Folder for the results, new or empty."""
    share: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    """Shares of the second head; below 0 and above 1 the line goes on."""
    yaw: tuple[float, ...] = (0.0, 45.0, 180.0)
    """Angles around the head in degrees."""
    pitch: float = 0.0
    """Pitch of all views in degrees; positive looks from below."""
    heads: bool = False
    """Store the head of each share, as share0.25.npz."""
    turntable: bool = False
    """Write a video of a full turn in which the first head becomes the second and the first again."""
    frames: int = 72
    """Frames of the turntable."""
    fps: int = 24
    """Frames of the turntable in a second."""
    video: Literal["mp4", "webp"] = "mp4"
    """Format of the turntable."""
    checkpoint: str | None = None
    """Folder of the model that made the heads; by default the one that the first file names, or else "default"."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Compute type."""
    overwrite: bool = False
    """Replace results of the same names in the folder."""


def run(options: Options) -> None:
    """Runs the command. InputError says what is wrong with its input; nothing is written then."""
    from panojax.commands import results
    from panojax.commands.arguments import view_grid
    from panojax.disk.staging import output_folder
    from panojax.generators.generator_config import GeneratorConfig

    view_grid(options.yaw, (options.pitch,), GeneratorConfig())
    results.check_turn(options.frames, options.pitch, options.fps)
    if not options.share or not all(map(math.isfinite, options.share)):
        raise InputError(f"share must be one or more finite numbers, got {' '.join(map(str, options.share)) or 'none'}")
    with output_folder(options.out, overwrite=options.overwrite) as folder:
        _interpolate(options, folder)
        names = sorted(path.name for path in folder.iterdir())
    print(f"{options.out}: {', '.join(names)}")


def _interpolate(options: Options, folder: pathlib.Path) -> None:
    """Does the work and writes all files to `folder`."""
    import jax

    import panojax
    from panojax.commands.arguments import load_heads, turn, view_grid
    from panojax.commands.results import thumbnail
    from panojax.export.turntable import render_views
    from panojax.files.head_file import save_head
    from panojax.files.output import contact_sheet, write_video
    from panojax.photo import write_image
    from panojax.terminal.bars import bar

    seconds: dict[str, float] = {}
    params, (first, second) = load_heads(
        (options.first, options.second), options.checkpoint, seconds, dtype=options.dtype
    )
    config, model = params.config.generator, params.generator_only()
    _, cameras = view_grid(options.yaw, (options.pitch,), config)
    blend = jax.jit(panojax.interpolate)

    def between(share: float) -> Any:
        """The ends are the heads themselves, whose share must not be traced for that."""
        return (panojax.interpolate if share in (0, 1) else blend)(model, first, second, share)

    with step(f"making {counted(len(options.share), 'head')}", seconds):
        columns = []
        for share in bar(options.share, desc="heads", unit="head"):
            head = between(share)
            columns.append([thumbnail(view, 256) for view in render_views(params, head, cameras)])
            if options.heads:
                save_head(head, folder / f"share{share:g}.npz", params=params)
        rows = [picture for row in zip(*columns) for picture in row]
        titles = [f"{share:g}" for share in options.share] * len(cameras)
        write_image(folder / "strip.png", contact_sheet(rows, titles, columns=len(options.share)))
    if options.turntable:
        _, around = turn(options.frames, options.pitch, config)

        def frames() -> Any:
            for i, camera in enumerate(bar(around, desc="turntable", unit="frame")):
                share = (1 - math.cos(2 * math.pi * i / options.frames)) / 2
                yield from render_views(params, between(share), camera[None])

        with step("rendering the turntable", seconds):
            write_video(folder / f"turntable.{options.video}", frames(), fps=options.fps)
