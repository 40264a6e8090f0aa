"""Heads as files: what is read equals what was written, and what is no head of this model is refused."""

import dataclasses
import io
import json
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import panojax
from panojax.files.head_file import load_head, model_mark, save_head
from panojax.params import random_params, tiny


@pytest.fixture(scope="module")
def params():
    return random_params(dataclasses.replace(tiny(), encoder=None))


@pytest.fixture(scope="module")
def head(params):
    return jax.jit(panojax.generate)(params, jax.random.normal(jax.random.key(0), (64,)))


@pytest.fixture(scope="module")
def stored(params, head, tmp_path_factory):
    path = tmp_path_factory.mktemp("heads") / "head.npz"
    save_head(head, path, params=params)
    return path


def arrays_of(path):
    with np.load(path, allow_pickle=False) as data:
        return dict(data)


def assert_equal(found, head, **tolerance):
    assert jax.tree.structure(found) == jax.tree.structure(head)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(head)):
        np.testing.assert_allclose(np.asarray(a, np.float32), np.asarray(b, np.float32), **tolerance)


def test_read_equals_written(params, head, stored):
    assert_equal(load_head(stored, params), head, rtol=0)
    assert_equal(load_head(stored), head, rtol=0)


def test_second_trigrid_and_missing_background(params, head, tmp_path):
    both = head.replace(occluded_planes=head.planes * 2, background=None)
    save_head(both, tmp_path / "a.npz", params=params)
    assert_equal(load_head(tmp_path / "a.npz", params), both, rtol=0)


def test_half_precision_halves_the_tri_grids(params, head, stored, tmp_path):
    save_head(head, tmp_path / "a.npz", params=params, dtype="float16")
    assert_equal(load_head(tmp_path / "a.npz", params), head, rtol=5e-4, atol=1e-7)
    saved = stored.stat().st_size - (tmp_path / "a.npz").stat().st_size
    assert saved == head.planes.nbytes // 2


def test_bfloat16_models_share_heads(params, head, stored, tmp_path):
    found = load_head(stored, params.with_dtype("bfloat16"))
    assert found.planes.dtype == jnp.bfloat16
    assert found.ws.dtype == jnp.float32
    save_head(found, tmp_path / "a.npz", params=params.with_dtype("bfloat16"))
    assert_equal(load_head(tmp_path / "a.npz", params), found, rtol=0)


def test_mark_sees_parameters_that_render_and_no_others(params):
    def changed(collection, path):
        trees = params.generator[collection]
        other = jax.tree.map(lambda x: x + 1, trees[path])
        return params.replace(generator={**params.generator, collection: {**trees, path: other}})

    mark = model_mark(params)
    assert model_mark(params.with_dtype("bfloat16")) == mark
    for path in ("decoder", "torgb", "superresolution", "bcg_synthesis"):
        assert model_mark(changed("params", path)).weights != mark.weights
    assert model_mark(changed("params", "backbone.synthesis")) == mark
    assert model_mark(changed("constants", "backbone.mapping")) == mark


def test_other_parameters_are_refused(params, stored):
    other = random_params(params.config, seed=1)
    with pytest.raises(panojax.InputError, match=r"another model \(the shapes agree, the parameters do not"):
        load_head(stored, other)


def test_other_shapes_are_named(params, stored):
    config = dataclasses.replace(params.config.generator, plane_resolution=32, box_warp=2.0)
    other = random_params(dataclasses.replace(params.config, generator=config))
    with pytest.raises(panojax.InputError, match=r"plane_resolution 64 and not 32, box_warp 1\.0 and not 2\.0"):
        load_head(stored, other)


def test_rendering_options_may_differ(params, head, stored):
    config = dataclasses.replace(params.config.generator, depth_samples=8, rendering_resolution=16)
    assert_equal(load_head(stored, params.replace(config=panojax.Config(config))), head, rtol=0)


