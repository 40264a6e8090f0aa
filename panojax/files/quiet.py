"""orbax, without the pages that it and Python print of reads and writes that fail: what failed is raised as well."""

import contextlib
import gc
import logging
import sys
import time
import traceback
from collections.abc import Iterator

PATIENCE = 0.2  # seconds that the other reads have to end, where one failed


@contextlib.contextmanager
def quiet_orbax() -> Iterator[list[str]]:
    """Nothing is logged in the block by orbax's threads, nor ever of the reads and writes that failed in it.

    Where one array fails, orbax leaves the others' tasks behind. asyncio complains of them when Python frees them: in
    a collection that it starts by itself, in the one here, or later, where a task outlives the block. The block should
    keep no exception of such a read: it raises it, or adds what it tells to the list that it is given.
    """
    logging.getLogger("asyncio").addFilter(_of_others)  # once: a logger holds a filter once
    absl, hook = logging.getLogger("absl"), sys.unraisablehook
    before, absl.disabled = absl.disabled, True
    sys.unraisablehook = lambda unraisable: None
    problems: list[str] = []
    failed = True
    try:
        yield problems
        failed = bool(problems)
    finally:
        if problems:
            time.sleep(PATIENCE)
        if failed:
            gc.collect()
        absl.disabled, sys.unraisablehook = before, hook


def _of_others(record: logging.LogRecord) -> bool:
    """Whether a record tells of something else than a task of orbax that failed."""
    error = record.exc_info[1] if record.exc_info else None
    if error is None:
        return True
    if "OCDBT" in str(error):  # of a read of TensorStore, whose future has no frames
        return False
    return not any("orbax" in frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__))


def first_line(error: Exception) -> str:
    """What orbax tells of a failure, in a line of at most 300 characters."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return line.partition(". See full TensorStore details")[0][:300]
