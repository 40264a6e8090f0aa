"""One piece of the default model's encoders: heads drawn, then trained stage by stage, then exported.

    python benchmarks/encoder_piece.py all --seconds 565 --stages codes:4 e1 --generator w.npz.* --assets ASSETS \
        --portraits REAL --work W --out OUT
    python benchmarks/encoder_piece.py all --seconds 565 --stages e2 --start e1.npz --generator GENERATOR \
        --work W --out OUT
    python benchmarks/encoder_piece.py portraits --aligned ALIGNED --out REAL

`all` is one call of a machine that is lent for so many seconds: the first draws edition 2's heads for a third of it
(`--draw`), later ones on the same disk go on with the training; each stage ends with an export: NAME.npz.000 and so on,
its log and its newest picture. All GPUs that JAX sees are used. A stage is a name and maybe the minutes it has,
`codes:4`; those without share what is left of the call. One that has begun on this disk goes on as it began.

    codes       encoder 1's style codes, of the generator's samples alone; nothing is rendered
    e1          encoder 1; begins with the export of codes
    e2          encoder 2 with its critic, from e1; e2-none without one (Table 3), e2-image and e2-whole with the
                paper's other ones, e2-beside with one that sees the colours beside what is hidden
    local       the local branch on stitched heads, from e1 and beside e2

`--start` names an export, e1.npz for e1.npz.000 and so on: of the same stage it goes on, with moments, critic and count
of steps; of another it is where the first stage begins. Without it a stage begins with what lies in W/exports.
`portraits` makes JPEGs of 256 px of what `panojax align --framing heads --part training` wrote, small enough to carry.
"""

import argparse
import dataclasses
import json
import pathlib
import shutil
import sys
import time
from typing import Any

BEFORE = {"e1": "codes", "local": "e1"} | dict.fromkeys(("e2", "e2-none", "e2-image", "e2-whole", "e2-beside"), "e1")
STAGES = ("codes", *BEFORE)
CRITICS = {"e2": "trigrid-occluded", "e2-image": "image", "e2-whole": "trigrid", "e2-beside": "trigrid-beside"}
MARGIN = 35  # seconds, of the last steps, pictures, checkpoint and export after a stage's minutes: 12 on an H200
DRAWN_TO_REAL = (7.0, 1.0)  # drawn heads for a real portrait


def base_config(options: argparse.Namespace) -> Any:
    """What all stages have in common: the preset, or a size for two cores."""
    from panojax.train.encoder.presets import heads2, tiny

    run = heads2()
    if options.small:
        losses = {name: getattr(tiny().step, name) for name in ("loss_resolution", "critic_widths")}
        weights = dataclasses.replace(run.step.weights, lpips=0.0, identity=0.0)
        step = dataclasses.replace(run.step, **losses, weights=weights, learning_rate=2e-3)
        off = {"dtype": "float32", "lpips": "none", "identity": "none", "batch": 4, "sample_ratio": 0.5}
        run = dataclasses.replace(run, encoder=tiny().encoder, validation_batches=1, step=step, **off)
    return dataclasses.replace(
        run,
        steps=options.steps,
        save_every=options.save_every,
        picture_every=0 if options.small else options.save_every,
        log_every=2 if options.small else 50,
        seed=options.seed,
        **({"batch": options.batch} if options.batch else {}),
    )


def stage_config(name: str, options: argparse.Namespace) -> Any:
    """A stage's run, as yet without a folder."""
    run, step = base_config(options), {}
    folders = (str(pathlib.Path(options.heads)), *((options.portraits,) if options.portraits else ()))
    changes: dict[str, Any] = {"data": folders, "masks": "." if options.portraits else None}
    if options.portraits:
        changes["shares"] = DRAWN_TO_REAL
    if name == "codes":
        from panojax.train.encoder.proxy import ProxyWeights

        changes = {"data": (), "sample_ratio": 1.0, "batch": 2 * run.batch, "lpips": "none", "identity": "none"}
        step = {"rendered": False, "proxy": ProxyWeights(code=1.0), "view_weight": 0.0}
    elif name.startswith("e2"):
        changes |= {"stage": "e2", "plain_e2": name == "e2-none"}
        step = {"critic": CRITICS.get(name, "none")}
    elif name == "local":  # it reads pixels: nothing may move or hide them
        changes |= {"occluded": _export(options, "e2", options.occluded)}
        changes["augment"] = dataclasses.replace(run.augment, crop=0.0, patch=0.0)
        changes["encoder"] = dataclasses.replace(run.encoder, local_features=4 if options.small else 16)
        step = {"learn": "local", "style_weight": 0.0, "learning_rate": 1e-3, "tune": tuple(options.tune)}
        step["proxy"] = dataclasses.replace(run.step.proxy, code=0.0, depth=0.0)
    given = {"learning_rate": options.rate, "decay_start": options.decay[0], "decay_steps": options.decay[1]}
    step |= {field: value for field, value in given.items() if value}
    if options.identity:
        step["weights"] = dataclasses.replace(run.step.weights, identity=options.identity)
    return dataclasses.replace(run, **changes, step=dataclasses.replace(run.step, **step))


