"""The drawing thread: latest request first, stale ones dropped, in full when still."""

import threading
import time

import pytest

from panojax.viewer.worker import FrameRate, Worker


class Log:
    """What a worker was asked to draw; `gate` holds it at a drawing."""

    def __init__(self):
        self.drawn, self.gate, self.done = [], threading.Event(), threading.Semaphore(0)
        self.gate.set()

    def draw(self, request, full, stale):
        self.gate.wait(10)
        self.drawn.append((request, full, stale()))
        self.done.release()

    def wait(self, count):
        for _ in range(count):
            assert self.done.acquire(timeout=10)


@pytest.fixture
def log():
    return Log()


def test_draws_coarsely_and_then_in_full(log):
    worker = Worker(log.draw, log.drawn.append, settle=0.01)
    worker.submit("a")
    log.wait(2)
    time.sleep(0.05)  # and no third time
    worker.stop()
    assert log.drawn == [("a", False, False), ("a", True, False)]


def test_drops_what_newer_requests_overtake(log):
    worker = Worker(log.draw, log.drawn.append, settle=0.05)
    log.gate.clear()
    worker.submit("a")
    time.sleep(0.05)  # "a" is being drawn
    for request in "bcd":
        worker.submit(request)
    log.gate.set()
    log.wait(3)
    worker.stop()
    assert log.drawn == [("a", False, True), ("d", False, False), ("d", True, False)]


def test_goes_on_after_an_error(log):
    failures = []

    def draw(request, full, stale):
        if request == "bad":
            log.done.release()
            raise ValueError("no such head")
        log.draw(request, full, stale)

    worker = Worker(draw, failures.append, settle=0.01)
    worker.submit("bad")
    log.wait(1)
    time.sleep(0.05)  # what failed is not tried in full
    worker.submit("good")
    log.wait(2)
    worker.stop()
    assert [str(failure) for failure in failures] == ["no such head"]
    assert log.drawn == [("good", False, False), ("good", True, False)]


def test_stops_while_it_waits(log):
    worker = Worker(log.draw, log.drawn.append)
    worker.stop(timeout=5)
    assert not worker._thread.is_alive()


def test_frame_rate():
    rate = FrameRate(span=1.0)
    assert rate.tick(10.0) == 0
    assert rate.tick(10.1) == pytest.approx(10)
    assert rate.tick(10.2) == pytest.approx(10)
    for i in range(100):
        found = rate.tick(20 + i / 20)
    assert found == pytest.approx(20)
