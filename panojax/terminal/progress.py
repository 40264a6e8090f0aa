"""What a person sees while a command works: lines on stdout. Errors alone go to stderr, and progress bars."""

import contextlib
import contextvars
import time
from collections.abc import Iterator

_QUIET = contextvars.ContextVar("quiet", default=False)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """This thread's steps and notes print nothing in the block."""
    before = _QUIET.set(True)
    try:
        yield
    finally:
        _QUIET.reset(before)


def is_quiet() -> bool:
    """Whether this thread is in a block of `quietly`."""
    return _QUIET.get()


def say(message: str, end: str = "\n") -> None:
    """Prints a message."""
    if not is_quiet():
        print(message, end=end, flush=True)


@contextlib.contextmanager
def step(name: str, seconds: dict[str, float]) -> Iterator[None]:
    """Prints `name ...` and, when the block has ended, how long it took, which `seconds[name]` keeps."""
    say(f"{name} ...", end="")
    start = time.perf_counter()
    try:
        yield
    except BaseException:
        say("")
        raise
    seconds[name] = round(time.perf_counter() - start, 2)
    say(f" {seconds[name]:.1f} s")


def note(message: str) -> None:
    """Prints one line that the user should read."""
    say(f"note: {one_line(message)}")


def one_line(text: str) -> str:
    """Text without line breaks and runs of spaces."""
    return " ".join(text.split())
