"""The one exception that stands for "what you gave cannot be used", and the commonest check."""

from collections.abc import Collection
from typing import Any


class InputError(ValueError):
    """Bad input. The message names the argument, what was expected and what came.

    The command line prints it as one line and exits with code 2; library code lets it rise like any ValueError.
    """


class OutputError(InputError):
    """The place for results cannot take them: it is full, read-only, in use, or its name is impossible.

    No input is to blame, so work on many inputs stops here instead of leaving one out. `code` is the process's exit
    code: 2, or 74 where the disk is at fault.
    """

    def __init__(self, message: str, code: int = 2):
        super().__init__(message)
        self.code = code


def check_choice(name: str, value: Any, choices: Collection) -> None:
    """Raises InputError unless `value` is one of `choices`."""
    if value not in choices:
        raise InputError(f"{name} must be one of {', '.join(map(str, choices))}, got {value!r:.120}")


def printable(text: str) -> str:
    """Text from a file made fit for a message: printable ASCII, at most 120 characters."""
    return ascii(text[:120])[1:-1]
