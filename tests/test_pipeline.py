import asyncio
import datetime as dt
import json

import pytest
from catalogs import a_model, a_price
from fakes import FakeResponse
from store import until
from wired import EVENTS, SECRET, TIMEOUTS, WHO, Wired, answer, asked, ends, says, snapshot

import router.dialects.openai.chat
from router.bounds import PATIENCE_S
from router.core.budgets.budget import generated_budget
from router.core.errors import RouterError
from router.ports import StoreUnavailable, UpstreamFailure


async def refused(wired, *given, **fields):
    with pytest.raises(RouterError) as caught:
        await wired.serve(*given, **fields)
    return caught.value


async def test_a_plain_answer_is_booked_before_it_is_passed_on_and_told_of_once_it_is_written():
    wired = Wired(FakeResponse([answer()]))
    reply = await wired.serve()
    assert reply.body == answer()
    assert (wired.row.outcome, wired.row.certainty, wired.row.team) == ("ok", "metered", "search")
    assert wired.ledger.holds == {}
    assert wired.listener.rows == []
    reply.after()
    assert wired.listener.rows == [(wired.row, None)]


async def test_the_upstream_gets_its_own_name_for_the_model_and_our_credentials():
    wired = Wired(FakeResponse([answer()]))
    await wired.serve()
    (sent,) = wired.upstream.sent
    assert json.loads(sent.body)["model"] == "large"
    assert sent.path == "/chat/completions"
    assert (b"authorization", b"Bearer sk-ours") in sent.headers


async def test_a_plain_answers_head_may_take_as_long_as_the_whole():
    wired = Wired(FakeResponse([answer()]), FakeResponse([says("Hi"), ends()], headers=EVENTS))
    await wired.serve()
    await wired.whole_stream()
    plain, streamed = wired.upstream.sent
    assert plain.timeouts.first_byte == TIMEOUTS.total
    assert plain.timeouts.between_chunks == TIMEOUTS.between_chunks
    assert streamed.timeouts == TIMEOUTS


# -- tiers and efforts

SOLD = {"flex": {"factor": "0.5"}, "priority": {"factor": "2"}}
ABOUT = {"source": "a page", "date": dt.date(2026, 11, 22)}


def sold(*tiers, effort=()):
    """A world in which acme sells its one model in three tiers, and a policy that admits these."""
    efforts = {"low": {"output": "0.5", "quality": "1", "sd": "0", **ABOUT}}
    model = a_model(efforts=efforts, prices=[a_price(input="1.00", output="4.00", tiers=SOLD)])
    return snapshot(
        model,
        provider={"service_tiers": {"flex": "flex", "priority": "priority"}},
        rules=[{"name": "everyday", "tiers": list(tiers)}],
        candidates={"include": ["*"], "effort": list(effort)},
    )


async def test_the_chosen_tier_and_effort_are_asked_for_and_told():
    wired = Wired(FakeResponse([answer(service_tier="flex")]), world=sold("flex", "realtime", effort=["low"]))
    reply = await wired.serve(service_tier="auto")
    (sent,) = wired.upstream.sent
    assert (json.loads(sent.body)["service_tier"], json.loads(sent.body)["reasoning_effort"]) == ("flex", "low")
    assert sent.timeouts.first_byte == sent.timeouts.total == PATIENCE_S
    assert dict(reply.headers) | {"x-costrouter-tier": "flex", "x-costrouter-effort": "low"} == dict(reply.headers)
    assert (wired.row.tier, wired.row.effort) == ("flex", "low")
    # 9 tokens of prompt at $0.50, 2 of the answer at $2.00 a million
    assert wired.row.cost_pico == 9 * 500_000 + 2 * 2_000_000


@pytest.mark.parametrize(
    ("asked_for", "served", "tier", "factor"),
    [
        ("flex", "default", "realtime", 2), ("flex", None, "flex", 1), ("flex", "scale", "flex", 1),
        ("default", "priority", "priority", 4), ("auto", "default", "realtime", 2),
    ],
)  # fmt: skip  # a line a case
async def test_the_bill_goes_by_the_tier_that_was_served(asked_for, served, tier, factor):
    wired = Wired(FakeResponse([answer(service_tier=served)]), world=sold("realtime"))
    reply = await wired.serve(service_tier=asked_for)
    assert (wired.row.tier, dict(reply.headers)["x-costrouter-tier"]) == (tier, tier)
    assert wired.row.cost_pico == (9 * 500_000 + 2 * 2_000_000) * factor
    assert wired.row.price_version.endswith({"realtime": "", "flex": "/flex", "priority": "/priority"}[tier])


