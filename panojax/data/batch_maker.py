"""Makes a batch of what was chosen for a step: pictures gathered, mirrored and turned into numbers, whole batches.

image, mask       float32 [n, S, S, 3] in [-1, 1] and [n, S, S, 1] in [0, 1], or their bytes
depth             float32 [n, S, S, 1], world units along the pixel's ray, 0: nothing
camera            float32 [n, 25]
head              int32 [n], whose it is: numbered from 0, on from reader to reader
mirrored          bool [n]
other_image, other_mask, other_camera     another view of the same head, or the same one, mirrored alike
pose              float32 [n, 25], cameras of other samples, independently drawn
more_poses        float32 [n, 2, 25], two more sets of them
pixels, depths    uint8 [n, S, S, 4] and uint16 [n, S, S] as they are stored, not mirrored, for a device to go on
row               int32 [n], numbered on likewise: instead of all pictures, which are gathered elsewhere
"""

from collections.abc import Sequence

import numpy as np

from panojax.data.order import Choice, Pose
from panojax.data.picture_store import PictureStore
from panojax.data.pictures import mirror_label
from panojax.data.reader import Reader
from panojax.synthetic.render import DEPTH_STEPS

# What of a reader the fields with pictures need.
NEEDS = {
    "image": "image",
    "mask": "mask",
    "depth": "depth",
    "other_image": "image",
    "other_mask": "mask",
    "pixels": "image",
    "depths": "depth",
}
FIELDS = (*NEEDS, "camera", "head", "mirrored", "other_camera", "pose", "more_poses", "row")


class BatchMaker:
    """Makes a process's batches.

    Attributes:
      stores: the readers' pictures.
      fields: what batches hold, names of `FIELDS`.
      dtype: of image and mask, "float32" or "uint8".
    """

    def __init__(self, stores: Sequence[PictureStore], *, fields: Sequence[str], dtype: str):
        self.stores, self.fields, self.dtype = tuple(stores), tuple(fields), dtype
        readers = [store.sized.reader for store in stores]
        self.firsts = np.cumsum([0, *(len(reader) for reader in readers[:-1])])
        endless = any(reader.endless for reader in readers)
        self.cameras = None if endless else np.concatenate([reader.cameras for reader in readers])
        self.heads = number_heads(readers) if "head" in fields else np.zeros(0, np.int32)

    def __call__(self, choice: Choice) -> dict[str, np.ndarray]:
        fields, mirrored = self.fields, choice.mirrored
        batch = {"mirrored": mirrored}
        if "row" in fields:
            batch["row"] = (self.firsts[choice.source] + choice.row).astype(np.int32)
        elif any(name in fields for name in ("image", "mask", "depth", "pixels", "depths")):
            batch |= self._pictures(choice)
        if "camera" in fields:
            batch["camera"] = _mirrored_labels(self._labels(choice.source, choice.row), mirrored)
        if "head" in fields:
            batch["head"] = self.heads[self.firsts[choice.source] + choice.row]
        if "other_image" in fields:
            pixels = _mirrored_pixels(self._gather(choice.source, choice.other)[0], mirrored)
            batch["other_image"] = self._image(pixels)
            if "other_mask" in fields:
                batch["other_mask"] = self._numbers(pixels, (3,), 1, 0)
        if "other_camera" in fields:
            batch["other_camera"] = _mirrored_labels(self._labels(choice.source, choice.other), mirrored)
        if "pose" in fields:
            batch["pose"] = self._pose(choice.poses[0])
        if "more_poses" in fields:
            batch["more_poses"] = np.stack([self._pose(pose) for pose in choice.poses[1:]], axis=1)
        return {name: batch[name] for name in fields if name in batch}

    def _pose(self, pose: Pose) -> np.ndarray:
        return _mirrored_labels(self._labels(pose.source, pose.row), pose.mirrored)

    def _pictures(self, choice: Choice) -> dict[str, np.ndarray]:
        pixels, depths = self._gather(choice.source, choice.row)
        if "pixels" in self.fields:
            return {"pixels": pixels} | ({} if depths is None else {"depths": depths})
        pixels, made = _mirrored_pixels(pixels, choice.mirrored), {}
        if "image" in self.fields:
            made["image"] = self._image(pixels)
        if "mask" in self.fields:
            made["mask"] = self._numbers(pixels, (3,), 1, 0)
        if depths is not None:
            depths = np.where(choice.mirrored[:, None, None], depths[:, :, ::-1], depths)
            made["depth"] = depths[..., None] * np.float32(1 / DEPTH_STEPS)
        return made

    def _image(self, pixels: np.ndarray) -> np.ndarray:
        return self._numbers(pixels, (0, 1, 2), 2, -1)

    def _numbers(self, pixels: np.ndarray, channels: Sequence[int], span: float, least: float) -> np.ndarray:
        """Channels of bytes as they are, or as float32 in least..least + span. Channel by channel NumPy is fastest."""
        numbers = np.empty((*pixels.shape[:3], len(channels)), self.dtype)
        for row, picture in zip(numbers, pixels):  # one after the other, so that the work stays in the cache
            for place, channel in enumerate(channels):
                if self.dtype == "uint8":
                    row[..., place] = picture[..., channel]
                else:
                    np.multiply(picture[..., channel], np.float32(span / 255), out=row[..., place])
            if self.dtype != "uint8" and least:
                row += np.float32(least)
        return numbers

    def _labels(self, source: np.ndarray, row: np.ndarray) -> np.ndarray:
        if self.cameras is not None:
            return self.cameras[self.firsts[source] + row]
        readers = [store.sized.reader for store in self.stores]
        labels = [readers[s].sample(int(r), ("camera",))["camera"] for s, r in zip(source, row)]
        return np.array(labels, np.float32).reshape(-1, 25)

    def _gather(self, source: np.ndarray, row: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Pixels and depths of rows of all stores, in order."""
        if len(self.stores) == 1:
            return self.stores[0].read(row)
        sized = self.stores[0].sized
        pixels = np.empty((len(row), sized.size, sized.size, 4), np.uint8)
        depths = np.empty((len(row), sized.size, sized.size), np.uint16) if sized.depth else None
        for i in np.unique(source):
            mine = source == i
            pixels[mine], read = self.stores[i].read(row[mine])
            if depths is not None:
                depths[mine] = read
        return pixels, depths


def number_heads(readers: Sequence[Reader]) -> np.ndarray:
    """Whose head each row of all readers shows, int32, numbered from 0 without gaps and on from reader to reader."""
    numbers, first = [], 0
    for reader in readers:
        own = np.unique(reader.heads, return_inverse=True)[1]
        numbers.append(own + first)
        first += int(own.max()) + 1
    return np.concatenate(numbers).astype(np.int32)


def _mirrored_pixels(pixels: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
    """Pixels [n, S, S, 4], those of mirrored samples flipped left to right: four bytes at a time."""
    whole = pixels.view(np.uint32)[..., 0]
    whole[mirrored] = whole[mirrored][:, :, ::-1]
    return pixels


def _mirrored_labels(labels: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
    return np.where(mirrored[:, None], mirror_label(labels), labels)
