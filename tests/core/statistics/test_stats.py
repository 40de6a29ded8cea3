import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.statistics.stats import (
    HALF_LIFE_MS,
    KEPT_SLICES,
    PERCENTILES,
    SILENT_MS,
    SLICE_MS,
    Delta,
    History,
    Life,
    Summary,
    above_ppm,
    bucket,
    middle,
)

VALUES = st.one_of(st.integers(0, 100), st.integers(0, 10**12))
NOW = 1_000 * SLICE_MS
OLDEST = NOW - KEPT_SLICES * SLICE_MS


def a_delta(*values):
    delta = Delta(counts={})
    for value in values:
        delta.add(value)
    return delta


def a_history(*seen):
    """From (time, values) pairs."""
    history = History()
    for at_ms, values in seen:
        history.fold(at_ms, a_delta(*values))
    return history


# -- buckets


@given(VALUES)
def test_the_middle_of_a_bucket_is_off_by_a_sixteenth_at_most(value):
    assert abs(middle(bucket(value)) - value) * 16 <= value


@given(VALUES, VALUES)
def test_greater_values_never_have_smaller_buckets(one, other):
    low, high = sorted((one, other))
    assert bucket(low) <= bucket(high)
    assert middle(bucket(low)) <= middle(bucket(high))


@given(st.integers(0, 600))
def test_the_middle_of_a_bucket_lies_in_it(index):
    assert bucket(middle(index)) == index


def test_small_values_are_kept_as_they_are():
    assert [middle(bucket(value)) for value in range(32)] == list(range(32))
    assert bucket(-5) == 0


def test_buckets_have_no_gap_between_powers_of_two():
    assert sorted({bucket(value) for value in range(4096)}) == list(range(bucket(4095) + 1))


# -- deltas


def test_a_delta_counts_and_sums():
    delta = a_delta(5, 5, 7)
    assert (delta.counts, delta.total) == ({5: 2, 7: 1}, 17)


def test_a_negative_value_counts_as_nothing():
    delta = a_delta(-40, 2)
    assert (delta.counts, delta.total) == ({0: 1, 2: 1}, 2)


def test_two_deltas_do_not_share_their_counts():
    Delta().add(3)
    assert Delta().counts == {}


@given(st.lists(VALUES), st.lists(VALUES), st.lists(VALUES))
def test_merging_is_counting_together_in_any_order(one, two, three):
    whole = a_delta(*one, *two, *three)
    left, right = a_delta(*one), a_delta(*three)
    left.merge(a_delta(*two))
    left.merge(a_delta(*three))
    right.merge(a_delta(*one))
    right.merge(a_delta(*two))
    assert left == right == whole


def test_a_delta_travels_as_bytes():
    delta = a_delta(1, 10**9)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(delta), type=Delta) == delta


# -- summaries


def test_a_summary_has_the_mean_and_the_quantiles():
    found = a_history((NOW, range(1, 31))).summary(NOW)
    assert (found.n, found.mean) == (30, 16)
    assert [found.at(percentile) for percentile in PERCENTILES] == [15, 23, 27, 29, 30]


def test_there_is_no_summary_of_nothing():
    assert History().summary(NOW) is None
    assert a_history((NOW, [])).summary(NOW) is None


def test_another_percentile_is_refused():
    found = Summary(n=1, mean=1, quantiles=(1, 2, 3, 4, 5))
    assert found.at(99) == 5
    with pytest.raises(ValueError, match="not in tuple"):
        found.at(42)


