"""Directions are recovered from labelled codes, and files of them are read back."""

import micro
import numpy as np
import pytest

from panojax.editing.directions import Direction, agreement, fit_direction, read_directions, save_directions
from panojax.errors import InputError

RNG = np.random.default_rng(0)
CODES = RNG.standard_normal((800, 3, 16)) * 5 + 2
TRUE = RNG.standard_normal((3, 16))
TRUE /= np.linalg.norm(TRUE)
ALONG = np.sum((CODES - 2) * TRUE, axis=(1, 2))  # deviation 5


def cosine(direction):
    return np.sum(direction.vector * TRUE) / np.linalg.norm(direction.vector)


def labels(kind):
    noisy = ALONG + RNG.standard_normal(len(ALONG))
    return {"number": 30 + 4 * noisy, "class": noisy > 0, "rare class": noisy > 6}[kind]


@pytest.mark.parametrize("kind", ["number", "class", "rare class"])
def test_directions_are_recovered(kind):
    known = labels(kind)
    direction = fit_direction(CODES[:600], known[:600])
    assert cosine(direction) > 0.9 and direction.classes == (kind != "number")
    assert direction.vector.dtype == np.float32
    # A strength of 1 is a deviation of the codes.
    assert np.linalg.norm(direction.vector) == pytest.approx(5, rel=0.1)
    assert agreement(direction, CODES[600:], known[600:]) > 0.9
    opposite = Direction(-direction.vector, direction.classes)
    assert agreement(opposite, CODES[600:], known[600:]) < 0.1


def test_fewer_codes_than_dimensions_and_missing_labels():
    known = labels("number")
    known[::2] = np.nan
    assert cosine(fit_direction(CODES[:80], known[:80])) > 0.5
    assert cosine(fit_direction(CODES, known)) > 0.9


def test_codes_alike_in_all_layers_give_a_direction_alike_in_all():
    shared = np.repeat(CODES[:, :1], 3, axis=1)
    vector = fit_direction(shared, shared[:, 0, 0]).vector
    np.testing.assert_allclose(vector, vector[:1].repeat(3, axis=0), atol=1e-5)


def test_agreement_by_counting():
    """The share of pairs of the two classes that are in order, ties half."""
    codes, known = np.array([0.0, 1, 1, 2, 3])[:, None, None], np.array([0, 1, 0, 0, 1])
    direction = Direction(np.ones((1, 1), np.float32), True)
    assert agreement(direction, codes, known) == pytest.approx((1 + 0.5 + 0 + 3) / 6)
    assert np.isnan(agreement(direction, codes, np.ones(5)))


@pytest.mark.parametrize(
    ("codes", "known", "message"),
    [
        (CODES[:, 0], ALONG, r"codes must be \[N, L, w_dim\] with labels \[N\], got \(800, 16\)"),
        (CODES, ALONG[:3], r"with labels \[N\], got .* with \(3,\)"),
        (CODES, np.ones(800), "labels must have two values or more, got 1 in 800"),
        (CODES[:4] * np.inf, ALONG[:4], "codes and labels must be finite"),
        (np.ones((4, 3, 16)), ALONG[:4], "codes must differ from each other, got 4 alike"),
    ],
)
def test_labels_that_teach_nothing(codes, known, message):
    with pytest.raises(InputError, match=message):
        fit_direction(codes, known)


def test_files(tmp_path):
    params = micro.micro_generator()
    shape = (params.config.generator.num_ws, params.config.generator.w_dim)
    directions = {"age": RNG.standard_normal(shape), "smile": np.ones(shape[1])}
    path = tmp_path / "new" / "directions.npz"
    save_directions(directions, path, params=params)
    found = read_directions(path, params)
    assert list(found) == ["age", "smile"] and all(array.shape == shape for array in found.values())
    np.testing.assert_allclose(found["age"], directions["age"], rtol=1e-6)
    with pytest.raises(InputError, match="path must not exist yet"):
        save_directions(directions, path, params=params)
    decoder = params.generator["params"]["decoder"]
    other = {"net.0": decoder["net.0"], "net.2": decoder["net.2"] | {"bias": decoder["net.2"]["bias"] + 1}}
    parts = params.generator | {"params": params.generator["params"] | {"decoder": other}}
    with pytest.raises(InputError, match="directions must be of the model that they move"):
        read_directions(path, params.replace(generator=parts))
    with pytest.raises(InputError, match=r"directions must be 1 to 64 arrays, directions has 0"):
        save_directions({}, tmp_path / "none.npz", params=params)
    with pytest.raises(InputError, match="directions must have other names than allow_pickle, file, model, got file"):
        save_directions({"file": np.ones(shape)}, tmp_path / "none.npz", params=params)
    with pytest.raises(InputError, match=r"directions has age: float32 \[3\]"):
        save_directions({"age": np.ones(3)}, tmp_path / "none.npz", params=params)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="path must be writable"):
        save_directions(directions, tmp_path / "file" / "a.npz", params=params)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "new"]
