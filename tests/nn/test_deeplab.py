"""DeepLabv3 against loops in NumPy, and its layout against torchvision's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe

from panojax.errors import InputError
from panojax.nn.deeplab import DeepLabV3, person_probability

STAGES = ((2, 1, 1, 1, 1), (3, 1, 2, 1, 1), (3, 2, 1, 1, 2), (4, 2, 1, 2, 4))


def conv(x, kernel, *, stride=1, dilation=1):
    """x [H, W, I] by kernel [k, k, I, O] as PyTorch's Conv2d with padding dilation * (k // 2)."""
    side = len(kernel)
    padding = dilation * (side // 2)
    padded = np.pad(x, ((padding, padding), (padding, padding), (0, 0)))
    rows, columns = ((n - 1) // stride + 1 for n in x.shape[:2])
    out = np.zeros((rows, columns, kernel.shape[-1]))
    for i in range(side):
        for j in range(side):
            top, left = i * dilation, j * dilation
            part = padded[top : top + stride * rows : stride, left : left + stride * columns : stride]
            out += part[:rows, :columns] @ kernel[i, j]
    return out


def twin(variables, image):
    """The network for one picture [H, W, 3], layer by layer, before its last enlargement."""

    def leaf(collection, path, name):
        tree = variables[collection]
        for part in path.split("/"):
            tree = tree[part]
        return np.asarray(tree[name], np.float64)

    def unit(x, convolution, norm, *, relu=True, **options):
        y = conv(x, leaf("params", convolution, "kernel"), **options)
        mean, var = (leaf("batch_stats", norm, name) for name in ("mean", "var"))
        scale, bias = (leaf("params", norm, name) for name in ("scale", "bias"))
        y = (y - mean) / np.sqrt(var + 1e-5) * scale + bias
        return np.maximum(y, 0) if relu else y

    x = ((image + 1) / 2 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    x = unit(x, "backbone.conv1", "backbone.bn1", stride=2)
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    height, width = ((n - 1) // 2 + 1 for n in x.shape[:2])
    taps = [padded[i : i + 2 * height : 2, j : j + 2 * width : 2][:height, :width] for i in range(3) for j in range(3)]
    x = np.max(taps, axis=0)
    for number, (_, blocks, stride, first, later) in enumerate(STAGES, 1):
        for i in range(blocks):
            block = f"backbone.layer{number}.{i}"
            step, dilation = (stride, first) if i == 0 else (1, later)
            y = unit(x, f"{block}/conv1", f"{block}/bn1")
            y = unit(y, f"{block}/conv2", f"{block}/bn2", stride=step, dilation=dilation)
            y = unit(y, f"{block}/conv3", f"{block}/bn3", relu=False)
            if i == 0:
                x = unit(x, f"{block}/downsample.0", f"{block}/downsample.1", relu=False, stride=step)
            x = np.maximum(x + y, 0)
    head = "classifier.0"
    branches = [unit(x, f"{head}/convs.0.0", f"{head}/convs.0.1")]
    branches += [
        unit(x, f"{head}/convs.{i}.0", f"{head}/convs.{i}.1", dilation=rate) for i, rate in enumerate((12, 24, 36), 1)
    ]
    mean = unit(x.mean(axis=(0, 1), keepdims=True), f"{head}/convs.4.1", f"{head}/convs.4.2")
    branches.append(np.broadcast_to(mean, branches[0].shape))
    x = unit(np.concatenate(branches, axis=-1), f"{head}/project.0", f"{head}/project.1")
    x = unit(x, "classifier.1", "classifier.2")
    return conv(x, leaf("params", "classifier.4", "kernel")) + leaf("params", "classifier.4", "bias")


def test_a_small_network_equals_loops():
    """Float32 against float64, some twenty layers: 1e-6 when written."""
    network = DeepLabV3(STAGES, width=5)
    template = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))

    def fill(path, leaf):
        draws = recipe.normal(jax.tree_util.keystr(path), leaf.shape)
        return draws * 0.3 if path[-1].key in ("kernel", "mean", "bias") else 1 + 0.2 * np.abs(draws)

    variables = jax.tree_util.tree_map_with_path(fill, template)
    image = np.clip(0.5 * recipe.normal("deeplab/image", (1, 37, 37, 3)), -1, 1)
    small = twin(variables, image[0].astype(np.float64))
    assert small.shape == (5, 5, 21)
    expected = jax.image.resize(jnp.asarray(small), (37, 37, 21), "linear")
    with jax.default_matmul_precision("highest"):
        got = jax.jit(network.apply)(variables, image)[0]
    assert recipe.relative_error(got, expected) < 1e-5
    weights = np.exp(got) / np.exp(got).sum(axis=-1, keepdims=True)
    person = person_probability(type("Given", (), {"apply": lambda self, variables, image: got[None]})(), None, image)
    np.testing.assert_allclose(person[0], weights[..., 15], rtol=1e-5)


def test_other_shapes_are_refused():
    with pytest.raises(InputError, match=r"image must be \[N, H, W, 3\], got \(3, 8, 8\)"):
        DeepLabV3().init(jax.random.key(0), jnp.zeros((3, 8, 8)))
