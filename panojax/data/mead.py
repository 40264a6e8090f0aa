"""MEAD: several cameras film one person at once. A manifest says which frame of whom each picture is.

    manifest.csv    subject,camera,frame,path
                    M003,front,happy/level_1/001/0012,M003/front/happy/level_1/001/0012.png
                    M003,left_30,happy/level_1/001/0012,M003/left_30/happy/level_1/001/0012.png

`camera` is one of MEAD's names or a yaw in degrees; pictures of one subject and frame show the same moment. A JSON
manifest is a list of objects with the same four names, and `label` (25 numbers) where it is known. Paths are relative
to the manifest. MEAD's frames are wide: crop them first, as docs/data.md shows.
"""

import csv
import dataclasses
import functools
import io
import math
import pathlib
from typing import Any, Literal

import numpy as np

from panojax.camera import look_at
from panojax.camera_conventions import Convention
from panojax.data import checks, eg3d_folder, pictures, splits
from panojax.data.plan import Plan, fill_splits
from panojax.disk.reading import JSON_BYTES, read_bytes
from panojax.errors import InputError

COLUMNS = ("subject", "camera", "frame", "path")
# Nominal (yaw, elevation) of MEAD's cameras in degrees; the left ones' yaw has the sign that `left` says.
CAMERAS = {
    "front": (0.0, 0.0),
    "left_30": (30.0, 0.0),
    "left_60": (60.0, 0.0),
    "right_30": (-30.0, 0.0),
    "right_60": (-60.0, 0.0),
    "top": (0.0, 30.0),
    "down": (0.0, -30.0),
}


@dataclasses.dataclass(frozen=True)
class MeadOptions:
    """A manifest of pictures by subject, camera and frame, and how to store them."""

    source: pathlib.Path
    """The manifest, CSV or JSON, or a folder that holds manifest.csv."""
    name: str = "mead"
    """What the prepared set is called."""
    labels: pathlib.Path | None = None
    """A dataset.json with labels by path, as `panojax align` writes it. Without labels, cameras are nominal."""
    left: Literal["positive", "negative"] = "positive"
    """Sign of the yaw of left_30 and left_60. Where yaw is positive, the nose points to the picture's left."""
    masks: pathlib.Path | None = None
    """A folder of masks, laid out as the pictures are."""
    size: int = 256
    """Side of the stored pictures, in pixels."""
    encoding: pictures.Encoding = "png"
    """"png" keeps every pixel; "jpeg" (quality 95) takes a third of the space."""
    test_share: float = 1.0
    """Share of subjects in the test split, chosen by a hash of their names. The field only evaluates on MEAD."""
    split_seed: int = 0
    """Another seed, another choice."""
    camera_convention: Convention = "opencv"
    """What labels are converted from, see `eg3d-folder`."""


def plan(options: MeadOptions) -> Plan:
    """Checks the manifest and its pictures; an InputError tells all that is wrong with them.

    All pictures of a subject are in one split.
    """
    checks.check_storage(options.size, options.encoding)
    rule = splits.SplitRule(options.test_share, options.split_seed)
    manifest = pathlib.Path(options.source)
    manifest = manifest / "manifest.csv" if manifest.is_dir() else manifest
    problems: list[str] = []
    rows = read_manifest(manifest, problems)
    labels = {}
    if options.labels:
        labels = checks.read_labels(pathlib.Path(options.labels), problems, convention=options.camera_convention)
    items = []
    for row in rows:
        label = _label(row, labels, options, problems)
        fields = {"subject": row["subject"], "view": row["camera"], "frame": row["frame"]}
        item = eg3d_folder.make_item(row["path"], manifest.parent, options.masks, label, problems, **fields)
        items.append((splits.split_of(row["subject"], rule), item))
    problems += eg3d_folder.check_items([item for _, item in items], options.size)
    checks.refuse("source", problems)
    return Plan(
        splits=fill_splits(items),
        records=functools.partial(eg3d_folder.records, size=options.size, encoding=options.encoding),
        features=("image", *(("mask",) if options.masks else ()), "camera", "name", "subject", "view", "frame"),
        size=options.size,
        encoding=options.encoding,
        description=f"{options.name}: frames of MEAD by subject, camera and frame",
    )


def read_manifest(path: pathlib.Path, problems: list[str]) -> list[dict[str, Any]]:
    """Rows with `COLUMNS` as text, and `label` where there is one; bad rows go to `problems`.

    Raises:
      InputError: there is no manifest, or it has not these columns.
    """
    if path.suffix.lower() == ".json":
        rows = checks.read_json(path, "source")
        if not isinstance(rows, list):
            raise InputError(f"source must be a list of objects with {', '.join(COLUMNS)}, got {str(rows)[:60]}")
    else:
        try:
            text = read_bytes(path, limit=JSON_BYTES).decode()
            reader = csv.DictReader(io.StringIO(text, newline=""))
            rows, header = list(reader), reader.fieldnames or ()
        except (InputError, UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"source must be a manifest, CSV or JSON, got {path}: {error}") from None
        if missing := [name for name in COLUMNS if name not in header]:
            raise InputError(f"source must have the columns {', '.join(COLUMNS)}, {path} lacks {', '.join(missing)}")
    good, seen = [], set()
    for number, row in enumerate(rows, 1):
        values = {name: str(row.get(name) or "") for name in COLUMNS} if isinstance(row, dict) else {}
        if not all(values.values()) or not values:
            problems.append(f"row {number} must have {', '.join(COLUMNS)}, got {str(row)[:80]}")
        elif not checks.is_inside(values["path"]):
            problems.append(f"row {number}: {values['path']} leads out of the manifest's folder")
        elif values["path"] in seen:
            problems.append(f"row {number}: {values['path']} is there twice")
        else:
            seen.add(values["path"])
            good.append(values | {"label": row.get("label")})
    return good


def nominal_label(camera: str, left: str) -> np.ndarray | None:
    """Label [25] of one of MEAD's cameras, or of a yaw in degrees; None for anything else."""
    if camera in CAMERAS:
        yaw, elevation = CAMERAS[camera]
        yaw = -yaw if left == "negative" and camera.startswith(("left", "right")) else yaw
    else:
        try:
            yaw, elevation = float(camera), 0.0
        except ValueError:
            return None
        if not math.isfinite(yaw):
            return None
    pitch = -math.pi / 2 * math.sin(math.radians(elevation))  # EG3D's pitch, see panojax.camera
    return np.asarray(look_at(math.radians(yaw), pitch))


def _label(row: dict[str, Any], labels: dict, options: MeadOptions, problems: list[str]) -> np.ndarray:
    if row["label"] is not None:
        return checks.checked_label(row["path"], row["label"], problems, convention=options.camera_convention)
    if options.labels:
        if row["path"] not in labels:
            problems.append(f"{row['path']} has no label in {options.labels}")
        return labels.get(row["path"], np.zeros(25, np.float32))
    label = nominal_label(row["camera"], options.left)
    if label is None:
        problems.append(f"{row['path']}: camera must be one of {', '.join(CAMERAS)} or degrees, got {row['camera']!r}")
        return np.zeros(25, np.float32)
    return label
