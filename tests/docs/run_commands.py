"""Every command of README and docs, as written, on small data; options that make it small are told beside it.

python tests/docs/run_commands.py [--all] [--shipped] [--pages docs/photos.md ...] [--only WORDS] [--jobs 2]

A page's commands run in their order in a folder of their own, with a small model as "default". Those that take more
than a few seconds (`LONG`) are only parsed unless `--all` is given; those of `NEVER` always, for the reason beside.
.ci/run runs the short ones (test_commands.py), .github/workflows/nightly.yml all, with the model that ships.
"""

import argparse
import concurrent.futures
import glob
import importlib.metadata
import json
import os
import pathlib
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence

ROOT = pathlib.Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from docs.sandbox import make_sandbox  # noqa: E402

from docs import pages as reader  # noqa: E402

# Beginnings or parts of commands that nothing here can run, and why.
NEVER = {
    "panojax heads": "needs OpenGL and assets of 140 MB",
    "python -m panojax.synthetic": "needs OpenGL and assets of 140 MB",
    "python -m panojax heads": "needs OpenGL and assets of 140 MB",
    "visible_net.pt": "needs the published encoders",
    "frames/*": "needs MEAD's frames",
    "python -m panojax.data mead": "needs MEAD's frames",
    "python -m panojax.eval.default_model": "needs the pieces' logs",
    "panojax.train.directions --pairs": "needs OpenGL and assets of 140 MB",
    "panojax.train.directions --checkpoint model --pairs": "needs OpenGL and assets of 140 MB",
    "panojax.train.generator panohead512": "a step of the released size takes 20 GB and, on a CPU, an hour",
}
# Networks of the same layers and resolutions, but of few channels: most of a step on a CPU is its compilation.
GENERATOR = (
    "--kimg 0.004 --batch 4 --picture-every 0 --model.dtype float32 --model.channel-base 512 --model.channel-max 16 "
    "--model.superresolution-channels 8 8 --model.depth-samples 4 --model.importance-samples 4 "
    "--discriminator.dtype float32 --discriminator.channel-base 512 --discriminator.channel-max 16"
)
STEP = "--steps 1 --batch 4 --validation-batches 1 --lpips none --identity none --picture-every 0"
ENCODER = (
    f"{STEP} --step.loss-resolution 32 --step.critic-widths 8 8 8 8 --encoder.resolution 32 --encoder.head-width 16 "
    "--encoder.trunk.depths 1 1 1 1 --encoder.trunk.widths 16 16 16 16"
)
GOAE = (
    f"{STEP} --step.loss-resolution 32 --encoder.resolution 64 --encoder.codes-resolution 64 --encoder.depth 1 "
    "--encoder.widths 16 16 16 --encoder.swin.width 16 --encoder.swin.depths 1 1 2 1 --encoder.swin.heads 2 2 4 4 "
    "--encoder.swin.window 4"
)
# Those that take more than a few seconds, and what makes them small. The first that fits.
LONG = {
    "panojax export": "--views 8 --pitch 0",
    "--identity sface": "--yaw 0",
    "--mask hair.png": "--yaw 0",
    "--ellipsoid": "--yaw 0",
    "talk.mp4": "--frames 4",
    # Each is a process of its own: a bare `panojax view` stands for them.
    "panojax view HEAD": "--port 0",
    "panojax view head.npz": "--port 0",
    "panojax view me.npz": "--port 0",
    "panojax view photo.jpg": "--port 0",
    "panojax view astronaut": "--port 0",
    "panojax view --seeds": "--port 0",
    "--part hair": "",  # of the bar that the small model makes
    "--method pti": "--steps 1 --lpips none --frames 4",
    "--method wplus": "--steps 1 --lpips none --frames 4",
    "python -m panojax.train.package": "",
    "python -m panojax.train.export --workdir": "",
    "--start e1.npz": ENCODER.replace("--steps 1", "--steps 2"),  # goes on at step 1
    "python -m panojax.train.directions --checkpoint model --samples": "--samples 20 --overwrite",
    "python -m panojax.train.directions": "--overwrite",
    "python -m panojax.train.parts": "--steps 1 --batch 2",
    "python -m panojax.train.generator.gan_export": "",
    "python -m panojax.train.generator": GENERATOR,
    "python -m panojax.train.encoder goae": GOAE,
    "python -m panojax.train.encoder": ENCODER,
    "python -m panojax.eval.targets": "--small --runs 1 --works render",
    "python -m panojax.eval.benchmark_training": "--config tiny --runs 1 --works e1 --batches 1 --dtypes float32",
    "python -m panojax.eval.benchmark": "--small --runs 1 --batches 1 --dtypes float32",
    "python -m panojax.eval.curves": "--model tiny --runs 1 --counts 1 --rays 8 --trigrids 32 --each 1",
    "python -m panojax.eval.likeness": "--part all",
    "python -m panojax.eval": "--limit 1 --distances 1 --methods e1 --lpips none --identity none --no-cost",
}
SMALL = {
    "panojax view": "--port 0",
    "front.jpg left.jpg --together": "--frames 4 --no-refine",
    "panojax invert": "--frames 4",
    "panojax edit": "--yaw 0",
    "panojax interpolate": "--yaw 0",
    "python -m panojax.data heads": "--size 32",
    "python -m panojax.data eg3d-folder --name celeba_hq": "--size 64",
    "python -m panojax.data eg3d-folder": "--size 32",
}
# Pages whose Python is run from top to bottom, too; the others' with `--all`.
RUN_PYTHON = ("README.md", "docs/index.md", "docs/photos.md")
LONG_PYTHON = ("docs/recipes.md",)
WORKER = str(ROOT / "tests" / "docs" / "worker.py")
SECONDS = 300  # of CPU that a command may take
PATIENCE = 6 * SECONDS  # of waiting, on busy cores


