import numpy as np

from panojax.eval.faces import SIDE, TEMPLATE, aligned_face, similarity, warp
from panojax.photo.detect import Face


def test_similarity_of_turned_and_scaled_points():
    a, b = 1.7 * np.exp(0.4j), 3 - 2j
    points = TEMPLATE[:, 0] + 1j * TEMPLATE[:, 1]
    moved = a * points + b
    got = similarity(TEMPLATE, np.stack([moved.real, moved.imag], axis=-1))
    np.testing.assert_allclose(got, (a, b), rtol=1e-10)


def test_similarity_is_the_least_squares_one():
    """No small change of the fit to noisy points comes nearer to them."""
    noisy = TEMPLATE * 2 + np.random.default_rng(0).normal(size=TEMPLATE.shape) * 5
    a, b = similarity(TEMPLATE, noisy)
    source, target = (points[:, 0] + 1j * points[:, 1] for points in (TEMPLATE, noisy))

    def error(a, b):
        return np.sum(np.abs(a * source + b - target) ** 2)

    for change in (1e-3, -1e-3, 1e-3j, -1e-3j):
        assert error(a, b) < min(error(a + change, b), error(a, b + change))


def test_a_warp_reads_the_point_it_is_told_to():
    """Pictures that hold their own coordinates, linear, so that bilinear reading is exact."""
    rows, columns = np.mgrid[:200, :200] + 0.5
    image = np.stack([columns / 100 - 1, rows / 100 - 1, np.zeros_like(rows)], axis=-1)
    a, b = 1.2 * np.exp(0.3j), 40 + 20j
    face = warp(image, a, b)
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    at = a * (x + 1j * y) + b
    inside = (np.minimum(at.real, at.imag) > 1) & (np.maximum(at.real, at.imag) < 199)
    np.testing.assert_allclose(face[inside][:, 0], at.real[inside] / 100 - 1, atol=1e-5)
    np.testing.assert_allclose(face[inside][:, 1], at.imag[inside] / 100 - 1, atol=1e-5)
    assert inside.mean() > 0.9


def test_the_largest_face_is_taken():
    rng = np.random.default_rng(1)
    image = rng.uniform(-1, 1, (150, 150, 3)).astype(np.float32)

    def faces(picture):
        small = Face((0, 0, 20, 20), TEMPLATE / 4, 0.9)
        return [small, Face((0, 0, 112, 112), TEMPLATE + np.array([7, 5]), 0.8)]

    np.testing.assert_allclose(aligned_face(image, faces), image[5:117, 7:119], atol=1e-5)
    assert aligned_face(image, lambda picture: []) is None
