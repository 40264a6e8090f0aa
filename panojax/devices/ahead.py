"""The same work on one item after the other, by as many threads as serve the device."""

import collections
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import jax

Item = TypeVar("Item")
Result = TypeVar("Result")

# On a CPU, where each call holds what it computes with in memory.
THREADS = 4


def in_order(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """function(item) of each item, in order, as it is ready.

    The first one is done in the caller's thread, so that what it compiles serves the others. On a CPU much of a
    compiled function is work of one core: as many items at once as there are cores, but at most `THREADS`, take less
    time (the default model's views on two cores 0.64 of it). Elsewhere one at a time. An error ends the work.
    """
    todo = iter(items)
    for item in itertools.islice(todo, 1):
        yield function(item)
    threads = min(THREADS, os.cpu_count() or 1) if jax.default_backend() == "cpu" else 1
    if threads == 1:
        yield from map(function, todo)
        return
    with ThreadPoolExecutor(threads, "panojax ahead") as pool:
        waiting = collections.deque(pool.submit(function, item) for item in itertools.islice(todo, threads))
        try:
            while waiting:
                result = waiting.popleft().result()
                waiting.extend(pool.submit(function, item) for item in itertools.islice(todo, 1))
                yield result
        finally:
            pool.shutdown(cancel_futures=True)
