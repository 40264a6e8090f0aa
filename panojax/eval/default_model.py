"""The page of the default model.

    python -m panojax.eval.default_model --heads HEADS --out docs

Writes figures beside `default_model.md` and what that page tells of them. A figure that shows this model already is
left as it is, so the command goes on where it was stopped.
"""

import dataclasses
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import tyro
from PIL import Image

from panojax.commands.arguments import load_model, parse_seeds
from panojax.commands.cli import keep_compiled_programs
from panojax.commands.portrait import ASTRONAUT
from panojax.disk.staging import replaced_when_done
from panojax.errors import InputError
from panojax.eval import gallery
from panojax.eval.figures import write_animation, write_curves, write_jpeg
from panojax.eval.records import digest, weights_digest
from panojax.eval.samples import heads_samples
from panojax.files.checkpoint import DEFAULT, checkpoint_folder
from panojax.files.packed import is_packed, read_manifest
from panojax.params import Params, count
from panojax.photo.folder import list_photos, photo_digest
from panojax.terminal.process import check_platforms, run_process
from panojax.train.logs import read_log

PAGE = "default_model.md"
START = "<!-- python -m panojax.eval.default_model writes from here on: edits are lost -->"
END = "<!-- up to here -->"
MAX_BYTES = 400_000
MAX_TURNING_BYTES = 1_900_000
TURNING = "turning_heads.webp"
"""Opens the README."""
ANGLES = (30, 60, 90, 135, 180)
BINS = 120
"""Points of a training curve: means over stretches of the same length."""
TABLES = ("reconstruction.md", "true_views.md")
STAGES = ("generator", "e1", "e2")
"""Of training, each with its curves."""

Line = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class PageConfig:
    """What the page shows."""

    out: pathlib.Path
    """Folder of the page, docs."""
    checkpoint: str = DEFAULT
    """The model."""
    heads: pathlib.Path | None = None
    """Folder of `panojax heads`, whose test heads are inverted; none leaves them out."""
    portraits: tuple[str, ...] = ()
    """Photos, or folders of them: heads of the first are shown; none leaves them out."""
    part: Literal["held-out", "training", "all"] = "held-out"
    """Which of the portraits, by a hash of their content: those that `panojax align --part training` leaves out."""
    logs: tuple[pathlib.Path, ...] = ()
    """Logs of the pieces of training, in their order: runs' folders or .jsonl files; none keeps the curves."""
    results: pathlib.Path | None = None
    """Folder of `python -m panojax.eval heads`, for its tables."""
    seeds: str = "0-31"
    """Samples."""
    inversions: int = 8
    """Test heads."""
    failures: int = 4
    """Test heads again: those that are inverted worst."""
    portraits_shown: int = 24
    """Of the portraits; the first two turn beside the astronaut."""