async def test_a_stream_is_billed_by_the_tier_that_was_served():
    parts = [says("Hi"), ends(service_tier="default")]
    wired = Wired(FakeResponse(parts, headers=EVENTS), world=sold("realtime", "flex"))
    text = await wired.whole_stream()
    assert (wired.row.tier, wired.row.cost_pico) == ("realtime", 9 * 1_000_000 + 2 * 4_000_000)
    assert b"x-costrouter-cost-usd=0.000017" in text


async def test_a_tier_without_a_price_is_booked_at_what_was_asked_for():
    unsold = snapshot(a_model(prices=[a_price(input="1.00", output="4.00")]))
    wired = Wired(FakeResponse([answer(service_tier="priority")]), world=unsold)
    await wired.serve()
    assert (wired.row.tier, wired.row.cost_pico) == ("priority", 9 * 1_000_000 + 2 * 4_000_000)


# -- keys


@pytest.mark.parametrize(
    "headers",
    [{}, {"authorization": "Bearer "}, {"authorization": "Basic x"}, {"x-api-key": "\u00a0"}, {"x-api-key": "other"}],
)
async def test_without_a_known_key_nothing_is_read(headers):
    wired = Wired()
    wired.keys.known[""] = WHO
    assert (await refused(wired, b"not even JSON", headers=headers)).code == "invalid_api_key"
    assert wired.listener.refusals == [("chat", "invalid_api_key", None)]


async def test_a_key_may_come_as_x_api_key():
    wired = Wired(FakeResponse([answer()]))
    assert (await wired.serve(headers={"x-api-key": f" {SECRET} "})).body


async def test_keys_that_cannot_be_looked_up_are_a_503():
    wired = Wired()
    wired.keys.available = False
    assert (await refused(wired)).code == "store_unavailable"


# -- reserving


async def test_a_store_that_is_down_means_nothing_is_sent():
    wired = Wired()
    wired.ledger.available = False
    error = await refused(wired)
    assert (error.code, error.retry_after_s) == ("store_unavailable", 1)
    assert wired.upstream.sent == []
    assert wired.listener.refusals == [("chat", "store_unavailable", WHO)]


async def test_a_ledger_that_refuses_at_once_is_a_503(monkeypatch):
    wired = Wired()

    def full(_):
        raise StoreUnavailable("too many rows wait")

    monkeypatch.setattr(wired.ledger, "reserve", full)
    assert (await refused(wired)).code == "store_unavailable"


async def test_what_cannot_be_written_down_is_not_sent():
    wired = Wired()
    wired.ledger.writable = False
    error = await refused(wired)
    assert (error.code, error.retry_after_s) == ("journal_unavailable", 1)
    assert wired.upstream.sent == []
    assert (wired.ledger.holds, wired.ledger.rows) == ({}, [])
    assert [(row.outcome, code) for row, code in wired.listener.rows] == [("released", "journal_unavailable")]


async def test_before_it_is_sent_it_is_written_down_as_it_is_booked_if_this_process_dies():
    hanging = asyncio.Event()
    wired = Wired(FakeResponse([hanging, answer()]))
    serving = asyncio.ensure_future(wired.serve())
    await until(lambda: wired.upstream.sent)
    written = wired.ledger.sent_rows["r1/1"]
    assert (written.certainty, written.outcome, written.status) == ("estimated", "upstream_interrupted", 500)
    assert written.cost_nano == written.estimated_nano > 0
    hanging.set()
    await serving
    row = wired.row
    assert wired.ledger.sent_rows == {}
    assert (written.at_ms, written.model, written.tenant) == (row.at_ms, row.model, row.tenant)


async def test_a_body_that_cannot_be_put_together_leaves_no_hold(monkeypatch):
    def fails(*_, **__):
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")

    monkeypatch.setattr(router.dialects.openai.chat, "outgoing", fails)
    wired = Wired()
    with pytest.raises(UnicodeDecodeError):
        await wired.serve()
    await asyncio.sleep(0)
    assert wired.ledger.holds == {}
    assert wired.upstream.sent == []


