import numpy as np
import pytest

from panojax.camera import look_at, mirror
from panojax.data.splits import SplitRule, find_mirrored, split_of
from panojax.errors import InputError


def shares(rule, count=4000):
    return np.mean([split_of(f"picture {i}", rule) == "test" for i in range(count)])


def test_share_is_met_and_the_choice_is_fixed():
    rule = SplitRule(0.2)
    assert abs(shares(rule) - 0.2) < 0.02  # three standard deviations of a binomial
    assert [split_of(f"picture {i}", rule) for i in range(6)] == [split_of(f"picture {i}", rule) for i in range(6)]
    assert shares(SplitRule(0)) == 0 and shares(SplitRule(1)) == 1


def test_a_larger_share_keeps_what_was_in_the_test_split():
    names = [f"picture {i}" for i in range(500)]
    few, many = ({n for n in names if split_of(n, SplitRule(share)) == "test"} for share in (0.1, 0.3))
    assert few < many


def test_seed_changes_the_choice():
    names = [f"picture {i}" for i in range(200)]
    assert [split_of(n, SplitRule(0.5)) for n in names] != [split_of(n, SplitRule(0.5, 1)) for n in names]


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_bad_share(share):
    with pytest.raises(InputError, match="test_share must lie in"):
        SplitRule(share)


def test_mirrored_copies_are_found_by_name_and_label():
    a, b = (np.asarray(look_at(yaw, 0.1)) for yaw in (0.3, -0.5))
    labels = {
        "00000/img00000000.png": a,
        "00000/img00000001.png": np.asarray(mirror(a)),
        "00000/img00000002.png": b,
        "00000/img00000003.png": b,  # the next photo, of the same pose
        "x.png": a,
        "x_mirror.png": np.asarray(mirror(a)),
        "y_mirror.png": np.asarray(mirror(a)),  # without its original
        "img00000001.png": np.asarray(mirror(a)),  # in another folder
    }
    assert find_mirrored(labels) == {"00000/img00000001.png": "00000/img00000000.png", "x_mirror.png": "x.png"}