def test_every_truncation_is_refused(params, stored, tmp_path):
    data = stored.read_bytes()
    broken = tmp_path / "broken.npz"
    for size in [0, 1, 4, 100, len(data) // 2, len(data) - 200, len(data) - 1]:
        broken.write_bytes(data[:size])
        with pytest.raises(panojax.InputError, match=r"broken\.npz"):
            load_head(broken, params)


def test_flipped_bytes_are_refused(stored, tmp_path):
    data = bytearray(stored.read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "broken.npz").write_bytes(data)
    with pytest.raises(panojax.InputError, match="CRC"):
        load_head(tmp_path / "broken.npz")


class Bomb:
    """What a hostile pickle runs."""

    def __reduce__(self):
        return pytest.fail, ("a pickle in a head's file was executed",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"planes": None}, "missing"),
        ({"model": None}, "none: it does not say which model"),
        ({"extra": np.zeros(3)}, "unknown"),
        ({"ws": np.zeros((10, 128), np.int32)}, "finite floats"),
        ({"ws": np.full((10, 128), np.nan, np.float32)}, "finite floats"),
        ({"ws": np.zeros((10, 64), np.float32)}, r"must be \[L, 128\]"),
        ({"planes": np.zeros((3, 3, 32, 32, 32), np.float32)}, "planes must be"),
        ({"planes": np.zeros((3, 3), np.float32)}, "5-dimensional"),
        ({"background": np.zeros((64, 64, 16), np.float32)}, "background must be"),
        ({"model": np.frombuffer(b"{}", np.uint8)}, "none: 'format'"),
        ({"model": np.frombuffer(b"[" * 100_000, np.uint8)}, "expected a head that panojax wrote"),
        ({"model": np.frombuffer(b'{"format": 99}', np.uint8)}, "format 1, got 99"),
        ({"model": np.frombuffer(b'{"format": 1, "config": {"x": 1}}', np.uint8)}, "has no x"),
        ({"ws": np.array([Bomb()], object)}, "dtype object"),
    ],
)
def test_foreign_arrays_are_refused(params, stored, tmp_path, change, message):
    arrays = {name: value for name, value in {**arrays_of(stored), **change}.items() if value is not None}
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(panojax.InputError, match=message):
        load_head(tmp_path / "a.npz", params)


def test_other_files_are_refused(params, tmp_path):
    with zipfile.ZipFile(tmp_path / "notes.npz", "w") as archive:
        archive.writestr("notes.txt", "no array")
    (tmp_path / "text.npz").write_text("no zip")
    for name, message in (("notes.npz", "magic"), ("text.npz", "zip"), ("none.npz", "nothing there")):
        with pytest.raises(panojax.InputError, match=message):
            load_head(tmp_path / name, params)
    with pytest.raises(panojax.InputError, match="got a folder"):
        load_head(tmp_path, params)


def test_save_refuses_and_writes_nothing(params, head, tmp_path):
    path = tmp_path / "a.npz"
    for bad, message in (
        (head.replace(planes=head.planes * jnp.nan), "planes must be finite"),
        (head.replace(planes=head.planes[:, :, ::2]), "planes must be"),
        (head.replace(ws=head.ws[:, :3]), "ws must be"),
    ):
        with pytest.raises(panojax.InputError, match=message):
            save_head(bad, path, params=params)
    with pytest.raises(panojax.InputError, match="under 65504"):
        save_head(head.replace(planes=head.planes + 1e6), path, params=params, dtype="float16")
    with pytest.raises(panojax.InputError, match="dtype must be one of"):
        save_head(head, path, params=params, dtype="int8")
    assert not list(tmp_path.iterdir())
    path.write_bytes(b"mine")
    with pytest.raises(panojax.InputError, match="must not exist yet"):
        save_head(head, path, params=params)
    assert path.read_bytes() == b"mine"
    save_head(head, path, params=params, overwrite=True)
    assert_equal(load_head(path, params), head, rtol=0)


def test_file_is_plain(stored):
    """Any NumPy reads it, without us and without pickle; it names no machine's paths."""
    arrays = arrays_of(stored)
    record = json.loads(arrays["model"].tobytes())
    assert set(record) == {"format", "config", "weights"}
    assert str(stored.parent) not in json.dumps(record)
    with np.load(io.BytesIO(stored.read_bytes()), allow_pickle=False) as data:
        assert data["planes"].shape == (3, 3, 64, 64, 32)
