"""Results on disk, one file a job, so that a run that was killed goes on where it stopped.

OUT/settings.json               what the numbers depend on; a run with other settings refuses to add to them
OUT/records/SET/STEP/NAME.npz   the arrays of one job, written whole or not at all
"""

import hashlib
import json
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import jax
import numpy as np
from tqdm import tqdm

from panojax.devices.dealing import deal
from panojax.disk.reading import read_bytes, read_json
from panojax.disk.staging import check_writable, replaced_when_done
from panojax.errors import InputError
from panojax.files.array_file import read_npz

Record = dict[str, np.ndarray]
Work = TypeVar("Work")
SETTINGS = "settings.json"
MAX_RECORD = 2**32  # bytes


def claim(folder: pathlib.Path, settings: Mapping[str, Any]) -> None:
    """Makes a folder the home of results with these settings.

    Raises:
      InputError: it holds results with others, or something else, or cannot be written.
    """
    path = folder / SETTINGS
    settings = json.loads(json.dumps(settings))
    try:
        if path.is_file():
            there = read_json(path)
            if different := sorted(k for k in there.keys() | settings.keys() if there.get(k) != settings.get(k)):
                told = ", ".join(f"{k} {there.get(k)!r:.60} there, {settings.get(k)!r:.60} asked" for k in different)
                raise InputError(f"out must be new or hold results of the same settings, got {folder} with {told}")
            return
        check_writable(folder)
        if folder.exists() and (not folder.is_dir() or any(p.name[0] != "." for p in folder.iterdir())):
            raise InputError(f"out must be a new or empty folder, or one of an earlier run, got {folder}")
        with replaced_when_done(path) as partial:
            partial.write_text(json.dumps(settings, indent=1) + "\n")
    except (OSError, ValueError) as error:
        if isinstance(error, InputError) and not str(error).startswith("path"):
            raise
        raise InputError(f"out must be a folder that can be written, got {str(folder)!r}: {error}") from error


class Records(Generic[Work]):
    """The records of one step of one set."""

    def __init__(self, folder: pathlib.Path, jobs: Mapping[str, Work]):
        self._jobs = jobs
        self._paths = {name: folder / f"{file_name(name)}.npz" for name in jobs}

    def missing(self) -> list[str]:
        """Names of the jobs that have no record yet."""
        return [name for name, path in self._paths.items() if not path.exists()]

    def fill(self, workers: Sequence[Callable[[Work], Record]], *, label: str, shard: tuple[int, int] = (0, 1)) -> None:
        """Does the missing jobs, those of this shard alone, dealt to the workers as they become free.

        Args:
          workers: one a device; each is called by one thread at a time.
          label: of the progress bar.
          shard: (this one's index, how many): jobs are dealt in turn.
        """
        index, count = shard
        missing = set(self.missing())
        own = [name for i, name in enumerate(self._paths) if i % count == index]
        todo = [name for name in own if name in missing]

        def writer(worker: Callable[[Work], Record]) -> Callable[[str], None]:
            return lambda name: write_record(self._paths[name], worker(self._jobs[name]))

        with tqdm(total=len(own), initial=len(own) - len(todo), desc=label, unit="sample", disable=None) as bar:
            deal(todo, [writer(worker) for worker in workers], bar.update)

    def read(self, name: str) -> Record:
        """The record of a job.

        Raises:
          InputError: there is none, or it is damaged.
        """
        path = self._paths[name]
        try:
            return read_npz(read_bytes(path, limit=MAX_RECORD), limit=MAX_RECORD, kinds="fiubU")
        except InputError as error:
            raise InputError(f"out must hold whole records, {path} cannot be read ({error}): delete it") from error

    def read_all(self) -> list[Record]:
        """All records, in the jobs' order."""
        return [self.read(name) for name in self._paths]


def write_record(path: pathlib.Path, record: Record) -> None:
    """Writes a record under a temporary name and renames it."""
    with replaced_when_done(path, overwrite=True) as partial, open(partial, "wb") as file:
        np.savez(file, allow_pickle=False, **record)


def file_name(name: str) -> str:
    """A sample's name as a file's; names that differ stay different."""
    plain = re.sub(r"[^A-Za-z0-9.-]+", "_", name)
    return plain if plain == name and len(name) < 100 else f"{plain[-80:]}_{digest(name)[:8]}"


def digest(*parts: str) -> str:
    """SHA-256 (hex) of texts."""
    total = hashlib.sha256()
    for part in parts:
        total.update(f"{len(part)}:{part}".encode())
    return total.hexdigest()


def weights_digest(tree: Any) -> str:
    """SHA-256 (hex) of a pytree's names, shapes and numbers."""
    total = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.ascontiguousarray(leaf)
        total.update(f"{jax.tree_util.keystr(path)} {array.shape} {array.dtype}".encode())
        total.update(array.tobytes())
    return total.hexdigest()
