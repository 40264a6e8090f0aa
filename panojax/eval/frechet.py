"""Distances between sets of features (FID, KID) and the Inception score, in float64 on the host.

`features` are any network's, [N, F]. Only those of `panojax.nn.inception.FIDInception` with the official weights make
a figure that may be called FID, KID or IS.
"""

import dataclasses

import numpy as np

from panojax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Moments:
    """Mean [F] and covariance [F, F] of `count` feature vectors, float64. Divided by count - 1, as np.cov does."""

    mean: np.ndarray
    covariance: np.ndarray
    count: int


def moments(features: np.ndarray) -> Moments:
    """The moments of features [N, F].

    Raises:
      InputError: fewer than two vectors, another rank, or a value that is not finite.
    """
    features = _check("features", features)
    mean = features.mean(axis=0)
    centred = features - mean
    return Moments(mean, centred.T @ centred / (len(features) - 1), len(features))


def frechet_distance(first: Moments, second: Moments) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), the squared Frechet distance between two Gaussians.

    The trace of the root is that of (C1^(1/2) C2 C1^(1/2))^(1/2), which is symmetric: eigenvalues stay real where a
    covariance is singular, as it is with fewer vectors than features.

    Raises:
      InputError: the numbers of features differ.
    """
    if first.mean.shape != second.mean.shape:
        raise InputError(f"the feature counts must agree, got {first.mean.shape[0]} and {second.mean.shape[0]}")
    values, vectors = np.linalg.eigh(first.covariance)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    product = root @ second.covariance @ root
    trace_of_root = np.sqrt(np.linalg.eigvalsh((product + product.T) / 2).clip(0)).sum()
    traces = np.trace(first.covariance) + np.trace(second.covariance)
    return float(np.square(first.mean - second.mean).sum() + traces - 2 * trace_of_root)


def kernel_distance(
    first: np.ndarray, second: np.ndarray, *, subsets: int = 100, subset_size: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """KID (Binkowski et al. 2018): the unbiased squared MMD under the kernel (x . y / F + 1)^3, over random subsets.

    Args:
      first, second: features [N, F] and [M, F].
      subsets: how many pairs of subsets are drawn.
      subset_size: vectors per subset, drawn without replacement; at most N and M are taken.
      seed: of the draw.

    Returns:
      Mean and standard deviation over the subsets. The mean may be negative.

    Raises:
      InputError: the features do not agree, or a number is too small.
    """
    first, second = _check("first", first), _check("second", second)
    if first.shape[1] != second.shape[1]:
        raise InputError(f"the feature counts must agree, got {first.shape[1]} and {second.shape[1]}")
    size = min(subset_size, len(first), len(second))
    if size < 2 or subsets < 1:
        raise InputError(f"KID needs 1 subset or more of 2 vectors or more, got {subsets} of {size}")
    rng = np.random.default_rng(seed)
    distances = [
        _squared_mmd(
            first[rng.choice(len(first), size, replace=False)], second[rng.choice(len(second), size, replace=False)]
        )
        for _ in range(subsets)
    ]
    return float(np.mean(distances)), float(np.std(distances))


def _squared_mmd(x, y):
    def kernel(a, b):
        return (a @ b.T / a.shape[1] + 1) ** 3

    n, within_x, within_y = len(x), kernel(x, x), kernel(y, y)
    within = within_x.sum() - np.trace(within_x) + within_y.sum() - np.trace(within_y)
    return within / (n * (n - 1)) - 2 * kernel(x, y).mean()


def inception_score(logits: np.ndarray, *, splits: int = 10) -> tuple[float, float]:
    """exp(mean KL(p(y | x) || p(y))) (Salimans et al. 2016): mean and standard deviation over consecutive splits.

    Args:
      logits: `unbiased_logits` of the pictures, [N, classes], in random order.
      splits: parts of nearly equal size.

    Raises:
      InputError: fewer pictures than splits.
    """
    logits = _check("logits", logits)
    if not 1 <= splits <= len(logits):
        raise InputError(f"splits must be between 1 and the {len(logits)} pictures, got {splits}")
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    scores = []
    for part in np.array_split(log_p, splits):
        p = np.exp(part)
        marginal = np.log(p.mean(axis=0).clip(np.finfo(np.float64).tiny))
        scores.append(np.exp((p * (part - marginal)).sum(axis=1).mean()))
    return float(np.mean(scores)), float(np.std(scores))


def _check(name, features):
    features = np.asarray(features, np.float64)
    if features.ndim != 2 or len(features) < 2:
        raise InputError(f"{name} must be [N, F] with N at least 2, got {features.shape}")
    if not np.isfinite(features).all():
        rows = int((~np.isfinite(features)).any(axis=1).sum())
        raise InputError(f"{name} must be finite, got {rows} of {len(features)} rows that are not")
    return features
