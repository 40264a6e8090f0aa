"""The script of targets: what it counts, and that its rows are the works they name."""

import json

import jax
import jax.numpy as jnp
import pytest

from panojax.eval import benchmark, benchmark_training, targets
from panojax.eval.benchmark import costs, operations
from panojax.eval.targets import RATES, TARGETS, Options, bounds, main, parse

H100 = "NVIDIA H100 80GB HBM3"


def test_operations_and_bytes_are_counted():
    traced = jax.jit(lambda a, b: a @ b).trace(jnp.zeros((64, 32)), jnp.zeros((32, 16)))
    counted = costs(traced, traced.lower().compile())
    assert counted["operations"] == 2 * 64 * 32 * 16
    assert counted["bytes_once"] == 4 * (64 * 32 + 32 * 16 + 64 * 16)
    assert counted["bytes_touched"] >= counted["bytes_once"]


def test_operations_of_loops_branches_and_convolutions():
    def both(x, kernel):
        x, _ = jax.lax.scan(lambda x, _: (jax.lax.cond(x[0, 0] > 0, lambda x: x @ x, lambda x: x, x), None), x, None, 3)
        image = x.reshape(1, 8, 8, 1)
        return jax.vmap(lambda k: jax.lax.conv(image, k, (1, 1), "SAME"))(kernel)

    jaxpr = jax.make_jaxpr(both)(jnp.zeros((8, 8)), jnp.zeros((2, 5, 8, 3, 3)))
    assert operations(jaxpr.jaxpr) == 3 * 2 * 8**3 + 2 * 2 * (8 * 1 * 5) * (8 * 3 * 3)


def test_floors():
    products, memory = RATES[H100]
    row = {"operations": 2e-3 * products, "bytes_once": 1e-3 * memory, "bytes_touched": 5e-3 * memory}
    assert bounds(row, H100) == pytest.approx({"floor_ms": 2.0, "traffic_ms": 5.0})
    assert bounds(row | {"bytes_once": 3e-3 * memory}, H100)["floor_ms"] == pytest.approx(3.0)
    del row["bytes_touched"]
    assert bounds(row, H100) == pytest.approx({"floor_ms": 2.0})
    assert bounds(row, "cpu") == bounds({"ms": 1.0}, H100) == {}


def test_rows(tmp_path, monkeypatch, capsys):
    """Every row is timed once, by the function and the batch that it names; what is timed is traced, not compiled."""
    shapes = []

    def trace(function, params, data, runs):
        shapes.append((params.encoders is not None, jax.eval_shape(function, params, *data).shape))
        return {"ms": 10.0, "memory_mib": 20.0, "operations": 989e12, "bytes_once": 0, "bytes_touched": 3.35e12}

    class Bench:
        def __init__(self, setting):
            self.setting = setting

        def time_pti(self, dtype):
            return {"seconds": 2.0}

        def time_step(self, config, batch, dtype, devices, runs):
            return {"ms": float(batch)}

    monkeypatch.setattr(benchmark, "measure", trace)
    monkeypatch.setattr(benchmark, "check", lambda params: {"bfloat16": 50.0})
    monkeypatch.setattr(benchmark, "machine", lambda: {"device": H100, "jax": "1"})
    monkeypatch.setattr(benchmark_training, "Bench", Bench)
    monkeypatch.setattr(targets, "_time_first", lambda small: {"ms": 1500.0})
    out = tmp_path / "figures.json"
    figures = main(Options(out, small=True))
    assert json.loads(out.read_text()) == figures
    assert [row["name"] for row in figures["rows"]] == [target.name for target in TARGETS]
    assert [row["ms"] for row in figures["rows"]] == [1500.0, 10.0, 10.0, 10.0, 10.0, 10.0, 3.0, 2000.0]
    assert shapes == [
        (with_encoders, (batch, 128, 128, 3))
        for with_encoders, batch in ((True, 1), (False, 1), (False, 1), (True, 8), (False, 8))
    ]
    assert figures["rows"][1]["floor_ms"] == figures["rows"][1]["traffic_ms"] == 1000.0
    assert "| z to image | 8 | 61.0 | 14.0 | 10.0 | 1000 | 1000 | 20.0 |" in capsys.readouterr().out
    assert main(parse(["--small", "--works", "e1", "--runs", "3"]))["rows"][0]["work"] == "e1"


def test_a_new_process_is_timed(capsys):
    targets.first_invert(True)
    figures = json.loads(capsys.readouterr().out)
    assert figures["ms"] == pytest.approx(sum(figures[name] for name in ("trace", "lower", "read", "run")))
    assert min(figures.values()) > 0
