"""What runs is held again by a store that comes back without its last moments."""

from __future__ import annotations

import msgspec
from budgets import a_budget, stored_counts, terms_of
from store import PATIENT_S, Machine, make_hold, make_row, now_ms, stored_holds, until

from router.adapters.redis_ledger import RedisLedger


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
