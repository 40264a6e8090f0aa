"""The baseline e4e: codes as differences from the first, released one by one, and a critic that judges codes."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe
from micro import micro_generator

from panojax.camera import look_at
from panojax.config import Config
from panojax.errors import InputError
from panojax.generators.generator import View
from panojax.inversion.spaces import fit_encoder, release_codes
from panojax.losses.perception import Perception
from panojax.losses.terms import code_deltas
from panojax.train.encoder import steps as encoder_steps
from panojax.train.encoder.critic import CodeCritic
from panojax.train.encoder.presets import e4e, tiny
from panojax.train.encoder.state import Frozen, init_state

CONFIG = dataclasses.replace(
    e4e().step,
    weights=tiny().step.weights,
    loss_resolution=64,
    delta_weight=0.3,
    delta_start=1,
    delta_interval=1,
    learning_rate=1e-2,
    freeze_batch_norm=True,
    jitter=False,
)


def test_deltas_equal_loop():
    ws = recipe.normal("e4e/ws", (3, 5, 7))
    expected = [sum(np.sqrt(((codes[i] - codes[0]) ** 2).sum()) for i in range(1, 5)) for codes in ws]
    deltas = jax.jit(jax.value_and_grad(lambda ws: code_deltas(ws).sum()))
    value, gradient = deltas(ws)
    assert float(value) == pytest.approx(sum(expected), rel=1e-5)
    units = (ws[:, 1:] - ws[:, :1]) / np.linalg.norm(ws[:, 1:] - ws[:, :1], axis=-1, keepdims=True)
    np.testing.assert_allclose(gradient[:, 1:], units, atol=1e-6)
    # Codes that are equal, as at the start, have no gradient, and no NaN.
    np.testing.assert_array_equal(deltas(np.ones_like(ws))[1], np.zeros_like(ws))


def test_released_codes_equal_loop():
    codes, release = recipe.normal("e4e/codes", (2, 5, 3)), jax.jit(release_codes)
    for released in range(1, 7):
        expected = [[code[i] if i < released else code[0] for i in range(5)] for code in codes]
        np.testing.assert_array_equal(release(codes, released), expected)


def test_code_critic_equals_loop():
    critic, widths = CodeCritic(6), {"mlp.0": 6, "mlp.2": 6, "mlp.4": 6, "mlp.6": 1}
    layers = {
        name: {"kernel": recipe.normal(name, (6, n)), "bias": recipe.normal(f"{name}.bias", (n,))}
        for name, n in widths.items()
    }
    codes = recipe.normal("e4e/critic", (4, 6))
    x = codes
    for name, layer in layers.items():
        x = x @ layer["kernel"] + layer["bias"]
        x = x if name == "mlp.6" else np.where(x > 0, x, 0.2 * x)
    variables = {"params": layers}
    np.testing.assert_allclose(jax.jit(critic.apply)(variables, codes), x[:, 0], rtol=1e-4)
    with pytest.raises(InputError, match=r"codes must be \[N, 6\], got \(4, 5\)"):
        critic.apply(variables, codes[:, :5])


def blank(frozen, heads, labels, keys, config):
    """In place of the rendering, which takes as long to compile as all else."""
    return View(jnp.zeros((len(labels), 64, 64, 3)), None, None, None, None)


@pytest.fixture(scope="module")
def states():
    """The state before and after each of two steps, and their metrics. The picture's loss is a constant here."""
    params = micro_generator()
    model = params.config.generator
    encoder = fit_encoder(model, dataclasses.replace(tiny().encoder, deltas=True), "w+")
    average = jnp.zeros((model.num_ws, model.w_dim))
    frozen = Frozen(params.generator, average, Perception(), config=Config(model, encoder))
    batch = {"image": recipe.normal("e4e/images", (2, 64, 64, 3)), "camera": look_at(jnp.zeros(2))}
    states, metrics = [init_state(frozen.config, CONFIG, jax.random.key(3))], []
    step = jax.jit(functools.partial(encoder_steps.adversarial_step, config=CONFIG))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder_steps, "_render", blank)
        for _ in range(2):
            state, numbers = step(states[-1], frozen, batch, jax.random.key(4))
            states.append(state)
            metrics.append({name: float(value) for name, value in numbers.items()})
    return states, metrics


def test_codes_are_released_one_by_one(states):
    """Step 0 trains the first head alone, step 1 the second as well, whose difference has been zero so far."""
    heads = [state.encoder.params.fast.tree()["psp_encoder"] for state in states[0]]
    first, second = ([np.asarray(tree[f"styles.{i}"]["linear"]["kernel"]) for tree in heads] for i in (0, 1))
    assert np.any(first[0] != first[1]) and np.any(first[1] != first[2])
    assert not np.any(second[0]) and not np.any(second[1]) and np.any(second[2])
    assert states[1][0]["deltas"] == 0


def test_the_critic_of_codes_starts_at_chance_and_learns(states):
    (before, after, _), (metrics, later) = states
    assert metrics["critic/loss"] == pytest.approx(np.log(2), abs=0.2)
    assert metrics["critic/r1"] > 0 and later["critic/r1"] == 0
    expected = metrics["l2"] + 0.3 * metrics["deltas"] + 0.1 * metrics["adversarial"]
    assert metrics["loss"] == pytest.approx(expected, rel=1e-5)
    kernels = [state.critic.params.fast.tree()["critic"]["mlp.0"]["kernel"] for state in (before, after)]
    assert jnp.any(kernels[0] != kernels[1])
