"""One piece of the default model's generator: heads drawn, then trained stage by stage, then exported.

    python benchmarks/generator_piece.py draw --out HEADS --identities 4000 --seed 0 --assets ASSETS --devices 4
    python benchmarks/generator_piece.py train --heads HEADS --work W --stages heads64:4 heads128:5 --start w.npz.*
    python benchmarks/generator_piece.py export --run W/heads128 --out OUT
    python benchmarks/generator_piece.py all --seconds 600 --stage heads128 --start w.npz.* --work W --out OUT ...

`all` is one call of a machine that is lent for so many seconds: the first draws for a third of it, later ones on the
same disk go on with the training; each ends with an export while there is time.

A stage is a preset, the minutes it has, and maybe its batch, `heads64:4:128`; it starts from the one before it. A stage
that has begun goes on from its checkpoint, with as many minutes more.
"""

import argparse
import dataclasses
import os
import pathlib
import shutil
import sys
import time


def draw(options: argparse.Namespace) -> int:
    """Heads by as many processes as there are cores, which take turns on the GPUs: what is asked for, or what time
    allows, by the speed of a first tenth of it."""
    from panojax.synthetic.generate import generate_heads

    processes = max(1, len(os.sched_getaffinity(0)) - 2)
    places = {"start": options.start, "assets": options.assets, "devices": options.devices}
    places["edition"] = getattr(options, "edition", 2)

    def make(identities: int) -> float:
        begun = time.time()
        generate_heads(identities, options.views, options.size, options.seed, options.out, processes, **places)
        return time.time() - begun

    first = min(options.identities, 8 * processes)
    seconds = make(first)
    print(f"{first} heads in {seconds:.0f} s", flush=True)
    left = options.seconds - seconds - 15  # processes start again
    wanted = min(options.identities, first + int(max(0, left) * first / seconds))
    seconds = make(wanted)
    rate = (wanted - first) * options.views / seconds
    print(f"{options.out}: {wanted} heads, {rate:.0f} pictures/s by {processes} processes", flush=True)
    return 0


def train(options: argparse.Namespace) -> int:
    """The stages in turn."""
    from panojax.train.command import exit_code
    from panojax.train.generator import run
    from panojax.train.generator.gan_presets import PRESETS

    start = tuple(options.start)
    for stage in options.stages:
        preset, minutes, *batch = stage.split(":")
        folder = pathlib.Path(options.work) / preset
        config = PRESETS[preset]()
        if start == tuple(options.start):
            rates = {"generator_wait": options.wait, "generator_warmup": options.warmup}
            config = dataclasses.replace(config, step=dataclasses.replace(config.step, **rates))
        config = dataclasses.replace(
            config,
            workdir=str(folder),
            data=(options.heads,),
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


MARGIN = 75  # seconds, of the last steps, pictures and checkpoint after the minutes, and of the export


def all_steps(options: argparse.Namespace) -> int:
    """Heads, where there are none, then training for what is left of the call, then the export."""
    until = time.time() + options.seconds
    work = pathlib.Path(options.work)
    drawn = work / "drawn"
    if not drawn.exists():
        place = {"out": str(work / "heads"), "seconds": options.seconds / 3, "start": 0}
        draw(argparse.Namespace(**{**vars(options), **place}))
        drawn.touch()
    minutes = max(until - time.time() - MARGIN, 1) / 60
    stage = f"{options.stage}:{minutes}" + (f":{options.batch}" if options.batch else "")
    options.heads, options.stages = str(work / "heads"), [stage]
    code = train(options)
    options.run = str(work / options.stage)
    return code or export(options)


def export(options: argparse.Namespace) -> int:
    """Weights, moments, log and newest picture."""
    from panojax.train.generator.gan_export import read_state, write_weights

    run, out = pathlib.Path(options.run), pathlib.Path(options.out)
    described, state = read_state(run)
    for part in write_weights(out / "weights.npz", described.model, state, lean=options.lean):
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
    drawing, exporting, starting = (argparse.ArgumentParser(add_help=False) for _ in range(3))
    for field, default in (("identities", 4000), ("seed", 0), ("views", 20), ("size", 256), ("edition", 2)):
        drawing.add_argument(f"--{field}", type=int, default=default)
    drawing.add_argument("--assets", required=True)
    drawing.add_argument("--devices", type=int, default=0, help="GPUs whose OpenGL is used in turn; 0: EGL's choice")
    exporting.add_argument("--lean", action="store_true", help="neither moments nor the generator beside its average")
    exporting.add_argument("--out", required=True)
    starting.add_argument("--work", required=True)
    starting.add_argument("--start", nargs="*", default=[])
    starting.add_argument("--wait", type=int, default=0, help="steps before the first stage's generator learns")
    starting.add_argument("--warmup", type=int, default=0, help="steps of its rising rate after that")
    step = steps.add_parser("draw", parents=[drawing])
    step.add_argument("--start", type=int, default=0)
    step.add_argument("--seconds", type=float, default=1e9, help="to draw in, about")
    step.add_argument("--out", required=True)
    step = steps.add_parser("train", parents=[starting])
    step.add_argument("--heads", required=True)
    step.add_argument("--stages", nargs="+", required=True)
    step.add_argument("--seed", type=int, default=0)
    step = steps.add_parser("export", parents=[exporting])
    step.add_argument("--run", required=True)
    step = steps.add_parser("all", parents=[drawing, exporting, starting])
    step.add_argument("--seconds", type=float, required=True, help="of the whole call")
    step.add_argument("--stage", required=True, help="preset")
    step.add_argument("--batch", type=int, default=0, help="0: the preset's")
    options = parser.parse_args()
    return {"draw": draw, "train": train, "export": export, "all": all_steps}[options.step](options)


if __name__ == "__main__":
    sys.exit(main())
