"""Attempts of one request: which follow a failure, what each leaves behind, and what the caller hears at the end."""

import asyncio

import pytest
from catalogs import NOW, a_model, a_policy, a_price, compiled
from fakes import FakeBook, FakeResponse
from store import until
from wired import EVENTS, SECRET, Wired, answer, ends, event, says

from router.core.budgets.budget import Budget
from router.core.catalog.catalog import Catalog
from router.core.deciding.snapshot import World, compile_snapshot
from router.core.errors import RouterError
from router.core.names import Names
from router.core.policy.compile import compile_policy
from router.core.policy.schema import PolicySchema
from router.core.schema import validate
from router.forward import SETTLING_S
from router.ports import BudgetExceeded, UpstreamFailure

PRICES = {"acme": "1.00", "beta": "2.00", "gamma": "3.00"}


def three_providers():
    """The same model at three providers, each dearer than the one before."""
    made = [
        compiled(a_model("acme/large", prices=[a_price(input=rate)]), provider=name, key_env=f"{name.upper()}_KEY")
        for name, rate in PRICES.items()
    ]
    catalog = Catalog([one.provider for one in made], [model for one in made for model in one.models])
    document = a_policy(policy="default", candidates={"include": ["*"]})
    policy = compile_policy(validate(PolicySchema, document), catalog, NOW).policy
    return compile_snapshot("w1-1", World(catalog, {"default": policy}, Names(catalog), frozenset(PRICES)), NOW, {}.get)


def wired(*script, **bounds):
    return Wired(*script, world=three_providers(), providers=tuple(PRICES), **{"attempts": 3, **bounds})


def refuses(status, words="no", **headers):
    return FakeResponse([b'{"error":{"message":"%s"}}' % words.encode()], status=status, headers=headers)


async def failed(wired, **fields):
    with pytest.raises(RouterError) as caught:
        await wired.serve(**fields)
    return caught.value


def ways(wired):
    """(attempt, provider, outcome, status) of each row."""
    return [(row.attempt, row.provider, row.outcome, row.status) for row in wired.ledger.rows]


async def test_overload_fails_over_at_once_to_the_next_cheapest_at_its_own_price():
    wire = wired(refuses(529), FakeResponse([answer()]))
    reply = await wire.serve()
    assert ways(wire) == [("r1/1", "acme", "upstream_error", 529), ("r1/2", "beta", "ok", 200)]
    assert wire.pauses == []
    first, second = wire.ledger.rows
    assert first.cost_nano == 0
    assert second.cost_nano == 9 * 2_000 + 2 * 4_000
    assert ("x-costrouter-attempts", "2") in reply.headers
    assert ("x-costrouter-provider", "beta") in reply.headers


async def test_every_attempt_is_held_and_written_down_by_itself():
    wire = wired(refuses(503), refuses(498), FakeResponse([answer()]))
    await wire.serve()
    assert [hold.attempt for hold in wire.ledger.reserved] == ["r1/1", "r1/2", "r1/3"]
    amounts = [hold.amount_nano for hold in wire.ledger.reserved]
    assert amounts == sorted(amounts)
    assert (wire.ledger.holds, wire.ledger.sent_rows) == ({}, {})


async def test_a_passing_fault_is_tried_again_at_the_same_provider_after_a_pause():
    wire = wired(refuses(500), FakeResponse([answer()]))
    await wire.serve()
    assert [way[:2] for way in ways(wire)] == [("r1/1", "acme"), ("r1/2", "acme")]
    assert wire.pauses == [0.125]


async def test_a_second_fault_in_a_row_goes_elsewhere():
    wire = wired(refuses(500), refuses(502), FakeResponse([answer()]))
    await wire.serve()
    assert [way[1] for way in ways(wire)] == ["acme", "acme", "beta"]


async def test_a_refused_connection_costs_nothing_and_the_next_one_serves():
    wire = wired(UpstreamFailure("connect", "acme refuses connections", sent=False), FakeResponse([answer()]))
    await wire.serve()
    assert ways(wire) == [("r1/2", "beta", "ok", 200)]


@pytest.mark.parametrize("status", [400, 402, 413, 422])
async def test_nothing_follows_a_refusal_of_the_request_or_an_empty_account(status):
    wire = wired(refuses(status), FakeResponse([answer()]))
    error = await failed(wire)
    assert error.attempts == 1
    assert len(wire.upstream.sent) == 1


