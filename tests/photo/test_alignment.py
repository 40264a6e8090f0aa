"""Whole photos: the same head however it is brought, every kind of bad photo, and what is said about it."""

import dataclasses
import io
import json
import os
import pathlib
import re

import numpy as np
import pytest
from PIL import Image
from skimage.filters import gaussian

from panojax import camera
from panojax.errors import InputError
from panojax.files.image_file import float_to_uint8
from panojax.photo import alignment, finding, read_image
from panojax.photo.alignment import align
from panojax.photo.crop import Square, cut, outside
from panojax.photo.framing import HEADS, PANOHEAD, label_angles


@pytest.fixture(scope="module")
def plain(astronaut):
    """The untouched photo, aligned."""
    return align(astronaut, size=256)


def degrees(aligned):
    return np.degrees(label_angles(aligned.camera))[:2]


def encoded(picture, image_format="PNG", mode="RGB", **options):
    buffer = io.BytesIO()
    Image.fromarray(picture).convert(mode).save(buffer, image_format, **options)
    return buffer.getvalue()


def test_a_plain_photo(plain, astronaut):
    report = plain.report
    assert plain.image.shape == (256, 256, 3) and plain.mask.shape == (256, 256) and plain.image.dtype == np.float32
    np.testing.assert_array_equal(camera.check_label(plain.camera), plain.camera)
    assert abs(report.yaw) < 8 and abs(report.elevation) < 20 and abs(report.roll) < 6  # she faces the camera
    assert report.faces == 1 and report.padded == 0 and report.face_inside == 1
    assert len(report.warnings) == 1 and "the crop has only 17" in report.warnings[0]
    assert "yaw" in report.summary() and "\n" not in report.summary()
    square = Square(*report.centre, report.crop_size, np.radians(report.roll))
    np.testing.assert_allclose(plain.image, cut(astronaut, square, 256), atol=1e-6)


def test_the_mask_holds_the_head_and_not_the_wall(plain):
    assert plain.mask[60:200, 100:160].mean() > 0.98  # the face
    assert plain.mask[:128, :8].mean() < 0.02 and plain.mask[:128, -8:].mean() < 0.05


def test_a_mirrored_photo_has_the_mirrored_label(plain, astronaut):
    mirrored = align(astronaut[:, ::-1], size=256)
    np.testing.assert_allclose(degrees(mirrored), degrees(plain) * (-1, 1), atol=2.5)  # the networks are not symmetric
    assert mirrored.report.centre[0] == pytest.approx(512 - plain.report.centre[0], abs=3)


@pytest.mark.parametrize("turn", [-30, 20])
def test_a_leaning_head_is_set_upright(plain, astronaut, turn):
    photo = cut(astronaut, Square(256, 200, 400, np.radians(-turn)), 400)
    leaning = align(photo, size=256)
    assert leaning.report.roll == pytest.approx(plain.report.roll + turn, abs=2)
    np.testing.assert_allclose(degrees(leaning), degrees(plain), atol=3)


@pytest.mark.parametrize("factor", [0.5, 3])
def test_the_photos_scale_does_not_matter(plain, astronaut, factor):
    photo = cut(astronaut, Square(256, 256, 512), int(512 * factor))
    scaled = align(photo, size=256)
    assert scaled.report.crop_size == pytest.approx(factor * plain.report.crop_size, rel=0.04)
    np.testing.assert_allclose(degrees(scaled), degrees(plain), atol=3)


def test_another_framing_crops_otherwise(plain, astronaut):
    heads = align(astronaut, size=128, framing=HEADS)
    assert heads.report.crop_size > 1.15 * plain.report.crop_size
    assert heads.report.elevation == pytest.approx(plain.report.elevation + HEADS.tilt - PANOHEAD.tilt, abs=0.1)


def test_what_a_camera_or_a_scanner_writes(plain, astronaut):
    """Turned by EXIF, CMYK, grey, 16-bit and palette files show the same head."""
    picture = float_to_uint8(astronaut)
    exif = Image.Exif()
    exif[0x0112] = 6
    grey = np.asarray(Image.fromarray(picture).convert("L"))
    kinds = {
        "exif": encoded(np.ascontiguousarray(np.rot90(picture, 1)), "JPEG", exif=exif, quality=95),
        "cmyk": encoded(picture, "JPEG", "CMYK", quality=95),
        "grey": encoded(picture, mode="L"),
        "16 bit": encoded_16_bit(grey),
        "palette": encoded(picture, "GIF", "P"),
    }
    for kind, data in kinds.items():
        got = align(data, size=256)
        assert np.abs(degrees(got) - degrees(plain)).max() < 3, kind
        assert np.abs(np.subtract(got.report.centre, plain.report.centre)).max() < 4, kind


