"""One browser's window: its controls, the worker that draws for it, and what the browser draws itself meanwhile."""

import functools
import math
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from panojax.editing.parts import PARTS
from panojax.errors import InputError
from panojax.terminal.progress import note, one_line
from panojax.viewer import results
from panojax.viewer.camera import picture_camera, usual_fov
from panojax.viewer.gallery import drop_zone, gallery_html
from panojax.viewer.page import Page
from panojax.viewer.quality import full_quality, moving_qualities, next_level
from panojax.viewer.scene import Panel, Request
from panojax.viewer.strengths import Strengths
from panojax.viewer.subjects import STITCHED
from panojax.viewer.uploads import Photo
from panojax.viewer.worker import FrameRate, Worker

TURN_FRAMES, TURN_FPS = 60, 30
STRENGTH = 3.0
ALL_HEADS = "all heads"
NODE = "/head"
# Seconds that a browser has for decoding a picture before the mesh that is before it goes, and that a head must be
# still before its mesh is made.
DECODED, MESH_AFTER = 0.1, 0.6
CHOICE_SECONDS = 120.0


class Window:
    """One browser's controls, and the worker that draws for it.

    While the camera moves on a machine whose pictures take long, the browser draws the head's mesh, made once after
    the first picture in full; the exact picture takes its place when the camera is still.
    """

    def __init__(self, client: Any, page: Page, truncation: float):
        self.client, self.page, self.scene = client, page, page.scene
        self.qualities, self.level, self.rate = moving_qualities(self.scene.config), 0, FrameRate()
        self.busy = threading.Lock()
        self.node: Any = None
        self.node_key: Any = None
        self.node_shown = False
        self.closed = threading.Event()
        self.key = secrets.token_urlsafe(12)
        self._add_controls(client.gui, truncation)
        self.worker = Worker(self._draw, self._failed)
        self.mesher = Worker(self._make_mesh, self._failed, settle=MESH_AFTER)
        client.camera.min_orbit_distance, client.camera.max_orbit_distance = 1.0, 12.0
        client.camera.on_update(self._changed)
        page.enter(self.key, self)  # last: from here on it may be told of heads
        for number in {panel.subject for panel in self.scene.panels().keys() - self.boxes.keys()}:
            self.grown(number)  # it came meanwhile
        self._changed()

    def close(self) -> None:
        """Ends the workers, after what they are at."""
        self.closed.set()
        self.page.leave(self.key)
        self.worker.stop(timeout=0)
        self.mesher.stop(timeout=0)

    def request(self) -> Request:
        """What the camera and the controls ask for."""
        camera = self.client.camera
        label = picture_camera(camera.wxyz, camera.position, camera.fov, radius=self.scene.config.camera_radius)
        return Request(
            camera=tuple(label.tolist()),
            aspect=camera.aspect,
            panels=self._panels() or tuple(self.boxes)[:1],
            tint=self.tint.value,
            truncation=None if self.truncation is None else self.truncation.value,
            strengths=self.strengths.of_all(),
            own=self.strengths.of_some(),
        )

    def _panels(self) -> tuple[Panel, ...]:
        return tuple(panel for panel, box in self.boxes.items() if box.value)

    def _add_controls(self, gui: Any, truncation: float) -> None:
        titles = self.scene.panels()
        shown = [panel for panel in titles if panel.head == STITCHED][: self.page.shown]
        if self.page.takes_photos:
            assert self.page.gallery is not None
            gui.add_html(drop_zone(self.key, self.page.gallery.folder))
        self.status = gui.add_markdown("starting" if titles else "no head yet")
        self.progress = gui.add_progress_bar(0.0, visible=False)
        self.gallery = gui.add_html("", visible=self.page.takes_photos)
        self.heads_folder = gui.add_folder("Heads")
        with self.heads_folder:
            self.boxes = {panel: gui.add_checkbox(title, panel in shown) for panel, title in titles.items()}
        self.tint = gui.add_checkbox("What the photo hides", False, hint="Red: not seen from the photo's camera")
        self.mesh = gui.add_checkbox("Mesh", False, hint="The surface of the first head shown")
        self.browser = gui.add_checkbox(
            "Browser draws moving", jax.default_backend() == "cpu", hint="One head's mesh while the camera moves"
        )
        self._add_transfer(gui)
        self._add_sliders(gui, truncation)
        for control in (*self.boxes.values(), self.tint, self.truncation):
            if control is not None:
                control.on_update(self._changed)
        self.mesh.on_update(self._mesh_switched)
        gui.add_button("Front").on_click(self._to_front)
        with gui.add_folder("Save"):
            gui.add_button("Snapshot (PNG)").on_click(self._snapshot)
            gui.add_button("Turntable (MP4)").on_click(self._turntable)
            for title, name, write in (
                ("Textured mesh (GLB)", "head.glb", results.textured_mesh),
                ("Splats (PLY)", "head.ply", results.splat_file),
                ("Head (NPZ)", "head.npz", results.head_file),
            ):
                gui.add_button(title).on_click(functools.partial(self._save, name, write))
        self._list_gallery()

    def _add_sliders(self, gui: Any, truncation: float) -> None:
        generated = any(subject.z is not None for subject in self.scene.subjects)
        self.truncation: Any = None
        self.strengths, self.sliders, self.setting = Strengths(tuple(self.scene.directions)), {}, False
        self.usual_truncation, self.chooser = truncation, None
        if not generated and not self.scene.directions:
            return
        with gui.add_folder("Style codes"):
            if generated:
                self.truncation = gui.add_slider("Truncation", 0.0, 1.0, 0.05, truncation)
            if self.scene.directions:
                self.chooser = gui.add_dropdown("Sliders move", self._targets(), initial_value=ALL_HEADS)
                self.chooser.visible = len(self.scene.subjects) > 1
                self.chooser.on_update(lambda _event: self._choose(self._targets().index(self.chooser.value)))
            for name in self.scene.directions:
                self.sliders[name] = gui.add_slider(name, -STRENGTH, STRENGTH, 0.1, 0.0)
                self.sliders[name].on_update(functools.partial(self._moved, name))
            gui.add_button("Reset").on_click(self._reset)

    def _add_transfer(self, gui: Any) -> None:
        parts, names = ("hair", *(part for part in PARTS[1:] if part != "hair")), self._names()
        self.transfer_folder = gui.add_folder("Part of another head", visible=len(self.scene.subjects) > 1)
        with self.transfer_folder:
            self.part = gui.add_dropdown("Part", parts, initial_value="hair")
            self.other = gui.add_dropdown("Of", names, initial_value=names[-1])
            gui.add_button("Transfer").on_click(self._transfer)

    def _names(self) -> tuple[str, ...]:
        return tuple(subject.name for subject in self.scene.subjects) or ("no head yet",)

    def _targets(self) -> tuple[str, ...]:
        return (ALL_HEADS, *(subject.name for subject in self.scene.subjects))

    def grown(self, number: int) -> None:
        """The scene has a new head."""
        with self.heads_folder:
            for panel, title in self.scene.panels().items():
                if panel.subject == number and panel not in self.boxes:
                    box = self.client.gui.add_checkbox(title, False)
                    box.on_update(self._changed)
                    self.boxes = {**self.boxes, panel: box}
        several = len(self.scene.subjects) > 1
        self.other.options = self._names()
        self.transfer_folder.visible = several
        if self.chooser is not None:
            self.chooser.options, self.chooser.visible = self._targets(), several
        self._list_gallery()

    def show(self, number: int) -> None:
        """Shows one head alone."""
        if not any(panel.subject == number for panel in self.boxes):
            return
        first = next(panel for panel in self.boxes if panel.subject == number)
        self.setting = True  # one change, and not one for each box
        for panel, box in self.boxes.items():
            box.value = panel == first
        self.setting = False
        self._changed()

    def _list_gallery(self) -> None:
        if self.page.takes_photos:
            shown = [panel.subject for panel in self._panels()]
            self.gallery.content = gallery_html(self.page.entries(), shown)

    def _changed(self, event: Any = None) -> None:
        if self.setting or not self.boxes:
            return
        if event is not None and getattr(event, "target", None) in self.boxes.values():
            self._list_gallery()
        if not self.mesh.value:
            self.worker.submit(self.request())

    def _moved(self, direction: str, _event: Any = None) -> None:
        if not self.setting:
            self.strengths.move(direction, self.sliders[direction].value)
            self._changed()

    def _choose(self, index: int) -> None:
        """The sliders move all heads (0), or head `index` - 1."""
        self.strengths.target = index - 1 if index else None
        self._set_sliders()

    def _reset(self, _event: Any = None) -> None:
        """All heads as they were."""
        self.strengths.reset()
        if self.truncation is not None:
            self.truncation.value = self.usual_truncation
        self._set_sliders()
        self._changed()

    def _set_sliders(self) -> None:
        self.setting = True  # these changes are not the user's
        for name, value in self.strengths.shown().items():
            self.sliders[name].value = value
        self.setting = False

    # What is drawn, and by whom.

    def _draw(self, request: Request, full: bool, stale: Callable[[], bool]) -> None:
        """The worker's part: draws and sends a picture, or leaves that to the browser."""
        key = _mesh_key(request) if self.browser.value else None
        if not full and key is not None and key == self.node_key:
            self._show_node()
            self.status.content = "moving, drawn by the browser"
            return
        if self.node_shown and key != self.node_key:
            self._hide_node()
        quality = full_quality(self.scene.config) if full else self.qualities[self.level]
        start = time.perf_counter()
        picture = self.scene.picture(request, quality, stale)
        if picture is None or self.mesh.value:
            return
        self.client.scene.set_background_image(picture, format="jpeg", jpeg_quality=92 if full else 75)
        seconds = time.perf_counter() - start
        if not full:
            self.level = next_level(self.level, seconds, len(self.qualities))
            self.status.content = f"moving, {quality.side} px of rays, {self.rate.tick():.1f} frames/s"
            return
        self.status.content = f"full, {quality.side} px of rays, {seconds:.2f} s"
        if self.node_shown:
            time.sleep(DECODED)
            if not stale():
                self._hide_node()
        if key is not None and key != self.node_key:
            self.mesher.submit(request)

    def _make_mesh(self, request: Request, full: bool, _stale: Callable[[], bool]) -> None:
        """The mesher's part: what the browser will draw. It serves although the camera moved meanwhile."""
        key = _mesh_key(request)
        if not full or key == self.node_key:
            return
        glb = self.scene.mesh(request)
        if self.closed.is_set() or self.mesh.value or _mesh_key(self.request()) != key:
            return
        self.node_key = None
        self.node, self.node_shown = self.client.scene.add_glb(NODE, glb, visible=False), False
        self.node_key = key

    def _show_node(self) -> None:
        if not self.node_shown:
            with self.client.atomic():
                self.node.visible = self.node_shown = True
                self.client.scene.set_background_image(None)

    def _hide_node(self) -> None:
        self.node.visible = self.node_shown = False

    def _mesh_switched(self, _event: Any) -> None:
        if not self.mesh.value:
            if self.node is not None:
                self._hide_node()
            self._changed()
        elif self.boxes:
            self._alone("making the mesh", self._show_mesh)

    def _show_mesh(self) -> None:
        request = self.request()
        glb = self.scene.mesh(request)
        if self.mesh.value:
            self.client.scene.set_background_image(None)
            self.node, self.node_shown = self.client.scene.add_glb(NODE, glb, visible=True), True
            self.node_key = _mesh_key(request)

    def _failed(self, error: Exception) -> None:
        """Says in the window and on stdout what went wrong."""
        text = one_line(f"{type(error).__name__}: {error}")
        note(text)
        self.client.add_notification("This did not work", text, color="red")

    # Photos, see `uploads.Host` and `maker.Customer`.

    def tell(self, line: str, part: float | None = None) -> None:
        """Says what is going on, and which part of it is done."""
        if part is not None:
            self.progress.visible, self.progress.value = part < 1, 100 * part
        self.status.content = one_line(line)

    def refuse(self, name: str, line: str) -> None:
        """Says in one line why there will be no head."""
        text = one_line(line)[:300]
        note(f"{name}: {text}")
        self.status.content = f"{name} was refused"
        self.client.add_notification(f"{name} was refused", text, color="red")

    def warn(self, name: str, line: str) -> None:
        """Says in one line what is doubtful of a photo of which there is a head."""
        text = one_line(line)[:300]
        note(f"{name}: {text}")
        self.client.add_notification(name, text, color="yellow")

    def check_room(self, count: int) -> None:
        """Raises InputError where so many photos more are too many."""
        self.page.check_room(count)

    def take(self, photos: list[Photo]) -> None:
        """Has heads made of the photos of one drop."""
        try:
            self.page.take(photos, self)
        except InputError as error:
            self.refuse("photos", str(error))

    def one_person(self, count: int) -> bool:
        """Asks whether so many photos show one person; no answer is no."""
        answers = {"One person: one head of all": True, "A head of each": False}
        with (modal := self.client.gui.add_modal(f"Whom do these {count} photos show?")):
            return bool(self._answer(modal, answers))

    def choose_face(self, name: str, picture: np.ndarray, count: int) -> int | None:
        """Asks which of the numbered faces of a picture is meant; None when the window closes, or nobody answers."""
        answers: dict[str, int | None] = {**{f"Face {number}": number for number in range(count)}, "None of them": None}
        with (modal := self.client.gui.add_modal(f"Whose head of {name}?")):
            self.client.gui.add_image(picture, format="jpeg")
            return self._answer(modal, answers)

    def _answer(self, modal: Any, answers: Mapping[str, Any]) -> Any:
        """What the button stands for that is pressed in a modal; None when the window closes, or nobody presses one."""
        pressed: list[Any] = []
        done = threading.Event()

        def choose(value: Any, _event: Any) -> None:
            pressed.append(value)
            done.set()

        for text, value in answers.items():
            self.client.gui.add_button(text).on_click(functools.partial(choose, value))
        end = time.monotonic() + CHOICE_SECONDS
        while not (done.wait(0.5) or self.closed.is_set() or time.monotonic() > end):
            pass
        modal.close()
        return pressed[0] if pressed else None

    # Buttons.

    def _to_front(self, _event: Any) -> None:
        camera = self.client.camera
        camera.position, camera.look_at = (0.0, 0.0, self.scene.config.camera_radius), (0.0, 0.0, 0.0)
        camera.up_direction, camera.fov = (0.0, 1.0, 0.0), usual_fov()

    def _snapshot(self, _event: Any) -> None:
        self._download("drawing the snapshot", "snapshot.png", lambda: self.scene.snapshot(self.request()))

    def _turntable(self, _event: Any) -> None:
        def work() -> bytes:
            self.progress.value, self.progress.visible = 0.0, True
            return self.scene.turntable(self.request(), TURN_FRAMES, TURN_FPS, self._show_part)

        self._download("drawing the turntable", "turntable.mp4", work)

    def _save(self, name: str, write: Callable[[Any, Any], bytes], _event: Any) -> None:
        # A head's file says which model it belongs to, which is that as it was loaded.
        params = self.scene.model if write is results.head_file else self.scene.params
        self._download(f"writing {name}", name, lambda: write(params, self.scene.head(self.request())))

    def _download(self, title: str, name: str, work: Callable[[], bytes]) -> None:
        if self.boxes:
            send = self.client.send_file_download
            self._alone(title, lambda: send(name, work(), save_immediately=True))

    def _transfer(self, _event: Any) -> None:
        def work() -> None:
            request = self.request()
            self.show(self.page.transfer(request, self._names().index(self.other.value), self.part.value))

        self._alone(f"transferring {self.part.value}", work)

    def _show_part(self, part: float) -> None:
        self.progress.value = math.floor(100 * part)

    def _alone(self, name: str, work: Callable[[], None]) -> None:
        """Does slow work in viser's thread for this event, one at a time, and says so."""
        if not self.busy.acquire(blocking=False):
            self.client.add_notification("One thing at a time", "The one before is not done yet", auto_close_seconds=3)
            return
        try:
            self.status.content = name
            work()
            self.status.content = f"{name}: done"
        except Exception as error:  # whatever it is, the window should say so and stay alive
            self._failed(error)
        finally:
            self.progress.visible = False
            self.busy.release()


def _mesh_key(request: Request) -> tuple | None:
    """What a mesh that stands for a request's picture depends on; None where no mesh can: several heads, or a tint."""
    if len(request.panels) != 1 or request.tint:
        return None
    [panel] = request.panels
    return panel, request.truncation, request.strengths_of(panel.subject)
