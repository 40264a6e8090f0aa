"""Progress of what takes long: a bar on a terminal, a line now and then in a pipe or a log."""

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

EVERY = 10.0  # seconds between lines
LATE = 1.0  # seconds before a bar shows at all


def bar(items: Iterable | None = None, *, hidden: bool = False, **options: Any) -> tqdm:
    """`tqdm` on stderr: a bar that goes when it is done; where stderr is no terminal, lines every ten seconds.

    Args:
      items: what is gone through, or None for `update`.
      hidden: show nothing.
      options: of `tqdm`: total, desc, unit, ...
    """
    if hidden:
        return tqdm(items, disable=True, **options)
    if sys.stderr.isatty():
        return tqdm(items, delay=LATE, **{"leave": False} | options)
    return tqdm(items, **options | _LINES | {"file": _Lines(), "leave": False})


_LINES: dict[str, Any] = {
    "delay": EVERY,
    "mininterval": EVERY,
    "maxinterval": EVERY,
    "bar_format": "{desc}: {n_fmt} of {total_fmt} {unit}s, {elapsed}",
    "ascii": True,
}


class _Lines:
    """A stream on which every state of a bar is a line of its own."""

    def write(self, text: str) -> int:
        if line := text.replace("\x1b[A", "").strip():
            sys.stderr.write(line + "\n")
        return len(text)

    def flush(self) -> None:
        sys.stderr.flush()