def encoded_16_bit(grey):
    buffer = io.BytesIO()
    Image.fromarray(grey.astype(np.uint16) * 257).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_cut_out_person_keeps_its_alpha(astronaut):
    rows, columns = np.mgrid[:512, :512]
    disc = ((rows - 118) ** 2 + (columns - 224) ** 2 < 75**2).astype(np.float32)
    got = align(np.dstack([astronaut, disc]), size=128)
    square = Square(*got.report.centre, got.report.crop_size, np.radians(got.report.roll))
    np.testing.assert_allclose(got.mask, cut(disc[..., None], square, 128)[..., 0], atol=1e-6)
    assert got.image[2, 2].min() > 0.99  # white where it is transparent


def test_a_cut_out_person_is_not_mirrored_at_the_border(astronaut):
    """It ends within the photo, beyond whose border the crop goes on."""
    rows, columns = np.mgrid[30:512, :512]
    disc = ((rows - 118) ** 2 + (columns - 224) ** 2 < 80**2).astype(np.float32)
    got = align(np.dstack([astronaut[30:], disc]), size=128)
    square = Square(*got.report.centre, got.report.crop_size, np.radians(got.report.roll))
    beyond = outside(disc.shape, square, 128) > 0
    assert cut(disc[..., None], square, 128)[beyond].any() and not got.mask[beyond].any()
    assert got.mask.dtype == np.float32 and got.mask[~beyond].max() == 1


def test_glasses_and_a_hat_are_no_obstacle(plain, astronaut):
    photo = astronaut.copy()
    rows, columns = np.mgrid[:512, :512]
    for x in (205, 243):
        photo[(rows - 106) ** 2 + (columns - x) ** 2 < 15**2] = -0.9
    photo[103:106, 205:243] = -0.9
    photo[20:75, 160:290] = (0.6, -0.8, -0.8)
    np.testing.assert_allclose(degrees(align(photo, size=128)), degrees(plain), atol=8)


def test_several_faces(astronaut):
    photo = np.concatenate([cut(astronaut, Square(256, 256, 512), 400), astronaut[:400]], axis=1)
    largest, left = align(photo, size=128), align(photo, size=128, face=0)
    assert largest.report.faces == 2 and largest.report.centre[0] > 500 and left.report.centre[0] < 300
    assert "the photo shows 2 faces; this is the largest one" in largest.report.warnings[0]
    assert not any("faces" in warning for warning in left.report.warnings)
    with pytest.raises(InputError, match="photo must show one face, got 2"):
        align(photo, face="only")
    with pytest.raises(InputError, match="face must be at most 1, the last of the photo from the left, got 2"):
        align(photo, face=2)


@pytest.mark.parametrize(("turn", "said"), [(1, "on its side"), (2, "upside down"), (3, "on its side")])
def test_a_photo_that_lies_on_its_side_or_upside_down_is_turned(plain, astronaut, turn, said):
    lying = align(np.rot90(astronaut, turn), size=256)
    assert lying.report.turned == (360 - 90 * turn) % 360 and plain.report.turned == 0
    assert f"the photo lay {said} and was turned by {360 - 90 * turn} degrees" in lying.report.warnings[0]
    np.testing.assert_array_equal(lying.image, plain.image)
    np.testing.assert_array_equal(lying.camera, plain.camera)


def test_a_sure_face_goes_before_a_larger_patch_that_is_hardly_one(astronaut, monkeypatch):
    """And the message says which others there are."""
    (face,) = finding.detect_faces(astronaut)
    left, top, width, height = face.box
    patch = dataclasses.replace(face, box=(left - 150, top + 100, 2 * width, 2 * height), score=0.67)
    monkeypatch.setattr(finding, "detect_faces", lambda rgb: [patch, face])
    got = align(astronaut, size=128)
    assert got.report.box == face.box and got.report.faces == 2
    assert re.search(
        r"this is the largest one .*others are chosen by number: 0 at x .*score 0.67", got.report.warnings[0]
    )


def test_of_several_faces_one_that_the_mesh_does_not_see_counts_last(astronaut, monkeypatch):
    (face,) = finding.detect_faces(astronaut)
    left, top, width, height = face.box
    wall = dataclasses.replace(face, box=(left + 150, top, 2 * width, 2 * height), score=0.9)
    true_mesh = finding.face_mesh
    monkeypatch.setattr(finding, "detect_faces", lambda rgb: [face, wall])
    monkeypatch.setattr(finding, "face_mesh", lambda rgb, one: (true_mesh(rgb, face)[0], -3.0 if one is wall else 20.0))
    assert align(astronaut, size=128).report.box == face.box


def test_a_face_near_the_border_is_padded_by_reflection(plain, astronaut):
    photo = astronaut[40:, 165:]
    got = align(photo, size=256)
    assert got.report.padded > 0.2 and any("blurred reflection" in warning for warning in got.report.warnings)
    np.testing.assert_allclose(degrees(got), degrees(plain), atol=4)
    square = Square(*got.report.centre, got.report.crop_size, np.radians(got.report.roll))
    inside = np.s_[120:, 120:]
    np.testing.assert_allclose(got.image[inside], cut(photo, square, 256)[inside], atol=1e-6)


