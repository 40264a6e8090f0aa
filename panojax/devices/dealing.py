"""Jobs dealt to workers, of which each device has one or some."""

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Job = TypeVar("Job")


def deal(jobs: Iterable[Job], workers: Sequence[Callable[[Job], None]], finished: Callable[[], object]) -> None:
    """Gives each job to the next worker that is free; an error of one ends them all, after their present jobs.

    Args:
      workers: each has a thread of its own; a single one the caller's. One that is there twice is called by two.
      finished: called after each job, by one thread at a time.
    """
    todo = iter(jobs)
    lock, stop = threading.Lock(), threading.Event()

    def work(worker: Callable[[Job], None]) -> None:
        try:
            while not stop.is_set():
                with lock:
                    job = next(todo, todo)
                if job is todo:
                    return
                worker(job)  # type: ignore[arg-type]
                with lock:
                    finished()
        finally:  # the jobs are over, or an error, which the others are not to outlast
            stop.set()

    if len(workers) == 1:
        work(workers[0])
        return
    with ThreadPoolExecutor(len(workers)) as pool:
        try:
            for future in [pool.submit(work, worker) for worker in workers]:
                future.result()
        finally:
            stop.set()
