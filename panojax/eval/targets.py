"""The speeds that panojax is built for, on the device at hand: checks, times, targets and floors side by side.

    python -m panojax.eval.targets --out figures.json

The released configuration with random weights, networks in bfloat16, some eight minutes on an H100. A floor is what the
device would need if it did nothing but the work's operations at its highest rate of bfloat16 products, or nothing but
read the arguments and write the results once: the longer of both. The traffic is how long it takes to read and write
what the compiled kernels do. Of the dependencies only jax, flax, optax, orbax, scikit-image and tqdm are needed.
"""

import argparse
import dataclasses
import functools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from panojax import api
from panojax.camera import look_at
from panojax.config import Config
from panojax.encoders.encoder_config import EncoderConfig
from panojax.eval import benchmark, benchmark_training
from panojax.generators.generator_config import GeneratorConfig
from panojax.params import random_params, tiny
from panojax.terminal.process import run_process

# Products in bfloat16 a second, bytes of memory a second: NVIDIA's data sheets.
RATES = {"NVIDIA H100 80GB HBM3": (989e12, 3.35e12), "NVIDIA H200": (989e12, 4.8e12)}


@dataclasses.dataclass(frozen=True)
class Target:
    """One row: a work and its batch, the milliseconds to reach, and the original PyTorch code's on an H100 if known."""

    name: str
    work: str
    batch: int
    to_reach: float
    original: float | None = None


TARGETS = (
    Target("first `invert` and view in a new process, programs cached", "first", 1, 4000),
    Target("`invert` + one view", "invert", 1, 12, 164),
    Target("`render` from kept planes, 64 -> 512", "render", 1, 2.5, 22.9),
    Target("`render` from kept planes, 128 -> 512", "render twice", 1, 4, 34.2),
    Target("`invert` + one view", "invert", 8, 50, 261),
    Target("z to image", "z", 8, 14, 61),
    Target("encoder 1's step, all losses", "e1", 3, 45, 287),
    Target("PTI, 500 + 500 steps", "pti", 1, 12000, 86500),
)
CASES = ("invert", "render", "render twice", "z")  # the first of `benchmark.cases`


@dataclasses.dataclass(frozen=True)
class Options:
    """What to time."""

    out: pathlib.Path | None = None
    """File for the figures, as JSON."""
    runs: int = 20
    """Timed calls of each work, or steps."""
    small: bool = False
    """Tiny networks instead, to try the script."""
    works: tuple[str, ...] = ()
    """Only these works."""


