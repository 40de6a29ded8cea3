"""What every ledger promises about limits, asked of the fake and of the real one."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from budgets import a_budget, terms_of
from fakes import FakeClock, FakeLedger
from store import PATIENT_S, Machine, make_hold, make_row, now_ms

from router.adapters.ledger.ledger import RedisLedger
from router.core.budgets.budget import NO_TERMS
from router.core.budgets.limits import Limit, counted, limit_id
from router.ports import BudgetExceeded, LimitReached


@pytest.fixture(params=["fake", "redis"])
async def ledger(request, connection):
    if request.param == "fake":
        yield FakeLedger(FakeClock(now_ms()))
    else:
        ledger = RedisLedger(connection, "w1", Machine(), flush_s=PATIENT_S)
        yield ledger
        await ledger.close()


def a_limit(kind, number, **scope):
    return Limit(limit_id("acme", scope.items(), kind, "minute"), "acme", tuple(scope.items()), kind, number)


REQUESTS, TOKENS, AT_ONCE = a_limit("requests", 2), a_limit("tokens", 1_000), a_limit("concurrency", 2)


def under(*limits, attempt="r1/1", tokens=100, budgets=(), **changes):
    terms = terms_of(*budgets, at_ms=now_ms()) if budgets else NO_TERMS
    return make_hold(attempt, terms=msgspec.structs.replace(terms, limits=limits, **changes), tokens=tokens)


async def admitted(ledger, hold):
    return await ledger.reserve(hold)


async def refused(ledger, hold):
    with pytest.raises(LimitReached) as caught:
        await ledger.reserve(hold)
    return caught.value


async def ends(ledger, hold, at_ms, prompt=0, completion=0, **changes):
    row = make_row(
        hold.attempt, limits=counted(hold, at_ms), prompt_tokens=prompt, completion_tokens=completion, **changes
    )
    ledger.settle(row)
    await ledger.flush()


async def test_requests_are_counted_when_they_are_admitted_and_not_freed_when_they_end(ledger):
    first = under(REQUESTS)
    await ends(ledger, first, await admitted(ledger, first))
    await admitted(ledger, under(REQUESTS, attempt="r2/1"))
    refusal = await refused(ledger, under(REQUESTS, attempt="r3/1"))
    assert (refusal.limit, refusal.current, refusal.amount) == (REQUESTS, 2, 1)
    assert 0 < refusal.wait_ms <= 62_000
    assert ledger.counted(REQUESTS) == 2


async def test_a_refused_request_counts_nowhere(ledger):
    both = (REQUESTS, TOKENS, AT_ONCE)
    for number in range(5):
        await refused(ledger, under(*both, attempt=f"r{number}/1", tokens=1_001))
    await admitted(ledger, under(*both, attempt="r8/1", tokens=1_000))
    assert [ledger.counted(limit) for limit in both] == [1, 1_000, 1]


async def test_a_budget_without_room_counts_nowhere_either(ledger):
    poor = a_budget(0)
    with pytest.raises(BudgetExceeded):
        await ledger.reserve(under(REQUESTS, AT_ONCE, budgets=[poor]))
    await admitted(ledger, under(REQUESTS, AT_ONCE, attempt="r2/1"))
    assert [ledger.counted(REQUESTS), ledger.counted(AT_ONCE)] == [1, 1]


async def test_tokens_are_counted_as_expected_and_then_as_metered(ledger):
    hold = under(TOKENS, tokens=900)
    at_ms = await admitted(ledger, hold)
    assert (await refused(ledger, under(TOKENS, attempt="r2/1", tokens=101))).current == 900
    await ends(ledger, hold, at_ms, prompt=200, completion=50)
    await admitted(ledger, under(TOKENS, attempt="r3/1", tokens=750))
    assert ledger.counted(TOKENS) == 1_000


async def test_an_answer_longer_than_expected_counts_in_full(ledger):
    hold = under(TOKENS, tokens=100)
    await ends(ledger, hold, await admitted(ledger, hold), prompt=100, completion=1_400)
    assert (await refused(ledger, under(TOKENS, attempt="r2/1", tokens=1))).current == 1_500


async def test_what_was_never_sent_is_given_back(ledger):
    hold = under(REQUESTS, TOKENS)
    at_ms = await admitted(ledger, hold)
    await ends(ledger, hold, at_ms, outcome="released", cost_nano=0)
    await admitted(ledger, under(REQUESTS, TOKENS, attempt="r2/1"))
    assert [ledger.counted(REQUESTS), ledger.counted(TOKENS)] == [1, 100]


async def test_attempts_at_a_time_are_freed_as_they_end(ledger):
    first, second = under(AT_ONCE), under(AT_ONCE, attempt="r2/1")
    at_ms = await admitted(ledger, first)
    await admitted(ledger, second)
    assert (await refused(ledger, under(AT_ONCE, attempt="r3/1"))).current == 2
    await ends(ledger, first, at_ms)
    await admitted(ledger, under(AT_ONCE, attempt="r4/1"))


async def test_a_request_that_is_tried_again_counts_once(ledger):
    first = under(REQUESTS, TOKENS)
    await ends(ledger, first, await admitted(ledger, first))
    again = under(REQUESTS, TOKENS, attempt="r1/2", counted=frozenset([REQUESTS.id]))
    await admitted(ledger, again)
    await admitted(ledger, under(REQUESTS, attempt="r2/1"))
    assert ledger.counted(REQUESTS) == 2
    assert counted(again, 0) == (f"{TOKENS.id}~0:100",)


async def test_money_and_attempts_are_held_side_by_side(ledger):
    budget = a_budget(10_000)
    hold = under(AT_ONCE, TOKENS, budgets=[budget])
    at_ms = await admitted(ledger, hold)
    grown = msgspec.structs.replace(hold, amount_nano=hold.amount_nano + 500, grows=True)
    await ledger.reserve(grown)
    assert [ledger.counted(AT_ONCE), ledger.counted(TOKENS)] == [1, 100], "what grows is no further attempt"
    await ends(ledger, hold, at_ms, budgets=hold.budgets, cost_nano=700)
    await admitted(ledger, under(AT_ONCE, attempt="r2/1"))
    assert ledger.counted(AT_ONCE) == 1


async def test_many_at_once_are_admitted_up_to_the_limit_and_not_over_it(ledger):
    limit = a_limit("requests", 37, team="search")
    tries = [ledger.reserve(under(limit, attempt=f"r{number}/1")) for number in range(100)]
    done = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(one, int) for one in done) == 37
    assert sum(isinstance(one, LimitReached) for one in done) == 63


async def test_several_workers_share_a_limit_exactly(connection):
    limit = a_limit("requests", 250)
    workers = [RedisLedger(connection, f"w{number}", Machine(), flush_s=PATIENT_S) for number in range(4)]
    tries = [
        worker.reserve(under(limit, AT_ONCE_WIDE, attempt=f"w{number}r{request}/1"))
        for request in range(100)
        for number, worker in enumerate(workers)
    ]
    done = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(one, int) for one in done) == 250
    for worker in workers:
        await worker.close()


AT_ONCE_WIDE = a_limit("concurrency", 10_000)


async def test_a_hold_that_is_swept_frees_its_place(connection):
    ledger = RedisLedger(connection, "w1", Machine(), flush_s=PATIENT_S)
    for number in (1, 2):
        await ledger.reserve(under(AT_ONCE, attempt=f"r{number}/1"))
    await refused(ledger, under(AT_ONCE, attempt="r3/1"))
    other = RedisLedger(connection, "w2", Machine(), flush_s=PATIENT_S)
    # Whoever books what a lost worker has left ends its holds by name.
    other.settle(make_row("r1/1", certainty="estimated"))
    await other.flush()
    await ledger.reserve(under(AT_ONCE, attempt="r4/1"))
    await refused(ledger, under(AT_ONCE, attempt="r5/1"))
    await ledger.close()
    await other.close()
