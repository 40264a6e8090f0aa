"""Read any picture a user brings, and write pictures so that none is ever left half-written."""

import io
import os
import pathlib
import struct
import warnings
import zlib

import numpy as np
from PIL import Image, ImageCms, ImageOps

from panojax.disk.reading import kind_of, read_bytes, reason, shown
from panojax.disk.staging import replaced_when_done
from panojax.errors import InputError

# EPS and PDF start other programs and WMF needs Windows, so the formats are listed rather than left to Pillow.
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "MPO", "GIF", "BMP", "AVIF", "JPEG2000", "PPM", "TGA")
MIN_SIDE = 16
MAX_BYTES = 2**30  # of a file
_BROKEN = (OSError, SyntaxError, ValueError, TypeError, IndexError, KeyError, EOFError, struct.error, zlib.error)


def read_image(
    source: str | os.PathLike | bytes, *, max_side: int | None = 4096
) -> tuple[np.ndarray, np.ndarray | None]:
    """Reads a picture upright and in sRGB, whatever its mode.

    EXIF orientation is applied; palette, CMYK, greyscale, 1- and 16-bit pictures become RGB; an embedded colour profile
    is converted to sRGB; of an animation the first frame is taken. 16-bit greyscale keeps its precision.

    Args:
      source: the path of a picture, or its encoded bytes.
      max_side: a longer picture is reduced to this many pixels (a JPEG while it is decoded); None keeps it whole.

    Returns:
      rgb: float32 [H, W, 3] in [-1, 1].
      alpha: float32 [H, W] in [0, 1], or None where every pixel is opaque. `rgb` is not premultiplied by it.

    Raises:
      InputError: if there is no file, or it is a directory, empty, truncated, not a picture, fully transparent, under
        16 pixels on a side, or over Pillow's limit against decompression bombs (179 million pixels).
    """
    data, name = _file_bytes(source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd EXIF, odd chunks and of half its size limit
        with _open(data, name) as image:
            return picture_arrays(image, name, max_side=max_side)


def picture_arrays(
    image: Image.Image, name: str, *, max_side: int | None = 4096
) -> tuple[np.ndarray, np.ndarray | None]:
    """`read_image` for a picture that Pillow has opened; messages call it `name`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _check_size(image, name)
        size = _reduced_size(image.size, max_side)
        if size != image.size:
            image.draft(None, size)
        try:
            image.load()
            image = _upright(image)
            if image.mode.startswith("I") or image.mode == "F":
                rgb, alpha = _grey_to_float(image, name, max_side), None
            else:
                rgb, alpha = _colour_to_float(image, max_side)
        except InputError:
            raise
        except _BROKEN as error:
            raise InputError(f"source must be a whole picture, got {name}: {_first_line(error)}") from error
    if alpha is not None and not alpha.any():
        raise InputError(f"source must show something, got {name}, which is fully transparent")
    return rgb * np.float32(2) - np.float32(1), None if alpha is None or alpha.min() == 1 else alpha


def decoded(source: str | os.PathLike | bytes) -> tuple[Image.Image, str]:
    """A whole picture as Pillow decodes it, upright, with its mode and values as they are, and its name for messages.

    Raises:
      InputError: as `read_image`; any size will do.
    """
    data, name = _file_bytes(source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = _open(data, name)
        try:
            image.load()
            return _upright(image), name
        except _BROKEN as error:
            raise InputError(f"source must be a whole picture, got {name}: {_first_line(error)}") from error


def write_image(path: str | os.PathLike, array: np.ndarray, *, overwrite: bool = False) -> None:
    """Writes a picture under a temporary name and renames it; the folder is made where there is none.

    Args:
      path: where to; the suffix says the format (.png, .jpg, .webp, ...).
      array: [H, W], [H, W, 1], [H, W, 3] or [H, W, 4], uint8 in 0 to 255 or floating point in [-1, 1] (clipped).
      overwrite: replace a file that is there.

    Raises:
      InputError: if the array is no picture or not finite, the suffix is unknown, or the file exists.
    """
    path = pathlib.Path(path)
    array = np.asarray(array)
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)) or not array.size:
        raise InputError(f"array must be [H, W] or [H, W, 1 or 3 or 4], got shape {array.shape}")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.dtype != np.uint8:
        array = float_to_uint8(array)
    image_format = Image.registered_extensions().get(path.suffix.lower())
    if image_format not in FORMATS:
        raise InputError(f"path must end in a picture's suffix such as .png or .jpg, got {str(path)!r}")
    image = Image.fromarray(array)
    if image.mode == "RGBA" and image_format in ("JPEG", "PPM"):
        raise InputError(f"array must have no alpha channel for a {path.suffix} file, got shape {array.shape}")
    with replaced_when_done(path, overwrite=overwrite) as partial:
        options = {"quality": 95} if image_format in ("JPEG", "WEBP") else {}
        image.save(partial, format=image_format, **options)


def float_to_uint8(array: np.ndarray) -> np.ndarray:
    """Rounds values in [-1, 1] (clipped) to 0 ... 255: the exact inverse of `v / 127.5 - 1`."""
    if not np.issubdtype(array.dtype, np.floating) and array.dtype.name != "bfloat16":
        raise InputError(f"array must be uint8 or floating point in [-1, 1], got {array.dtype}")
    array = np.asarray(array, np.float32)
    if not np.isfinite(array).all():
        raise InputError("array must be finite, got NaN or infinity")
    return np.round(np.clip(array * 127.5 + 127.5, 0, 255)).astype(np.uint8)


def _file_bytes(source):
    """The encoded picture and how to call it in a message."""
    if isinstance(source, bytes | bytearray | memoryview):
        data, name = bytes(source), f"{len(source)} bytes"
    elif isinstance(source, str | os.PathLike):
        name = shown(source)
        try:
            kind = kind_of(source)
            if kind in ("folder", "nothing"):
                got = f"the directory {name}" if kind == "folder" else f"{name}, which does not exist"
                raise InputError(f"source must be a picture file, got {got}")
            data = read_bytes(source, limit=MAX_BYTES)
        except (OSError, ValueError) as error:
            if str(error).startswith("source"):
                raise
            raise InputError(f"source must be a readable file, got {name}: {reason(error)}") from error
    else:
        raise InputError(f"source must be a path or bytes, got {type(source).__name__}")
    if not data:
        raise InputError(f"source must be a picture, got {name}, which is empty")
    return data, name


def readable_formats() -> list[str]:
    """Those of `FORMATS` that this Pillow reads; asking loads what reads them."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _open(data, name):
    formats = readable_formats()
    try:
        return Image.open(io.BytesIO(data), formats=formats)
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        raise InputError(f"source must have at most {limit} million pixels, got {name}, which has more") from error
    except _BROKEN as error:  # UnidentifiedImageError is an OSError
        if _is_heic(data):
            return _open_heic(data, name)
        raise InputError(f"source must be a picture ({', '.join(formats)}), got {name}, which is none") from error


def _is_heic(data):
    return data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"mif1", b"hevc", b"hevx", b"msf1", b"heim")


