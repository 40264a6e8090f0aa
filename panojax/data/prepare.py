"""Writes a checked set as TFDS array_record files, in this process or by Apache Beam. Nothing here needs TensorFlow.

Each set's module gives a `Plan`: what to write, every problem already ruled out. The builders are ordinary TFDS ones,
so that `tfds.builder_from_directory(folder)` reads what they wrote.
"""

import contextlib
import dataclasses
import os
import pathlib
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

from absl import logging

from panojax.data import eg3d_folder, heads_set, mead
from panojax.data.plan import Plan
from panojax.disk.locks import alone_in
from panojax.disk.staging import check_writable
from panojax.errors import InputError
from panojax.extras import need

Options = eg3d_folder.FolderOptions | heads_set.HeadsOptions | mead.MeadOptions


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
    tfds = need("tensorflow_datasets", "writing sets")
    from panojax.data import builders

    name, make_plan = _kind(options)
    builder_class = getattr(builders, name)
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
    plan = make_plan(options)
    if plan.told:
        print(plan.told, file=sys.stderr)
    config = builders.SetConfig(name=options.name, plan=plan, beam=beam is not None)
    # TFDS wants a folder for downloads, though there are none.
    with alone_in(out), _quiet(), tempfile.TemporaryDirectory() as downloads:
        builder = builder_class(data_dir=out, config=config, file_format="array_record")
        builder.download_and_prepare(download_config=settings, download_dir=downloads)
    return target


@contextlib.contextmanager
def _quiet():
    """TFDS says nothing: its bars and messages (of a download that there is none of) are for its own sets."""
    tfds = need("tensorflow_datasets", "writing sets")
    before = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    tfds.display_progress_bar(False)
    try:
        with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):
            yield
    finally:
        tfds.display_progress_bar(True)
        logging.set_verbosity(before)


def _kind(options: Options) -> tuple[str, Callable[[Any], Plan]]:
    """The name of a set's builder, and what plans it."""
    match options:
        case heads_set.HeadsOptions():
            return "Heads", heads_set.plan
        case eg3d_folder.FolderOptions():
            return "Eg3dFolder", eg3d_folder.plan
        case mead.MeadOptions():
            return "Mead", mead.plan
    raise InputError(f"options must be HeadsOptions, FolderOptions or MeadOptions, got {type(options).__name__}")


def _beam_options(arguments: Sequence[str]):
    pipeline_options = need("apache_beam.options.pipeline_options", "writing sets by Beam")
    return pipeline_options.PipelineOptions([f"--{argument.removeprefix('--')}" for argument in arguments])
