"""StyleGAN2's layers against loops over pixels and taps."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe

from panojax.nn import stylegan2 as layers

FIR = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64


def normal(name, *shape):
    return recipe.normal(f"layers/{name}", shape)


def insert_zeros(plane):
    """[H, W] -> [2H, 2W] with a zero after each value along both axes."""
    out = np.zeros((2 * plane.shape[0], 2 * plane.shape[1]))
    out[::2, ::2] = plane
    return out


def true_convolution(plane, kernel):
    """The full convolution of [H, W] by [h, w]: every value scatters a kernel."""
    out = np.zeros((plane.shape[0] + kernel.shape[0] - 1, plane.shape[1] + kernel.shape[1] - 1))
    for y, x in np.ndindex(*plane.shape):
        out[y : y + kernel.shape[0], x : x + kernel.shape[1]] += plane[y, x] * kernel
    return out


def correlation(plane, kernel):
    """The correlation of [H, W] by [h, w], odd, on the zero-extended plane, same size."""
    h, w = kernel.shape
    padded = np.pad(plane.astype(np.float64), ((h // 2, h // 2), (w // 2, w // 2)))
    out = np.zeros(plane.shape)
    for y, x in np.ndindex(*plane.shape):
        out[y, x] = np.sum(padded[y : y + h, x : x + w] * kernel)
    return out


def by_channels(filtered, x, kernel):
    """Sums filtered(plane, tap plane) over input channels, [N, H, W, I] by [h, w, I, O], kernels maybe per sample."""
    kernels = np.broadcast_to(kernel, (len(x), *kernel.shape[-4:]))
    n, outputs = len(x), kernel.shape[-1]
    return np.stack(
        [
            np.stack(
                [
                    sum(filtered(x[i, :, :, c], kernels[i, :, :, c, o]) for c in range(x.shape[-1]))
                    for o in range(outputs)
                ],
                axis=-1,
            )
            for i in range(n)
        ]
    )


def upsampled_plane(plane, kernel):
    """The spec's words: insert zeros, filter by 4 * outer(f, f), convolve (kernel flipped), crop around the centre.

    Both full convolutions begin 0 before the plane. The FIR alone is cropped by its padding of 2 before and 1 after
    (output i is tap 1 after sample i); a 3 x 3 kernel adds one pixel on each side.
    """
    h, w = plane.shape
    whole = true_convolution(true_convolution(insert_zeros(plane), 4 * FIR), kernel)
    return whole[2 : 2 + 2 * h, 2 : 2 + 2 * w]


def test_upsampling_conv():
    x, kernel = normal("x", 2, 5, 4, 3), normal("kernel", 3, 3, 3, 2)
    want = by_channels(upsampled_plane, x, kernel)
    assert recipe.relative_error(layers.upsampling_conv(x, kernel), want) < 1e-6


def test_upsampling_conv_gradients():
    """By the kernel they are products of matrices, which must be what differentiating the convolution gives."""

    def plain(x, kernel):
        return layers.smooth(layers.join_phases(layers.conv(x, layers.phase_kernels(kernel))))

    data = normal("x", 2, 5, 4, 3), normal("kernel", 3, 3, 3, 2)
    for moving in (0, 1, (0, 1)):
        got, want = (
            jax.jit(jax.grad(lambda x, kernel: jnp.sum(jnp.sin(function(x, kernel))), moving))(*data)  # noqa: B023
            for function in (layers.upsampling_conv, plain)
        )
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5), got, want)
    (_, got), (_, want) = (
        jax.jvp(function, data, (*data[:1], 0.5 * data[1])) for function in (layers.upsampling_conv, plain)
    )
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_upsampling_conv_keeps_the_centre():
    """A centred kernel is the image's up-sampling, which shifts nothing: a linear ramp stays one inside."""
    kernel = np.zeros((3, 3, 1, 1), np.float32)
    kernel[1, 1] = 1
    x = normal("x", 1, 6, 6, 1)
    np.testing.assert_allclose(layers.upsampling_conv(x, kernel), layers.upsample_image(x), atol=1e-6)
    ramp = np.broadcast_to(np.arange(6.0, dtype=np.float32), (6, 6))[None, :, :, None]
    inside = np.asarray(layers.upsample_image(ramp))[0, 2:-2, 2:-2, 0]
    np.testing.assert_allclose(inside, np.broadcast_to(np.arange(2, 10) / 2 - 0.25, (8, 8)), atol=1e-6)


