"""The state machine of parcels and lines: every pair that can happen, and none that cannot."""

from typing import get_args

import pytest

from router.core.jobs.jobs import (
    LAST_PAUSE_MS,
    MOST_TRIES,
    RESUME,
    TABLE,
    Action,
    Event,
    ParcelState,
    after,
    again_ms,
    attempt_name,
    custom_id,
    fate_of,
    follow,
    pause_ms,
    poll_ms,
)


def test_the_table_speaks_of_known_states_events_and_actions_only():
    states, events, actions = (set(get_args(kind)) for kind in (ParcelState, Event, Action))
    for (state, event), (then, action) in TABLE.items():
        assert {state, then} <= states
        assert event in events
        assert action in actions
    assert set(RESUME) == states


def test_every_state_leads_to_the_end():
    ends = {"gone"}
    while True:
        more = {state for (state, _), (then, _) in TABLE.items() if then in ends} | ends
        if more == ends:
            break
        ends = more
    assert ends == set(get_args(ParcelState))


def test_a_creation_in_doubt_is_looked_for_before_it_is_repeated():
    assert RESUME["unsure"] == "look"
    assert follow("unsure", "unknown") == ("unsure", "look")
    assert follow("unsure", "not_found") == ("uploaded", "create")
    assert follow("unsure", "found") == ("submitted", "poll")


def test_a_creation_that_never_left_is_repeated_and_one_that_nobody_can_find_is_not():
    assert follow("unsure", "unsent") == ("uploaded", "create")
    assert follow("unsure", "lost") == ("ended", "book")


def test_it_can_be_cancelled_in_every_state_before_the_end():
    for state in get_args(ParcelState):
        if state != "gone":
            assert (state, "wanted_no_more") in TABLE, state


def test_what_cannot_happen_changes_nothing():
    assert follow("gone", "created") == ("gone", "nothing")
    assert follow("booked", "running") == ("booked", "nothing")


@pytest.mark.parametrize(
    ("fate", "tries", "unwanted", "then"),
    [
        ("succeeded", 1, False, "deliver"),
        ("succeeded", 1, True, "deliver"),
        ("refused", 1, False, "deliver"),
        ("failed", 1, False, "again"),
        ("expired", 1, False, "again"),
        ("missing", MOST_TRIES, False, "fail"),
        ("cancelled", 1, True, "drop"),
    ],
)
def test_what_becomes_of_a_line(fate, tries, unwanted, then):
    assert after(fate, tries, unwanted=unwanted) == then


@pytest.mark.parametrize(
    ("status", "fate"), [(200, "succeeded"), (400, "refused"), (404, "refused"), (429, "failed"), (503, "failed")]
)
def test_what_a_status_means(status, fate):
    assert fate_of(status) == fate


def test_names_carry_the_try():
    assert attempt_name("job_1", 7, 2) == "job_1/7/2"
    assert custom_id("job_1", 7, 2) == "job_1-7-2"


def test_pauses_double_up_to_a_bound():
    assert [pause_ms(n) for n in (0, 1, 3, 50)] == [1_000, 2_000, 8_000, LAST_PAUSE_MS]


def test_polls_are_rarer_the_longer_it_takes_and_sooner_near_the_end():
    assert poll_ms(0, 3_600_000, 1.0) == 2_000
    assert poll_ms(600_000, 3_600_000, 1.0) == 50_000
    assert poll_ms(36_000_000, 3_600_000, 1.0) == LAST_PAUSE_MS
    assert poll_ms(36_000_000, 3_600_000, 1.0, "window") == 5 * LAST_PAUSE_MS
    assert poll_ms(600_000, 3_600_000, 1.0, "window") == 50_000
    assert poll_ms(600_000, 1_000, 1.0) == 300
    assert poll_ms(0, 60_000, 600.0) == 50


def test_an_outage_is_sat_out_as_long_as_there_is_time():
    hour = 3_600_000
    waited = [again_ms("upstream_unreachable", tries, hour, None) for tries in (1, 2, 5, 20, 63)]
    assert waited == [2_000, 4_000, 32_000, 120_000, 120_000]
    assert again_ms("upstream_unreachable", 64, hour, None) is None
    assert again_ms("upstream_unreachable", 20, 8_000, None) == 2_000, "a quarter of what is left"
    assert again_ms("upstream_unreachable", 20, 600, None) == 500
    assert again_ms("upstream_unreachable", 20, 400, None) is None


def test_what_may_have_been_billed_is_tried_four_times_and_a_provider_s_word_on_when_counts():
    assert again_ms("upstream_timeout", 3, 60_000, None) == 8_000
    assert again_ms("upstream_timeout", 4, 60_000, None) is None
    assert again_ms("rate_limited", 1, 60_000, 20_000) == 20_000
    assert again_ms("rate_limited", 1, 15_000, 20_000) is None
