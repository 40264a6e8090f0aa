"""The field's evaluation: `python -m panojax.eval PROTOCOL --data ... --out DIR`, see docs/evaluation.md."""

import dataclasses
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

import jax
import tyro

from panojax.commands.arguments import load_model
from panojax.commands.cli import keep_compiled_programs
from panojax.errors import InputError
from panojax.eval import report, samples
from panojax.eval.feature_networks import NetworkOptions, load_networks
from panojax.eval.figures import write_sheet
from panojax.eval.methods import OPTIMISATIONS, OptimisationOptions, parse_methods
from panojax.eval.panohead import GeneratorMeasuring, run_generator
from panojax.eval.reconstruction import Job, Measuring
from panojax.eval.records import Records
from panojax.eval.run import Run, run_inversion
from panojax.eval.samples import Sample
from panojax.eval.tables import Table
from panojax.losses.perception import Perception, load_perception
from panojax.terminal.process import check_platforms, run_process

DESCRIPTION = """The field's evaluation.

For example:

    python -m panojax.eval heads --data HEADS --methods dual,e1,e2 --out results
    python -m panojax.eval portraits --checkpoint model --data celeba=CELEBA:all --out results
"""
PARTS = ("validation", "train", "all")
UNFINISHED = "this shard is done; run any shard again when all are, to write the tables"


@dataclasses.dataclass(frozen=True)
class Common:
    """What every protocol asks for."""

    data: tuple[str, ...]
    """The pictures, see docs/evaluation.md: a folder, or for portraits [SET=]FOLDER[,FOLDER...][:PART] for each set."""
    out: pathlib.Path
    """Folder for tables, figures and records: a new one, or that of a run to continue."""
    checkpoint: str = "default"
    """The model: a folder that `panojax convert` or training wrote."""
    networks: NetworkOptions = dataclasses.field(default_factory=NetworkOptions)
    """What measures."""
    seed: int = 0
    """Of everything random."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Compute type of the model."""
    limit: int | None = None
    """Take only the first so many samples of each set."""
    devices: int | None = None
    """Share the samples between so many devices of this machine; None takes all."""
    shard: str = "0/1"
    """INDEX/COUNT: COUNT commands that share the folder `out` do a part each; the last one writes the tables."""


@dataclasses.dataclass(frozen=True)
class Inversion(Common):
    """What protocols that invert portraits ask for."""

    methods: str = "dual,e1,e2"
    """Of dual, dual-sample, e1, e2, psp, goae, wplus, pti; TITLE=METHOD@CHECKPOINT for another name or encoder."""
    optimisation: OptimisationOptions = dataclasses.field(default_factory=OptimisationOptions)
    """W+ optimisation and PTI."""
    size: int = 256
    """Side of the pictures that are compared."""
    distances: int = 1000
    """Samples that Frechet and kernel distances are taken of."""
    truncation: float = 1.0
    """Of the generator's samples, which they are compared with."""
    shown: int = 3
    """Samples in the figures."""
    cost: bool = True
    """Measure the time and memory of each method."""


@dataclasses.dataclass(frozen=True)
class Portraits(Inversion):
    """FFHQ + LPFF, CelebA-HQ: one picture a person. Same-view errors, and distances over 360 degrees (Table 1)."""

    part: Literal["validation", "train", "all"] = "validation"
    """Which photos: those that the encoders' training holds out, or all."""
    held_out: float = 0.1
    """Share of them that it holds out."""
    masks: str | None = None
    """A folder of masks inside each data folder; "." where they lie beside the pictures as mask*.png."""


@dataclasses.dataclass(frozen=True)
class Mead(Inversion):
    """MEAD: front portraits, compared with pictures from other cameras (Table 2). --data is the manifest."""

    labels: pathlib.Path | None = None
    """A dataset.json with estimated cameras; without it they are the nominal ones."""
    left: Literal["positive", "negative"] = "positive"
    """Sign of the yaw of left_30 and left_60."""
    masks: str | None = None
    """A folder of masks, laid out as the pictures are."""


