"""Gradients of the encoder's losses against finite differences, both of the traced program in float64.

What float32 costs is seen beside it: the same gradient as training computes it. Where the paths that training cuts on
purpose (importance samples, the F stage's input) would show in finite differences, there are none here.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe
from flax.traverse_util import flatten_dict, unflatten_dict
from in_double import in_double

from panojax.camera import look_at
from panojax.config import Config
from panojax.inversion.spaces import fit_encoder, mean_codes
from panojax.losses import terms
from panojax.losses.perception import Perception
from panojax.nn.arcface import ArcFaceConfig, abstract_arcface
from panojax.nn.ir_se import TrunkConfig
from panojax.train.encoder import steps
from panojax.train.encoder.presets import tiny
from panojax.train.encoder.state import Frozen, init_state
from panojax.train.flat import flatten

STEP = 1e-6
SMALL = ArcFaceConfig(TrunkConfig(depths=(1, 1, 1, 1), widths=(16, 16, 16, 16)), affine=True, embedding_dim=16)


def identity_network():
    """A small ArcFace with drawn weights: trunk, batch norms and a linear layer as the released one has them."""

    def draw(path, leaf):
        name = jax.tree_util.keystr(path)
        if path[-1].key == "kernel":
            return recipe.normal(f"gradients/{name}", leaf.shape) / np.float32(np.sqrt(np.prod(leaf.shape[:-1])))
        middle = 1.0 if path[-1].key in ("scale", "var") else 0.25 if path[-1].key == "negative_slope" else 0.0
        return np.float32(middle) + 0.1 * np.abs(recipe.normal(f"gradients/{name}", leaf.shape))

    return Perception(identity=jax.tree_util.tree_map_with_path(draw, abstract_arcface(SMALL)), identity_network=SMALL)


def differences(function, tree, weights):
    """Central differences of a function of a tree by single numbers of its leaves: [len(weights)]."""
    flat, found = flatten_dict(tree), []
    for path, index in weights:
        ends = []
        for sign in (1, -1):
            moved = np.asarray(flat[path], np.float64).copy()
            moved[index] += sign * STEP
            ends.append(float(function(unflatten_dict(flat | {path: moved}))))
        found.append((ends[0] - ends[1]) / (2 * STEP))
    return np.array(found)


def wide(tree):
    return jax.tree.map(lambda x: np.asarray(x, np.float64), tree)


def test_identity_loss_by_pixels():
    """1 - cos of a rendering's and a picture's embeddings, through crop and network."""
    perception = identity_network()
    image, target = (0.5 * recipe.normal(f"gradients/{name}", (1, 64, 64, 3)) for name in ("image", "target"))

    def loss(tree):
        return jnp.mean(terms.identity(perception.embed(tree["image"]), perception.embed(target)))

    tree = {"image": wide(image)}
    places = [(("image",), (0, *place)) for place in ((20, 30, 0), (33, 17, 2), (40, 40, 1), (25, 45, 0))]
    gradient = in_double(jax.grad(loss))(tree)["image"]
    found = np.array([gradient[index] for _, index in places])
    want = differences(in_double(loss), tree, places)
    single = np.asarray(jax.jit(jax.grad(loss))({"image": image})["image"])
    print("identity loss", float(loss({"image": image})), "against differences", recipe.relative_error(found, want))
    print("float32 against float64", recipe.relative_error(single, gradient))
    assert np.abs(want).min() > 1e-7
    assert recipe.relative_error(found, want) < 1e-5
    assert recipe.relative_error(single, gradient) < 1e-4


@pytest.mark.parametrize("network", ["psp_encoder", "triplanenet_encoder"])
def test_encoder_1_by_its_weights(generator, network):
    """L2 and identity of the final picture by weights of the W+ stage (without an F stage) and of the F stage."""
    model = dataclasses.replace(generator.config.generator, importance_samples=0)
    weights = terms.EncoderWeights(lpips=0.0, l2=1.0, identity=0.5)
    config = dataclasses.replace(tiny().step, weights=weights, offsets=network == "triplanenet_encoder", jitter=True)
    average = mean_codes(model, generator.generator, jax.random.key(1), samples=100)
    sizes = fit_encoder(model, tiny().encoder, config.space)
    frozen = Frozen(generator.generator, average, identity_network(), config=Config(model, sizes))
    state = init_state(frozen.config, config, jax.random.key(3))
    params = jax.tree.map(np.asarray, state.encoder.params.fast.tree())
    image = np.clip(0.5 * recipe.normal("gradients/portraits", (2, 64, 64, 3)), -1, 1)
    batch = {"image": image, "camera": np.broadcast_to(np.asarray(look_at(0.2, 0.1)), (2, 25))}
    keys = jax.random.split(jax.random.key(4), 2)

    def both(params, batch):
        learner = state.encoder.replace(params=state.encoder.params._replace(fast=flatten(params)))
        stats = learner.batch_stats, None
        gradients, _, metrics = steps._gradients(state.replace(encoder=learner), stats, frozen, batch, keys, config)
        return gradients[0], metrics["loss"]

    gradient, loss = in_double(both)(wide(params), batch)
    flat, single = flatten_dict(gradient), flatten_dict(jax.jit(both)(params, batch)[0])
    paths = sorted((path for path in flat if path[0] == network and np.abs(flat[path]).max() > 0), key=str)
    places = [(path, np.unravel_index(np.abs(flat[path]).argmax(), flat[path].shape)) for path in paths]
    places = places[:: len(places) // 4]
    found = np.array([flat[path][index] for path, index in places])
    total = in_double(lambda params, batch: both(params, batch)[1])
    want = differences(lambda tree: total(tree, batch), params, places)
    error = [recipe.relative_error(single[path], flat[path]) for path in paths]
    print(network, "loss", float(loss), "against differences", recipe.relative_error(found, want), found / want - 1)
    print("float32 against float64, by array: median", np.median(error), "greatest", max(error))
    assert recipe.relative_error(found, want) < 1e-5
    assert np.median(error) < 1e-3
