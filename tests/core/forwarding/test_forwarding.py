import msgspec
import pytest
from options import option, plan

from router.core.errors import CODES
from router.core.forwarding.forwarding import (
    PATIENCE_MS,
    REACTIONS,
    STOP,
    Forwarding,
    Step,
    Trial,
    after,
    pause_ms,
    verdict,
    without,
)

BOUNDS = Forwarding()


def failed(code="upstream_error", **changes):
    return Trial(**{"code": code, "attempts": 1, "same": 1, "others": True, "elapsed_ms": 0, **changes})


def test_every_fault_in_the_table_is_an_error_that_a_caller_can_see():
    assert REACTIONS.keys() <= CODES.keys()


@pytest.mark.parametrize("code", ["upstream_error", "upstream_interrupted"])
def test_a_passing_fault_is_tried_again_once_where_it_happened_and_then_elsewhere(code):
    assert after(failed(code), BOUNDS, 0.5) == Step("same", 125)
    assert after(failed(code, same=2, attempts=2), BOUNDS, 0.5) == Step("other")


@pytest.mark.parametrize(
    "code",
    ["rate_limited", "upstream_unavailable", "upstream_timeout", "upstream_unreachable", "upstream_bad_response"],
)
def test_what_will_not_pass_soon_fails_over_at_once(code):
    assert after(failed(code, retry_after_ms=100), BOUNDS, 0.5) == Step("other")


@pytest.mark.parametrize("code", ["invalid_request", "upstream_billing", "budget_exceeded", "journal_unavailable"])
def test_nothing_follows_a_refusal_of_the_request_nor_an_empty_account(code):
    assert after(failed(code), BOUNDS, 0.5) == STOP


def test_a_probe_that_meets_an_empty_account_is_not_its_callers_misfortune():
    assert after(failed("upstream_billing", probing=True), BOUNDS, 0.5) == Step("other")
    assert after(failed("invalid_request", probing=True), BOUNDS, 0.5) == STOP


def test_alone_it_waits_and_asks_again():
    assert after(failed("rate_limited", others=False, retry_after_ms=2_000), BOUNDS, 0.0) == Step("same", 2_000)
    assert after(failed("upstream_timeout", others=False), BOUNDS, 0.5) == Step("same", 125)


@pytest.mark.parametrize("code", ["upstream_refused_credentials", "upstream_bad_response"])
def test_alone_with_what_waiting_does_not_mend_it_gives_up(code):
    assert after(failed(code, others=False), BOUNDS, 0.5) == STOP


def test_no_more_attempts_than_the_policy_allows():
    assert after(failed(attempts=3), BOUNDS, 0.5) == STOP


def test_nothing_begins_after_the_time_is_over():
    assert after(failed(elapsed_ms=30_001), BOUNDS, 0.5) == STOP
    assert after(failed(elapsed_ms=29_999), BOUNDS, 0.5) == Step("other"), "the pause would end too late"
    assert after(failed("rate_limited", others=False, retry_after_ms=31_000), BOUNDS, 0.5) == STOP


def test_a_long_pause_is_for_those_who_have_no_other():
    slow = failed(retry_after_ms=PATIENCE_MS + 1)
    assert after(slow, BOUNDS, 0.0) == Step("other")
    assert after(failed(retry_after_ms=PATIENCE_MS + 1, others=False), BOUNDS, 0.0) == Step("same", PATIENCE_MS + 1)


@pytest.mark.parametrize("code", ["upstream_error", "rate_limited", "upstream_unavailable", "upstream_timeout"])
def test_what_an_sdk_sends_once_more_has_one_way_out_and_waits_for_nothing(code):
    assert after(failed(code, again=True), BOUNDS, 0.5) == Step("other")
    assert after(failed(code, again=True, attempts=2), BOUNDS, 0.5) == STOP
    assert after(failed(code, again=True, others=False), BOUNDS, 0.5) == STOP
    assert after(failed(code, again=True, elapsed_ms=30_001), BOUNDS, 0.5) == STOP
    assert after(failed(code, again=True), Forwarding(attempts=1), 0.5) == STOP
    assert after(failed("invalid_request", again=True), BOUNDS, 0.5) == STOP


def test_the_backoff_doubles_up_to_its_bound():
    assert [pause_ms(tried, None, BOUNDS, 0.999) for tried in (1, 2, 3, 9, 10**6)] == [249, 499, 999, 7992, 7992]


def test_retry_after_is_never_cut_short_and_scattered_by_a_tenth():
    assert pause_ms(1, 2_000, BOUNDS, 0.0) == 2_000
    assert pause_ms(1, 2_000, BOUNDS, 0.999) == 2_200
    assert pause_ms(1, 60_000, BOUNDS, 0.999) == 60_999


def test_a_plan_without_an_entry_goes_on_in_the_order_it_had():
    a, b, c = option("acme/a"), option("acme/b"), option("acme/c")
    whole = plan(a, b, then=[("relax ttft", [a, b, c])])
    left = without(whole, {a.entry})
    assert [level.options for level in left.levels] == [(b,), (b, c)]
    assert [[row[0] for row in level.figures] for level in left.levels] == [[b], [b, c]]
    assert left.candidates == whole.candidates
    assert [level.options for level in without(whole, {a.entry, b.entry}).levels] == [(c,)]
    assert without(whole, set()).levels == whole.levels


def test_who_has_failed_again_and_again_is_left_for_another_at_once():
    trial = Trial(code="upstream_error", attempts=1, same=1, others=True, elapsed_ms=0, failing=True)
    assert after(trial, Forwarding(), 0.5) == Step("other")
    alone = msgspec.structs.replace(trial, others=False)
    assert after(alone, Forwarding(), 0.5).act == "same"


@pytest.mark.parametrize(
    ("code", "brought", "said"),
    [
        ("upstream_error", False, "fault"), ("upstream_timeout", True, "fault"), ("rate_limited", False, "load"),
        ("rate_limited", True, ""), ("upstream_billing", False, "account"), ("upstream_refused_credentials", True, ""),
        ("upstream_refused_credentials", False, "account"), ("invalid_request", True, "well"), ("journal_unavailable", False, ""),
    ],
)  # fmt: skip
def test_what_an_error_says_of_its_way(code, brought, said):
    assert verdict(code, brought=brought) == said
