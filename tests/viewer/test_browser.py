"""The viewer in a real browser: headless Chromium, driven by playwright. Skipped where either is not installed."""

import io
import re
import shutil

import numpy as np
import pytest
from browser import FLAGS
from PIL import Image

from panojax.viewer import app
from panojax.viewer.page import Page


@pytest.fixture(scope="module")
def page(scene):
    api = pytest.importorskip("playwright.sync_api", reason="playwright, 165 MB, is not among the test packages")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium is installed (Debian's package chromium)")
    server = app.serve(Page(scene), port=0)
    try:
        with api.sync_playwright() as session:
            browser = session.chromium.launch(executable_path=chromium, args=FLAGS)
            page = browser.new_page(viewport={"width": 800, "height": 450})
            page.goto(f"http://127.0.0.1:{server.get_port()}")
            page.get_by_text(re.compile(r"full, \d+ px")).wait_for(timeout=30_000)
            yield page
            browser.close()
    finally:
        server.stop()


def shot(page):
    """The left half of the window, which the controls leave free, as [H, W, 3]."""
    page.wait_for_timeout(500)
    clip = {"x": 0, "y": 60, "width": 400, "height": 380}
    return np.asarray(Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB")).astype(int)


def test_orbits_with_the_mouse(page):
    before = shot(page)
    assert before.std() > 10  # a picture, and not an empty page
    page.mouse.move(300, 300)
    page.mouse.down()
    seen = set()
    for step in range(20):
        page.mouse.move(300 - 10 * step, 300)
        page.wait_for_timeout(40)
        seen.add(page.get_by_text(re.compile(r"(moving|full), \d+ px")).inner_text().split(",")[0])
    page.mouse.up()
    assert "moving" in seen
    page.get_by_text(re.compile(r"full, \d+ px")).wait_for(timeout=10_000)
    assert np.abs(shot(page) - before).mean() > 1  # two still pictures differ by nothing


def test_controls_and_downloads(page):
    before = shot(page)
    page.locator("label").filter(has_text=re.compile(r"^kept$")).first.click()
    assert np.abs(shot(page) - before).mean() > 1  # one picture instead of two
    with page.expect_download(timeout=10_000) as download:
        page.get_by_role("button", name="Snapshot (PNG)").click()
    assert np.asarray(Image.open(download.value.path())).shape == (128, 128, 3)
