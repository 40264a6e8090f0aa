"""What orbax leaves of reads that failed: half-done ones, of which Python complains later, at length."""

import contextlib
import gc
import logging
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def dropped_reads() -> Iterator[None]:
    """Frees what is left of reads in the block, silently.

    Where reading one array fails, orbax leaves the others' reads behind, and Python complains when it frees them: in a
    collection that it starts by itself, or in the one here. The block should keep no exception of such a read.
    """
    logger, before = logging.getLogger("asyncio"), sys.unraisablehook
    disabled, logger.disabled = logger.disabled, True
    sys.unraisablehook = lambda unraisable: None
    try:
        yield
    finally:
        gc.collect()
        sys.unraisablehook, logger.disabled = before, disabled
