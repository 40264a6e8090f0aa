import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe

from panojax.camera import look_at
from panojax.config import Config
from panojax.errors import InputError
from panojax.generators import generator as networks
from panojax.generators.generator import Head, View, render_heads
from panojax.inversion.spaces import fit_encoder, mean_codes
from panojax.losses.perception import Perception
from panojax.train.encoder.objective import Rendered, identity
from panojax.train.encoder.presets import tiny
from panojax.train.encoder.proxy import ProxyWeights, draw_proxies, proxy_terms
from panojax.train.encoder.run_config import RunConfig
from panojax.train.encoder.state import Frozen, init_state
from panojax.train.encoder.step_config import StepConfig
from panojax.train.encoder.steps import encoder_step

WEIGHTS = ProxyWeights(code=1.0, density=0.1, feature=0.1, depth=1.0, view=1.0, points=64)


@pytest.fixture(scope="module")
def proxies(generator):
    draw = jax.jit(draw_proxies, static_argnums=(0, 3, 4))
    keys = jax.random.split(jax.random.key(0), 2)
    return draw(generator.config.generator, generator.generator, keys, tiny().samples, WEIGHTS)


@pytest.fixture(scope="module")
def heads(generator, proxies):
    """The proxies' own heads, from their codes."""
    config = generator.config.generator
    planes = jax.jit(networks.synthesize, static_argnums=0)(config, generator.generator, proxies["ws"])
    return Head(planes, proxies["ws"])


def terms(generator, heads, depth, proxies):
    found = jax.jit(proxy_terms, static_argnums=0)(
        generator.config.generator, generator.generator, heads, depth, proxies
    )
    return {name: float(value) for name, value in found.items()}


def test_what_is_known_is_true(generator, proxies, heads):
    """The stored codes give both pictures, the depth and the fields: all losses are 0."""
    config = generator.config.generator
    render = jax.jit(render_heads, static_argnums=0)
    view = render(config, generator.generator, heads, proxies["camera"])
    np.testing.assert_allclose(np.clip(view.image, -1, 1), proxies["image"], atol=1e-3)
    other = render(config, generator.generator, heads, proxies["other_camera"]).image
    np.testing.assert_allclose(np.clip(other, -1, 1), proxies["other_image"], atol=1e-3)
    assert np.abs(proxies["camera"] - proxies["other_camera"]).max() > 0.01
    found = terms(generator, heads, view.depth, proxies)
    assert all(value < 1e-4 for value in found.values()), found


def test_each_loss_answers_to_its_own_error(generator, proxies, heads):
    depth = proxies["depth"]
    moved = terms(generator, Head(heads.planes, heads.ws + 0.5), depth, proxies)
    assert moved["code"] == pytest.approx(0.25, rel=1e-4)
    farther = terms(generator, heads, depth + 0.1, proxies)
    assert farther["depth"] == pytest.approx(0.1, rel=1e-4)
    noise = recipe.normal("proxy/planes", heads.planes.shape)
    rougher = terms(generator, Head(heads.planes + noise, heads.ws), depth, proxies)
    assert rougher["density"] > 1e-3 and rougher["feature"] > 1e-3 and rougher["depth"] == 0


def test_half_of_the_points_lie_near_the_surface(proxies):
    """By distance from the camera along the ray to the pixel that a point projects to."""
    for i in range(2):
        cam2world = np.asarray(proxies["camera"][i, :16]).reshape(4, 4)
        lens = np.asarray(proxies["camera"][i, 16:]).reshape(3, 3)
        local = (np.asarray(proxies["xyz"][i]) - cam2world[:3, 3]) @ cam2world[:3, :3]
        x, y = (local[:, :2] / local[:, 2:] @ lens[:2, :2].T + lens[:2, 2]).T
        side = proxies["depth"].shape[1]
        column, row = (np.clip(np.floor(side * v).astype(int), 0, side - 1) for v in (x, y))
        surface = np.asarray(proxies["depth"])[i, row, column, 0]
        apart = np.abs(np.linalg.norm(local, axis=-1) - surface)
        assert np.mean(apart[:32] < 0.1) > 0.95
        assert np.mean(apart[32:] < 0.1) < 0.5
    assert np.abs(proxies["xyz"][:, 32:]).max() <= 0.5


