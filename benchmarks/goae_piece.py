"""One piece of GOAE against a generator, and its row of Table 1 beside the dual encoder's.

    python benchmarks/goae_piece.py draw --work W --assets ASSETS --seconds 150 --devices 1
    python benchmarks/goae_piece.py train --heads W/heads --work W --minutes 13 6
    python benchmarks/goae_piece.py export --work W --out OUT
    python benchmarks/goae_piece.py evaluate --heads W/tests --work W --out RESULTS

`draw` draws heads for so many seconds, and test heads, whose hair or skins training never shows. `train` trains the
codes, group after group, then AFA with the codes as they are; each has its minutes, 0 for none now. A part that has
begun goes on from its checkpoint, with as many minutes more. `export` writes both parts in half precision, small enough
to carry, with their logs. `evaluate` writes the tables of `panojax.eval heads`; where training was elsewhere, W has
what `export` wrote.
"""

import argparse
import dataclasses
import functools
import itertools
import pathlib
import shutil
import sys
import time
from typing import Any

# The transformer's sizes: the authors', and smaller ones for pieces of minutes.
SIZES: dict[str, dict[str, Any]] = {
    "authors": {},
    "half": {"width": 64, "depths": (2, 2, 6, 2), "heads": (2, 4, 8, 16), "window": 8, "drop_path": 0.1},
}


def run_config(options: argparse.Namespace) -> Any:
    """The training of synthetic heads, with GOAE's encoder and its losses: those of the final picture."""
    from panojax.encoders.goae import GoaeEncoder, small
    from panojax.nn.swin import SwinConfig
    from panojax.train.encoder.presets import heads

    if options.size == "small":
        encoder = small(resolution=options.resolution)
    else:
        codes = options.codes_resolution or options.resolution
        encoder = GoaeEncoder(options.resolution, codes, SwinConfig(**SIZES[options.size]))
    base = heads()
    step = dataclasses.replace(base.step, style_weight=0.0, loss_resolution=options.loss_resolution)
    return dataclasses.replace(
        base,
        generator=options.generator,
        data=(options.heads,) if options.heads else (),
        sample_ratio=0.5 if options.heads else 1.0,
        lpips="none" if options.size == "small" else base.lpips,
        identity="none" if options.size == "small" else base.identity,
        encoder=encoder,
        batch=options.batch,
        dtype=options.dtype,
        steps=options.steps,
        save_every=options.save_every,
        picture_every=options.save_every,
        validation_batches=options.validation_batches,
        seed=options.seed,
        step=step,
    )


def draw(options: argparse.Namespace) -> int:
    """Training's heads into W/heads, and `tests` others into W/tests."""
    import generator_piece

    from panojax.synthetic.generate import generate_heads
    from panojax.synthetic.splits import split_of

    work, place = pathlib.Path(options.work), {f: getattr(options, f) for f in ("assets", "devices", "edition")}
    numbers = (number for number in itertools.count() if split_of(number) == "test")
    for number in itertools.islice(numbers, options.tests):
        generate_heads(1, options.views, options.size, options.seed + 1, work / "tests", 1, start=number, **place)
    options.out, options.start = str(work / "heads"), 0
    return generator_piece.draw(options)


def train(options: argparse.Namespace) -> int:
    """The codes into W/codes, AFA into W/afa, whose model is W/afa/model."""
    from panojax.train.command import exit_code
    from panojax.train.encoder.run import train
    from panojax.train.export import export

    work, config = pathlib.Path(options.work), run_config(options)
    parts = {
        "codes": {"learn": "goae_codes", "release": tuple((int(at), n) for at, n in zip(options.release, (4, 7, 64)))},
        "afa": {"learn": "goae_features"},
    }
    for (name, changes), minutes in zip(parts.items(), options.minutes):
        if not minutes:
            continue
        start = None if name == "codes" else str(work / "codes" / "e1")
        one = dataclasses.replace(config.step, **changes)
        run = dataclasses.replace(config, workdir=str(work / name), start=start, step=one)
        if name == "afa":  # it reads pixels: nothing may move or hide them
            run = dataclasses.replace(run, augment=dataclasses.replace(run.augment, crop=0.0, patch=0.0))
        begun, deadline = time.time(), time.monotonic() + 60 * minutes  # what is read and compiled first counts as well
        code = exit_code(functools.partial(train, run, deadline=deadline))
        print(f"{name}: exit code {code} after {time.time() - begun:.0f} s", flush=True)
        if code not in (0, 75):  # 75: the minutes are over
            return code
        print(export(work / name), flush=True)
    return 0


