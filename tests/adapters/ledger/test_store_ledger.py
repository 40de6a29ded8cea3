from __future__ import annotations

import asyncio
import re
import shutil
from collections import Counter

import pytest
from store import (
    PATIENT_S,
    Machine,
    connect,
    frozen,
    kill,
    make_hold,
    make_row,
    now_ms,
    script_calls,
    stored_holds,
    stored_rows,
    until,
)

from router.adapters.ledger import ledger as redis_ledger
from router.adapters.ledger import settle as ledger_settle
from router.adapters.ledger.ledger import RedisLedger
from router.adapters.ledger.reserve import FLIGHTS
from router.adapters.reports.spend import spend, tenants
from router.ports import StoreUnavailable

HOUR = 1_800_000_000_000 // 3_600_000


def ledger_over(connection, worker="w1", **options):
    return RedisLedger(connection, worker, Machine(), **{"flush_s": PATIENT_S, **options})


@pytest.fixture
async def ledger(connection):
    ledger = ledger_over(connection)
    yield ledger
    await ledger.close()


async def settled(ledger, *rows):
    for row in rows:
        ledger.settle(row)
    await ledger.flush()


async def everything(connection):
    """Key to dump, of the whole store."""
    keys = sorted(await connection.call("KEYS", "*"))
    return {key: await connection.call("DUMP", key) for key in keys}


# Grouping.


async def test_calls_whose_script_the_store_forgot_are_told_apart(connection, ledger):
    await connection.call("SCRIPT", "FLUSH")
    late = ledger.reserve(make_hold("r0/1", not_after_ms=now_ms() - 1_000))
    others = [ledger.reserve(make_hold(f"r{number}/1")) for number in range(1, 12)]
    assert "r0/1" in str((await asyncio.gather(late, return_exceptions=True))[0])
    await asyncio.gather(*others)
    assert len(await stored_holds(connection)) == 11
    await settled(ledger, make_row())


async def test_the_first_of_a_turn_go_at_once_and_the_others_in_one_call(connection, ledger):
    await ledger.reserve(make_hold("r/1"))
    await connection.call("CONFIG", "RESETSTAT")
    times = await asyncio.gather(*[ledger.reserve(make_hold(f"r{n}/1")) for n in range(199)])
    assert len(set(times[FLIGHTS:])) == 1
    assert await script_calls(connection) == FLIGHTS + 1
    assert len(await stored_holds(connection)) == 200


async def test_while_a_call_flies_the_next_gathers_whatever_comes(own_store):
    connection = await connect(own_store.start())
    ledger = ledger_over(connection)
    await ledger.reserve(make_hold("r0/1"))
    await connection.call("CONFIG", "RESETSTAT")
    with frozen(own_store):
        asked = []
        for number in range(1, 30):
            asked.append(asyncio.ensure_future(ledger.reserve(make_hold(f"r{number}/1"))))
            await asyncio.sleep(0.001)
    await asyncio.gather(*asked)
    assert await script_calls(connection) == FLIGHTS + 1
    assert len(await stored_holds(connection)) == 30
    await ledger.close()
    await connection.close()


async def test_in_a_group_each_hold_is_judged_by_itself(connection, ledger):
    late = now_ms() - 1_000
    holds = [make_hold("r1/1"), make_hold("r2/1", not_after_ms=late), make_hold("r3/1", amount_nano=2**53)]
    alone = ledger.reserve(make_hold("r0/1"))
    first, second, third = await asyncio.gather(*map(ledger.reserve, holds), return_exceptions=True)
    at = await alone
    assert re.fullmatch(r"the reservation of r2/1 reached the store \d+ ms too late", str(second))
    assert await stored_holds(connection) == {
        "r0/1": f"1000:{at}:w1",
        "r1/1": f"1000:{first}:w1",
        "r3/1": f"{2**53}:{third}:w1",
    }


