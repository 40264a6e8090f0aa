"""What an encoder gets of a photo: cropped as its model's training pictures were, on white where those are."""

import dataclasses

import numpy as np
import pytest
from micro import micro_generator

import panojax.photo
from panojax.camera import look_at
from panojax.commands.portrait import align_photo
from panojax.photo import HEADS, PANOHEAD
from panojax.photo.alignment import Aligned

LABEL = np.asarray(look_at(0.1))


@pytest.fixture
def framings(monkeypatch):
    """Stands in for `align`: a black picture whose left half is the person; the framings that are asked for."""
    asked = []

    def align(photo, *, face, size, framing):
        asked.append(framing)
        mask = np.zeros((size, size), np.float32)
        mask[:, : size // 2] = 1
        mask[0, 0] = 0.5
        return Aligned(np.full((size, size, 3), -1, np.float32), mask, LABEL, None)

    monkeypatch.setattr(panojax.photo, "align", align)
    return asked


def config_of(*, white, framing):
    config = micro_generator().config
    generator = dataclasses.replace(config.generator, white_back=white)
    return dataclasses.replace(config, generator=generator, framing=framing)


def test_photos_lie_on_white_for_a_model_whose_heads_do(framings):
    portrait = align_photo("a.jpg", config_of(white=True, framing="heads"), face="largest")
    assert portrait.image.shape == (128, 128, 3)
    assert np.all(portrait.image[:, 64:] == 1) and np.all(portrait.image[1:, :64] == -1)
    assert np.all(portrait.image[0, 0] == 0)
    kept = align_photo("a.jpg", config_of(white=False, framing="heads"), face="largest")
    assert np.all(kept.image == -1)


def test_the_framing_is_the_model_s_unless_another_is_asked_for(framings):
    for framing in ("heads", "panohead"):
        for asked in ("auto", "heads", "panohead"):
            align_photo("a.jpg", config_of(white=True, framing=framing), face="largest", framing=asked)
    assert framings == [HEADS, HEADS, PANOHEAD, PANOHEAD, HEADS, PANOHEAD]
