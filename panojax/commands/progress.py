"""What a person sees while a command works: lines on stdout. Errors alone go to stderr, and progress bars."""

import contextlib
import time
from collections.abc import Iterator


@contextlib.contextmanager
def step(name: str, seconds: dict[str, float]) -> Iterator[None]:
    """Prints `name ...` and, when the block has ended, how long it took, which `seconds[name]` keeps."""
    print(f"{name} ...", end="", flush=True)
    start = time.perf_counter()
    try:
        yield
    except BaseException:
        print(flush=True)
        raise
    seconds[name] = round(time.perf_counter() - start, 2)
    print(f" {seconds[name]:.1f} s", flush=True)


def note(message: str) -> None:
    """Prints one line that the user should read."""
    print(f"note: {one_line(message)}", flush=True)


def one_line(text: str) -> str:
    """Text without line breaks and runs of spaces."""
    return " ".join(text.split())
