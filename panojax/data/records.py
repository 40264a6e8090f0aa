"""Reads a prepared set by index.

A sample is {"image": uint8 [H, W, 3], "camera": float32 [25]} and, where the source has them, "mask" uint8 [H, W, 1]
and "depth" float32 [H, W, 1]: world units along the pixel's ray, 0 where nothing is seen.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from panojax.data import pictures
from panojax.errors import InputError
from panojax.extras import need

PICTURES = ("image", "mask", "depth", "parts")


class Source(Protocol):
    """Samples by index. `repr` tells which they are: a saved iterator is resumed only on sources of the same text."""

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of what a sample holds."""
        ...

    def __len__(self) -> int: ...

    def sample(self, index: int, fields: Sequence[str]) -> dict[str, np.ndarray]:
        """These fields of a sample; `index` is in 0..len - 1. Called by several threads at once."""
        ...


@dataclasses.dataclass(frozen=True, repr=False)
class RecordSet:
    """A split of a prepared set, from `open_set`."""

    folder: str
    split: str

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of what records hold."""
        return tuple(sorted(self._info.features))

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

    def sample(self, index: int, fields: Sequence[str]) -> dict[str, Any]:
        """These fields of a record: pictures decoded, texts as `str`, the others as they are. Others cost nothing."""
        record = self._records[index]
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
        self.__dict__.update(state)


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


def read_cameras(records: RecordSet) -> np.ndarray:
    """Labels float32 [n, 25] of a set, in the order of its records. No picture is decoded: thousands a second."""
    return np.array([records.sample(i, ("camera",))["camera"] for i in range(len(records))], np.float32).reshape(-1, 25)


def _builder(folder: str) -> Any:
    return need("tensorflow_datasets", "reading a prepared set").builder_from_directory(folder)