async def test_options_that_are_not_utf_8_leave_no_hold():
    wired = Wired()
    body = asked(stream=True)[:-1] + b',"stream_options":{"\xff":1}}'
    assert (await refused(wired, body)).code == "invalid_request"
    await asyncio.sleep(0)
    assert wired.ledger.holds == {}


@pytest.mark.parametrize("turns", range(8))
async def test_a_caller_who_leaves_while_money_is_set_aside_leaves_no_hold(turns):
    never = asyncio.Event()
    wired = Wired(FakeResponse([never]))
    serving = asyncio.create_task(wired.serve())
    for _ in range(turns):
        await asyncio.sleep(0)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    await asyncio.sleep(0)
    assert wired.ledger.holds == {}
    assert len(wired.ledger.rows) == len(wired.upstream.sent)


async def test_a_stream_that_is_given_up_before_its_first_part_is_closed_and_booked():
    response = FakeResponse([asyncio.Event()], headers=EVENTS)
    wired = Wired(response)
    serving = asyncio.create_task(wired.serve(stream=True))
    await until(lambda: wired.upstream.sent)
    await asyncio.sleep(0.01)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert response.closed, "its connection would stay taken, and its provider would go on"
    (row,) = wired.ledger.rows
    assert (row.outcome, row.certainty) == ("node_stopped", "estimated")


# -- upstreams that fail


async def test_an_unreachable_upstream_costs_nothing_and_is_heard_of():
    wired = Wired(UpstreamFailure("connect", "acme refuses connections", sent=False))
    assert (await refused(wired)).code == "upstream_unreachable"
    assert (wired.ledger.rows, wired.ledger.holds) == ([], {})
    ((row, error),) = wired.listener.rows
    assert (row.outcome, error) == ("released", "upstream_unreachable")


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("reset", "upstream_interrupted"),
        ("timeout", "upstream_timeout"),
        ("protocol", "upstream_bad_response"),
        ("too_large", "upstream_bad_response"),
    ],
)
@pytest.mark.parametrize("early", [True, False])
async def test_an_exchange_that_breaks_is_estimated_and_named(fault, code, early):
    failure = UpstreamFailure(fault, "acme broke off", sent=True)
    wired = Wired(failure if early else FakeResponse([answer()[:9], failure]))
    error = await refused(wired)
    assert (error.code, error.retryable) == (code, code != "upstream_bad_response")
    assert (wired.row.outcome, wired.row.certainty) == ("upstream_interrupted", "estimated")


async def test_a_providers_refusal_is_told_and_costs_nothing():
    wired = Wired(FakeResponse([b'{"error":{"message":"too long"}}'], status=400))
    error = await refused(wired)
    assert (error.status, error.message) == (400, "too long")
    assert (wired.row.outcome, wired.row.status, wired.row.cost_nano) == ("upstream_error", 400, 0)


async def test_an_answer_without_meters_is_counted():
    wired = Wired(FakeResponse([answer(usage=None)]))
    (await wired.serve()).after()
    assert (wired.row.certainty, wired.row.completion_tokens) == ("counted", 2)


async def test_an_unreadable_answer_is_an_error_and_estimated():
    wired = Wired(FakeResponse([b"<html>"]))
    assert (await refused(wired)).code == "upstream_bad_response"
    assert (wired.row.outcome, wired.row.certainty) == ("upstream_error", "estimated")


async def test_a_flaw_after_pricing_still_books_the_row():
    response = FakeResponse([answer()])
    response.headers = None
    wired = Wired(response)
    wired.ways.answered = lambda *_: None
    with pytest.raises(AttributeError):
        await wired.serve()
    assert (wired.row.outcome, wired.row.certainty) == ("ok", "metered")
    assert wired.ledger.holds == {}


async def test_a_caller_who_left_before_the_answer_is_booked_as_such():
    wired = Wired(FakeResponse([answer()]))
    (await wired.serve(gone=lambda: True)).after()
    assert (wired.row.outcome, wired.row.certainty) == ("client_left", "metered")


# -- estimates


async def test_considering_changes_nothing():
    wired = Wired()
    seen = await wired.pipeline.consider("chat", WHO, {}, asked())
    assert seen.decision.option.model == "acme/large"
    assert (wired.ledger.holds, wired.upstream.sent, wired.listener.rows) == ({}, [], [])


