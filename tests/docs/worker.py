"""Runs commands one after the other in one process, so that what one compiled serves the next.

Each line of stdin is a command as JSON, each line of stdout its end: {"code", "said", "cpu"}. Words of its own are one
command, which is run instead. PAGES_MODEL names the folder of the model that is "default".
"""

import contextlib
import io
import json
import os
import pathlib
import runpy
import signal
import sys
import time
import traceback
import warnings


def run(words: list[str]) -> int:
    """The exit code of `panojax ...`, `python -m MODULE ...` or `python -c CODE`."""
    if words[0] == "panojax":
        from panojax.commands.cli import main

        return main(words[1:])
    sys.argv = words[1:]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a module was imported before
            if words[1] == "-c":
                exec(compile(words[2], "page", "exec"), {"__name__": "__main__"})
            else:
                sys.argv = words[2:]
                runpy.run_module(words[2], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def take_model() -> None:
    """Puts the pages' model in the place of the one that ships."""
    if folder := os.environ.get("PAGES_MODEL"):
        from panojax.editing import directions
        from panojax.files import checkpoint

        for module in (checkpoint, directions):
            module.DEFAULT_FOLDER = pathlib.Path(folder)


def serve() -> None:
    """Answers until stdin ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        asked = json.loads(line)
        os.chdir(asked["folder"])
        start, said = time.process_time(), io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                code = run(asked["words"])
            except BaseException:  # whatever a command dies of is its failure, and the next one's turn
                code = 1
                traceback.print_exc()
        cpu = time.process_time() - start
        answers.write(json.dumps({"code": code, "said": said.getvalue()[-2000:], "cpu": cpu}) + "\n")
        answers.flush()


if __name__ == "__main__":
    take_model()
    if sys.argv[1:]:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are born deaf to it
        sys.exit(run(sys.argv[1:]))
    serve()
