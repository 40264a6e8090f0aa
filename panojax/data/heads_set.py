"""Synthetic heads, as `panojax heads` wrote them: a zip file per identity and their splits (synthetic/storage.py)."""

import dataclasses
import functools
import pathlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from panojax.data import checks, pictures
from panojax.data.plan import Plan, Record, fill_splits
from panojax.errors import InputError
from panojax.synthetic import storage
from panojax.synthetic.render import DEPTH_STEPS


@dataclasses.dataclass(frozen=True)
class HeadsOptions:
    """A folder of synthetic heads, and how to store it."""

    source: pathlib.Path
    """The folder that `panojax heads` filled."""
    name: str = "heads"
    """What the prepared set is called."""
    size: int | None = None
    """Side of the stored pictures, in pixels; None keeps the heads' own."""
    encoding: pictures.Encoding = "png"
    """"png" keeps every pixel; "jpeg" (quality 95) takes a third of the space."""


def plan(options: HeadsOptions) -> Plan:
    """Checks the folder; an InputError tells all that is wrong with it. Splits are those of the identities."""
    source = pathlib.Path(options.source)
    settings = checks.read_json(source / "settings.json", "source's settings.json")
    checks.read_json(source / "dataset.json", "source's dataset.json, written when all heads are finished,")
    own = settings.get("size") if isinstance(settings, dict) else None
    if not isinstance(own, int):
        raise InputError(f"source's settings.json must tell the heads' size, got {str(settings)[:80]}")
    size = options.size or own
    checks.check_storage(size, options.encoding)
    if size > own:
        raise InputError(f"size must be at most that of the heads, {own} pixels, got {size}")
    problems: list[str] = []
    items = [(identity_split(path, own, problems), path) for path in storage.list_identities(source)]
    checks.refuse("source", problems)
    return Plan(
        splits=fill_splits(items),
        records=functools.partial(records, size=size, encoding=options.encoding),
        features=("image", "mask", "depth", "parts", "camera", "name", "identity"),
        size=size,
        encoding=options.encoding,
        description=f"{options.name}: synthetic heads from every side, with exact masks, depths, parts and cameras",
        metadata={"framing": "heads", "depth_steps": DEPTH_STEPS},
    )


def identity_split(path: pathlib.Path, size: int, problems: list[str]) -> str:
    """The split of an identity's file; what is wrong with the file goes to `problems`."""
    try:
        identity, labels = storage.read_parameters(path)
        with storage.open_identity(path) as archive:
            damaged = archive.testzip()
            names = set(archive.namelist())
    except storage.BROKEN as error:
        problems.append(f"{path.name} cannot be read ({error})")
        return ""
    if damaged:
        problems.append(f"{path.name} is damaged at {damaged}")
    if identity.get("size") != size:
        problems.append(f"{path.name} must be of size {size}, got {identity.get('size')}")
    if identity.get("split") not in ("train", "validation", "test"):
        problems.append(f"{path.name} must name its split, got {identity.get('split')!r}")
    if labels.ndim != 2 or not len(labels):
        problems.append(f"{path.name} must have labels [views, 25], got {labels.shape}")
        return ""
    for i, label in enumerate(labels):
        checks.checked_label(f"{path.name}/{i:03d}.png", label, problems)
        for suffix in ("", "_depth", "_parts"):
            if f"{i:03d}{suffix}.png" not in names:
                problems.append(f"{path.name}/{i:03d}{suffix}.png is missing")
    return str(identity.get("split"))


def records(path: pathlib.Path, *, size: int, encoding: pictures.Encoding) -> Iterator[Record]:
    """The records of an identity, one per view. Colours are not multiplied by the mask."""
    views = storage.read_identity(path)
    for i, label in enumerate(views.labels):
        rgba = pictures.resize(Image.fromarray(views.rgba[i]), size)
        depth = np.round(views.depth[i] * DEPTH_STEPS).astype(np.uint16)
        name = f"{path.name}/{i:03d}.png"
        yield (
            name,
            {
                "image": pictures.encode(rgba.convert("RGB"), encoding),
                "mask": pictures.encode(rgba.getchannel("A")),
                "depth": pictures.encode(pictures.resize(Image.fromarray(depth), size, smooth=False)),
                "parts": pictures.encode(pictures.resize(Image.fromarray(views.parts[i]), size, smooth=False)),
                "camera": label,
                "name": name,
                "identity": int(path.stem),
            },
        )
