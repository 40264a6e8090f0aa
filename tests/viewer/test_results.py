"""Files of a head, and heads with parts of others, on the tiny model."""

import io

import numpy as np
import pytest
import trimesh
from export_scene import bar_head

import panojax
from panojax.errors import InputError
from panojax.viewer import results


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    for name, value in {"VIEWS": 6, "PITCHES": (0.0,), "FACES": 500, "SPLATS": 50, "PART_VIEWS": 4}.items():
        monkeypatch.setattr(results, name, value)


def test_files(params, tmp_path):
    head = bar_head()
    mesh = trimesh.load(io.BytesIO(results.textured_mesh(params, head)), file_type="glb", force="mesh")
    # The bar is as high as the box, and pictures show it up to 0.34, at their border on its far side.
    np.testing.assert_allclose(np.abs(mesh.vertices).max(0), (0.2, 0.34, 0.2), atol=0.05)
    assert mesh.visual.material.baseColorTexture.size[0] > 64
    assert b"element vertex 50\n" in results.splat_file(params, head)
    (tmp_path / "head.npz").write_bytes(results.head_file(params, head))
    np.testing.assert_array_equal(panojax.load_head(tmp_path / "head.npz", params).planes, head.planes)


def test_a_part_comes_from_the_other_head(params, monkeypatch):
    """The upper half of the pictures is the part."""

    def segment(image):
        rows = np.arange(len(image))[:, None] * np.ones(len(image))
        return np.stack([rows >= len(image) / 2, *3 * [0 * rows], rows < len(image) / 2], axis=-1)

    monkeypatch.setattr(results, "segment", segment)
    head = bar_head()
    other = head.replace(planes=head.planes + 1)
    mixed = results.with_part(params, head, other, "clothes")
    moved = np.asarray(mixed.planes - head.planes)
    # The first plane's rows go along y: nothing on one side of the middle, all of the other head on the other.
    rows = moved[0].mean((0, 2, 3))
    assert sorted((round(float(rows[0]), 2), round(float(rows[-1]), 2)))[0] == 0 and rows.max() > 0.9
    with pytest.raises(InputError, match="nowhere on the head"):
        results.with_part(params, head, other, "hair")
    with pytest.raises(InputError, match="part must be"):
        results.with_part(params, head, other, "background")
