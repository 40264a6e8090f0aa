"""One step's losses and gradients against PanoHead's loss in NumPy, with networks whose gradients are known.

The discriminator is a quadratic form of what it is shown, the generator's pictures are its parameters. Gradients are
read from Adam's second moment, which after one update is (1 - beta2) g^2.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe
from numpy_original import filtered

from panojax.generators.generator import Head
from panojax.train.generator import fakes, gan_losses, gan_steps, schedules
from panojax.train.generator.fakes import Fakes
from panojax.train.generator.gan_presets import panohead512, tiny
from panojax.train.generator.gan_state import GanState, Objective, discriminator_adam, generator_adam

N, SIDE, RAW = 4, 16, 12
IMAGES = 5_000  # of 25,000 over which the blur fades at batch 4: 8 pixels are left
SIGMA = 8.0
LABEL = recipe.normal("loss/label", (N, 25))


class Quadratic:
    """logit = a . image + b . raw + m . mask + q / 2 (|image|^2 + |raw|^2 + |mask|^2), for each sample."""

    resolution = SIDE

    def network(self, c_dim):
        return self

    def apply(self, variables, image, raw, mask, labels):
        return logits(variables["params"], image, raw, mask)


def logits(p, image, raw, mask):
    parts = ((p["a"], image), (p["b"], raw), (p["m"], mask))
    return sum((factor * x + p["q"] / 2 * x**2).sum(axis=(1, 2, 3)) for factor, x in parts)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.logaddexp(0, x)


def resized(x, side):
    return np.asarray(jax.image.resize(jnp.asarray(x), (len(x), side, side, x.shape[-1]), "linear"), np.float64)


@pytest.fixture
def judge():
    """The discriminator's parameters, small enough that logits are about 1."""
    shapes = {"a": (SIDE, SIDE, 3), "b": (RAW, RAW, 3), "m": (RAW, RAW, 1)}
    return {name: 0.05 * recipe.normal(f"loss/{name}", shape) for name, shape in shapes.items()} | {
        "q": np.float32(1e-3)
    }


@pytest.fixture
def batch():
    image = np.clip(0.5 * recipe.normal("loss/image", (N, SIDE, SIDE, 3)), -1, 1)
    mask = recipe.uniform("loss/mask", (N, SIDE, SIDE, 1))
    return {"image": image, "mask": mask, "camera": LABEL, "pose": LABEL}


def objective(**changes):
    """`panohead512`'s step."""
    step = dataclasses.replace(panohead512().step, **changes)
    model = dataclasses.replace(tiny().model, rendering_resolution=RAW)
    return Objective(model, Quadratic(), step)


def state(goal, judge, generator=None):
    generator = {"t_mapping": {}} if generator is None else generator
    return GanState(
        step=jnp.int32(0),
        images=jnp.int32(IMAGES),
        generator={"params": generator, "constants": {}},
        averaged=generator,
        discriminator=jax.device_put(judge),
        generator_optimizer=generator_adam(goal.step).init(generator),
        discriminator_optimizer=discriminator_adam(goal.step).init(judge),
    )


def assert_moments(moments, gradients, beta):
    """Adam's second moment is (1 - beta) g^2; at the least of g's, float32 cancels."""
    for name, g in gradients.items():
        got = np.asarray(moments[0].nu[name])
        np.testing.assert_allclose(got, (1 - beta) * g**2, rtol=2e-4, atol=(1 - beta) * 1e-6 * np.max(g**2))


def shown_real(batch):
    """What PanoHead's loss makes of real pictures, before the discriminator: both filtered, the mask not."""
    raw = filtered(resized(batch["image"], RAW), SIGMA)
    return filtered(batch["image"].astype(np.float64), SIGMA), raw, resized(batch["mask"], RAW)


def test_the_blurs_width():
    assert float(schedules.blur_sigma(IMAGES, N, panohead512().step)) == pytest.approx(SIGMA)


