"""Does one recognise the person? Heads of real photos, by an identity network that no training saw.

    python -m panojax.eval.likeness photos --out likeness --part held-out

For each photo: the distance of dlib's embeddings between the photo and its head's pictures from the photo's own
camera, the front, and 30 degrees to either side; and the colour difference (CIE76) between the hair that the photo's
camera sees and the hair behind. Medians go to likeness.md and likeness.json, a line a photo to photos.jsonl: a run that
was stopped goes on. `--sheet` adds pictures of the people, which are theirs: look at them, and do not pass them on.
"""

import dataclasses
import json
import math
import pathlib
import sys
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import jax
import numpy as np
import tyro
from PIL import Image

import panojax
from panojax.camera import look_at
from panojax.commands.arguments import load_model
from panojax.commands.cli import keep_compiled_programs
from panojax.disk.staging import replaced_when_done
from panojax.editing.parts import PARTS, segment
from panojax.errors import InputError
from panojax.eval.held_out_identity import SAME_PERSON, HeldOutIdentity, distance
from panojax.eval.records import claim
from panojax.export.turntable import render_views
from panojax.files.checksums import array_sums, json_sum
from panojax.files.image_file import read_image
from panojax.files.output import contact_sheet, to_uint8
from panojax.params import Params
from panojax.photo.folder import list_photos, photo_digest
from panojax.terminal.bars import bar
from panojax.terminal.process import check_platforms, run_process

VIEWS = {"own camera": None, "front": 0.0, "+30": 30.0, "-30": -30.0}
"""Names of the views and their yaws in degrees."""
LEAST_HAIR = 0.01
"""Share of a picture that must be hair, in front and behind, for its colours to be compared."""
SURE = 0.8


