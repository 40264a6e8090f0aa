import jax
import jax.numpy as jnp
import numpy as np
import pytest

from panojax import camera
from panojax.data.drawn import SampleConfig, draw_heads
from panojax.generators.generator import Head, render_heads
from panojax.losses.perception import Perception
from panojax.nn.stylegan2 import pool
from panojax.train.encoder.state import Frozen
from panojax.train.logs import Averages, Log, Progress, picture_sheet, read_log


def test_a_resumed_log_has_each_step_once(tmp_path):
    log = Log(tmp_path)
    for step in (1, 2, 3):
        log.write(step, {"loss": step / 2})
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')  # a kill in the middle of a line
    assert [line["step"] for line in read_log(tmp_path)] == [1, 2, 3]
    Log(tmp_path, step=2).write(3, {"loss": float("nan")})
    assert read_log(tmp_path) == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 1.0}, {"step": 3, "loss": None}]


def test_averages_equal_numpy():
    averages, values = Averages(), np.random.default_rng(0).random((5, 2)).astype(np.float32)
    for a, b in values:
        averages.add({"a": jnp.float32(a), "b": jnp.float32(b)})
    got = averages.read()
    np.testing.assert_allclose([got["a"], got["b"]], values.mean(0), rtol=1e-6)
    assert averages.read() == {}


def test_progress_names_rate_and_rest(capsys, monkeypatch):
    monkeypatch.setattr("time.monotonic", iter([0.0, 10.0]).__next__)
    rate = Progress(100, 1100, 4).line(200, {"loss": 0.5, "critic/real": 1.0})
    assert rate == {"images_per_second": pytest.approx(40.0)}
    assert capsys.readouterr().err == "step 200/1100  loss 0.5  40.0 images/s  00:01:30 left\n"


def test_picture_sheet_equals_loop(generator):
    """A row a portrait and head: the portrait, then each view."""
    config, variables = generator.config.generator, generator.generator
    frozen = Frozen(variables, jnp.zeros(()), Perception(), config=generator.config)
    draw, render = (jax.jit(f, static_argnums=(0, *rest)) for f, rest in ((draw_heads, (3,)), (render_heads, ())))
    rows = [draw(config, variables, jax.random.split(jax.random.key(i), 2), SampleConfig()) for i in range(2)]
    labels, image = camera.orbit(3), jnp.linspace(-1, 1, 2 * 64 * 64 * 3).reshape(2, 64, 64, 3)
    sheet = np.asarray(jax.jit(picture_sheet, static_argnames="side")(frozen, image, rows, labels, side=32))
    assert sheet.shape == (2 * 2 * 32, 4 * 32, 3)
    for n, r in np.ndindex(2, 2):
        line = sheet[(2 * n + r) * 32 :][:32]
        np.testing.assert_allclose(line[:, :32], pool(image, 32)[n], atol=1e-6)
        head = Head(rows[r].planes[n][None], rows[r].ws[n][None])
        for v in range(3):
            view = render(config, variables, head, labels[v][None]).image
            np.testing.assert_allclose(line[:, (v + 1) * 32 :][:, :32], pool(view, 32)[0], atol=1e-4)


def test_lines_that_are_damaged_are_passed_over(tmp_path):
    lines = [b'{"step": 1, "loss": 2.0}', b"\xff\x00", b"5", b'{"loss": 1}', b'{"step": "2"}', b'{"step": 2']
    (tmp_path / "log.jsonl").write_bytes(b"\n".join(lines))
    assert read_log(tmp_path) == [{"step": 1, "loss": 2.0}]
    Log(tmp_path, step=1).write(2, {"loss": 1.5})
    assert read_log(tmp_path) == [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.5}]
