"""Folders of pictures with EG3D's dataset.json: FFHQ, LPFF, CelebA-HQ, what `panojax align` writes, and the like.

SOURCE/dataset.json               {"labels": [["00000/img00000000.png", [25 numbers]], ...]}
SOURCE/00000/img00000000.png      square pictures, named by dataset.json
MASKS/00000/img00000000.png       optional: white where the head is; `mask00000000.png` serves as well
"""

import dataclasses
import functools
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from panojax.camera_conventions import Convention
from panojax.data import checks, pictures, splits
from panojax.data.balance import from_behind
from panojax.data.framing import folder_framing
from panojax.data.plan import Plan, Record, fill_splits
from panojax.disk.reading import read_json
from panojax.errors import InputError
from panojax.photo.folder import is_by_network

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


@dataclasses.dataclass(frozen=True)
class FolderOptions:
    """A folder with EG3D's dataset.json, and how to store it."""

    source: pathlib.Path
    """The folder that holds dataset.json."""
    name: str
    """What the prepared set is called, such as ffhq."""
    masks: pathlib.Path | None = None
    """A folder of masks, laid out as the pictures are; it may be the same folder if masks are named mask*.png."""
    size: int = 256
    """Side of the stored pictures, in pixels."""
    encoding: pictures.Encoding = "png"
    """"png" keeps every pixel; "jpeg" (quality 95) takes a third of the space."""
    test_share: float = 0.1
    """Share of pictures in the test split, chosen by a hash of their names; 0 or 1 for one split alone."""
    split_seed: int = 0
    """Another seed, another choice."""
    drop_mirrored: bool = False
    """Leave out the mirrored copies that EG3D's tools store: the pipeline mirrors by itself."""
    skip_unlabelled: bool = False
    """Leave out pictures that dataset.json does not name. Otherwise they are an error."""
    camera_convention: Convention = "opencv"
    """What the labels are converted from: panojax's and EG3D's own (opencv), OpenGL's axes (opengl), or world-to-camera
    (colmap)."""


@dataclasses.dataclass(frozen=True)
class Item:
    """A picture to store."""

    name: str
    picture: pathlib.Path
    mask: pathlib.Path | None
    label: tuple[float, ...]
    fields: tuple[tuple[str, str], ...] = ()


def plan(options: FolderOptions) -> Plan:
    """Checks the folder; an InputError tells all that is wrong with it.

    Mirrored copies go to the split of their originals.
    """
    checks.check_storage(options.size, options.encoding)
    rule = splits.SplitRule(options.test_share, options.split_seed)
    source = pathlib.Path(options.source)
    problems: list[str] = []
    labels = checks.read_labels(source / "dataset.json", problems, convention=options.camera_convention)
    if not options.skip_unlabelled:
        problems += [f"{name} has no label" for name in sorted(_listing(source, options.masks) - labels.keys())]
    copies = splits.find_mirrored(labels)
    kept = {name: label for name, label in labels.items() if not (options.drop_mirrored and name in copies)}
    items = {name: make_item(name, source, options.masks, label, problems) for name, label in kept.items()}
    problems += check_items(list(items.values()), options.size)
    checks.refuse("source", problems)
    return Plan(
        splits=fill_splits([(splits.split_of(copies.get(name, name), rule), item) for name, item in items.items()]),
        records=functools.partial(records, size=options.size, encoding=options.encoding),
        features=("image", *(("mask",) if options.masks else ()), "camera", "name"),
        size=options.size,
        encoding=options.encoding,
        description=f"{options.name}: pictures with camera labels from a folder with EG3D's dataset.json",
        metadata={} if (framing := folder_framing(source)) is None else {"framing": framing},
        told=seen_from(list(items.values())),
    )


def seen_from(items: list[Item]) -> str:
    """How many pictures there are, from behind, and by which of `align`'s methods, in one line."""
    behind = int(from_behind(np.array([item.label for item in items]).reshape(-1, 25)).sum())
    by_network = sum(is_by_network(_notes(item.picture.with_suffix(".json"))) for item in items)
    told = [f"{len(items)} pictures", f"{behind} from behind"]
    return ", ".join([*told, *([f"{by_network} aligned by the head pose network"] if by_network else [])])


def _notes(path: pathlib.Path) -> Any:
    """What `panojax align` noted of a picture, or None."""
    try:
        return read_json(path) if path.is_file() else None
    except InputError:
        return None


def make_item(
    name: str, source: pathlib.Path, masks: pathlib.Path | None, label: np.ndarray, problems: list[str], **fields: str
) -> Item:
    """The item of a picture; a mask that is not there goes to `problems`."""
    mask = None if masks is None else find_mask(name, source, pathlib.Path(masks))
    if masks is not None and mask is None:
        problems.append(f"{name} has no mask in {masks}")
    return Item(name, source / name, mask, tuple(label.tolist()), tuple(fields.items()))


def find_mask(name: str, source: pathlib.Path, masks: pathlib.Path) -> pathlib.Path | None:
    """The mask of a picture: a file of the same name in `masks`, whatever its suffix, or one with mask for img."""
    stem = pathlib.PurePosixPath(name).with_suffix("")
    renamed = stem.with_name("mask" + stem.name.removeprefix("img"))
    for candidate in (stem, renamed):
        for suffix in SUFFIXES:
            path = masks / f"{candidate}{suffix}"
            if path != source / name and path.is_file():
                return path
    return None


def check_items(items: list[Item], size: int) -> list[str]:
    """Problems of the items' pictures and masks."""
    return checks.picture_problems([item.picture for item in items], [item.mask for item in items if item.mask], size)


def records(item: Item, *, size: int, encoding: pictures.Encoding) -> Iterator[Record]:
    """The record of an item."""
    record = dict(item.fields) | {
        "image": pictures.encode(pictures.read_picture(item.picture, size, "RGB"), encoding),
        "camera": np.array(item.label, np.float32),
        "name": item.name,
    }
    if item.mask:
        record["mask"] = pictures.encode(pictures.read_picture(item.mask, size, "L"))
    yield item.name, record


def _listing(source: pathlib.Path, masks: pathlib.Path | None) -> set[str]:
    """Names of the pictures in a folder, those of masks left out."""
    mask_folder = pathlib.Path(masks).resolve() if masks else None
    names = set()
    for path in source.rglob("*"):
        if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
            in_masks = mask_folder is not None and path.resolve().is_relative_to(mask_folder)
            if not in_masks or (mask_folder == source.resolve() and not path.name.startswith("mask")):
                names.add(path.relative_to(source).as_posix())
    return names
