from __future__ import annotations

import asyncio

import pytest
from store import PATIENT_S, connect, frozen, kill, now_ms, until

from router.adapters.fleet import statistics as fleet_module
from router.adapters.fleet.statistics import TOTALS, Fleet, Observations
from router.ports import StoreUnavailable

SERIES = ("ttft", "acme/large", "acme", "realtime")


def worker(connection, name):
    observations = Observations()
    return Fleet(connection, name, observations), observations


async def silent_for(connection, milliseconds):
    """Make every worker's last word that much older."""
    flat = await connection.call("HGETALL", TOTALS)
    for name, value in zip(flat[::2], flat[1::2], strict=True):
        at_ms, _, packed = value.partition(b":")
        await connection.call("HSET", TOTALS, name, str(int(at_ms) - milliseconds).encode() + b":" + packed)


async def test_a_machines_load_is_that_of_all_workers(connection):
    (one, seen), (two, heard) = worker(connection, "w1"), worker(connection, "w2")
    machine = ("busy", "gpu-1", "", "")
    seen.add(machine, 4_000_000)
    heard.add(machine, 6_000_000)
    version = heard.version
    for fleet in (one, two, one):
        await fleet.exchange(now_ms(), {})
    assert seen.summary(machine).mean == pytest.approx(500, abs=20)
    assert heard.summary(machine).mean == pytest.approx(500, abs=20)
    assert heard.version > version
    assert heard.loads == {"gpu-1": heard.summary(machine).mean}
    heard.refresh(now_ms() + 600_000)
    assert heard.summary(machine).mean == 0, "it falls idle where nothing more comes"


async def test_what_one_worker_sees_the_others_hear(connection):
    (one, seen), (two, heard) = worker(connection, "w1"), worker(connection, "w2")
    seen.add(SERIES, 1000)
    await one.exchange(now_ms(), {})
    await two.exchange(now_ms(), {})
    await two.exchange(now_ms(), {})
    assert seen.summary(SERIES).n == heard.summary(SERIES).n == 1


async def test_a_new_worker_catches_up(connection):
    (one, seen), (two, heard) = worker(connection, "w1"), worker(connection, "w2")
    seen.add(SERIES, 1000)
    await one.exchange(now_ms(), {})
    await two.catch_up(now_ms())
    assert heard.summary(SERIES).n == 1
    await two.exchange(now_ms(), {})
    assert heard.summary(SERIES).n == 1


async def test_totals_are_the_sum_of_the_living_and_the_dead(connection):
    (one, _), (two, _) = worker(connection, "w1"), worker(connection, "w2")
    await one.exchange(now_ms(), {"a": 1})
    await silent_for(connection, 31_000)
    await two.exchange(now_ms(), {"a": 10, "b": 5})
    for _ in range(3):
        assert await two.totals() == {"a": 11, "b": 5}
    assert sorted(await connection.call("HKEYS", TOTALS)) == [b"base", b"w2.1"]


async def test_a_worker_that_only_slept_is_not_counted_twice(connection):
    fleet, _ = worker(connection, "w1")
    for count in (100, 150, 175):
        await fleet.exchange(now_ms(), {"a": count})
        assert await fleet.totals() == {"a": count}
        await silent_for(connection, 31_000)
        assert await fleet.totals() == {"a": count}  # buried by this
        assert (await connection.call("HKEYS", TOTALS)) == [b"base"]
    await fleet.exchange(now_ms(), {"a": 180, "b": 1})
    assert await fleet.totals() == {"a": 180, "b": 1}


async def test_a_clock_that_is_wrong_buries_nobody(connection):
    fleet, _ = worker(connection, "w1")
    await fleet.exchange(now_ms() - 3_600_000, {"a": 1})
    await fleet.totals()
    assert await connection.call("HEXISTS", TOTALS, "w1.1")


async def test_totals_that_the_store_lost_are_told_anew(connection):
    fleet, _ = worker(connection, "w1")
    await fleet.exchange(now_ms(), {"a": 7})
    await connection.call("FLUSHALL")
    await fleet.exchange(now_ms(), {"a": 8})
    assert await fleet.totals() == {"a": 8}


async def test_without_the_store_a_worker_knows_what_it_saw_and_tells_it_later(own_store):
    connection = await connect(own_store.start(), timeout_s=0.1)
    (one, seen), (two, heard) = worker(connection, "w1"), worker(connection, "w2")
    seen.add(SERIES, 1000)
    await one.exchange(now_ms(), {})
    seen.add(SERIES, 1000)
    with frozen(own_store), pytest.raises(StoreUnavailable):
        await one.exchange(now_ms(), {})
    assert seen.summary(SERIES).n == 2
    kill(own_store)  # with it goes what it had received while frozen
    own_store.start()
    await until(lambda: connection.up)
    await connection.call("FLUSHALL")
    await one.exchange(now_ms(), {})
    await two.exchange(now_ms(), {})
    assert heard.summary(SERIES).n >= 1
    assert seen.summary(SERIES).n == 2
    await connection.close()


async def test_a_new_minute_keeps_the_figures_until_there_are_others(connection):
    fleet, seen = worker(connection, "w1")
    seen.add(SERIES, 1000)
    await fleet.exchange(60_000_000, {})
    seen.take(60_060_000)
    assert seen.summary(SERIES) is not None
    seen.refresh(60_060_000 + fleet_module.KEPT_SLICES * 60_000)
    assert seen.summary(SERIES) is None


async def test_workers_that_tell_at_once_lose_nothing(store_socket, connection):
    others = [await connect(store_socket, timeout_s=PATIENT_S) for _ in range(3)]
    fleets = [worker(other, f"w{number}")[0] for number, other in enumerate(others)]
    await asyncio.gather(*(fleet.exchange(now_ms(), {"a": 1}) for fleet in fleets))
    assert await fleets[0].totals() == {"a": 3}
    for other in others:
        await other.close()


def test_what_applications_do_is_forgone_where_series_are_too_many(monkeypatch):
    monkeypatch.setattr("router.adapters.fleet.statistics.MOST_SERIES", 2)
    seen = Observations()
    for app in ("one", "two"):
        seen.add((f"output/1/{app}/chat", "acme/large", "acme", "realtime"), 7)
    seen.add(SERIES, 1_000)
    seen.take(now_ms())
    seen.refresh(now_ms())
    assert seen.summary(("output//one/chat", "acme/large", "acme", "realtime")).n == 1
    assert seen.summary(("output//two/chat", "acme/large", "acme", "realtime")) is None
    assert seen.summary(("output", "acme/large", "acme", "realtime")).n == 2
    assert seen.summary(SERIES).n == 1


def test_a_series_that_has_ended_is_let_go():
    seen, start = Observations(), now_ms()
    seen.add(SERIES, 1_000)
    seen.take(start)
    seen.refresh(start)
    assert seen.summary(SERIES)
    seen.take(start + 7_200_000)
    seen.refresh(start + 7_200_000)
    assert seen.summary(SERIES) is None
    seen.add(SERIES, 5)
    seen.take(start + 7_200_000)
    seen.refresh(start + 7_200_000)
    assert seen.summary(SERIES).n == 1