def main(options: Options) -> dict[str, Any]:
    """Runs the rows, prints a Markdown table and gives the figures."""
    benchmark.check_out(options.out)
    start = time.perf_counter()
    rows = [target for target in TARGETS if not options.works or target.work in options.works]
    figures: dict[str, Any] = {"small": options.small, "rows": []}
    # Others use the device before this process does, which may take all of its memory.
    first = _time_first(options.small) if any(target.work == "first" for target in rows) else {}
    params = jax.device_put(random_params(_config(options.small)))
    figures |= {**benchmark.machine(), "psnr_db": benchmark.check(params)}
    print(f"{figures['device']}, jax {figures['jax']}; dB against exact float32: {figures['psnr_db']}", flush=True)
    print("| work | batch | original ms | to reach ms | ms | floor ms | traffic ms | planned memory MiB |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    typed = params.with_dtype("bfloat16").for_inference()
    cases = functools.cache(lambda batch: benchmark.cases(typed, batch))
    training = benchmark_training.tiny if options.small else benchmark_training.released
    bench = functools.cache(lambda: benchmark_training.Bench(training()))
    for target in rows:
        if target.work == "first":
            row = first
        elif target.work in CASES:
            _, function, data = cases(target.batch)[CASES.index(target.work)]
            used = typed if target.work == "invert" else typed.generator_only()
            row = benchmark.measure(function, used, data, options.runs)
        elif target.work == "pti":
            row = bench().time_pti("bfloat16")
            row["ms"] = 1e3 * row["seconds"]
        else:
            config = benchmark_training.step_config(bench().setting, target.work, target.batch, False)
            row = bench().time_step(config, target.batch, "bfloat16", 1, options.runs)
        row = row | bounds(row, figures["device"])
        figures["rows"].append({**dataclasses.asdict(target), **row})
        figures["seconds"] = time.perf_counter() - start
        numbers = (
            target.original,
            target.to_reach,
            *(row.get(k) for k in ("ms", "floor_ms", "traffic_ms", "memory_mib")),
        )
        cells = ["" if x is None else f"{x:.1f}" if x < 100 else f"{x:.0f}" for x in numbers]
        print(f"| {target.name} | {target.batch} | {' | '.join(cells)} |", flush=True)
        if options.out:
            benchmark.write(figures, options.out)
    print(f"{figures['seconds']:.0f} s in all", flush=True)
    return figures


def bounds(row: dict[str, Any], device: str) -> dict[str, float]:
    """The milliseconds that a work's operations and bytes take at a device's rates: {"floor_ms", "traffic_ms"}.

    What is not known of the device or the work is left out.
    """
    if device not in RATES or "operations" not in row:
        return {}
    products, memory = RATES[device]
    times = {"floor_ms": 1e3 * max(row["operations"] / products, row["bytes_once"] / memory)}
    return times | ({"traffic_ms": 1e3 * row["bytes_touched"] / memory} if "bytes_touched" in row else {})


def _config(small: bool) -> Config:
    return tiny() if small else Config(GeneratorConfig(), EncoderConfig())


def _time_first(small: bool) -> dict[str, Any]:
    """A new process's first `invert` and view, after another process has compiled them."""
    command = [sys.executable, "-c", f"from panojax.eval.targets import first_invert; first_invert({small})"]
    with tempfile.TemporaryDirectory() as cache:
        settings = {"JAX_COMPILATION_CACHE_DIR": cache, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
        settings["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        for _ in range(2):
            done = subprocess.run(command, env=os.environ | settings, stdout=subprocess.PIPE, text=True, check=True)
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def first_invert(small: bool) -> None:
    """Prints the milliseconds that this process takes to invert and to see a portrait, its parameters being there.

    Those of tracing, lowering, reading the compiled programs and running them, too.
    """
    config = _config(small)
    params = jax.block_until_ready(random_params(config).with_dtype("bfloat16").for_inference())
    generator = params.generator_only()
    side = config.generator.image_resolution
    portrait, camera = np.zeros((side, side, 3), np.float32), jax.block_until_ready(look_at(0.3))
    figures = dict.fromkeys(("trace", "lower", "read", "run"), 0.0)

    def timed(name, function, *arguments):
        start = time.perf_counter()
        result = jax.block_until_ready(function(*arguments))
        figures[name] += 1e3 * (time.perf_counter() - start)
        return result

    def call(function, *arguments):
        traced = timed("trace", jax.jit(function).trace, *arguments)
        return timed("run", timed("read", timed("lower", traced.lower).compile), *arguments)

    head = call(api.invert, params, portrait, camera)
    call(lambda *arguments: api.render(*arguments).image, generator, head, camera)
    print(json.dumps({"ms": sum(figures.values()), **figures}))


def parse(arguments: Sequence[str] | None = None) -> Options:
    """The options of a command line. By argparse: machines with GPUs may lack tyro."""
    as_written = argparse.RawDescriptionHelpFormatter
    prog = "python -m panojax.eval.targets"
    parser = argparse.ArgumentParser(prog=prog, description=__doc__, formatter_class=as_written)
    parser.add_argument("--out", type=pathlib.Path, help="file for the figures, as JSON")
    parser.add_argument("--runs", type=int, default=Options().runs, help="timed calls of each work, or steps")
    parser.add_argument("--small", action="store_true", help="tiny networks instead, to try the script")
    parser.add_argument("--works", nargs="+", default=(), choices=[t.work for t in TARGETS], help="only these works")
    given = vars(parser.parse_args(arguments))
    return Options(**given | {"works": tuple(given["works"])})


if __name__ == "__main__":
    sys.exit(run_process(lambda: main(parse()) and None, ""))
