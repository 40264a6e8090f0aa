"""From dropped photos to heads: one thread that does one after the other and says how far it is."""

import contextlib
import dataclasses
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from panojax.config import Config
from panojax.errors import InputError
from panojax.files.image_file import read_image
from panojax.files.output import to_uint8
from panojax.inversion.several import MAX_PHOTOS as MAX_TOGETHER
from panojax.params import Params
from panojax.photo import portrait
from panojax.photo.alignment import Aligned
from panojax.photo.detect import Face, detect_faces
from panojax.photo.finding import MIN_FACE
from panojax.terminal.progress import note
from panojax.viewer import subjects
from panojax.viewer.gallery import Gallery
from panojax.viewer.scene import Scene
from panojax.viewer.subjects import STITCHED
from panojax.viewer.together import make_together
from panojax.viewer.uploads import Photo

MAX_WAITING = 24  # photos
CHOICE_SIDE = 640  # of the picture with numbered faces


class Customer(Protocol):
    """Who dropped photos."""

    def tell(self, line: str, part: float | None = None) -> None:
        """Says what is going on, and which part of it is done, in [0, 1]."""

    def refuse(self, name: str, line: str) -> None:
        """Says in one line why there will be no head."""

    def warn(self, name: str, line: str) -> None:
        """Says in one line what is doubtful of a photo of which there is a head."""

    def one_person(self, count: int) -> bool:
        """Asks whether so many photos show one person, of whom one head is to be made."""

    def choose_face(self, name: str, picture: np.ndarray, count: int) -> int | None:
        """Asks which of the numbered faces of a picture uint8 [H, W, 3] is meant; None is none."""


class Maker:
    """Makes heads of photos.

    Args:
      params: of a model with encoders.
      made: is told the number of each head that was added to the scene, a thumbnail of it, and who asked for it.
    """

    def __init__(
        self, params: Params, scene: Scene, gallery: Gallery, made: Callable[[int, np.ndarray, Customer], None]
    ):
        self._params, self._scene, self._gallery, self._made = params, scene, gallery, made
        self._ready = subjects.on_device(params.for_inference())
        self._waiting: queue.Queue[tuple[Sequence[Photo], Customer] | None] = queue.Queue()
        self._count, self._counting, self._warm_now = 0, threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True, name="panojax view: heads")
        self._thread.start()

    def submit(self, photos: Sequence[Photo], customer: Customer) -> None:
        """Asks for the heads of one drop.

        Raises:
          InputError: too many photos wait already.
        """
        with self._counting:
            if self._count + len(photos) > MAX_WAITING:
                raise InputError(f"photos must be at most {MAX_WAITING} that wait, got {self._count + len(photos)}")
            self._count += len(photos)
        if not self._warm_now.is_set():
            customer.tell("compiling, once on a machine", 0.0)
        else:
            customer.tell("waiting for the photos before" if self._count > len(photos) else "looking at the photo", 0.0)
        self._waiting.put((photos, customer))

    @property
    def waiting(self) -> int:
        """Photos of which there is no head yet."""
        return self._count

    def stop(self) -> None:
        """Ends the thread after what it is at."""
        self._waiting.put(None)

    def _work(self) -> None:
        self._warm()
        self._warm_now.set()
        while (drop := self._waiting.get()) is not None:
            try:
                self._make(*drop)
            except Exception as error:  # the next drop shall be served all the same
                note(f"photos were not made into heads: {_reason(error)}")
            finally:
                with self._counting:
                    self._count -= len(drop[0])

    def _warm(self) -> None:
        """Compiles the inversion before someone waits for it."""
        side = self._params.config.generator.image_resolution
        grey = np.zeros((side, side, 3), np.float32)
        with contextlib.suppress(Exception):  # what is wrong will be said when a photo is there
            subjects.from_photo(self._ready, grey, np.asarray(subjects.front()), "")

    def _make(self, photos: Sequence[Photo], customer: Customer) -> None:
        together = len(photos) > 1 and customer.one_person(len(photos))
        aligned = [
            (photo, crop) for i, photo in enumerate(photos) if (crop := self._align(photo, i / len(photos), customer))
        ]
        for group in [aligned] if together and aligned else [[one] for one in aligned]:
            name = group[0][0].name
            try:
                self._make_one(group, customer)
            except Exception as error:  # whatever it is, the page should say so and stay alive
                customer.refuse(name, _reason(error))
        customer.tell("done", 1.0)

    def _make_one(self, group: Sequence[tuple[Photo, Aligned]], customer: Customer) -> None:
        """One head of the photos of one person."""
        name, frontal = group[0][0].name, 0
        warnings: list[str] = []
        if len(group) > MAX_TOGETHER:
            customer.warn(name, f"photos of one person are at most {MAX_TOGETHER}, of {len(group)} the first count")
            group = group[:MAX_TOGETHER]
        photos, crops = [photo for photo, _ in group], [crop for _, crop in group]
        customer.tell(f"making the head of {name}", 0.6)
        if len(group) == 1:
            subject = subjects.from_photo(self._ready, crops[0].image, crops[0].camera, name)
        else:
            images, cameras = (np.stack([getattr(crop, field) for crop in crops]) for field in ("image", "camera"))
            names, models = [photo.name for photo in photos], (self._params, self._ready)
            subject, frontal, warnings = make_together(*models, names, images, cameras, customer.tell)
            name = f"{name} and {len(group) - 1} more"
        head, picture = subject.heads[STITCHED], to_uint8(crops[frontal].image)
        customer.tell(f"keeping the head of {name}", 0.9)
        kept = self._gallery.keep(name, head, picture, photos, params=self._params)
        subject = dataclasses.replace(subject, name=kept, heads={STITCHED: head})
        self._made(self._scene.add(subject), picture, customer)
        for photo, crop in group:
            for warning in crop.report.warnings[:2]:
                customer.warn(photo.name, warning)
        for warning in warnings:
            customer.warn(name, warning)

    def _align(self, photo: Photo, part: float, customer: Customer) -> Aligned | None:
        """The crop around the face that is meant, or None."""
        try:
            customer.tell(f"finding the face in {photo.name}", 0.5 * part + 0.1)
            return align(self._params.config, photo, customer)
        except Exception as error:
            customer.refuse(photo.name, _reason(error))
            return None


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"


def align(config: Config, photo: Photo, customer: Customer) -> Aligned | None:
    """The crop of a photo as the model gets it; of several faces the customer's choice, None without one."""
    rgb, alpha = read_image(photo.data)
    if alpha is not None:
        rgb = rgb * alpha[..., None] + (1 - alpha[..., None])  # on white, as `panojax.photo.align` does
    faces = detect_faces(rgb)
    if sum(face.size >= MIN_FACE for face in faces) < 2:
        return portrait.align(config, photo.data)
    choice = customer.choose_face(photo.name, numbered(to_uint8(rgb), faces), len(faces))
    return None if choice is None else portrait.align(config, photo.data, face=choice)


def numbered(picture: np.ndarray, faces: Sequence[Face]) -> np.ndarray:
    """A picture uint8 [H, W, 3], at most `CHOICE_SIDE` pixels a side, with a numbered box around each face."""
    image = Image.fromarray(picture)
    scale = min(1.0, CHOICE_SIDE / max(image.size))
    image = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size=24)
    for number, face in enumerate(faces):
        left, top, width, height = (side * scale for side in face.box)
        draw.rectangle((left, top, left + width, top + height), outline=(255, 60, 60), width=3)
        draw.text((left + 6, top + 2), str(number), (255, 255, 255), font, stroke_width=3, stroke_fill=(0, 0, 0))
    return np.asarray(image)