def test_a_face_cut_by_the_border_is_reported_then_refused(astronaut):
    cut_a_little = align(astronaut[:, 200:], size=128)
    assert 0.6 < cut_a_little.report.face_inside < 0.95
    assert any("border cuts" in warning for warning in cut_a_little.report.warnings)
    with pytest.raises(InputError, match=r"photo must (show|hold)"):
        align(astronaut[:, 235:], size=128)


@pytest.mark.parametrize(
    ("photo", "message"),
    [
        (np.zeros((128, 128, 3), np.float32), "photo must show a head, got none"),
        (np.zeros((128, 128), np.float32), r"photo must be \[H, W, 3 or 4\] .* got shape \(128, 128\)"),
        (np.zeros((10, 128, 3), np.uint8), r"sides of 16 or more, got shape \(10, 128, 3\)"),
        (np.zeros((64, 64, 3), np.int64), "photo must be uint8 or floating point, got int64"),
        (np.full((64, 64, 3), 128.0), r"its colours in \[-1, 1\]"),
        (np.full((64, 64, 3), np.nan), "photo must be finite"),
        (np.full((64, 64, 4), 1.5), r"its alpha in \[0, 1\]"),
        (b"", "source must be a picture, got 0 bytes, which is empty"),
        ("nowhere.jpg", "source must be a picture file, got 'nowhere.jpg', which does not exist"),
        (None, "source must be a path or bytes, got NoneType"),
    ],
)
def test_what_cannot_be_aligned_is_refused_in_one_line(photo, message):
    with pytest.raises(InputError, match=message) as caught:
        align(photo)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"face": "biggest"}, "face must be largest, center, only or a number from 0, got 'biggest'"),
        ({"face": True}, "face must be largest, .* got True"),
        ({"face": -1}, "face must be a number from 0, .* got -1"),
        ({"size": 8}, "size must be a whole number of pixels from 32 to 4096, got 8"),
        ({"size": 256.0}, "size must be a whole number of pixels from 32 to 4096, got 256.0"),
    ],
)
def test_bad_options_are_refused(astronaut, options, message):
    with pytest.raises(InputError, match=message):
        align(astronaut, **options)


def test_a_tiny_face_is_refused(astronaut):
    with pytest.raises(InputError, match=r"photo must show a face of at least 24 pixels, got \d+$"):
        align(cut(astronaut, Square(256, 256, 512), 90))


def test_a_hidden_face_is_refused(astronaut, monkeypatch):
    """What the mesh network says of a camera held before the face stands in for such a photo; nor does the other
    network see a head."""
    points, _ = finding.face_mesh(astronaut, finding.detect_faces(astronaut)[0])
    monkeypatch.setattr(finding, "face_mesh", lambda rgb, face: (points, 3.0))
    monkeypatch.setattr(finding, "find_heads", lambda rgb: [])
    with pytest.raises(InputError, match="photo must show the face plainly, got one that is hidden, or none, at x 22"):
        align(astronaut)


def test_a_blurred_face_is_reported(plain, astronaut):
    blurred = align(gaussian(astronaut, 2.5, channel_axis=-1), size=128)
    assert "the face is blurred" in blurred.report.warnings
    assert "the face is blurred" not in plain.report.warnings
    assert blurred.report.sharpness < 0.3 * plain.report.sharpness


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        ({"yaw": -75.0}, "the head is turned 75 degrees"),
        ({"elevation": 45.0}, "the head is seen from 45 degrees above"),
        ({"elevation": -45.0}, "the head is seen from 45 degrees below"),
        ({"score": 0.62}, r"the detector is not sure of this face \(0.62\)"),
        ({"padded": 0.3}, "30% of the crop lies outside the photo"),
    ],
)
def test_what_the_model_cannot_do_well_is_said(plain, change, warning):
    good = dataclasses.replace(plain.report, crop_size=600.0, warnings=())
    assert alignment._warnings(good, "largest") == ()
    (said,) = alignment._warnings(dataclasses.replace(good, **change), "largest")
    assert re.search(warning, said)


@pytest.mark.skipif(
    "PANOJAX_PORTRAITS" not in os.environ, reason="PANOJAX_PORTRAITS names no EG3D folder of aligned crops"
)
def test_published_labels_come_back():
    """Each crop of an EG3D folder, given as a photo, is its own crop and has its label."""
    folder = pathlib.Path(os.environ["PANOJAX_PORTRAITS"])
    for name, label in json.loads((folder / "dataset.json").read_text())["labels"]:
        got = align(folder / name)
        side = read_image(folder / name)[0].shape[0]
        np.testing.assert_allclose(degrees(got), np.degrees(label_angles(label))[:2], atol=6)
        assert np.hypot(*np.subtract(got.report.centre, side / 2)) < 0.03 * side
        assert got.report.crop_size == pytest.approx(side, rel=0.05)
