"""orbax, without the pages that it and Python print of reads and writes that fail: what failed is raised as well."""

import contextlib
import gc
import logging
import sys
from collections.abc import Iterator

PATIENCE = 0.2  # seconds that the other reads have to end, where one failed


@contextlib.contextmanager
def quiet_orbax() -> Iterator[None]:
    """Nothing is logged in the block by orbax's threads, nor of the reads that failed in it.

    Where reading one array fails, orbax leaves the others' reads behind, and Python complains when it frees them: in a
    collection that it starts by itself, or in the one here. The block should keep no exception of such a read.
    """
    loggers = [logging.getLogger(name) for name in ("asyncio", "absl")]
    before = [logger.disabled for logger in loggers], sys.unraisablehook
    for logger in loggers:
        logger.disabled = True
    sys.unraisablehook = lambda unraisable: None
    try:
        yield
    finally:
        gc.collect()
        sys.unraisablehook = before[1]
        for logger, disabled in zip(loggers, before[0]):
            logger.disabled = disabled
