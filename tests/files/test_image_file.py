"""Every kind of picture a user brings, each made here."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from panojax.disk.staging import replaced_when_done
from panojax.errors import InputError
from panojax.files.image_file import float_to_uint8, read_image, write_image

HEIGHT, WIDTH = 24, 32


def gradient():
    """A uint8 RGB picture [24, 32, 3] in which no two corners are alike."""
    row, column = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([row * 10, column * 7, (row + column) * 4], axis=-1).astype(np.uint8)


def encoded(image, image_format="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def png_chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_header(width, height):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(b"\0" * 99))


def to_uint8(rgb):
    return np.round((rgb + 1) * 127.5).astype(np.uint8)


def test_rgb_png_is_exact_in_minus_one_to_one():
    rgb, alpha = read_image(encoded(Image.fromarray(gradient())))
    assert alpha is None and rgb.dtype == np.float32 and rgb.shape == (HEIGHT, WIDTH, 3)
    np.testing.assert_allclose(rgb, gradient() / 127.5 - 1, atol=1e-6)  # float32 rounding


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    """What a camera stores for an upright scene, by the EXIF standard's table, comes back upright."""
    upright = gradient()
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    rgb, _ = read_image(encoded(Image.fromarray(np.ascontiguousarray(stored)), exif=exif))
    np.testing.assert_array_equal(to_uint8(rgb), upright)


def test_broken_exif_counts_as_none():
    data = encoded(Image.fromarray(gradient()), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff", quality=95)
    assert read_image(data)[0].shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_returned_apart(mode):
    image = Image.fromarray(gradient()).convert(mode[:-1])
    alpha = np.linspace(0, 255, WIDTH).astype(np.uint8)[None].repeat(HEIGHT, 0)
    colours = np.asarray(image.convert("RGB"))
    image.putalpha(Image.fromarray(alpha))
    rgb, got = read_image(encoded(image))
    np.testing.assert_array_equal(to_uint8(rgb), colours)
    np.testing.assert_allclose(got, alpha / 255, atol=1e-6)


def test_opaque_alpha_is_none_and_full_transparency_is_refused():
    image = Image.fromarray(gradient())
    image.putalpha(255)
    assert read_image(encoded(image))[1] is None
    image.putalpha(0)
    with pytest.raises(InputError, match=r"source must show something, got \d+ bytes, which is fully transparent"):
        read_image(encoded(image))


def test_palette_with_a_transparent_colour():
    image = Image.fromarray((np.arange(HEIGHT * WIDTH) % 4).astype(np.uint8).reshape(HEIGHT, WIDTH)).convert("P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120])
    rgb, alpha = read_image(encoded(image, transparency=2))
    index = np.asarray(image)
    expected = np.array([[10, 20, 30], [40, 50, 60], [70, 80, 90], [100, 110, 120]])[index]
    np.testing.assert_array_equal(to_uint8(rgb), expected)
    np.testing.assert_array_equal(alpha, (index != 2).astype(np.float32))


def test_greyscale_and_one_bit():
    grey = gradient()[..., 0]
    rgb, _ = read_image(encoded(Image.fromarray(grey)))
    np.testing.assert_array_equal(to_uint8(rgb), grey[..., None].repeat(3, -1))
    rgb, _ = read_image(encoded(Image.fromarray(grey > 100)))
    np.testing.assert_array_equal(to_uint8(rgb), ((grey > 100) * 255)[..., None].repeat(3, -1))


@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
def test_sixteen_bit_greyscale_is_scaled_by_65535(image_format):
    grey = np.linspace(0, 65535, HEIGHT * WIDTH).astype(np.uint16).reshape(HEIGHT, WIDTH)
    rgb, _ = read_image(encoded(Image.fromarray(grey), image_format))
    np.testing.assert_allclose(rgb, (grey / 65535 * 2 - 1)[..., None].repeat(3, -1), atol=1e-6)


def test_sixteen_bit_colour_keeps_its_high_byte():
    wide = (gradient().astype(">u2") << 8) + 77
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in wide)
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, 2, 0, 0, 0)
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    rgb, _ = read_image(b"\x89PNG\r\n\x1a\n" + chunks)
    np.testing.assert_array_equal(to_uint8(rgb), gradient())


def test_floating_point_tiff_is_refused():
    with pytest.raises(InputError, match=r"source must have 8 or 16 bits a channel, got .* has 32"):
        read_image(encoded(Image.fromarray(np.ones((32, 32), np.float32)), "TIFF"))


def test_cmyk_becomes_rgb():
    colour = Image.new("RGB", (32, 32), (200, 60, 20)).convert("CMYK")
    rgb, _ = read_image(encoded(colour, "JPEG", quality=100, subsampling=0))
    assert np.abs(to_uint8(rgb).astype(int) - [200, 60, 20]).max() <= 4  # JPEG's own error