def make_page(config: PageConfig) -> list[pathlib.Path]:
    """Draws what is missing and writes the page; the figures.

    Raises:
      InputError: there is no such model, or an option is of no use.
    """
    for name in ("inversions", "failures", "portraits_shown"):
        if getattr(config, name) < 1:
            raise InputError(f"{name} must be at least 1, got {getattr(config, name)}")
    seeds = parse_seeds(config.seeds)
    tables = _tables(config.results)
    photos = _photos(config)
    lines = [read_log(path) for path in config.logs]
    if empty := [str(path) for path, found in zip(config.logs, lines) if not found]:
        raise InputError(f"logs must hold lines of a training, got none in {', '.join(empty)}")
    params = load_model(config.checkpoint, {})
    pictures: dict[str, tuple[str, Callable[[], np.ndarray]]] = {
        "samples": (
            f"Seeds {config.seeds} from eight sides, truncated to psi 0.7; none was chosen.",
            lambda: gallery.samples_sheet(params, seeds),
        ),
        "truncation": (
            f"The first {len(seeds[:6])} seeds from the mean head, psi 0, to their own, psi 1.",
            lambda: gallery.truncation_sheet(params, seeds[:6], (0, 0.2, 0.4, 0.6, 0.8, 1)),
        ),
        "interpolation": (
            "Between the first and the last seed: style codes on the line between theirs; yaws 0, 45 and 180.",
            lambda: gallery.interpolation_sheet(params, seeds[0], seeds[-1], (0, 0.17, 0.33, 0.5, 0.67, 0.83, 1)),
        ),
    }
    if params.config.encoder is not None:
        if config.heads is not None:
            found = heads_samples(config.heads, split="test", angles=ANGLES)
            first, count = found[: config.inversions], min(config.failures, len(found))
            pictures["inversions"] = (
                f"Portraits of the first {len(first)} test heads inverted: true views above, the dual encoder's below.",
                lambda: gallery.inversion_sheet(params, first),
            )
            pictures["failures"] = (
                f"The {count} of {len(found)} test heads whose inversions differ most from the portraits (L2).",
                lambda: gallery.inversion_sheet(params, gallery.worst_inverted(params, found, count)),
            )
        pictures["astronaut"] = (
            "`panojax invert astronaut`: Eileen Collins, NASA, in the public domain, as scikit-image has her.",
            lambda: gallery.astronaut_sheet(params),
        )
        if photos:
            pictures["portraits"] = (
                f"The first {len(photos)} of the {config.part} portraits, as they come.",
                lambda: gallery.portraits_sheet(params, photos),
            )
    mark = digest(str(params.config), weights_digest(params.generator), weights_digest(params.encoders))
    parts, files = _facts(checkpoint_folder(config.checkpoint), params), []
    for name, (caption, draw) in pictures.items():
        path = config.out / f"default_model_{name}.jpg"
        shown = [photo_digest(photo) for photo in photos] if name == "portraits" else []
        comment = f"{name} {digest(mark, config.seeds, caption, str(config.heads), *shown)}"
        if _comment(path) != comment:
            write_jpeg(path, draw(), max_bytes=MAX_BYTES, comment=comment)
        files.append(path)
        parts += [f"## {name.capitalize()}", f"![{name}]({path.name})", caption]
    if photos and params.config.encoder is not None:
        files.append(_draw_turning(config.out / TURNING, params, [ASTRONAUT, *photos[:2]], mark))
        parts += ["## Turning", f"![turning]({TURNING})", "The astronaut, and the first of the portraits."]
    draw_curves(config.out, lines)
    curves = [path for path in (config.out / f"default_model_{name}.svg" for name in STAGES) if path.exists()]
    if curves:
        parts += ["## Training", *(f"![{path.stem}]({path.name})" for path in curves)]
    if tables:
        parts += ["## Figures", *tables]
    _write_page(config.out / PAGE, parts)
    return files + curves


def draw_curves(out: pathlib.Path, pieces: Sequence[Sequence[Line]]) -> None:
    """Curves of the logs' pieces: of the generator over thousands of pictures, of each encoder over its steps."""
    generator = [line for piece in pieces for line in piece if "kimg" in line]
    kimg = sorted(generator, key=lambda line: float(line["kimg"]))
    stages = (
        ("kimg", "thousands of pictures", kimg, ("generator", "discriminator", "real_sign")),
        ("step", "steps", _joined(pieces, critic=False), ("l2", "lpips", "id")),
        ("step", "steps", _joined(pieces, critic=True), ("l2", "lpips", "id", "critic/loss")),
    )
    for name, (along, axis, lines, measures) in zip(STAGES, stages):
        if len(lines) < 2:
            continue
        x, curves = binned(lines, along, measures)
        path = out / f"default_model_{name}.svg"
        ticks = np.linspace(x[0], x[-1], 6).round().tolist()
        write_curves(path, f"Training: {name}", x, curves, axis=axis, ticks=ticks)


def binned(lines: Sequence[Line], along: str, measures: Sequence[str]) -> tuple[list[float], dict[str, list[float]]]:
    """Means of the measures over up to `BINS` stretches of as many lines each, and the places' means; absent is NaN."""
    stretches = [part for part in np.array_split(np.arange(len(lines)), BINS) if len(part)]

    def mean(name: str, part: np.ndarray) -> float:
        values = [float(lines[i][name]) for i in part if lines[i].get(name) is not None]
        return float(np.mean(values)) if values else float("nan")

    x = [mean(along, part) for part in stretches]
    curves = {name: [mean(name, part) for part in stretches] for name in measures}
    return x, {name: ys for name, ys in curves.items() if not np.isnan(ys).all()}


