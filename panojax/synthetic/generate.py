"""Make a set of heads: many identities, each from many sides, by several processes that can be killed and started
again.
"""

import itertools
import multiprocessing
import os
import queue
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

from panojax.disk.locks import alone_in
from panojax.errors import InputError, check_choice
from panojax.synthetic import storage
from panojax.synthetic.assets import assets_digest, open_assets
from panojax.synthetic.cameras import Doubles, sample_cameras
from panojax.synthetic.editions import check_edition, draw_person, open_renderer
from panojax.synthetic.render import View
from panojax.synthetic.sampling import stream
from panojax.synthetic.splits import Split, split_of
from panojax.terminal.bars import bar

FORMAT_VERSION = 1
ALL = "all"
SIZES = 16, 2048
# Mesa's software GL and NumPy's matrix products work in the calling thread where there are several processes.
ONE_THREAD = {"LP_NUM_THREADS": "0", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
PATIENCE = 1.0  # seconds between looks at whether a silent process still lives

Done = Callable[[int], None]


def make_identity(
    renderer: Any, assets: Path, seed: int, number: int, views: int
) -> tuple[dict[str, Any], Doubles, list[View]]:
    """Parameters, labels (views, 25) and pictures of one identity: a function of the arguments and the assets.

    `renderer` (from editions.open_renderer) tells the edition.
    """
    parameters = draw_person(renderer, assets, seed, number)
    labels = sample_cameras(stream(seed, number, "cameras"), views)
    return parameters, labels, [renderer.view(label) for label in labels]


def missing_identities(out: Path, start: int, identities: int, split: str = ALL) -> list[int]:
    """Of the first `identities` numbers from `start` on that a split has, those that have no file yet."""
    numbers = (n for n in itertools.count(start) if split in (ALL, split_of(n)))
    return [n for n in itertools.islice(numbers, identities) if not storage.identity_path(out, n).is_file()]


def make_identities(
    numbers: list[int],
    *,
    assets: Path,
    seed: int,
    views: int,
    size: int,
    out: Path,
    device: int | None,
    edition: int,
    done: Done,
) -> None:
    """Make and store identities one after another in this process; `done(number)` after each."""
    renderer = open_renderer(edition, size, device=device)
    try:
        for number in numbers:
            identity, labels, pictures = make_identity(renderer, assets, seed, number, views)
            storage.write_identity(storage.identity_path(out, number), identity, labels, pictures)
            done(number)
    finally:
        renderer.close()


def _work(numbers: list[int], options: dict[str, Any], news: Any) -> None:
    parent = multiprocessing.parent_process()

    def done(number: int) -> None:
        if parent is not None and not parent.is_alive():
            raise SystemExit(1)  # the run was killed: leave the rest to the next one
        news.put(number)

    try:
        make_identities(numbers, done=done, **options)
    except InputError as error:
        news.put(error)


def _run_processes(
    numbers: list[int], processes: int, options: dict[str, Any], device_of: Callable[[int], int | None]
) -> Iterator[int]:
    """Numbers as they are finished by `processes` fresh processes, each with its own OpenGL context (on the EGL device
    that `device_of` its number) and one drawing thread.
    """
    context = multiprocessing.get_context("spawn")
    news = context.Queue()
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    for name, value in ONE_THREAD.items():
        os.environ.setdefault(name, value)
    try:
        workers = [
            context.Process(
                target=_work, args=(numbers[i::processes], options | {"device": device_of(i)}, news), daemon=True
            )
            for i in range(processes)
        ]
        for worker in workers:
            worker.start()
    finally:
        for name, there in before.items():
            if there is None:
                del os.environ[name]
    left = len(numbers)
    try:
        while left:
            try:
                item = news.get(timeout=PATIENCE)
            except queue.Empty:
                if crashed := [worker.exitcode for worker in workers if worker.exitcode]:
                    raise RuntimeError(f"a process that makes heads died with exit code {crashed[0]}") from None
                continue
            if isinstance(item, InputError):
                raise item
            left -= 1
            yield item
    finally:
        for worker in workers:
            if left:
                worker.terminate()
            worker.join()


def check_arguments(identities: int, views: int, size: int, seed: int, start: int, processes: int) -> None:
    """InputError for a number that makes no set."""
    low, high = SIZES
    for name, value, least in (
        ("identities", identities, 1),
        ("views", views, 1),
        ("seed", seed, 0),
        ("start", start, 0),
        ("processes", processes, 1),
    ):
        if value < least:
            raise InputError(f"{name} must be at least {least}, got {value}")
    if views > 999:
        raise InputError(f"views must be at most 999, got {views}")
    if not low <= size <= high:
        raise InputError(f"size must lie in {low}..{high} pixels, got {size}")


def generate_heads(
    identities: int,
    views: int,
    size: int,
    seed: int,
    out: str | Path,
    processes: int = 1,
    *,
    start: int = 0,
    assets: str | Path | None = None,
    device: int | None = None,
    devices: int = 0,
    edition: int = 2,
    split: str = ALL,
) -> Path:
    """Write identities `start` .. `start + identities - 1` of the family `seed` to the folder `out` (layout:
    storage.py); with a `split` ("train", "validation", "test") the first `identities` numbers from `start` on that
    belong to it.

    Every identity is seen from `views` cameras at `size` x `size` pixels. Files that are there are kept, so a killed
    run is finished by starting it again and a set is extended by asking for more. The bytes depend on seed, number,
    views, size, the assets and the OpenGL driver; not on `processes` or order. `assets`: folder made by
    assets.fetch_assets (None: the default one). `device`: EGL device index (None: EGL's choice);
    `devices`: with several processes, how many EGL devices they take turns on, from the first (0: `device`).
    `edition`: 2, or 1 for the first edition's heads. Raises InputError for arguments that make no set, for missing
    assets, and for an `out` that holds something else. Returns `out`.
    """
    check_arguments(identities, views, size, seed, start, processes)
    check_edition(edition)
    check_choice("split", split, (ALL, *get_args(Split)))
    folder, source = Path(out), open_assets(assets, edition)
    digest = assets_digest(source, edition)
    settings = {"version": FORMAT_VERSION, "seed": seed, "views": views, "size": size, "assets": digest}
    if edition > 1:  # sets of the first edition do not name it
        settings["edition"] = edition
    storage.claim_folder(folder, settings)
    with alone_in(folder):
        storage.write_bytes(folder / "NOTICE", (source / "NOTICE").read_bytes())
        for leftover in folder.glob(".*.tmp"):
            leftover.unlink()
        numbers = missing_identities(folder, start, identities, split)
        options = {"assets": source, "seed": seed, "views": views, "size": size, "out": folder, "device": device}
        options["edition"] = edition
        finished = (identities - len(numbers)) * views
        with bar(total=identities * views, initial=finished, desc="heads", unit="image", smoothing=0.1) as shown:
            if processes == 1 or len(numbers) < 2:
                if numbers:
                    make_identities(numbers, done=lambda _: shown.update(views), **options)  # type: ignore[arg-type]
            else:
                turns = _run_processes(
                    numbers, min(processes, len(numbers)), options, lambda i: i % devices if devices else device
                )
                for _ in turns:
                    shown.update(views)
        storage.write_index(folder)
    return folder
