import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import recipe

from panojax.train.encoder.state import optimizer
from panojax.train.encoder.step_config import StepConfig
from panojax.train.ranger import as_stored, centralize, ranger, scale_by_radam, synced

SHAPES = {"dense": (5, 8), "conv": (4, 3, 3, 3), "bias": (4,)}
STEPS = (5, 6, 7, 60)


def ours(name, array):
    """PyTorch's layout to ours: output channels last."""
    return {"dense": lambda a: a.T, "conv": lambda a: a.transpose(2, 3, 1, 0), "bias": lambda a: a}[name](array)


def gradients(name, exponent):
    return [np.float32(10.0**exponent) * recipe.normal(f"ranger/{name}/{t}", SHAPES[name]) for t in range(max(STEPS))]


def reference_radam(gradients, *, b1=0.95, b2=0.999, eps=1e-5):
    """RAdam's updates of one parameter, in float64, step by step."""
    m = v = 0.0
    for t, g in enumerate(gradients, start=1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * np.square(g, dtype=np.float64)
        longest = 2 / (1 - b2) - 1
        n = longest - 2 * t * b2**t / (1 - b2**t)
        if n > 5:
            r = np.sqrt((n - 4) * (n - 2) * longest / ((longest - 4) * (longest - 2) * n))
            yield r * np.sqrt(1 - b2**t) / (1 - b1**t) * m / (np.sqrt(v) + eps)
        else:
            yield m / (1 - b1**t)


def reference_ranger(parameter, gradients, *, centralized, lr=0.01, alpha=0.5, k=6):
    """The fast parameter, in PyTorch's layout, after each step."""
    if centralized and parameter.ndim > 1:
        gradients = [np.stack([row - row.mean(dtype=np.float64) for row in g]) for g in gradients]
    fast, slow = parameter.astype(np.float64), parameter.astype(np.float64)
    for t, update in enumerate(reference_radam(gradients), start=1):
        fast = fast - lr * update
        if t % k == 0:
            slow = slow + alpha * (fast - slow)
            fast = slow
        yield fast


@functools.cache
def trajectory(centralized, exponent):
    """Our parameters after STEPS: {step: LookaheadParams}."""
    optimiser = ranger(0.01, centralized=centralized)
    params = synced({name: jnp.asarray(ours(name, recipe.normal(f"ranger/{name}", s))) for name, s in SHAPES.items()})
    draws = {name: [ours(name, g) for g in gradients(name, exponent)] for name in SHAPES}
    state, kept = optimiser.init(params), {}

    @jax.jit
    def step(gradients, state, params):
        updates, state = optimiser.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    for t in range(max(STEPS)):
        params, state = step({name: draws[name][t] for name in SHAPES}, state, params)
        if t + 1 in STEPS:
            kept[t + 1] = params
    return kept


@pytest.mark.parametrize("use_gc", [0, 1])
@pytest.mark.parametrize("exponent", [0, -3, -5])
def test_trajectory_equals_the_reference(use_gc, exponent):
    """The reference centralises with `use_gc` False as well: it never reads the switch."""
    golden = recipe.golden("ranger")
    for step, params in trajectory(True, exponent).items():
        for name in SHAPES:
            expected = ours(name, golden[f"{name}_gc{use_gc}_1e{exponent}_step{step}"])
            assert recipe.relative_error(params.fast[name], expected) < 1e-6


@pytest.mark.parametrize("centralized", [False, True])
@pytest.mark.parametrize("exponent", [0, -3, -5])
def test_trajectory_equals_loop(centralized, exponent):
    for name, shape in SHAPES.items():
        start = recipe.normal(f"ranger/{name}", shape)
        history = list(reference_ranger(start, gradients(name, exponent), centralized=centralized))
        for step, params in trajectory(centralized, exponent).items():
            assert recipe.relative_error(params.fast[name], ours(name, history[step - 1])) < 1e-6


@pytest.mark.parametrize("exponent", [0, -5, -8])
def test_radam_updates_equal_loop(exponent):
    """The updates themselves, since parameters hide how small gradients are scaled."""
    radam = scale_by_radam()
    draws = gradients("dense", exponent)
    state, update = radam.init(draws[0]), jax.jit(radam.update)
    for g, expected in zip(draws, reference_radam(draws)):
        got, state = update(g, state)
        assert recipe.relative_error(got, expected) < 2e-6


def test_radam_forgets_its_corrections():
    """Long after the start the update is m / (sqrt(v) + eps): the table of step sizes ends at 1."""
    radam = scale_by_radam()
    state = optax.ScaleByAdamState(jnp.int32(10**7), mu=jnp.array([0.3, -2.0]), nu=jnp.array([0.25, 1e-12]))
    got, state = radam.update(jnp.zeros(2), state)
    expected = 0.95 * np.array([0.3, -2.0]) / (np.sqrt(0.999 * np.array([0.25, 1e-12])) + 1e-5)
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    assert state.count == 10**7 + 1


def test_centralize_equals_loop():
    kernel, bias = recipe.normal("centralize", (3, 3, 2, 4)), np.ones(4, np.float32)
    got, _ = centralize().update({"kernel": kernel, "bias": bias}, centralize().init(None))
    expected = np.stack([kernel[..., o] - kernel[..., o].mean() for o in range(4)], axis=-1)
    np.testing.assert_allclose(got["kernel"], expected, atol=1e-6)
    np.testing.assert_array_equal(got["bias"], bias)


def test_fast_and_slow_meet_every_sixth_step():
    kept = trajectory(True, 0)
    for step, together in [(5, False), (6, True), (7, False), (60, True)]:
        for name in SHAPES:
            # The new fast side is old + (slow - old): equal to the slow one but for rounding.
            gap = recipe.relative_error(kept[step].fast[name], kept[step].slow[name])
            assert (gap < 1e-6) == together


def test_synced_sides_can_be_donated():
    params = synced({"w": jnp.arange(4.0)})
    assert params.fast["w"].unsafe_buffer_pointer() != params.slow["w"].unsafe_buffer_pointer()
    moved = jax.jit(lambda p: jax.tree.map(lambda a: a + 1, p), donate_argnums=0)(params)
    np.testing.assert_array_equal(moved.fast["w"], moved.slow["w"])


def test_schedule_is_followed():
    optimiser = ranger(lambda step: jnp.where(step == 0, 0.0, 1.0))
    params = synced({"b": jnp.ones(3)})
    first, state = optimiser.update({"b": jnp.ones(3)}, optimiser.init(params), params)
    second, _ = optimiser.update({"b": jnp.ones(3)}, state, params)
    np.testing.assert_array_equal(first.fast["b"], jnp.zeros(3))
    np.testing.assert_allclose(second.fast["b"], -jnp.ones(3), rtol=1e-6)


def test_stored_layout_changes_no_number():
    """It only binds XLA: every leaf of rank 2 or more is laid out with its last axis innermost."""
    tree = {name: recipe.normal(name, shape) for name, shape in SHAPES.items()}
    lowered = jax.jit(as_stored).lower(tree)
    assert lowered.as_text().count("LayoutConstraint") == len(tree)
    for name, array in lowered.compile()(tree).items():
        np.testing.assert_array_equal(array, tree[name])


def test_learning_rates_fall_along_half_a_cosine():
    """After `decay_start` steps, to 0 over `decay_steps`: the factor between updates with and without a decay."""
    kept, falling = (optimizer(config, 0.1) for config in (StepConfig(), StepConfig(decay_start=3, decay_steps=4)))
    params = synced({"kernel": jnp.ones((2, 3))})
    gradient = {"kernel": jnp.asarray([[1.0, 2.0, -3.0], [4.0, 0.5, 1.0]])}
    states, factors = [kept.init(params), falling.init(params)], []
    for _ in range(11):
        whole, states[0] = kept.update(gradient, states[0], params)
        part, states[1] = falling.update(gradient, states[1], params)
        factors.append(part.fast["kernel"] / whole.fast["kernel"])
    expected = [1, 1, 1, 1, 0.5 + 0.5**1.5, None, 0.5 - 0.5**1.5, 0, 0, 0, 0]  # None: the lookahead's own step
    for factor, number in zip(factors, expected):
        if number is not None:
            np.testing.assert_allclose(factor, number, atol=1e-6)