def test_discriminator_loss_and_gradients(batch, judge):
    """Real and made final pictures and the real raw one are filtered, the made raw one is not."""
    goal = objective()
    fakes = Fakes(
        image=0.3 * recipe.normal("loss/made", (N, SIDE, SIDE, 3)),
        raw=0.3 * recipe.normal("loss/made raw", (N, RAW, RAW, 3)),
        mask=recipe.uniform("loss/made mask", (N, RAW, RAW, 1)),
        translation=None,
        w=None,
    )
    changed, metrics = gan_steps._update_discriminator(state(goal, judge), batch, fakes, goal)
    p = {name: np.asarray(x, np.float64) for name, x in judge.items()}
    real, fake = shown_real(batch), (filtered(fakes.image.astype(np.float64), SIGMA), fakes.raw, fakes.mask)
    of_real, of_fake = logits(p, *real), logits(p, *fake)
    np.testing.assert_allclose(metrics["discriminator"], np.mean(softplus(-of_real) + softplus(of_fake)), rtol=1e-5)
    slopes = -sigmoid(-of_real), sigmoid(of_fake)
    gradients = {
        name: sum(np.einsum("n,nhwc->hwc", s, x[i]) for s, x in zip(slopes, (real, fake))) / N
        for i, name in enumerate("abm")
    }
    gradients["q"] = (
        sum(np.sum(s * sum((y**2).sum(axis=(1, 2, 3)) for y in x) / 2) for s, x in zip(slopes, (real, fake))) / N
    )
    assert_moments(changed["discriminator_optimizer"], gradients, 0.99 ** (16 / 17))
    for name, g in gradients.items():  # the first step of Adam without momentum: the rate times the sign
        moved = np.asarray(changed["discriminator"][name]) - judge[name]
        clear = np.abs(g) > 1e-2 * np.abs(g).max()
        np.testing.assert_allclose(moved[clear], (-0.002 * 16 / 17 * g / (np.abs(g) + 1e-8))[clear], rtol=1e-3)


def test_r1_is_taken_by_the_filtered_pictures(batch, judge):
    """gamma / 2 (|d image|^2 + |d raw|^2) + gamma / 2 |d mask|^2, 16 times as much; before, through the filter."""
    goal = objective()
    after, metrics = gan_steps.r1_step(state(goal, judge), batch, jax.random.key(0), objective=goal)
    p = {name: np.asarray(x, np.float64) for name, x in judge.items()}
    slopes = [p[name] + p["q"] * x for name, x in zip("abm", shown_real(batch))]
    squared = [(s**2).sum(axis=(1, 2, 3)).mean() for s in slopes]
    np.testing.assert_allclose(metrics["r1"], 16 * (squared[0] + squared[1]), rtol=1e-5)
    np.testing.assert_allclose(metrics["r1_mask"], 16 * squared[2], rtol=1e-5)
    gradients = {name: 16 * s.mean(axis=0) for name, s in zip("abm", slopes)}
    gradients["q"] = 16 * sum((s * x).sum() / N for s, x in zip(slopes, shown_real(batch)))
    assert_moments(after.discriminator_optimizer, gradients, 0.99 ** (16 / 17))
    through = [filtered(slopes[0], SIGMA), filtered(slopes[1], SIGMA)]
    before = sum((s**2).sum(axis=(1, 2, 3)).mean() for s in through)
    assert before < 0.3 * (squared[0] + squared[1])
    print("R1 before", 16 * before, "after", float(metrics["r1"]))


def test_generator_loss_and_gradients(batch, judge, monkeypatch):
    """Non-saturating loss of what is shown, and 10 |mean translation|^2; Adam is not corrected: 0.0025 and 0.99."""
    made = {
        "image": 0.3 * recipe.normal("loss/made", (N, SIDE, SIDE, 3)),
        "raw": 0.3 * recipe.normal("loss/made raw", (N, RAW, RAW, 3)),
        "mask": recipe.uniform("loss/made mask", (N, RAW, RAW, 1)),
        "translation": 0.1 * recipe.normal("loss/translation", (N, 3)),
    }

    def make(model, config, variables, labels, *, images, key):
        return Fakes(**variables["params"], w=jnp.zeros((N, 2)))

    monkeypatch.setattr(gan_steps, "make_fakes", make)
    goal = objective()
    changed, _, metrics = gan_steps._update_generator(state(goal, judge, made), batch, jax.random.key(0), goal)
    p = {name: np.asarray(x, np.float64) for name, x in judge.items()}
    seen = filtered(made["image"].astype(np.float64), SIGMA)
    found = logits(p, seen, made["raw"], made["mask"])
    np.testing.assert_allclose(metrics["generator"], np.mean(softplus(-found)), rtol=1e-5)
    mean = made["translation"].mean(axis=0)
    np.testing.assert_allclose(metrics["translation"], np.sum(mean**2), rtol=1e-5)
    slope = (-sigmoid(-found) / N)[:, None, None, None]
    gradients = {
        "image": filtered(slope * (p["a"] + p["q"] * seen), SIGMA),  # the filter is its own transpose
        "raw": slope * (p["b"] + p["q"] * made["raw"]),
        "mask": slope * (p["m"] + p["q"] * made["mask"]),
        "translation": np.broadcast_to(10 * 2 * mean / N, (N, 3)),
    }
    assert_moments(changed["generator_optimizer"], gradients, 0.99)
    for name, g in gradients.items():
        moved = np.asarray(changed["generator"]["params"][name]) - made[name]
        clear = np.abs(g) > 1e-2 * np.abs(g).max()
        np.testing.assert_allclose(moved[clear], (-0.0025 * g / (np.abs(g) + 1e-8))[clear], rtol=1e-3)