def _joined(pieces: Sequence[Sequence[Line]], *, critic: bool) -> list[Line]:
    """Lines of an encoder's pieces; the steps of one that began anew are counted on."""
    joined: list[Line] = []
    for piece in pieces:
        own = [line for line in piece if "l2" in line and ("critic/loss" in line) == critic]
        before = int(joined[-1]["step"]) if joined and own and own[0]["step"] <= joined[-1]["step"] else 0
        joined += [{**line, "step": line["step"] + before} for line in own]
    return joined


def _facts(folder: pathlib.Path, params: Params) -> list[str]:
    """A table of the model's networks: size and training."""
    about = read_manifest(folder)["about"] if is_packed(folder) else {}
    parts = {"generator": params.generator["params"]}
    if params.encoders is not None:
        parts["encoders, both"] = params.encoders["both"]
    trained = ", ".join(f"{name} {value:g} {unit}" for name, row in about.items() for unit, value in row.items())
    model = params.config.generator
    rows = [f"| {name} | {count(tree) / 1e6:.2f} million parameters |" for name, tree in parts.items()]
    rows.append(f"| pictures | {model.image_resolution} px, rendered at {model.rendering_resolution} |")
    planes, *cells = model.field.cells
    rows.append(f"| tri-grid | {planes} planes of {' x '.join(map(str, reversed(cells)))} |")
    if is_packed(folder):
        rows.append(f"| files | {sum(size for size, _ in read_manifest(folder)['files'].values()) / 1e6:.1f} MB |")
    if trained:
        rows.append(f"| trained | {trained} |")
    return ["\n".join(["| | |", "|---|---|", *rows])]


def _tables(results: pathlib.Path | None) -> list[str]:
    if results is None:
        return []
    try:
        return [(results / name).read_text().strip() for name in TABLES]
    except OSError as error:
        raise InputError(
            f"results must be a folder of `python -m panojax.eval heads`, got {results}: {error}"
        ) from None


def _photos(config: PageConfig) -> list[str]:
    """The portraits that are shown."""
    if not config.portraits:
        return []
    try:
        return list_photos(config.portraits, config.part)[: config.portraits_shown]
    except InputError as error:
        raise InputError(f"portraits must be photos or folders of them: {error}") from None


def _draw_turning(path: pathlib.Path, params: Params, photos: Sequence[str], mark: str) -> pathlib.Path:
    """The animation of the photos' heads, unless it is there."""
    comment = f"turning {digest(mark, *map(photo_digest, photos[1:]))}"
    if _comment(path) != comment:
        frames = gallery.turning_frames(params, photos)
        write_animation(path, frames, max_bytes=MAX_TURNING_BYTES, comment=comment)
    return path


def _comment(path: pathlib.Path) -> str | None:
    """What a figure that is there says of what it shows."""
    try:
        with Image.open(path) as image:
            comment = image.info.get("comment") or image.info.get("xmp", b"")
    except OSError:
        return None
    return comment.decode(errors="replace") if isinstance(comment, bytes) else str(comment)


def _write_page(path: pathlib.Path, parts: Sequence[str]) -> None:
    """Puts the parts between the page's marks, or at its end where it has none."""
    page = path.read_text() if path.exists() else "# The default model\n"
    before, _, rest = page.partition(START)
    _, _, after = rest.partition(END)
    text = "\n\n".join([before.rstrip(), START, *parts, END])
    with replaced_when_done(path, overwrite=True) as partial:
        partial.write_text(text + "\n" + (f"\n{after.lstrip()}" if after.strip() else ""))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 2 for input that cannot be used."""

    def body() -> None:
        config = tyro.cli(PageConfig, args=arguments, prog="python -m panojax.eval.default_model", description=__doc__)
        check_platforms()
        keep_compiled_programs()
        files = make_page(config)
        print(f"{config.out / PAGE}: {', '.join(path.name for path in files)}")

    return run_process(body, "")


if __name__ == "__main__":
    sys.exit(main())
