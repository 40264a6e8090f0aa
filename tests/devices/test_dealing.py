"""Jobs dealt to workers."""

import itertools
import threading

import pytest

from panojax.devices.dealing import deal


@pytest.mark.parametrize("count", [1, 3])
def test_each_job_is_done_once(count):
    done, finished = [], []
    deal(range(20), [done.append] * count, lambda: finished.append(1))
    assert sorted(done) == list(range(20)) and len(finished) == 20


def test_who_is_free_takes_the_next():
    begun, freed, slow_jobs, fast_jobs = threading.Event(), threading.Event(), [], []

    def slow(job):
        slow_jobs.append(job)
        begun.set()
        assert freed.wait(10)

    def fast(job):
        assert begun.wait(10)
        fast_jobs.append(job)
        if len(fast_jobs) == 4:
            freed.set()

    deal(range(5), [slow, fast], lambda: None)
    assert len(slow_jobs) == 1 and sorted(slow_jobs + fast_jobs) == list(range(5))


def test_an_error_ends_all():
    done = []

    def worker(job):
        if job == 3:
            raise ValueError("broken")
        done.append(job)

    def well(job):
        done.append(job)

    for workers in ([worker, worker], [worker, well], [well, worker]):
        with pytest.raises(ValueError, match="broken"):
            deal(itertools.count() if workers[0] is workers[1] else itertools.repeat(3), workers, lambda: None)
        assert len(done) < 10**6
