"""The mesh that the browser draws, and its colours on viser's page."""

import io

import numpy as np
import pytest
import trimesh

from panojax.viewer.moving import before_tone_mapping, glb, tone_mapped


def srgb(linear):
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def test_tone_mapping_is_undone():
    """Greys and colours such as those of skin to half a byte; what the curve cannot reach is nearly white."""
    greys = np.linspace(0, 0.97, 50)[:, None] * np.ones(3)
    skin = np.random.default_rng(1).uniform(0.2, 0.8, (99, 1)) * np.array([1.0, 0.8, 0.65])
    colours = np.concatenate([greys, skin])
    shown = srgb(tone_mapped(before_tone_mapping(colours)))
    assert np.abs(shown - colours).max() < 0.5 / 255
    white = before_tone_mapping(np.ones((1, 3)))
    assert white.max() > 1 and np.isfinite(white).all() and srgb(tone_mapped(white)).min() > 0.98


def test_the_curve_is_the_filmic_one():
    """Of white, three.js's shader gives three quarters of the linear light: dimmer than white, and not a colour."""
    [white] = tone_mapped(np.ones((1, 3)))
    assert np.ptp(white) < 1e-3 and white[0] == pytest.approx(0.763, abs=0.001)
    assert tone_mapped(np.zeros((1, 3))).max() == 0


def test_glb_is_read_back():
    box = trimesh.creation.box((0.4, 1, 0.4))
    colours = np.linspace(0, 1, 24).reshape(8, 3)
    mesh = trimesh.load(io.BytesIO(glb(box.vertices, box.faces, colours)), file_type="glb", force="mesh", process=False)
    np.testing.assert_allclose(mesh.vertices, box.vertices, atol=1e-6)
    np.testing.assert_array_equal(mesh.faces, box.faces)
    found = np.frombuffer(glb(box.vertices, box.faces, colours)[-(24 + 36) * 4 :], "<f4", 24)  # before the 36 indices
    np.testing.assert_allclose(found.reshape(8, 3), colours, atol=1e-6)