async def test_rows_gather_for_a_moment_and_go_together(connection, ledger):
    await ledger.reserve(make_hold())
    await connection.call("CONFIG", "RESETSTAT")
    for number in range(10):
        ledger.settle(make_row(f"r{number}/1"))
        await asyncio.sleep(0)
    await until(lambda: ledger.waiting == 0)
    assert await script_calls(connection) == 1
    assert len(await stored_rows(connection)) == 10


async def test_64_rows_do_not_wait_for_the_moment_to_pass(connection, ledger, monkeypatch):
    monkeypatch.setattr(redis_ledger, "GATHER_S", 1_000)
    for number in range(64):
        assert await stored_rows(connection) == []
        ledger.settle(make_row(f"r{number}/1"))
    await until(lambda: ledger.waiting == 0)
    assert len(await stored_rows(connection)) == 64


async def test_a_forgotten_script_is_no_obstacle(connection, ledger):
    for number in range(3):
        await connection.call("SCRIPT", "FLUSH")
        await ledger.reserve(make_hold(f"r{number}/1"))
        await connection.call("SCRIPT", "FLUSH")
        await settled(ledger, make_row(f"r{number}/1"))
    assert len(await stored_rows(connection)) == 3


# Exactness.


async def test_amounts_beyond_a_doubles_digits_add_up_exactly(connection, ledger):
    odd = 2**53 + 1
    rows = [make_row(f"r{n}/1", cost_nano=odd, cost_pico=odd * 1000, baseline_nano=odd + n) for n in range(3)]
    await settled(ledger, *rows[:2])
    await settled(ledger, rows[2])
    (total,) = await spend(connection, "acme", HOUR, HOUR + 1)
    assert (total.requests, total.cost_nano, total.baseline_nano) == (3, 3 * odd, 3 * odd + 3)
    assert await stored_rows(connection) == rows


async def test_a_batch_that_is_sent_again_changes_nothing(connection, ledger):
    await ledger.reserve(make_hold("r1/1"))
    await settled(ledger, make_row("r1/1"))
    await settled(ledger, make_row("r2/1"))
    before = await everything(connection)
    for callback in connection.on_connect:
        callback()
    assert ledger.waiting == 0
    lane = ledger._lane("acme")[1]
    lane._batches.append(lane._booked.popleft())
    ledger._waiting += 1
    lane.due = True
    await ledger.flush()
    assert await everything(connection) == before


async def test_a_worker_that_starts_anew_under_its_old_name_is_heard(connection):
    for number in range(2):
        ledger = ledger_over(connection, "w1")
        await settled(ledger, make_row(f"r{number}/1"))
        await ledger.close()
    assert len(await stored_rows(connection)) == 2


async def test_text_that_cannot_be_stored_is_mended_and_its_row_kept(connection, ledger):
    row = make_row("r1/1", user="a\ud800b", tags=("x=\udcff",), team="one\x1ftwo", cost_pico=2**70)
    await settled(ledger, row)
    (stored,) = await stored_rows(connection)
    assert (stored.user, stored.tags, stored.cost_pico, stored.cost_nano) == ("a?b", ("x=?",), 2**63 - 1, 1_000)
    (total,) = await spend(connection, "acme", HOUR, HOUR + 1, ("team", "app"))
    assert (total.group, total.cost_nano) == (("one two", "faq"), 1_000)


@pytest.mark.parametrize("junk", ["a}b{c", "", " ", "@", "%", "é\n", "\ud800", "acme}:holds", "{}"])
async def test_a_junk_tenant_is_one_tenant_under_one_tag(connection, ledger, junk):
    await ledger.reserve(make_hold("r0/1", tenant=junk))
    await settled(ledger, make_row("r1/1", tenant="acme"))
    await settled(ledger, make_row("r2/1", tenant=junk, outcome="client_left", at_ms=1_800_003_600_000))
    keys = [key.decode() for key in await connection.call("KEYS", "*")]
    tags = Counter(re.fullmatch(r"cr:\{([^{}]+)\}:[a-zA-Z0-9:]+", key)[1] for key in keys)
    assert sorted(tags.values()) == [1, 4, 5]
    assert [row.attempt for row in await stored_rows(connection)] == ["r1/1"]
    assert list(await stored_holds(connection, junk)) == ["r0/1"]
    assert await tenants(connection) == sorted([junk.encode("utf-8", "replace").decode(), "acme"])


