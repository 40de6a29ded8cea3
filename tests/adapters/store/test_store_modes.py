"""What every kind of store promises its callers: embedded, TCP, TLS, Sentinel and Cluster, by one suite."""

from __future__ import annotations

import asyncio

import pytest
from fakes import FakeClock
from store import ONE_HOLD, PATIENT_S, Machine, make_hold, make_row, now_ms, stored_holds, stored_rows, until
from store_modes import Elsewhere, connected
from store_servers import PASSWORD, QUOTED

from router.adapters.fleet.statistics import Fleet, Observations
from router.adapters.keys.keys import RedisKeys
from router.adapters.ledger.ledger import RedisLedger
from router.adapters.reports.spend import spend, tenants
from router.adapters.store.check import check_store
from router.adapters.store.resp import Script, StoreRefused
from router.ports import StoreUnavailable

TENANTS = [f"tenant-{number}" for number in range(12)]
"""Enough that every node of a cluster has some."""
HOUR = 1_800_000_000_000 // 3_600_000


@pytest.fixture
def connection(any_connection):
    return any_connection


# Calls.


async def test_replies_reach_their_callers(connection):
    await asyncio.gather(*[connection.call("SET", f"cr:{{{n}}}:a", n) for n in range(300)])
    assert await asyncio.gather(*[connection.call("GET", f"cr:{{{n}}}:a") for n in range(300)]) == [
        b"%d" % n for n in range(300)
    ]


async def test_calls_of_one_tenant_keep_their_order(connection):
    calls = [connection.call("RPUSH", f"cr:{{{tenant}}}:list", n) for n in range(50) for tenant in TENANTS[:3]]
    await asyncio.gather(*calls)
    for tenant in TENANTS[:3]:
        assert await connection.call("LRANGE", f"cr:{{{tenant}}}:list", 0, -1) == [b"%d" % n for n in range(50)]


async def test_a_script_takes_several_keys_of_one_tenant(connection):
    script = Script("settle")
    for tenant in TENANTS:
        keys = [f"cr:{{{tenant}}}:{name}" for name in ("applied", "holds", "hours", "rows:1", "cube:1")]
        arguments = ("journal", "1:1", 0, 0, "1", 1, b"row", 1, "cell", 2**53 + 1)
        assert [fresh for _, fresh in [await connection.script(script, keys, arguments)]] == [1]
        assert (await connection.script(script, keys, arguments))[1] == 0
        assert await connection.call("HGET", keys[4], "cell") == str(2**53 + 1).encode()


async def test_a_script_may_be_told_of_at_once(connection):
    replies = [asyncio.get_running_loop().create_future() for _ in TENANTS]
    for tenant, reply in zip(TENANTS, replies, strict=True):
        connection.script_now(Script("reserve"), [f"cr:{{{tenant}}}:h"], ONE_HOLD, reply)
    assert [len(await reply) for reply in replies] == [1] * len(TENANTS)


async def test_a_stream_of_the_fleet_is_read_and_waited_for(connection):
    first = await connection.call("XADD", "cr:{@}:stats", "*", "d", "x")
    read = await connection.call("XREAD", "COUNT", 10, "STREAMS", "cr:{@}:stats", "0")
    assert read == [[b"cr:{@}:stats", [[first, [b"d", b"x"]]]]]
    assert await connection.call("XREAD", "COUNT", 10, "BLOCK", 1, "STREAMS", "cr:{@}:stats", first) is None


async def test_what_was_written_is_on_disk_where_a_caller_waits_for_that(any_store, connection):
    for tenant in TENANTS:
        await connection.call("SET", f"cr:{{{tenant}}}:a", 1)
    try:
        assert (await connection.call("WAITAOF", 1, 0, 5_000))[0] == 1
    except StoreRefused as refusal:
        # Redis before 7.2, which a machine may have for TLS.
        assert "unknown command" in str(refusal)  # noqa: PT017 - not whether it fails, but how if it does
    assert await connection.call("WAIT", 0, 100) >= 0


async def test_the_stores_clock_and_its_health_can_be_asked(connection):
    seconds, _ = await connection.call("TIME")
    assert abs(int(seconds) * 1000 - now_ms()) < 5_000
    assert await connection.call("PING") == b"PONG"
    assert connection.up


async def test_the_stores_own_error_is_passed_on_and_the_connection_lives(connection):
    for tenant in TENANTS[:3]:
        await connection.call("SET", f"cr:{{{tenant}}}:a", "text")
        with pytest.raises(StoreRefused, match="ERR value is not an integer"):
            await connection.call("INCR", f"cr:{{{tenant}}}:a")
        assert await connection.call("GET", f"cr:{{{tenant}}}:a") == b"text"


