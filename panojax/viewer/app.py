"""The viewer's window, by viser: for each browser one panel of controls and one worker."""

import functools
import math
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from panojax.camera import look_at
from panojax.errors import InputError
from panojax.extras import need
from panojax.terminal.progress import note, one_line
from panojax.viewer.camera import picture_camera, usual_fov, window_camera
from panojax.viewer.guard import Guard, guarded
from panojax.viewer.quality import full_quality, moving_qualities, next_level
from panojax.viewer.scene import Request, Scene
from panojax.viewer.strengths import Strengths
from panojax.viewer.subjects import STITCHED
from panojax.viewer.worker import FrameRate, Worker

TURN_FRAMES, TURN_FPS = 60, 30
# Panels that are shown at first.
SHOWN = 3
STRENGTH = 3.0
ALL_HEADS = "all heads"


def check_address(host: str, port: int) -> None:
    """Raises InputError unless a server can listen at an address; port 0 is any free one."""
    if not 0 <= port < 2**16:
        raise InputError(f"port must be 0 to 65535, got {port}")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"host and port must be an address that is free, got {host} {port}: {reason}") from error


def serve(
    scene: Scene, *, host: str = "127.0.0.1", port: int = 8080, truncation: float = 0.7, guard: Guard | None = None
) -> Any:
    """Starts a server in threads of its own and gives it; its `stop()` ends it.

    Args:
      host: address to listen at; the default is for browsers on this machine alone.
      port: 0 is any free one, which `get_port()` tells.
      truncation: where the slider of generated heads begins.
      guard: looks at each request and tells the page's address; None makes one for `host`.

    Raises:
      InputError: viser is not installed, or the address cannot be had.
    """
    viser = need("viser", "the viewer")
    check_address(host, port)
    with guarded(guard or Guard(host)):
        server = viser.ViserServer(host=host, port=port, label="panojax", verbose=False)
    if port and server.get_port() != port:  # taken in the meantime, and viser went on to the next
        server.stop()
        raise InputError(f"host and port must be an address that is free, got {host} {port}: Address already in use")
    server.gui.configure_theme(show_logo=False, show_share_button=False)  # sharing would go through another server
    server.gui.main_panel.dock_right()
    server.scene.set_up_direction("+y")
    _, position, _ = window_camera(np.asarray(look_at(0.0, radius=scene.config.camera_radius)))
    server.initial_camera.position, server.initial_camera.look_at = tuple(position), (0.0, 0.0, 0.0)
    server.initial_camera.up, server.initial_camera.fov = (0.0, 1.0, 0.0), usual_fov()
    windows: dict[int, Window] = {}

    def open_window(client: Any) -> None:
        windows[client.client_id] = Window(client, scene, truncation)

    def close_window(client: Any) -> None:
        if window := windows.pop(client.client_id, None):
            window.close()

    server.on_client_connect(open_window)
    server.on_client_disconnect(close_window)
    return server


