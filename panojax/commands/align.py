"""`panojax align`: photos to a folder of aligned crops with cameras."""

import dataclasses
import pathlib
from typing import Annotated, Literal

import tyro

from panojax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Options:
    """Align photos: crop each around a head, cut the person out, and estimate the camera.

    Writes a picture and a mask for each photo, and dataset.json in EG3D's format. A photo that cannot be used is
    reported and the others go on. Run again with the same settings, it does only what is missing.

    For example:
        panojax align photos --out aligned
    """

    photos: Annotated[tuple[pathlib.Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PHOTO [PHOTO ...]")]
    """Pictures, or folders of pictures."""
    out: pathlib.Path
    """Folder for the crops: new, empty, or filled by an earlier run."""
    size: int = 512
    """Side of the crops in pixels."""
    face: str = "largest"
    """Which face of a photo: "largest", "center", "only", or a number counted from the left, from 0."""
    framing: Literal["panohead", "heads"] = "panohead"
    """How the crops lie around the head: as PanoHead's, or as the synthetic heads of `panojax heads`."""
    part: Literal["training", "held-out", "all"] = "all"
    """Only the photos that train, or only the sixth that is held out for measuring, by a hash of their content."""


def run(options: Options) -> None:
    """Runs the command. InputError if no photo could be aligned, or the input is wrong."""
    from panojax.commands.portrait import parse_face
    from panojax.photo import HEADS, PANOHEAD, align_folder
    from panojax.terminal.progress import note

    report = align_folder(
        options.photos,
        options.out,
        face=parse_face(options.face),
        size=options.size,
        framing={"panohead": PANOHEAD, "heads": HEADS}[options.framing],
        part=options.part,
        progress=True,
    )
    for photo, warnings in report.warned:
        note(f"{photo}: {'; '.join(warnings)}")
    for photo, reason in report.failed:
        note(f"{photo} was left out: {reason}")
    if not report.aligned:
        raise InputError(f"photos must show heads, none of {len(report.failed)} could be aligned")
    told = [f"{report.behind} from behind"] if report.behind else []
    told += [f"{report.by_network} by the head pose network"] if report.by_network else []
    of_these = f" ({', '.join(told)})" if told else ""
    print(f"{options.out}: {len(report.aligned)} aligned{of_these}, {len(report.failed)} left out")
