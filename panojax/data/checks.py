"""Checks that find everything wrong with a set before a byte of it is written, and say it in one line."""

import concurrent.futures
import os
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from panojax.camera_conventions import check_camera
from panojax.data import pictures
from panojax.disk import reading
from panojax.errors import InputError, check_choice
from panojax.terminal.bars import bar

SHOWN = 10  # problems that a message names; the rest are counted
SIZES = 16, 4096


def refuse(argument: str, problems: Sequence[str]) -> None:
    """Raises InputError that names the first `SHOWN` problems and counts the others; nothing if there are none."""
    if problems:
        more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise InputError(f"{argument} must be free of errors, got {count}: {'; '.join(problems[:SHOWN])}{more}")


def check_storage(size: int, encoding: str) -> None:
    """InputError for a picture size or an encoding that no set is stored in."""
    check_choice("encoding", encoding, ("png", "jpeg"))
    if not SIZES[0] <= size <= SIZES[1]:
        raise InputError(f"size must lie in {SIZES[0]}..{SIZES[1]} pixels, got {size}")


def read_json(path: pathlib.Path, argument: str) -> Any:
    """The contents of a JSON file; InputError that names `argument` if there is none."""
    try:
        return reading.read_json(path)
    except InputError as error:
        if "nothing there" in str(error):
            raise InputError(f"{argument} must be there, got no file {path}") from None
        raise InputError(f"{argument} must be a JSON file, got {path}: {error}") from None


def read_labels(path: pathlib.Path, problems: list[str], *, convention: str = "opencv") -> dict[str, np.ndarray]:
    """Labels float32 [25] by picture from EG3D's `dataset.json`; what is wrong with entries goes to `problems`.

    Raises:
      InputError: the file is not {"labels": [[name, numbers], ...]}.
    """
    content = read_json(path, "dataset.json")
    rows = content.get("labels") if isinstance(content, dict) else None
    if not isinstance(rows, list):
        raise InputError(f'dataset.json must be {{"labels": [[name, [25 numbers]], ...]}}, got {str(content)[:60]}')
    labels: dict[str, np.ndarray] = {}
    for row in rows:
        if not (isinstance(row, list) and len(row) == 2 and isinstance(row[0], str)):
            problems.append(f"entry {str(row)[:60]} is not [name, numbers]")
        elif not is_inside(row[0]):
            problems.append(f"{row[0]} leads out of the folder")
        elif row[0] in labels:
            problems.append(f"{row[0]} has two labels")
        else:
            labels[row[0]] = checked_label(row[0], row[1], problems, convention=convention, folder=path.parent)
    return labels


def checked_label(
    name: str, numbers: Any, problems: list[str], *, convention: str = "opencv", folder: pathlib.Path | None = None
) -> np.ndarray:
    """The label float32 [25] of a picture; zeros and an entry in `problems` if it is none.

    Where it is converted, the picture in `folder` says its side in pixels.
    """
    try:
        side = None if convention == "opencv" or folder is None else pictures.picture_side(folder / name)
        return check_camera(numbers, f"the label of {name}", convention=convention, side=side)
    except InputError as error:
        problems.append(str(error))
        return np.zeros(25, np.float32)


def is_inside(name: str) -> bool:
    """Whether a relative name stays in its folder."""
    path = pathlib.PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and path.name != ""


def picture_problems(
    paths: Sequence[pathlib.Path], masks: Iterable[pathlib.Path], size: int, *, progress: bool = True
) -> list[str]:
    """Problems of pictures and masks, each decoded once by as many threads as there are cores."""
    jobs = [(path, False) for path in paths] + [(path, True) for path in masks]

    def problem(job: tuple[pathlib.Path, bool]) -> str | None:
        return pictures.picture_problem(job[0], size, mask=job[1])

    return _run_jobs(problem, jobs, progress)


def _run_jobs(function: Callable[[Any], str | None], jobs: Sequence[Any], progress: bool) -> list[str]:
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = bar(pool.map(function, jobs), desc="checking", total=len(jobs), unit="file", hidden=not progress)
        return [result for result in results if result is not None]
