"""Writes a checked set as TFDS array_record files, in this process or by Apache Beam. Nothing here needs TensorFlow.

Each set's module gives a `Plan`: what to write, every problem already ruled out. The builders are ordinary TFDS ones,
so that `tfds.builder_from_directory(folder)` reads what they wrote.
"""

import collections
import concurrent.futures
import contextlib
import dataclasses
import os
import pathlib
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import logging

from panojax.data import eg3d_folder, heads_set, mead
from panojax.data.plan import FEATURES, Plan, Record
from panojax.errors import InputError
from panojax.files.locks import alone_in
from panojax.files.staging import check_writable

Options = eg3d_folder.FolderOptions | heads_set.HeadsOptions | mead.MeadOptions


@dataclasses.dataclass(eq=False)
class SetConfig(tfds.core.BuilderConfig):
    """A TFDS configuration that carries the plan."""

    plan: Plan | None = dataclasses.field(default=None, repr=False)
    beam: bool = False


class _SetBuilder(tfds.core.GeneratorBasedBuilder):
    """Writes the records of `builder_config.plan`."""

    VERSION = tfds.core.Version("1.0.0")
    # TFDS's own way to find this needs the package importlib_resources, which it does not ask for.
    code_path = pathlib.Path(__file__)

    def _info(self) -> tfds.core.DatasetInfo:
        plan = self.builder_config.plan
        return tfds.core.DatasetInfo(
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
            return make_records(records, items)
        import apache_beam

        return apache_beam.Create(items) | apache_beam.FlatMap(records)


class Heads(_SetBuilder):
    """Synthetic heads, see `heads_set`."""


class Eg3dFolder(_SetBuilder):
    """A folder with EG3D's dataset.json, see `eg3d_folder`."""


class Mead(_SetBuilder):
    """Frames of MEAD by a manifest, see `mead`."""


def prepare(options: Options, out: str | os.PathLike, *, beam: Sequence[str] | None = None) -> pathlib.Path:
    """Checks a set's folder and writes it under `out`.

    Args:
      options: the set, where it lies and how to store it.
      out: a folder for prepared sets; this one goes to OUT/<kind>/<options.name>/1.0.0.
      beam: None writes in this process. Otherwise the options of an Apache Beam pipeline, such as
        ("runner=DirectRunner", "direct_num_workers=8"); it needs the package apache-beam.

    Returns:
      The folder that was written. It appears under its name when it is whole.

    Raises:
      InputError: all problems of the set at once, before anything is written; a set of that name is there already.
    """
    builder_class, make_plan = _kind(options)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", options.name):
        raise InputError(f"name must be letters, digits, '_', '-' and '.', got {options.name!r}")
    out = pathlib.Path(out)
    target = out / builder_class.name / options.name / str(builder_class.VERSION)
    check_writable(out)
    if target.exists():
        raise InputError(f"out must not hold this set yet, got {target}: remove it or give another name")
    settings = tfds.download.DownloadConfig(try_download_gcs=False)
    if beam is not None:
        settings = dataclasses.replace(settings, beam_options=_beam_options(beam))
    config = SetConfig(name=options.name, plan=make_plan(options), beam=beam is not None)
    # TFDS wants a folder for downloads, though there are none.
    with alone_in(out), _quiet(), tempfile.TemporaryDirectory() as downloads:
        builder = builder_class(data_dir=out, config=config, file_format="array_record")
        builder.download_and_prepare(download_config=settings, download_dir=downloads)
    return target


def make_records(records: Callable[[Any], Iterator[Record]], items: Sequence[Any]) -> Iterator[Record]:
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


@contextlib.contextmanager
def _quiet():
    """TFDS's messages go to stderr, since stdout is for results; its warnings of custom configurations go nowhere."""
    before = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        logging.set_verbosity(before)


def _kind(options: Options) -> tuple[type[_SetBuilder], Callable[[Any], Plan]]:
    match options:
        case heads_set.HeadsOptions():
            return Heads, heads_set.plan
        case eg3d_folder.FolderOptions():
            return Eg3dFolder, eg3d_folder.plan
        case mead.MeadOptions():
            return Mead, mead.plan
    raise InputError(f"options must be HeadsOptions, FolderOptions or MeadOptions, got {type(options).__name__}")


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


def _beam_options(arguments: Sequence[str]):
    try:
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError:
        raise InputError("beam needs the package apache-beam, it is not installed") from None
    return PipelineOptions([f"--{argument.removeprefix('--')}" for argument in arguments])
