"""One head of several photos, with stand-ins for what tests/inversion tests."""

import types

import numpy as np
import pytest
from export_scene import bar_head

import panojax
from panojax.inversion import doubts
from panojax.viewer import together
from panojax.viewer.subjects import STITCHED

CAMERAS = np.stack([np.asarray(panojax.look_at(np.radians(yaw), 0.0)) for yaw in (60.0, 5.0, 180.0)])


@pytest.mark.parametrize("network", [True, False])
def test_cameras_are_refined_then_one_head_is_made(params, monkeypatch, network):
    """What is said on the way, which photo is the most frontal, and what is doubtful."""
    moved = CAMERAS + np.float32(0)
    moved[0] = np.asarray(panojax.look_at(np.radians(58.0), 0.0))

    def refine(params, images, cameras, *, perception, progress):
        assert (perception is not None) == network and images.shape == (3, 128, 128, 3)
        for _ in cameras:
            progress()
        return moved, types.SimpleNamespace(bounded=np.array([False, False, True]))

    def invert(params, images, cameras):
        np.testing.assert_array_equal(cameras, moved)
        return bar_head()

    monkeypatch.setattr(together.api, "refine_cameras", refine)
    monkeypatch.setattr(together.subjects.api, "invert_many", invert)
    perception = types.SimpleNamespace(same_person=0.5) if network else None
    monkeypatch.setattr(together, "identity_network", lambda **_: perception)
    monkeypatch.setattr(together, "strangers", lambda perception, names, *data: [f"{names[1]} is a stranger"])
    told, images = [], np.zeros((3, 128, 128, 3), np.float32)
    subject, frontal, warnings = together.make_together(
        params, params, ["side", "front", "back"], images, CAMERAS, lambda line, part: told.append(part)
    )
    assert frontal == 1 and subject.name == "side" and list(subject.heads) == [STITCHED]
    np.testing.assert_array_equal(subject.camera, moved[1])
    assert subject.mask.shape == params.config.generator.field.cells
    assert warnings[: len(warnings) - 1] == (["front is a stranger"] if network else [])
    assert warnings[-1].startswith("photo back: its camera contradicts what it shows")
    assert told == sorted(told) and len(told) == 5 and told[-1] == 0.8


def test_without_the_network_nobody_is_compared(monkeypatch):
    def missing(*_):
        raise panojax.InputError("comparing the photos' identities needs onnx")

    said = []
    monkeypatch.setattr(doubts, "need", missing)
    assert doubts.identity_network(missing=said.append) is None
    assert said == ["comparing the photos' identities needs onnx"]
