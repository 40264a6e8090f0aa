"""Data sets say how their pictures were cropped, and models that are trained on them do."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from panojax.camera import look_at
from panojax.data import eg3d_folder
from panojax.data.framing import data_framing, folder_framing
from panojax.files.checkpoint import load
from panojax.photo.framing import FRAMINGS
from panojax.train.generator.gan_export import write_model


@pytest.mark.parametrize("name", FRAMINGS)
def test_aligned_folders_say_theirs_and_prepared_sets_keep_it(tmp_path, name):
    settings = {"face": "largest", "size": 64, "framing": dataclasses.asdict(FRAMINGS[name])}
    (tmp_path / "align.json").write_text(json.dumps(settings))
    Image.new("RGB", (64, 64), (9, 99, 9)).save(tmp_path / "img00000000.png")
    row = ["img00000000.png", np.asarray(look_at(0.1)).tolist()]
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": [row]}))
    assert folder_framing(tmp_path) == name
    plan = eg3d_folder.plan(eg3d_folder.FolderOptions(tmp_path, "set", size=64))
    assert plan.metadata == {"framing": name}
    prepared = tmp_path / "sets" / "eg3d_folder" / "set" / "1.0.0"
    prepared.mkdir(parents=True)
    (prepared / "metadata.json").write_text(json.dumps(dict(plan.metadata)))
    for folder in (prepared, prepared.parent, prepared.parents[1], prepared.parents[2]):
        assert folder_framing(folder) == name


def test_other_folders_say_nothing(tmp_path):
    assert folder_framing(tmp_path) is None and data_framing(()) is None
    (tmp_path / "align.json").write_text('{"framing": {"across": 3}}')
    assert folder_framing(tmp_path) is None
    heads = tmp_path / "heads"
    heads.mkdir()
    (heads / "000003.zip").touch()
    (heads / "settings.json").write_text("{}")
    assert folder_framing(heads) == "heads"
    assert data_framing([heads, tmp_path]) == "heads"
    other = tmp_path / "other"
    other.mkdir()
    (other / "metadata.json").write_text('{"framing": "panohead"}')
    assert data_framing([heads, other]) is None


def test_generators_that_are_trained_on_heads_say_so(generator, tmp_path):
    heads = tmp_path / "heads"
    heads.mkdir()
    (heads / "000003.zip").touch()
    (heads / "settings.json").write_text("{}")
    for data, framing in (([heads], "heads"), ([tmp_path], "panohead")):
        write_model(tmp_path / "model", generator.config.generator, generator.generator, data=data)
        assert load(tmp_path / "model").config.framing == framing
