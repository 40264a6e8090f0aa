"""Traced programs that are kept: they give the same bits, and are never taken for another's."""

import dataclasses
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scenes
from flax import struct

import panojax
from panojax import api
from panojax.devices import programs
from panojax.devices.programs import KeptFunction, keep_programs, kept_shapes
from panojax.fields.local_branch import LocalBranch
from panojax.generators.generator import Head
from panojax.params import abstract_arrays, random_params, tiny


@struct.dataclass
class Pair:
    first: jax.Array
    second: jax.Array


@pytest.fixture
def folder(tmp_path):
    keep_programs(tmp_path / "traced")
    yield tmp_path / "traced"
    keep_programs(None)


@pytest.fixture
def counted():
    """A function that counts how often it is traced; a new one is like a new process."""
    traces = []

    def work(tree, number, *, scale=1.0):
        traces.append(scale)
        return {"pair": Pair(jnp.sin(tree["a"]) * scale + number, tree["a"][:1]), "none": None}

    def make():
        return KeptFunction(work, ("scale",), (Pair,))

    return make, traces


TREE, NUMBER = {"a": np.linspace(0, 3, 7, dtype=np.float32)}, np.float32(0.5)


def same(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_a_new_process_does_not_trace_again(folder, counted):
    make, traces = counted
    keep_programs(None)
    plain = make()(TREE, NUMBER, scale=2.0)
    keep_programs(folder)
    first = make()(TREE, NUMBER, scale=2.0)
    assert len(traces) == 2 and len(list(folder.iterdir())) == 1
    again = make()
    second, third = again(TREE, NUMBER, scale=2.0), again(TREE, NUMBER, scale=2.0)
    assert len(traces) == 2 and isinstance(second["pair"], Pair)
    for result in (first, second, third):
        same(result, plain)


def test_other_calls_are_other_programs(folder, counted, monkeypatch):
    """Shapes, types, static keywords, settings, and the package's code."""
    make, traces = counted
    make()(TREE, NUMBER)
    others = [
        lambda: make()(TREE, NUMBER, scale=3.0),
        lambda: make()({"a": TREE["a"][:5]}, NUMBER),
        lambda: make()({"a": TREE["a"].astype(np.float16)}, NUMBER),
    ]
    for number, call in enumerate(others):
        call()
        assert len(traces) == 2 + number
    with jax.default_matmul_precision("highest"):
        make()(TREE, NUMBER)
    assert len(traces) == 5
    monkeypatch.setattr(programs, "_digest_of_code", lambda: "changed")
    make()(TREE, NUMBER)
    assert len(traces) == 6 and len(list(folder.iterdir())) == 6


def test_a_damaged_file_is_made_anew(folder, counted):
    make, traces = counted
    good = make()(TREE, NUMBER)
    [path] = folder.iterdir()
    whole = path.read_bytes()
    for damaged in (whole[:-40], bytes([whole[0] ^ 1]) + whole[1:], b"", whole[:60] + b"\0" + whole[61:]):
        path.write_bytes(damaged)
        before = len(traces)
        same(make()(TREE, NUMBER), good)
        assert (len(traces) == before + 1 and path.read_bytes()[:32] != damaged[:32]) or len(damaged) >= 32
    assert len(list(folder.iterdir())) == 1
    before = len(traces)
    make()(TREE, NUMBER)
    assert len(traces) == before  # the last one was written whole


def test_what_cannot_be_kept_works_all_the_same(folder, counted, monkeypatch):
    """Traced arguments, a debugging setting, no flatbuffers, a folder that cannot be made."""
    make, _ = counted
    plain = make()(TREE, NUMBER)
    many = jax.vmap(lambda a: make()({"a": a}, NUMBER)["pair"].first)(np.stack([TREE["a"]] * 2))
    np.testing.assert_array_equal(many[1], plain["pair"].first)
    with jax.debug_nans(True):
        same(make()(TREE, NUMBER), plain)
    assert len(list(folder.iterdir())) == 1
    keep_programs(folder / "file" / "below")
    (folder / "file").write_text("")
    same(make()(TREE, NUMBER), plain)
    keep_programs(folder)

    def missing(*_, **__):
        raise ImportError("Please install 'flatbuffers'")

    monkeypatch.setattr("jax.export.Exported.serialize", missing)
    same(make()({"a": TREE["a"] + 0}, NUMBER, scale=1.5), make()(TREE, NUMBER, scale=1.5))


def test_only_the_newest_files_stay(folder, counted, monkeypatch):
    make, _ = counted
    monkeypatch.setattr(programs, "MOST_FILES", 3)
    for number in range(5):
        make()(TREE, NUMBER, scale=float(number))
        for path in folder.iterdir():
            os.utime(path, (path.stat().st_mtime - 10,) * 2)
    assert len(list(folder.iterdir())) == 3


def test_an_inversion_is_the_same_bit_for_bit(folder, monkeypatch):
    """With a local branch in the head; in a new process, from the file."""
    params = random_params(dataclasses.replace(tiny(), encoder=dataclasses.replace(tiny().encoder, local_features=4)))
    image, camera = scenes.portraits(1, 64)[0], np.asarray(panojax.look_at(0.0))
    keep_programs(None)
    plain = panojax.invert(params, image, camera, return_parts=True)
    keep_programs(folder)
    traces = []

    def inverted(*args, **static):
        traces.append(static)
        return api._invert(*args, **static)

    for _ in range(2):
        function = KeptFunction(inverted, ("stitching", "return_parts"), api._invert_kept._results)
        monkeypatch.setattr(api, "_invert_kept", function)
        kept = panojax.invert(params, image, camera, return_parts=True)
        same(kept, plain)
    assert len(traces) == 1
    assert isinstance(kept[0], Head) and isinstance(kept[0].local, LocalBranch)


def test_own_classes_are_not_kept(folder, counted):
    """Their code is not the package's: it may change without notice."""

    @dataclasses.dataclass(frozen=True)
    class Own:
        width: int = 3

    @struct.dataclass
    class Model:
        a: jax.Array
        config: Own = struct.field(pytree_node=False)

    make = KeptFunction(lambda model: model.a * model.config.width, ())
    np.testing.assert_array_equal(make(Model(np.ones(2, np.float32), Own())), 3 * np.ones(2))
    assert not folder.exists()


def test_shapes_are_kept(folder):
    keep_programs(None)
    arrays, made = abstract_arrays(tiny()), []
    keep_programs(folder)

    def make(config):
        made.append(config)
        return arrays

    assert kept_shapes(make, tiny()) == arrays and kept_shapes(make, tiny()) == arrays and len(made) == 1
    [path] = folder.iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    assert kept_shapes(make, tiny()) == arrays and len(made) == 2
