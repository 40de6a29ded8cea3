"""Budgets as the pipeline meets them: how much is held, what is clamped, refused, topped up and stopped."""

import asyncio
import json

import pytest
from budgets import a_budget
from catalogs import a_model, a_price
from fakes import FakeResponse
from wired import EVENTS, WHO, Wired, answer, ends, says, snapshot

from router.core.errors import RouterError
from router.ports import PeriodOver

OUTPUT_NANO = 4_000
"""A token of output; one of input is a quarter of it."""
PROMPT = 1_024 // 4 + 100
"""Tokens of output that cost no less than the longest prompt that is believed of what is asked here."""
P90, MOST = 700, 8_000


def wired(*script, budgets=(), **changes):
    found = Wired(*script, **changes)
    found.book.put(*budgets)
    return found


def budget(limit_nano=10**12, **changes):
    return a_budget(limit_nano, tenant=WHO.tenant, **changes)


async def refusal(case, **fields):
    with pytest.raises(RouterError) as caught:
        await case.serve(**fields)
    return caught.value


def held(case):
    return case.ledger.reserved[-1]


# -- how much is held


async def test_hard_budgets_hold_the_worst_case_and_the_row_tells_the_period():
    hard = budget()
    case = wired(FakeResponse([answer()]), budgets=[hard])
    reply = await case.serve()
    assert MOST * OUTPUT_NANO < held(case).amount_nano < (MOST + PROMPT) * OUTPUT_NANO
    reply.after()
    assert case.row.budgets == (f"{hard.id}:0",)
    assert case.ledger.spent == {f"{hard.id}:0": case.row.cost_nano}


async def test_statistical_budgets_hold_what_is_likely():
    case = wired(FakeResponse([answer()]), budgets=[budget(mode="statistical")])
    await case.serve()
    assert P90 * OUTPUT_NANO < held(case).amount_nano < (P90 + 100) * OUTPUT_NANO


async def test_both_kinds_at_once_hold_each_their_own():
    case = wired(FakeResponse([answer()]), budgets=[budget(), budget(mode="statistical", period="day")])
    await case.serve()
    hold = held(case)
    assert hold.amount_nano > MOST * OUTPUT_NANO
    assert P90 * OUTPUT_NANO < hold.likely_nano < (P90 + 100) * OUTPUT_NANO
    assert hold.dims[:3] == (WHO.team, WHO.app, WHO.key)
    assert hold.dims[6:] == ("acme/large", "acme", "realtime", "chat")


async def test_a_budget_of_somebody_else_is_no_concern():
    case = wired(
        FakeResponse([answer()]), budgets=[budget(0, scope=[("team", "other")]), budget(0, scope=[("user", "x")])]
    )
    (await case.serve()).after()
    assert case.row.budgets == ()


async def test_a_model_without_a_price_passes_a_budget_that_is_used_up():
    free = a_model(prices=[a_price(input="0", output="0")])
    case = wired(FakeResponse([answer()]), budgets=[budget(0)], world=snapshot(free))
    (await case.serve()).after()
    assert case.row.cost_nano == 0


# -- refusals


async def test_a_refused_request_is_402_holds_nothing_and_is_not_sent():
    case = wired(budgets=[budget(1_000, scope=[("team", WHO.team)], period="day")])
    error = await refusal(case)
    assert (error.status, error.code, error.retryable) == (402, "budget_exceeded", False)
    assert "team=search, $0.000001000 per day, has no room" in error.message
    assert "It resets at 2027-01-16T00:00:00Z." in error.message
    assert error.details["budget"]["remaining_usd"] == "0.000001000"
    assert (case.ledger.holds, case.ledger.rows, case.upstream.sent) == ({}, [], [])
    assert case.listener.refusals == [("chat", "budget_exceeded", WHO)]


@pytest.mark.parametrize(
    ("changes", "retry", "said"),
    [
        ({"period": "minute"}, True, "per minute"),
        ({"period": "hour"}, False, "per hour"),
        ({"period": "total"}, False, "in total"),
        ({"period": "day", "rolling": True}, False, "in any day"),
        ({"built_in": True}, False, "Generated keys"),
    ],
)
async def test_a_refusal_says_when_to_come_back_if_that_is_soon(changes, retry, said):
    error = await refusal(wired(budgets=[budget(1_000, **{"period": "day", **changes})]))
    assert (error.retry_after_s is not None) == retry
    assert said in error.message
    assert error.retry_after_s is None or 0 < error.retry_after_s <= 60