async def test_a_size_near_a_rules_bound_is_counted_before_the_rule_is_chosen():
    rules = [{"name": "long", "when": {"input_tokens": "> 5000"}}, {"name": "short"}]
    wired = Wired(world=snapshot(rules=rules))
    wired.counter.known = lambda _: None
    for words, rule in ((4_900, "short"), (5_100, "long")):
        text = "to be or not to be that is all " * (words // 9) + "so " * (words % 9)
        seen = await wired.pipeline.consider("chat", WHO, {}, asked(messages=[{"role": "user", "content": text}]))
        assert seen.facts.tokens.exact, "one model only, so it was the rule that was in doubt"
        assert seen.route.plan.rule == rule


async def test_a_size_far_from_any_bound_is_not_counted():
    wired = Wired(world=snapshot(rules=[{"name": "long", "when": {"input_tokens": "> 50k"}}, {"name": "short"}]))
    wired.counter.known = lambda _: None
    seen = await wired.pipeline.consider(
        "chat", WHO, {}, asked(messages=[{"role": "user", "content": "to be " * 2_500}])
    )
    assert (seen.facts.tokens.exact, seen.route.plan.rule) == (False, "short")


async def test_a_canary_goes_by_the_session_then_the_user_then_the_request():
    wired = Wired(world=snapshot(mode="canary 50%"))

    async def live(request_id, headers=None, **fields):
        seen = await wired.pipeline.consider(
            "chat", WHO, headers or {}, asked(model="large", **fields), request_id=request_id
        )
        return seen.route.instead is None

    by_request = {await live(f"r{n}") for n in range(20)}
    by_user = {await live(f"r{n}", user="ann") for n in range(20)}
    by_session = {await live(f"r{n}", {"x-costrouter-session": "s1"}, user=f"u{n}") for n in range(20)}
    assert (len(by_request), len(by_user), len(by_session)) == (2, 1, 1)


@pytest.mark.parametrize(
    ("order", "rule"),
    [({}, "now"), ({"x-costrouter-deadline": "30m"}, "now"), ({"x-costrouter-deadline": "2h"}, "later")],
)
async def test_rules_may_ask_how_much_time_is_left(order, rule):
    wired = Wired(world=snapshot(rules=[{"name": "later", "when": {"deadline": ">= 1h"}}, {"name": "now"}]))
    seen = await wired.pipeline.consider("chat", WHO, order, asked())
    assert seen.route.plan.rule == rule
    hurried = await wired.pipeline.consider("chat", WHO, order, asked(), deadline_ms=1_000)
    assert (hurried.route.plan.rule, hurried.facts.deadline_ms) == ("now", 1_000)


async def test_rules_may_ask_how_full_budgets_are():
    rules = [{"name": "careful", "when": {"budget_used": ">= 80%"}}, {"name": "free"}]
    wired = Wired(world=snapshot(rules=rules))

    async def rule():
        return (await wired.pipeline.consider("chat", WHO, {}, asked())).route.plan.rule

    wired.book.used = 800
    assert await rule() == "free", "there is no budget that it could fall under"
    wired.book.put(generated_budget(WHO.tenant, WHO.key))
    assert await rule() == "careful"
    wired.book.used = 799
    assert await rule() == "free"


# -- what is saved


async def test_a_policy_that_observes_books_what_it_would_have_saved():
    dear, cheap = a_model("acme/dear", prices=[a_price(input="9.00", output="9.00")]), a_model("acme/cheap")
    wired = Wired(FakeResponse([answer()]), world=snapshot(dear, cheap, mode="observe"))
    reply = await wired.serve(model="dear")
    assert wired.row.model == "acme/dear"
    # 9 tokens in and 2 out, at $9 and at $1 and $4 a million.
    assert wired.row.cost_nano - wired.row.would_save_nano == 9 * 1_000 + 2 * 4_000
    assert float(dict(reply.headers)["x-costrouter-could-have-cost-usd"]) > 0


async def test_what_the_providers_cache_saved_is_booked():
    meters = {"prompt_tokens": 2_000, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 1_500}}
    text = "word " * 2_000
    world = snapshot(a_model(prices=[a_price(cached_input="0.10")]))
    wired = Wired(FakeResponse([answer(meters)]), world=world)
    await wired.serve(messages=[{"role": "user", "content": text}])
    assert (wired.row.cached_tokens, wired.row.cache_saved_nano) == (1_500, 1_500 * 900)
    assert wired.row.would_save_nano == 0