def why_not(command: reader.Command, *, everything: bool) -> str | None:
    """Why a command is only parsed, or None."""
    if command.is_part:
        return "a part of a command"
    if why := next((why for part, why in NEVER.items() if part in command.text), None):
        return why
    return None if everything or not any(part in command.text for part in LONG) else "long: --all runs it"


def small(command: reader.Command) -> list[str]:
    """The options that make a command small."""
    return next((what for part, what in (LONG | SMALL).items() if part in command.text), "").split()


def whole(command: reader.Command, folder: pathlib.Path) -> list[str]:
    """A command's words in a folder, with what makes it small."""
    names = [name for word in command.words for name in (_found(word, folder) if "*" in word else [word])]
    return [*names, *small(command)]


def _found(pattern: str, folder: pathlib.Path) -> list[str]:
    return sorted(glob.glob(pattern, root_dir=folder)) or [pattern]


def _make_room(words: list[str], folder: pathlib.Path) -> None:
    """Clears what a command writes, unless it reads it, too."""
    out = words[words.index("--out") + 1] if "--out" in words else None
    if out is None or words.count(out) > 1:
        return
    target = folder / out
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)


def _quick_compilation() -> dict[str, str]:
    """What has small networks, which compile longer than they run, compiled as tests have them (tests/conftest.py)."""
    flags = os.environ.get("XLA_FLAGS", "")
    if importlib.metadata.version("jax") < "0.11":
        flags += " --xla_cpu_use_fusion_emitters=false"
    return {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "XLA_FLAGS": flags}


class Runner:
    """A process that runs commands (`worker.py`), started anew where one took too long."""

    def __init__(self, base: pathlib.Path, *, shipped: bool = False):
        self.environment = (
            os.environ
            | ({} if shipped else _quick_compilation())
            | {
                "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
                "PYTHONUNBUFFERED": "1",
                "JAX_COMPILATION_CACHE_DIR": str(base.parent / "cache"),
                "PAGES_MODEL": str(base / "model"),
            }
        )
        self.process: subprocess.Popen | None = None

    def run(self, words: list[str], folder: pathlib.Path) -> tuple[str | None, float]:
        """Runs a command; what it said last if it failed, or None, and seconds of CPU."""
        _make_room(words, folder)
        if words[:2] == ["panojax", "view"]:
            return self._serve(words, folder), 0.0
        if self.process is None:
            program = [sys.executable, WORKER]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            self.process = subprocess.Popen(program, env=self.environment, text=True, **pipes)
        process = self.process
        with _Limit(process) as limit:
            print(json.dumps({"words": words, "folder": str(folder)}), file=process.stdin, flush=True)
            answer = process.stdout.readline()
        if not answer:
            self.end()
            return limit.reached or "the process died", 0.0
        done = json.loads(answer)
        wrong = None if done["code"] == 0 else f"exit code {done['code']}: {done['said'].strip()[-700:]}"
        return wrong, done["cpu"]

    def _serve(self, words: list[str], folder: pathlib.Path) -> str | None:
        """Runs a command that serves until Ctrl-C, which it gets once it serves."""
        program, said = [sys.executable, WORKER, *words], []
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        with (
            subprocess.Popen(program, cwd=folder, env=self.environment, text=True, **pipes) as process,
            _Limit(process),
        ):
            for line in process.stdout or ():
                said.append(line)
                if "Ctrl-C ends it" in line:
                    process.send_signal(signal.SIGINT)
            code = process.wait()
        return None if code == 0 else f"exit code {code}: {''.join(said).strip()[-700:]}"

    def end(self) -> None:
        """Ends the process."""
        if self.process is not None:
            with self.process:  # closes its pipes
                self.process.kill()
            self.process = None


class _Limit:
    """Kills a process that a block waits for when it has taken too long; `reached` says how long."""

    def __init__(self, process: subprocess.Popen):
        self.reached: str | None = None
        self._process, self._done = process, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        start, before = time.monotonic(), self._cpu()
        while not self._done.wait(1):
            if self._cpu() - before > SECONDS:
                self.reached = f"not done after {SECONDS} s of CPU"
            elif time.monotonic() - start > PATIENCE:
                self.reached = f"not done after {PATIENCE} s"
            if self.reached:
                self._process.kill()
                return

    def _cpu(self) -> float:
        """Seconds of CPU that the process has taken; where the system does not tell, the clock's."""
        try:
            fields = pathlib.Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return time.monotonic()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def __enter__(self) -> "_Limit":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()