def test_a_step_uses_the_last_samples_as_proxies_and_the_firsts_other_views(generator, proxies):
    config = dataclasses.replace(tiny().step, offsets=False, proxy=WEIGHTS, view_weight=0.5, jitter=False)
    model = generator.config.generator
    frozen = Frozen(
        generator.generator,
        mean_codes(model, generator.generator, jax.random.key(1), samples=100),
        Perception(),
        config=Config(model, fit_encoder(model, tiny().encoder, "w+")),
    )
    known = {name: x for name, x in proxies.items() if name not in ("image", "camera")}
    batch = {
        "image": jnp.concatenate([proxies["image"], proxies["image"]]),
        "camera": jnp.concatenate([proxies["camera"], proxies["camera"]]),
        "proxy": known,
        "other": {"image": proxies["other_image"], "camera": proxies["other_camera"], "weight": jnp.ones(2)},
    }
    step = jax.jit(functools.partial(encoder_step, config=config))
    before = init_state(frozen.config, config, jax.random.key(3))
    state, metrics = step(before, frozen, batch, jax.random.key(4))
    expected = metrics["l2"] + sum(getattr(WEIGHTS, n) * metrics[f"proxy/{n}"] for n in ("code", "density", "feature"))
    expected += metrics["proxy/depth"] + metrics["proxy/view"] + 0.5 * metrics["other"]
    assert float(metrics["loss"]) == pytest.approx(float(expected), rel=1e-5)
    # The first samples are the proxies once more.
    assert float(metrics["other"]) == pytest.approx(float(metrics["proxy/view"]), rel=1e-4)
    # Each counts by its weight.
    counted = {}
    for weights in ((1.0, 1.0), (1.0, 0.0), (0.0, 0.5)):
        batch["other"]["weight"] = jnp.array(weights)
        counted[weights] = float(step(before, frozen, batch, jax.random.key(4))[1]["other"])
    assert counted[1.0, 1.0] == pytest.approx(counted[1.0, 0.0] + 2 * counted[0.0, 0.5], rel=1e-5)
    assert counted[1.0, 1.0] == pytest.approx(float(metrics["other"]), rel=1e-5)
    first = float(metrics["proxy/code"])
    for _ in range(15):
        state, metrics = step(state, frozen, batch, jax.random.key(4))
    assert float(metrics["proxy/code"]) < first


def test_identities_count_where_a_face_is_seen():
    class Known:
        class perception:
            embed = staticmethod(lambda pictures: pictures.reshape(len(pictures), -1))

    labels = look_at(jnp.radians(jnp.array([0.0, -70.0, 80.0, 180.0])))
    image, target = recipe.normal("id/image", (4, 8, 8, 3)), recipe.normal("id/target", (4, 8, 8, 3))
    view = View(image, None, None, None, None)
    everywhere, near = (
        identity(Rendered(Known, config, {"camera": labels}, None, view, target))
        for config in (StepConfig(), StepConfig(identity_yaw=75.0))
    )
    assert np.all(everywhere > 0.1)
    np.testing.assert_array_equal(near, everywhere * np.array([1, 1, 0, 0]))


def test_codes_alone(generator):
    """The proxies are codes and pictures, the W+ stage learns them, and the F stage waits."""
    weights = ProxyWeights(code=2.0)
    config = dataclasses.replace(tiny().step, rendered=False, proxy=weights)
    model = generator.config.generator
    draw = jax.jit(draw_proxies, static_argnums=(0, 3, 4))
    proxies = draw(model, generator.generator, jax.random.split(jax.random.key(0), 2), tiny().samples, weights)
    assert proxies.keys() == {"image", "camera", "ws"}
    average = mean_codes(model, generator.generator, jax.random.key(1), samples=100)
    sizes = fit_encoder(model, tiny().encoder, "w+")
    frozen = Frozen(generator.generator, average, Perception(), config=Config(model, sizes))
    batch = {"image": proxies.pop("image"), "camera": proxies.pop("camera"), "proxy": proxies}
    before = state = init_state(frozen.config, config, jax.random.key(3))
    step, codes = jax.jit(functools.partial(encoder_step, config=config)), []
    for _ in range(15):
        state, metrics = step(state, frozen, batch, jax.random.key(4))
        assert float(metrics["loss"]) == pytest.approx(2 * float(metrics["proxy/code"]), rel=1e-6)
        codes.append(float(metrics["proxy/code"]))
    assert codes[-1] < 0.99 * codes[0]
    chex.assert_trees_all_equal(*(s.encoder.variables()["triplanenet_encoder"] for s in (before, state)))


def test_bad_input_is_named():
    with pytest.raises(InputError, match="points must be even"):
        ProxyWeights(points=3)
    with pytest.raises(InputError, match="needs samples of the generator"):
        RunConfig(data=("FFHQ",), step=dataclasses.replace(tiny().step, proxy=WEIGHTS))
    with pytest.raises(InputError, match="a photo's codes are not known"):
        step = dataclasses.replace(tiny().step, proxy=WEIGHTS, rendered=False)
        RunConfig(data=("FFHQ",), batch=4, sample_ratio=0.5, step=step)
    with pytest.raises(InputError, match="nothing but codes is learned"):
        StepConfig(rendered=False)
