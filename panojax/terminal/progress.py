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


class _Line:
    """Whether the last line of stdout is a step's that has begun and not ended."""

    begun = False


def end_line() -> None:
    """Ends a step's begun line, before a bar would write over it or behind it."""
    if _Line.begun:
        _Line.begun = False
        print(flush=True)


@contextlib.contextmanager
def step(name: str, seconds: dict[str, float]) -> Iterator[None]:
    """Prints `name ...` and, when the block has ended, how long it took, which `seconds[name]` keeps.

    Both are one line, unless something has been printed between them.
    """
    say(f"{name} ...", end="")
    _Line.begun |= not is_quiet()
    start = time.perf_counter()
    try:
        yield
    except BaseException:
        end_line()
        raise
    seconds[name] = round(time.perf_counter() - start, 2)
    if not is_quiet():
        say(f" {seconds[name]:.1f} s" if _Line.begun else f"{name}: {seconds[name]:.1f} s")
        _Line.begun = False


def note(message: str) -> None:
    """Prints one line that the user should read."""
    end_line()
    say(f"note: {one_line(message)}")


def counted(number: int, noun: str) -> str:
    """A number of things: "1 head", "2 heads"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def one_line(text: str) -> str:
    """Text without line breaks and runs of spaces."""
    return " ".join(text.split())
