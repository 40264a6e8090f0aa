"""The one exception that stands for "what you gave cannot be used"."""


class InputError(ValueError):
    """Bad input. The message names the argument, what was expected and what came.

    The command line prints it as one line and exits with code 2; library code lets it rise like any ValueError.
    """