async def test_a_callers_cancelling_does_not_shift_the_replies(connection):
    calls = [connection.call("INCRBY", f"cr:{{{tenant}}}:n", 1) for tenant in TENANTS]
    calls[1].cancel()
    assert await asyncio.gather(calls[0], *calls[2:]) == [1] * (len(TENANTS) - 1)


async def test_after_the_end_nothing_is_sent(any_store):
    async with connected(any_store) as connection:
        await connection.call("GET", "cr:{@}:keys")
    assert not connection.up
    with pytest.raises(StoreUnavailable):
        await connection.call("GET", "cr:{@}:keys")


async def test_a_user_without_dangerous_commands_is_enough(any_store):
    url = any_store.url.replace(f":{QUOTED}@", "", 1).replace("://", f"://meter:{QUOTED}@", 1)
    any_store.ask_all("ACL", "SETUSER", "meter", "on", f">{PASSWORD}", "~cr:*", "+@all", "-@dangerous")
    assert "hides its configuration" in check_store(url)[-1]
    async with connected(Elsewhere(url)) as connection:
        ledger = RedisLedger(connection, "w1", Machine(), flush_s=PATIENT_S)
        await ledger.reserve(make_hold("r1/1"))
        ledger.settle(make_row("r1/1"))
        await ledger.close()
        assert [row.attempt for row in await stored_rows(connection)] == ["r1/1"]
        assert await connection.call("PING") == b"PONG"


# What is built on them.


async def test_many_tenants_hold_settle_and_spend_side_by_side(connection):
    ledger = RedisLedger(connection, "w1", Machine(), flush_s=PATIENT_S)
    await asyncio.gather(*[ledger.reserve(make_hold(f"r{n}/1", tenant=tenant)) for tenant in TENANTS for n in range(9)])
    for tenant in TENANTS:
        for n in range(8):
            ledger.settle(make_row(f"r{n}/1", tenant=tenant, at_ms=(HOUR + n % 2) * 3_600_000))
    await ledger.flush()
    for tenant in TENANTS:
        assert list(await stored_holds(connection, tenant)) == ["r8/1"]
        assert [row.attempt for row in await stored_rows(connection, tenant)] == [
            f"r{n}/1" for n in (0, 2, 4, 6, 1, 3, 5, 7)
        ]
        (total,) = await spend(connection, tenant, HOUR, HOUR + 2)
        assert (total.requests, total.cost_nano) == (8, 8_000)
    await until_true(lambda: tenants(connection), sorted(TENANTS))
    await ledger.close()


async def until_true(read, wanted):
    async def same():
        return await read() == wanted

    await until(same)


async def test_a_replay_changes_nothing(connection):
    ledger = RedisLedger(connection, "w1", Machine(), flush_s=PATIENT_S)
    for tenant in TENANTS:
        ledger.settle(make_row("r1/1", tenant=tenant))
    await ledger.flush()
    for _ in range(3):
        for callback in connection.on_connect:
            callback()
        for tenant in TENANTS:
            ledger.settle(make_row("r2/1", tenant=tenant))
    await ledger.flush()
    for tenant in TENANTS:
        assert sorted(row.attempt for row in await stored_rows(connection, tenant)) == ["r1/1", *["r2/1"] * 3]
    await ledger.close()


async def test_a_created_key_is_known_to_every_worker_until_it_is_revoked(any_store, connection):
    keys = RedisKeys(connection, FakeClock())
    secret, identity = await keys.create("laptop", "acme", "search")
    async with connected(any_store) as other:
        assert await RedisKeys(other, FakeClock()).identify(secret) == identity
        assert [record.identity for record in await keys.created()] == [identity]
        assert await keys.revoke(identity.key)
        assert await RedisKeys(other, FakeClock()).identify(secret) is None


async def test_workers_hear_what_others_see_and_sum_their_totals(connection):
    series = ("ttft", "acme/large", "acme", "realtime")
    fleets = [(Fleet(connection, name, seen), seen) for name in ("w1", "w2") for seen in [Observations()]]
    (one, seen), (two, heard) = fleets
    await two.catch_up(now_ms())
    seen.add(series, 1000)
    await one.exchange(now_ms(), {"a": 1})
    await two.exchange(now_ms(), {"a": 2})
    assert heard.summary(series).n == 1
    assert await one.totals() == await two.totals() == {"a": 3}
