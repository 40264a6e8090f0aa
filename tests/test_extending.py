"""The worked examples of docs/extending.md: an encoder, a loss and a representation from outside the package."""

import dataclasses
import importlib.util
import pathlib
import re

import jax
import jax.numpy as jnp
import micro
import numpy as np
import pytest
import recipe
import scenes

import panojax
from panojax.config import Config
from panojax.encoders.encoder_config import light
from panojax.files.checkpoint import load, save
from panojax.inversion.stages import init_variables
from panojax.losses.perception import Perception
from panojax.params import random_params
from panojax.train.encoder.state import Frozen, init_state
from panojax.train.encoder.step_config import StepConfig
from panojax.train.encoder.steps import compile_step, evaluate

ROOT = pathlib.Path(__file__).parents[1]
CAMERA = np.asarray(panojax.look_at(0.3, 0.1))
SMALL = {"widths": (16, 16, 16, 16), "depths": (1, 1, 1, 1), "head_width": 16}
STEP = StepConfig(offsets=False, loss_resolution=32, learning_rate=3e-3, jitter=False)


def example(name):
    """A file of examples/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def small_generator(**options):
    options = {"rendering_resolution": 16, "depth_samples": 12, "crop_margin": 0.3} | options
    return dataclasses.replace(micro.micro_generator().config.generator, **options)


@pytest.fixture(scope="module")
def plain():
    """A generator, and an own encoder that saw nothing yet: its codes are the mean ones."""
    generator = random_params(Config(small_generator()))
    model = Config(generator.config.generator, example("own_encoder").PlainEncoder(), encoders=1)
    variables = jax.jit(lambda key: init_variables(model, key))(jax.random.key(0))
    average = 0.1 * recipe.normal("extending/average", (model.generator.num_ws, model.generator.w_dim))
    return generator.with_encoders(model.encoder, variables, latent_average=jnp.asarray(average, jnp.float32))


@pytest.fixture(scope="module")
def frozen(plain):
    return Frozen(plain.generator, plain.encoders["latent_average"], Perception(), config=plain.config)


def test_an_encoder_of_ones_own_inverts(plain):
    """By the public function, under jit and vmap; alone, and as two of which one is visible."""
    pictures = scenes.portraits(2)
    invert = jax.jit(panojax.invert)
    head = invert(plain, pictures[0], CAMERA)
    assert np.allclose(head.ws, plain.encoders["latent_average"]) and head.local is None
    one = jax.tree.map(lambda x: x[0], plain.encoders["both"])
    other = jax.tree.map(lambda x: x + 0.1, one)
    dual = plain.with_encoders(plain.config.encoder, one, other)
    head, parts = jax.jit(lambda params, x: panojax.invert(params, x, CAMERA, return_parts=True))(dual, pictures[0])
    np.testing.assert_allclose(parts.visible.ws, plain.encoders["latent_average"], rtol=1e-6)
    assert recipe.relative_error(parts.occluded.ws, parts.visible.ws) > 1e-3
    want = np.where(np.asarray(parts.mask)[..., None] == 1, parts.occluded.planes, parts.visible.planes)
    np.testing.assert_allclose(head.planes, want, atol=1e-6)
    batched = jax.jit(jax.vmap(panojax.invert, (None, 0, None)))(plain, pictures, CAMERA)
    assert batched.planes.shape == (2, *plain.config.generator.field.shape)


def test_an_encoder_of_ones_own_learns_by_the_ordinary_step(plain, frozen):
    """And is saved and loaded, where it is given again: a checkpoint holds no code."""
    image, label = jnp.asarray(scenes.portraits(2)), jnp.broadcast_to(CAMERA, (2, 25))
    batch = {"image": image, "camera": label}
    state = init_state(plain.config, STEP, jax.random.key(1))
    step, losses = compile_step(STEP), []
    for _ in range(6):
        state, metrics = step(state, frozen, batch, jax.random.key(2))
        losses.append(float(metrics["loss"]))
    assert losses[-1] < losses[0] and np.isfinite(losses).all()
    assert set(evaluate(frozen, state.encoder.variables(), batch, config=STEP)) == {"loss", "l2", "lpips", "id"}
    means = state.encoder.batch_stats["plain_codes"]["BatchNorm_0"]["mean"]
    assert np.abs(means).max() > 0


def test_a_model_with_parts_of_ones_own_is_saved_by_name(plain, tmp_path):
    save(plain, tmp_path / "own")
    again = load(tmp_path / "own", own=[plain.config.encoder])
    assert again.config == plain.config
    jax.tree.map(np.testing.assert_array_equal, again, plain)
    with pytest.raises(panojax.InputError, match=r"own must hold the model's encoder, a PlainEncoder .* got none"):
        load(tmp_path / "own")


def test_a_loss_of_ones_own_counts(plain, frozen):
    """By its weight, beside the others, under its name in the metrics."""
    own = example("own_loss")
    image = jnp.asarray(scenes.portraits(2))
    batch = {"image": image, "camera": jnp.broadcast_to(CAMERA, (2, 25)), "mask": jnp.ones((2, *image.shape[1:3], 1))}
    with_silhouette = dataclasses.replace(STEP, losses=own.WITH_SILHOUETTE.losses)
    numbers = {}
    for name, config in (("without", STEP), ("with", with_silhouette)):
        state = init_state(plain.config, config, jax.random.key(1))
        numbers[name] = compile_step(config)(state, frozen, batch, jax.random.key(2))[1]
    term = float(numbers["with"]["silhouette"])
    assert term > 0.01
    assert float(numbers["with"]["loss"]) == pytest.approx(float(numbers["without"]["loss"]) + 0.1 * term, rel=1e-5)


@pytest.fixture(scope="module")
def voxels():
    """A model whose planes are voxels: opaque, and with two encoders of the package that have offsets."""
    field = example("own_representation").VoxelGrid(8, 4)
    generator = small_generator(representation=field)
    encoder = light(resolution=32, n_styles=generator.num_ws, w_dim=16, out_channels=field.channels, **SMALL)
    return scenes.make_solid(random_params(Config(generator, encoder)))


def test_a_representation_of_ones_own_is_generated_and_rendered(voxels):
    """Lookups are those of a loop over voxels; pictures differ by camera."""
    field = voxels.config.generator.field
    head = jax.jit(panojax.generate)(voxels, jnp.ones(8))
    assert head.planes.shape == (8, 8, 8, 4)
    np.testing.assert_array_equal(field.from_image(field.to_image(head.planes)), head.planes)
    points = 2.2 * recipe.uniform("extending/points", (40, 3)) - 1.1
    want = np.zeros((40, 4))
    for m, (x, y, z) in enumerate((points + 1) * 4 - 0.5):
        for k, j, i in np.ndindex(8, 8, 8):
            weight = max(0, 1 - abs(x - i)) * max(0, 1 - abs(y - j)) * max(0, 1 - abs(z - k))
            want[m] += weight * np.asarray(head.planes, np.float64)[k, j, i]
    assert recipe.relative_error(field.look_up(head.planes, jnp.asarray(points, jnp.float32)), want) < 1e-5
    render = jax.jit(panojax.render)
    front, side = (render(voxels, head, panojax.look_at(yaw)) for yaw in (0.0, 1.5))
    assert front.image.shape == (128, 128, 3) and np.abs(front.image - side.image).max() > 1e-3


def test_a_representation_of_ones_own_is_masked_and_stitched(voxels):
    image = scenes.portraits(1)[0]
    head, parts = jax.jit(lambda p, x: panojax.invert(p, x, CAMERA, return_parts=True))(voxels, image)
    assert parts.mask.shape == (8, 8, 8) and 0.05 < float(parts.mask.mean()) < 0.95
    want = np.where(np.asarray(parts.mask)[..., None] == 1, parts.occluded.planes, parts.visible.planes)
    np.testing.assert_allclose(head.planes, want, atol=1e-6)
    sample = jax.jit(lambda p, x: panojax.invert(p, x, CAMERA, stitching="sample"))(voxels, image)
    assert np.isfinite(jax.jit(panojax.render)(voxels, sample, CAMERA).image).all()
    prepared = voxels.for_inference()
    again = jax.jit(panojax.invert)(prepared, image, CAMERA)
    assert recipe.relative_error(again.planes, head.planes) < 1e-4


def test_a_representation_of_ones_own_trains_one_step(voxels):
    """Encoder 2 against its critic, which sees the hidden voxels."""
    config = StepConfig(critic="trigrid-occluded", critic_widths=(8, 16), loss_resolution=32, jitter=False)
    frozen = Frozen(voxels.generator, voxels.encoders["latent_average"], Perception(), config=voxels.config)
    batch = {"image": jnp.asarray(scenes.portraits(2)), "camera": jnp.broadcast_to(CAMERA, (2, 25))}
    state = init_state(voxels.config, config, jax.random.key(1))
    before = np.asarray(jax.tree.leaves(state.encoder.params.fast)[0])
    state, metrics = compile_step(config)(state, frozen, batch, jax.random.key(2))
    assert all(np.isfinite(float(value)) for value in metrics.values()) and 0 < metrics["critic/hidden"] < 1
    assert np.abs(np.asarray(jax.tree.leaves(state.encoder.params.fast)[0]) - before).max() > 0


def test_the_page_shows_the_examples():
    """docs/extending.md holds the files as they are."""
    page = (ROOT / "docs" / "extending.md").read_text()
    shown = re.findall(r"```python\n(.*?)```", page, re.S)
    for name in ("own_encoder", "own_loss", "own_representation"):
        assert (ROOT / "examples" / f"{name}.py").read_text() in shown
    assert len((ROOT / "examples" / "own_encoder.py").read_text().splitlines()) <= 75