@pytest.mark.parametrize("region", ["cube", "box"])
def test_density_regulariser(batch, judge, monkeypatch, region):
    """0.25 mean |sigma(x) - sigma(x + d)| over [-1, 1]^3, 4 times as much; densities have the fading noise."""
    drawn = {}

    def field(model, variables, head, points):
        drawn.setdefault("points", points)
        return variables["params"]["g"] * jnp.sin(40 * points[:, 0]) * points[:, 1], None

    def heads(model, config, variables, labels, *, images, key, together):
        assert together  # one draw for the batch, as the original has it here
        return Head(jnp.zeros((N, 1)), jnp.zeros((N, 1, 1))), None

    monkeypatch.setattr(gan_losses.generator, "query_field", field)
    monkeypatch.setattr(gan_steps, "make_heads", heads)
    goal = objective(density_weight=0.25, density_points=50, density_region=region)
    start = {"g": np.float32(3.0)}
    after, metrics = gan_steps.density_step(state(goal, judge, start), batch, jax.random.key(5), objective=goal)
    key = jax.random.split(jax.random.fold_in(jax.random.fold_in(jax.random.key(5), 0), 1))[0]
    place_key, offset_key = jax.random.split(key)
    half = 1.0 if region == "cube" else goal.generator.box_warp / 2
    places = half * np.asarray(jax.random.uniform(place_key, (N, 50, 3), minval=-1, maxval=1), np.float64)
    moved = places + 0.004 * np.asarray(jax.random.normal(offset_key, (N, 50, 3)), np.float64)
    points = np.concatenate([places, moved], axis=1)
    shape = np.sin(40 * points[..., 0]) * points[..., 1]
    noise = 0.975 * np.asarray(jax.random.normal(jax.random.fold_in(key, 1), (N, 100)), np.float64)
    sigma = 3 * shape + noise
    apart = sigma[:, :50] - sigma[:, 50:]
    np.testing.assert_allclose(metrics["density"], 4 * np.abs(apart).mean(), rtol=1e-4)
    gradient = 4 * 0.25 * (np.sign(apart) * (shape[:, :50] - shape[:, 50:])).mean()
    np.testing.assert_allclose(after.generator_optimizer[0].nu["g"], (1 - 0.99**0.8) * gradient**2, rtol=1e-3)
    np.testing.assert_allclose(after.generator["params"]["g"], 3 - 0.0025 * 0.8 * np.sign(gradient), rtol=1e-6)


def test_the_even_blur_is_an_option(batch, judge):
    """Ours: made raw pictures are filtered, too, and R1 is taken through the filter."""
    goal = objective(blur="even")
    real = {"image": jnp.asarray(batch["image"]), "raw": jnp.asarray(resized(batch["image"], RAW), jnp.float32)}
    show, unseen = gan_steps._shown(state(goal, judge), batch, goal)
    np.testing.assert_array_equal(unseen["image"], batch["image"])
    for made in (False, True):
        image, raw = show(real["image"], real["raw"], made=made)
        for x, side, found in ((real["image"], SIDE, image), (real["raw"], RAW, raw)):
            kernel = gan_losses.gaussian_matrix(side, jnp.float32(SIGMA))
            np.testing.assert_allclose(found, gan_losses.blur(x, kernel), atol=1e-6)