async def test_when_all_have_failed_the_caller_gets_the_last_error_and_the_count():
    wire = wired(refuses(529), refuses(503), refuses(429, **{"retry-after": "90"}))
    error = await failed(wire)
    assert (error.code, error.attempts, error.retry_after_s, error.retryable) == ("rate_limited", 3, 90, True)
    assert [way[1] for way in ways(wire)] == ["acme", "beta", "gamma"]


AGAIN = {"authorization": f"Bearer {SECRET}", "x-stainless-retry-count": "1"}


async def test_what_an_sdk_sends_once_more_is_tried_once_elsewhere_and_no_more():
    wire = wired(refuses(500), FakeResponse([answer()]))
    await wire.serve(headers=AGAIN)
    assert [way[:2] for way in ways(wire)] == [("r1/1", "acme"), ("r1/2", "beta")]
    assert wire.pauses == []
    wire = wired(refuses(529), refuses(529), FakeResponse([answer()]))
    assert (await failed(wire, headers=AGAIN)).attempts == 2
    wire = wired(refuses(529), refuses(529), FakeResponse([answer()]))
    await wire.serve(headers=AGAIN | {"x-stainless-retry-count": "0"})


async def test_what_an_sdk_sends_once_more_is_tried_at_another_provider_than_before():
    wire = Wired(
        refuses(503), FakeResponse([answer()]), world=four_models_of_two(), providers=("acme", "beta"), attempts=3
    )
    await wire.serve(headers=AGAIN)
    assert [row.model for row in wire.ledger.rows] == ["acme/m1", "beta/b"]


async def test_where_nobody_else_serves_an_sdk_that_comes_back_by_itself_is_not_waited_for():
    wire = Wired(refuses(429, **{"retry-after-ms": "700"}), FakeResponse([answer()]), attempts=2)
    assert (await failed(wire, headers=AGAIN)).attempts == 1
    assert wire.pauses == []


async def test_a_rate_limit_is_waited_for_where_nobody_else_serves():
    wire = Wired(refuses(429, **{"retry-after-ms": "700"}), FakeResponse([answer()]), attempts=2)
    await wire.serve()
    assert wire.pauses == [pytest.approx(0.735)]
    assert [way[1] for way in ways(wire)] == ["acme", "acme"]


async def test_a_caller_who_has_gone_is_tried_for_no_more():
    wire = wired(refuses(529))
    assert (await failed(wire, gone=lambda: True)).attempts == 1


async def test_a_caller_who_goes_during_the_pause_is_tried_for_no_more():
    wire = wired(refuses(500))
    assert (await failed(wire, gone=lambda: bool(wire.pauses))).attempts == 1


async def test_a_stream_that_breaks_before_its_first_part_begins_anew_elsewhere():
    early = FakeResponse([UpstreamFailure("timeout", "acme is silent", sent=True)], headers=EVENTS)
    wire = wired(early, FakeResponse([says("Hi"), ends()], headers=EVENTS))
    text = await wire.whole_stream()
    assert b"Hi" in text
    assert ways(wire) == [("r1/1", "acme", "upstream_interrupted", 200), ("r1/2", "beta", "ok", 200)]
    assert early.closed


async def test_an_error_in_a_stream_before_any_text_is_tried_again():
    words = event({"error": {"message": "Overloaded", "type": "server_error"}})
    wire = wired(FakeResponse([words], headers=EVENTS), FakeResponse([says("Hi"), ends()], headers=EVENTS))
    assert b"Overloaded" not in await wire.whole_stream()
    assert [way[:3] for way in ways(wire)] == [("r1/1", "acme", "upstream_error"), ("r1/2", "acme", "ok")]


async def test_nothing_is_tried_again_after_the_first_part():
    broken = FakeResponse([says("Hi"), UpstreamFailure("reset", "acme broke off", sent=True)], headers=EVENTS)
    wire = wired(broken, FakeResponse([answer()]))
    text = await wire.whole_stream()
    assert b"Hi" in text
    assert b"upstream_interrupted" in text
    assert len(wire.upstream.sent) == 1


