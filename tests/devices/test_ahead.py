"""Work on one item after the other, by several threads."""

import threading
import time

import pytest

from panojax.devices import ahead
from panojax.devices.ahead import in_order


def test_results_come_in_order_whoever_is_ready_first(monkeypatch):
    """Two at once, no farther ahead than that, the first in the caller's thread."""
    monkeypatch.setattr(ahead.os, "cpu_count", lambda: 2)
    together, threads, most, lock = 0, [], 0, threading.Lock()

    def work(item):
        nonlocal together, most
        with lock:
            together += 1
            most = max(most, together)
            threads.append(threading.current_thread())
        time.sleep(0.05 if item % 2 else 0.01)
        with lock:
            together -= 1
        return item

    results = in_order(work, range(9))
    assert next(results) == 0 and threads == [threading.current_thread()]
    assert list(results) == list(range(1, 9))
    assert most == 2 and len(set(threads)) == 3


def test_one_core_and_other_devices_work_in_the_callers_thread(monkeypatch):
    mine = threading.current_thread()
    monkeypatch.setattr(ahead.os, "cpu_count", lambda: 1)
    assert set(in_order(lambda _: threading.current_thread(), range(3))) == {mine}
    monkeypatch.setattr(ahead.os, "cpu_count", lambda: 8)
    monkeypatch.setattr(ahead.jax, "default_backend", lambda: "gpu")
    assert set(in_order(lambda _: threading.current_thread(), range(3))) == {mine}
    assert list(in_order(str, [])) == []


def test_an_error_ends_the_work(monkeypatch):
    monkeypatch.setattr(ahead.os, "cpu_count", lambda: 2)
    begun = []

    def work(item):
        begun.append(item)
        if item == 3:
            raise ValueError("three")
        return item

    results = in_order(work, range(100))
    with pytest.raises(ValueError, match="three"):
        list(results)
    assert max(begun) < 8
    begun.clear()
    results = in_order(work, range(100))
    next(results)
    results.close()  # whoever asks for no more leaves no work behind
    assert begun == [0]
