"""Which way to go under one deadline, and what is believed of how long things take."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.jobs.deadlines import (
    KEPT_SLICES,
    PPM,
    PRIORS,
    Bid,
    Reserve,
    cell,
    choose,
    give_up,
    judged,
    prior_of,
    reserve_for,
    waits,
)

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
BATCH = waits(PRIORS["batch"])
RESERVE = Reserve(run_ms=10_000, cancel_ms=60_000)


def now(cost, index=0):
    return Bid(index=index, own_pico=cost)


def later(cost, index=1, distribution=BATCH, wait_ms=0):
    return Bid(index=index, own_pico=cost, waits=distribution, wait_ms=wait_ms)


def test_the_prior_has_the_published_quantiles():
    assert BATCH.done_ppm(7 * MINUTE) == pytest.approx(500_000, abs=20_000)
    assert BATCH.done_ppm(HOUR) == pytest.approx(900_000, abs=10_000)
    assert BATCH.done_ppm(24 * HOUR) == PPM
    assert BATCH.done_ppm(0) == 0
    assert BATCH.at_ppm(900_000) == pytest.approx(HOUR, rel=0.42)
    assert BATCH.at_ppm(PPM) <= DAY


def test_a_window_is_believed_to_be_kept_nine_times_in_ten():
    assert prior_of("batch") is PRIORS["batch"]
    short, long = waits(prior_of("window-2h")), waits(prior_of("window-8h"))
    for hours, window in ((2, short), (8, long)):
        assert window.done_ppm(hours * 20 * MINUTE // 2) == pytest.approx(500_000, abs=60_000)
        assert 900_000 < window.done_ppm(hours * HOUR) < PPM, "it is a target"
        assert window.done_ppm(2 * hours * HOUR) == PPM
    assert short.done_ppm(2 * HOUR) > long.done_ppm(2 * HOUR)


def test_every_bid_is_judged_as_if_it_were_taken():
    at_once, by_batch, too_late = now(1000), later(500), later(100, index=2, wait_ms=9 * HOUR)
    first, second, third = judged([at_once, by_batch, too_late], 8 * HOUR, RESERVE)
    assert (first.expected_pico, first.on_time_ppm) == (1000, PPM)
    assert 500 < second.expected_pico < 600
    assert third.expected_pico > 1000, "it cannot be there, and is paid for all the same"
    assert judged([Bid(0, 100, wait_ms=9 * HOUR)], 8 * HOUR, RESERVE) == [None]
    assert choose([at_once, by_batch, too_late], 8 * HOUR, RESERVE, 995_000) == second


def test_what_was_given_up_would_have_taken_longer():
    """As twenty were called off after an hour, longer than an hour is likely; how much longer is told by what is known of it."""
    prior = PRIORS["batch"]
    cut = waits(prior, given_up=[(0, cell(HOUR), 20)])
    assert cut.done_ppm(HOUR) < 300_000
    assert cut.done_by_ppm(2 * HOUR, HOUR) == pytest.approx(BATCH.done_by_ppm(2 * HOUR, HOUR), abs=2_000)
    assert sum(cut.weights) == pytest.approx(sum(BATCH.weights) + 20 * PPM, abs=50)
    assert waits(prior, given_up=[(0, len(cut.weights) - 1, 3)]).weights[-1] >= 3 * PPM, "longer than anything"
    assert waits(prior, given_up=[(KEPT_SLICES + 1, 3, 20), (0, 99, 5)]) == BATCH
    slow, quick = (0, cell(4 * HOUR), 5), (0, cell(10 * MINUTE), 9)
    assert waits(prior, given_up=[slow, quick]) == waits(prior, given_up=[quick, slow])


def test_what_may_not_last_is_nobodys_way_out():
    idle = Bid(index=2, own_pico=10, lasts=False)
    _, by_batch, _ = judged([now(1000), later(500), idle], HOUR, RESERVE)
    assert by_batch == judged([now(1000), later(500)], HOUR, RESERVE)[1]
    assert choose([now(1000), later(500), idle], HOUR, RESERVE, 995_000).index == 2


def test_a_faster_clock_scales_the_prior():
    fast = waits(PRIORS["batch"], pace=60)
    assert fast.done_ppm(HOUR // 60) == pytest.approx(900_000, abs=10_000)
    assert fast.bound_ms == DAY // 60


@given(st.integers(0, 2 * DAY), st.integers(0, DAY))
def test_more_time_is_never_less_chance(waited, left):
    assert BATCH.done_ppm(left) <= BATCH.done_ppm(left + MINUTE)
    assert 0 <= BATCH.done_by_ppm(waited, left) <= BATCH.done_by_ppm(waited, left + MINUTE) <= PPM


def test_outcomes_move_the_prior_and_fade():
    slow = [(0, cell(3 * HOUR), 20)]
    assert waits(PRIORS["batch"], slow).done_ppm(HOUR) < 300_000
    old = [(KEPT_SLICES, cell(3 * HOUR), 20)]
    assert waits(PRIORS["batch"], old).done_ppm(HOUR) > 890_000
    assert waits(PRIORS["batch"], [(KEPT_SLICES + 1, 3, 20), (0, 99, 5)]) == BATCH


def test_what_has_taken_long_may_take_longer_still():
    assert BATCH.done_by_ppm(0, HOUR) == BATCH.done_ppm(HOUR)
    assert BATCH.done_by_ppm(HOUR, HOUR) < BATCH.done_ppm(HOUR)
    assert BATCH.done_by_ppm(HOUR, 0) == 0
    assert BATCH.done_by_ppm(30 * HOUR, 1) == PPM
    quick = waits(PRIORS["flex"])
    assert quick.done_by_ppm(5 * MINUTE, 10 * MINUTE) == PPM
    certain = waits(PRIORS["batch"])
    lone = type(certain)(tuple(PPM if index == 3 else 0 for index in range(len(certain.weights))), DAY)
    assert lone.done_by_ppm(2 * MINUTE, MINUTE) == 0
    assert type(certain)((), DAY).done_ppm(MINUTE) == 0
    assert type(certain)(certain.weights, 20 * DAY).done_ppm(9 * DAY) > 990_000


def test_cells_grow_with_time():
    assert cell(1) == 0
    assert cell(MINUTE) < cell(HOUR) < cell(DAY) < cell(30 * DAY)


def test_with_a_day_to_go_the_batch_is_taken():
    chosen = choose([now(100), later(50)], DAY, RESERVE, 995_000)
    assert (chosen.index, chosen.own_pico) == (1, 50)
    assert 50 <= chosen.expected_pico <= 53
    assert chosen.on_time_ppm == PPM
    assert chosen.early


def test_with_an_hour_to_go_the_batch_is_worth_its_risk():
    chosen = choose([now(1000), later(500)], HOUR, RESERVE, 995_000)
    assert chosen.index == 1
    assert chosen.expected_pico == pytest.approx(555, abs=10)


def test_with_a_minute_to_go_real_time_is_cheaper_in_expectation():
    assert choose([now(1000), later(500)], MINUTE, RESERVE, 995_000).index == 0


def test_what_is_only_a_little_cheaper_is_not_worth_a_risk():
    assert choose([now(1000), later(995)], HOUR, RESERVE, 995_000).index == 0


def test_without_a_way_out_the_policy_s_chance_rules():
    assert choose([later(500)], HOUR, RESERVE, 995_000) is None
    assert choose([later(500)], HOUR, RESERVE, 850_000).on_time_ppm < 920_000
    assert choose([later(500)], DAY, RESERVE, 995_000).index == 1


def test_off_peak_hours_are_waited_for_if_they_come_in_time():
    cheap = Bid(index=2, own_pico=400, wait_ms=2 * HOUR)
    assert choose([now(1000), cheap], 3 * HOUR, RESERVE, 995_000).index == 2
    assert choose([now(1000), cheap], HOUR, RESERVE, 995_000).index == 0
    assert choose([cheap], HOUR, RESERVE, 995_000) is None


def test_a_deadline_that_not_even_real_time_can_make_has_no_bid():
    assert choose([now(1000), later(500)], 5_000, Reserve(run_ms=10_000, cancel_ms=0), 995_000) is None


def test_at_equal_cost_the_sooner_is_taken():
    assert choose([later(500, 1), now(500, 0)], DAY, RESERVE, 0).index == 0


def test_the_reserve_is_never_more_than_half_of_what_is_left():
    assert reserve_for(DAY, 8_000) == Reserve(run_ms=16_000, cancel_ms=600_000)
    assert reserve_for(10_000, 8_000) == Reserve(run_ms=5_000, cancel_ms=1_000)
    assert reserve_for(DAY, 100, pace=60).both_ms == 11_000


def test_what_waits_is_given_up_in_time_for_the_way_out():
    assert not give_up(BATCH, 10 * MINUTE, HOUR, RESERVE)
    assert give_up(BATCH, HOUR, RESERVE.both_ms, RESERVE)
    assert give_up(BATCH, 20 * HOUR, 2 * MINUTE, RESERVE), "fifty seconds more make no difference to it"
