"""Reservations while the store is away for a moment: they wait, are held once, and leave nothing behind if it was too long."""

from __future__ import annotations

import asyncio

import pytest
from store import Machine, connect, frozen, kill, make_hold, now_ms, stored_holds, until

from router.adapters.ledger import ledger as redis_ledger
from router.adapters.ledger.ledger import RedisLedger
from router.adapters.store.patient import Patient
from router.ports import NotHeld, StoreUnavailable

LONG_S = 20.0


def soon(ms=1_000):
    return now_ms() + ms


@pytest.fixture
async def away(own_store, monkeypatch):
    """Connects to the test's own store; gives a maker of patient ledgers."""
    monkeypatch.setattr(redis_ledger, "_LATE_S", 0.02)
    made = []

    async def make(wait_s=LONG_S):
        connection = await connect(own_store.start(), timeout_s=0.25)
        made.append((RedisLedger(connection, "w1", Machine(), wait_s=wait_s), connection))
        return made[-1]

    yield make
    for ledger, connection in made:
        await ledger.close()
        await connection.close()


async def test_who_asks_while_the_store_restarts_is_admitted_once_it_is_there(own_store, away):
    ledger, connection = await away()
    kill(own_store)
    await until(lambda: not connection.up)
    waiting = [asyncio.ensure_future(ledger.reserve(make_hold(f"r{number}/1"))) for number in range(3)]
    await asyncio.sleep(0)
    own_store.start()
    assert len(set(await asyncio.gather(*waiting))) == 1, "they go in one call"
    assert sorted(await stored_holds(connection)) == ["r0/1", "r1/1", "r2/1"]


async def test_who_has_waited_long_enough_is_refused_with_the_reason(own_store, away):
    ledger, connection = await away(wait_s=0.1)
    kill(own_store)
    await until(lambda: not connection.up)
    first = asyncio.ensure_future(ledger.reserve(make_hold("r1/1")))
    await asyncio.sleep(0.05)
    second = asyncio.ensure_future(ledger.reserve(make_hold("r2/1")))
    for one in (first, second):
        with pytest.raises(StoreUnavailable, match="no connection to the store"):
            await one
    own_store.start()
    await until(lambda: connection.up)
    assert await stored_holds(connection) == {}


async def test_what_was_under_way_as_the_connection_broke_is_asked_for_again_and_held_once(own_store, away):
    ledger, connection = await away()
    with frozen(own_store):
        waiting = asyncio.ensure_future(ledger.reserve(make_hold("r1/1", not_after_ms=soon())))
        await until(lambda: not connection.up)
    assert await waiting
    assert list(await stored_holds(connection)) == ["r1/1"]


@pytest.mark.parametrize("leaves", [False, True], ids=["refused in the end", "caller has gone"])
async def test_what_may_lie_in_the_store_and_is_not_wanted_any_more_is_freed(own_store, away, leaves):
    ledger, connection = await away(wait_s=LONG_S if leaves else 0.3)
    await ledger.reserve(make_hold("r0/1"))
    with frozen(own_store):
        waiting = asyncio.ensure_future(ledger.reserve(make_hold("r1/1", not_after_ms=soon())))
        await until(lambda: not connection.up)
        if leaves:
            waiting.cancel()
        with pytest.raises(asyncio.CancelledError if leaves else StoreUnavailable):
            await waiting
    await until(lambda: connection.up)
    assert sorted(await stored_holds(connection)) == ["r0/1", "r1/1"], "what woke up has still heard of it"

    async def freed():
        return list(await stored_holds(connection)) == ["r0/1"]

    await until(freed)


async def test_a_running_stream_that_should_grow_does_not_wait(own_store, away):
    ledger, connection = await away()
    kill(own_store)
    await until(lambda: not connection.up)
    with pytest.raises(StoreUnavailable):
        await ledger.reserve(make_hold("r1/1", grows=True))
    own_store.start()
    await until(lambda: connection.up)
    with frozen(own_store), pytest.raises(StoreUnavailable, match="did not answer"):
        await ledger.reserve(make_hold("r1/1", grows=True))
    await until(lambda: connection.up)
    with pytest.raises(NotHeld):
        await ledger.reserve(make_hold("r1/1", grows=True))


async def test_a_store_that_is_there_and_refuses_is_not_waited_for(away):
    ledger, connection = await away()
    await connection.call("CONFIG", "SET", "maxmemory", 1)
    with pytest.raises(StoreUnavailable, match="OOM"):
        await ledger.reserve(make_hold("r1/1"))
    await connection.call("CONFIG", "SET", "maxmemory", 0)


async def test_what_still_waits_as_the_worker_ends_is_refused(own_store, away):
    ledger, connection = await away()
    kill(own_store)
    await until(lambda: not connection.up)
    waiting = asyncio.ensure_future(ledger.reserve(make_hold("r1/1")))
    await asyncio.sleep(0)
    await ledger.close()
    with pytest.raises(StoreUnavailable):
        await waiting
    connection.on_connect.append(ledger._reconnected)  # as the fixture closes it once more


async def test_what_is_read_waits_as_well_and_no_longer_than_it_may(own_store, away):
    _, connection = await away()
    patient, hasty = Patient(connection, LONG_S), Patient(connection, 0.05)
    assert await patient("GET", "a") is None
    kill(own_store)
    await until(lambda: not connection.up)
    waiting = asyncio.ensure_future(patient("GET", "a"))
    with pytest.raises(StoreUnavailable, match="no connection"):
        await hasty("GET", "a")
    own_store.start()
    assert await waiting is None
    with pytest.raises(StoreUnavailable, match="wrong number"):
        await patient("GET")
