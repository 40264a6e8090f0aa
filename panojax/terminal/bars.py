"""Progress of what takes long: a bar on a terminal, a line now and then in a pipe or a log."""

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

from panojax.terminal.progress import end_line

EVERY = 20.0  # seconds between lines
LATE = 1.0  # seconds before a bar shows at all


def bar(items: Iterable | None = None, *, hidden: bool = False, **options: Any) -> tqdm:
    """`tqdm` on stderr: a bar that goes when it is done; where stderr is no terminal, lines every twenty seconds.

    Args:
      items: what is gone through, or None for `update`.
      hidden: show nothing.
      options: of `tqdm`: total, desc, unit, ...
    """
    if hidden:
        return tqdm(items, disable=True, **options)
    if sys.stderr.isatty():
        return tqdm(items, delay=LATE, **{"leave": False, "file": _Screen(sys.stderr)} | options)
    return tqdm(items, **options | _LINES | {"file": _Lines(), "leave": False})


_LINES: dict[str, Any] = {
    "delay": EVERY,
    "mininterval": EVERY,
    "maxinterval": EVERY,
    "bar_format": "{desc}: {n_fmt} of {total_fmt} {unit}s, {elapsed}",
    "ascii": True,
}


class _Screen:
    """A terminal where a bar has a line of its own."""

    def __init__(self, stream: Any):
        self._stream = stream

    def write(self, text: str) -> int:
        if text.strip():
            end_line()
        written: int = self._stream.write(text)
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Lines:
    """A stream on which every state of a bar is a line of its own."""

    def write(self, text: str) -> int:
        if line := text.replace("\x1b[A", "").strip():
            end_line()
            sys.stderr.write(line + "\n")
        return len(text)

    def flush(self) -> None:
        sys.stderr.flush()