class Window:
    """One browser's controls, and the worker that draws for it."""

    def __init__(self, client: Any, scene: Scene, truncation: float):
        self.client, self.scene = client, scene
        self.qualities, self.level, self.rate = moving_qualities(scene.config), 0, FrameRate()
        self.busy = threading.Lock()
        self._add_controls(client.gui, truncation)
        self.worker = Worker(self._draw, self._failed)
        client.camera.min_orbit_distance, client.camera.max_orbit_distance = 1.0, 12.0
        client.camera.on_update(self._changed)
        self._changed()

    def close(self) -> None:
        """Ends the worker, after what it is at."""
        self.worker.stop(timeout=0)

    def request(self) -> Request:
        """What the camera and the controls ask for."""
        camera = self.client.camera
        label = picture_camera(camera.wxyz, camera.position, camera.fov, radius=self.scene.config.camera_radius)
        shown = tuple(panel for panel, box in self.boxes.items() if box.value)
        return Request(
            camera=tuple(label.tolist()),
            aspect=camera.aspect,
            panels=shown or tuple(self.boxes)[:1],
            tint=self.tint.value,
            truncation=None if self.truncation is None else self.truncation.value,
            strengths=self.strengths.of_all(),
            own=self.strengths.of_some(),
        )

    def _add_controls(self, gui: Any, truncation: float) -> None:
        self.status = gui.add_markdown("starting")
        titles = self.scene.panels()
        shown = [panel for panel in titles if panel.head == STITCHED][:SHOWN]
        with gui.add_folder("Heads"):
            self.boxes = {panel: gui.add_checkbox(title, panel in shown) for panel, title in titles.items()}
        self.tint = gui.add_checkbox("What the photo hides", False, hint="Red: not seen from the photo's camera")
        self.mesh = gui.add_checkbox("Mesh", False, hint="The surface of the first head shown")
        generated = any(subject.z is not None for subject in self.scene.subjects)
        self.truncation: Any = None
        self.strengths, self.sliders, self.setting = Strengths(tuple(self.scene.directions)), {}, False
        self.usual_truncation = truncation
        if generated or self.scene.directions:
            with gui.add_folder("Style codes"):
                if generated:
                    self.truncation = gui.add_slider("Truncation", 0.0, 1.0, 0.05, truncation)
                if self.scene.directions and len(self.scene.subjects) > 1:
                    names = (ALL_HEADS, *(subject.name for subject in self.scene.subjects))
                    chooser = gui.add_dropdown("Sliders move", names, initial_value=ALL_HEADS)
                    chooser.on_update(lambda _event: self._choose(names.index(chooser.value)))
                for name in self.scene.directions:
                    self.sliders[name] = gui.add_slider(name, -STRENGTH, STRENGTH, 0.1, 0.0)
                    self.sliders[name].on_update(functools.partial(self._moved, name))
                gui.add_button("Reset").on_click(self._reset)
        for control in (*self.boxes.values(), self.tint, self.truncation):
            if control is not None:
                control.on_update(self._changed)
        self.mesh.on_update(self._mesh_switched)
        gui.add_button("Front").on_click(self._to_front)
        gui.add_button("Snapshot").on_click(self._snapshot)
        gui.add_button("Turntable").on_click(self._turntable)
        self.progress = gui.add_progress_bar(0.0, visible=False)

    def _changed(self, _event: Any = None) -> None:
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

    def _draw(self, request: Request, full: bool, stale: Callable[[], bool]) -> None:
        """The worker's part: draws and sends a picture."""
        quality = full_quality(self.scene.config) if full else self.qualities[self.level]
        start = time.perf_counter()
        picture = self.scene.picture(request, quality, stale)
        if picture is None or self.mesh.value:
            return
        self.client.scene.set_background_image(picture, format="jpeg", jpeg_quality=92 if full else 75)
        seconds = time.perf_counter() - start
        if full:
            self.status.content = f"full, {quality.side} px of rays, {seconds:.2f} s"
        else:
            self.level = next_level(self.level, seconds, len(self.qualities))
            self.status.content = f"moving, {quality.side} px of rays, {self.rate.tick():.1f} frames/s"

    def _failed(self, error: Exception) -> None:
        """Says in the window and on stdout what went wrong."""
        text = one_line(f"{type(error).__name__}: {error}")
        note(text)
        self.client.add_notification("This did not work", text, color="red")

    def _to_front(self, _event: Any) -> None:
        camera = self.client.camera
        camera.position, camera.look_at = (0.0, 0.0, self.scene.config.camera_radius), (0.0, 0.0, 0.0)
        camera.up_direction, camera.fov = (0.0, 1.0, 0.0), usual_fov()

    def _mesh_switched(self, _event: Any) -> None:
        if not self.mesh.value:
            self.client.scene.remove_by_name("/mesh")
            self._changed()
            return
        self._alone("extracting the mesh", lambda: self._show_mesh(self.scene.mesh(self.request())))

    def _show_mesh(self, glb: bytes) -> None:
        if self.mesh.value:
            self.client.scene.set_background_image(None)
            self.client.scene.add_glb("/mesh", glb)

    def _snapshot(self, _event: Any) -> None:
        def work():
            self.client.send_file_download("snapshot.png", self.scene.snapshot(self.request()), save_immediately=True)

        self._alone("drawing the snapshot", work)

    def _turntable(self, _event: Any) -> None:
        def work():
            self.progress.value, self.progress.visible = 0.0, True
            video = self.scene.turntable(self.request(), TURN_FRAMES, TURN_FPS, self._show_part)
            self.client.send_file_download("turntable.mp4", video, save_immediately=True)

        self._alone("drawing the turntable", work)

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
