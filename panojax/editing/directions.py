"""Directions in the space of style codes: learned from labelled codes, and kept in files."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping

import numpy as np
from scipy import optimize, special, stats

from panojax.disk.reading import read_bytes
from panojax.disk.staging import replaced_when_done
from panojax.errors import InputError
from panojax.files.array_file import read_npz
from panojax.files.checkpoint import DEFAULT_FOLDER
from panojax.files.head_file import model_mark
from panojax.params import Params

MAX_DIRECTIONS = 64
FORMAT = 1
RESERVED = {"model", "file", "allow_pickle"}  # the mark, and what np.savez takes itself


class NotOfModel(InputError):
    """Directions of another model."""


@dataclasses.dataclass(frozen=True)
class Direction:
    """A direction that an attribute grows along.

    Attributes:
      vector: float32 [L, w_dim]; a strength of 1 is a standard deviation of the labelled codes along it.
      classes: whether the labels were two classes, or numbers.
    """

    vector: np.ndarray
    classes: bool


def fit_direction(codes: np.ndarray, labels: np.ndarray, *, penalty: float = 0.01) -> Direction:
    """The direction along which labels grow: by logistic regression for two classes, ridge regression for numbers.

    Both classes count alike, however many codes they have.

    Args:
      codes: [N, L, w_dim].
      labels: [N], of two values (False and True, say) or of more; NaN marks codes without a label.
      penalty: of the squared weights, for codes of unit variance in all: dimensions with less than this share of the
        variance are damped.

    Raises:
      InputError: shapes do not agree, a number is not finite, or the labels are all the same.

    Source: InterFaceGAN's hyperplanes and their normals.
    """
    codes, labels = _labelled(codes, labels)
    values = np.unique(labels)
    if len(values) < 2:
        raise InputError(f"labels must have two values or more, got {len(values)} in {len(labels)} labelled codes")
    flat = codes.reshape(len(codes), -1).astype(np.float64)
    flat = flat - flat.mean(0)
    size = np.sqrt(np.mean(np.sum(flat**2, axis=1)))
    if size == 0:
        raise InputError(f"codes must differ from each other, got {len(codes)} alike")
    # All solutions lie in the span of the codes, which has fewer dimensions than their space.
    left, lengths, basis = np.linalg.svd(flat / size, full_matrices=False)
    inputs = left * lengths
    classes = len(values) == 2
    solve = _logistic if classes else _ridge
    normal = solve(inputs, labels == values[1] if classes else labels, penalty) @ basis
    normal /= np.linalg.norm(normal)
    vector = normal * np.std(flat @ normal)
    return Direction(vector.reshape(codes.shape[1:]).astype(np.float32), classes)


def agreement(direction: Direction, codes: np.ndarray, labels: np.ndarray) -> float:
    """How well a direction orders labelled codes that it was not learned from.

    Returns:
      For classes the area under the ROC curve (0.5 is chance), for numbers the correlation.
    """
    codes, labels = _labelled(codes, labels)
    along = codes.reshape(len(codes), -1).astype(np.float64) @ direction.vector.ravel()
    if len(np.unique(labels)) < 2:
        return float("nan")
    if not direction.classes:
        return float(np.corrcoef(along, labels)[0, 1])
    high = labels == labels.max()
    rank_sum = stats.rankdata(along)[high].sum()
    count = high.sum()
    return float((rank_sum - count * (count + 1) / 2) / (count * (len(labels) - count)))


def save_directions(
    directions: Mapping[str, np.ndarray], path: str | os.PathLike, *, params: Params, overwrite: bool = False
) -> None:
    """Writes directions [L, w_dim] by their names as an .npz that `read_directions` and `panojax view` read.

    Args:
      params: the model whose codes they move.

    Raises:
      InputError: there is none, they do not fit the model, a name is taken by the format, or the file exists.
    """
    arrays = {name: np.asarray(vector, np.float32) for name, vector in directions.items()}
    _check(arrays, params, "directions")
    if taken := sorted(arrays.keys() & RESERVED):
        raise InputError(f"directions must have other names than {', '.join(sorted(RESERVED))}, got {', '.join(taken)}")
    record = {"format": FORMAT, "weights": model_mark(params).weights}
    mark = np.frombuffer(json.dumps(record).encode(), np.uint8)
    with replaced_when_done(path, overwrite=overwrite) as partial, open(partial, "wb") as file:
        np.savez(file, allow_pickle=False, model=mark, **arrays)


def read_directions(path: str | os.PathLike, params: Params) -> dict[str, np.ndarray]:
    """Directions in the space of style codes, by their names.

    Args:
      path: an .npz of floats [w_dim], the same for all codes, or [L, w_dim].

    Returns:
      {name: float32 [L, w_dim]} in the file's order.

    Raises:
      InputError: there is no such file, it is broken, its arrays do not fit the model, or it says that it belongs to
        another one.
    """
    path = pathlib.Path(path)
    try:
        arrays = read_npz(read_bytes(path, limit=2**28), limit=2**28)
    except InputError as error:
        raise InputError(f"directions must be an .npz file, got {str(path)!r}: {error}") from error
    mark = arrays.pop("model", None)
    if mark is not None and _weights(mark) != model_mark(params).weights:
        raise NotOfModel(f"directions must be of the model that they move, {path} has those of another one")
    return _check(arrays, params, str(path))


def own_directions(params: Params) -> dict[str, np.ndarray]:
    """Those that come with the default model, as `read_directions` gives them, if this is it; else none."""
    path = DEFAULT_FOLDER / "directions.npz"
    try:
        return read_directions(path, params) if path.exists() else {}
    except NotOfModel:
        return {}


def _check(arrays: Mapping[str, np.ndarray], params: Params, source: str) -> dict[str, np.ndarray]:
    shape = (params.config.generator.num_ws, params.config.generator.w_dim)
    if not 0 < len(arrays) <= MAX_DIRECTIONS:
        raise InputError(f"directions must be 1 to {MAX_DIRECTIONS} arrays, {source} has {len(arrays)}")
    for name, array in arrays.items():
        if array.dtype.kind != "f" or array.shape not in (shape, shape[1:]) or not np.isfinite(array).all():
            raise InputError(
                f"directions must be finite floats [{shape[1]}] or {list(shape)}, {source} has {name}: "
                f"{array.dtype} {list(array.shape)}"
            )
    return {name: np.broadcast_to(array, shape).astype(np.float32) for name, array in arrays.items()}


def _weights(mark: np.ndarray) -> str | None:
    try:
        return str(json.loads(mark.astype(np.uint8).tobytes())["weights"])
    except (ValueError, KeyError, TypeError):
        return None


def _labelled(codes, labels):
    """Codes [M, L, w_dim] that have a label, and the labels [M] in float64."""
    codes, labels = np.asarray(codes), np.asarray(labels, np.float64)
    if codes.ndim != 3 or labels.shape != codes.shape[:1]:
        raise InputError(f"codes must be [N, L, w_dim] with labels [N], got {codes.shape} with {labels.shape}")
    kept = ~np.isnan(labels)
    codes, labels = codes[kept], labels[kept]
    if not np.isfinite(codes).all() or not np.isfinite(labels).all():
        raise InputError("codes and labels must be finite, got infinity or NaN")
    return codes, labels


def _ridge(inputs, labels, penalty):
    """Weights [K] of inputs [N, K] with orthogonal columns."""
    labels = labels - labels.mean()
    return (inputs.T @ labels / len(labels)) / (np.mean(inputs**2, axis=0) + penalty)


def _logistic(inputs, high, penalty):
    """Weights [K] of inputs [N, K] that tell apart two classes of equal weight."""
    signs = np.where(high, 1.0, -1.0)
    shares = np.where(high, 0.5 / high.sum(), 0.5 / (~high).sum())

    def loss(weights):
        margins = signs * (inputs @ weights[:-1] + weights[-1])
        slopes = -shares * signs * special.expit(-margins)
        value = -shares @ special.log_expit(margins) + penalty / 2 * weights[:-1] @ weights[:-1]
        return value, np.append(inputs.T @ slopes + penalty * weights[:-1], slopes.sum())

    return optimize.minimize(loss, np.zeros(inputs.shape[1] + 1), jac=True, method="L-BFGS-B").x[:-1]
