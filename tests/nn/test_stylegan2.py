"""StyleGAN2's layers against loops over pixels and taps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe
from filters import by_channels, normal, upsampled_plane

from panojax.nn import stylegan2 as layers


def test_upsample_image():
    x = normal("x", 2, 4, 5, 3)
    delta = np.zeros((3, 3, 3, 3))
    delta[1, 1] = np.eye(3)
    assert recipe.relative_error(layers.upsample_image(x), by_channels(upsampled_plane, x, delta)) < 1e-6


def resized_row(row, size):
    """A triangle filter widened by the scale, half-pixel centres, weights over the pixels that exist."""
    scale = len(row) / size
    width = max(scale, 1)
    out = np.zeros((size, *row.shape[1:]))
    for i in range(size):
        centre = (i + 0.5) * scale - 0.5
        weights = [max(0, 1 - abs(j - centre) / width) for j in range(len(row))]
        out[i] = sum(w * v for w, v in zip(weights, row)) / sum(weights)
    return out


@pytest.mark.parametrize("before, after", [(12, 8), (8, 12), (6, 12), (16, 4), (5, 5)])
def test_resize(before, after):
    x = normal("x", 2, before, before, 3)
    rows = [resized_row(picture, after) for picture in x]
    want = np.stack([resized_row(r.transpose(1, 0, 2), after).transpose(1, 0, 2) for r in rows])
    assert recipe.relative_error(layers.resize(x, after), want) < 1e-6


@pytest.mark.parametrize("before, after", [(12, 4), (12, 5), (9, 8)])
def test_pool_averages_areas(before, after):
    x = normal("x", 1, before, before, 2)
    want = np.zeros((1, after, after, 2))
    for i, j in np.ndindex(after, after):
        (top, bottom), (left, right) = ((k * before // after, -((-(k + 1) * before) // after)) for k in (i, j))
        want[:, i, j] = x[:, top:bottom, left:right].mean((1, 2))
    assert recipe.relative_error(layers.pool(x, after), want) < 1e-6


def test_pool_grows_bilinearly():
    x = normal("x", 1, 4, 4, 2)
    np.testing.assert_array_equal(layers.pool(x, 9), layers.resize(x, 9))
    np.testing.assert_array_equal(layers.pool(x, 4), x)


def test_fully_connected():
    layer = layers.FullyConnected(3, lr_multiplier=0.01, activate=True)
    kernel, bias = normal("fc", 5, 3) * 100, normal("bias", 3)
    x = normal("x", 4, 5)
    want = x @ (kernel * 0.01 / np.sqrt(5)) + bias * 0.01
    want = np.sqrt(2) * np.where(want > 0, want, 0.2 * want)
    got = layer.apply({"params": {"kernel": kernel, "bias": bias}}, x)
    assert recipe.relative_error(got, want) < 1e-6


def test_second_moment_norm():
    x = 7 * normal("x", 4, 16)
    np.testing.assert_allclose(np.mean(np.square(layers.normalize_2nd_moment(x)), -1), 1, rtol=1e-5)
    assert np.isfinite(layers.normalize_2nd_moment(jnp.zeros((1, 4)))).all()


def layer_output(noise, *, strength=0.5, clamp=None, key=None, gain=1.0):
    layer = layers.SynthesisLayer(4, noise=noise, clamp=clamp)
    x, w = gain * normal("x", 2, 6, 6, 3), normal("w", 2, 8)
    variables = layer.init(jax.random.key(0), x, w)
    variables["params"]["noise_strength"] = jnp.float32(strength)
    return layer, variables, layer.apply(variables, x, w, rngs=None if key is None else {"noise": key})


def test_noise_is_shared_by_channels_and_scaled():
    """Before the activation, "const" adds strength * noise_const to each channel and "none" nothing."""
    undo = lambda y: np.where(y > 0, y, y / 0.2) / np.sqrt(2)  # noqa: E731
    _, variables, const = layer_output("const")
    _, _, none = layer_output("none")
    want = 0.5 * np.asarray(variables["constants"]["noise_const"])
    np.testing.assert_allclose(undo(const) - undo(none), np.broadcast_to(want[None, ..., None], const.shape), atol=2e-5)
    np.testing.assert_array_equal(layer_output("const", strength=0.0)[2], none)


def test_random_noise_differs_by_sample_and_key():
    first, again, other = (layer_output("random", key=jax.random.key(k))[2] for k in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert recipe.relative_error(other, first) > 0.05
    added = np.asarray(first - layer_output("none")[2])
    assert recipe.relative_error(added[0], added[1]) > 0.5


def test_clamp_is_after_the_gain():
    _, _, free = layer_output("none", gain=100.0)
    _, _, clamped = layer_output("none", gain=100.0, clamp=1.0)
    # Inputs are not normalised, so that activations are large: they end at the clamp, whatever the activation's gain.
    assert np.abs(free).max() > 2
    np.testing.assert_allclose(clamped, np.clip(free, -1, 1), rtol=1e-6)
