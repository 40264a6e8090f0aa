"""`panojax heads`: synthetic heads to train on."""

import dataclasses
import pathlib
from typing import Literal

from panojax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Options:
    """Make synthetic heads seen from every side, with true cameras, masks, depth and parts.

    They are built from CC0 assets, which --fetch-assets downloads once. A run that was stopped goes on where it was.

    For example:
        panojax heads --fetch-assets
        panojax heads --identities 10 --views 8 --out raw/heads
    """

    out: pathlib.Path | None = None
    """Folder for the set; it may hold part of it. Without it, --fetch-assets only fetches."""
    identities: int = 100
    """How many people."""
    start: int = 0
    """Number of the first one."""
    split: Literal["all", "train", "validation", "test"] = "all"
    """Only people of this split, the first so many from the number `start` on."""
    views: int = 32
    """Pictures of each."""
    size: int = 256
    """Side of the pictures in pixels."""
    seed: int = 0
    """Number of the family of people."""
    edition: int = 2
    """Edition of the heads: 2 has hair of strands, environments, glasses and hats; 1 draws what it always drew."""
    processes: int = 1
    """Processes that work side by side."""
    devices: int = 0
    """How many EGL devices (GPUs) the processes take turns on; 0: EGL's choice."""
    fetch_assets: bool = False
    """Download the assets first (needs pip and npm)."""
    assets: pathlib.Path | None = None
    """Folder of the assets; by default panojax/heads in the user's cache folder."""


def run(options: Options) -> None:
    """Runs the command. InputError says what is wrong with its input."""
    from panojax.extras import need
    from panojax.synthetic.assets import fetch_assets
    from panojax.synthetic.generate import check_arguments, generate_heads

    if options.out is None and not options.fetch_assets:
        raise InputError("out must name a folder, or --fetch-assets be given, got neither")
    check_arguments(options.identities, options.views, options.size, options.seed, options.start, options.processes)
    need("moderngl", "rendering heads")  # before a long download, not after it
    if options.fetch_assets:
        print(f"{fetch_assets(options.assets)}: assets")
    if options.out is not None:
        folder = generate_heads(
            options.identities,
            options.views,
            options.size,
            options.seed,
            options.out,
            options.processes,
            start=options.start,
            assets=options.assets,
            edition=options.edition,
            devices=options.devices,
            split=options.split,
        )
        print(f"{folder}: {options.identities} heads, {options.views} views each")
