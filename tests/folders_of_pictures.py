"""Tiny sets in the layouts of the real ones. Picture i is grey level 8 * i on its left half and 255 on its right."""

import json
import math
from pathlib import Path

import numpy as np
from PIL import Image

from panojax.camera import look_at, mirror
from panojax.synthetic import storage
from panojax.synthetic.identity import as_json
from panojax.synthetic.render import DEPTH_STEPS, View
from panojax.synthetic.sampling import sample_identity

SIDE = 32


def picture(number: int, side: int = SIDE) -> np.ndarray:
    """uint8 [side, side, 3], told from all others by its left half."""
    pixels = np.full((side, side, 3), 255, np.uint8)
    pixels[:, : side // 2] = 8 * number
    return pixels


def picture_number(image: np.ndarray) -> int:
    """The number that `picture` was given, mirrored or not."""
    return round(min(float(image[0, 0, 0]), float(image[0, -1, 0])) / 8)


def disc(side: int = SIDE) -> np.ndarray:
    """A soft mask uint8 [side, side]: 255 in the middle, 0 in the corners."""
    rows, columns = np.mgrid[:side, :side] + 0.5
    away = np.hypot(rows - side / 2, columns - side / 2) / side
    return np.clip((0.45 - away) * 10 * 255, 0, 255).astype(np.uint8)


def label(yaw: float = 0.0, pitch: float = 0.0) -> list[float]:
    """A camera label as dataset.json has it."""
    return [round(float(x), 6) for x in np.asarray(look_at(yaw, pitch))]


def spread_yaw(number: int) -> float:
    """A yaw of its own for every number, most near the front."""
    return math.sin(number * 1.7) ** 3


def make_folder(folder: Path, count: int = 24, *, masks: bool = True, side: int = SIDE) -> Path:
    """EG3D's layout: dataset.json and numbered pictures in folders of a thousand, here of ten; masks beside."""
    labels = []
    for i in range(count):
        name = f"{i // 10:05d}/img{2 * i:08d}.png"
        for kind, pixels in (("pictures", picture(i, side)), *((("masks", disc(side)),) if masks else ())):
            path = folder / kind / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
        labels.append([name, label(spread_yaw(i))])
    (folder / "pictures" / "dataset.json").write_text(json.dumps({"labels": labels}))
    return folder / "pictures"


def add_mirrored(pictures: Path) -> None:
    """Stores every picture again, flipped, under the next odd number, as EG3D's tools do."""
    content = json.loads((pictures / "dataset.json").read_text())
    for name, numbers in list(content["labels"]):
        stem = Path(name).stem
        copy = f"{Path(name).parent}/img{int(stem[3:]) + 1:08d}.png"
        with Image.open(pictures / name) as image:
            image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(pictures / copy)
        content["labels"].append([copy, np.asarray(mirror(np.array(numbers))).tolist()])
    (pictures / "dataset.json").write_text(json.dumps(content))


def make_heads(folder: Path, numbers: tuple[int, ...] = (0, 1, 2, 27), views: int = 3, side: int = SIDE) -> Path:
    """A finished set of heads, written by the heads' own storage; 27 is in the test split, 28 in that of validation."""
    storage.claim_folder(folder, {"version": 1, "seed": 0, "views": views, "size": side, "assets": "none"})
    for number in numbers:
        shots = []
        for i in range(views):
            rgba = np.dstack([picture(3 * number % 30 + i, side), disc(side)])
            depth = np.where(disc(side) > 127, round((2 + 0.1 * i) * DEPTH_STEPS), 0).astype(np.uint16)
            shots.append(View(rgba, depth, np.full((side, side), i, np.uint8)))
        split = {27: "test", 28: "validation"}.get(number, "train")
        labels = np.array([label(0.5 * i, 0.2) for i in range(views)], np.float32)
        identity = as_json(sample_identity(0, number)) | {"split": split}
        storage.write_identity(storage.identity_path(folder, number), identity, labels, shots)
    storage.write_index(folder)
    return folder
