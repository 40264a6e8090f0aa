"""`panojax view` ends as asked while a thread of it is still in the middle of a call of XLA."""

import os
import pathlib
import signal
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
BODY = """
import atexit, signal, sys, threading, types
atexit.register(print, "Python's own end, which may crash")
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are deaf to it
import jax
from panojax.commands import view
from panojax.terminal.process import run_process

def work():
    for i in range(10**6):
        jax.jit(lambda x: (x + i) @ x)(jax.numpy.ones((64, 64)))

def start(options, guard):
    threading.Thread(target=work, daemon=True, name="panojax view: heads").start()
    server = types.SimpleNamespace(get_port=lambda: 1, stop=lambda: None)
    return server, types.SimpleNamespace(takes_photos=False, stop=lambda: None)

view.start = start
sys.exit(run_process(lambda: view.run(view.Options())))
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_a_thread_at_work_does_not_bring_the_end_down(number, code):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", BODY], env=environment, text=True, **pipes) as process:
        try:
            assert "Ctrl-C ends it" in process.stdout.readline()
            process.send_signal(number)
            process.wait(timeout=60)
        finally:
            process.kill()
        assert (process.returncode, process.stdout.read().strip(), process.stderr.read()) == (code, "", "")
