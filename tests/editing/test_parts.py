"""The part segmenter that ships with panojax."""

import pathlib

import numpy as np
import pytest
from PIL import Image

from panojax.editing import parts
from panojax.editing.parts import PARTS, SIDE, part_masks, segment
from panojax.errors import InputError


def test_it_knows_a_head_of_the_test_split():
    """Head 31 of docs/heads_sheet_1.jpg, from the front and from behind: places of each part, as one sees them."""
    with Image.open(pathlib.Path(__file__).parents[2] / "docs" / "heads_sheet_1.jpg") as sheet:
        cell = sheet.width // 16
        row, column = 31 % 20, 31 // 20 * 8
        boxes = [((column + i) * cell, row * cell, (column + i + 1) * cell, (row + 1) * cell) for i in (0, 4)]
        front, back = (np.asarray(sheet.crop(box), np.float32) / 127.5 - 1 for box in boxes)
    chances = segment(front)
    assert chances.shape == (cell, cell, 5)
    np.testing.assert_allclose(chances.sum(-1), 1, atol=1e-5)
    places = {(0.1, 0.5): "hair", (0.55, 0.5): "skin", (0.95, 0.25): "clothes", (0.1, 0.05): "background"}
    for (y, x), part in places.items():
        assert PARTS[chances[int(y * cell), int(x * cell)].argmax()] == part
    assert PARTS[segment(back)[int(0.4 * cell), cell // 2].argmax()] == "hair"


def test_masks_of_views(monkeypatch):
    """The asked part of each view, at the views' own size."""
    views = np.stack([np.full((2 * SIDE, 2 * SIDE, 3), grey, np.float32) for grey in (-0.5, 0.5)])
    monkeypatch.setattr(parts, "render_views", lambda *_: views)

    def network(image):
        """Logits that say hair where it is dark."""
        logits = np.zeros((SIDE, SIDE, 5), np.float32)
        logits[..., 2] = np.where(image[..., 0] < 0, 20, -20)
        return {"parts": logits}

    monkeypatch.setattr(parts, "shipped", lambda *_: network)
    masks = part_masks(None, None, None, "hair")
    assert masks.shape == (2, 2 * SIDE, 2 * SIDE) and masks[0].min() > 0.99 and masks[1].max() < 0.01
    with pytest.raises(InputError, match="part must be one of skin, hair, eyes, clothes, got 'nose'"):
        part_masks(None, None, None, "nose")


def test_other_pictures_are_refused():
    with pytest.raises(InputError, match=r"image must be \[S, S, 3\], got \(8, 9, 3\)"):
        segment(np.zeros((8, 9, 3), np.float32))