class Report:
    """Lines about what was run, as it goes, from several threads."""

    def __init__(self, count: int):
        self.failed: list[str] = []
        self.ran, self.count, self.done, self.start = 0, count, 0, time.monotonic()
        self.known: set[tuple[str, ...]] = set()
        self.lock = threading.Lock()

    def is_new(self, command: reader.Command) -> bool:
        """Whether no page had this one before; what a page's later commands build on is run on each page."""
        words = tuple(command.words)
        with self.lock:
            known = words in self.known and words[0] == "panojax"
            self.known.add(words)
        return not known

    def say(self, what: str, place: str, wrong: str | None = None) -> None:
        """A line, and a failure where there is one."""
        with self.lock:
            self.done += 1
            self.ran += not what.startswith("parsed")
            now = time.monotonic() - self.start
            print(f"[{self.done}/{self.count}, {now:.0f} s] {what}  {place}", flush=True)
            if wrong:
                self.failed.append(f"{place}: {wrong}")
                print(f"    {wrong}", flush=True)


def run_page(page: pathlib.Path, base: pathlib.Path, runner: Runner, report: Report, options) -> None:
    """Runs a page's commands and Python in a copy of the sandbox."""
    name = _name(page)
    folder = base.parent / name.replace("/", "_")
    shutil.copytree(base, folder, copy_function=os.link)

    def run(words: list[str], place: str) -> None:
        start = time.monotonic()
        wrong, cpu = runner.run(words, folder)
        report.say(f"{'FAILED' if wrong else 'ran'} {time.monotonic() - start:.0f} s, {cpu:.0f} of CPU", place, wrong)

    for command in reader.commands(page):
        why = why_not(command, everything=options.all)
        if why is None and not report.is_new(command):
            why = "run before"
        if why is not None or (options.only and options.only not in command.text):
            report.say(f"parsed ({why or 'not asked for'})", command.place)
            continue
        added = " ".join(small(command))
        run(whole(command, folder), command.place + (f"  with {added}" if added else ""))
    if name in python_pages(options):
        blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
        run(["python", "-c", "\n".join(blocks)], f"the Python of {name}")
    shutil.rmtree(folder)


def _name(page: pathlib.Path) -> str:
    return page.relative_to(ROOT).as_posix()


def python_pages(options) -> tuple[str, ...]:
    """Pages whose Python is run."""
    names = () if options.only else RUN_PYTHON + LONG_PYTHON * options.all
    return tuple(name for name in names if options.pages is None or name in options.pages)


def run_pages(pages: queue.SimpleQueue, base: pathlib.Path, report: Report, options) -> None:
    """Runs pages, in one process, until there are no more."""
    runner = Runner(base, shipped=options.shipped)
    try:
        while True:
            run_page(pages.get_nowait(), base, runner, report, options)
    except queue.Empty:
        pass
    finally:
        runner.end()


def main(arguments: Sequence[str] | None = None) -> int:
    """Checks all commands, then runs those that are to be. The exit code is how many failed, at most 100."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="run those that take minutes, too")
    parser.add_argument("--shipped", action="store_true", help='"default" is the model that ships, not a small one')
    parser.add_argument("--pages", nargs="+", help="run these alone, such as docs/photos.md")
    parser.add_argument("--only", help="run the commands that have these words alone")
    parser.add_argument("--jobs", type=int, default=2, help="pages at a time")
    options = parser.parse_args(arguments)
    pages = [page for page in reader.pages() if options.pages is None or _name(page) in options.pages]
    if len(pages) < len(options.pages or ()):
        parser.error(f"--pages are among {', '.join(map(_name, reader.pages()))}, got {' '.join(options.pages)}")
    found = [command for page in pages for command in reader.commands(page)]
    waiting: queue.SimpleQueue = queue.SimpleQueue()
    for page in pages:
        waiting.put(page)
    report = Report(len(found) + len(python_pages(options)))
    report.failed += [f"{command.place}: {wrong}" for command in found if (wrong := reader.check(command))]
    report.failed += [problem for page in pages for problem in reader.python_problems(page)]
    with tempfile.TemporaryDirectory() as folder:
        base = pathlib.Path(folder) / "base"
        make_sandbox(base, shipped=options.shipped)
        print(f"{len(found)} commands parsed, data made", flush=True)
        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            for done in [pool.submit(run_pages, waiting, base, report, options) for _ in range(options.jobs)]:
                done.result()
    print("\n".join(["", *report.failed]) if report.failed else f"{report.ran} of {report.count} ran, none failed")
    return min(len(report.failed), 100)


if __name__ == "__main__":
    sys.exit(main())
