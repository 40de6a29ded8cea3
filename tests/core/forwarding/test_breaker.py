import pytest

from router.core.forwarding.breaker import (
    CLOSED,
    TABLE,
    Happening,
    Rules,
    State,
    due,
    keeps,
    shut,
    step,
    too_many,
    words,
)

RULES = Rules()
NOW = 1_000_000
PHASES = ("closed", "open", "half_open", "limited")
EVENTS = ("trip", "limit", "claim", "ok", "fault")


def after(state, *events, now_ms=NOW, **more):
    for event in events:
        state = step(state, Happening(event, **more), now_ms, RULES)
    return state


OPEN = after(CLOSED, "trip", why="5 faults in a row")
HALF = after(OPEN, "claim", now_ms=NOW + 2_000)


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("event", EVENTS)
def test_what_is_not_in_the_table_changes_nothing(phase, event):
    state = State(phase, NOW - 1, 1, "why")
    new = after(state, event)
    assert (new is state) is ((phase, event) not in TABLE)
    assert new.phase == TABLE.get((phase, event), phase)


def test_it_opens_is_probed_and_closes():
    assert State("open", NOW + 2_000, 1, "5 faults in a row") == OPEN
    assert after(OPEN, "claim", now_ms=NOW + 1_999) is OPEN, "its time is not over"
    assert State("half_open", NOW + 4_000, 1, "5 faults in a row") == HALF
    assert after(HALF, "ok") is CLOSED


def test_a_probe_that_fails_opens_it_for_twice_as_long_up_to_a_minute():
    state, stays = OPEN, []
    for _ in range(7):
        state = after(after(state, "claim", now_ms=state.until_ms), "fault")
        stays.append(state.until_ms - NOW)
    assert stays == [4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]


def test_a_probe_that_is_lost_is_claimed_again():
    assert after(HALF, "claim", now_ms=NOW + 4_000).until_ms == NOW + 6_000


def test_a_probe_under_way_keeps_its_claim_for_ten_seconds():
    way, other = ("acme", "m", "A"), ("acme", "n", "A")
    states = {way: HALF, other: OPEN}
    claims = dict.fromkeys([way, other, ("gone", "m", "A")], NOW)
    held = keeps(claims, states, NOW + 9_999, Rules())
    assert held == {way: State("half_open", NOW + 11_999, 1, "5 faults in a row")}
    assert keeps(claims, states, NOW + 10_000, Rules()) == {}


def test_what_a_probe_under_way_finds_is_known_soon():
    assert due(HALF, NOW + 2_000) == 1_000
    assert due(HALF, NOW + 3_500) == 500
    assert due(OPEN, NOW) == 2_000


def test_what_was_sent_before_it_opened_closes_nothing():
    assert after(OPEN, "ok") is OPEN


def test_an_account_is_left_alone_for_longer():
    assert after(CLOSED, "trip", account=True).until_ms == NOW + 60_000
    assert after(State("half_open", 0, 30), "fault", account=True).until_ms == NOW + 600_000


def test_a_rate_limit_lasts_as_long_as_it_was_said_to_and_needs_no_probe():
    state = after(CLOSED, "limit", for_ms=7_000, why="429")
    assert state == State("limited", NOW + 7_000, 1, "429")
    assert after(state, "claim", now_ms=NOW + 7_000) is CLOSED


def test_a_shorter_limit_does_not_end_a_longer_one():
    state = after(CLOSED, "limit", for_ms=7_000)
    assert after(state, "limit", for_ms=1_000).until_ms == NOW + 7_000


def test_a_rate_limit_that_says_nothing_doubles():
    state, stays = CLOSED, []
    for _ in range(7):
        state = after(state, "limit")
        stays.append(state.until_ms - NOW)
    assert stays == [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]


@pytest.mark.parametrize(
    ("state", "closed"),
    [
        (CLOSED, False),
        (OPEN, True),
        (State("open", NOW - 1), True),
        (HALF, True),
        (State("limited", NOW + 1), True),
        (State("limited", NOW), False),
    ],
)
def test_nothing_but_a_probe_goes_where_it_is_open(state, closed):
    assert shut(state, NOW) is closed


@pytest.mark.parametrize(
    ("counts", "why"),
    [
        ((0, 4, 4), ""),
        ((100, 5, 5), "5 faults in a row"),
        ((9, 10, 1), ""),
        ((10, 10, 1), "10 of 20 attempts failed"),
        ((11, 10, 1), ""),
    ],
)
def test_it_opens_after_faults_in_a_row_or_a_share_of_enough(counts, why):
    assert too_many(*counts, RULES) == why


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (OPEN, "circuit breaker is open (5 faults in a row); probed again in 2.0 s"),
        (HALF, "circuit breaker is half open (5 faults in a row): a probe is under way"),
        (State("limited", NOW - 1, 1, "429"), "is about to refuse: 429; free again in 0.0 s"),
    ],
)
def test_a_state_says_why_an_option_is_not_chosen(state, said):
    assert words(state, NOW) == said
