"""What all windows of a server share: the scene, the folder of heads, who makes new ones, and who is told of them."""

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from panojax.camera import front
from panojax.errors import InputError
from panojax.params import Params
from panojax.terminal.progress import counted, note
from panojax.viewer import subjects
from panojax.viewer.gallery import Gallery, thumbnail
from panojax.viewer.maker import Maker
from panojax.viewer.picture import take_picture
from panojax.viewer.quality import full_quality
from panojax.viewer.results import with_part
from panojax.viewer.scene import Request, Scene
from panojax.viewer.uploads import Photo, Uploads, safe_name

MAX_HEADS = 24
SHOWN = 3


class Page:
    """The heads of a page, and its windows.

    Args:
      gallery: where new heads are kept; None takes no photos.
      shown: how many heads a window shows at first.

    Attributes:
      takes_photos: whether there are a folder and encoders.
    """

    def __init__(self, scene: Scene, gallery: Gallery | None = None, shown: int = SHOWN):
        self.scene, self.gallery, self.shown = scene, gallery, shown
        self.windows: dict[str, Any] = {}
        self.uploads = Uploads(self.windows.get)
        self.thumbnails: dict[int, np.ndarray] = {}
        self._lock = threading.Lock()
        self.maker: Maker | None = None
        if gallery is not None and scene.model.config.encoder is not None:
            self.maker = Maker(scene.model, scene, gallery, self.made)

    @property
    def takes_photos(self) -> bool:
        return self.maker is not None

    def enter(self, key: str, window: Any) -> None:
        """Lists a window, which is ready for all, by a key that only its own page knows."""
        self.windows[key] = window

    def leave(self, key: str) -> None:
        """Forgets a window."""
        self.windows.pop(key, None)

    def stop(self) -> None:
        """Ends the making of heads."""
        if self.maker is not None:
            self.maker.stop()

    def take(self, photos: list[Photo], window: Any) -> None:
        """Has heads made of the photos that a window was given.

        Raises:
          InputError: there are too many heads or photos.
        """
        if self.maker is None:
            raise InputError("checkpoint must hold encoders to make heads of photos, it has none")
        self.check_room(len(photos))
        self.maker.submit(photos, window)

    def check_room(self, count: int) -> None:
        """Raises InputError where so many more photos would make too many heads."""
        waiting = 0 if self.maker is None else self.maker.waiting
        if len(self.scene.subjects) + waiting + count > MAX_HEADS:
            raise InputError(
                f"a page shows at most {MAX_HEADS} heads, has {len(self.scene.subjects)} and {waiting} on the way, "
                f"got {count} photos more: open another page"
            )

    def transfer(self, request: Request, reference: int, part: str) -> int:
        """A new head: the request's first one with a part of another; gives its number.

        Raises:
          InputError: neither shows the part, or there are too many heads.
        """
        scene, first = self.scene, request.panels[0]
        if len(scene.subjects) >= MAX_HEADS:
            raise InputError(f"a page shows at most {MAX_HEADS} heads, got one more")
        head, other = scene.subjects[first.subject], scene.subjects[reference]
        theirs = next(iter(other.heads.values()))
        mixed = with_part(scene.model, scene.head(request), theirs, part, drawn_by=scene.params)
        name = safe_name(f"{head.name} with {part} of {other.name}")
        if self.gallery is not None:
            picture = take_picture(scene.params, mixed, np.asarray(front()), full_quality(scene.config))
            name = self.gallery.keep(name, mixed, picture, (), params=scene.model)
        number = scene.add(subjects.from_head(scene.params, mixed, name))
        self.told(number)
        return number

    def made(self, number: int, picture: np.ndarray, window: Any) -> None:
        """A head was made: all windows list it, and the one that asked shows it."""
        self.thumbnails[number] = thumbnail(picture)
        self.told(number)
        window.show(number)

    def told(self, number: int) -> None:
        """Lets all windows list a new head."""
        for window in list(self.windows.values()):
            try:
                window.grown(number)
            except Exception as error:  # of one window, of which the others shall not suffer
                note(f"a window did not list a head: {error}")

    def thumbnail(self, number: int) -> np.ndarray:
        """A small picture uint8 [S, S, 3] of a head; drawn from the front where there is none yet."""
        with self._lock:
            if number not in self.thumbnails:
                head = next(iter(self.scene.subjects[number].heads.values()))
                quality = full_quality(self.scene.config)
                picture = take_picture(self.scene.params, head, np.asarray(front()), quality)
                self.thumbnails[number] = thumbnail(picture)
            return self.thumbnails[number]

    def entries(self) -> Iterator[tuple[int, str, np.ndarray]]:
        """Number, name and thumbnail of each head."""
        for number, subject in enumerate(self.scene.subjects):
            yield number, subject.name, self.thumbnail(number)


def kept_before(gallery: Gallery, params: Params, most: int) -> tuple[list[subjects.Subject], dict[int, np.ndarray]]:
    """The heads that a folder holds from earlier days, and the thumbnails of those that have one."""
    found: list[subjects.Subject] = []
    thumbnails: dict[int, np.ndarray] = {}
    for name, head, picture in gallery.heads(params, most):
        if picture is not None:
            thumbnails[len(found)] = picture
        found.append(subjects.from_head(params, head, name))
    if found:
        note(f"the gallery shows {counted(len(found), 'head')} of {gallery.folder}")
    return found, thumbnails
