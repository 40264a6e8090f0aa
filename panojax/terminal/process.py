"""What every command does around its work: streams that are closed, signals, and one line for what goes wrong.

Exit codes: 0; 2 for what was given and cannot be used; 74 where a disk is at fault; 130, 141 and 143 for Ctrl-C, a
reader of our output that has gone, and SIGTERM.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from panojax.disk.reading import is_disk_fault, reason, shown
from panojax.disk.staging import remove_open
from panojax.errors import InputError, OutputError
from panojax.terminal.progress import one_line

DISK_FAULT, INTERRUPTED, NO_READER, TERMINATED = 74, 130, 141, 143
GRACE = 2.0  # seconds that a stopped command has to clean up, as it may be in a long call of XLA


def run_function(function: Callable[..., Any], prog: str, arguments: Sequence[str] | None = None) -> int:
    """Runs a function that takes a command line's options as its arguments, see `run_process`."""

    def body() -> None:
        import tyro  # only command lines need it

        tyro.cli(function, args=arguments, prog=prog)

    return run_process(body, "")


def run_process(body: Callable[[], Any], prog: str = "panojax") -> int:
    """Runs a command's body and gives the process's exit code; None of the body is 0.

    Args:
      body: parses the command line and works.
      prog: begins the lines on stderr, where it is not empty.
    """
    open_streams()
    try:
        with _signals(prog):
            try:
                code = body()
            finally:
                sys.stdout.flush()  # here, as Python's own flush at the end could only complain
            return code or 0
    except OutputError as error:
        return _fail(prog, f"error: {error}", error.code)
    except InputError as error:
        return _fail(prog, f"error: {error}", 2)
    except KeyboardInterrupt:
        return _fail(prog, "stopped", INTERRUPTED)
    except BrokenPipeError:
        # Who reads our lines, `head` say, has gone; Python would complain once more when it flushes at the end.
        _to_nothing(sys.stdout)
        return NO_READER
    except OSError as error:
        where = "" if error.filename is None else f"{shown(error.filename)}: "
        return _fail(prog, f"error: {where}{reason(error)}", DISK_FAULT if is_disk_fault(error) else 2)
    except MemoryError as error:
        return _fail(prog, f"error: the memory does not suffice: {reason(error)}", DISK_FAULT)
    except Exception:
        try:
            check_platforms()  # what JAX raises where there is no such device comes out of the middle of the work
        except InputError as error:
            return _fail(prog, f"error: {error}", 2)
        raise


def open_streams() -> None:
    """Gives a process whose standard streams are closed ones that lead nowhere, and lets all names be printed.

    Their numbers would otherwise be those of the next files opened, and C libraries would write into these.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            nothing = os.open(os.devnull, os.O_RDWR)
            if nothing != number:
                os.dup2(nothing, number)
                os.close(nothing)
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):  # what tests put there has no such method
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def check_platforms() -> None:
    """Raises InputError where JAX_PLATFORMS names what this machine or this JAX has not."""
    wanted = os.environ.get("JAX_PLATFORMS")
    if not wanted:
        return
    import jax

    try:
        jax.devices()
    except (RuntimeError, AssertionError, ValueError) as error:
        why = one_line(reason(error)) if str(error) else "this machine, or the jax installed, has none such"
        raise InputError(
            f"JAX_PLATFORMS must name devices of this machine, got {wanted!r}: {why}; "
            "without it JAX takes what is there"
        ) from error


def end_now(code: int) -> None:
    """Ends the process without Python's own end, which crashes where a thread is in a long call of XLA."""
    remove_open()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _fail(prog: str, message: str, code: int) -> int:
    with contextlib.suppress(OSError):
        print(f"{prog}: {one_line(message)}".removeprefix(": "), file=sys.stderr, flush=True)
    return code


def _to_nothing(stream: Any) -> None:
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class _Terminated(SystemExit):
    """SIGTERM or SIGHUP, as an exception, so that what is half done is cleaned up."""


def _terminate(number: int, frame: Any) -> None:
    raise _Terminated(TERMINATED)


@contextlib.contextmanager
def _signals(prog: str) -> Iterator[None]:
    """SIGTERM and SIGHUP end the block as Ctrl-C does.

    Python sees signals between two of its own steps, and compiling is one long step: a thread waits for them, too, and
    ends the process when it has not ended by itself.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _terminate) for number in (signal.SIGTERM, signal.SIGHUP)}
    receiver, sender = os.pipe()
    os.set_blocking(sender, False)
    wakeup = signal.set_wakeup_fd(sender, warn_on_full_buffer=False)
    done = threading.Event()
    threading.Thread(target=_watch, args=(prog, receiver, done), daemon=True).start()
    try:
        yield
    finally:
        done.set()
        signal.set_wakeup_fd(wakeup)
        os.close(sender)  # the thread reads the end and closes the other side
        for number, handler in before.items():
            signal.signal(number, handler)


def _watch(prog: str, receiver: int, done: threading.Event) -> None:
    """Ends a process that a signal has not ended within `GRACE`; a body with handlers of its own is let alone."""
    usual: dict[int, Any] = {
        signal.SIGTERM: _terminate,
        signal.SIGHUP: _terminate,
        signal.SIGINT: signal.default_int_handler,
    }
    with open(receiver, "rb", buffering=0) as stream:
        while numbers := stream.read(16):
            number = numbers[-1]
            if usual.get(number) is not signal.getsignal(number) or done.wait(GRACE):
                continue
            remove_open()
            _fail(prog, "stopped", 0)
            os._exit(INTERRUPTED if number == signal.SIGINT else TERMINATED)
