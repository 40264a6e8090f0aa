"""Reads sets that `python -m panojax.data` prepared."""

import functools
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from panojax.data import pictures
from panojax.data.reader import Reader
from panojax.errors import InputError
from panojax.extras import need

PICTURES = ("image", "mask", "depth", "parts")


WHOSE = ("identity", "subject", "frame")  # fields that tell whose head a picture shows, and at which moment


class RecordSet(Reader):
    """A split of a prepared set, from `open_set`."""

    def __init__(self, folder: str, split: str):
        self.folder, self.split, self.part = folder, split, split

    @property
    def fields(self) -> tuple[str, ...]:  # type: ignore[override]
        """Names of what records hold."""
        return tuple(sorted(self._info.features))

    @property
    def backgrounds(self) -> bool:  # type: ignore[override]
        """Synthetic heads have nothing behind them."""
        return "identity" not in self._info.features

    @property
    def cameras(self) -> np.ndarray:
        return self._labels[0]

    @property
    def heads(self) -> np.ndarray:
        return self._labels[1]

    @functools.cached_property
    def _labels(self) -> tuple[np.ndarray, np.ndarray]:
        """Cameras and whose heads they see. No picture is decoded: thousands a second."""
        whose = [name for name in WHOSE if name in self._info.features]
        records = [self.sample(row, ("camera", *whose)) for row in range(len(self))]
        cameras = np.array([record["camera"] for record in records], np.float32).reshape(-1, 25)
        names = [" ".join(str(record[name]) for name in whose) for record in records] if whose else range(len(self))
        return cameras, np.unique(np.array(names), return_inverse=True)[1]

    @functools.cached_property
    def _info(self) -> Any:
        return _builder(self.folder).info

    @functools.cached_property
    def _depth_steps(self) -> float:
        return float((self._info.metadata or {}).get("depth_steps", 1))

    @functools.cached_property
    def _records(self) -> Any:
        tfds = need("tensorflow_datasets", "reading a prepared set")
        skip = {name: tfds.decode.SkipDecoding() for name in PICTURES if name in self._info.features}
        return _builder(self.folder).as_data_source(self.split, decoders=skip)

    def __len__(self) -> int:
        return len(self._records)

    def sample(self, row: int, fields: Sequence[str]) -> dict[str, Any]:
        """These fields of a record: pictures decoded, texts as `str`, the others as they are. Others cost nothing."""
        record = self._records[row]
        return {name: self._value(name, record[name]) for name in fields}

    def _value(self, name: str, value: Any) -> Any:
        if name == "depth":
            return pictures.decode(value) * np.float32(1 / self._depth_steps)
        if name in PICTURES:
            return pictures.decode(value)
        return value.decode() if isinstance(value, bytes) else value

    def __repr__(self) -> str:
        split = self._info.splits[self.split]
        return f"{self._info.full_name}:{self.split} ({split.num_examples} records, {int(split.num_bytes)} bytes)"

    def __getstate__(self) -> dict[str, str]:
        return {"folder": self.folder, "split": self.split}  # open files stay behind

    def __setstate__(self, state: dict[str, str]) -> None:
        self.__init__(**state)  # type: ignore[misc]


def open_set(folder: str | pathlib.Path, split: str = "train") -> RecordSet:
    """Opens a split of a prepared set.

    Args:
      folder: what `prepare` returned, or a folder that holds exactly one prepared set.
      split: "train", "validation" or "test".

    Raises:
      InputError: there is no set, or no such split.
    """
    found = sorted(path.parent for path in pathlib.Path(folder).rglob("dataset_info.json"))
    if len(found) != 1:
        names = ", ".join(str(path) for path in found[:3]) or "none"
        raise InputError(f"folder must hold exactly one prepared set, got {len(found)} in {folder}: {names}")
    splits = _builder(str(found[0])).info.splits
    if split not in splits:
        raise InputError(f"split must be one of {', '.join(sorted(splits))}, got {split!r}")
    return RecordSet(str(found[0]), split)


def is_prepared(folder: str | pathlib.Path) -> bool:
    """Whether a folder holds sets that `python -m panojax.data` wrote."""
    folder = pathlib.Path(folder)
    return not (folder / "dataset.json").exists() and any(folder.rglob("dataset_info.json"))


def _builder(folder: str) -> Any:
    return need("tensorflow_datasets", "reading a prepared set").builder_from_directory(folder)