def export_parts(options: argparse.Namespace) -> int | str:
    """OUT/codes.npz.000 and so on, likewise afa.npz, of those that have begun."""
    from panojax.train.encoder.encoder_export import write_stage
    from panojax.train.export import STATE_FILE, read_state

    work, out = pathlib.Path(options.work), pathlib.Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    for name in ("codes", "afa"):
        folder = work / name / "e1"
        if (folder / STATE_FILE).exists():
            for part in write_stage(out / f"{name}.npz", *read_state(folder), lean=True):
                print(part, part.stat().st_size)
            shutil.copy(folder / "log.jsonl", out / f"{name}.jsonl")
    return 0 if any(out.iterdir()) else f"{work} must be the folder of a training, got neither codes nor AFA in it"


def model_of(name: str, options: argparse.Namespace) -> pathlib.Path:
    """The folder of a part's model: what its training wrote, of its best state, or one made of an export, its newest.

    Of an export that has come since, it is made anew.
    """
    from panojax.files.checkpoint import load, save
    from panojax.train.carried import find_parts
    from panojax.train.export import assemble

    work = pathlib.Path(options.work)
    model, exported = work / name / "model", work / f"{name}.npz"
    parts = find_parts(exported)
    if parts and not (model.exists() and model.stat().st_mtime > max(part.stat().st_mtime for part in parts)):
        model.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(model, ignore_errors=True)
        save(assemble(load(options.generator), exported), model)
    return model


def evaluate(options: argparse.Namespace) -> int:
    """The row beside the generator's own encoders', where it has them."""
    from panojax.eval.__main__ import main
    from panojax.files.checkpoint import load

    own = load(options.generator).config.encoder is not None
    methods = [*(("dual", "e1") if own else ()), f"GOAE=goae@{model_of('afa', options)}"]
    if (codes := model_of("codes", options)).exists():
        methods.append(f"GOAE codes alone=goae@{codes}")
    arguments = ["heads", "--checkpoint", options.generator, "--data", options.heads, "--methods", ",".join(methods)]
    arguments += ["--limit", str(options.limit), "--distances", str(options.limit), "--out", options.out]
    return main([*arguments, *options.more])


def main() -> int | str:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="part", required=True)
    step = steps.add_parser("draw")
    step.add_argument("--work", required=True)
    step.add_argument("--assets", required=True)
    step.add_argument("--seconds", type=float, default=150.0, help="of the heads for training, about")
    integers = {"identities": 4000, "tests": 32, "seed": 300, "views": 20, "size": 256, "edition": 2}
    for field, default in integers.items():
        step.add_argument(f"--{field}", type=int, default=default)
    step.add_argument("--devices", type=int, default=0, help="GPUs whose OpenGL is used in turn; 0: EGL's choice")
    step = steps.add_parser("train")
    step.add_argument("--heads", help="folder of `panojax heads`; none: the generator's samples alone")
    step.add_argument("--work", required=True)
    step.add_argument("--minutes", type=float, nargs=2, default=(13.0, 6.0), help="of the codes, of AFA")
    step.add_argument("--release", type=int, nargs=3, default=(1500, 2500, 3500), help="steps of coarse, mid, fine")
    step.add_argument("--generator", default="default")
    step.add_argument("--size", choices=(*SIZES, "small"), default="half", help="small: for a CPU, by L2 alone")
    step.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
    for field, default in (("resolution", 256), ("codes-resolution", 0), ("loss-resolution", 256), ("batch", 16)):
        step.add_argument(f"--{field}", type=int, default=default)
    for field, default in (("steps", 1_000_000), ("save-every", 500), ("validation-batches", 8), ("seed", 0)):
        step.add_argument(f"--{field}", type=int, default=default)
    step = steps.add_parser("export")
    step.add_argument("--work", required=True)
    step.add_argument("--out", required=True)
    step = steps.add_parser("evaluate")
    step.add_argument("--heads", required=True, help="folder of `panojax heads` with test heads")
    step.add_argument("--work", required=True)
    step.add_argument("--out", required=True)
    step.add_argument("--generator", default="default")
    step.add_argument("--limit", type=int, default=32)
    step.add_argument("--more", nargs=argparse.REMAINDER, default=[], help="options of `panojax.eval heads`")
    options = parser.parse_args()
    return {"draw": draw, "train": train, "export": export_parts, "evaluate": evaluate}[options.part](options)


if __name__ == "__main__":
    sys.exit(main())
