"""Reads folders that `panojax heads` wrote, as they lie: a zip file per identity (synthetic/storage.py)."""

import functools
import io
import pathlib
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from panojax.data.reader import Reader, digest
from panojax.errors import InputError, check_choice
from panojax.synthetic.render import DEPTH_STEPS
from panojax.synthetic.splits import split_of
from panojax.synthetic.storage import BROKEN, decode_png, list_identities, read_parameters


class HeadReader(Reader):
    """All views of the identities of a split, in their order.

    Attributes:
      paths: the identities' files. Their labels are [views, 25] each.
      part: their split.
      counts: how many views each has.
    """

    fields = ("image", "mask", "depth", "camera", "head")
    backgrounds = False

    def __init__(self, paths: Sequence[pathlib.Path], labels: Sequence[np.ndarray], *, part: str = "all"):
        self.paths, self.part = tuple(paths), part
        self._cameras = np.concatenate(labels).astype(np.float32)
        self.counts = np.array([len(rows) for rows in labels])

    def __len__(self) -> int:
        return len(self._cameras)

    @property
    def cameras(self) -> np.ndarray:
        return self._cameras

    @functools.cached_property
    def heads(self) -> np.ndarray:  # type: ignore[override]
        return np.repeat(np.arange(len(self.paths)), self.counts)

    @functools.cached_property
    def _starts(self) -> np.ndarray:
        return np.cumsum(self.counts) - self.counts

    def sample(self, row: int, fields: Sequence[str]) -> dict[str, Any]:
        head = int(self.heads[row])
        path, view = self.paths[head], row - int(self._starts[head])
        sample: dict[str, Any] = {"camera": self._cameras[row], "head": head}
        try:
            with zipfile.ZipFile(path) as archive:  # a view of many: not read whole
                if "image" in fields or "mask" in fields:
                    with Image.open(io.BytesIO(archive.read(f"{view:03d}.png"))) as image:
                        rgba = np.asarray(image)
                    sample |= {"image": rgba[..., :3], "mask": rgba[..., 3:]}
                if "depth" in fields:
                    steps = decode_png(archive.read(f"{view:03d}_depth.png"))
                    sample["depth"] = steps[..., None] * np.float32(1 / DEPTH_STEPS)
        except BROKEN as error:
            raise InputError(f"{path} must be an identity written by `panojax heads`: {error}") from error
        return {name: sample[name] for name in fields}

    def __repr__(self) -> str:
        return f"{len(self)} views of {len(self.paths)} heads {digest([p.name for p in self.paths], self._cameras)}"


def open_heads(folder: str | pathlib.Path, part: str = "train") -> HeadReader:
    """The heads of a split: "train", "validation" or "test".

    Raises:
      InputError: there are none in it, or a file is no identity.
    """
    check_choice("part", part, ("train", "validation", "test"))
    paths, labels = [], []
    for path in list_identities(folder):
        identity, own = read_parameters(path)
        if identity.get("split", split_of(int(path.stem))) == part:
            paths.append(path)
            labels.append(own)
    if not paths:
        raise InputError(f"data folder {folder} has no heads in its {part} split")
    return HeadReader(paths, labels, part=part)