# Trouble.


async def test_a_frozen_store_costs_250_ms_and_refuses_late_what_it_finds_on_waking(own_store):
    connection = await connect(own_store.start(), timeout_s=0.25)
    ledger = ledger_over(connection)
    await ledger.reserve(make_hold("r0/1"))
    await connection.call("CONFIG", "RESETSTAT")
    with frozen(own_store):
        hold = make_hold("r1/1", not_after_ms=ledger.store_ms() + 300)
        with pytest.raises(StoreUnavailable, match="did not answer in 250 ms"):
            await ledger.reserve(hold)
        with pytest.raises(StoreUnavailable, match="no connection"):
            await ledger.reserve(make_hold("r2/1"))
        await asyncio.sleep(0.2)
    await until(lambda: connection.up)
    assert await script_calls(connection) == 1
    assert list(await stored_holds(connection)) == ["r0/1"]
    await ledger.close()
    await connection.close()


async def test_a_hold_of_unknown_fate_is_freed_once_it_can_no_longer_arrive(own_store, monkeypatch):
    monkeypatch.setattr(redis_ledger, "_LATE_S", 0.05)
    connection = await connect(own_store.start(), timeout_s=0.25)
    ledger = ledger_over(connection)
    await ledger.reserve(make_hold("r0/1"))
    with frozen(own_store):
        hold = make_hold("r1/1", not_after_ms=ledger.store_ms() + 1_000)
        with pytest.raises(StoreUnavailable):
            await ledger.reserve(hold)
    await until(lambda: connection.up)
    assert list(await stored_holds(connection)) == ["r0/1", "r1/1"]
    await until(lambda: now_ms() > hold.not_after_ms)
    await asyncio.sleep(0.1)
    await ledger.flush()
    assert list(await stored_holds(connection)) == ["r0/1"]
    await ledger.close()
    await connection.close()


async def test_a_hold_whose_caller_went_away_is_freed(own_store, monkeypatch):
    monkeypatch.setattr(redis_ledger, "_LATE_S", 0.01)
    connection = await connect(own_store.start())
    ledger = ledger_over(connection)
    with frozen(own_store):
        reserving = asyncio.ensure_future(ledger.reserve(make_hold("r1/1", not_after_ms=ledger.store_ms() + 300)))
        await asyncio.sleep(0.01)
        reserving.cancel()

    async def held():
        return list(await stored_holds(connection)) == ["r1/1"]

    async def freed():
        return await stored_holds(connection) == {}

    await until(held)
    await until(freed)
    await ledger.close()
    assert await stored_rows(connection) == []
    await connection.close()


async def test_what_is_cancelled_before_it_is_sent_is_never_sent(connection, ledger):
    *flying, waiting = (ledger.reserve(make_hold(f"r{number}/1")) for number in range(FLIGHTS + 1))
    waiting.cancel()
    await asyncio.gather(*flying)
    await ledger.reserve(make_hold("r9/1"))
    assert sorted(await stored_holds(connection)) == [*(f"r{number}/1" for number in range(FLIGHTS)), "r9/1"]


async def test_rows_outwait_a_store_that_is_down_and_nothing_new_is_admitted_over_the_bound(own_store):
    connection = await connect(own_store.start())
    ledger = ledger_over(connection, most_waiting=200, flush_s=0.2)
    kill(own_store)
    rows = [make_row(f"r{number}/1") for number in range(200)]
    with pytest.raises(StoreUnavailable, match=r"200 rows still wait for the store after 0\.2 s"):
        await settled(ledger, *rows)
    with pytest.raises(StoreUnavailable, match="200 rows wait for the store; nothing is admitted"):
        await ledger.reserve(make_hold("r9/1"))
    own_store.start()
    await until(lambda: ledger.waiting == 0)
    assert await stored_rows(connection) == rows
    await ledger.reserve(make_hold("r9/1"))
    await ledger.close()
    await connection.close()


