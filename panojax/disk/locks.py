"""One process at a time in a folder, by a lock file that ends with its process, however that ends."""

import contextlib
import fcntl
import hashlib
import os
import pathlib
import socket
from collections.abc import Iterator

from panojax.disk.reading import is_disk_fault, reason, shown
from panojax.errors import OutputError

PREFIX = ".panojax-"
LOCK = ".lock"
"""What the names of lock files and staging folders begin with: they are no results."""


def hold(path: pathlib.Path) -> int | None:
    """Makes and holds a lock file: its descriptor, to be closed, or None where another process holds it.

    In file systems without locks it is as if this process were alone.
    """
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return None
        except OSError:
            return file
        try:
            if os.path.samestat(os.fstat(file), os.stat(path)):
                return file
        except FileNotFoundError:
            pass
        os.close(file)  # its holder removed it in the meantime


@contextlib.contextmanager
def alone_in(folder: str | os.PathLike, name: str = "out", *, base: str | os.PathLike | None = None) -> Iterator[None]:
    """Holds a folder for the block: a second process, or a second block, gets an error that says who has it.

    Args:
      folder: what is held.
      name: the argument, for the message.
      base: an existing folder for the lock file; None puts it into `folder`, which is made where there is none.

    Raises:
      OutputError: another process is at work there, or the lock cannot be written.
    """
    target = pathlib.Path(os.path.realpath(folder))
    place = target if base is None else pathlib.Path(base)
    path = place / f"{PREFIX}{hashlib.sha256(os.fsencode(target)).hexdigest()[:16]}{LOCK}"
    try:
        made = not place.exists()
        place.mkdir(parents=True, exist_ok=True)
        file = hold(path)
    except OSError as error:
        code = 74 if is_disk_fault(error) else 2
        raise OutputError(f"{name} must be writable, got {shown(folder)}: {reason(error)}", code) from error
    if file is None:
        raise OutputError(
            f"{name} must be used by one run at a time, got {shown(folder)}, in which {_holder(path)} is at work: "
            "wait for it, or name another folder"
        )
    try:
        with contextlib.suppress(OSError):  # a full disk: the lock holds all the same
            os.ftruncate(file, 0)
            os.write(file, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield
    finally:
        release(path, file)
        if made:
            with contextlib.suppress(OSError):
                place.rmdir()  # where nothing came of the work


def release(path: pathlib.Path, file: int | None) -> None:
    """Removes a lock file that is held, and lets go of it; nothing where it is not held."""
    if file is not None:
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(file)


def is_ours(name: str) -> bool:
    """Whether a file's name is one of a lock or a staging folder, which is no result."""
    return name.startswith(PREFIX)


def contents(folder: pathlib.Path) -> list[pathlib.Path]:
    """What a folder holds, locks and staging folders aside."""
    return [path for path in folder.iterdir() if not is_ours(path.name)]


def _holder(path: pathlib.Path) -> str:
    try:
        text = path.read_text(errors="replace")[:120].strip()
    except OSError:
        text = ""
    return " ".join(text.split()) or "another process"
