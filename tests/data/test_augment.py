import dataclasses
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe

from panojax.config import Config
from panojax.data.augment import AugmentConfig, augment, light_other, photos, relight
from panojax.data.pictures import person_mask
from panojax.devices.sharding import data_mesh
from panojax.errors import InputError
from panojax.inversion.spaces import fit_encoder, mean_codes
from panojax.losses.perception import Perception
from panojax.train.encoder.feed import Feed
from panojax.train.encoder.presets import heads, paper, tiny
from panojax.train.encoder.proxy import ProxyWeights
from panojax.train.encoder.state import Frozen, init_state
from panojax.train.encoder.steps import encoder_step

SIDE, COUNT = 32, 64
EVERYTHING = dataclasses.replace(photos(), light=1.0, crop=1.0, patch=1.0, blur=1.0, noise=1.0)
LIGHT = dataclasses.replace(photos(), light=1.0, crop=0.0, patch=0.0, blur=0.0, noise=0.0)
many = jax.jit(jax.vmap(augment, in_axes=(0, None, None, None)), static_argnums=3)


def keys(count=COUNT, seed=0):
    return jax.random.split(jax.random.key(seed), count)


@pytest.fixture(scope="module")
def portrait():
    """A coloured, textured disc with a soft border on white, and its mask."""
    rows, columns = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    mask = np.clip(9.5 - np.hypot(rows, columns), 0, 1)[..., None].astype(np.float32)
    colour = 0.2 + 0.5 * recipe.uniform("augment", (SIDE, SIDE, 3))
    return (2 * (mask * colour + 1 - mask) - 1).astype(np.float32), mask, colour


def test_nothing_is_on_by_default(portrait):
    picture, mask, _ = portrait
    seen, target = augment(jax.random.key(0), picture, mask, AugmentConfig())
    assert seen is picture and target is picture
    assert not AugmentConfig().enabled and not paper().augment.enabled and heads().augment.enabled


@pytest.mark.parametrize("name", ["light", "crop", "patch", "blur", "noise"])
def test_what_has_no_strength_is_the_identity(portrait, name):
    picture, mask, _ = portrait
    seen, target = many(keys(4), picture, mask, AugmentConfig(**{name: 1.0}))
    # A blur of no width and a move of none are matrices close to the identity.
    np.testing.assert_allclose(seen, np.broadcast_to(picture, seen.shape), atol=1e-5)
    np.testing.assert_array_equal(target, np.broadcast_to(picture, target.shape) if name != "light" else seen)


def test_damage_is_seen_only_and_light_is_on_both(portrait):
    picture, mask, _ = portrait
    damage = dataclasses.replace(EVERYTHING, light=0.0)
    seen, target = many(keys(), picture, mask, damage)
    np.testing.assert_array_equal(target, np.broadcast_to(picture, target.shape))
    assert np.all(np.abs(seen - target).max((1, 2, 3)) > 0.05)
    lit_seen, lit_target = many(keys(), picture, mask, LIGHT)
    np.testing.assert_array_equal(lit_seen, lit_target)
    # The light of a key does not depend on what damage is on.
    np.testing.assert_array_equal(many(keys(), picture, mask, EVERYTHING)[1], lit_target)


def test_the_background_stays_white(portrait):
    picture, mask, _ = portrait
    seen, target = many(keys(), picture, mask, dataclasses.replace(EVERYTHING, crop=0.0, blur=0.0))
    empty = np.broadcast_to(mask == 0, (COUNT, SIDE, SIDE, 1))[..., 0]
    assert np.all(np.asarray(target)[empty] == 1) and np.all(np.asarray(seen)[empty] == 1)
    seen, _ = many(keys(), picture, mask, EVERYTHING)
    np.testing.assert_allclose(np.asarray(seen)[:, [0, -1]], 1, atol=1e-5)  # far from what moved and was blurred
    assert np.all(np.abs(seen) <= 1 + 1e-5)


def test_light_on_a_soft_border_is_light_on_the_person(portrait):
    """A composed picture relit is the relit person, composed: no halo."""
    picture, mask, colour = portrait
    config = AugmentConfig(light=1.0, exposure=1.0, gradient=0.5, white_balance=0.3)
    for key in keys(8):
        whole = relight(key, jnp.asarray(2 * colour - 1), jnp.ones_like(mask), config)
        expected = mask * whole + 1 - mask
        np.testing.assert_allclose(relight(key, picture, mask, config), expected, atol=2e-2 / 255)