async def test_a_period_that_ends_just_now_is_asked_for_anew(monkeypatch):
    case = wired(FakeResponse([answer()]), budgets=[budget(period="minute")])
    # The store is a little ahead of what is thought of it.
    case.clock.advance(59.5)
    thought = case.clock.now_ms()
    case.clock.advance(0.8)
    monkeypatch.setattr(case.ledger, "store_ms", lambda: thought)
    (await case.serve()).after()
    (name,) = case.row.budgets
    assert name.endswith(f":{case.clock.now_ms() // 60_000}")


async def test_a_store_whose_periods_never_hold_is_a_503(monkeypatch):
    case = wired(budgets=[budget()])

    def never(_):
        result = asyncio.get_running_loop().create_future()
        result.set_exception(PeriodOver(0))
        return result

    monkeypatch.setattr(case.ledger, "reserve", never)
    assert (await refusal(case)).code == "store_unavailable"


# -- clamping


CLAMPS = {"clamp": True}


@pytest.mark.parametrize("name", [None, "max_tokens", "max_completion_tokens"])
async def test_where_only_the_likely_fits_the_answer_is_limited_to_it(name):
    case = wired(FakeResponse([answer()]), budgets=[budget(2 * P90 * OUTPUT_NANO)], world=snapshot(**CLAMPS))
    reply = await case.serve(**({name: 4_000} if name else {}))
    sent = json.loads(case.upstream.sent[0].body)
    assert {key: value for key, value in sent.items() if key.startswith("max")} == {
        name or "max_completion_tokens": P90
    }
    assert ("x-costrouter-max-tokens-clamped", str(P90)) in reply.headers
    assert held(case).amount_nano < (P90 + PROMPT) * OUTPUT_NANO
    reply.after()
    assert case.row.max_output == P90


async def test_nothing_is_clamped_where_the_worst_fits_or_the_policy_says_nothing():
    roomy = wired(FakeResponse([answer()]), budgets=[budget()], world=snapshot(**CLAMPS))
    assert "x-costrouter-max-tokens-clamped" not in dict((await roomy.serve()).headers)
    silent = wired(budgets=[budget(2 * P90 * OUTPUT_NANO)])
    assert (await refusal(silent)).code == "budget_exceeded"


@pytest.mark.parametrize("fields", [{}, {"max_tokens": 100}])
async def test_where_not_even_the_likely_fits_it_is_refused(fields):
    case = wired(budgets=[budget(50 * OUTPUT_NANO)], world=snapshot(**CLAMPS))
    assert (await refusal(case, **fields)).code == "budget_exceeded"
    assert case.ledger.holds == {}


# -- what a policy says of used up budgets


FREE = a_model("acme/free", prices=[a_price(input="0", output="0")], tags=["spare"])
SPARE = {"candidates": {"include": ["acme/large"]}, "budget_exhausted": {"new_requests": "use acme/free"}}


async def test_a_policy_may_name_the_model_that_serves_where_a_budget_has_no_room():
    case = wired(FakeResponse([answer()]), budgets=[budget(0)], world=snapshot(a_model(), FREE, **SPARE))
    reply = await case.serve()
    assert dict(reply.headers)["x-costrouter-model"] == "acme/free"
    reply.after()
    assert (case.row.model, case.row.cost_nano, case.ledger.holds) == ("acme/free", 0, {})


async def test_where_that_model_has_no_room_either_it_is_refused():
    spare = {**SPARE, "budget_exhausted": {"new_requests": "use acme/small"}}
    world = snapshot(a_model(), a_model("acme/small"), **spare)
    assert (await refusal(wired(budgets=[budget(0)], world=world))).code == "budget_exceeded"
    same = snapshot(**{**SPARE, "budget_exhausted": {"new_requests": "use acme/large"}})
    assert (await refusal(wired(budgets=[budget(0)], world=same))).code == "budget_exceeded"


# -- streams that grow