def test_means_of_codes_and_translations_follow(judge):
    """w_avg + (1 - 0.998) (mean - w_avg), for both mappings."""
    goal = objective()
    before = state(goal, judge)
    constants = {"backbone.mapping": {"w_avg": jnp.ones(2)}, "t_mapping": {"w_avg": jnp.ones(3)}}
    before = before.replace(generator={"params": {}, "constants": constants}, averaged={})
    means = {"backbone.mapping": jnp.full(2, 3.0), "t_mapping": jnp.full(3, -2.0)}
    after = gan_steps.advance(before, {}, means, N, goal.step).generator["constants"]
    np.testing.assert_allclose(after["backbone.mapping"]["w_avg"], 1.004, rtol=1e-6)
    np.testing.assert_allclose(after["t_mapping"]["w_avg"], 0.994, rtol=1e-6)


@pytest.mark.parametrize("density", [False, True])
def test_phases_come_in_the_originals_order_with_poses_of_their_own(batch, judge, monkeypatch, density):
    """Generator, its density regulariser, discriminator, then the running average: each phase draws its own cameras."""
    goal, seen = objective(fresh_fakes=True), []
    batch = {**batch, "more_poses": np.stack([batch["pose"] + 1, batch["pose"] + 2], axis=1)}
    fakes = Fakes(batch["image"], batch["image"], batch["mask"], None, np.zeros((N, 4)))

    def generator(state, batch, key, objective):
        seen.append(("generator", batch["pose"][0, 0] - LABEL[0, 0]))
        return {"generator": {**state.generator, "params": {"x": state.generator["params"]["x"] + 1}}}, fakes, {}

    def made(model, config, variables, labels, **options):
        seen.append(("made", float(variables["params"]["x"]), labels[0, 0] - LABEL[0, 0]))
        return fakes

    def discriminator(state, batch, fakes, objective):
        seen.append(("discriminator", batch["pose"][0, 0] - LABEL[0, 0]))
        return {}, {}

    def average(state, params, *rest):
        seen.append(("average", float(params["x"])))
        return state

    def regulariser(state, batch, key, *, objective):
        seen.append(("density", gan_steps._pose(batch, 1)[0, 0] - LABEL[0, 0]))
        return state.replace(generator={**state.generator, "params": {"x": state.generator["params"]["x"] + 10}}), {}

    for name, stand_in in {
        "_update_generator": generator,
        "density_step": regulariser,
        "make_fakes": made,
        "_update_discriminator": discriminator,
        "advance": average,
    }.items():
        monkeypatch.setattr(gan_steps, name, stand_in)
    start = state(goal, judge, {"x": jnp.float32(0)})
    monkeypatch.setattr(gan_steps, "_check", lambda *_: None)
    gan_steps.generator_step(start, batch, jax.random.key(0), objective=goal, density=density)
    after = 11.0 if density else 1.0
    wanted = [("generator", 0), ("density", 2), ("made", after, 1), ("discriminator", 1), ("average", after)]
    wanted = [entry for entry in wanted if density or entry[0] != "density"]
    assert [entry[0] for entry in seen] == [entry[0] for entry in wanted]
    for got, expected in zip(seen, wanted):
        np.testing.assert_allclose(got[1:], expected[1:], atol=1e-5)


def test_mixed_styles_are_of_the_labels_themselves(monkeypatch):
    """Where labels are swapped, the codes that are mixed in are of the unswapped ones, as in the original's run_G."""
    seen = []

    def map_latent(model, variables, z, labels):
        seen.append(np.asarray(labels))
        return jnp.zeros((len(labels), model.num_ws, model.w_dim))

    monkeypatch.setattr(fakes.generator, "map_latent", map_latent)
    monkeypatch.setattr(fakes, "synthesize_planes", lambda *arguments, **options: jnp.zeros(()))
    monkeypatch.setattr(schedules, "conditioning_swap", lambda images, config: 1.0)
    step = dataclasses.replace(panohead512().step, style_mixing=0.9)
    fakes.make_heads(tiny().model, step, {}, jnp.asarray(LABEL), images=0, key=jax.random.key(0))
    swapped, mixed = seen
    np.testing.assert_array_equal(swapped, np.roll(LABEL, 1, axis=0))
    np.testing.assert_array_equal(mixed, LABEL)
