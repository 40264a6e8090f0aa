"""Every kind of mask is read right or refused, the same way by every reader."""

import io

import numpy as np
import pytest
from PIL import Image

from panojax.commands.edit import read_mask as edit_mask
from panojax.data.photo_reader import Photo, read_masked
from panojax.data.pictures import picture_problem, read_picture
from panojax.errors import InputError
from panojax.files.mask_file import read_mask

HEAD = np.zeros((32, 32), bool)
HEAD[6:30, 8:24] = True


def grey(white=255, black=0, dtype=np.uint8):
    return Image.fromarray(np.where(HEAD, white, black).astype(dtype))


def palette(*colours):
    image = Image.fromarray(HEAD.astype(np.uint8), "P")
    image.putpalette(np.array(colours, np.uint8).ravel().tolist())
    return image


def rgba(colour):
    return Image.fromarray(np.dstack([np.full((32, 32, 3), colour, np.uint8), 255 * HEAD.astype(np.uint8)]))


def photo_with_alpha():
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    return Image.fromarray(np.dstack([pixels, 255 * HEAD.astype(np.uint8)]))


RIGHT = {
    "white on black": grey(),
    "zeros and ones": grey(1),
    "one bit": grey().convert("1"),
    "16 bits": grey(65535, dtype=np.uint16),
    "16 bits of zeros and ones": grey(1, dtype=np.uint16),
    "8 bits in 16": grey(255, dtype=np.uint16),
    "rgb": grey().convert("RGB"),
    "grey and opaque alpha": grey().convert("LA"),
    "black with alpha": Image.merge("LA", [Image.new("L", (32, 32)), grey()]),
    "white with alpha": Image.merge("LA", [Image.new("L", (32, 32), 255), grey()]),
    "black rgba": rgba(0),
    "white rgba": rgba(255),
    "red rgba": rgba((200, 0, 0)),
    "cut-out photo": photo_with_alpha(),
    "palette of black and white": palette((0, 0, 0), (255, 255, 255)),
    "palette of black and red": palette((0, 0, 0), (128, 0, 0)),
}
CLASSES = np.where(HEAD, np.arange(32)[None] % 19, 0)
WRONG = {
    "classes": (Image.fromarray(CLASSES.astype(np.uint8)), "looks like class labels"),
    "classes with 255 for none": (
        Image.fromarray(np.where(HEAD, np.arange(32)[:, None] // 8 * 20 + 40, 255).astype(np.uint8)),
        "class labels",
    ),
    "palette of classes": (
        Image.fromarray((CLASSES % 4).astype(np.uint8), "P").convert("P"),
        "class labels|black everywhere",
    ),
    "inverted": (grey(0, 255), "black there and white around it: invert it"),
    "empty": (grey(0), "black everywhere"),
    "photo": (Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32), np.uint8)), "is it a photo"),
    "coloured photo": (Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)), "coloured"),
    "12 bits": (grey(4095, dtype=np.uint16), "up to 1, 255 or 65535, got .*4095"),
}


@pytest.mark.parametrize("name", RIGHT)
def test_masks_are_read_right_by_every_reader(name, tmp_path):
    path = tmp_path / "mask.png"
    RIGHT[name].save(path)
    np.testing.assert_array_equal(read_mask(path), HEAD)
    np.testing.assert_array_equal(edit_mask(path, 32), HEAD)
    assert picture_problem(path, 32, mask=True) is None
    np.testing.assert_array_equal(np.asarray(read_picture(path, 32, "L")), 255 * HEAD)
    Image.new("RGB", (32, 32), (9, 9, 9)).save(tmp_path / "photo.png")
    _, mask = read_masked(Photo(tmp_path / "photo.png", path, ()))
    np.testing.assert_array_equal(mask, HEAD)


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_mask_is_refused_by_every_reader(name, tmp_path):
    path, (image, message) = tmp_path / "mask.png", WRONG[name]
    if name == "palette of classes":
        image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0])
    image.save(path)
    with pytest.raises(InputError, match=message) as caught:
        read_mask(path)
    assert "\n" not in str(caught.value) and "mask.png" in str(caught.value)
    assert picture_problem(path, 32, mask=True) == str(caught.value)
    Image.new("RGB", (32, 32)).save(tmp_path / "photo.png")
    with pytest.raises(InputError, match=message):
        read_masked(Photo(tmp_path / "photo.png", path, ()))
    if name != "inverted":  # of a part, the corners may be white and the middle black
        with pytest.raises(InputError, match=message):
            edit_mask(path, 32)


def test_soft_masks_keep_their_edges():
    x = np.linspace(-1, 1, 64)
    soft = np.clip(3 - 4 * np.hypot(*np.meshgrid(x, x)), 0, 1)
    content = io.BytesIO()
    Image.fromarray(np.round(soft * 65535).astype(np.uint16)).save(content, "PNG")
    np.testing.assert_allclose(read_mask(content.getvalue()), soft, atol=1e-4)
