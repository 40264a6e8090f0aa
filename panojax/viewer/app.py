"""The viewer's server, by viser: its address, its page with our script, and a window for each browser."""

import contextlib
import pathlib
import socket
from typing import Any

import numpy as np

from panojax.camera import look_at
from panojax.errors import InputError
from panojax.extras import need
from panojax.viewer.camera import usual_fov, window_camera
from panojax.viewer.guard import Guard, guarded
from panojax.viewer.page import Page
from panojax.viewer.window import Window


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
    page: Page, *, host: str = "127.0.0.1", port: int = 8080, truncation: float = 0.7, guard: Guard | None = None
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
    script = pathlib.Path(__file__).with_name("drop.js").read_text()
    with guarded(guard or Guard(host), script=script, own={"/page": page.uploads.receive}):
        server = viser.ViserServer(host=host, port=port, label="panojax", verbose=False)
    if port and server.get_port() != port:  # taken in the meantime, and viser went on to the next
        server.stop()
        raise InputError(f"host and port must be an address that is free, got {host} {port}: Address already in use")
    server.gui.configure_theme(show_logo=False, show_share_button=False)  # sharing would go through another server
    server.gui.main_panel.dock_right()
    server.scene.set_up_direction("+y")
    server.scene.configure_default_lights(False)  # nothing here is shaded, and lights would draw a mesh again and again
    _, position, _ = window_camera(np.asarray(look_at(0.0, radius=page.scene.config.camera_radius)))
    server.initial_camera.position, server.initial_camera.look_at = tuple(position), (0.0, 0.0, 0.0)
    server.initial_camera.up, server.initial_camera.fov = (0.0, 1.0, 0.0), usual_fov()
    windows: dict[int, Window] = {}

    _take_no_files(server.gui)

    def open_window(client: Any) -> None:
        _take_no_files(client.gui)
        windows[client.client_id] = Window(client, page, truncation)
        if client.client_id not in server.get_clients():  # closed while it was built
            close_window(client)

    def close_window(client: Any) -> None:
        if window := windows.pop(client.client_id, None):
            window.close()

    server.on_client_connect(open_window)
    server.on_client_disconnect(close_window)
    return server


def _take_no_files(gui: Any) -> None:
    """viser's own messages for files bring as many bytes into memory as a browser likes; the page has others."""
    with contextlib.suppress(ImportError, AttributeError, AssertionError):  # private, and not there in every version
        from viser import _messages

        gui._websock_interface.unregister_handler(_messages.FileTransferStartUpload)
