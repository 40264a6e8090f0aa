"""`panojax invert FOLDER`: a head of every photo, dealt to the devices as they become free."""

import collections
import dataclasses
import pathlib
import re
from collections.abc import Callable
from typing import Any

from panojax.commands.invert import Model, Options, invert_photo, load
from panojax.errors import InputError, OutputError
from panojax.files.locks import alone_in, contents
from panojax.files.staging import check_writable

# What `invert_photo` writes, the report aside.
FILES = re.compile(r"(input|reconstruction|sheet)\.png|turntable\.(mp4|webp)|mesh\.(ply|glb)|head\.npz|tuned_model")


def invert_folder(options: Options) -> None:
    """Inverts the photos whose folders in `options.out` have no report yet, or all with --overwrite.

    Raises:
      InputError: there is no photo, or none could be inverted.
    """
    import jax
    from tqdm import tqdm

    from panojax.commands.progress import note
    from panojax.devices.dealing import deal
    from panojax.photo.folder import list_photos

    check_writable(options.out)
    if options.out.exists() and not options.out.is_dir():
        raise InputError(f"out must be a folder, got the file {str(options.out)!r}")
    photos = list_photos([options.photo])
    jobs = {photo: options.out / name for photo, name in zip(photos, _names(photos))}
    todo = [photo for photo, folder in jobs.items() if options.overwrite or not (folder / "report.json").is_file()]
    failed: dict[str, str] = {}
    warned: dict[str, list[str]] = {}

    def worker(model: Model, device: Any) -> Callable[[str], None]:
        own = Model(jax.device_put(model.params, device), jax.device_put(model.perception, device))

        def work(photo: str) -> None:
            with jax.default_device(device):
                try:
                    warned[photo] = _invert(dataclasses.replace(options, photo=photo), own, jobs[photo])
                except OutputError:
                    raise  # no photo is to blame
                except InputError as error:
                    failed[photo] = str(error)

        return work

    if todo:
        model = load(options, {})
        workers = [worker(model, device) for device in jax.local_devices()]
        with (
            alone_in(options.out),
            tqdm(total=len(jobs), initial=len(jobs) - len(todo), desc="invert", unit="photo", disable=None) as bar,
        ):
            deal(todo, workers, bar.update)
    for photo in photos:
        if photo in failed:
            note(f"{photo} was left out: {failed[photo]}")
        elif warned.get(photo):
            note(f"{photo}: {'; '.join(warned[photo])}")
    if len(failed) == len(jobs):
        raise InputError(f"photo must be a folder of portraits, none of {len(failed)} could be inverted")
    print(f"{options.out}: {len(jobs) - len(failed)} heads, {len(failed)} left out")


def _invert(options: Options, model: Model, folder: pathlib.Path) -> list[str]:
    """Inverts one photo into its folder; what its alignment warns of."""
    from panojax.commands.progress import quietly
    from panojax.files.staging import output_folder

    with quietly(), output_folder(folder, overwrite=options.overwrite or _half_made(folder)) as work:
        report = invert_photo(options, model, work, {})
    return list((report["alignment"] or {}).get("warnings", ()))


def _half_made(folder: pathlib.Path) -> bool:
    """Whether a folder holds files of ours alone, without the report that is the last of them: a kill left it."""
    names = {path.name for path in contents(folder)} if folder.is_dir() else set()
    return bool(names) and "report.json" not in names and all(map(FILES.fullmatch, names))


def _names(photos: list[str]) -> list[str]:
    """Folders' names: the photos' without suffixes, which stay where the names would be the same."""
    paths = [pathlib.Path(photo) for photo in photos]
    same = collections.Counter(path.stem for path in paths)
    return [path.stem if same[path.stem] == 1 else path.name for path in paths]