def test_exposures_are_in_range():
    grey = jnp.full((SIDE, SIDE, 3), -0.4)
    _, target = many(keys(200), grey, jnp.ones((SIDE, SIDE, 1)), AugmentConfig(light=1.0, exposure=0.5))
    stops = 2.2 * np.log2((np.asarray(target)[:, 0, 0, 0] + 1) / 0.6)
    assert np.abs(stops).max() <= 0.5 + 1e-4
    assert abs(stops.mean()) < 0.07 and stops.std() == pytest.approx(1 / np.sqrt(12), rel=0.15)


def test_a_gradient_of_light_has_a_direction_and_no_mean():
    grey = jnp.full((SIDE, SIDE, 3), -0.4)
    _, target = many(keys(200), grey, jnp.ones((SIDE, SIDE, 1)), AugmentConfig(light=1.0, gradient=0.8))
    stops = 2.2 * np.log2((np.asarray(target)[..., 0] + 1) / 0.6)
    np.testing.assert_allclose(stops.mean((1, 2)), 0, atol=1e-4)
    down, right = stops[:, -1].mean(1) - stops[:, 0].mean(1), stops[:, :, -1].mean(1) - stops[:, :, 0].mean(1)
    assert np.hypot(down, right).max() <= 2 * 0.8 and abs(down.mean()) < 0.15 and abs(right.mean()) < 0.15


def test_chances_are_kept(portrait):
    picture, mask, _ = portrait
    _, target = many(keys(400), picture, mask, dataclasses.replace(LIGHT, light=0.3))
    changed = np.abs(target - picture).max((1, 2, 3)) > 0
    assert np.mean(changed) == pytest.approx(0.3, abs=0.07)


def test_a_move_is_small_and_follows_its_twin():
    """A dot's place after the move is what the inverse transform of a slow loop gives; the farthest is in range."""
    dot, mask = np.ones((SIDE, SIDE, 3), np.float32), np.zeros((SIDE, SIDE, 1), np.float32)
    dot[14:17, 22:25] = -1  # centre (15, 23), from the middle (-0.5, 7.5)
    config = AugmentConfig(crop=1.0, shift=0.1, zoom=0.1, degrees=10.0)
    seen, _ = many(keys(), dot, mask, config)
    dark = (1 - np.asarray(seen)[..., 0]) / 2
    grid = np.arange(SIDE) + 0.0
    total = dark.sum((1, 2))
    rows, columns = dark.sum(2) @ grid / total, dark.sum(1) @ grid / total
    reach = 0.1 * SIDE / 0.9 + np.hypot(0.5, 7.5) * (1 / 0.9 - np.cos(np.radians(10)))
    assert np.abs(rows - 15).max() < reach + 1.5 and np.abs(columns - 23).max() < reach + 0.3
    assert np.std(columns) > 1 and np.std(rows) > 1
    # A shift alone by whole pixels, as drawn.
    shifts = many(keys(), dot, mask, AugmentConfig(crop=1.0, shift=0.1))[0]
    dark = (1 - np.asarray(shifts)[..., 0]) / 2
    np.testing.assert_allclose(dark.sum((1, 2)), 9, rtol=1e-4)  # bilinear: nothing is lost
    assert np.abs(dark.sum(2) @ grid / 9 - 15).max() <= 0.1 * SIDE + 1e-3


def test_blur_is_a_gaussian_of_the_drawn_width():
    dot, mask = -np.ones((SIDE, SIDE, 3), np.float32), np.zeros((SIDE, SIDE, 1), np.float32)
    dot[16, 16] = 1
    seen = (np.asarray(many(keys(200), dot, mask, AugmentConfig(blur=1.0, blur_sigma=0.1))[0])[..., 0] + 1) / 2
    np.testing.assert_allclose(seen.sum((1, 2)), 1, rtol=2e-3)  # the border cuts off little of the widest
    spread = np.sqrt(seen.sum(1) @ (np.arange(SIDE) - 16.0) ** 2)
    assert spread.max() <= 0.1 * SIDE + 1e-3
    assert spread.mean() == pytest.approx(0.05 * SIDE, rel=0.15)


