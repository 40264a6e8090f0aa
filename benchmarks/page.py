"""The page in a real browser: pictures of it, and the frames a second that it draws while a head is turned.

    python benchmarks/page.py --photo photo.jpg --out PICTURES

Needs playwright and Chromium, drawing in software. The photo (the astronaut by default) is dropped on the page; once
its head is there and still, the mouse turns it for some seconds. OUT gets `viewer_drop.jpg`, `viewer_head.jpg`,
`viewer_moving.jpg` and the head's textured mesh, `head.glb`.
"""

import argparse
import base64
import io
import pathlib
import shutil
import sys
import tempfile
import time

from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests"))

from browser import FLAGS
from viewer.test_photos_in_browser import COUNT_FRAMES, DROP, FULL, SLOW

from panojax.commands import view


def main() -> None:
    """Prints seconds and frames a second."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photo", type=pathlib.Path)
    parser.add_argument("--seconds", type=float, default=5.0, help="of turning")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as session:
        server, shared = view.start(view.Options(folder=pathlib.Path(folder) / "heads", port=0))
        try:
            browser = session.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
            page = browser.new_page(viewport={"width": 1100, "height": 700})
            page.set_default_timeout(SLOW)
            page.add_init_script(COUNT_FRAMES)
            page.goto(f"http://127.0.0.1:{server.get_port()}")
            page.wait_for_timeout(5000)
            close_notes(page)
            picture(page, options.out / "viewer_drop.jpg")
            begun = time.monotonic()
            page.evaluate(DROP, [["me.jpg", base64.b64encode(photo(options.photo)).decode()]])
            page.locator('[data-panojax-head="1"], [data-panojax-head="0"]').first.wait_for()
            page.get_by_text(FULL).wait_for()
            print(f"from the drop to the head in full: {time.monotonic() - begun:.0f} s", flush=True)
            page.wait_for_timeout(40_000)  # the mesh that the browser draws is made meanwhile
            close_notes(page)
            picture(page, options.out / "viewer_head.jpg")
            turn(page, options)
            with page.expect_download() as download:
                page.get_by_role("button", name="Textured mesh (GLB)").click()
            shutil.copy(download.value.path(), options.out / "head.glb")
            browser.close()
        finally:
            shared.stop()
            server.stop()


def turn(page, options) -> None:
    """Moves the mouse to and fro, and prints how many frames of the mesh were drawn."""
    page.mouse.move(350, 350)
    page.mouse.down()
    page.mouse.move(400, 350, steps=10)
    begun, before, x, step = time.monotonic(), page.evaluate("window.frames_drawn"), 400, 4
    while time.monotonic() - begun < options.seconds:
        x += step
        step = -step if not 250 < x < 550 else step
        page.mouse.move(x, 350)
    seconds, frames = time.monotonic() - begun, page.evaluate("window.frames_drawn") - before
    picture(page, options.out / "viewer_moving.jpg")
    page.mouse.up()
    print(f"{frames} frames in {seconds:.1f} s of turning: {frames / seconds:.0f} a second", flush=True)


def close_notes(page) -> None:
    """Closes the page's notes."""
    for button in page.locator(".mantine-Notification-closeButton").all():
        button.click()
    page.wait_for_timeout(500)


def photo(path: pathlib.Path | None) -> bytes:
    """A photo's file, or the astronaut's."""
    if path is not None:
        return path.read_bytes()
    import skimage.data

    file = io.BytesIO()
    Image.fromarray(skimage.data.astronaut()).save(file, "JPEG", quality=95)
    return file.getvalue()


def picture(page, path: pathlib.Path) -> None:
    """What the page shows."""
    Image.open(io.BytesIO(page.screenshot())).convert("RGB").save(path, quality=85)


if __name__ == "__main__":
    main()