@dataclasses.dataclass(frozen=True)
class Heads(Inversion):
    """Synthetic heads: the same as portraits, and errors against the true views, depths and masks by angle."""

    split: Literal["test", "validation", "train"] = "test"
    """Which heads."""
    angles: tuple[int, ...] = (30, 60, 90, 135, 180)
    """Degrees from the portrait that true views are grouped by."""
    tolerance: float = 10.0
    """Views farther than this from all of them are left out."""


@dataclasses.dataclass(frozen=True)
class PanoHead(Common):
    """PanoHead's figures of a generator: FID-all, -front and -back, IS, identity, mask error (its Tables 1 and 2)."""

    samples: int = 50_000
    """Heads that are drawn."""
    size: int = 512
    """Side of the pictures."""
    truncation: float = 1.0
    """Of the latents."""
    rendering: Literal["panohead", "own"] = "panohead"
    """As PanoHead's metrics do it: cameras adapted but for FID-back, random noise in the networks, bytes; or as this
    package renders elsewhere, under names of its own."""
    segmenter: str = "selfie"
    """Whose masks are true: "selfie" (MediaPipe's), the path of deeplabv3_resnet101_coco-586e9e4e.pth, or "none"."""
    masks: str | None = None
    """A folder of masks inside the data folder, where backgrounds are to be white."""
    split: Literal["test", "validation", "train"] = "train"
    """Of synthetic heads, where the folder holds such."""


Protocol = (
    Annotated[Portraits, tyro.conf.subcommand("portraits")]
    | Annotated[Mead, tyro.conf.subcommand("mead")]
    | Annotated[Heads, tyro.conf.subcommand("heads")]
    | Annotated[PanoHead, tyro.conf.subcommand("panohead")]
)


def evaluate(options: Any) -> dict[str, Any] | None:
    """Runs a protocol and writes its tables and figures; its results, or None while other shards are at work.

    Raises:
      InputError: names the option that cannot be used.
    """
    run = Run(options.out, _devices(options.devices), _shard(options.shard), getattr(options, "cost", True))
    if isinstance(options, PanoHead):
        return _panohead(options, run)
    methods = parse_methods(options.methods)
    sets = {name: _limited(found, options.limit) for name, found in _sets(options).items()}
    networks = load_networks(options.networks)
    params = load_model(options.checkpoint, {}, dtype=options.dtype)
    results = run_inversion(
        run,
        type(options).__name__.lower(),
        sets,
        methods,
        params,
        networks,
        perception=_perception(options.optimisation) if any(m.kind in OPTIMISATIONS for m in methods) else Perception(),
        measuring=Measuring(
            options.size,
            options.seed,
            isinstance(options, Mead),
            options.distances,
            options.truncation,
            options.shown,
        ),
        optimisation=options.optimisation,
        data=_own_options(options, Inversion),
    )
    if results is None:
        print(UNFINISHED)
        return None
    tables: Callable[[Mapping[str, Any]], list[Table]] = {
        Portraits: report.portrait_tables,
        Mead: report.mead_tables,
        Heads: report.heads_tables,
    }[type(options)]
    files = report.write_report(options.out, results, tables(results))
    if isinstance(options, Heads):
        report.write_heads_curves(options.out, results)
    for name, own in sets.items():
        first = {sample.name: Job(i, sample) for i, sample in enumerate(own[: options.shown])}
        records = {m.title: Records(options.out / "records" / name / m.folder / "samples", first) for m in methods}
        write_sheet(options.out / f"{name}.png", {title: found.read_all() for title, found in records.items()})
    print(f"{options.out}: {', '.join(files)} and figures")
    return results