def test_noise_has_the_level_also_when_pooled():
    grey, mask = np.zeros((SIDE, SIDE, 3), np.float32), np.ones((SIDE, SIDE, 1), np.float32)
    seen = np.asarray(many(keys(100), grey, mask, AugmentConfig(noise=1.0, noise_level=0.1))[0])
    assert abs(seen.mean()) < 2e-3
    level = np.sqrt(np.mean(seen**2))
    assert level == pytest.approx(0.1 / np.sqrt(3), rel=0.15)  # a uniform share of 0.1
    pooled = seen.reshape(100, 8, 4, 8, 4, 3).mean((2, 4))
    assert np.sqrt(np.mean(pooled**2)) == pytest.approx(level * np.sqrt((1 / 16 + 1 / 4 + 1) / 3), rel=0.1)


def test_a_patch_hides_a_part_of_the_person(portrait):
    picture, mask, _ = portrait
    seen, _ = many(keys(), picture, np.ones_like(mask), AugmentConfig(patch=1.0, patch_size=0.2))
    hidden = np.mean(np.abs(seen - picture).max(-1) > 1e-6, axis=(1, 2))
    assert 0 < hidden.max() <= np.pi * 0.2**2 * 1.1 and hidden.min() > 0


def test_keys_decide(portrait):
    picture, mask, _ = portrait
    first, again, other = (many(keys(4, seed), picture, mask, EVERYTHING) for seed in (0, 0, 1))
    for a, b, c in zip(first, again, other):
        np.testing.assert_array_equal(a, b)
        assert np.abs(a - c).max() > 0.05
    one = augment(keys(4)[2], picture, mask, EVERYTHING)  # neither jit nor vmap
    for a, b in zip(first, one):
        np.testing.assert_allclose(a[2], b, atol=1e-5)


def test_masks_are_found_from_the_border():
    picture = np.ones((8, 8, 3), np.float32)
    picture[2:, 2:6] = 0.0
    picture[4, 3:5] = 1.0  # a white collar
    picture[7, :] = 1.0  # white below, which touches neither side alone
    mask = person_mask(picture)
    assert isinstance(mask, np.ndarray) and mask.shape == (8, 8, 1)
    expected = np.zeros((8, 8))
    expected[2:7, 2:6] = 1
    np.testing.assert_array_equal(mask[..., 0], expected)
    np.testing.assert_array_equal(mask, person_mask(jnp.asarray(picture)))


def test_bad_strengths_are_named():
    for bad in ({"light": 1.5}, {"blur_sigma": -1.0}, {"shift": float("nan")}, {"zoom": 1.0}):
        with pytest.raises(InputError, match=f"augment.{next(iter(bad))} must"):
            AugmentConfig(**bad)


# In training.


@pytest.fixture(scope="module")
def frozen(generator):
    model = generator.config.generator
    average = mean_codes(model, generator.generator, jax.random.key(1), samples=100)
    sizes = fit_encoder(model, tiny().encoder, "w+")
    return Frozen(generator.generator, average, Perception(), config=Config(model, sizes))


def feed_of(frozen, *, source=None, validation=False, **options):
    return Feed(dataclasses.replace(tiny(), **options), frozen, data_mesh(), source, validation=validation)


class Given:
    """A source of one batch of pictures that have no masks, or whole ones."""

    def __init__(self, picture, masks=False):
        self.batch = {"image": np.stack([picture] * 2), "camera": np.zeros((2, 25), np.float32)}
        if masks:
            self.batch["mask"] = np.ones((2, SIDE, SIDE, 1), np.float32)

    def __next__(self):
        return dict(self.batch)


def test_batches_have_inputs_by_seed_and_step(frozen):
    plain = feed_of(frozen)(3)
    assert plain.keys() == {"image", "camera"}
    feed = feed_of(frozen, augment=EVERYTHING)
    one, again, later = feed(3), feed_of(frozen, augment=EVERYTHING)(3), feed(4)
    assert one.keys() == {"image", "input", "camera"}
    for name in one:
        np.testing.assert_array_equal(one[name], again[name])
    assert np.abs(one["input"] - later["input"]).max() > 0.05
    np.testing.assert_array_equal(one["camera"], plain["camera"])
    assert np.abs(one["image"] - plain["image"]).max() > 0.05  # other light
    validation = feed_of(frozen, augment=EVERYTHING, validation=True)(3)
    assert validation.keys() == {"image", "camera"}


def test_proxies_keep_their_light(frozen):
    """Their pictures are compared with another view of the same head."""
    step = dataclasses.replace(tiny().step, proxy=ProxyWeights(view=1.0, points=4))
    plain, changed = (feed_of(frozen, step=step, augment=config)(0) for config in (AugmentConfig(), EVERYTHING))
    np.testing.assert_array_equal(changed["image"], plain["image"])
    np.testing.assert_array_equal(changed["proxy"]["other_image"], plain["proxy"]["other_image"])
    assert np.abs(changed["input"] - plain["image"]).max() > 0.05


