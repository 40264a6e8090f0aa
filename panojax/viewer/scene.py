"""What a viewer can be asked to show, and the pictures, meshes and videos that answer."""

import dataclasses
import functools
import io
import pathlib
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from PIL import Image

from panojax.files.output import write_video
from panojax.generators.generator import Head
from panojax.params import Params
from panojax.viewer.camera import turned
from panojax.viewer.moving import moving_mesh
from panojax.viewer.picture import compose, take_picture
from panojax.viewer.quality import Quality, full_quality
from panojax.viewer.subjects import Subject, edited, on_device

# Edited heads kept per subject: those at hand, and those before the last move of a slider.
KEPT = 2
LEAST_KEPT = 8
MESHES = 8  # kept


@dataclasses.dataclass(frozen=True)
class Panel:
    """One picture of the row: a subject's number and one of its heads."""

    subject: int
    head: str


@dataclasses.dataclass(frozen=True)
class Request:
    """What a window should show.

    Attributes:
      camera: the label's 25 numbers.
      aspect: width of the window by its height.
      panels: from left to right, at least one.
      tint: show what each subject's camera does not see.
      truncation: of generated heads, or None.
      strengths: (direction, how far) pairs, of all heads.
      own: (subject's number, such pairs) of those that have other ones.
    """

    camera: tuple[float, ...]
    aspect: float
    panels: tuple[Panel, ...]
    tint: bool = False
    truncation: float | None = None
    strengths: tuple[tuple[str, float], ...] = ()
    own: tuple[tuple[int, tuple[tuple[str, float], ...]], ...] = ()

    def strengths_of(self, subject: int) -> tuple[tuple[str, float], ...]:
        """The pairs of one subject."""
        return dict(self.own).get(subject, self.strengths)


class Scene:
    """The subjects of a viewer and the model that renders them. Its functions may be called from several threads.

    Attributes:
      model: its parameters as they were given, with the encoders where there are any.
      params: those that render, prepared.
      subjects: tuple of all, which `add` makes longer.
    """

    def __init__(self, params: Params, subjects: Sequence[Subject], directions: Mapping[str, np.ndarray] | None = None):
        self.model, self.params = params, on_device(params.generator_only().for_inference())
        self.subjects = tuple(_told_apart(subjects))
        self.directions = dict(directions or {})
        self._edited = functools.lru_cache(maxsize=max(KEPT * len(self.subjects), LEAST_KEPT))(self._edit)
        self._mesh = functools.lru_cache(maxsize=MESHES)(self._make_mesh)
        self._adding, self._meshing = threading.Lock(), threading.Lock()

    def add(self, subject: Subject) -> int:
        """Takes one more subject and gives its number; of a name that is taken already it gets another."""
        with self._adding:
            names, name, again = {other.name for other in self.subjects}, subject.name, 2
            while name in names:
                name, again = f"{subject.name} {again}", again + 1
            self.subjects += (dataclasses.replace(subject, name=name),)
            return len(self.subjects) - 1

    @property
    def config(self):
        """The generator's configuration."""
        return self.params.config.generator

    def panels(self) -> dict[Panel, str]:
        """All heads there are, with their titles."""
        return {
            Panel(number, head): subject.name if len(subject.heads) == 1 else f"{subject.name}: {head}"
            for number, subject in enumerate(self.subjects)
            for head in subject.heads
        }

    def picture(
        self, request: Request, quality: Quality, stale: Callable[[], bool] = lambda: False
    ) -> np.ndarray | None:
        """The window's picture uint8 [H, W, 3], or None when `stale()` turned true before it was done."""
        camera, titles, pictures = np.array(request.camera, np.float32), self.panels(), []
        for panel in request.panels:
            if stale():
                return None
            subject = self._edited(panel.subject, request.truncation, request.strengths_of(panel.subject))
            mask = subject.mask if request.tint else None
            pictures.append(take_picture(self.params, subject.heads[panel.head], camera, quality, mask))
        return compose(
            pictures, [titles[panel] for panel in request.panels], request.aspect, self.config.image_resolution
        )

    def snapshot(self, request: Request) -> bytes:
        """The heads in full quality, without the window around them, as a PNG file."""
        file = io.BytesIO()
        Image.fromarray(self._row(request)).save(file, "PNG")
        return file.getvalue()

    def turntable(
        self, request: Request, frames: int, fps: int, done: Callable[[float], None] = lambda part: None
    ) -> bytes:
        """A full turn in full quality that starts at the request's camera, as an MP4 file.

        Args:
          done: is told the part of the frames that is drawn, in [0, 1].
        """

        def rows() -> Iterator[np.ndarray]:
            for frame in range(frames):
                camera = turned(np.array(request.camera), 2 * np.pi * frame / frames)
                yield self._row(dataclasses.replace(request, camera=tuple(camera.tolist())))
                done((frame + 1) / frames)

        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "turntable.mp4"
            write_video(path, rows(), fps=fps)
            return path.read_bytes()

    def mesh(self, request: Request) -> bytes:
        """The first of the heads as a mesh with coloured vertices, a .glb file for viser's page; made once."""
        panel = request.panels[0]
        with self._meshing:
            return self._mesh(panel, request.truncation, request.strengths_of(panel.subject))

    def head(self, request: Request) -> Head:
        """The first of the heads, as the request has edited it."""
        panel = request.panels[0]
        return self._edited(panel.subject, request.truncation, request.strengths_of(panel.subject)).heads[panel.head]

    def _make_mesh(self, panel: Panel, truncation: float | None, strengths: tuple[tuple[str, float], ...]) -> bytes:
        return moving_mesh(self.params, self._edited(panel.subject, truncation, strengths).heads[panel.head])

    def _row(self, request: Request) -> np.ndarray:
        row = self.picture(dataclasses.replace(request, aspect=len(request.panels)), full_quality(self.config))
        assert row is not None
        return row

    def _edit(self, number: int, truncation: float | None, strengths: tuple[tuple[str, float], ...]) -> Subject:
        return edited(self.params, self.subjects[number], truncation, self.directions, dict(strengths))


def _told_apart(subjects: Sequence[Subject]) -> Iterator[Subject]:
    """The subjects, those of the same name numbered."""
    names = [subject.name for subject in subjects]
    for i, subject in enumerate(subjects):
        number = names[: i + 1].count(subject.name)
        again = names.count(subject.name) > 1
        yield dataclasses.replace(subject, name=f"{subject.name} {number}") if again else subject