def _open_heic(data, name):
    """HEIC by `pillow-heif`, a package of its own, which holds a decoder that Pillow may not ship."""
    try:
        import pillow_heif
    except ImportError:
        message = "HEIC: convert it first, or pip install pillow-heif"
        raise InputError(f"source must be a JPEG, PNG, WebP, ..., got {name}, {message}") from None
    try:
        image = pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=True).to_pillow()
    except (*_BROKEN, RuntimeError) as error:
        raise InputError(f"source must be a whole picture, got {name}, HEIC: {_first_line(error)}") from error
    return image


def _check_size(image, name):
    width, height = image.size
    if min(width, height) < MIN_SIDE:
        raise InputError(f"source must be at least {MIN_SIDE} pixels on a side, got {name}, {width} x {height}")


def _reduced_size(size, max_side):
    """The size (two integers) with the same aspect whose longer side is at most `max_side`."""
    if max_side is None or max(size) <= max_side:
        return size
    return tuple(max(1, round(side * max_side / max(size))) for side in size)


def _upright(image):
    """Applies the EXIF orientation; a broken EXIF block counts as none."""
    try:
        return ImageOps.exif_transpose(image)
    except _BROKEN:
        return image


def _grey_to_float(image, name, max_side):
    """16-bit greyscale (Pillow's modes I;16*, I) as [H, W, 3] in [0, 1]."""
    values = np.asarray(image)
    if image.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise InputError(f"source must have 8 or 16 bits a channel, got {name}, which has 32")
    grey = np.asarray(_shrink(Image.fromarray(values.astype(np.float32) / 65535), max_side))
    return np.repeat(grey[..., None], 3, axis=2)


def _colour_to_float(image, max_side):
    """Any 8-bit mode as RGB [H, W, 3] in [0, 1] and alpha [H, W] in [0, 1] or None."""
    alpha = None
    if image.has_transparency_data:
        # La and RGBa hold premultiplied colours, and La converts to LA alone.
        image = image.convert("LA") if image.mode == "La" else image
        image = _shrink(image.convert("RGBA"), max_side)
        alpha = np.asarray(image.getchannel("A"), np.float32) / 255
    return np.asarray(_shrink(_srgb(image), max_side), np.float32) / 255, alpha


def _srgb(image):
    """The colours in sRGB, by the embedded profile where there is a usable one."""
    profile = image.info.get("icc_profile")
    if image.mode in ("RGBA", "LA", "P", "1", "YCbCr", "HSV"):
        image = image.convert("L" if image.mode in ("LA", "1") else "RGB")
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
            return converted if converted is not None else image.convert("RGB")
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass  # a profile for another mode, or a broken one: the plain conversion is the best guess
    return image.convert("RGB")


def _shrink(image, max_side):
    """Box-filters a picture down to `max_side`, where the decoder did not already (RGBA weighted by its alpha)."""
    size = _reduced_size(image.size, max_side)
    return image if size == image.size else image.resize(size, Image.Resampling.BOX)


def _first_line(error):
    return (str(error).splitlines() or [type(error).__name__])[0]
