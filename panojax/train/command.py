"""What the training commands share: options from presets, and exit codes."""

import sys
from collections.abc import Callable, Mapping
from typing import Any

import jax

from panojax.extras import need
from panojax.terminal.process import check_platforms, run_process
from panojax.train.loop import Stopped


def choose_run(
    presets: Mapping[str, Callable[[], Any]], arguments: list[str] | None, *, prog: str, description: str | None
) -> Any:
    """The configuration that a command line asks for: a preset, and options for each of its fields.

    Args:
      presets: functions without arguments, whose docstring's first line is their help.
      arguments: of the command; None for the process's own.
      prog: what the command is called.
      description: its help.

    Raises:
      InputError: tyro is not installed.
    """
    tyro = need("tyro", "the command line")  # from Python, train(config) does without
    choices = {name: ((preset.__doc__ or "").splitlines()[0], preset()) for name, preset in presets.items()}
    return tyro.extras.overridable_config_cli(choices, args=arguments, prog=prog, description=description)


def run_command(
    train: Callable[[Any], Any],
    presets: Mapping[str, Callable[[], Any]],
    arguments: list[str] | None,
    *,
    prog: str,
    description: str | None,
) -> int:
    """Trains what a command line asks for, see `choose_run`, with other processes where it says so; the exit code."""

    def run() -> None:
        config = choose_run(presets, arguments, prog=prog, description=description)
        if config.distributed:
            jax.distributed.initialize(config.coordinator, config.processes, config.process)
        check_platforms()  # not before: it makes JAX look for devices
        train(config)

    return exit_code(run, platforms=False)


def exit_code(run: Callable[[], Any], *, platforms: bool = True) -> int:
    """Runs a command: 0, or the code of the failure, of which stderr gets a line.

    `platforms`: look first whether JAX finds the devices that the environment asks for.
    """

    def body() -> int:
        if platforms:
            check_platforms()
        try:
            run()
        except Stopped as stop:
            print(f"stopped: {stop}", file=sys.stderr)
            return stop.code
        return 0

    return run_process(body, "")