@dataclasses.dataclass(frozen=True)
class Options:
    """Measure how much of a person a model keeps, on photos that it was not trained on.

    For example:

        python -m panojax.eval.likeness photos --out likeness --part held-out
    """

    photos: Annotated[tuple[pathlib.Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PHOTO [PHOTO ...]")]
    """Pictures, or folders of pictures, as they come."""
    out: pathlib.Path
    """Folder for figures: a new one, or that of a run to go on with."""
    checkpoint: str = "default"
    """The model."""
    part: Literal["held-out", "training", "all"] = "held-out"
    """Which photos: the sixth that `panojax align --part training` leaves out, by a hash of their content."""
    limit: int | None = None
    """Take only so many."""
    sheet: bool = False
    """Also write a sheet: each photo beside its head."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Compute type of the model."""


def measure(options: Options) -> dict[str, Any]:
    """Measures all photos that are not yet in the folder; the medians.

    Raises:
      InputError: no photo, no package, no encoders, or the folder holds other results.
    """
    photos = [pathlib.Path(photo) for photo in list_photos(options.photos, options.part)][: options.limit]
    identity = HeldOutIdentity()
    params = load_model(options.checkpoint, {}, dtype=options.dtype)
    if params.config.encoder is None:
        raise InputError(f"checkpoint must hold encoders, {options.checkpoint} has none")
    weights = json_sum(array_sums({"generator": params.generator, "encoders": params.encoders}))
    claim(options.out, {"weights": weights, "dtype": options.dtype, "views": list(VIEWS)})
    records = options.out / "photos.jsonl"
    known = {line["photo"]: line for line in map(json.loads, _lines(records))}
    invert, lines, sheet = jax.jit(panojax.invert), [], []
    for photo in bar(photos, desc="likeness", unit="photo", leave=True):
        digest = photo_digest(photo)
        if digest not in known or options.sheet:
            line, pictures = measure_photo(params, identity, invert, photo)
            known[digest] = {"photo": digest, **line}
            sheet.append(pictures)
            with replaced_when_done(records, overwrite=True) as partial:
                partial.write_text("".join(json.dumps(line) + "\n" for line in known.values()))
        lines.append(known[digest])
    figures = {"model": options.checkpoint, "part": options.part, **summary(lines)}
    with replaced_when_done(options.out / "likeness.json", overwrite=True) as partial:
        partial.write_text(json.dumps(figures, indent=1) + "\n")
    with replaced_when_done(options.out / "likeness.md", overwrite=True) as partial:
        partial.write_text(table(figures))
    if options.sheet:
        write_sheet(options.out / "sheet.jpg", [row for row in sheet if row])
    return figures


def write_sheet(path: pathlib.Path, rows: Sequence[Sequence[np.ndarray]]) -> None:
    """A line for each photo that was not refused, of pictures uint8 [S, S, 3]."""
    if rows:
        titles = ["photo", *VIEWS, "behind"]
        pictures = [picture for row in rows for picture in row]
        image = contact_sheet(pictures, titles * len(rows), columns=len(titles), max_side=192)
        with replaced_when_done(path, overwrite=True) as partial:
            Image.fromarray(to_uint8(image)).save(partial, "JPEG", quality=90)


def _lines(path: pathlib.Path) -> list[str]:
    return path.read_text().splitlines() if path.is_file() else []


def measure_photo(
    params: Params, identity: HeldOutIdentity, invert: Any, photo: pathlib.Path
) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Figures of one photo, and its pictures: the crop, the head from `VIEWS`, and from behind."""
    reference = identity(to_uint8(read_image(photo, max_side=1024)[0]))
    try:
        aligned = panojax.align(params, photo)
    except InputError as error:
        return {"refused": str(error)}, []
    head = invert(params, np.asarray(aligned.image, np.float32), aligned.camera)
    labels = [aligned.camera if yaw is None else _label(params, yaw) for yaw in VIEWS.values()]
    views = list(render_views(params, head, np.stack([*labels, _label(params, 180.0)])))
    pictures = [to_uint8(view) for view in views]
    distances = {name: distance(reference, identity(view)) for name, view in zip(VIEWS, pictures)}
    yaw = aligned.report.yaw
    line = {"yaw": yaw, "reference": reference is not None, "distances": distances, "hair": hair_difference(views)}
    return line, [to_uint8(np.asarray(aligned.image)), *pictures]


def _label(params: Params, yaw: float) -> np.ndarray:
    return np.asarray(look_at(math.radians(yaw), 0.0, radius=params.config.generator.camera_radius))


def hair_difference(views: Sequence[np.ndarray]) -> float:
    """CIE76 between the median colours of hair in the first and last views [S, S, 3]; NaN where one has hardly any."""
    from skimage.color import rgb2lab

    colours = []
    for view in (views[0], views[-1]):
        hair = segment(view)[..., PARTS.index("hair")] > SURE
        if hair.mean() < LEAST_HAIR:
            return math.nan
        colours.append(np.median(rgb2lab(np.clip(np.asarray(view, np.float64)[hair] / 2 + 0.5, 0, 1)), axis=0))
    return float(np.linalg.norm(colours[0] - colours[1]))


def summary(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Medians over the photos whose own face dlib finds, and in how many of their views it finds one."""
    used = [line for line in lines if line.get("reference")]
    views = {}
    for name in VIEWS:
        found = np.array([line["distances"][name] for line in used], float)
        seen = found[np.isfinite(found)]
        views[name] = {
            "median": float(np.median(seen)) if len(seen) else math.nan,
            "same_person": float(np.mean(seen < SAME_PERSON)) if len(seen) else math.nan,
            "faces_found": float(np.isfinite(found).mean()) if len(found) else math.nan,
        }
    hair = np.array([line["hair"] for line in used], float)
    hair = hair[np.isfinite(hair)]
    return {
        "photos": len(lines),
        "refused": sum("refused" in line for line in lines),
        "without_face": sum(line.get("reference") is False for line in lines),
        "views": views,
        "hair": {"heads": len(hair), "median": float(np.median(hair)) if len(hair) else math.nan},
    }


def table(figures: dict[str, Any]) -> str:
    """The figures as Markdown."""
    rows = [
        f"| {name} | {view['median']:.3f} | {view['same_person']:.0%} | {view['faces_found']:.0%} |"
        for name, view in figures["views"].items()
    ]
    return "\n".join(
        [
            f"{figures['model']}: {figures['photos']} photos ({figures['part']}), {figures['refused']} refused, "
            f"{figures['without_face']} in which dlib finds no face.",
            "",
            f"| view | dlib's distance, median | under {SAME_PERSON} | faces found |",
            "|---|---|---|---|",
            *rows,
            "",
            f"Hair in front against hair behind, {figures['hair']['heads']} heads: "
            f"CIE76 {figures['hair']['median']:.1f} (median).",
            "",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; the exit code."""

    def run() -> None:
        options = tyro.cli(Options, args=arguments, prog="python -m panojax.eval.likeness")
        check_platforms()
        keep_compiled_programs()
        print(table(measure(options)), end="")

    return run_process(run, "")


if __name__ == "__main__":
    sys.exit(main())
