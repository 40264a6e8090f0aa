import math
import xml.etree.ElementTree as ElementTree

import numpy as np
from PIL import Image

from panojax.eval.figures import HEIGHT, MARGIN, WIDTH, write_curves, write_sheet

SVG = "{http://www.w3.org/2000/svg}"


def test_curves_go_through_their_figures(tmp_path):
    write_curves(tmp_path / "a.svg", "L2 <b>", [0, 90, 180], {"E1": [0.0, 0.5, 1.0], "E2": [0.2, math.nan, 0.1]})
    root = ElementTree.parse(tmp_path / "a.svg").getroot()
    points = [(float(c.get("cx")), float(c.get("cy"))) for c in root.iter(f"{SVG}circle")]
    assert len(points) == 5 and points[0] == (MARGIN, HEIGHT - MARGIN)
    assert points[1][0] == WIDTH / 2 and points[2][0] == WIDTH - MARGIN
    heights = np.array([HEIGHT - MARGIN - y for _, y in points])
    np.testing.assert_allclose(heights / (HEIGHT - 2 * MARGIN), np.array([0, 0.5, 1, 0.2, 0.1]) / 1.05, atol=1e-3)
    assert "L2 <b>" in [text.text for text in root.iter(f"{SVG}text")]


def test_curves_without_figures_are_not_drawn(tmp_path):
    write_curves(tmp_path / "a.svg", "depth", [0, 90], {"E1": [math.nan, math.nan]})
    assert not list(tmp_path.iterdir())


def test_a_sheet_has_a_row_a_method_below_the_truth(tmp_path):
    views, titles = np.full((3, 32, 32, 3), 60, np.uint8), np.array(["0", "30", "60"])
    shown = {"shown": views, "titles": titles, "true": np.full((3, 64, 64, 3), 200, np.uint8)}
    alone = {"shown": views, "titles": titles, "true": shown["true"][:1]}
    sides = []
    for name, record in (("a", shown), ("b", alone)):
        write_sheet(tmp_path / f"{name}.png", {"E1": [record, {}], "E2": [record, {}]})
        with Image.open(tmp_path / f"{name}.png") as sheet:
            sides.append(sheet.size)
    (width, three_rows), (same, two_rows) = sides
    assert width == same and 4 * 32 < width < 4 * 40 and round(three_rows / two_rows, 1) == 1.5
