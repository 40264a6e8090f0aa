"""What a run writes down besides its checkpoints: numbers as JSON lines and for TensorBoard, and pictures."""

import json
import math
import pathlib
import sys
import time
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from panojax.disk.staging import replaced_when_done
from panojax.files.image_file import write_image
from panojax.generators.generator import Head, render_heads
from panojax.nn.stylegan2 import pool
from panojax.train.encoder.state import Frozen


class Log:
    """Appends numbers to `log.jsonl` in a folder, and to TensorBoard's files where the package is installed.

    Attributes:
      folder: made where there is none.
      step: lines after this step are dropped: a run that resumes from it writes them again.
    """

    def __init__(self, folder: pathlib.Path, *, step: int = 0):
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "log.jsonl"
        kept = [line for line in _lines(self._path) if line["step"] <= step]
        with replaced_when_done(self._path, overwrite=True) as partial:
            partial.write_text("".join(json.dumps(line) + "\n" for line in kept))
        self._board = _tensorboard(folder / "tensorboard")

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """One line {"step": step, name: number, ...}; NaN and infinity become null."""
        finite = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
        with self._path.open("a") as file:
            file.write(json.dumps({"step": step, **finite}) + "\n")
        if self._board is not None:
            for name, value in numbers.items():
                self._board.add_scalar(name, value, step)
            self._board.flush()


def read_log(folder: str | pathlib.Path) -> list[dict[str, Any]]:
    """The lines of a folder's `log.jsonl`, or of such a file; one that a kill has cut off is left out."""
    path = pathlib.Path(folder)
    return _lines(path if path.is_file() else path / "log.jsonl")


class Averages:
    """Running means of a step's metrics that stay on the device until they are read."""

    def __init__(self) -> None:
        self._total: dict[str, Any] | None = None

    def add(self, metrics: Mapping[str, jax.Array]) -> None:
        """Counts one step in."""
        self._total = _first(dict(metrics)) if self._total is None else _merge(self._total, dict(metrics))

    def read(self) -> dict[str, float]:
        """The means since the last call. Waits for the device."""
        total, self._total = self._total, None
        if total is None:
            return {}
        return {name: float(mean) for name, mean in jax.device_get(_means(total)).items()}


class Progress:
    """Lines for people on stderr: step, loss, pictures a second, time left."""

    def __init__(self, step: int, steps: int, batch: int):
        self._steps, self._batch = steps, batch
        self._step, self._time = step, time.monotonic()

    def line(self, step: int, numbers: Mapping[str, float]) -> dict[str, float]:
        """Prints a line, and gives {"images_per_second"} since the last one."""
        now = time.monotonic()
        rate = (step - self._step) / max(now - self._time, 1e-9)
        self._step, self._time = step, now
        left = time.strftime("%H:%M:%S", time.gmtime((self._steps - step) / max(rate, 1e-9) % 86400))
        days = int((self._steps - step) / max(rate, 1e-9) // 86400)
        shown = "  ".join(f"{name} {numbers[name]:.4g}" for name in numbers if "/" not in name or name == "critic/loss")
        print(
            f"step {step}/{self._steps}  {shown}  {rate * self._batch:.1f} images/s  "
            f"{f'{days} days ' if days else ''}{left} left",
            file=sys.stderr,
            flush=True,
        )
        return {"images_per_second": rate * self._batch}


def picture_sheet(frozen: Frozen, image: jax.Array, rows: list[Head], labels: jax.Array, *, side: int) -> jax.Array:
    """One picture of a batch: for each portrait a row a head, the portrait first, then the head from each camera.

    Args:
      image: portraits [N, S, S, 3].
      rows: heads, each with N heads.
      labels: cameras [V, 25].
      side: of each picture.

    Returns:
      [N * len(rows) * side, (1 + V) * side, 3] in [-1, 1].
    """
    model = frozen.config.generator
    n, views = image.shape[0], labels.shape[0]

    def seen(heads, label):
        labels = jnp.broadcast_to(label, (n, 25))
        return pool(render_heads(model, frozen.generator, heads, labels).image, side)

    columns = [jax.lax.map(lambda label, heads=heads: seen(heads, label), labels) for heads in rows]  # [V, N, s, s, 3]
    portrait = jnp.broadcast_to(pool(image, side)[:, None, None], (n, len(rows), 1, side, side, 3))
    grid = jnp.moveaxis(jnp.stack(columns), (0, 1, 2), (1, 2, 0))  # [N, rows, V, s, s, 3]
    grid = jnp.concatenate([portrait, grid], axis=2)
    return grid.transpose(0, 1, 3, 2, 4, 5).reshape(n * len(rows) * side, (1 + views) * side, 3)


def write_sheet(path: pathlib.Path, sheet: jax.Array) -> None:
    """Writes a picture in [-1, 1] (clipped; NaN is black)."""
    write_image(path, np.nan_to_num(np.asarray(sheet), nan=-1.0), overwrite=True)


@struct.dataclass
class _Average:
    """Stands in for clu's average of scalars where clu is not installed."""

    total: jax.Array
    count: jax.Array

    @classmethod
    def from_model_output(cls, value):
        return cls(jnp.asarray(value, jnp.float32), jnp.int32(1))

    def merge(self, other):
        return _Average(self.total + other.total, self.count + other.count)

    def compute(self):
        return self.total / self.count


def _average():
    try:
        from clu.metrics import Average
    except ImportError:
        return _Average
    return Average


@jax.jit
def _first(metrics):
    average = _average()
    return {name: average.from_model_output(value) for name, value in metrics.items()}


@jax.jit
def _merge(total, metrics):
    return {name: total[name].merge(new) for name, new in _first(metrics).items()}


@jax.jit
def _means(total):
    return {name: average.compute() for name, average in total.items()}


def _lines(path: pathlib.Path) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    # What a kill or a loss of power left of a line is passed over.
    for text in path.read_text(errors="replace").splitlines() if path.exists() else []:
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(line, dict) and isinstance(line.get("step"), int):
            lines.append(line)
    return lines


def _tensorboard(folder):
    try:
        from tensorboard.summary import Writer
    except ImportError:
        return None
    return Writer(str(folder))
