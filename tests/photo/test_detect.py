"""Finding faces and choosing one."""

import numpy as np
import pytest

from panojax.errors import InputError
from panojax.photo.crop import Square, cut
from panojax.photo.detect import Face, choose_face, detect_faces

MIDDLE, HEIGHT = (224, 118), 112


def a_face(x, y, size):
    return Face((x - size / 2, y - size / 2, 0.8 * size, size), np.zeros((5, 2)), 0.9)


def test_one_face_is_found_with_its_landmarks(astronaut):
    (face,) = detect_faces(astronaut)
    np.testing.assert_allclose(face.middle, MIDDLE, atol=6)
    assert face.size == pytest.approx(HEIGHT, abs=10) and face.score > 0.8
    left_eye, right_eye, nose, left_mouth, right_mouth = face.landmarks
    assert left_eye[0] < nose[0] < right_eye[0] and left_mouth[0] < right_mouth[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])


def test_a_face_that_fills_the_photo_is_found(astronaut):
    photo = cut(astronaut, Square(*MIDDLE, 118), 900)
    (face,) = detect_faces(photo)
    assert face.size > 700


def test_a_face_lost_in_a_large_photo_is_found(astronaut):
    """Reduced to 640 pixels, the whole picture would show a face of 11 pixels."""
    canvas = np.zeros((1200, 1900, 3), np.float32)
    canvas[900:984, 1300:1384] = cut(astronaut, Square(*MIDDLE, 250), 84)
    (face,) = detect_faces(canvas)
    np.testing.assert_allclose(face.middle, (1342, 942), atol=4)


def test_faces_come_from_left_to_right(astronaut):
    small = cut(astronaut, Square(256, 256, 512), 300)
    canvas = np.zeros((512, 900, 3), np.float32)
    canvas[:, 388:] = astronaut
    canvas[200:500, 20:320] = small
    faces = detect_faces(canvas)
    assert [round(face.middle[0], -1) for face in faces] == [150, 610]


@pytest.mark.parametrize("value", [-1.0, 0.0])
def test_an_empty_picture_has_no_face(value):
    assert detect_faces(np.full((200, 300, 3), value, np.float32)) == []


def test_each_way_to_choose():
    faces = [a_face(100, 300, 80), a_face(480, 300, 60), a_face(900, 300, 120)]
    shape = (600, 1000, 3)
    assert choose_face(faces, "largest", shape) is faces[2]
    assert choose_face(faces, "center", shape) is faces[1]
    assert choose_face(faces, 0, shape) is faces[0]
    assert choose_face(faces[:1], "only", shape) is faces[0]
    with pytest.raises(InputError, match="photo must show one face, got 3: choose largest, center or a number"):
        choose_face(faces, "only", shape)
    with pytest.raises(InputError, match="face must be at most 2, the last of the photo from the left, got 3"):
        choose_face(faces, 3, shape)
    with pytest.raises(InputError, match="photo must show a face, got none"):
        choose_face([], "largest", shape)
