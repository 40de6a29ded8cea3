"""Two attempts side by side: who answers, what becomes of the other, and when there is none."""

import asyncio

import pytest
from fakes import FakeResponse
from store import until
from test_forward import PRICES, refuses, three_providers
from wired import EVENTS, SECRET, Wired, answer, ends, says

from router.core.budgets.budget import Budget
from router.core.errors import RouterError
from router.core.forwarding.hedging import Hedge
from router.ports import UpstreamFailure

SOON = Hedge(after_ms=1, share_milli=1000)
NEVER = Hedge(after_ms=3_600_000)
RESET = UpstreamFailure("reset", "broke off", sent=True)


def wired(*script, hedge=SOON, attempts=3, **changes):
    world, providers = three_providers(), tuple(PRICES)
    return Wired(*script, world=world, providers=providers, attempts=attempts, hedge=hedge, **changes)


def slow(*parts, headers=None):
    """A response whose body begins once the event is set."""
    event = asyncio.Event()
    return event, FakeResponse([event, *parts], headers=headers)


def booked(wire):
    return sorted(wire.ledger.rows, key=lambda row: row.attempt)


def ways(wire):
    return [(row.attempt, row.provider, row.outcome, row.certainty) for row in booked(wire)]


async def all_ended(wire):
    async def ended():
        return not wire.forwarder.leaving and not wire.ledger.holds

    await until(ended)


async def test_the_next_candidate_answers_where_the_first_is_slow_and_both_are_booked():
    event, first = slow(answer())
    wire = wired(first, FakeResponse([answer()]))
    reply = await wire.serve()
    assert reply.body == answer()
    assert dict(reply.headers)["x-costrouter-provider"] == "beta"
    assert (dict(reply.headers)["x-costrouter-attempts"], dict(reply.headers)["x-costrouter-hedged"]) == ("2", "true")
    assert [hold.attempt for hold in wire.ledger.reserved] == ["r1/1", "r1/2"]
    assert set(wire.ledger.sent_rows) == {"r1/1"}
    event.set()
    await all_ended(wire)
    assert ways(wire) == [("r1/1", "acme", "outrun", "metered"), ("r1/2", "beta", "ok", "metered")]
    loser, winner = booked(wire)
    assert loser.cost_nano == 9 * 1_000 + 2 * 4_000
    assert (loser.baseline_nano, winner.baseline_nano > 0) == (0, True)


async def test_where_closing_ends_the_bill_the_loser_is_closed_at_once():
    _, first = slow(answer())
    wire = wired(first, FakeResponse([answer()]), bills=False)
    await wire.serve()
    await all_ended(wire)
    assert first.closed
    assert ways(wire) == [("r1/1", "acme", "outrun", "estimated"), ("r1/2", "beta", "ok", "metered")]


async def test_the_first_may_win_although_a_second_has_set_out():
    event, first = slow(answer())
    gate, second = slow(answer())
    wire = wired(first, second)
    serving = asyncio.ensure_future(wire.serve())

    async def both():
        return len(wire.upstream.sent) == 2

    await until(both)
    event.set()
    reply = await serving
    assert (dict(reply.headers)["x-costrouter-provider"], dict(reply.headers)["x-costrouter-attempts"]) == ("acme", "2")
    gate.set()
    await all_ended(wire)
    assert ways(wire) == [("r1/1", "acme", "ok", "metered"), ("r1/2", "beta", "outrun", "metered")]


async def test_a_first_that_is_not_slow_runs_alone():
    wire = wired(FakeResponse([answer()]), hedge=NEVER)
    reply = await wire.serve()
    assert ways(wire) == [("r1/1", "acme", "ok", "metered")]
    assert "x-costrouter-hedged" not in dict(reply.headers)


@pytest.mark.parametrize("fails", [refuses(503), RESET], ids=["refuses", "breaks"])
async def test_a_second_that_fails_leaves_the_request_to_the_first(fails):
    event, first = slow(answer())
    wire = wired(first, fails)
    serving = asyncio.ensure_future(wire.serve())

    async def failed():
        return any(row.provider == "beta" for row in wire.ledger.rows)

    await until(failed)
    event.set()
    assert dict((await serving).headers)["x-costrouter-provider"] == "acme"


async def test_a_first_that_fails_leaves_the_request_to_the_second():
    event, first = slow(RESET)
    gate, second = slow(answer())
    wire = wired(first, second)
    serving = asyncio.ensure_future(wire.serve())

    async def both():
        return len(wire.upstream.sent) == 2

    await until(both)
    event.set()

    async def failed():
        return bool(wire.ledger.rows)

    await until(failed)
    gate.set()
    await serving
    assert ways(wire) == [("r1/1", "acme", "upstream_interrupted", "estimated"), ("r1/2", "beta", "ok", "metered")]


