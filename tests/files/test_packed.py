"""Models that ship: half-precision files with checksums, read back close to what was packed, or refused in one line."""

import dataclasses
import hashlib
import io
import json
import pathlib

import jax
import numpy as np
import pytest
from eval_sets import micro_model

import panojax
from panojax.encoders import dual
from panojax.files import packed
from panojax.params import tiny

ABOUT = {"generator": {"kimg": 1.5}}


@pytest.fixture(scope="module")
def params():
    model = micro_model()
    return model.replace(config=dataclasses.replace(model.config, framing="heads"))


@pytest.fixture
def folder(params, tmp_path):
    """A packed model to break."""
    packed.write_packed(tmp_path / "model", params.config, params.generator, params.encoders, about=ABOUT)
    return tmp_path / "model"


def test_round_trip(params, folder):
    """Large arrays as half precision rounds them, small ones as they were."""
    loaded = panojax.load(folder)
    assert loaded.config == params.config and loaded.config.framing == "heads"
    assert jax.tree.structure(loaded) == jax.tree.structure(params)
    small = 0
    for part in ("generator", "encoders"):
        pairs = zip(jax.tree.leaves(getattr(loaded, part)), jax.tree.leaves(getattr(params, part)))
        for got, want in pairs:
            # The two encoders are stored apart.
            kept = want.size // (2 if part == "encoders" and want.ndim and want.shape[0] == 2 else 1) < packed.SMALL
            small += kept
            assert got.dtype == np.float32
            np.testing.assert_array_equal(got, want if kept else np.asarray(want, np.float16).astype(np.float32))
    assert small > 50
    assert packed.read_manifest(folder)["about"] == ABOUT
    assert sorted(p.name for p in folder.iterdir()) == ["generator.npz", "model.json", "occluded.npz", "visible.npz"]
    low = panojax.load(folder, dtype="bfloat16").config
    assert low.generator.dtype == low.encoder.dtype == "bfloat16" and low.framing == "heads"


def test_a_packed_model_renders_as_it_did(params, folder):
    render = jax.jit(lambda params: panojax.render(params, panojax.generate(params, np.ones(8)), panojax.look_at(0.3)))
    got, want = (render(p.generator_only()).raw for p in (panojax.load(folder), params))
    assert np.abs(got - want).max() < 0.01 * np.abs(want).max()


def test_one_encoder_serves_in_both_places(params, tmp_path):
    first = dual.part(params.encoders["both"], dual.VISIBLE)
    encoders = {**params.encoders, "both": dual.join(first, first)}
    packed.write_packed(tmp_path / "model", params.config, params.generator, encoders)
    assert not (tmp_path / "model" / "occluded.npz").exists()
    for x in jax.tree.leaves(panojax.load(tmp_path / "model").encoders["both"]):
        np.testing.assert_array_equal(x[0], x[1])


def test_generators_alone_replace_models_and_leave_other_files(params, folder):
    (folder / "MODEL_CARD.md").write_text("mine")
    alone = params.generator_only()
    sizes = packed.write_packed(folder, alone.config, alone.generator)
    assert sorted(p.name for p in folder.iterdir()) == ["MODEL_CARD.md", "generator.npz", "model.json"]
    assert sizes == {p.name: p.stat().st_size for p in folder.iterdir() if p.name != "MODEL_CARD.md"}
    loaded = panojax.load(folder)
    assert loaded.encoders is None and loaded.config == alone.config


def test_the_size_is_limited(params, folder, tmp_path):
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    for target in (folder, tmp_path / "new"):
        with pytest.raises(panojax.InputError, match=r"must take at most 0\.1 MB, got generator\.npz .*, visible\.npz"):
            packed.write_packed(target, params.config, params.generator, params.encoders, max_bytes=100_000)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before and not (tmp_path / "new").exists()


