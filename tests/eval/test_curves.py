"""The cost curves' script, at sizes of a few pixels."""

import json

import jax
import pytest

from panojax.errors import InputError
from panojax.eval import curves
from panojax.eval.curves import Options, main


def test_every_curve_has_its_points(tmp_path, capsys, monkeypatch):
    """What a curve times is traced here, not compiled."""
    pictures = []

    def trace(function, params, data, runs, devices):
        pictures.append(jax.eval_shape(function, params, *data).shape)
        return {"ms": 2.0, "ms_min": 1.0, "ms_max": 3.0, "memory_mib": 4.0}

    monkeypatch.setattr(curves, "measure", trace)
    out = tmp_path / "curves.json"
    figures = main(Options(out, "tiny", "float32", counts=(1, 2), rays=(8, 16), trigrids=(32,), each=3))
    assert json.loads(out.read_text()) == figures
    devices = [count for count in (1, 2) if count <= jax.device_count()]
    want = [("views", 1), ("views", 2), ("batch", 1), ("batch", 2), ("rays", 8), ("rays", 16), ("trigrid", 32)]
    want += [("devices", count) for count in devices]
    assert [(point["curve"], point["size"]) for point in figures["points"]] == want
    assert [shape[0] for shape in pictures] == [1, 2, 1, 2, 1, 1, 1, *(3 for _ in devices)]
    assert {shape[1:] for shape in pictures} == {(128, 128, 3)}
    assert len(capsys.readouterr().out.splitlines()) == 3 + len(want)


def test_a_point_is_timed(monkeypatch):
    (point,) = main(Options(model="tiny", dtype="float32", runs=2, curves=("rays",), rays=(8,)))["points"]
    assert 0 < point["ms_min"] <= point["ms"] <= point["ms_max"] and point["memory_mib"] > 0

    def exhausted(*args):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: too large")

    monkeypatch.setattr(curves, "measure", exhausted)
    (point,) = main(Options(model="tiny", curves=("rays",), rays=(8,)))["points"]
    assert point == {"curve": "rays", "size": 8, "ms": "out of memory"}


def test_unknown_curves():
    with pytest.raises(InputError, match=r"curves must be among views, .* got speed"):
        main(Options(model="tiny", curves=("speed",)))
