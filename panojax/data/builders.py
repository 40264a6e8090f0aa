"""TFDS builders that write a checked set's records. Importing this needs the package tensorflow-datasets."""

import collections
import concurrent.futures
import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from panojax.data.plan import FEATURES, Plan, Record
from panojax.terminal.bars import bar


@dataclasses.dataclass(eq=False)
class SetConfig(tfds.core.BuilderConfig):
    """A TFDS configuration that carries the plan."""

    plan: Plan | None = dataclasses.field(default=None, repr=False)
    beam: bool = False


class _Info(tfds.core.DatasetInfo):
    """What is known of a set before it is written: what its plan says."""

    def initialize_from_bucket(self) -> None:
        """Nothing: these sets are in no bucket, and TFDS would leave a temporary folder behind."""


class _SetBuilder(tfds.core.GeneratorBasedBuilder):
    """Writes the records of `builder_config.plan`."""

    VERSION = tfds.core.Version("1.0.0")
    # TFDS's own way to find this needs the package importlib_resources, which it does not ask for.
    code_path = pathlib.Path(__file__)

    def _info(self) -> tfds.core.DatasetInfo:
        plan = self.builder_config.plan
        return _Info(
            builder=self,
            description=plan.description,
            features=tfds.features.FeaturesDict({name: _feature(name, plan) for name in plan.features}),
            metadata=tfds.core.MetadataDict(plan.metadata),
        )

    def _split_generators(self, dl_manager):
        del dl_manager
        return {name: self._generate_examples(items) for name, items in self.builder_config.plan.splits.items()}

    def _generate_examples(self, items):
        records = self.builder_config.plan.records
        if not self.builder_config.beam:
            return make_records(records, bar(items, desc="writing", unit="item"))
        import apache_beam

        return apache_beam.Create(items) | apache_beam.FlatMap(records)


class Heads(_SetBuilder):
    """Synthetic heads, see `heads_set`."""


class Eg3dFolder(_SetBuilder):
    """A folder with EG3D's dataset.json, see `eg3d_folder`."""


class Mead(_SetBuilder):
    """Frames of MEAD by a manifest, see `mead`."""


def make_records(records: Callable[[Any], Iterator[Record]], items: Iterable[Any]) -> Iterator[Record]:
    """The records of all items, in order, made by as many threads as there are cores and few at a time."""
    threads = os.cpu_count() or 1
    waiting: collections.deque[concurrent.futures.Future[list[Record]]] = collections.deque()
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        for item in items:
            waiting.append(pool.submit(lambda item: list(records(item)), item))
            if len(waiting) > 2 * threads:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def _feature(name: str, plan: Plan):
    """The TFDS feature of a record's field."""
    kind = FEATURES[name]
    features, size = tfds.features, plan.size
    match kind:
        case "picture":
            return features.Image(shape=(size, size, 3), encoding_format=plan.encoding)
        case "grey":
            return features.Image(shape=(size, size, 1), encoding_format="png")
        case "grey16":
            return features.Image(shape=(size, size, 1), dtype=np.uint16, encoding_format="png")
        case "label":
            return features.Tensor(shape=(25,), dtype=np.float32)
        case "text":
            return features.Text()
    return features.Scalar(dtype=np.int64)
