"""`panojax invert` of a folder or several photos: a head of each, dealt to the devices as they become free."""

import pathlib
import re
import threading
from collections.abc import Callable, Sequence
from typing import Any

from panojax.commands.invert import Model, Options, invert_photo, load, request
from panojax.disk.locks import alone_in, contents
from panojax.disk.reading import read_json
from panojax.disk.staging import check_writable
from panojax.errors import InputError, OutputError
from panojax.terminal.progress import counted, note, quietly

# What `invert_photo` writes, the report aside.
FILES = re.compile(r"(input|reconstruction|sheet)\.png|turntable\.(mp4|webp)|mesh\.\w+|head\.npz|tuned_model")


def invert_folder(options: Options) -> None:
    """Inverts the photos that have no head yet in `options.out`, or all with --overwrite.

    A head whose photo has changed since, or that other options made, is made anew, and what is left of the old one
    removed. What is said of folders whose photo is gone stays with the user.

    Raises:
      InputError: there is no photo, or none could be inverted.
    """
    import jax

    from panojax.devices.dealing import deal
    from panojax.photo.folder import list_photos
    from panojax.terminal.bars import bar

    check_writable(options.out)
    if options.out.exists() and not options.out.is_dir():
        raise InputError(f"out must be a folder, got the file {str(options.out)!r}")
    photos = list(dict.fromkeys(list_photos(options.photo)))
    jobs = {photo: options.out / name for photo, name in zip(photos, folder_names(photos))}
    old = {photo: read_report(folder) for photo, folder in jobs.items()}
    made = {photo for photo in photos if is_current(old[photo], options, photo) and _is_whole(old[photo], jobs[photo])}
    todo = [photo for photo in photos if options.overwrite or photo not in made]
    if anew := [photo for photo in todo if old[photo] is not None and not options.overwrite]:
        changed = f"{counted(len(anew), 'photo')} or the options changed since"
        note(f"{changed}, made anew: {_some(anew)}")
    if gone := _others(options.out, set(jobs.values())):
        note(f"{options.out} also holds heads whose photos are not in {', '.join(options.photo[:3])}: {_some(gone)}")
    failed: dict[str, str] = {}
    warned: dict[str, list[str]] = {}

    def workers_on(device: Any, model: Model) -> list[Callable[[str], None]]:
        own = Model(jax.device_put(model.params, device), jax.device_put(model.perception, device))

        first, compiled = threading.Lock(), threading.Event()

        def invert(photo: str) -> None:
            with jax.default_device(device):
                try:
                    warned[photo] = _invert(photo, options, own, jobs[photo], old[photo])
                except OutputError:
                    raise  # no photo is to blame
                except InputError as error:
                    failed[photo] = str(error)

        def work(photo: str) -> None:
            with first:  # what the first head compiles serves the others
                if not compiled.is_set():
                    invert(photo)
                    if photo not in failed:
                        compiled.set()
                    return
            invert(photo)

        return [work] * (options.workers or (2 if options.method == "encoders" else 1))

    if todo:
        with alone_in(options.out):
            model = load(options, {})
            workers = [worker for device in jax.local_devices() for worker in workers_on(device, model)]
            done = len(jobs) - len(todo)
            with bar(total=len(jobs), initial=done, desc="invert", unit="photo", leave=True) as shown:
                deal(todo, workers, shown.update)
    for photo in photos:
        if photo in failed:
            note(f"{photo} was left out: {failed[photo]}")
        elif warned.get(photo):
            note(f"{photo}: {'; '.join(warned[photo])}")
    if len(failed) == len(jobs):
        raise InputError(f"photo must be a folder of portraits, none of {len(failed)} could be inverted")
    print(f"{options.out}: {counted(len(jobs) - len(failed), 'head')}, {len(failed)} left out")


def _invert(photo: str, options: Options, model: Model, folder: pathlib.Path, old: dict[str, Any] | None) -> list[str]:
    """Inverts one photo into its folder; what its alignment warns of."""
    from panojax.disk.staging import output_folder

    overwrite = options.overwrite or old is not None or _half_made(folder)
    with quietly(), output_folder(folder, overwrite=overwrite) as work:
        report = invert_photo(photo, options, model, work, {})
    for name in set((old or {}).get("files", ())) - set(report["files"]):
        if pathlib.PurePath(name).name == name and (folder / name).is_file():
            (folder / name).unlink()
    return list((report["alignment"] or {}).get("warnings", ()))


def _is_whole(report: dict[str, Any] | None, folder: pathlib.Path) -> bool:
    """Whether all files that a report lists are there."""
    files = (report or {}).get("files")
    return isinstance(files, list) and all(isinstance(name, str) and (folder / name).exists() for name in files)


def _half_made(folder: pathlib.Path) -> bool:
    """Whether a folder holds files of ours alone, without the report that is the last of them: a kill left it."""
    names = {path.name for path in contents(folder)} if folder.is_dir() else set()
    return bool(names) and "report.json" not in names and all(map(FILES.fullmatch, names))


def folder_names(photos: Sequence[str]) -> list[str]:
    """Folders' names, all different: the photos' without suffixes; with them, then with a number, where that is taken.

    File systems that do not tell "A" from "a" are thought of.
    """
    names: dict[str, str] = {}
    stems = [pathlib.Path(photo).stem for photo in photos]
    taken: set[str] = set()
    once = [stem for stem in stems if [other.casefold() for other in stems].count(stem.casefold()) == 1]
    for photo in sorted(photos, key=lambda photo: (pathlib.Path(photo).stem not in once, photo)):
        path = pathlib.Path(photo)
        wanted = [path.stem] if path.stem in once else []
        wanted += [path.name, *(f"{path.name}_{n}" for n in range(2, len(photos) + 2))]
        names[photo] = next(name for name in wanted if name.casefold() not in taken)
        taken.add(names[photo].casefold())
    return [names[photo] for photo in photos]


def read_report(folder: pathlib.Path) -> dict[str, Any] | None:
    """The report of a head that lies in a folder, or None where there is none."""
    try:
        report = read_json(folder / "report.json")
    except InputError:
        return None
    return report if isinstance(report, dict) else None


def is_current(report: dict[str, Any] | None, options: Options, photo: str) -> bool:
    """Whether a head was made of this photo as it is now, with these options."""
    return report is not None and report.get("request") == request(options, photo)


def _others(out: pathlib.Path, known: set[pathlib.Path]) -> list[str]:
    """Names of the folders with heads in `out` that are not among `known`."""
    if not out.is_dir():
        return []
    return sorted(folder.name for folder in out.iterdir() if folder not in known and (folder / "report.json").is_file())


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
