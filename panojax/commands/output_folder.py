"""A folder of results that appears as a whole or not at all."""

import contextlib
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

from panojax.errors import InputError


@contextlib.contextmanager
def output_folder(out: str | os.PathLike, *, overwrite: bool = False) -> Iterator[pathlib.Path]:
    """Gives a temporary folder; its files lie in `out` after the block ends well, and are gone if it does not.

    Args:
      out: a folder that does not exist or is empty.
      overwrite: `out` may hold files; those of the same names are replaced, when all new ones are whole, and others
        stay. Checkpoints among the results replace checkpoints.

    Raises:
      InputError: `out` is a file, is not empty and `overwrite` is not set, or cannot be written.
    """
    target = pathlib.Path(out).absolute()
    if target.exists() and not target.is_dir():
        raise InputError(f"out must be a folder, got the file {str(out)!r}")
    if target.is_dir() and any(target.iterdir()) and not overwrite:
        raise InputError(f"out must not exist or be empty, unless --overwrite is given, got {str(out)!r}")
    # On the same disk, so that moving is renaming, and without making folders that a failure would leave behind.
    above = next(folder for folder in target.parents if folder.exists())
    try:
        work = pathlib.Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".partial", dir=above))
    except OSError as error:
        raise InputError(f"out must be writable, got {str(out)!r}: {error.strerror}") from error
    try:
        yield work
        _move(work, target)
    except BrokenPipeError:
        raise  # of stdout, not of a file
    except OSError as error:
        raise InputError(f"out must be writable, got {str(out)!r}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _move(work: pathlib.Path, target: pathlib.Path) -> None:
    folders = {path.name for path in work.iterdir() if (target / path.name).is_dir()}
    replaced = {name for name in folders if _is_checkpoint(work / name) and _is_checkpoint(target / name)}
    if blocked := folders - replaced:
        raise InputError(f"out must not hold folders named as the new files, got {', '.join(sorted(blocked))}")
    target.mkdir(parents=True, exist_ok=True)
    for name in replaced:
        shutil.rmtree(target / name)
    for path in sorted(work.iterdir()):
        path.replace(target / path.name)


def _is_checkpoint(folder: pathlib.Path) -> bool:
    return (folder / "_CHECKPOINT_METADATA").is_file()
