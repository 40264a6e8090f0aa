"""Results are written beside their place, in the same file system, and moved there when they are whole.

What a block of `output_folder` or `replaced_when_done` writes lies in a hidden staging folder, which also shows before
the work that the place can be written. A process that is killed leaves its staging folder, and the next one that
writes there removes it: the lock inside tells whether its owner lives.
"""

import contextlib
import errno
import os
import pathlib
import shutil
import tempfile
import time
from collections.abc import Iterator

from panojax.disk.locks import LOCK, PREFIX, alone_in, contents, hold, is_ours, release
from panojax.disk.reading import is_disk_fault, kind_of, reason, shown
from panojax.errors import InputError, OutputError

SUFFIX = ".partial"
LAST = ("report.json", "model.json", "_CHECKPOINT_METADATA")
"""Files that say that the others beside them are whole: they are moved last."""

# The staging folders of this process, for `remove_open`.
_open: set[str] = set()


@contextlib.contextmanager
def output_folder(out: str | os.PathLike, *, overwrite: bool = False, name: str = "out") -> Iterator[pathlib.Path]:
    """Gives a folder to write to; its files lie in `out` after the block ends well, and are gone if it does not.

    A new `out` appears at once, whole. Into one that is there files are moved one by one, `report.json` last.

    Args:
      out: a folder that does not exist or is empty; a link to one, or a mount, is as good.
      overwrite: `out` may hold files; those of the same names are replaced, when all new ones are whole, and others
        stay. Checkpoints among the results replace checkpoints.
      name: the argument, for messages.

    Raises:
      InputError: `out` is a file, or not empty and `overwrite` is not set.
      OutputError: it cannot be written, or another process is writing to it.
    """
    with _told(out, name):
        target = pathlib.Path(os.path.realpath(out))
        kind = kind_of(target)
        if kind not in ("nothing", "folder"):
            raise InputError(f"{name} must be a folder, got the file {shown(out)}")
        if kind == "folder" and contents(target) and not overwrite:
            raise InputError(f"{name} must not exist or be empty, unless --overwrite is given, got {shown(out)}")
        base = target if kind == "folder" else _above(target)
        clean_leftovers(base)
    with alone_in(target, name, base=base), _told(out, name), _staging(base) as work:
        with _of_results(work):
            yield work
        if base == target:
            _move_into(work, target, name)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.rename(work, target)


@contextlib.contextmanager
def replaced_when_done(path: str | os.PathLike, *, overwrite: bool = False) -> Iterator[pathlib.Path]:
    """Gives a temporary path of the same name; moves it to `path` if the block ends well and deletes it if not.

    Raises:
      InputError: `path` is a directory, or exists and `overwrite` is not set.
      OutputError: it cannot be written.
    """
    with _told(path, "path"):
        target = pathlib.Path(os.path.realpath(path))
        kind = kind_of(target)
        if kind == "folder":
            raise InputError(f"path must be a file to write, got the directory {shown(path)}")
        if kind != "nothing" and not overwrite:
            raise InputError(f"path must not exist yet, or overwriting be asked for, got {shown(path)}")
        target.parent.mkdir(parents=True, exist_ok=True)
        with _staging(target.parent) as work:
            partial = work / target.name
            with _of_results(work):
                yield partial
            if overwrite:
                os.replace(partial, target)
            else:
                _move_new(partial, target, path)


def check_writable(path: str | os.PathLike, name: str = "out") -> None:
    """Raises an error unless files can be made in the folder `path`, be it there or not, without leaving any.

    Raises:
      InputError: it is a file.
      OutputError: it cannot be written.
    """
    with _told(path, name):
        target = pathlib.Path(os.path.realpath(path))
        if (kind := kind_of(target)) in ("file", "other"):
            raise InputError(f"{name} must be a folder, got the file {shown(path)}")
        base = target if kind == "folder" else _above(target)
        clean_leftovers(base)
        with _staging(base) as work:
            (work / "bytes").write_bytes(bytes(4096))


def clean_leftovers(folder: str | os.PathLike) -> None:
    """Removes staging folders and locks of processes that have ended. Errors leave them where they are."""
    with contextlib.suppress(OSError):
        for path in [path for path in pathlib.Path(folder).iterdir() if is_ours(path.name)]:
            if path.name.endswith(SUFFIX) and path.is_dir() and not path.is_symlink():
                _clean(path)
            elif path.name.endswith(LOCK):
                release(path, hold(path))


