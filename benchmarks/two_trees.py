"""Times two trees of the project against each other on the device at hand, in turns.

    python benchmarks/two_trees.py OLD NEW --works first "invert 8" "z 8" --rounds 3 --out figures.json

A tree is a folder with the package in it. Work by work, both trees compile, one after another, into one cache of
programs and of autotuned kernels (one H200: one to three minutes a work of the released configuration). Then each round
runs the work in a new process of one tree, then of the other, so that neither has the warmer machine. What is printed
are milliseconds, the round's median of `--runs` calls, and the ratio of the trees' medians over the rounds; what has
been timed is in `--out` after each round, so a limit cuts off the last works alone.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence

CHILD = """
import json, sys
work, runs, small = json.loads(sys.argv[1])
kind, _, batch = work.partition(" ")
from panojax.eval import benchmark, benchmark_training, targets
if kind == "first":
    targets.first_invert(small)
elif kind in targets.CASES:
    from panojax.params import random_params
    params = random_params(targets._config(small)).with_dtype("bfloat16").for_inference()
    _, function, data = benchmark.cases(params, int(batch))[targets.CASES.index(kind)]
    row = benchmark.measure(function, params if kind == "invert" else params.generator_only(), data, runs)
    print(json.dumps({"ms": row["ms"]}))
else:
    bench = benchmark_training.Bench((benchmark_training.tiny if small else benchmark_training.released)())
    config = benchmark_training.step_config(bench.setting, kind, int(batch), False)
    print(json.dumps({"ms": bench.time_step(config, int(batch), "bfloat16", 1, runs)["ms"]}))
"""


def start(tree: pathlib.Path, work: str, options: argparse.Namespace, cache: str) -> subprocess.Popen[str]:
    """A new process of a tree that times one work."""
    settings = {
        "PYTHONPATH": os.pathsep.join([str(tree), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
        "JAX_COMPILATION_CACHE_DIR": cache,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    }
    command = [sys.executable, "-c", CHILD, json.dumps([work, options.runs, options.small])]
    return subprocess.Popen(command, cwd=tree, env=os.environ | settings, stdout=subprocess.PIPE, text=True)


def milliseconds(process: subprocess.Popen[str]) -> float:
    """What a process of `start` timed, once it has ended."""
    printed, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"a process ended with {process.returncode}")
    return float(json.loads(printed.splitlines()[-1])["ms"])


def main(arguments: Sequence[str] | None = None) -> None:
    """Compiles and times in turns; the figures are written after each round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trees", nargs=2, type=pathlib.Path, metavar="TREE")
    parser.add_argument("--works", nargs="+", default=["first", "invert 1", "invert 8", "z 8", "e1 3"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=20, help="timed calls in each process")
    parser.add_argument("--small", action="store_true", help="tiny networks, to try the script")
    parser.add_argument("--out", type=pathlib.Path, help="JSON file for the figures")
    options = parser.parse_args(arguments)
    trees = [tree.resolve() for tree in options.trees]
    figures: dict[str, list[list[float]]] = {work: [[], []] for work in options.works}
    with tempfile.TemporaryDirectory() as cache:
        for work in options.works:
            for tree in trees:
                milliseconds(start(tree, work, options, cache))
            print(f"{work}: compiled", flush=True)
            for _ in range(options.rounds):
                for times, tree in zip(figures[work], trees):
                    times.append(milliseconds(start(tree, work, options, cache)))
                print(f"{work}: {figures[work][0][-1]:.2f} {figures[work][1][-1]:.2f} ms", flush=True)
                if options.out:
                    options.out.write_text(json.dumps(figures, indent=1))
            old, new = figures[work]
            print(f"{work}: {statistics.median(new) / statistics.median(old):.3f} times the old tree's", flush=True)


if __name__ == "__main__":
    main()
