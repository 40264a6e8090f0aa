"""What `panojax` alone, `--version` and `-h` answer, without loading anything."""

import platform
from collections.abc import Sequence

OVERVIEW = """\
panojax turns one photo of a face into a head that can be seen from every side.

  panojax invert photo.jpg --out me        a head of a photo, or of every photo of a folder
  panojax view me                          look at it in a browser
  panojax export me --to glb --out me.glb  take it to other programs
  panojax render me --yaw 0 90 --out views more pictures of it

  panojax generate    heads that nobody has      panojax edit         hair of another, older, ...
  panojax interpolate between two heads          panojax align        photos to aligned crops
  panojax heads       synthetic heads            panojax convert      PanoHead's checkpoints
  panojax info        what a file holds

No photo at hand? `panojax invert astronaut --out astronaut_head`
`panojax COMMAND --help` tells a command's options, `panojax --version` this version.
"""


def answer(arguments: Sequence[str]) -> str | None:
    """What to print instead of running a command, or None."""
    if not arguments or list(arguments) == ["help"]:
        return OVERVIEW.rstrip()
    return version_line() if list(arguments) in (["--version"], ["-V"], ["version"]) else None


def version_line() -> str:
    """The versions of panojax and of what it stands on."""
    from importlib.metadata import version

    from panojax.commands.invert import panojax_version

    return f"panojax {panojax_version()} (JAX {version('jax')}, Python {platform.python_version()})"