def test_half_of_the_photos_have_other_views_and_keep_their_light(frozen, portrait):
    source = Given(portrait[0])
    source.batch |= {"other_image": -source.batch["image"], "other_camera": source.batch["camera"] + 1}
    step = dataclasses.replace(tiny().step, view_weight=1.0)
    options = {"data": ("given",), "sample_ratio": 0.5, "step": step, "augment": EVERYTHING}
    batch = feed_of(frozen, source=source, **options)(0)
    assert len(batch["image"]) == 4
    np.testing.assert_array_equal(batch["other"]["image"], -portrait[0][None])
    np.testing.assert_array_equal(batch["other"]["camera"], np.ones((1, 25)))
    np.testing.assert_array_equal(batch["image"][0], portrait[0])
    assert np.abs(batch["image"][1] - portrait[0]).max() > 0.05  # other light
    assert np.abs(batch["input"][0] - portrait[0]).max() > 0.05


def test_photos_and_samples_are_joined_with_their_masks(frozen, portrait):
    picture, _, _ = portrait
    options = {"data": ("given",), "sample_ratio": 0.5, "augment": LIGHT}
    found = feed_of(frozen, source=Given(picture), **options)(0)["input"]
    assert found.shape == (4, SIDE, SIDE, 3)
    assert np.all(np.asarray(found)[:2, 0] == 1)  # white by the estimated mask
    given = feed_of(frozen, source=Given(picture, masks=True), **options)(0)["input"]
    assert np.asarray(given)[:2, 0].min() < 1 - 1e-3  # by its mask, all of it is the person


def test_the_encoder_sees_the_input_and_the_loss_the_image(frozen):
    config = tiny().step
    batch = feed_of(frozen)(0)
    step = jax.jit(lambda batch: encoder_step(state, frozen, batch, jax.random.key(0), config=config)[1]["l2"])
    state = init_state(frozen.config, config, jax.random.key(3))
    same, other = step(batch | {"input": batch["image"]}), step(batch | {"input": -batch["image"]})
    assert float(same) == float(step(batch)) != float(other)
    dark = step({**batch, "input": batch["image"], "image": jnp.full_like(batch["image"], -1.0)})
    assert abs(float(dark) - float(same)) > 0.05


TWO_DEVICES = """
import dataclasses, sys
import chex, jax, numpy as np
chex.set_n_cpu_devices(2)
import panojax
from panojax.data.augment import photos
from panojax.train.encoder.run import freeze
from panojax.train.encoder.feed import Feed
from panojax.train.encoder.presets import tiny
from panojax.devices.sharding import data_mesh
run, generator = dataclasses.replace(tiny(), augment=photos()), panojax.load(sys.argv[1])
batches = []
for devices in (jax.devices()[:1], jax.devices()):
    mesh = data_mesh(devices)
    batches.append(Feed(run, freeze(run, generator, mesh), mesh, None)(5))
assert len(batches[1]["input"].sharding.device_set) == 2
for name in ("image", "input"):
    np.testing.assert_allclose(batches[0][name], batches[1][name], atol=1e-5)
"""


def test_two_devices_see_what_one_does(generator_folder):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", TWO_DEVICES, str(generator_folder)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr


def test_another_view_has_the_same_light(portrait):
    """Of the picture itself: as `augment` lights it. Seen in a mirror: the lit picture in a mirror."""
    picture, mask, _ = portrait
    light = dataclasses.replace(LIGHT, light=0.5)
    _, target = many(keys(8), picture, mask, light)
    other = jax.jit(jax.vmap(light_other, in_axes=(0, None, None, None)), static_argnums=3)
    views = ((picture, mask), (picture, mask))
    np.testing.assert_allclose(other(keys(8), views, jnp.eye(2), light), target, atol=1e-6)
    mirrored = ((picture, mask), (picture[:, ::-1], mask[:, ::-1]))
    lit = other(keys(8), mirrored, jnp.diag(jnp.array([-1.0, 1.0])), light)
    np.testing.assert_allclose(lit, target[:, :, ::-1], atol=1e-6)
    changed = np.abs(np.asarray(target) - picture).max((1, 2, 3)) > 1e-3
    assert 0 < changed.mean() < 1
