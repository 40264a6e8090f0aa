"""From dropped photos to heads, with stand-ins for the networks."""

import threading
import types

import numpy as np
import pytest
from export_scene import bar_head

from panojax.errors import InputError
from panojax.photo.detect import Face
from panojax.viewer import maker as makers
from panojax.viewer.gallery import Gallery
from panojax.viewer.maker import Maker, numbered
from panojax.viewer.scene import Scene
from panojax.viewer.subjects import OCCLUDED, STITCHED, Subject
from panojax.viewer.uploads import Photo

FRONT = np.zeros(25, np.float32)


def face(left, size=40.0):
    return Face((left, 10.0, size, size), np.zeros((5, 2)), 0.9)


class Customer:
    """As much of a window as a maker knows; chooses faces as it was told to."""

    def __init__(self, *choices, one_person=False):
        self.same, self.counts = one_person, []
        self.choices, self.told, self.refused, self.asked, self.warned = list(choices), [], [], [], []
        self.done = threading.Event()

    def tell(self, line, part=None):
        self.told.append((line, part))
        if part == 1.0:
            self.done.set()

    def refuse(self, name, line):
        self.refused.append((name, line))

    def warn(self, name, line):
        self.warned.append((name, line))

    def one_person(self, count):
        self.counts.append(count)
        return self.same

    def choose_face(self, name, picture, count):
        self.asked.append((name, picture.shape, count))
        return self.choices.pop(0)


@pytest.fixture
def world(params, tmp_path, monkeypatch):
    """Photos whose bytes say how many faces they show; which face was cropped is the crop's colour."""

    def align(config, data, *, face="largest"):
        if data == b"no face":
            raise InputError("photo must show a head, got none")
        report = types.SimpleNamespace(warnings=("the face is blurred",))
        value = face if isinstance(face, int) else -1
        image = np.full((128, 128, 3), 0.1 * value, np.float32)
        return types.SimpleNamespace(image=image, camera=FRONT, report=report, face=face)

    def from_photo(params, image, camera, name, **options):
        heads = {STITCHED: bar_head(), OCCLUDED: bar_head()}
        return Subject(name, heads, camera, np.ones((3, 3, 8, 8)))

    counts = {b"two": 2, b"group": 3}
    monkeypatch.setattr(makers, "read_image", lambda data: (np.full((100, 200, 3), len(data) / 9), None))
    monkeypatch.setattr(
        makers, "detect_faces", lambda rgb: [face(60.0 * i) for i in range({3: 2, 5: 3}.get(round(9 * rgb.max()), 1))]
    )
    assert {len(data): count for data, count in counts.items()} == {3: 2, 5: 3}
    monkeypatch.setattr(makers.portrait, "align", align)
    monkeypatch.setattr(makers.subjects, "from_photo", from_photo)
    scene, gallery, made = Scene(params, []), Gallery(tmp_path / "heads"), []
    maker = Maker(params, scene, gallery, lambda number, picture, customer: made.append((number, picture, customer)))
    yield types.SimpleNamespace(maker=maker, scene=scene, gallery=gallery, made=made)
    maker.stop()


def submit(world, customer, *photos):
    world.maker.submit([Photo(f"p{i}", data, ".jpg") for i, data in enumerate(photos)], customer)
    assert customer.done.wait(20)


def test_each_photo_of_a_drop_becomes_its_own_head(world):
    customer = Customer()
    submit(world, customer, b"one face", b"one face")
    assert [subject.name for subject in world.scene.subjects] == ["p0", "p1"]
    assert [number for number, _, _ in world.made] == [0, 1] and world.made[0][2] is customer
    assert list(world.scene.subjects[0].heads) == [STITCHED]
    assert sorted(path.name for path in world.gallery.folder.iterdir()) == ["p0", "p1"]
    assert (world.gallery.folder / "p0" / "photo.jpg").read_bytes() == b"one face"
    parts = [part for _, part in customer.told if part is not None]
    assert parts[-1] == 1 and len(set(parts)) >= 4
    assert ("p0", "the face is blurred") in customer.warned and not customer.asked


def test_the_same_name_again(world):
    for _ in range(2):
        submit(world, Customer(), b"one face")
    assert [subject.name for subject in world.scene.subjects] == ["p0", "p0 2"]
    assert sorted(path.name for path in world.gallery.folder.iterdir()) == ["p0", "p0 2"]


def test_of_several_faces_one_is_chosen(world):
    customer = Customer(2, None)
    submit(world, customer, b"group", b"two")
    assert customer.asked == [("p0", (100, 200, 3), 3), ("p1", (100, 200, 3), 2)]
    [(_, picture, _)] = world.made  # none of the second photo's
    assert picture.max() == 153  # face 2
    assert not customer.refused


def test_what_cannot_be_used_is_refused_and_the_others_go_on(world, monkeypatch):
    customer = Customer()
    submit(world, customer, b"no face", b"one face")
    assert customer.refused == [("p0", "photo must show a head, got none")]
    assert len(world.made) == 1

    def fail(*args, **options):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(makers.subjects, "from_photo", fail)
    customer = Customer()
    submit(world, customer, b"one face")
    assert customer.refused == [("p0", "RuntimeError: out of memory")] and len(world.made) == 1


def test_photos_of_one_person_become_one_head(world, monkeypatch):
    """All that can be used; the picture is the most frontal one's, and what is doubtful is said."""
    seen = []

    def together(params, ready, names, images, cameras, tell):
        seen.append((names, images.shape, cameras.shape))
        return makers.subjects.from_photo(ready, images[0], cameras[0], "p"), 1, ["photo p2 is doubtful"]

    monkeypatch.setattr(makers, "make_together", together)
    customer = Customer(2, one_person=True)
    submit(world, customer, b"one face", b"no face", b"group")
    assert customer.counts == [3] and seen == [(["p0", "p2"], (2, 128, 128, 3), (2, 25))]
    assert [name for name, _ in customer.refused] == ["p1"]
    [(_, picture, _)] = world.made
    assert picture.max() == 153  # of p2, face 2
    assert [subject.name for subject in world.scene.subjects] == ["p0 and 1 more"]
    kept = sorted(path.name for path in (world.gallery.folder / "p0 and 1 more").iterdir())
    assert kept == ["head.npz", "photo.jpg", "photo1.jpg", "thumbnail.png"]
    assert ("p0 and 1 more", "photo p2 is doubtful") in customer.warned
    customer = Customer(one_person=True)
    submit(world, customer, b"one face")  # alone: nobody is asked
    assert not customer.counts and len(seen) == 1
    customer = Customer(one_person=True)
    submit(world, customer, *[b"one face"] * 18)
    assert seen[-1][1] == (16, 128, 128, 3)
    assert ("p0", "photos of one person are at most 16, of 18 the first count") in customer.warned


def test_only_so_many_wait(world):
    photos = [Photo("p", b"one face", ".jpg")] * 25
    with pytest.raises(InputError, match="at most 24 that wait, got 25"):
        world.maker.submit(photos, Customer())
    submit(world, Customer(), b"one face")
    assert len(world.made) == 1


def test_faces_are_numbered_from_the_left():
    picture = numbered(np.full((400, 1000, 3), 128, np.uint8), [face(100.0, 200.0), face(600.0, 200.0)])
    assert picture.shape == (256, 640, 3)
    red = (picture[..., 0].astype(int) - picture[..., 1]) > 100
    assert red[6, 64:192].all() and red[6, 384:512].all() and not red[6, 200:380].any()
