import numpy as np
import pytest
import recipe
import scipy.linalg

from panojax.errors import InputError
from panojax.eval.frechet import Moments, frechet_distance, inception_score, kernel_distance, moments


def test_moments_equal_numpy():
    features = recipe.normal("moments", (50, 7))
    got = moments(features)
    np.testing.assert_allclose(got.mean, features.mean(axis=0, dtype=np.float64), rtol=1e-12)
    np.testing.assert_allclose(got.covariance, np.cov(features.astype(np.float64), rowvar=False), rtol=1e-12)
    assert got.count == 50


def test_frechet_distance_of_diagonal_gaussians():
    """|m1 - m2|^2 + sum (s1 - s2)^2, here with a direction that the first does not vary in."""
    mean1, mean2 = np.array([1.0, 2.0, 3.0]), np.array([0.0, 2.5, 3.0])
    s1, s2 = np.array([0.5, 2.0, 0.0]), np.array([1.5, 1.0, 0.3])
    distance = frechet_distance(Moments(mean1, np.diag(s1**2), 9), Moments(mean2, np.diag(s2**2), 9))
    np.testing.assert_allclose(distance, 1.25 + 1.0 + 1.0 + 0.09, rtol=1e-12)


def test_frechet_distance_equals_the_matrix_root():
    mixing = np.eye(12) + 0.2 * recipe.normal("frechet/mix", (12, 12))
    first, second = (
        moments(recipe.normal("frechet/a", (80, 12))),
        moments(recipe.normal("frechet/b", (70, 12)) @ mixing + 0.5),
    )
    root = scipy.linalg.sqrtm(first.covariance @ second.covariance)
    expected = np.square(first.mean - second.mean).sum() + np.trace(
        first.covariance + second.covariance - 2 * np.real(root)
    )
    np.testing.assert_allclose(frechet_distance(first, second), expected, rtol=1e-9)
    np.testing.assert_allclose(frechet_distance(second, first), expected, rtol=1e-9)


def test_frechet_distance_with_singular_covariances():
    """Fewer vectors than features: equal sets are at 0, and a shift counts in full."""
    features = recipe.normal("frechet/few", (20, 64)).astype(np.float64)
    assert abs(frechet_distance(moments(features), moments(features[::-1]))) < 1e-5
    np.testing.assert_allclose(frechet_distance(moments(features), moments(features + 0.5)), 64 * 0.25, rtol=1e-6)


def test_kernel_distance_equals_loop():
    x, y = (recipe.normal(f"kid/{name}", (6, 5)).astype(np.float64) for name in "xy")
    total = 0.0
    for i in range(6):
        for j in range(6):
            if i != j:
                total += ((x[i] @ x[j] / 5 + 1) ** 3 + (y[i] @ y[j] / 5 + 1) ** 3) / 30
            total -= 2 * (x[i] @ y[j] / 5 + 1) ** 3 / 36
    mean, std = kernel_distance(x, y, subsets=3)
    np.testing.assert_allclose(mean, total, rtol=1e-9)
    np.testing.assert_allclose(std, 0, atol=1e-12)


def test_kernel_distance_is_unbiased():
    """Two samples of one distribution: 0 within a few standard errors. A shifted one is far off."""
    x, y = recipe.normal("kid/p", (600, 8)), recipe.normal("kid/q", (600, 8))
    mean, std = kernel_distance(x, y, subsets=40, subset_size=100, seed=3)
    assert abs(mean) < 3 * std / np.sqrt(6)
    shifted, _ = kernel_distance(x, y + 0.5, subsets=40, subset_size=100, seed=3)
    assert shifted > 10 * abs(mean)
    assert kernel_distance(x, y, subsets=4, subset_size=100, seed=3) != kernel_distance(
        x, y, subsets=4, subset_size=100, seed=4
    )


def test_inception_score_of_certain_and_uniform_predictions():
    """k classes, each certain and equally often: k. The same prediction everywhere: 1."""
    certain = np.tile(1e3 * np.eye(5), (4, 1))
    np.testing.assert_allclose(inception_score(certain, splits=2), (5.0, 0.0), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(
        inception_score(np.tile(recipe.normal("is", (1, 5)), (6, 1)), splits=1), (1.0, 0.0), atol=1e-9
    )


def test_inception_score_equals_loop():
    logits = recipe.normal("is/logits", (9, 4)).astype(np.float64)
    scores = []
    for part in (logits[:5], logits[5:]):
        p = np.array([np.exp(row) / np.exp(row).sum() for row in part])
        marginal = p.mean(axis=0)
        scores.append(np.exp(np.mean([sum(q * np.log(q / m) for q, m in zip(row, marginal)) for row in p])))
    np.testing.assert_allclose(inception_score(logits, splits=2), (np.mean(scores), np.std(scores)), rtol=1e-9)


def test_bad_features_are_named():
    good = np.ones((4, 3))
    with pytest.raises(InputError, match=r"features must be \[N, F\] with N at least 2, got \(1, 3\)"):
        moments(good[:1])
    with pytest.raises(InputError, match="first must be finite, got 1 of 4 rows"):
        kernel_distance(np.where(np.eye(4, 3) * [[1, 0, 0]] > 0, np.nan, good), good)
    with pytest.raises(InputError, match="feature counts must agree, got 3 and 2"):
        kernel_distance(good, good[:, :2])
    with pytest.raises(InputError, match="feature counts must agree, got 3 and 2"):
        frechet_distance(moments(good), moments(good[:, :2]))
    with pytest.raises(InputError, match="between 1 and the 4 pictures, got 5"):
        inception_score(good, splits=5)
    with pytest.raises(InputError, match="got 0 of 4"):
        kernel_distance(good, good, subsets=0)