def test_numbers_that_half_precision_cannot_hold(params, tmp_path):
    huge = jax.tree.map(lambda x: x + 1e6 * (x.size >= packed.SMALL), params.generator)
    with pytest.raises(panojax.InputError, match=r"generator\.npz: .* half precision cannot hold"):
        packed.write_packed(tmp_path / "model", params.config, huge)
    assert not (tmp_path / "model").exists()


def check_refused(folder, message):
    with pytest.raises(panojax.InputError, match=message) as caught:
        panojax.load(folder)
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)


@pytest.mark.parametrize("name", [packed.GENERATOR, packed.VISIBLE, packed.OCCLUDED])
@pytest.mark.parametrize("damage", ["removed", "emptied", "cut short", "one bit"])
def test_damaged_files(folder, name, damage):
    path = folder / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    if damage == "removed":
        path.unlink()
    else:
        path.write_bytes({"emptied": b"", "cut short": data[: len(data) // 2], "one bit": data}[damage])
    check_refused(
        folder, f"{name} cannot be read: " if damage == "removed" else f"{name} is damaged: expected .* bytes"
    )


def edit_manifest(folder, edit):
    record = json.loads((folder / "model.json").read_text())
    edit(record)
    (folder / "model.json").write_text(json.dumps(record))


def test_broken_manifests(folder):
    whole = (folder / "model.json").read_text()

    def refused(edit, message):
        (folder / "model.json").write_text(whole)
        edit_manifest(folder, edit)
        check_refused(folder, message)

    refused(lambda r: r.update(format=2), "format 1, got 2")
    refused(lambda r: r.pop("files"), "manifest of a packed model: 'files'")
    refused(lambda r: r["files"].update({"../x.npz": {"bytes": 1, "sha256": ""}}), r"unknown files \.\./x\.npz")
    refused(lambda r: r["files"].pop("generator.npz"), "must list generator.npz")
    refused(lambda r: r["files"].pop("visible.npz"), "does not fit its configuration: .*encoders/.* got none")
    refused(lambda r: r["model"]["generator"].update(w_dim=32), "does not fit its configuration: .* expected .*, got")
    refused(lambda r: r["model"]["generator"].update(wings=2), "GeneratorConfig has no wings")
    refused(lambda r: r["model"].update(framing="square"), "framing must be one of panohead, heads, got 'square'")
    (folder / "model.json").write_text("{")
    check_refused(folder, "must be the manifest of a packed model")


def test_pickles_are_not_read(folder):
    """Even with the right checksum."""
    buffer = io.BytesIO()
    np.savez(buffer, params=np.array([{}], object))
    data = buffer.getvalue()
    (folder / packed.GENERATOR).write_bytes(data)
    row = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    edit_manifest(folder, lambda record: record["files"].update({packed.GENERATOR: row}))
    with pytest.raises(panojax.InputError, match="expected an array of numbers, got dtype object"):
        panojax.load(folder)


def test_what_fails_while_files_are_replaced_is_no_model(params, folder, monkeypatch):
    replace = pathlib.Path.replace

    def full(self, target):
        if target.name == packed.VISIBLE:
            raise OSError(28, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(pathlib.Path, "replace", full)
    with pytest.raises(panojax.InputError, match=r"out must be writable, .*No space left"):
        packed.write_packed(folder, params.config, params.generator, params.encoders)
    assert not packed.is_packed(folder)
    assert not list(folder.glob(".*"))


def test_the_default_is_the_one_that_ships(params, folder, monkeypatch):
    monkeypatch.setattr("panojax.files.checkpoint.DEFAULT_FOLDER", folder)
    loaded = panojax.load()
    assert loaded.config == params.config
    assert panojax.load("random").config == tiny()


def test_what_lies_in_the_package_is_whole():
    """The model that ships: within its limit, with its card, and it loads."""
    shipped = pathlib.Path(panojax.__file__).parent / "default_model"
    assert (shipped / "MODEL_CARD.md").is_file()
    assert sum(p.stat().st_size for p in shipped.iterdir()) < packed.MAX_BYTES
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(panojax.load()))
