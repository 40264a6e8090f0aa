import json
import types

import jax
import jax.numpy as jnp
import optax
import pytest
from micro import micro_generator

from panojax.config import Config
from panojax.encoders.encoder_config import light
from panojax.eval import benchmark_training
from panojax.eval.benchmark_training import (
    Bench,
    Options,
    Setting,
    main,
    parse,
    released,
    step_cases,
    step_config,
    tiny,
)
from panojax.generators.generator import Head
from panojax.inversion.spaces import fit_encoder
from panojax.train.encoder.state import optimizer
from panojax.train.encoder.step_config import StepConfig
from panojax.train.ranger import synced


def cheap_step(config, mesh):
    """In place of a training step, which takes as long to compile as all else here. It diverges at usual rates."""

    def step(state, frozen, batch, key):
        loss = jnp.mean(batch["image"]) + frozen.latent_average[0, 0] + 1
        growth = jnp.exp(1e6 * (config.learning_rate + config.critic_learning_rate) * state.step)
        return state.replace(step=state.step + 1), {"loss": loss * growth}

    return jax.jit(step, donate_argnums=0)


def cheap_pti(params, image, camera, *, progress, **options):
    for done, loss in ((1, 1.0), (2, 0.5)):
        progress(done, loss)
    return params, Head(jnp.zeros((1,)), jnp.zeros((1,)))


def test_figures(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(benchmark_training, "compile_step", cheap_step)
    monkeypatch.setattr(benchmark_training, "invert_pti", cheap_pti)
    generator = micro_generator().config.generator
    encoder = light(resolution=32, widths=(16, 16, 16, 16), depths=(1, 1, 1, 1), head_width=16)
    small = tiny()
    model = Config(generator, fit_encoder(generator, encoder, "w+"))
    setting = Setting(model, small.step, small.lpips, small.identity, None, small.projection, small.tuning)
    out = tmp_path / "figures.json"
    options = Options(
        out, "tiny", batches=(2,), dtypes=("float32",), runs=7
    )  # steps 10 to 16 are waited for, the last with R1
    figures = main(options, setting)
    assert json.loads(out.read_text()) == figures
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figures.json"]
    first, second, pti = figures["rows"]
    assert [row["work"] for row in figures["rows"]] == ["e1", "e2", "pti"]
    assert first["loss"] == pytest.approx(figures["exact_loss"])
    assert 0 < first["ms_min"] <= first["ms_waited"] <= first["ms_max"]
    assert first["images_per_second"] == pytest.approx(2e3 / first["ms"])
    assert first["memory_mib"] > 0
    assert second["ms_r1"] > 0 and "ms_r1" not in first
    assert pti["loss_last"] < pti["loss_first"]
    assert "| e1 | 1 | 2 | float32 | False |" in capsys.readouterr().out


def test_compiling_alone_times_nothing(monkeypatch):
    monkeypatch.setattr(benchmark_training, "Bench", lambda *arguments: bench)
    bench = types.SimpleNamespace(compile=lambda *arguments: (None, None, {"compile_s": 1.0}))
    rows = main(Options(batches=(2,), dtypes=("float32",), compile_only=True), tiny())["rows"]
    assert [(row["work"], row["compile_s"], "ms" in row) for row in rows] == [("e1", 1.0, False), ("e2", 1.0, False)]


def test_released_setting_is_the_paper_s():
    setting = released()
    assert setting.model.generator.image_resolution == 512 and setting.model.encoder.resolution == 256
    assert (setting.projection.steps, setting.tuning.steps, setting.step.recompute) == (500, 500, False)


def test_large_batches_recompute_as_their_preset_does():
    setting = tiny()
    assert not step_config(setting, "e1", 3, False).recompute
    assert step_config(setting, "e1", 32, False).recompute and step_config(setting, "e1", 3, True).recompute
    assert step_config(setting, "e2", 3, False).critic == "trigrid-occluded"


@pytest.mark.parametrize(("loss", "message"), [(float("nan"), "finite"), (1.2, "within 0.05 of 1.0, got 1.2")])
def test_wrong_results_are_not_timed(monkeypatch, loss, message):
    monkeypatch.setattr(Bench, "compile", lambda *arguments: (lambda state: (state, {"loss": loss}), [None], {}))
    with pytest.raises(RuntimeError, match=message):
        Bench.__new__(Bench).time_step(StepConfig(), 3, "bfloat16", 1, 1, 1.0)


@pytest.mark.parametrize(
    ("later", "message"), [(float("nan"), "finite"), (1.3, "stay within 0.2 of 1.0, got 1.3 after the timed")]
)
def test_a_state_that_changes_is_not_timed(monkeypatch, later, message):
    losses = iter([1.0])
    step = lambda state: (state, {"loss": next(losses, later)})  # noqa: E731
    monkeypatch.setattr(Bench, "compile", lambda *arguments: (step, [None], {}))
    with pytest.raises(RuntimeError, match=message):
        Bench.__new__(Bench).time_step(StepConfig(), 3, "float32", 1, 1)


@pytest.mark.parametrize("work", ["e1", "e2"])
def test_timed_steps_leave_the_weights_as_they_are(work):
    config = step_config(tiny(), work, 3, False)
    for rate in (config.learning_rate, config.critic_learning_rate):
        optimiser, params = optimizer(config, rate), synced({"kernel": jnp.full((3, 4), 0.1)})
        updates, _ = optimiser.update({"kernel": jnp.full((3, 4), 1e3)}, optimiser.init(params), params)
        after = optax.apply_updates(params, updates)
        assert jnp.array_equal(after.fast["kernel"], params.fast["kernel"])


def test_cases_are_the_paper_s_step_first():
    options = Options(batches=(3, 16), dtypes=("float32",), devices=(1, 2))
    cases = [("e1", 1, 3), ("e1", 1, 16), ("e1", 2, 3), ("e1", 2, 16), ("e2", 1, 3), ("e2", 1, 16)]
    assert [case[:3] for case in step_cases(options)] == cases


def test_command_line():
    assert parse([]) == Options()
    options = parse(["--works", "e2", "pti", "--batches", "3", "--devices", "1", "2", "--config", "tiny", "--no-check"])
    assert (options.works, options.batches, options.devices, options.config) == (("e2", "pti"), (3,), (1, 2), "tiny")
    assert not options.check
