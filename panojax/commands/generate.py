"""`panojax generate`: heads from random latents."""

import dataclasses
import pathlib
from typing import Literal

from panojax.terminal.progress import counted, step


@dataclasses.dataclass(frozen=True)
class Options:
    """Make heads from random latents: pictures, a contact sheet, and each head as a file.

    A seed gives the latent that PanoHead's and EG3D's own tools draw for it.

    For example:
        panojax generate --seeds 0-7 --out people
    """

    out: pathlib.Path
    """Folder for the results, new or empty."""
    checkpoint: str = "default"
    """Folder that `panojax convert` wrote, or "default"."""
    seeds: str = "0-3"
    """Numbers and ranges, such as 0-3,7."""
    truncation: float = 0.7
    """1 keeps the style codes, 0 gives the mean head."""
    cutoff: int | None = None
    """How many of the first style codes are truncated; by default all."""
    yaw: tuple[float, ...] = (0.0,)
    """Angles around the head in degrees, 0 in front of the face; a picture for each of them at each pitch."""
    pitch: tuple[float, ...] = (0.0,)
    """Pitches in degrees; positive looks from below. The first one is also the sheet's and the turntables'."""
    resolution: int | None = None
    """Side of the volume rendering; by default the checkpoint's."""
    sheet: bool = True
    """Write sheet.png: a row of eight views around each head."""
    turntable: bool = False
    """Write a video of a full turn around each head."""
    frames: int = 72
    """Frames of a turntable."""
    fps: int = 24
    """Frames of a turntable in a second."""
    video: Literal["mp4", "webp"] = "mp4"
    """Format of the turntables."""
    half: bool = False
    """Store heads in half precision, at half the size."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Compute type."""
    overwrite: bool = False
    """Replace results of the same names in the folder."""


def run(options: Options) -> None:
    """Runs the command. InputError says what is wrong with its input; nothing is written then."""
    from panojax.commands import results
    from panojax.commands.arguments import parse_seeds, view_grid
    from panojax.disk.staging import output_folder
    from panojax.generators.generator_config import GeneratorConfig

    seeds = parse_seeds(options.seeds)
    view_grid(options.yaw, options.pitch, GeneratorConfig())
    results.check_rendering(options.resolution)
    results.check_turn(options.frames, options.pitch[0], options.fps)
    results.check_truncation(options.truncation, options.cutoff)
    with output_folder(options.out, overwrite=options.overwrite) as folder:
        _generate(options, seeds, folder)
        count = len(list(folder.iterdir()))
    print(f"{options.out}: {counted(len(seeds), 'head')}, {counted(count, 'file')}")


def _generate(options: Options, seeds: tuple[int, ...], folder: pathlib.Path) -> None:
    """Does the work and writes all files to `folder`."""
    import jax

    import panojax
    from panojax.commands import results
    from panojax.commands.arguments import load_model, turn, view_grid
    from panojax.export.turntable import render_views
    from panojax.files.head_file import save_head
    from panojax.files.output import contact_sheet
    from panojax.photo import write_image
    from panojax.terminal.bars import bar

    seconds: dict[str, float] = {}
    params = load_model(options.checkpoint, seconds, dtype=options.dtype)
    config = params.config.generator
    names, cameras = view_grid(options.yaw, options.pitch, config)
    titles, around = turn(8, options.pitch[0], config)
    generate = jax.jit(panojax.generate, static_argnames="cutoff")
    rows, row_titles = [], []
    with step(f"making {counted(len(seeds), 'head')}", seconds):
        for seed in bar(seeds, desc="heads", unit="head"):
            head = generate(params, latent(seed, config.z_dim), truncation=options.truncation, cutoff=options.cutoff)
            stem = f"seed{seed:04d}"
            save_head(head, folder / f"{stem}.npz", params=params, dtype="float16" if options.half else "float32")
            for name, view in zip(names, render_views(params, head, cameras, resolution=options.resolution)):
                write_image(folder / f"{stem}_{name}.png", view)
            if options.sheet:
                views = render_views(params, head, around, resolution=options.resolution)
                rows += [results.thumbnail(view, 256) for view in views]
                row_titles += [f"{stem}, {titles[0]}", *titles[1:]]
            if options.turntable:
                results.write_turntable(
                    folder / f"{stem}.{options.video}",
                    params,
                    head,
                    frames=options.frames,
                    pitch=options.pitch[0],
                    fps=options.fps,
                    resolution=options.resolution,
                )
    if options.sheet:
        write_image(folder / "sheet.png", contact_sheet(rows, row_titles, columns=8))


def latent(seed: int, z_dim: int):
    """The latent float32 [z_dim] of a seed: the original tools', so that a seed gives the head it gives there."""
    import numpy as np

    draws = np.random.RandomState(seed).randn(z_dim)
    return draws.astype(np.float32)
