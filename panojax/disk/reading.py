"""Files that others made: only regular ones are read, and their size is looked at first.

A FIFO, a socket or a device never ends, or never answers; a link to one is as bad.
"""

import errno
import json
import os
import pathlib
import stat
from typing import Any, Literal

from panojax.errors import InputError

JSON_BYTES = 64 * 2**20
SHOWN = 200  # characters of a path in a message

Kind = Literal["file", "folder", "other", "nothing"]


def kind_of(path: str | os.PathLike) -> Kind:
    """What lies at a path, links followed; "other" is a FIFO, a socket or a device.

    Raises:
      OSError, ValueError: no name of a file can be so (too long, a null byte), or its folder may not be entered.
    """
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "nothing"
    return "file" if stat.S_ISREG(mode) else "folder" if stat.S_ISDIR(mode) else "other"


def shown(path: str | os.PathLike | bytes) -> str:
    """A path for a message: quoted, and cut where it is very long."""
    text = os.fsdecode(path)
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}... ({len(text)} characters)")


def reason(error: BaseException) -> str:
    """Why a file cannot be read or written, in a few words."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text.splitlines()[0][:200]


def read_bytes(path: str | os.PathLike, *, limit: int) -> bytes:
    """The contents of a regular file of at most `limit` bytes.

    Raises:
      InputError: there is none, it is something else, larger, or cannot be read. The message does not name the path,
        as callers name the argument, too.
    """
    try:
        kind = kind_of(path)
        if kind != "file":
            got = {"folder": "a folder", "nothing": "nothing there"}.get(kind, "no regular file (a FIFO or device)")
            raise InputError(f"expected a file, got {got}")
        # Without waiting, should a FIFO have taken the file's place.
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(file, "rb") as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise InputError("expected a file, got no regular file (a FIFO or device)")
            if status.st_size > limit:
                raise InputError(f"expected a file of at most {limit} bytes, got {status.st_size}")
            data = stream.read(limit + 1)
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"the file cannot be read: {reason(error)}") from error
    if len(data) > limit:
        raise InputError(f"expected a file of at most {limit} bytes, got more")
    return data


def read_json(path: str | os.PathLike, *, limit: int = JSON_BYTES) -> Any:
    """The contents of a JSON file of at most `limit` bytes.

    Raises:
      InputError: as `read_bytes`, or it is no JSON.
    """
    data = read_bytes(path, limit=limit)
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"expected JSON, got none: {reason(error)}") from error


def check_tree(folder: str | os.PathLike, *, limit: int) -> None:
    """Raises InputError unless all under a folder are regular files and folders, together of at most `limit` bytes.

    For readers of others that open what they find. Links to files are followed, links to folders are refused.
    """
    total, todo = 0, [pathlib.Path(folder)]
    try:
        while todo:
            for path in todo.pop().iterdir():
                status = path.stat()
                if stat.S_ISDIR(status.st_mode) and not path.is_symlink():
                    todo.append(path)
                elif not stat.S_ISREG(status.st_mode):
                    raise InputError(f"expected files and folders alone, got {shown(path)}, which is neither")
                else:
                    total += status.st_size
    except OSError as error:
        raise InputError(f"{shown(error.filename or folder)} cannot be read: {reason(error)}") from error
    if total > limit:
        raise InputError(f"expected at most {limit} bytes, got {total}")


def is_disk_fault(error: BaseException) -> bool:
    """Whether a disk that is full, over its quota, read-only or broken, or its limit on files, is at fault."""
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)
