"""What a set's module hands to `prepare`: checked items, and how to make records from each."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from panojax.data.pictures import Encoding
from panojax.errors import InputError

# Fields of a record and how they are stored. `depth` is in steps: its plan's metadata has "depth_steps" per world unit.
FEATURES = {
    "image": "picture",
    "mask": "grey",
    "parts": "grey",
    "depth": "grey16",
    "camera": "label",
    "name": "text",
    "subject": "text",
    "view": "text",
    "frame": "text",
    "identity": "number",
}

Record = tuple[str, dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Plan:
    """A set in which nothing is wrong any more.

    Attributes:
      splits: items by split, none empty.
      records: the (key, record)s of an item; a picklable function, for Beam's workers.
      features: fields of a record, names in `FEATURES`.
      size: side of the stored pictures.
      encoding: of `image`; the other pictures are PNGs.
      description: for dataset_info.json.
      metadata: for metadata.json.
      told: what to say of the set in one line, or nothing.
    """

    splits: Mapping[str, Sequence[Any]]
    records: Callable[[Any], Iterator[Record]]
    features: tuple[str, ...]
    size: int
    encoding: Encoding
    description: str
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    told: str = ""


def fill_splits(items: Sequence[tuple[str, Any]]) -> dict[str, list[Any]]:
    """Items by split, from (split, item) pairs. InputError if there is none."""
    if not items:
        raise InputError("source must hold at least one picture, got none")
    splits: dict[str, list[Any]] = {}
    for split, item in items:
        splits.setdefault(split, []).append(item)
    return splits
