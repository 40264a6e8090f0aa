"""A thread that draws the latest request, coarsely at once and in full when no newer one comes."""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

SETTLE_SECONDS = 0.2


class Worker:
    """Draws requests in a thread of its own, one at a time. Those that a newer one overtakes are never drawn.

    Args:
      draw: draw(request, full, stale); `full` says with which quality. `stale()` says that a newer request waits: what
        is drawn in several steps should stop then.
      failed: gets an exception that `draw` raised; the thread goes on.
      settle: seconds without a request after which the last one is drawn in full.
    """

    def __init__(
        self,
        draw: Callable[[Any, bool, Callable[[], bool]], None],
        failed: Callable[[Exception], None],
        settle: float = SETTLE_SECONDS,
    ):
        self._draw, self._failed, self._settle = draw, failed, settle
        self._changed = threading.Condition()
        self._request: Any = None
        self._stopped = False
        self._thread = threading.Thread(target=self._work, daemon=True, name="panojax view")
        self._thread.start()

    def submit(self, request: Any) -> None:
        """Asks for a drawing instead of all that were asked for before."""
        with self._changed:
            self._request = request
            self._changed.notify()

    def stop(self, timeout: float | None = 30.0) -> None:
        """Ends the thread after the drawing it is at."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join(timeout)

    def _stale(self) -> bool:
        return self._stopped or self._request is not None

    def _take(self, timeout: float | None) -> Any:
        """The latest request, or None when there is none for `timeout` seconds, or at the end."""
        with self._changed:
            self._changed.wait_for(self._stale, timeout)
            request, self._request = self._request, None
            return request

    def _work(self) -> None:
        drawn = None  # coarsely, and not yet in full
        while not self._stopped:
            request = self._take(None if drawn is None else self._settle)
            if self._stopped:
                return
            try:
                last, drawn = drawn, None
                if request is not None:
                    self._draw(request, False, self._stale)
                    drawn = request
                elif last is not None:
                    self._draw(last, True, self._stale)
            except Exception as error:  # whatever it is, the window should say so and stay alive
                self._failed(error)


class FrameRate:
    """Frames a second over the last second or so."""

    def __init__(self, span: float = 1.5):
        self._span, self._times = span, deque[float]()

    def tick(self, now: float | None = None) -> float:
        """Counts a frame at a time in seconds (None: now) and gives the rate, 0 for the first frame."""
        now = time.perf_counter() if now is None else now
        self._times.append(now)
        while now - self._times[0] > self._span:
            self._times.popleft()
        passed = now - self._times[0]
        return (len(self._times) - 1) / passed if passed else 0.0
