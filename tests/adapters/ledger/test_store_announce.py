"""What runs is held again by a store that comes back without its last moments."""

from __future__ import annotations

import msgspec
from budgets import a_budget, stored_counts, terms_of
from store import PATIENT_S, Machine, make_hold, make_row, now_ms, stored_holds, until

from router.adapters.ledger import ledger as redis_ledger
from router.adapters.ledger.ledger import RedisLedger
from router.adapters.store.layout import budget_key


async def test_holds_of_attempts_under_way_are_told_again_as_they_have_grown(connection):
    ledger = RedisLedger(connection, "w1", Machine(), flush_s=PATIENT_S)
    rolling = a_budget(rolling=True, period="minute", mode="statistical")
    terms = terms_of(a_budget(mode="statistical"), rolling, at_ms=now_ms())
    running = make_hold("r1/1", amount_nano=400, terms=terms)
    refused = make_hold("r2/1", amount_nano=500, terms=terms)
    for hold in (running, refused):
        await ledger.reserve(hold)
    ledger.sent(make_row("r1/1", budgets=running.budgets))
    await ledger.reserve(msgspec.structs.replace(running, amount_nano=700, grows=True))

    await connection.call("FLUSHALL")
    ledger._reconnected()
    await until(lambda: stored_holds(connection))

    assert [text.split(":")[0] for text in (await stored_holds(connection)).values()] == ["700"]
    assert [await stored_counts(connection, name) for name in running.budgets] == [(None, 700), (None, 700)]
    ledger._reconnected()
    ledger.settle(make_row("r1/1", cost_nano=650, budgets=running.budgets))
    await ledger.flush()
    assert await stored_holds(connection) == {}
    assert [await stored_counts(connection, name) for name in running.budgets] == [(650, 0), (650, 0)]
    await ledger.close()


async def test_what_a_batch_frees_twice_is_freed_once(connection):
    ledger = RedisLedger(connection, "w1", Machine(), flush_s=PATIENT_S)
    terms = terms_of(a_budget(), at_ms=now_ms())
    running, other = (make_hold(name, amount_nano=400, terms=terms) for name in ("r1/1", "r2/1"))
    for hold in (running, other):
        await ledger.reserve(hold)
        ledger.sent(make_row(hold.attempt, budgets=hold.budgets))
    # Announced twice to a store that went away twice, and ended before it came back for good.
    lane = ledger._lane("acme")[1]
    ledger.settle(make_row("r1/1", cost_nano=300, budgets=running.budgets))
    lane.ends += ["r1/1", "r1/1"]
    ledger._waiting += 2
    await ledger.flush()
    assert await stored_counts(connection, *running.budgets) == (300, 400)
    await ledger.close()


async def test_an_attempt_that_is_told_twice_in_one_call_is_held_once(connection):
    ledger = RedisLedger(connection, "w1", Machine(), flush_s=PATIENT_S)
    terms = terms_of(a_budget(), at_ms=now_ms())
    holds = [make_hold(f"r{number}/1", amount_nano=100, terms=terms) for number in range(8)]
    for hold in holds:
        await ledger.reserve(hold)
        ledger.sent(make_row(hold.attempt, budgets=hold.budgets))
    await connection.call("FLUSHALL")
    for _ in range(3):  # a cluster tells of every node that comes back
        ledger._reconnected()
    await until(lambda: ledger._lane("acme")[0]._flying == 0)
    assert await stored_counts(connection, *holds[0].budgets) == (None, 800)
    await ledger.close()


async def test_what_ends_before_it_is_told_again_is_freed_all_the_same(connection, monkeypatch):
    monkeypatch.setattr(redis_ledger, "_LATE_S", 0.05)
    monkeypatch.setattr(redis_ledger, "ANNOUNCED_MS", 50)
    ledger = RedisLedger(connection, "w1", Machine(), flush_s=PATIENT_S)
    terms = terms_of(a_budget(), at_ms=now_ms())
    hold = make_hold("r1/1", amount_nano=400, terms=terms)
    await ledger.reserve(hold)
    ledger.sent(make_row("r1/1", budgets=hold.budgets))
    ledger._lane("acme")[0]._last = 99  # busy, so that what is told waits a turn
    ledger._reconnected()
    ledger.settle(make_row("r1/1", cost_nano=300, budgets=hold.budgets))
    ledger._push_gathered()
    await until(lambda: stored_counts_are(connection, hold, (300, 0)))
    await until(lambda: no_holds(connection))
    await ledger.close()
    assert await stored_counts(connection, *hold.budgets) == (300, 0)


async def stored_counts_are(connection, hold, wanted):
    return await stored_counts(connection, *hold.budgets) == wanted


async def no_holds(connection):
    return not await stored_holds(connection)


async def test_a_rolling_counter_outlives_what_runs_in_it(connection):
    ledger = RedisLedger(connection, "w1", Machine(), flush_s=PATIENT_S)
    terms = terms_of(a_budget(rolling=True, period="minute"), at_ms=now_ms())
    hold = make_hold("r1/1", amount_nano=400, terms=terms)
    await ledger.reserve(hold)
    (name,) = hold.budgets
    left_ms = await connection.call("PTTL", budget_key("cr:{acme}:", name))
    # A provider may take ten minutes and a drain one more; a counter that is made anew meanwhile would be freed of money
    # that it does not hold, and let others pass.
    assert left_ms > 3_600_000
    ledger.settle(make_row("r1/1", outcome="released", cost_nano=0, cost_pico=0))
    await ledger.close()
