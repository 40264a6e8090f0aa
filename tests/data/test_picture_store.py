"""Pictures at one size on one background: what is shown of a reader, read once, by threads or processes."""

import numpy as np
import pytest

from panojax.data import picture_store
from panojax.data.head_reader import HeadReader, open_heads
from panojax.data.picture_store import WHITE, PictureStore, SizedPictures
from panojax.data.reader import Reader
from panojax.synthetic.cameras import camera_label
from panojax.synthetic.render import View
from panojax.synthetic.splits import split_of
from panojax.synthetic.storage import write_identity

RNG = np.random.default_rng(0)
NUMBERS = [number for number in range(20) if split_of(number) == "train"][:10]


@pytest.fixture(scope="module")
def heads(tmp_path_factory) -> HeadReader:
    """Ten heads of three random views."""
    folder = tmp_path_factory.mktemp("heads")
    for number in NUMBERS:
        views = []
        for _ in range(3):
            rgba = RNG.integers(0, 256, (8, 8, 4), dtype=np.uint8)
            rgba[0, 0, 3], rgba[0, 1, 3] = 0, 255
            depth = RNG.integers(0, 2**15, (8, 8), dtype=np.uint16)
            views.append(View(rgba, depth, np.zeros((8, 8), np.uint8)))
        labels = np.stack([camera_label(2 * np.pi * i / 3, 0.1) for i in range(3)])
        write_identity(folder / f"{number:06d}.zip", {}, labels, views)
    return open_heads(folder)


class Plain(Reader):
    """Pictures of 6 pixels with a background, of which the first has a mask."""

    fields = ("image", "mask", "camera", "head")

    def __init__(self):
        self.pictures = RNG.integers(0, 200, (2, 6, 6, 4), dtype=np.uint8)

    def __len__(self):
        return 2

    @property
    def cameras(self):
        return np.stack([camera_label(0.0, 0.0)] * 2)

    def sample(self, row, fields):
        sample = {"image": self.pictures[row, ..., :3]}
        return sample | ({"mask": self.pictures[row, ..., 3:]} if row == 0 else {})


def test_pictures_are_composed_and_their_areas_averaged(heads):
    pixels, depths = SizedPictures(heads, 4, WHITE, depth=True).read(range(30))
    for row in range(30):
        sample = heads[row]
        alpha = sample["mask"] / 255
        composed = np.concatenate([sample["image"] * alpha + 255 * (1 - alpha), sample["mask"]], axis=-1)
        expected = composed.reshape(4, 2, 4, 2, 4).mean(axis=(1, 3))
        assert np.abs(pixels[row] - expected).max() <= 1  # rounded twice: composed, averaged
        np.testing.assert_array_equal(depths[row], np.round(sample["depth"][1::2, 1::2, 0] * 8192))


def test_what_has_nothing_behind_it_stands_on_white(heads):
    np.testing.assert_array_equal(SizedPictures(heads, 8).read([3])[0], SizedPictures(heads, 8, WHITE).read([3])[0])
    corner = SizedPictures(heads, 8, (0, 0, 0)).read([3])[0][0, 0, 0]
    np.testing.assert_array_equal(corner, 0)


def test_backgrounds_are_kept_where_no_colour_is_asked_for():
    reader = Plain()
    pixels, depths = SizedPictures(reader, 6).read([0, 1])
    np.testing.assert_array_equal(pixels[0], reader.pictures[0])
    np.testing.assert_array_equal(pixels[1, ..., :3], reader.pictures[1, ..., :3])
    assert (pixels[1, ..., 3] == 255).all() and depths is None


def test_unknown_masks_are_estimated_where_they_are_needed():
    reader = Plain()
    reader.pictures[1, :, :2, :3] = 255
    (pixels,) = SizedPictures(reader, 6, WHITE, mask=True).read([1])[0]
    np.testing.assert_array_equal(pixels[..., 3], np.where(np.arange(6) < 2, 0, 255)[None].repeat(6, 0))


@pytest.mark.parametrize("size", [4, 9])
def test_other_sizes_are_averaged_or_enlarged(size):
    """A flat picture stays flat."""
    reader = Plain()
    reader.pictures[:] = [10, 60, 110, 255]
    pixels, _ = SizedPictures(reader, size).read([0])
    np.testing.assert_array_equal(pixels, np.broadcast_to(np.uint8([10, 60, 110, 255]), (1, size, size, 4)))


def test_a_row_is_read_once_where_it_is_kept(heads, monkeypatch):
    read = []
    sample = HeadReader.sample
    monkeypatch.setattr(HeadReader, "sample", lambda self, row, fields: read.append(row) or sample(self, row, fields))
    kept, not_kept = PictureStore(SizedPictures(heads, 4, WHITE)), PictureStore(SizedPictures(heads, 4), keep=False)
    for rows in ([3, 1, 3], [1, 2], [2, 3]):
        np.testing.assert_array_equal(kept.read(np.array(rows))[0], not_kept.read(np.array(rows))[0])
    assert sorted(read) == [1, 1, 1, 2, 2, 2, 3, 3, 3, 3]


def test_processes_fill_with_the_same(heads, monkeypatch):
    stores = [PictureStore(SizedPictures(heads, 4, WHITE, depth=True)) for _ in range(2)]
    stores[0].fill(np.arange(30))
    monkeypatch.setattr(picture_store, "MANY", 0)
    stores[1].read(np.array([4]))
    stores[1].fill(np.arange(30), workers=1)
    for name, array in stores[0].arrays().items():
        np.testing.assert_array_equal(stores[1].arrays()[name], array)
    assert stores[0].arrays()["pixels"].shape == (30, 4, 4, 4) and stores[0].arrays()["depths"].dtype == np.uint16