async def test_all_attempts_together_have_one_total():
    wire = wired(refuses(500), FakeResponse([answer()]), total_ms=10_000)
    await wire.serve()
    first, second = (sent.timeouts for sent in wire.upstream.sent)
    assert (first.total, first.first_byte) == (10, 10)
    assert (second.total, second.first_byte) == (9.875, 9.875)


async def test_a_policy_may_bound_each_step_of_an_exchange():
    wire = wired(
        FakeResponse([says("Hi"), ends()], headers=EVENTS), connect_ms=100, first_byte_ms=200, between_chunks_ms=300
    )
    await wire.whole_stream()
    (sent,) = wire.upstream.sent
    assert (sent.timeouts.connect, sent.timeouts.first_byte, sent.timeouts.between_chunks) == (0.1, 0.2, 0.3)


async def test_a_fallback_that_no_budget_has_room_for_ends_in_the_upstreams_error():
    wire = wired(refuses(529), FakeResponse([answer()]))
    wire.book = FakeBook()
    scope = (("provider", "beta"),)
    budgets = [Budget("b", "acme-inc", scope, 0, "day"), Budget("c", "acme-inc", (("provider", "gamma"),), 0, "day")]
    wire.forwarder._desk.budgets.put(*budgets)
    error = await failed(wire)
    assert (error.code, error.attempts) == ("upstream_unavailable", 1)
    assert wire.ledger.holds == {}


async def test_the_failed_attempts_own_hold_does_not_stand_in_the_way():
    wire = wired(refuses(529), FakeResponse([answer()]))
    reserve, asked = wire.ledger.reserve, []
    (term,) = (
        FakeBook(Budget("b", "acme-inc", (), 10**8, "day")).terms("acme-inc", ("", "", "", "", "", "", ()), 0).terms
    )

    def full_at_first(hold):
        asked.append(hold.attempt)
        if asked == ["r1/1", "r1/2"]:
            result = asyncio.get_running_loop().create_future()
            result.set_exception(BudgetExceeded(term, 0, 10**8, 1))
            return result
        return reserve(hold)

    wire.ledger.reserve = full_at_first
    await wire.serve()
    assert asked == ["r1/1", "r1/2", "r1/2"]
    assert wire.pauses == [SETTLING_S]
    assert [way[1] for way in ways(wire)] == ["acme", "beta"]


async def test_a_cancelled_pause_leaves_nothing_held():
    wire = wired(refuses(500))
    never = asyncio.Event()
    wire.forwarder._pause = lambda _: never.wait()
    serving = asyncio.create_task(wire.serve())
    await until(lambda: wire.ledger.rows)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert wire.ledger.holds == {}
    assert len(wire.ledger.rows) == 1


# -- ways that may not be used


async def test_a_provider_that_is_about_to_refuse_is_not_asked():
    wire = wired(FakeResponse([answer()]))
    wire.ways.away = {"acme": 1_000}
    reply = await wire.serve()
    assert ("x-costrouter-attempts", "1") in reply.headers
    assert [way[1] for way in ways(wire)] == ["beta"]


async def test_where_no_provider_may_be_asked_the_caller_hears_when_to_come_back():
    wire = wired()
    wire.ways.away = dict.fromkeys(PRICES, 2_500)
    error = await failed(wire)
    assert (error.code, error.retry_after_s, error.retryable) == ("upstream_unavailable", 2.5, True)
    assert (wire.ledger.holds, wire.upstream.sent) == ({}, [])


async def test_ways_hear_of_every_answer_and_every_end():
    wire = wired(
        refuses(529, **{"x-ratelimit-remaining-requests": "0"}),
        UpstreamFailure("connect", "beta refuses connections", sent=False),
        FakeResponse([answer()]),
    )
    await wire.serve()
    assert wire.ways.heard == [
        ("acme", "answered", "0"),
        ("acme", "upstream_error", "upstream_unavailable"),
        ("beta", "released", "upstream_unreachable"),
        ("gamma", "answered", ""),
        ("gamma", "ok", ""),
    ]


async def test_a_probe_that_meets_an_empty_account_does_not_cost_its_caller_the_answer():
    wire = wired(refuses(402), FakeResponse([answer()]))
    wire.ways.probes = {"acme"}
    await wire.serve()
    assert [way[1] for way in ways(wire)] == ["acme", "beta"]