def train_stage(name: str, minutes: float, start: str | None, options: argparse.Namespace) -> int:
    """Trains a stage for so long, or longer than it did; its exit code, 75 where the time was over."""
    from panojax.train.command import exit_code
    from panojax.train.encoder.run import train
    from panojax.train.export import STATE_FILE, read_run
    from panojax.train.logs import read_log

    folder = pathlib.Path(options.work) / name
    begun_before = next((found for found in folder.glob(f"e[12]/{STATE_FILE}")), None)
    if begun_before is not None:
        run = read_run(begun_before.parent)[0]
    else:
        before = start or (_export(options, BEFORE[name]) if name in BEFORE else None)
        if before is None and name != "codes":
            sys.exit(f"{name} begins with an export of {BEFORE[name]}: --start NAME, or that stage before it")
        places = {"workdir": str(folder), "generator": str(make_generator(options)), "start": before}
        run = dataclasses.replace(stage_config(name, options), **places)
    run = dataclasses.replace(run, steps=options.steps)
    begun, deadline = time.time(), time.monotonic() + 60 * minutes  # what is read and compiled first counts as well
    code = exit_code(lambda: train(run, deadline=deadline))
    lines = [line for line in read_log(folder / run.stage) if "images_per_second" in line]
    if lines:
        rates = sorted(line["images_per_second"] for line in lines[-20:])
        shown = {key: round(value, 4) for key, value in lines[-1].items() if isinstance(value, float)}
        told = f"step {lines[-1]['step']}, batches of {run.batch}, {rates[len(rates) // 2]:.0f} pictures/s"
        print(f"{name}: {told}, {shown}")
    print(f"{name}: exit code {code} after {time.time() - begun:.0f} s", flush=True)
    return code


def make_generator(options: argparse.Namespace) -> pathlib.Path:
    """The folder of the generator's model: the one that is given, or W/generator of an export's files."""
    from panojax.train.generator.gan_export import read_weights, write_model

    given, made = options.generator, pathlib.Path(options.work) / "generator"
    if len(given) == 1 and pathlib.Path(given[0]).is_dir():
        return pathlib.Path(given[0])
    if not made.exists():
        if options.small and not given:
            given = _random_generator(options)
        model, images, weights = read_weights(given)
        write_model(made, model, weights["average"])
        print(f"{made}: a generator after {images / 1e6:.2f} million pictures", flush=True)
    return made


def _random_generator(options: argparse.Namespace) -> list[str]:
    """Files of an untrained generator of 128 px pictures rendered at 16."""
    from panojax.train.generator.gan_export import write_weights
    from panojax.train.generator.gan_presets import tiny
    from panojax.train.generator.gan_state import init_state, init_weights

    run = tiny()
    state = init_state(run.objective, init_weights(run.objective, 1))
    return list(map(str, write_weights(pathlib.Path(options.work) / "random.npz", run.model, state)))


def export_stage(name: str, options: argparse.Namespace) -> None:
    """The newest state into W/exports and OUT, and what there is to look at."""
    from panojax.train.encoder.encoder_export import write_stage
    from panojax.train.export import read_state

    folder, out = next((pathlib.Path(options.work) / name).glob("e[12]")), pathlib.Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    for part in write_stage(pathlib.Path(options.work) / "exports" / f"{name}.npz", *read_state(folder)):
        shutil.copy(part, out)
        print(part, part.stat().st_size)
    shutil.copy(folder / "log.jsonl", out / f"{name}.jsonl")
    pictures = sorted((folder / "pictures").glob("*"), key=lambda path: path.stat().st_mtime)
    if pictures:
        shutil.copy(pictures[-1], out / f"{name}{pictures[-1].suffix}")


