"""How the pictures of a data set were cropped, as far as its folder says, so that a model trained on it can say so."""

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Any

from panojax.disk.reading import read_json
from panojax.errors import InputError
from panojax.photo.framing import FRAMINGS

DEPTHS = "", "*/", "*/*/", "*/*/*/"  # a prepared set lies up to three folders down


def data_framing(folders: Sequence[str | pathlib.Path]) -> str | None:
    """The framing that all folders which name one name: "heads", "panohead", or None where they do not agree."""
    found = {framing for folder in folders if (framing := folder_framing(folder)) is not None}
    return found.pop() if len(found) == 1 else None


def folder_framing(folder: str | pathlib.Path) -> str | None:
    """The framing of what `panojax heads`, `panojax align` or `python -m panojax.data` wrote, or None."""
    folder = pathlib.Path(folder)
    if next(folder.glob("[0-9]*.zip"), None) and (folder / "settings.json").is_file():
        return "heads"
    if (settings := _read(folder / "align.json")) is not None:
        return _name(settings.get("framing"))
    for depth in DEPTHS:
        for path in folder.glob(f"{depth}metadata.json"):
            framing = (_read(path) or {}).get("framing")
            return framing if framing in ("heads", "panohead") else None
    return None


def _name(stored: Any) -> str | None:
    """The name of a framing that `align_folder` noted."""
    for name, framing in FRAMINGS.items():
        if json.loads(json.dumps(dataclasses.asdict(framing))) == stored:
            return name
    return None


def _read(path: pathlib.Path) -> dict[str, Any] | None:
    try:
        content = read_json(path)
    except InputError:
        return None
    return content if isinstance(content, dict) else None
