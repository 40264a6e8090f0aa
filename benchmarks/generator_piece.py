"""One piece of the default model's generator: heads drawn, then trained stage by stage, then exported.

    python benchmarks/generator_piece.py draw --out HEADS --identities 4000 --seed 0 --assets ASSETS --devices 4
    python benchmarks/generator_piece.py train --heads HEADS --work W --stages heads64:4 heads128:5 --start w.npz.*
    python benchmarks/generator_piece.py export --run W/heads128 --out OUT

A stage is a preset, the minutes it has, and maybe its batch, `heads64:4:128`; it starts from the one before it. A stage
that has begun goes on from its checkpoint, with as many minutes more.
"""

import argparse
import dataclasses
import os
import pathlib
import shutil
import subprocess
import sys
import time


def draw(options: argparse.Namespace) -> int:
    """Heads by as many commands as there are GPUs, each into a folder of its own, HEADS/0, HEADS/1, ..."""
    share, cores = -(-options.identities // options.devices), os.cpu_count() or 1
    commands = []
    for device in range(options.devices):
        command = [
            *(sys.executable, "benchmarks/generator_piece.py", "draw-some", "--out", f"{options.out}/{device}"),
            *("--identities", share, "--seed", options.seed, "--start", options.start + device * share),
            *("--assets", options.assets, "--views", options.views, "--size", options.size),
            *("--processes", max(1, (cores - 2) // options.devices), "--device", device if options.egl else -1),
        ]
        commands.append(subprocess.Popen(list(map(str, command))))
    return max(command.wait() for command in commands)


def draw_some(options: argparse.Namespace) -> int:
    """One of `draw`'s commands."""
    from panojax.synthetic.generate import generate_heads

    sizes = options.identities, options.views, options.size, options.seed
    device = None if options.device < 0 else options.device
    begun = time.time()
    generate_heads(*sizes, options.out, options.processes, start=options.start, assets=options.assets, device=device)
    rate = options.identities * options.views / (time.time() - begun)
    print(f"{options.out}: {options.identities} heads, {rate:.0f} pictures/s", flush=True)
    return 0


def train(options: argparse.Namespace) -> int:
    """The stages in turn."""
    from panojax.train.command import exit_code
    from panojax.train.generator import run
    from panojax.train.generator.gan_presets import PRESETS

    data = tuple(sorted(str(path) for path in pathlib.Path(options.heads).iterdir() if path.is_dir()))
    start = tuple(options.start)
    for stage in options.stages:
        preset, minutes, *batch = stage.split(":")
        folder = pathlib.Path(options.work) / preset
        config = dataclasses.replace(
            PRESETS[preset](),
            workdir=str(folder),
            data=data,
            start=start,
            minutes=float(minutes),
            seed=options.seed,
            kimg=1e6,
            **({"batch": int(batch[0])} if batch else {}),
        )
        begun = time.time()
        code = exit_code(lambda config=config: run.train(config))
        print(f"{preset}: exit code {code} after {time.time() - begun:.0f} s", flush=True)
        if code not in (0, 75):  # 75: the minutes are over
            return code
        start = (str(folder),)
    return 0


def export(options: argparse.Namespace) -> int:
    """Weights, moments, log and newest picture."""
    from panojax.train.generator.gan_export import read_state, write_weights

    run, out = pathlib.Path(options.run), pathlib.Path(options.out)
    described, state = read_state(run)
    for part in write_weights(out / "weights.npz", described.model, state):
        print(part, part.stat().st_size)
    shutil.copy(run / "log.jsonl", out / f"{run.name}.jsonl")
    pictures = sorted((run / "pictures").iterdir(), key=lambda path: path.stat().st_mtime)
    if pictures:
        shutil.copy(pictures[-1], out / f"{run.name}{pictures[-1].suffix}")
    return 0


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True)
    for name in ("draw", "draw-some"):
        step = steps.add_parser(name)
        for field, default in (("identities", 4000), ("seed", 0), ("start", 0), ("views", 20), ("size", 256)):
            step.add_argument(f"--{field}", type=int, default=default)
        step.add_argument("--out", required=True)
        step.add_argument("--assets", required=True)
        if name == "draw":
            step.add_argument("--devices", type=int, default=1, help="GPUs")
            step.add_argument("--egl", action="store_true", help="one GPU's OpenGL each, not EGL's own choice")
        else:
            step.add_argument("--processes", type=int, default=1)
            step.add_argument("--device", type=int, default=-1)
    step = steps.add_parser("train")
    step.add_argument("--heads", required=True)
    step.add_argument("--work", required=True)
    step.add_argument("--stages", nargs="+", required=True)
    step.add_argument("--start", nargs="*", default=[])
    step.add_argument("--seed", type=int, default=0)
    step = steps.add_parser("export")
    step.add_argument("--run", required=True)
    step.add_argument("--out", required=True)
    options = parser.parse_args()
    return {"draw": draw, "draw-some": draw_some, "train": train, "export": export}[options.step](options)


if __name__ == "__main__":
    sys.exit(main())