def all_steps(options: argparse.Namespace) -> int:
    """Heads, where there are none, then the stages for what is left of the call, each with its export."""
    until = time.time() + options.seconds
    if options.small:  # programs compile in half the time
        import jax

        jax.config.update("jax_disable_most_optimizations", True)
    work = pathlib.Path(options.work)
    drawn = work / "drawn"
    if options.heads is None:
        options.heads = str(work / "heads")
        if not drawn.exists():
            import generator_piece

            places = {"out": options.heads, "seconds": options.draw or options.seconds / 3, "start": 0}
            generator_piece.draw(argparse.Namespace(**{**vars(options), **places}))
            drawn.touch()
    start = options.start
    for place, stage in enumerate(options.stages):
        name, _, minutes = stage.partition(":")
        open_ended = [one for one in options.stages[place:] if ":" not in one]
        fixed = sum(60 * float(one.partition(":")[2]) + MARGIN for one in options.stages[place:] if ":" in one)
        left = (until - time.time() - fixed) / max(len(open_ended), 1) - MARGIN
        code = train_stage(name, float(minutes or max(left, 1) / 60), start, options)
        if code not in (0, 75):  # 75: the minutes are over
            return code
        export_stage(name, options)
        start = None
    return 0


def portraits(options: argparse.Namespace) -> int:
    """A folder that `panojax align` wrote, its pictures as JPEGs; masks stay PNG."""
    from PIL import Image

    aligned, out = pathlib.Path(options.aligned), pathlib.Path(options.out)
    index = json.loads((aligned / "dataset.json").read_text())
    labels = []
    for name, label in index["labels"]:
        picture, small = aligned / name, pathlib.PurePosixPath(name).with_suffix(".jpg")
        (out / small).parent.mkdir(parents=True, exist_ok=True)
        with Image.open(picture) as image:
            image.convert("RGB").resize((options.size, options.size), Image.Resampling.LANCZOS).save(
                out / small, quality=90
            )
        mask = picture.with_name("mask" + picture.name.removeprefix("img"))
        with Image.open(mask) as image:
            image.convert("L").resize((options.size, options.size), Image.Resampling.LANCZOS).save(
                out / small.with_name(mask.name), optimize=True
            )
        labels.append([str(small), label])
    (out / "dataset.json").write_text(json.dumps({"labels": labels}))
    for name in ("align.json",):  # says how they were cropped
        if (aligned / name).exists():
            shutil.copy(aligned / name, out)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print(f"{out}: {len(labels)} portraits, {size / 1e6:.1f} MB")
    return 0


def _export(options: argparse.Namespace, name: str, given: str | None = None) -> str | None:
    """The name of an export: the given one, or that of W/exports, where there is one."""
    from panojax.train.encoder.encoder_export import is_export

    own = str(pathlib.Path(options.work) / "exports" / f"{name}.npz")
    return given or (own if is_export(own) else None)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True)
    step = steps.add_parser("all")
    step.add_argument("--seconds", type=float, required=True, help="of the whole call")
    step.add_argument("--stages", nargs="+", required=True, help=f"NAME or NAME:MINUTES, of {', '.join(STAGES)}")
    step.add_argument("--generator", nargs="*", default=[], help="a model's folder, or all files of an export")
    step.add_argument("--start", help="name of an export that the first stage begins with")
    step.add_argument("--occluded", help="name of encoder 2's export, for the local branch; W/exports has it else")
    step.add_argument("--portraits", help="a folder of real portraits, by the step of this name")
    step.add_argument("--heads", help="a folder of heads; without it some are drawn into W/heads")
    step.add_argument("--work", required=True)
    step.add_argument("--out", required=True)
    step.add_argument("--small", action="store_true", help="sizes of minutes on two cores")
    step.add_argument("--batch", type=int, default=0, help="0: the preset's")
    step.add_argument("--rate", type=float, default=0.0, help="learning rate; 0: the stage's own")
    step.add_argument("--identity", type=float, default=0.0, help="weight of the identity loss; 0: the preset's")
    step.add_argument("--tune", nargs="*", default=[], help="parts of the generator that learn in stage local")
    step.add_argument("--decay", type=int, nargs=2, default=(0, 0), help="step from which it falls, and over how many")
    step.add_argument("--steps", type=int, default=10_000_000, help="of each stage, earlier pieces' included")
    step.add_argument("--save-every", type=int, default=1000, help="steps between checkpoints and pictures")
    step.add_argument("--draw", type=float, default=0.0, help="seconds to draw heads in; 0: a third of the call")
    step.add_argument("--assets", help="of the heads")
    for field, default in (("identities", 4000), ("seed", 0), ("views", 20), ("size", 256), ("devices", 0)):
        step.add_argument(f"--{field}", type=int, default=default)
    step = steps.add_parser("portraits")
    step.add_argument("--aligned", required=True)
    step.add_argument("--out", required=True)
    step.add_argument("--size", type=int, default=256)
    options = parser.parse_args()
    if options.step == "all" and (unknown := {one.partition(":")[0] for one in options.stages} - set(STAGES)):
        parser.error(f"stages must be of {', '.join(STAGES)}, got {', '.join(sorted(unknown))}")
    return {"all": all_steps, "portraits": portraits}[options.step](options)


if __name__ == "__main__":
    sys.exit(main())