def test_upsampling_conv_flips_its_kernel():
    """A kernel with its only tap before the centre moves the picture the way a true convolution does."""
    kernel = np.zeros((3, 3, 1, 1), np.float32)
    kernel[1, 0] = 1
    x = normal("x", 1, 6, 6, 1)
    moved, still = np.asarray(layers.upsampling_conv(x, kernel)), np.asarray(layers.upsample_image(x))
    np.testing.assert_allclose(moved[:, :, :-1], still[:, :, 1:], atol=1e-6)


def test_upsample_image():
    x = normal("x", 2, 4, 5, 3)
    delta = np.zeros((3, 3, 3, 3))
    delta[1, 1] = np.eye(3)
    assert recipe.relative_error(layers.upsample_image(x), by_channels(upsampled_plane, x, delta)) < 1e-6


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("demodulate", [False, True])
def test_modulated_conv(up, demodulate):
    """The twin modulates and demodulates each sample's weights, as StyleGAN2 does."""
    x, kernel = normal("x", 2, 4, 4, 5), normal("kernel", 3, 3, 5, 3)
    styles = 1 + 0.5 * normal("styles", 2, 5)
    weights = kernel[None].astype(np.float64) * styles[:, None, None, :, None]
    if demodulate:
        weights /= np.sqrt(np.sum(weights**2, axis=(1, 2, 3), keepdims=True) + 1e-8)
    want = by_channels(upsampled_plane if up else correlation, x, weights)
    got = layers.modulated_conv(x, kernel, styles, up=up, demodulate=demodulate)
    assert recipe.relative_error(got, want) < 1e-6


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


def test_softplus_and_its_slope():
    x = jnp.array([-1000.0, -30.0, -3.0, -1e-3, 0.0, 1e-3, 3.0, 30.0, 1000.0])
    np.testing.assert_allclose(layers.softplus(x), jax.nn.softplus(x), rtol=5e-7)
    slope, want = (jax.vmap(jax.grad(f))(x) for f in (layers.softplus, jax.nn.softplus))
    np.testing.assert_allclose(slope, want, rtol=1e-6, atol=1e-7)


def test_softplus_of_bfloat16_keeps_more_digits_than_it_is_given():
    x = jnp.linspace(-20, 20, 4001).astype(jnp.bfloat16)
    value, slope = jax.vmap(jax.value_and_grad(lambda x: layers.softplus(x)))(x)
    wide = x.astype(jnp.float32)
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, jax.nn.softplus(wide), rtol=7e-5)
    np.testing.assert_allclose(slope.astype(jnp.float32), jax.nn.sigmoid(wide), rtol=4e-3)


def test_clamp_is_after_the_gain():
    _, _, free = layer_output("none", gain=100.0)
    _, _, clamped = layer_output("none", gain=100.0, clamp=1.0)
    # Inputs are not normalised, so that activations are large: they end at clamp * sqrt(2).
    assert np.abs(free).max() > 2
    np.testing.assert_allclose(clamped, np.clip(free, -np.sqrt(2), np.sqrt(2)), rtol=1e-6)


def test_clamp_equals_clip():
    x = 2 * normal("clamp", 4, 5)
    value, gradient = jax.jit(jax.value_and_grad(lambda x: jnp.sum(jnp.square(layers.clamp(x, 1.5)))))(x)
    np.testing.assert_allclose(value, np.square(np.clip(x, -1.5, 1.5)).sum(), rtol=1e-6)
    np.testing.assert_allclose(gradient, np.where(np.abs(x) <= 1.5, 2 * x, 0), rtol=1e-6)
