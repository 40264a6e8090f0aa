"""Which rows a step takes: every entry once an epoch, whatever the processes; draws that do not touch one another."""

import collections
import itertools

import numpy as np
import pytest

from panojax.data.order import Order, Stream
from panojax.errors import InputError


def shown(order, steps, name="row"):
    return np.concatenate([getattr(order(step), name) for step in steps])


def test_an_epoch_shows_every_entry_as_often_as_it_is_there_in_another_order():
    order = Order([Stream(np.array([0, 1, 1, 2, 4, 5]))], 4)
    epochs = [shown(order, (0, 1, 2)), shown(order, (3, 4, 5))]
    for epoch in epochs:
        for part in (epoch[:6], epoch[6:]):
            assert sorted(part) == [0, 1, 1, 2, 4, 5]
    assert not np.array_equal(*epochs)


def test_a_step_depends_on_the_seed_and_itself_alone():
    streams = [Stream(np.arange(50))]
    first, again, other = (Order(streams, 8, seed=seed) for seed in (1, 1, 2))
    first(0)
    for name in ("row", "mirrored"):
        np.testing.assert_array_equal(getattr(first(7), name), getattr(again(7), name))
    assert not np.array_equal(first(7).row, other(7).row)


def test_parts_of_a_step_are_the_step():
    order = Order(
        [Stream(np.arange(50), np.arange(50) // 5), Stream(np.arange(9), np.zeros(9))], 12, others=True, poses=3
    )
    for step in (0, 5):
        parts = [order(step, slice(start, start + 4)) for start in (0, 4, 8)]
        for name in vars(parts[0]):
            np.testing.assert_array_equal(
                np.concatenate([getattr(part, name) for part in parts], axis=-1), getattr(order(step), name)
            )


@pytest.mark.parametrize("shares", [(3, 1), (4, 2, 1, 1), (0.5, 1.5)])
def test_any_period_holds_each_source_by_its_share(shares):
    order = Order([Stream(np.arange(7), share=share) for share in shares], 1)
    source = shown(order, range(64), "source")
    period = round(sum(shares) / min(shares))
    for start in range(64 - period):
        counts = np.bincount(source[start : start + period], minlength=len(shares))
        np.testing.assert_array_equal(counts, np.array(shares) / min(shares))


def test_shares_without_a_common_measure_are_met_in_the_long_run():
    order = Order([Stream(np.arange(1000), share=share) for share in (2**0.5, 1, 7e4)], 50_000)
    counts = np.bincount(order(0).source, minlength=3)
    np.testing.assert_allclose(counts[2] / 50_000, 7e4 / (7e4 + 1 + 2**0.5), atol=1e-3)


def test_sources_of_several_sizes_end_their_epochs_together():
    """Mixed by their sizes, an epoch of all shows each row of each once."""
    order = Order([Stream(np.arange(n), share=n) for n in (7, 3, 5)], 5)
    for epoch in range(2):
        steps = range(3 * epoch, 3 * epoch + 3)
        got = collections.Counter(zip(shown(order, steps, "source").tolist(), shown(order, steps).tolist()))
        assert got == {(i, row): 1 for i, n in enumerate((7, 3, 5)) for row in range(n)}


def test_the_first_source_that_ends_ends_all():
    order = Order([Stream(np.arange(4), share=1), Stream(np.arange(100), share=2)], 1, epochs=2)
    source = shown(order, range(order.samples), "source")
    assert np.sum(source == 0) == 8 and len(order(order.samples).row) == 0
    assert Order([Stream(np.arange(6))], 4, epochs=3).samples == 18
    with pytest.raises(InputError, match="epochs must be None"):
        Order([Stream(None)], 4, epochs=1)


def test_endless_rows_come_in_their_order():
    order = Order([Stream(None), Stream(np.arange(3))], 4)
    np.testing.assert_array_equal(
        np.concatenate([c.row[c.source == 0] for c in (order(step) for step in range(4))]), np.arange(8)
    )


def test_both_sides_are_shown_in_every_epoch():
    order = Order([Stream(np.arange(6))], 4, mirror="both")
    pairs = collections.Counter(zip(shown(order, range(3)).tolist(), shown(order, range(3), "mirrored").tolist()))
    assert pairs == {(row, side): 1 for row in range(6) for side in (False, True)}
    assert not shown(Order([Stream(np.arange(6))], 4, mirror=0.0), range(9), "mirrored").any()
    assert 0.4 < shown(Order([Stream(np.arange(6))], 4), range(100), "mirrored").mean() < 0.6


def test_another_view_is_of_the_same_head_and_of_those_shown():
    """Heads of three, two and one shown rows; row 6 is of head 0 and not shown."""
    heads = np.array([0, 0, 0, 1, 1, 2, 0])
    order = Order([Stream(np.arange(6), heads)], 60, others=True)
    choice = order(0)
    pairs = set(zip(choice.row.tolist(), choice.other.tolist()))
    assert pairs == {(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1), (3, 4), (4, 3), (5, 5)}
    plain = Order([Stream(np.arange(6), heads)], 60)(0)
    np.testing.assert_array_equal(plain.row, choice.row)
    np.testing.assert_array_equal(plain.mirrored, choice.mirrored)


def test_poses_are_drawn_by_how_often_rows_are_shown():
    order = Order([Stream(np.array([0, 1, 1, 1])), Stream(np.array([5]), share=1)], 4000, mirror="both", poses=3)
    first, *others = order(3).poses
    for (source, row), share in {(0, 0): 0.125, (0, 1): 0.375, (1, 5): 0.5}.items():
        for pose in (first, *others):
            assert np.mean((pose.source == source) & (pose.row == row)) == pytest.approx(share, abs=0.04)
    for pose in (first, *others):
        assert np.mean(pose.mirrored) == pytest.approx(0.5, abs=0.04)
    assert len(others) == 2 and not np.array_equal(others[0].row, others[1].row)
    for a, b in itertools.pairwise((first.mirrored, *(pose.mirrored for pose in others))):
        assert np.mean(a == b) == pytest.approx(0.5, abs=0.04)