async def test_where_both_have_failed_the_next_follows_within_the_bound():
    event, first = slow(RESET)
    wire = wired(first, refuses(503), FakeResponse([answer()]))
    serving = asyncio.ensure_future(wire.serve())

    async def failed():
        return bool(wire.ledger.rows)

    await until(failed)
    event.set()
    reply = await serving
    assert (dict(reply.headers)["x-costrouter-provider"], dict(reply.headers)["x-costrouter-attempts"]) == (
        "gamma",
        "3",
    )
    assert [row.attempt for row in booked(wire)] == ["r1/1", "r1/2", "r1/3"]


async def test_both_count_against_the_bound_of_attempts():
    event, first = slow(RESET)
    wire = wired(first, refuses(503), attempts=2)
    serving = asyncio.ensure_future(wire.serve())

    async def failed():
        return bool(wire.ledger.rows)

    await until(failed)
    event.set()
    with pytest.raises(RouterError) as caught:
        await serving
    assert (caught.value.code, caught.value.attempts) == ("upstream_interrupted", 2)
    assert len(wire.upstream.sent) == 2


async def alone(wire, event, **fields):
    """Serve while the first is slow for longer than the rule says; nobody may be sent beside it."""
    serving = asyncio.ensure_future(wire.serve(**fields))

    async def one():
        return bool(wire.upstream.sent)

    await until(one)
    await asyncio.sleep(0.01)  # ten times the rule's delay
    assert len(wire.upstream.sent) == 1
    event.set()
    await serving
    assert [row.attempt for row in wire.ledger.rows] == ["r1/1"]


async def test_no_second_sets_out_for_a_caller_who_tries_again_by_themselves():
    event, first = slow(answer())
    headers = {"authorization": f"Bearer {SECRET}", "x-stainless-retry-count": "1"}
    await alone(wired(first), event, headers=headers)


async def test_nor_for_one_who_has_hung_up():
    event, first = slow(answer())
    await alone(wired(first), event, gone=lambda: True)


async def test_nor_where_no_attempt_is_left():
    event, first = slow(answer())
    await alone(wired(first, attempts=1), event)


async def test_nor_where_nobody_else_can_serve():
    event, first = slow(answer())
    wire = wired(first)
    wire.ways.away |= {"beta": 1_000, "gamma": 1_000}
    await alone(wire, event)


async def test_nor_where_a_budget_has_room_for_one_only():
    event, first = slow(answer())
    wire = wired(first)
    budget = Budget("b1", "acme-inc", (("team", "search"),), 40_000_000, "day")
    wire.book.put(budget)
    await alone(wire, event)


async def test_of_many_slow_requests_only_the_rules_share_is_sent_twice():
    events, script = [], []
    for _ in range(11):
        event, response = slow(answer())
        events.append(event)
        script.append(response)
    wire = wired(*script, hedge=Hedge(after_ms=1, share_milli=50))
    serving = [asyncio.ensure_future(wire.serve(request_id=f"r{n}")) for n in range(10)]

    async def eleven():
        return len(wire.upstream.sent) == 11

    await until(eleven)
    await asyncio.sleep(0.01)
    assert len(wire.upstream.sent) == 11
    for event in events:
        event.set()
    await asyncio.gather(*serving)


async def test_a_stream_is_won_by_whose_first_part_is_there_first_and_the_other_read_to_its_meters():
    event, first = slow(says("slow"), ends(completion_tokens=3, total_tokens=12), headers=EVENTS)
    wire = wired(first, FakeResponse([says("quick"), ends()], headers=EVENTS))
    part, stream = await wire.stream()
    text = part
    while part := await stream.next_part():
        text += part
    assert b"quick" in text
    assert b"slow" not in text
    event.set()
    await all_ended(wire)
    assert ways(wire) == [("r1/1", "acme", "outrun", "metered"), ("r1/2", "beta", "ok", "metered")]
    assert booked(wire)[0].completion_tokens == 3


async def test_a_node_that_stops_books_both_and_leaves_nothing_running():
    _, first = slow(answer())
    _, second = slow(answer())
    wire = wired(first, second)
    serving = asyncio.ensure_future(wire.serve())

    async def both():
        return len(wire.ledger.sent_rows) == 2

    await until(both)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert [row.outcome for row in wire.ledger.rows] == ["node_stopped", "node_stopped"]
    assert (wire.ledger.holds, wire.ledger.sent_rows) == ({}, {})


async def test_what_is_still_read_when_the_worker_ends_is_booked_as_it_stands():
    _, first = slow(answer())
    wire = wired(first, FakeResponse([answer()]))
    await wire.serve()
    await wire.pipeline.close(0)
    assert ways(wire) == [("r1/1", "acme", "outrun", "estimated"), ("r1/2", "beta", "ok", "metered")]
    assert wire.ledger.holds == {}