async def test_an_empty_account_is_told_with_the_advice_to_try_again_where_another_serves():
    assert (await failed(wired(refuses(402)))).retryable
    assert not (await failed(Wired(refuses(402)))).retryable


async def test_what_a_snapshot_has_shut_is_decided_around():
    wire = wired(FakeResponse([answer()]))
    wire.pipeline.snapshot = three_providers().shutting("w1-2", {("acme", "acme/large"): "circuit breaker is open"})
    await wire.serve()
    assert [(row.provider, row.snapshot) for row in wire.ledger.rows] == [("beta", "w1-2")]


async def test_when_everything_is_shut_the_caller_hears_why():
    wire = wired()
    shut = {(name, ""): "circuit breaker is open (5 faults in a row)" for name in PRICES}
    wire.pipeline.snapshot = three_providers().shutting("w1-2", shut)
    wire.ways.away = dict.fromkeys(PRICES, 1_500)
    error = await failed(wire)
    assert (error.code, error.status, error.retry_after_s) == ("upstream_unavailable", 503, 1.5)
    assert "acme/large at acme circuit breaker is open (5 faults in a row), and nothing else" in error.message


async def test_what_could_not_serve_anyway_is_refused_as_ever():
    wire = wired()
    wire.pipeline.snapshot = three_providers().shutting("w1-2", {("acme", ""): "circuit breaker is open"})
    error = await failed(wire, max_completion_tokens=9_000)
    assert error.code == "no_feasible_model"
    assert "circuit breaker is open" in error.message


async def test_a_fault_that_is_not_the_first_in_a_row_goes_on_elsewhere_at_once():
    wire = wired(refuses(500), FakeResponse([answer()]))
    wire.ways.faulty = {"acme"}
    await wire.serve()
    assert [way[:2] for way in ways(wire)] == [("r1/1", "acme"), ("r1/2", "beta")]
    assert wire.pauses == []


async def test_what_an_sdk_tries_again_goes_where_attempts_do_not_keep_failing():
    for faulty, provider in (({"acme"}, "beta"), ({"acme", "beta", "gamma"}, "gamma"), (set(), "acme")):
        wire = wired(FakeResponse([answer()]))
        wire.ways.faulty = faulty
        await wire.serve(headers=AGAIN)
        assert wire.row.provider == provider
    wire = wired(FakeResponse([answer()]))
    wire.ways.faulty = {"acme"}
    await wire.serve()
    assert wire.row.provider == "acme", "the first try is where it is cheapest"


def four_models_of_two():
    """Three models at acme, and a dearer one at beta."""
    models = [a_model(f"acme/m{number}", prices=[a_price(input=f"{number}.00")]) for number in (1, 2, 3)]
    made = compiled(*models), compiled(a_model("beta/b", prices=[a_price(input="9.00")]), provider="beta")
    catalog = Catalog([one.provider for one in made], [model for one in made for model in one.models])
    document = a_policy(policy="default", candidates={"include": ["*"]})
    policy = compile_policy(validate(PolicySchema, document), catalog, NOW).policy
    offered = frozenset(["acme", "beta"])
    return compile_snapshot("w1-1", World(catalog, {"default": policy}, Names(catalog), offered), NOW, {}.get)


async def models_tried(attempts):
    wire = Wired(
        refuses(503), refuses(503), FakeResponse([answer()]), world=four_models_of_two(), providers=("acme", "beta"),
        attempts=attempts,
    )  # fmt: skip
    await (failed(wire) if attempts < 3 else wire.serve())
    return [row.model for row in wire.ledger.rows]


async def test_what_ails_two_models_of_a_provider_is_not_looked_for_in_a_third():
    assert await models_tried(4) == ["acme/m1", "acme/m2", "beta/b"]


async def test_the_last_attempt_is_somebody_elses():
    assert await models_tried(3) == ["acme/m1", "acme/m2", "beta/b"]
    assert await models_tried(2) == ["acme/m1", "beta/b"]


async def test_where_there_is_nobody_else_the_same_provider_is_as_good_as_none():
    wire = Wired(refuses(503), FakeResponse([answer()]), world=four_models_of_two(), attempts=2)
    wire.ways.away = {"beta": 1_000}
    await wire.serve()
    assert [row.model for row in wire.ledger.rows] == ["acme/m1", "acme/m2"]
