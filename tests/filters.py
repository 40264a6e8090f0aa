"""Slow twins of StyleGAN2's convolutions, in loops over pixels and taps."""

import numpy as np
import recipe

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
