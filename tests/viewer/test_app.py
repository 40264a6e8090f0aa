"""The window's controls with a stand-in for the browser, the server's address, and `panojax view`."""

import contextlib
import socket
import threading
import time
import types
import urllib.request

import numpy as np
import pytest
from export_scene import bar_head

import panojax
from panojax.commands import cli, view
from panojax.files.head_file import save_head
from panojax.params import random_params
from panojax.viewer import app, subjects
from panojax.viewer import page as pages
from panojax.viewer import scene as scenes
from panojax.viewer import window as windows
from panojax.viewer.camera import window_camera
from panojax.viewer.gallery import Gallery
from panojax.viewer.page import Page
from panojax.viewer.uploads import Photo


class Control:
    """A control of viser's panel: a value, and who wants to know."""

    def __init__(self, value=None):
        self.value, self.calls, self.content, self.visible = value, [], "", True

    def on_update(self, call):
        self.calls.append(call)

    on_click = on_update

    def act(self, value=None):
        self.value = value
        for call in self.calls:
            call(None)


class Folder(contextlib.nullcontext):
    """A folder of controls, or a modal."""

    visible, closed = True, False

    def close(self):
        self.closed = True


class Client:
    """As much of viser's client as a window uses: it keeps what it is sent."""

    def __init__(self):
        self.controls, self.pictures, self.files, self.notes, self.nodes = {}, [], {}, [], {}
        self.folders, self.atomic = {}, contextlib.nullcontext
        wxyz, position, fov = window_camera(np.asarray(panojax.look_at(0.5)))
        self.camera = types.SimpleNamespace(wxyz=wxyz, position=position, fov=fov, aspect=1.5, on_update=self.watch)
        self.gui = types.SimpleNamespace(
            add_markdown=lambda text: self.keep("status", text),
            add_checkbox=lambda name, value, hint=None: self.keep(name, value),
            add_slider=lambda name, low, high, step, value: self.keep(name, value),
            add_dropdown=lambda name, options, initial_value: self.keep(name, initial_value),
            add_button=self.keep,
            add_progress_bar=lambda value, visible: self.keep("progress", value),
            add_html=lambda content, visible=True: self.keep_html(content),
            add_image=lambda picture, format: self.pictures.append(picture),
            add_folder=self.keep_folder,
            add_modal=self.keep_folder,
        )
        self.scene = types.SimpleNamespace(
            set_background_image=lambda image, **options: self.pictures.append(image),
            add_glb=self.keep_node,
        )

    def keep(self, name, value=None):
        self.controls[name] = Control(value)
        return self.controls[name]

    def keep_folder(self, name, visible=True):
        self.folders[name] = Folder()
        self.folders[name].visible = visible
        return self.folders[name]

    def keep_html(self, content):
        control = self.keep("zone" if "drop" in content else "gallery")
        control.content = content
        return control

    def keep_node(self, name, glb, visible):
        self.nodes[name] = types.SimpleNamespace(glb=glb, visible=visible)
        return self.nodes[name]

    def watch(self, call):
        self.moved = call

    def send_file_download(self, name, content, save_immediately):
        self.files[name] = content

    def add_notification(self, title, body, **options):
        self.notes.append(body)