def remove_open() -> None:
    """Removes the staging folders of this process, which is about to end in the middle of its work."""
    for folder in list(_open):
        shutil.rmtree(folder, ignore_errors=True)


def _clean(folder: pathlib.Path) -> None:
    lock = folder / "lock"
    if not lock.exists():
        # Its owner may be about to make it.
        if time.time() - folder.stat().st_mtime > 60:
            shutil.rmtree(folder, ignore_errors=True)
        return
    file = hold(lock)
    if file is not None:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(file)


@contextlib.contextmanager
def _staging(base: pathlib.Path) -> Iterator[pathlib.Path]:
    """An empty folder in a hidden one of `base`, gone after the block."""
    while True:
        outer = pathlib.Path(tempfile.mkdtemp(prefix=PREFIX, suffix=SUFFIX, dir=base))
        _open.add(str(outer))
        try:
            lock = hold(outer / "lock")
        except FileNotFoundError:
            lock = None  # another process took it for a leftover
        except OSError:
            _drop(outer)
            raise
        if lock is not None:
            break
        _drop(outer)
    try:
        work = outer / "files"  # with the rights of a new folder, which mkdtemp's has not
        work.mkdir()
        yield work
    finally:
        _drop(outer)
        os.close(lock)


def _drop(outer: pathlib.Path) -> None:
    shutil.rmtree(outer, ignore_errors=True)
    _open.discard(str(outer))


class _OutsideError(Exception):
    """Carries an error of files that are no results past `_told`."""


@contextlib.contextmanager
def _of_results(work: pathlib.Path) -> Iterator[None]:
    """Errors of files in the block concern the results only where the disk or a file in `work` is at fault."""
    try:
        yield
    except OutputError as error:
        # A file that was staged itself, in here: the folder in which it was to be is what the user knows.
        if isinstance(error.__cause__, OSError) and str(work) in str(error):
            raise error.__cause__ from None
        raise
    except OSError as error:
        names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
        inside = not names or any(name.startswith(str(work)) for name in names)
        if isinstance(error, BrokenPipeError) or not (inside or is_disk_fault(error)):
            raise _OutsideError from error
        raise


@contextlib.contextmanager
def _told(out: str | os.PathLike, name: str) -> Iterator[None]:
    """Errors of files in the block, as those of an argument."""
    try:
        yield
    except _OutsideError as error:
        assert error.__cause__ is not None
        raise error.__cause__ from None
    except InputError:
        raise
    except (OSError, ValueError) as error:
        if isinstance(error, ValueError) and "null" not in str(error):
            raise
        moved = getattr(error, "filename2", None) is not None
        if moved and getattr(error, "errno", None) in (errno.ENOTEMPTY, errno.EEXIST):
            raise InputError(f"{name} must not exist or be empty, got {shown(out)}, filled in the meantime") from error
        code = 74 if is_disk_fault(error) else 2
        raise OutputError(f"{name} must be writable, got {shown(out)}: {reason(error)}", code) from error


def _above(target: pathlib.Path) -> pathlib.Path:
    """The nearest folder above a path that does not exist."""
    return next(folder for folder in target.parents if kind_of(folder) != "nothing")


def _move_new(partial: pathlib.Path, target: pathlib.Path, path: str | os.PathLike) -> None:
    """Moves a file to a place that nothing has taken, even in this moment."""
    try:
        os.link(partial, target)
    except FileExistsError:
        raise InputError(f"path must not exist yet, or overwriting be asked for, got {shown(path)}") from None
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES):
            raise
        os.replace(partial, target)  # a file system without links


def _move_into(work: pathlib.Path, target: pathlib.Path, name: str) -> None:
    folders = {path.name for path in work.iterdir() if (target / path.name).is_dir()}
    replaced = {folder for folder in folders if _is_checkpoint(work / folder) and _is_checkpoint(target / folder)}
    if blocked := folders - replaced:
        raise InputError(f"{name} must not hold folders named as the new files, got {', '.join(sorted(blocked))}")
    for last in LAST:
        if (work / last).exists():
            (target / last).unlink(missing_ok=True)  # what it said of the old files is about to be wrong
    for folder in replaced:
        shutil.rmtree(target / folder)
    for path in sorted(work.iterdir(), key=lambda path: (path.name in LAST, path.name)):
        path.replace(target / path.name)


def _is_checkpoint(folder: pathlib.Path) -> bool:
    return (folder / "_CHECKPOINT_METADATA").is_file()
