"""Modulated and up-sampling convolutions against loops over pixels and taps."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe
from filters import by_channels, correlation, normal, upsampled_plane

from panojax.kernels import modulated
from panojax.nn.stylegan2 import upsample_image


def test_upsampling_conv():
    x, kernel = normal("x", 2, 5, 4, 3), normal("kernel", 3, 3, 3, 2)
    want = by_channels(upsampled_plane, x, kernel)
    assert recipe.relative_error(modulated.upsampling_conv(x, kernel), want) < 1e-6


def test_upsampling_conv_gradients():
    """By the kernel they are products of matrices, which must be what differentiating the convolution gives."""

    def plain(x, kernel):
        return modulated.smooth(modulated.join_phases(modulated.correlate(x, modulated.phase_kernels(kernel))))

    data = normal("x", 2, 5, 4, 3), normal("kernel", 3, 3, 3, 2)
    for moving in (0, 1, (0, 1)):
        got, want = (
            jax.jit(jax.grad(lambda x, kernel: jnp.sum(jnp.sin(function(x, kernel))), moving))(*data)  # noqa: B023
            for function in (modulated.upsampling_conv, plain)
        )
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5), got, want)
    (_, got), (_, want) = (
        jax.jvp(function, data, (*data[:1], 0.5 * data[1])) for function in (modulated.upsampling_conv, plain)
    )
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_upsampling_conv_keeps_the_centre():
    """A centred kernel is the image's up-sampling, which shifts nothing: a linear ramp stays one inside."""
    kernel = np.zeros((3, 3, 1, 1), np.float32)
    kernel[1, 1] = 1
    x = normal("x", 1, 6, 6, 1)
    np.testing.assert_allclose(modulated.upsampling_conv(x, kernel), upsample_image(x), atol=1e-6)
    ramp = np.broadcast_to(np.arange(6.0, dtype=np.float32), (6, 6))[None, :, :, None]
    inside = np.asarray(upsample_image(ramp))[0, 2:-2, 2:-2, 0]
    np.testing.assert_allclose(inside, np.broadcast_to(np.arange(2, 10) / 2 - 0.25, (8, 8)), atol=1e-6)


def test_upsampling_conv_flips_its_kernel():
    """A kernel with its only tap before the centre moves the picture the way a true convolution does."""
    kernel = np.zeros((3, 3, 1, 1), np.float32)
    kernel[1, 0] = 1
    x = normal("x", 1, 6, 6, 1)
    moved, still = np.asarray(modulated.upsampling_conv(x, kernel)), np.asarray(upsample_image(x))
    np.testing.assert_allclose(moved[:, :, :-1], still[:, :, 1:], atol=1e-6)


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
    got = modulated.modulated_conv(x, kernel, styles, up=up, demodulate=demodulate)
    assert recipe.relative_error(got, want) < 1e-6
