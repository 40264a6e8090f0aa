import numpy as np
import pytest

from panojax.camera import look_at
from panojax.data.balance import YawBalance, back_copies, balance_yaw, label_yaw, repeat_indices, yaw_copies
from panojax.errors import InputError
from panojax.synthetic.cameras import camera_label


def slow_copies(yaws, balance):
    """The formula of the module's docstring, record by record."""
    bins = [int(abs(np.degrees(yaw)) // balance.bin_degrees) for yaw in yaws]
    fullest = max(bins.count(b) for b in bins)
    return [min((fullest / bins.count(b)) ** balance.power, balance.max_copies) for b in bins]


def slow_repeats(copies):
    """Systematic resampling, mark by mark."""
    total, end, place, indices = sum(copies), 0.0, -1, []
    for mark in np.arange(0.5, total, 1.0):
        while end <= mark and place < len(copies) - 1:
            place += 1
            end += copies[place]
        indices.append(place)
    return indices


def test_yaw_is_what_the_camera_was_made_with():
    yaws = np.linspace(-3.1, 3.1, 9)
    labels = np.asarray(look_at(yaws, 0.3))
    np.testing.assert_allclose(label_yaw(labels), yaws, atol=1e-5)


@pytest.mark.parametrize("balance", [YawBalance(), YawBalance(25, 0.5, 3), YawBalance(7, 0, 6), YawBalance(180)])
def test_copies_follow_the_formula(balance):
    yaws = np.random.default_rng(0).normal(0, 0.4, 300)
    np.testing.assert_allclose(yaw_copies(yaws, balance), slow_copies(yaws, balance))


def test_copies_are_made_by_systematic_resampling():
    copies = np.random.default_rng(1).uniform(1, 6, 50)
    indices = repeat_indices(copies)
    assert indices.tolist() == slow_repeats(copies.tolist()) and len(indices) == round(copies.sum())
    counts = np.bincount(indices, minlength=50)
    assert (np.abs(counts - copies) < 1).all()
    assert repeat_indices(np.array([2.0, 1.0, 3.0])).tolist() == [0, 0, 1, 2, 2, 2]


def test_bins_are_even_after_balancing_without_a_limit():
    yaws = np.random.default_rng(2).laplace(0, 0.5, 2000).clip(-3, 3)
    indices = repeat_indices(yaw_copies(yaws, YawBalance(20, 1, 1e9)))
    bins = np.floor(np.degrees(np.abs(yaws)) / 20).astype(int)
    shares = np.bincount(bins[indices]) / len(indices)
    used = shares[np.bincount(bins) > 0]
    np.testing.assert_allclose(used, 1 / len(used), rtol=0.01)


def test_balanced_source(faces):
    cameras = faces.cameras
    balanced = balance_yaw(faces, YawBalance(max_copies=4))
    assert len(balanced) > len(faces) and set(balanced.indices.tolist()) == set(range(24))
    for i in (0, len(balanced) // 2, len(balanced) - 1):
        got = balanced.sample(i, ("camera",))["camera"]
        np.testing.assert_array_equal(got, cameras[balanced.indices[i]])
    assert repr(balanced) == repr(balance_yaw(faces, YawBalance(max_copies=4)))
    assert repr(balanced) != repr(balance_yaw(faces, YawBalance(max_copies=2)))


def test_backs_are_repeated():
    """Yaws 0, 36, ..., 324: those of 108, 144, 180, 216 and 252 degrees are behind."""
    labels = np.stack([camera_label(2 * np.pi * i / 10, 0.0) for i in range(10)])
    np.testing.assert_array_equal(back_copies(labels, 4), [1, 1, 1, 4, 4, 4, 4, 4, 1, 1])
    np.testing.assert_array_equal(back_copies(labels, 4, degrees=170), [1] * 5 + [4] + [1] * 4)


def test_bad_arguments():
    for options, words in (((0,), "bin_degrees"), ((10, -1), "power"), ((10, 1, 0.5), "max_copies")):
        with pytest.raises(InputError, match=words):
            YawBalance(*options)