def speaking(words, **changes):
    """An upstream that says so many words, ten an event, and a case that streams it."""
    response = FakeResponse([*(says("word " * 10) for _ in range(words // 10)), ends()], headers=EVENTS)
    case = wired(response, **changes)
    case.response = response
    return case


async def grown(case):
    """The most that was held while a stream ran, and what the caller got."""
    text, stream = await case.stream()
    most = held(case).amount_nano
    while part := await stream.next_part():
        text += part
        most = max([most, *(hold.amount_nano for hold in case.ledger.holds.values())])
    return most, text


async def test_a_stream_that_outgrows_its_hold_is_topped_up():
    case = speaking(1_500, budgets=[budget(mode="statistical")])
    most, text = await grown(case)
    assert most > 1_500 * OUTPUT_NANO
    assert text.endswith(b"data: [DONE]\n\n")
    assert case.ledger.holds == {}


async def test_a_stream_within_its_hold_and_one_of_a_hard_budget_are_left_alone():
    likely = speaking(300, budgets=[budget(mode="statistical")])
    most, _ = await grown(likely)
    assert most < (P90 + 100) * OUTPUT_NANO
    hard = speaking(1_500, budgets=[budget()])
    hard.counter.broken = AssertionError("nothing is to be counted")
    most, _ = await grown(hard)
    assert most < (MOST + PROMPT) * OUTPUT_NANO


async def test_with_both_kinds_the_hard_hold_stays_as_it_is():
    case = speaking(1_500, budgets=[budget(mode="statistical"), budget(period="day")])
    text, stream = await case.stream()
    before = held(case)
    while held(case) == before:
        text += await stream.next_part()
    assert held(case).amount_nano == before.amount_nano
    assert held(case).likely_nano > before.likely_nano


async def test_a_stream_may_finish_over_its_budget():
    case = speaking(1_500, budgets=[budget((P90 + 100) * OUTPUT_NANO, mode="statistical")])
    _, text = await grown(case)
    assert text.endswith(b"data: [DONE]\n\n")
    assert case.row.outcome == "ok"


@pytest.mark.parametrize("bills", [True, False])
async def test_a_stream_that_no_longer_fits_is_stopped_with_an_event_and_a_row(bills):
    tight = budget((P90 + 100) * OUTPUT_NANO, mode="statistical", running="stop")
    case = speaking(1_500, budgets=[tight, budget(mode="statistical", period="day")], bills=bills)
    _, text = await grown(case)
    error = json.loads(text.rstrip().rpartition(b"data: ")[2])["error"]
    assert (error["code"], error["budget"]["id"]) == ("budget_exceeded", tight.id)
    assert b"[DONE]" not in text
    assert 500 < text.count(b"word") < 900
    assert case.response.closed
    # Where the provider bills the rest all the same, its meters are waited for.
    assert (case.row.outcome, case.row.certainty) == ("budget_stopped", "metered" if bills else "counted")
    assert [error for _, error in case.listener.rows] == ["budget_exceeded"]
    assert case.ledger.holds == {}


async def test_a_policy_may_stop_streams_that_the_budget_lets_finish():
    world = snapshot(budget_exhausted={"running_streams": "stop"})
    case = speaking(1_500, budgets=[budget((P90 + 100) * OUTPUT_NANO, mode="statistical")], world=world)
    _, text = await grown(case)
    assert b"budget_exceeded" in text
    assert case.row.outcome == "budget_stopped"


async def test_a_caller_who_leaves_a_stopped_stream_leaves_a_row():
    case = speaking(1_500, budgets=[budget((P90 + 100) * OUTPUT_NANO, mode="statistical", running="stop")])
    text, stream = await case.stream()
    while b"budget_exceeded" not in text:
        text = await stream.next_part()
    case.pipeline.abandon(stream)
    await case.pipeline.close(1)
    assert (case.row.outcome, case.row.certainty) == ("budget_stopped", "metered")


async def test_a_store_that_is_down_does_not_end_a_stream():
    case = speaking(1_500, budgets=[budget(mode="statistical", running="stop")])
    text, stream = await case.stream()
    case.ledger.available = False
    while part := await stream.next_part():
        text += part
    assert text.endswith(b"data: [DONE]\n\n")


async def test_a_stream_at_its_models_limit_asks_for_no_more():
    short = snapshot(a_model(max_output=50, output={"mean": 50, "p90": 50}))
    case = speaking(60, budgets=[budget(mode="statistical")], world=short)
    most, _ = await grown(case)
    assert most < 150 * OUTPUT_NANO
