"""From the strings of a command line to seeds, cameras and models."""

import math
import os
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from panojax.camera import front, look_at
from panojax.camera_conventions import check_camera
from panojax.disk.reading import read_json
from panojax.errors import InputError
from panojax.files.checkpoint import load
from panojax.generators.generator_config import GeneratorConfig
from panojax.params import Params
from panojax.terminal.progress import step

MAX_SEEDS = 10_000
MAX_VIEWS = 1_000
FRONT = "front"


def load_model(checkpoint: str, seconds: dict[str, float], *, dtype: str = "float32") -> Params:
    """`panojax.load` as a step of the command."""
    with step("loading the model", seconds):
        return load(checkpoint, dtype=dtype)


def load_heads(
    paths: Sequence[pathlib.Path], checkpoint: str | None, seconds: dict[str, float], *, dtype: str = "float32"
) -> tuple[Params, list[Any]]:
    """The heads in files and the model that made them all: by default the one that the first file names."""
    from panojax.files.checkpoint import DEFAULT
    from panojax.files.head_file import load_head, own_checkpoint

    paths = [head_file(path) for path in paths]
    model = checkpoint or str(own_checkpoint(paths[0]) or DEFAULT)
    params = load_model(model, seconds, dtype=dtype)
    return params, [load_head(path, params) for path in paths]


def head_file(path: str | os.PathLike) -> pathlib.Path:
    """The head's file at a path; in a folder that `panojax invert` wrote, its head.npz.

    Raises:
      InputError: there is nothing, or a folder without a head or with several.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        if (path / "head.npz").is_file():
            return path / "head.npz"
        found = sorted(entry.name for entry in path.glob("*.npz"))
        if len(found) != 1:
            some = ", ".join(found[:5]) or "none"
            raise InputError(f"head must be a head's file (.npz) or a folder with one, got {str(path)!r} with {some}")
        return path / found[0]
    if not path.exists():
        raise InputError(f"head must be a head's file (.npz), got {str(path)!r}: nothing there")
    return path


def parse_seeds(text: str) -> tuple[int, ...]:
    """The numbers in "0-3,7": 0, 1, 2, 3, 7."""
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,10})\s*(?:-\s*(\d{1,10})\s*)?", part, re.ASCII)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last or last >= 2**32:
            raise InputError(f"seeds must be numbers below 2**32 and rising ranges such as 0-3,7, got {text!r:.80}")
        if len(seeds) + last - first >= MAX_SEEDS:
            raise InputError(f"seeds must name at most {MAX_SEEDS} heads, got {text!r:.80}")
        seeds.extend(range(first, last + 1))
    return tuple(dict.fromkeys(seeds))


def view_grid(yaws: Sequence[float], pitches: Sequence[float], config: GeneratorConfig) -> tuple[list[str], np.ndarray]:
    """Names and labels [N, 25] of the cameras at all pitches and yaws, in degrees."""
    count = len(yaws) * len(pitches)
    if not 0 < count <= MAX_VIEWS:
        raise InputError(f"yaw and pitch must give 1 to {MAX_VIEWS} views, got {count}")
    for name, angles, limit in (("yaw", yaws, 360), ("pitch", pitches, 89)):
        if not all(math.isfinite(angle) and abs(angle) <= limit for angle in angles):
            raise InputError(f"{name} must lie within {limit} degrees, got {', '.join(map(str, angles))}")
    pairs = [(yaw, pitch) for pitch in dict.fromkeys(pitches) for yaw in dict.fromkeys(yaws)]
    angles = np.radians(np.array(pairs))
    labels = look_at(angles[:, 0], angles[:, 1], radius=config.camera_radius)
    return [f"yaw{yaw:+04g}_pitch{pitch:+03g}" for yaw, pitch in pairs], np.asarray(labels)


def turn(n: int, pitch: float, config: GeneratorConfig) -> tuple[list[str], np.ndarray]:
    """Titles such as "30°" and labels [n, 25] of a full turn at a pitch in degrees."""
    if not 1 <= n <= MAX_VIEWS:
        raise InputError(f"frames must be 1 to {MAX_VIEWS} views of a turn, got {n}")
    yaws = [360 * i / n for i in range(n)]
    _, labels = view_grid(yaws, (pitch,), config)
    return [f"{yaw:.0f}°" for yaw in yaws], labels


def read_camera(text: str, picture: str, *, convention: str = "opencv", side: int | None = None) -> np.ndarray:
    """A camera label float32 [25] from what the user gave.

    Args:
      text: "front"; 25 numbers with commas or spaces between; or a .json file with 25 numbers, with a "label" of them,
        or EG3D's dataset.json, in which `picture` is looked up by its name.
      picture: the picture's path.
      convention, side: what the label is converted from, and the picture's side, see `camera_conventions.check_camera`.

    Raises:
      InputError: it is none of these, the picture has no label there, or the label is no camera that sees the head.
    """
    if text == FRONT:
        return np.asarray(front())
    values = [part for part in re.split(r"[,\s]+", text.strip(" \t\n[]")) if part]
    if len(values) > 1 and all(_is_number(value) for value in values):
        return check_camera([float(value) for value in values], convention=convention, side=side)
    path = pathlib.Path(text)
    try:
        data = read_json(path)
    except InputError as error:
        raise InputError(
            f"camera must be {FRONT!r}, 25 numbers or a .json file with a label, got {text[:80]!r}: {error}"
        ) from error
    label = _find_label(data, picture, text)
    return check_camera(label, f"the camera in {text}", convention=convention, side=side)


def _find_label(data: Any, picture: str, source: str) -> Any:
    """The label of a picture in what a .json file holds."""
    if isinstance(data, dict) and "label" in data:
        return data["label"]
    if isinstance(data, list):
        return data
    rows = data.get("labels") if isinstance(data, dict) else None
    rows = list(rows.items()) if isinstance(rows, dict) else rows
    if not isinstance(rows, list) or not all(
        isinstance(row, list | tuple) and len(row) == 2 and isinstance(row[0], str) for row in rows
    ):
        raise InputError(f'{source} must hold 25 numbers or "labels": [[name, label], ...], got neither')
    parts = pathlib.Path(os.path.abspath(picture)).parts
    fitting = [row for row in rows if _ends_with(parts, pathlib.PurePosixPath(row[0]).parts)]
    # Names may have folders in front: the one that agrees with most of the picture's path is meant.
    longest = max((len(pathlib.PurePosixPath(row[0]).parts) for row in fitting), default=0)
    best = [row[1] for row in fitting if len(pathlib.PurePosixPath(row[0]).parts) == longest]
    if not best:
        best = [row[1] for row in rows if pathlib.PurePosixPath(row[0]).name == parts[-1]]
    if len(best) != 1:
        some = ", ".join(row[0] for row in rows[:3]) or "nothing"
        raise InputError(
            f"{source} must hold one label of {parts[-1]}, got {len(best)} of it; it has {len(rows)}: {some[:200]}, ..."
        )
    return best[0]


def _ends_with(parts: tuple[str, ...], end: tuple[str, ...]) -> bool:
    return bool(end) and parts[-len(end) :] == end


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
