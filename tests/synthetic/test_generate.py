"""The run's logic with a renderer that draws nothing: which identities are made, kept, redone."""

import json

import numpy as np
import pytest

from panojax.errors import InputError
from panojax.synthetic import assets, editions, generate, storage
from panojax.synthetic.render import View
from panojax.synthetic.splits import split_of

SIZE = 16


class FakeRenderer:
    """Pictures that tell the scene and the camera they were taken of."""

    loaded: list[int] = []  # noqa: RUF012 (shared on purpose: tests look at it)

    def __init__(self, size, device=None):
        self.size = size

    def load(self, scene):
        self.scene = scene
        FakeRenderer.loaded.append(scene)

    def view(self, label):
        shade = int(self.scene * 16 + abs(label[3]) * 10) % 256
        flat = np.full((self.size, self.size), shade, np.uint8)
        return View(np.dstack([flat] * 4), flat.astype(np.uint16), flat)

    def close(self):
        pass


@pytest.fixture
def fake(monkeypatch, archives, tmp_path):
    folder = assets.fetch_assets(tmp_path / "assets", archives=archives)
    monkeypatch.setattr(generate, "open_renderer", lambda edition, size, device: FakeRenderer(size, device))

    def draw_person(renderer, assets, seed, number):
        renderer.load(number)
        return editions.as_json(editions.sample_identity(seed, number))

    monkeypatch.setattr(generate, "draw_person", draw_person)
    FakeRenderer.loaded = []
    return folder


def test_a_set_holds_what_was_asked_for(fake, tmp_path):
    out = generate.generate_heads(3, 4, SIZE, 9, tmp_path / "set", assets=fake, start=5)
    assert [path.name for path in storage.list_identities(out)] == ["000005.zip", "000006.zip", "000007.zip"]
    read = storage.read_identity(out / "000006.zip")
    assert read.identity["number"] == 6 and read.identity["seed"] == 9
    assert read.rgba.shape == (4, SIZE, SIZE, 4)
    assert "CC0" in (out / "NOTICE").read_text()
    index = json.loads((out / "dataset.json").read_text())
    assert len(index["labels"]) == 12


def test_a_set_of_one_split(fake, tmp_path):
    out = generate.generate_heads(2, 1, SIZE, 9, tmp_path / "set", assets=fake, start=40, split="test")
    numbers = [number for number in range(40, 1000) if split_of(number) == "test"]
    assert [path.name for path in storage.list_identities(out)] == [f"{number:06d}.zip" for number in numbers[:2]]
    # More of it later, and what is there is kept.
    FakeRenderer.loaded.clear()
    generate.generate_heads(3, 1, SIZE, 9, out, assets=fake, start=40, split="test")
    assert FakeRenderer.loaded == numbers[2:3]
    with pytest.raises(InputError, match="split must be one of all, train, validation, test, got 'tests'"):
        generate.generate_heads(3, 1, SIZE, 9, out, assets=fake, split="tests")


def test_a_killed_run_is_finished_and_the_same(fake, tmp_path):
    whole = generate.generate_heads(4, 2, SIZE, 9, tmp_path / "whole", assets=fake)
    killed = generate.generate_heads(4, 2, SIZE, 9, tmp_path / "killed", assets=fake)
    (killed / "000002.zip").unlink()
    (killed / ".000002.zip.123.tmp").write_bytes(b"half")
    FakeRenderer.loaded = []
    generate.generate_heads(4, 2, SIZE, 9, killed, assets=fake)
    assert FakeRenderer.loaded == [2]
    assert not list(killed.glob(".*.tmp"))
    for path in whole.iterdir():
        assert (killed / path.name).read_bytes() == path.read_bytes()


def test_a_set_grows_but_keeps_its_settings(fake, tmp_path):
    out = generate.generate_heads(2, 2, SIZE, 9, tmp_path / "set", assets=fake)
    FakeRenderer.loaded = []
    generate.generate_heads(3, 2, SIZE, 9, out, assets=fake)
    assert FakeRenderer.loaded == [2]
    with pytest.raises(InputError, match="views 2 there, 3 asked"):
        generate.generate_heads(3, 3, SIZE, 9, out, assets=fake)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"identities": 0}, "identities must be at least 1"),
        ({"views": 0}, "views must be at least 1"),
        ({"views": 1000}, "views must be at most 999"),
        ({"size": 8}, r"size must lie in 16\.\.2048"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"processes": 0}, "processes must be at least 1"),
        ({"start": -3}, "start must be at least 0"),
    ],
)
def test_arguments_are_checked_before_anything_is_written(fake, tmp_path, change, said):
    arguments = {"identities": 1, "views": 1, "size": SIZE, "seed": 0, "processes": 1, "start": 0} | change
    with pytest.raises(InputError, match=said):
        generate.generate_heads(**arguments, out=tmp_path / "set", assets=fake)
    assert not (tmp_path / "set").exists()


def test_missing_assets_are_named(tmp_path):
    with pytest.raises(InputError, match="--fetch-assets"):
        generate.generate_heads(1, 1, SIZE, 0, tmp_path / "set", assets=tmp_path)