def wait_for(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture(autouse=True)
def _no_model(monkeypatch):
    """Plain pictures and no edits: what the model draws is looked at in `test_scene`."""
    monkeypatch.setattr(scenes, "take_picture", lambda *args: np.full((128, 128, 3), 90, np.uint8))
    monkeypatch.setattr(pages, "take_picture", lambda *args: np.full((128, 128, 3), 90, np.uint8))
    monkeypatch.setattr(scenes, "edited", lambda params, subject, *edit: subject)
    monkeypatch.setattr(scenes, "moving_mesh", lambda *args: b"glTF")
    monkeypatch.setattr(subjects, "_mask", lambda params, head, camera: np.ones((3, 3, 8, 8)))
    monkeypatch.setattr(subjects, "_generate", lambda params, z, truncation: bar_head())


@pytest.fixture
def scene(params, _no_model):
    """A generated head and a kept one, and a direction."""
    both = [subjects.from_latent(params, np.ones(16), 0.7, "seed 1"), subjects.from_head(params, bar_head(), "kept")]
    return scenes.Scene(params, both, {"smile": np.zeros(())})


@pytest.fixture
def client():
    return Client()


@pytest.fixture
def page(scene):
    return Page(scene)


@pytest.fixture
def window(client, page):
    window = windows.Window(client, page, 0.7)
    window.browser.value = False
    wait_for(lambda: "full" in client.controls["status"].content)
    yield window
    window.close()
    window.worker.stop()
    window.mesher.stop()


def test_window_draws_what_its_controls_say(client, window, scene):
    assert list(client.controls) == [
        *("status", "progress", "gallery", "seed 1", "kept", "What the photo hides", "Mesh", "Browser draws moving"),
        *("Part", "Of", "Transfer", "Truncation", "Sliders move", "smile", "Reset", "Front", "Snapshot (PNG)"),
        *("Turntable (MP4)", "Textured mesh (GLB)", "Splats (PLY)", "Head (NPZ)"),
    ]
    assert client.pictures[-1].shape == (171, 256, 3)  # two pictures of 128 in a window of 3 : 2
    np.testing.assert_allclose(window.request().camera, panojax.look_at(0.5), atol=1e-5)
    before = client.pictures[-1]
    client.controls["kept"].act(False)
    client.controls["smile"].act(2.0)
    assert window.request().strengths == (("smile", 2.0),)
    wait_for(lambda: client.pictures[-1].shape == (128, 192, 3))
    client.controls["seed 1"].act(False)  # then the first one is shown all the same
    assert len(window.request().panels) == 1
    client.camera.aspect = 1.0
    client.moved(None)
    wait_for(lambda: client.pictures[-1].shape == (128, 128, 3))
    assert before.shape != client.pictures[-1].shape and not client.notes


def test_sliders_move_all_heads_or_one_and_are_reset(client, window):
    controls = client.controls
    controls["smile"].act(1.0)
    controls["Sliders move"].act("kept")
    assert controls["smile"].value == 1.0
    controls["smile"].act(-2.0)
    request = window.request()
    assert request.strengths_of(0) == (("smile", 1.0),) and request.strengths_of(1) == (("smile", -2.0),)
    controls["Sliders move"].act("all heads")
    assert controls["smile"].value == 1.0
    controls["smile"].act(0.5)
    assert {window.request().strengths_of(i) for i in (0, 1)} == {(("smile", 0.5),)}
    controls["Sliders move"].act("seed 1")
    controls["Truncation"].act(0.2)
    controls["smile"].act(3.0)
    controls["Reset"].act()
    request = window.request()
    assert request.own == () and request.strengths == (("smile", 0.0),) and request.truncation == 0.7
    assert controls["smile"].value == 0.0


def test_heads_are_named_by_their_folders(tmp_path, scene):
    (tmp_path / "ann").mkdir()
    assert view.head_name(tmp_path / "ann" / "head.npz") == "ann"
    assert view.head_name(tmp_path / "ann" / "older.npz") == "older"
    twice = scenes.Scene(scene.params, [scene.subjects[1], scene.subjects[1]])
    assert list(twice.panels().values()) == ["kept 1", "kept 2"]


def test_buttons(client, window, monkeypatch):
    monkeypatch.setattr(windows, "TURN_FRAMES", 2)
    client.controls["Front"].act()
    assert client.camera.position == (0, 0, 2.7) and client.camera.look_at == (0, 0, 0)
    client.controls["Snapshot (PNG)"].act()
    client.controls["Turntable (MP4)"].act()
    assert client.files["snapshot.png"][1:4] == b"PNG" and client.files["turntable.mp4"][4:8] == b"ftyp"
    assert client.controls["progress"].value == 100 and not client.controls["progress"].visible
    client.controls["Head (NPZ)"].act()
    assert client.files["head.npz"][:2] == b"PK" and not client.notes
    client.controls["Mesh"].act(True)
    assert client.nodes["/head"].visible and client.pictures[-1] is None
    client.controls["Mesh"].act(False)
    assert not client.nodes["/head"].visible
    wait_for(lambda: client.pictures[-1] is not None)


def test_failures_are_shown_and_one_thing_is_done_at_a_time(client, window, monkeypatch, capsys):
    def fail(request):
        raise panojax.InputError("there is\nno surface")

    monkeypatch.setattr(window.scene, "mesh", fail, raising=False)
    client.controls["Mesh"].act(True)
    assert client.notes == ["InputError: there is no surface"]
    assert "there is no surface" in capsys.readouterr().out
    with window.busy:
        client.controls["Snapshot (PNG)"].act()
    assert "not done yet" in client.notes[-1] and not client.files


def test_the_browser_draws_one_head_while_it_moves(client, window, monkeypatch):
    """Its mesh is made once it is still; the exact picture takes its place; what is edited is drawn by us again."""
    monkeypatch.setattr(windows, "DECODED", 0.0)
    client.controls["kept"].act(False)
    client.controls["Browser draws moving"].act(True)
    client.moved(None)
    wait_for(lambda: window.node_key is not None)
    assert client.nodes["/head"].glb == b"glTF" and not client.nodes["/head"].visible
    wait_for(lambda: "full" in client.controls["status"].content)
    client.pictures.clear()
    client.moved(None)
    wait_for(lambda: client.pictures)
    assert client.pictures[0] is None  # no picture is drawn: the mesh is shown before nothing
    wait_for(lambda: len(client.pictures) == 2)
    assert client.pictures[1].shape[0] == 128
    wait_for(lambda: not client.nodes["/head"].visible)
    client.pictures.clear()
    client.controls["smile"].act(1.5)
    wait_for(lambda: client.pictures)
    assert client.pictures[0] is not None
    wait_for(lambda: window.node_key is not None and dict(window.node_key[2]) == {"smile": 1.5})


def test_a_mesh_serves_although_the_camera_moved_while_it_was_made(client, window, monkeypatch):
    """But not where another head is shown by then."""
    begun, go_on, made = threading.Event(), threading.Event(), []

    def mesh(request):
        made.append(request)
        begun.set()
        assert go_on.wait(20)
        return b"glTF"

    monkeypatch.setattr(window.scene, "mesh", mesh)
    monkeypatch.setattr(windows, "MESH_AFTER", 0.0)
    client.controls["kept"].act(False)
    client.controls["Browser draws moving"].act(True)
    client.moved(None)
    assert begun.wait(20)
    client.camera.position = (1.0, 0.0, 2.5)
    client.moved(None)
    wait_for(window.mesher._stale)
    go_on.set()
    wait_for(lambda: window.node_key == windows._mesh_key(window.request()) is not None)
    assert len(made) == 1
    begun.clear(), go_on.clear()
    client.controls["smile"].act(1.0)
    assert begun.wait(20)
    client.controls["smile"].act(2.0)
    go_on.set()
    wait_for(lambda: window.node_key is not None and dict(window.node_key[2]) == {"smile": 2.0})
    assert [dict(request.strengths) for request in made[-2:]] == [{"smile": 1.0}, {"smile": 2.0}]


def test_new_heads_are_listed_by_all_windows_and_shown_by_the_one_that_asked(client, window, page):
    other = Client()
    second = windows.Window(other, page, 0.7)
    number = page.scene.add(subjects.from_head(page.scene.params, bar_head(), "kept"))
    page.made(number, np.zeros((128, 128, 3), np.uint8), window)
    for seen in (client, other):
        assert seen.controls["Of"].options == ("seed 1", "kept", "kept 2")
        assert seen.controls["Sliders move"].options == ("all heads", "seed 1", "kept", "kept 2")
    assert [panel.subject for panel in window.request().panels] == [2]
    assert [panel.subject for panel in second.request().panels] == [0, 1]
    second.close()
    assert list(page.windows.values()) == [window]
    window.show(7)  # which there is not
    assert [panel.subject for panel in window.request().panels] == [2]


def test_parts_are_transferred_to_a_new_head(client, window, page, monkeypatch, tmp_path):
    monkeypatch.setattr(
        pages, "with_part", lambda params, head, other, part, drawn_by: other if part == "hair" else None
    )
    page.gallery = Gallery(tmp_path)
    client.controls["seed 1"].act(False)
    client.controls["Of"].value = "seed 1"
    client.controls["Transfer"].act()
    assert page.scene.subjects[2].name == "kept with hair of seed 1" and not client.notes
    assert (tmp_path / "kept with hair of seed 1" / "head.npz").is_file()
    assert [panel.subject for panel in window.request().panels] == [2]
    monkeypatch.setattr(pages, "MAX_HEADS", 3)
    client.controls["Transfer"].act()
    assert client.notes == ["InputError: a page shows at most 3 heads, got one more"]


def test_photos_that_no_page_takes(client, window, page):
    window.take([Photo("me", b"", ".jpg")])
    assert client.notes == ["checkpoint must hold encoders to make heads of photos, it has none"]
    assert client.controls["status"].content == "photos was refused"


def test_a_face_is_chosen_in_the_window(client, window):
    answers = []

    def ask():
        answers.append(window.choose_face("me", np.zeros((64, 64, 3), np.uint8), 3))

    for name, answer in (("Face 1", 1), ("None of them", None)):
        client.controls.pop(name, None)
        thread = threading.Thread(target=ask)
        thread.start()
        wait_for(lambda name=name: name in client.controls and client.controls[name].calls)
        client.controls[name].act()
        thread.join(10)
        assert answers.pop() == answer and client.folders["Whose head of me?"].closed
    window.closed.set()  # a window that is closed chooses none
    assert window.choose_face("me", np.zeros((64, 64, 3), np.uint8), 3) is None


def test_whether_photos_show_one_person_is_asked(client, window):
    answers = []
    for name, answer in (("One person: one head of all", True), ("A head of each", False)):
        client.controls.pop(name, None)
        thread = threading.Thread(target=lambda: answers.append(window.one_person(3)))
        thread.start()
        wait_for(lambda name=name: name in client.controls and client.controls[name].calls)
        client.controls[name].act()
        thread.join(10)
        assert answers.pop() is answer and client.folders["Whom do these 3 photos show?"].closed
    window.closed.set()
    assert window.one_person(3) is False


def test_an_empty_page(params):
    client = Client()
    window = windows.Window(client, Page(scenes.Scene(params, [])), 0.7)
    client.moved(None)
    client.controls["Snapshot (PNG)"].act()
    client.controls["Mesh"].act(True)
    assert client.controls["status"].value == "no head yet" and not (client.pictures or client.files or client.notes)
    window.close()


@pytest.fixture
def taken():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_addresses_that_cannot_be_had(taken):
    with pytest.raises(panojax.InputError, match=f"free, got 127.0.0.1 {taken}: Address already in use"):
        app.check_address("127.0.0.1", taken)
    with pytest.raises(panojax.InputError, match="port must be 0 to 65535, got 70000"):
        app.check_address("127.0.0.1", 70000)
    with pytest.raises(panojax.InputError, match="host and port"):
        app.check_address("203.0.113.7", 0)  # of no machine: for documentation


def test_viser_serves_on_the_loopback_address(page):
    server = app.serve(page, port=0)
    try:
        assert server.get_host() == "127.0.0.1"
        with urllib.request.urlopen(f"http://127.0.0.1:{server.get_port()}", timeout=10) as page:
            text = page.read()
        handlers = server.gui._websock_interface._incoming_handlers
        assert not [message for message in handlers if message.__name__ == "FileTransferStartUpload"]
        assert b"<html" in text and b"data-panojax-window" in text.partition(b"</script>")[0]  # drop.js
    finally:
        server.stop()


def refused(capsys, *arguments):
    assert cli.main(["view", *map(str, arguments)]) == 2
    [line] = capsys.readouterr().err.splitlines()
    return line


def test_view_refuses(params, checkpoint, scene, taken, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cli, "keep_compiled_programs", lambda: None)
    message = refused(capsys, "--checkpoint", checkpoint, "--port", 0, "--folder", tmp_path / "heads")
    assert "encoders to make heads of photos" in message and "--seeds be given, got neither" in message
    assert not (tmp_path / "heads").exists()
    assert "at most 24, got 31" in refused(capsys, "a.npz", "--seeds", "0-29")
    assert "Address already in use" in refused(capsys, "a.npz", "--port", taken)
    assert "finite" in refused(capsys, "a.npz", "--truncation", "nan")
    assert "nothing there" in refused(capsys, tmp_path / "a.npz", "--port", 0)
    assert "which does not exist" in refused(capsys, "me.jpg", "--checkpoint", "none", "--port", 0)
    (tmp_path / "me.jpg").write_bytes(b"")
    assert "must hold encoders" in refused(capsys, tmp_path / "me.jpg", "--checkpoint", checkpoint, "--port", 0)
    other = params.replace(generator=random_params(params.config).generator)
    save_head(scene.subjects[1].heads["stitched"], tmp_path / "a.npz", params=other)
    message = refused(capsys, tmp_path / "a.npz", "--checkpoint", checkpoint, "--port", 0)
    assert "another model" in message


def test_view_starts(params, checkpoint, scene, tmp_path, capsys):
    save_head(scene.subjects[1].heads["stitched"], tmp_path / "ann.npz", params=params)
    options = view.Options(heads=(str(tmp_path / "ann.npz"),), seeds="3", checkpoint=str(checkpoint), port=0)
    server, page = view.start(options)
    assert not page.takes_photos and len(page.scene.subjects) == 2
    try:
        assert server.get_port() > 0
    finally:
        server.stop()
    assert "compiling" in capsys.readouterr().out