@given(st.lists(VALUES, min_size=1, max_size=60))
def test_quantiles_lie_where_the_sorted_values_say(values):
    found, ordered = a_history((NOW, values)).summary(NOW), sorted(values)
    for percentile in PERCENTILES:
        # Sums of floats may put a rank that falls on a value's edge on its neighbour.
        rank = -(-percentile * len(values) // 100)
        near = ordered[max(rank - 2, 0) : rank + 1]
        assert near[0] * 15 / 16 <= found.at(percentile) <= near[-1] * 17 / 16
    assert min(values) - 1 <= found.mean <= max(values) + 1
    assert list(found.quantiles) == sorted(found.quantiles)


def test_an_observation_counts_half_after_the_half_life():
    history = a_history((NOW - HALF_LIFE_MS, [0] * 8), (NOW, [30] * 4))
    assert history.summary(NOW).mean == 15
    assert history.summary(NOW + HALF_LIFE_MS).mean == 15
    assert a_history((NOW - 2 * HALF_LIFE_MS, [0] * 8), (NOW, [30] * 4)).summary(NOW).mean == 20


def test_newer_observations_move_the_median():
    seen = [(NOW - 4 * HALF_LIFE_MS, [1] * 100), (NOW, [9] * 10)]
    assert a_history(*seen).summary(NOW).at(50) == 9
    assert a_history(seen[0]).summary(NOW).at(50) == 1


def test_old_slices_are_forgotten():
    history = a_history((OLDEST, [1]), (OLDEST + SLICE_MS, [2]), (NOW, [3]))
    assert history.summary(NOW).n == 2
    assert a_history((NOW, [3])).summary(NOW + KEPT_SLICES * SLICE_MS).n == 1
    assert a_history((NOW, [3])).summary(NOW + KEPT_SLICES * SLICE_MS + 1) is None


def test_a_late_delta_joins_its_own_slice():
    late = a_history((NOW, [1]), (NOW - SLICE_MS + 5, [2]), (NOW + 7, [3]))
    in_time = a_history((NOW - SLICE_MS, [2]), (NOW, [1, 3]))
    assert late.summary(NOW) == in_time.summary(NOW)


def test_a_clock_ahead_of_ours_does_no_harm():
    assert a_history((NOW + SLICE_MS, [4])).summary(NOW) == Summary(n=1, mean=4, quantiles=(4,) * 5)


@given(
    st.lists(st.tuples(st.integers(0, KEPT_SLICES - 1), st.lists(VALUES, min_size=1, max_size=5)), max_size=8),
    st.randoms(),
)
def test_the_order_in_which_deltas_arrive_does_not_matter(seen, random):
    timed = [(NOW - age * SLICE_MS, values) for age, values in seen]
    shuffled = random.sample(timed, len(timed))
    one, other = a_history(*timed).summary(NOW), a_history(*shuffled).summary(NOW)
    assert (one and one.n) == (other and other.n)
    if one:
        assert abs(one.mean - other.mean) <= 1


def test_a_series_that_slept_for_months_begins_anew():
    history = a_history((NOW, [1] * 5))
    later = NOW + 10_000 * HALF_LIFE_MS
    history.fold(later, a_delta(7))
    assert history.summary(later) == Summary(n=1, mean=7, quantiles=(7,) * 5)


def test_a_busy_series_never_leaves_the_range_of_a_float():
    history = History(Life(slice_ms=1, half_life_ms=1))
    for at_ms in range(0, 3_000, 10):
        history.fold(NOW + at_ms, a_delta(30))
    assert history.summary(NOW + 2_990).mean == 30


def test_a_delta_from_before_all_that_is_kept_is_let_go():
    history = a_history((NOW, [3]))
    history.fold(OLDEST - SLICE_MS, a_delta(9))
    assert history.summary(NOW).mean == 3


# -- shifts


def noticed(before, after, *, seed, watched=True, seen=600):
    """Values after which the median of a series is that of what comes now, of 100 at most."""
    draw = random.Random(seed)
    history, at_ms = History(Life(watched=watched)), NOW
    for _ in range(seen // 3):
        history.fold(at_ms, a_delta(*(int(before(draw)) for _ in range(3))))
        at_ms += 1_000
        history.summary(at_ms)
    for count in range(1, 101):
        history.fold(at_ms, a_delta(int(after(draw))))
        at_ms += 1_000
        if history.summary(at_ms).n <= count + 15:
            return count
    return 999


def slower(times):
    return lambda draw: 400_000 * times * draw.lognormvariate(0, 0.5)


def with_a_tail(share):
    return lambda draw: (6 if draw.random() < share else 1) * 400_000 * draw.lognormvariate(0, 0.5)


@pytest.mark.parametrize(
    ("after", "within"), [(slower(2), 30), (slower(4), 12), (with_a_tail(0.5), 30), (slower(0.4), 40)]
)
def test_a_provider_that_has_changed_is_noticed(after, within):
    counts = sorted(noticed(slower(1), after, seed=seed) for seed in range(20))
    assert counts[17] <= within


def test_what_stays_as_it_is_raises_no_alarm():
    assert [noticed(slower(1), slower(1), seed=seed) for seed in range(10)] == [999] * 10


def test_what_is_not_watched_only_ages():
    assert noticed(slower(1), slower(4), seed=1, watched=False) == 999


def test_too_few_values_are_nothing_to_shift_from():
    assert noticed(slower(1), slower(4), seed=1, seen=15) in range(1, 101)
    history = History(Life(watched=True))
    history.fold(NOW, a_delta(*[400] * 19))
    history.summary(NOW)
    history.fold(NOW, a_delta(*[4_000] * 19))
    assert history.summary(NOW).n == 38


# -- silence


def test_a_watched_series_that_falls_silent_says_nothing_and_begins_anew():
    history = History(Life(watched=True))
    for at_ms in range(NOW, NOW + 2 * SLICE_MS, 1_000):
        history.fold(at_ms, a_delta(900))
    last = NOW + 2 * SLICE_MS
    assert history.summary(last + SILENT_MS).mean == 900
    assert history.summary(last + SILENT_MS + 1) is None
    history.fold(last + SILENT_MS + 1, a_delta(30))
    assert history.summary(last + SILENT_MS + 1) == Summary(n=1, mean=30, quantiles=(30,) * 5)


def test_a_series_of_few_values_is_not_silent_between_two_of_them():
    history = History(Life(watched=True))
    for number in range(3):
        history.fold(NOW + number * 4 * SLICE_MS, a_delta(900))
    assert history.summary(NOW + 8 * SLICE_MS + 5 * SILENT_MS).n == 3


def test_what_is_not_watched_is_never_silent():
    assert a_history((NOW, [5])).summary(NOW + 20 * SLICE_MS).mean == 5
    assert not History(Life(watched=True)).silent(NOW)


def test_how_many_lie_above_a_value():
    summary = Summary(n=100, mean=1, quantiles=(100, 200, 300, 400, 500))
    assert [above_ppm(summary, value) for value in (0, 50, 100, 150, 400)] == [
        1_000_000,
        750_000,
        500_000,
        375_000,
        50_000,
    ]
    assert above_ppm(summary, 450) == 30_000
    assert [above_ppm(summary, value) for value in (500, 1_000, 9_000)] == [10_000, 2_500, 2_500]
    assert above_ppm(Summary(n=1, mean=0, quantiles=(0,) * 5), 5) == 2_500