def test_colour_profile_is_converted_to_srgb():
    """sRGB's own profile changes nothing, one with red and blue exchanged exchanges them, a broken one is ignored."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exchanged = srgb.replace(b"rXYZ", b"????", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"????", b"bXYZ", 1)
    for profile, expected in ((srgb, gradient()), (exchanged, gradient()[..., ::-1]), (b"no profile", gradient())):
        rgb, _ = read_image(encoded(Image.fromarray(gradient()), icc_profile=profile))
        assert np.abs(to_uint8(rgb).astype(int) - expected).max() <= 2  # the colour engine's rounding


@pytest.mark.parametrize("image_format", ["PNG", "JPEG"])
def test_large_pictures_are_reduced(image_format):
    """A horizontal ramp, ten times too large, comes back as the same ramp."""
    ramp = np.linspace(0, 255, 1000).astype(np.uint8)[None].repeat(500, 0)
    rgb, _ = read_image(encoded(Image.fromarray(ramp), image_format), max_side=100)
    assert rgb.shape == (50, 100, 3)
    np.testing.assert_allclose(rgb[20, :, 0], np.linspace(-1, 1, 100), atol=0.03)  # a reduced pixel is 0.02 wide
    assert read_image(encoded(Image.fromarray(ramp)), max_side=None)[0].shape == (500, 1000, 3)


def test_reduced_alpha_does_not_bleed_colours():
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[:, ::2] = [255, 0, 0, 255]  # opaque red beside transparent black
    rgb, alpha = read_image(encoded(Image.fromarray(pixels)), max_side=32)
    np.testing.assert_allclose(alpha, 0.5, atol=0.01)
    assert (to_uint8(rgb)[..., 0] >= 253).all()


def test_bombs_are_refused_before_they_are_decoded():
    with pytest.raises(InputError, match=r"source must have at most 178 million pixels, got \d+ bytes, which has more"):
        read_image(png_header(20000, 20000))


def test_half_a_bomb_does_not_warn():
    with pytest.raises(InputError, match="source must be a whole picture"):
        read_image(png_header(10000, 10000))


@pytest.mark.parametrize("size", [(15, 200), (200, 15), (1, 1)])
def test_tiny_pictures_are_refused(size):
    with pytest.raises(InputError, match=rf"source must be at least 16 pixels .*, {size[0]} x {size[1]}$"):
        read_image(encoded(Image.new("RGB", size)))


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "TIFF", "GIF"])
def test_truncated_pictures_are_refused(image_format):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    data = encoded(Image.fromarray(noise), image_format)
    with pytest.raises(InputError, match=r"^source must be a ") as caught:
        read_image(data[: len(data) * 2 // 3])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "source must be a picture, got .* which is empty"),
        (b"hello, I am text", "source must be a picture .* which is none"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n", "source must be a picture .* which is none"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC: convert it first"),
    ],
)
def test_what_is_no_picture_is_refused(tmp_path, content, message):
    for source in (content, tmp_path / "photo.jpg"):
        if source != content:
            source.write_bytes(content)
        with pytest.raises(InputError, match=message):
            read_image(source)


def test_paths_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="source must be a picture file, got the directory '"):
        read_image(tmp_path)
    with pytest.raises(InputError, match=r"got '.*none\.png', which does not exist"):
        read_image(tmp_path / "none.png")
    with pytest.raises(InputError, match="source must be a readable file"):
        read_image("nul\0byte.png")
    with pytest.raises(InputError, match="source must be a path or bytes, got int"):
        read_image(3)


def test_written_pictures_come_back(tmp_path):
    path = tmp_path / "new" / "out.png"
    write_image(path, gradient() / 127.5 - 1)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), gradient())
    assert [p.name for p in path.parent.iterdir()] == ["out.png"]
    write_image(path.with_name("mask.png"), gradient()[..., :1])
    np.testing.assert_array_equal(np.asarray(Image.open(path.with_name("mask.png"))), gradient()[..., 0])


def test_an_existing_file_stays_unless_overwriting(tmp_path):
    path = tmp_path / "out.png"
    path.write_bytes(b"precious")
    with pytest.raises(InputError, match="path must not exist yet"):
        write_image(path, gradient())
    assert path.read_bytes() == b"precious"
    write_image(path, gradient(), overwrite=True)
    assert read_image(path)[0].shape == (HEIGHT, WIDTH, 3)


def test_an_interrupted_write_leaves_nothing(tmp_path):
    path = tmp_path / "out.bin"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), replaced_when_done(path, overwrite=True) as partial:
        partial.write_bytes(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("a.png", np.zeros(4, np.uint8), r"array must be \[H, W\].*got shape \(4,\)"),
        ("a.png", np.zeros((4, 4, 2), np.uint8), r"got shape \(4, 4, 2\)"),
        ("a.png", np.zeros((4, 4), np.int32), "array must be uint8 or floating point .*, got int32"),
        ("a.png", np.full((4, 4), np.nan), "array must be finite"),
        ("a.jpg", np.zeros((4, 4, 4), np.uint8), r"array must have no alpha channel for a \.jpg"),
        ("a.xyz", np.zeros((4, 4), np.uint8), "path must end in a picture's suffix"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path, name, array, message):
    with pytest.raises(InputError, match=message):
        write_image(tmp_path / name, array)
    assert not list(tmp_path.iterdir())


def test_float_to_uint8_clips_and_inverts():
    every = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(float_to_uint8(every / np.float32(127.5) - 1), every)
    np.testing.assert_array_equal(float_to_uint8(np.array([-1.5, 1.5])), [0, 255])
