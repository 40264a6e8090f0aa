"""The page as a person uses it, in headless Chromium: a photo is dropped, its head turned, edited and saved.

Skipped where playwright or Chromium is not installed. The default model inverts, which takes a minute on a CPU.
"""

import base64
import io
import re
import shutil
import time

import numpy as np
import pytest
import trimesh
from browser import FLAGS, bomb
from PIL import Image

from panojax.commands import view

pytestmark = pytest.mark.slow
FULL = re.compile(r"full, \d+ px")
SLOW = 600_000  # milliseconds
# Frames in which the page draws something of many triangles: the head's mesh.
COUNT_FRAMES = """
window.frames_drawn = 0; let now = 0, last = -1;
const next = () => { now++; requestAnimationFrame(next); };
requestAnimationFrame(next);
const draw = WebGL2RenderingContext.prototype.drawElements;
WebGL2RenderingContext.prototype.drawElements = function (...a) {
  if (a[1] > 1000 && last !== now) { last = now; window.frames_drawn++; }
  return draw.apply(this, a);
};
"""
DROP = """files => {
  const dataTransfer = new DataTransfer();
  for (const [name, text] of files)
    dataTransfer.items.add(new File([Uint8Array.from(atob(text), c => c.charCodeAt(0))], name));
  document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
}"""
DROP_GIGABYTE = """() => {
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File(Array(1024).fill(new Blob([new Uint8Array(2 ** 20)])), "big.jpg"));
  document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
}"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("page") / "heads"


@pytest.fixture(scope="module")
def page(folder):
    api = pytest.importorskip("playwright.sync_api", reason="playwright, 165 MB, is not among the test packages")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium is installed (Debian's package chromium)")
    server, shared = view.start(view.Options(seeds="3", folder=folder, port=0))
    try:
        with api.sync_playwright() as session:
            browser = session.chromium.launch(executable_path=chromium, args=FLAGS)
            page = browser.new_page(viewport={"width": 1000, "height": 600})
            page.set_default_timeout(SLOW)
            page.add_init_script(COUNT_FRAMES)
            page.goto(f"http://127.0.0.1:{server.get_port()}")
            page.get_by_text(FULL).wait_for()
            yield page
            browser.close()
    finally:
        shared.stop()
        server.stop()


def drop(page, **files):
    page.evaluate(DROP, [[name, base64.b64encode(data).decode()] for name, data in files.items()])


def shot(page):
    page.wait_for_timeout(1000)
    clip = {"x": 100, "y": 250, "width": 450, "height": 300}
    return np.asarray(Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB")).astype(float)


def saved(page, button):
    with page.expect_download() as download:
        page.get_by_role("button", name=button).click()
    return download.value.path()


def test_hostile_files_are_refused_in_one_line(page, folder):
    drop(page, **{"evil.jpg": b"#!/bin/sh\nreboot\n", "bomb.png": bomb()})
    page.evaluate(DROP_GIGABYTE)
    for name, line in (
        ("evil", "evil must be a picture"),
        ("bomb", "bomb must have at most 178 million pixels"),
        ("big", "big must have at most 64 MiB, got 1024 MiB"),
    ):
        page.get_by_text(f"{name} was refused").first.wait_for()
        assert "\n" not in page.get_by_text(line).first.inner_text()
    assert not folder.exists()


def test_a_photo_becomes_a_head_that_turns(page, folder):
    import skimage.data

    file = io.BytesIO()
    Image.fromarray(skimage.data.astronaut()).save(file, "JPEG")
    before = shot(page)
    drop(page, **{"me.jpg": file.getvalue()})
    page.locator('[data-panojax-head="1"]').wait_for()
    page.get_by_text(FULL).wait_for()
    exact = shot(page)
    assert np.abs(exact - before).mean() > 5  # another head
    assert {path.name for path in (folder / "me").iterdir()} == {"head.npz", "photo.jpg", "thumbnail.png"}
    end, still, frames = time.monotonic() + SLOW / 1000, 5.0, 0
    while frames <= 20:  # until there is a mesh, for which the head must be still, the server draws
        assert time.monotonic() < end
        page.get_by_text(FULL).wait_for()
        page.wait_for_timeout(1000 * still)
        still *= 1.5  # on busy cores it takes longer
        count = page.evaluate("window.frames_drawn")
        page.mouse.up()
        page.mouse.move(300, 300)
        page.mouse.down()
        page.mouse.move(500, 300, steps=60)
        frames = page.evaluate("window.frames_drawn") - count
    page.mouse.up()
    page.get_by_text(FULL).wait_for()
    assert np.abs(shot(page) - exact).mean() > 5


def test_hair_is_transferred_and_files_are_saved(page, folder, tmp_path):
    page.get_by_role("button", name="Front").click()
    page.get_by_role("button", name="Transfer").click()
    page.locator('[data-panojax-head="2"]').wait_for()
    [mixed] = [path for path in folder.iterdir() if "with hair of" in path.name]
    assert (mixed / "head.npz").is_file()
    mesh = trimesh.load(saved(page, "Textured mesh (GLB)"), file_type="glb", force="mesh")
    assert 1000 < len(mesh.faces) <= 31_000 and np.ptp(mesh.vertices, axis=0).min() > 0.2
    assert saved(page, "Head (NPZ)").read_bytes()[:2] == b"PK"