async def test_a_full_store_keeps_nothing_and_loses_nothing(own_store):
    connection = await connect(own_store.start())
    ledger = ledger_over(connection)
    await connection.call("CONFIG", "SET", "maxmemory", 1)
    with pytest.raises(StoreUnavailable, match="OOM"):
        await ledger.reserve(make_hold("r1/1"))
    ledger.settle(make_row("r1/1"))
    await asyncio.sleep(0.1)
    assert await stored_rows(connection) == []
    await connection.call("CONFIG", "SET", "maxmemory", 0)
    await ledger.flush()
    assert await stored_rows(connection) == [make_row("r1/1")]
    assert await tenants(connection) == ["acme"]
    await ledger.close()
    await connection.close()


async def test_a_store_killed_and_restarted_under_load_has_every_row_once(own_store):
    connection = await connect(own_store.start())
    ledger = ledger_over(connection)
    booked, refused, running = [], 0, True

    async def caller(name):
        nonlocal refused
        number = 0
        while running:
            number += 1
            attempt = f"{name}-{number}/1"
            try:
                at_ms = await ledger.reserve(make_hold(attempt, not_after_ms=now_ms() + 500))
            except StoreUnavailable:
                refused += 1
                await asyncio.sleep(0.005)
                continue
            await asyncio.sleep(0)
            row = make_row(attempt, at_ms=at_ms, cost_nano=1_000 + number)
            booked.append(row)
            ledger.settle(row)

    callers = [asyncio.ensure_future(caller(f"c{name}")) for name in range(16)]
    for _ in range(3):
        await asyncio.sleep(0.2)
        kill(own_store)
        await asyncio.sleep(0.02)
        own_store.start()
    await asyncio.sleep(0.1)
    running = False
    await asyncio.gather(*callers)
    await ledger.flush()

    assert refused
    stored = await stored_rows(connection)
    assert Counter(row.attempt for row in stored) == Counter(row.attempt for row in booked)
    hours = {row.at_ms // 3_600_000 for row in booked}
    (total,) = await spend(connection, "acme", min(hours), max(hours) + 1)
    assert (total.requests, total.cost_nano) == (len(booked), sum(row.cost_nano for row in booked))
    await ledger.close()
    await connection.close()


async def test_a_store_that_comes_back_without_its_last_moments_is_told_again(own_store, tmp_path):
    connection = await connect(own_store.start())
    ledger = ledger_over(connection)
    await settled(ledger, make_row("r1/1"))
    shutil.copytree(tmp_path / "store" / "appendonlydir", tmp_path / "earlier")
    await settled(ledger, make_row("r2/1"))
    await settled(ledger, make_row("r3/1"))
    connects = []
    connection.on_connect.append(lambda: connects.append(1))
    kill(own_store)
    shutil.rmtree(tmp_path / "store" / "appendonlydir")
    shutil.move(tmp_path / "earlier", tmp_path / "store" / "appendonlydir")
    own_store.start()
    await until(lambda: connects and ledger.waiting == 0)
    assert await stored_rows(connection) == [make_row("r1/1"), make_row("r2/1"), make_row("r3/1")]
    (total,) = await spend(connection, "acme", HOUR, HOUR + 1)
    assert total.requests == 3
    await ledger.close()
    await connection.close()


async def test_what_the_store_has_kept_for_long_enough_is_forgotten(connection, monkeypatch):
    monkeypatch.setattr(ledger_settle, "_KEPT_S", 0.02)
    ledger = ledger_over(connection)
    await settled(ledger, make_row("r1/1"))
    lane = ledger._lane("acme")[1]
    assert len(lane._booked) == 1
    await until(lambda: not lane._booked)
    lane.replay()
    assert ledger.waiting == 0
    await ledger.flush()
    await ledger.close()
    assert await stored_rows(connection) == [make_row("r1/1")]