def _panohead(options: PanoHead, run: Run) -> dict[str, Any] | None:
    (folder,) = _one_folder(options.data)
    if (folder / "settings.json").is_file() and (folder / "dataset.json").is_file():
        pictures: Sequence[Sample] = samples.heads_samples(folder, split=options.split, angles=range(10, 180, 20))
    else:
        pictures = samples.portrait_samples([folder], masks=options.masks, part="all")
    used = dataclasses.replace(options.networks, lpips="none", identity="none")
    networks = load_networks(used, segmenter=options.segmenter)
    params = load_model(options.checkpoint, {}, dtype=options.dtype)
    measuring = GeneratorMeasuring(options.samples, options.size, options.seed, options.truncation, options.rendering)
    reading = {"masks": options.masks, "split": options.split}
    results = run_generator(run, _limited(pictures, options.limit), params, networks, measuring, data=reading)
    if results is None:
        print(UNFINISHED)
        return None
    files = report.write_report(options.out, results, report.panohead_tables(results))
    print(f"{options.out}: {', '.join(files)}")
    return results


def _sets(options: Any) -> dict[str, Sequence[Sample]]:
    """The samples of each set."""
    if isinstance(options, Portraits):
        sets: dict[str, Sequence[Sample]] = {}
        for entry in options.data:
            name, _, folders = entry.rpartition("=")
            before, _, part = folders.rpartition(":")
            folders, part = (before, part) if part in PARTS else (folders, options.part)
            paths = [pathlib.Path(folder) for folder in folders.split(",")]
            name = name or paths[0].resolve().name
            if name in sets or not name.replace("_", "").replace("-", "").isalnum():
                raise InputError(f"data must name each set once, in letters and digits, got {name!r}")
            sets[name] = samples.portrait_samples(paths, masks=options.masks, part=part, held_out=options.held_out)
        return sets
    (source,) = _one_folder(options.data)
    if isinstance(options, Mead):
        found = samples.mead_samples(source, labels=options.labels, left=options.left, masks=options.masks)
        return {"mead": found}
    return {
        "heads": samples.heads_samples(source, split=options.split, angles=options.angles, tolerance=options.tolerance)
    }


def _own_options(options: Any, common: type) -> dict[str, str]:
    """What a protocol asks for besides the fields of `common`: how its samples are read."""
    names = {field.name for field in dataclasses.fields(options)} - {field.name for field in dataclasses.fields(common)}
    return {name: str(getattr(options, name)) for name in sorted(names)}


def _one_folder(data: Sequence[str]) -> list[pathlib.Path]:
    if len(data) != 1:
        raise InputError(f"data must be one folder for this protocol, got {len(data)}")
    return [pathlib.Path(data[0])]


def _limited(found: Sequence[Sample], limit: int | None) -> Sequence[Sample]:
    if limit is not None and limit < 1:
        raise InputError(f"limit must be at least 1, got {limit}")
    return found[:limit]


def _perception(options: OptimisationOptions) -> Perception:
    try:
        return load_perception(options.loss, "none")
    except InputError as error:
        raise InputError(f"optimisation.loss {options.loss!r} cannot be used: {error}") from error


def _devices(count: int | None) -> Sequence[Any]:
    devices = jax.local_devices()
    if count is not None and not 1 <= count <= len(devices):
        raise InputError(f"devices must be 1 to {len(devices)} here, got {count}")
    return devices[:count]


def _shard(text: str) -> tuple[int, int]:
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal()):
        raise InputError(f"shard must be INDEX/COUNT such as 0/4, got {text!r}")
    return int(index), int(count)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 2 for input that cannot be used."""

    def body() -> None:
        options = tyro.cli(
            Protocol,  # type: ignore[arg-type]
            args=arguments,
            prog="python -m panojax.eval",
            description=DESCRIPTION,
            config=(tyro.conf.OmitSubcommandPrefixes, tyro.conf.OmitArgPrefixes),
        )
        check_platforms()
        keep_compiled_programs()
        evaluate(options)

    return run_process(body, "")


if __name__ == "__main__":
    sys.exit(main())
