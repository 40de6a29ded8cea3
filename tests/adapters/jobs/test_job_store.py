"""Jobs in the store, on each kind of store: what is taken in, whose turn it is, and that nothing is done twice."""

from __future__ import annotations

import asyncio
import time

import msgspec
import pytest
from jobs import QUEUED, a_job, handed_in
from store import make_hold, make_row, stored_holds, stored_rows

from router.adapters.jobs.ledger import JobLedger
from router.adapters.jobs.records import Move
from router.adapters.jobs.store import JobStore
from router.adapters.jobs.waits import JobWaits
from router.core.jobs.deadlines import SLICE_MS
from router.core.jobs.jobs import Manifest, Parcel
from router.core.values import Band, Price, Rates

PRICE = Price("p1", (Band(0, Rates(1, 1, 1, 1)),))


class Machine:
    def now_ms(self):
        return time.time_ns() // 1_000_000

    def monotonic(self):
        return time.monotonic()


def now_ms():
    return Machine().now_ms()


def a_parcel(name="pcl-1", **changes):
    found = Parcel(name, "acme", "openai", "openai/m@openai", "batch", "chat", "staged", now_ms(), now_ms() + 60_000, 1)
    return msgspec.structs.replace(found, **changes)


@pytest.fixture
def store(any_connection):
    return JobStore(any_connection, "b1", lease_ms=200)


async def test_a_job_is_taken_in_once_and_its_lines_are_taken_up_once(any_connection, store):
    job = a_job()
    await handed_in(store, job, 3)
    await handed_in(store, job, 3)
    tally = await store.tally("acme", "job_1")
    assert (tally.job, tally.lines, tally.done, tally.sealed, tally.ended_ms) == (job, 3, 0, True, 0)
    assert await store.tenants() == ["acme"]
    mine = await store.take("acme", 10, 60_000)
    assert [(taken.number, taken.line) for taken in mine] == [(0, QUEUED), (1, QUEUED), (2, QUEUED)]
    other = JobStore(any_connection, "b2")
    assert await other.take("acme", 10, 60_000) == []
    assert len(await other.take("acme", 10, 0)) == 3, "what a broker leaves is another's"
    assert await store.payload("acme", "job_1", "1") == b"sealed"


async def test_lines_are_read_in_from_where_they_were_left(store):
    job = a_job(kind="batch")
    assert await store.put(job, [], sealed=False, now_ms=now_ms())
    assert await store.put(job, [(0, QUEUED, b"")], sealed=False, checkpoint=("", "1"), now_ms=now_ms())
    assert not await store.put(job, [(0, QUEUED, b"")], sealed=False, checkpoint=("", "1"), now_ms=now_ms())
    failed = msgspec.structs.replace(QUEUED, state="failed")
    assert await store.put(job, [(1, failed, b"")], checkpoint=("1", "2"), now_ms=now_ms())
    tally = await store.tally("acme", "job_1")
    assert (tally.lines, tally.done, tally.failed, tally.at, tally.sealed) == (2, 1, 1, "2", True)


async def test_a_line_moves_only_from_where_it_was_seen_and_the_last_one_ends_the_job(store):
    job = a_job()
    await handed_in(store, job, 2)
    bound = msgspec.structs.replace(QUEUED, state="bound", bound="run:x", tries=1)
    done = msgspec.structs.replace(bound, state="succeeded", bound="")
    assert await store.move("acme", [Move("job_1", 0, QUEUED, bound)], now_ms()) == [True]
    assert await store.move("acme", [Move("job_1", 0, QUEUED, bound)], now_ms()) == [False]
    moves = [Move("job_1", 0, bound, done, result=b"answer", cost_nano=5), Move("job_1", 1, QUEUED, done, cost_nano=2)]
    assert await store.move("acme", moves, now_ms()) == [True, True]
    assert await store.move("acme", moves, now_ms()) == [False, False]
    tally = await store.tally("acme", "job_1")
    assert (tally.done, tally.succeeded, tally.cost_nano) == (2, 2, 7)
    assert tally.ended_ms > 0
    assert await store.ended("acme", "job_1")
    assert await store.payload("acme", "job_1", "r0") == b"answer"
    leased = (await store.lease("acme", 5)).leased
    assert [found.member for found in leased] == ["j:job_1"]


async def test_a_parcel_takes_the_lines_that_are_still_free(store):
    job = a_job()
    await handed_in(store, job, 2)
    first, second = await store.take("acme", 10, 60_000)
    gone = msgspec.structs.replace(QUEUED, state="cancelled")
    await store.move("acme", [Move("job_1", 0, QUEUED, gone)], now_ms())
    bound = msgspec.structs.replace(QUEUED, state="bound", bound="pcl-1", tries=1)
    parts = [
        (taken, bound, Manifest("job_1", taken.number, 1, b"row", PRICE, None, ("blob", 0, 1)))
        for taken in (first, second)
    ]
    assert await store.stage(a_parcel(), parts, now_ms()) == 1
    assert [entry.number for entry in await store.manifest(a_parcel())] == [1]
    (left,) = await store.take("acme", 10, 0)
    assert left.entry == first.entry, "what goes on otherwise keeps its entry: it may be that of who is at it"
    assert [parcel.id for parcel in await store.parcels("acme")] == ["pcl-1"]


async def test_a_line_leaves_the_queue_in_the_step_that_moves_it(store):
    await handed_in(store, a_job())
    (taken,) = await store.take("acme", 1, None)
    bound = msgspec.structs.replace(QUEUED, state="bound", bound="run:x", tries=1)
    assert await store.move("acme", [Move("job_1", 0, QUEUED, bound)], now_ms()) == [True]
    again = msgspec.structs.replace(bound, state="queued", bound="")
    late = Move("job_1", 0, QUEUED, again, queue=True, entry=taken.entry)
    assert await store.move("acme", [late], now_ms()) == [False]
    assert [found.entry for found in await store.take("acme", 10, 0)] == [taken.entry], "nobody else may take it off"
    assert await store.move("acme", [msgspec.structs.replace(late, seen=bound)], now_ms()) == [True]
    (new,) = await store.take("acme", 10, 0)
    assert (new.entry != taken.entry, new.line) == (True, again)
    await store.keep("acme", [new.entry])
    assert await store.take("acme", 10, None) == [], "only new ones"


async def test_brokers_that_have_ended_leave_the_group_once_nothing_is_left_to_them(any_connection):
    gone, busy = (JobStore(any_connection, name, gone_ms=0) for name in ("b1", "b2"))
    await gone.forget_consumers("acme")
    await handed_in(gone, a_job())
    (taken,) = await busy.take("acme", 1, None)
    assert await gone.take("acme", 1, None) == []
    await JobStore(any_connection, "b3").forget_consumers("acme")
    assert await names(any_connection) == {b"b1", b"b2"}, "they may only be slow"
    await gone.forget_consumers("acme")
    assert await names(any_connection) == {b"b2"}
    await busy.drop("acme", [taken.entry])
    await busy.forget_consumers("acme")
    assert await names(any_connection) == set()


async def names(connection):
    listed = await connection.call("XINFO", "CONSUMERS", "cr:{acme}:queue", "b")
    return {entry[1] for entry in listed}


async def test_a_batch_s_own_limit_counts_each_line_once_until_it_has_ended(store):
    job = a_job(cap_nano=100)
    await handed_in(store, job, 3)
    assert await store.begin(job, 0, 60) == (True, 0)
    assert await store.begin(job, 0, 60) == (True, 60), "whoever asks again after another's death"
    assert await store.begin(job, 1, 50) == (False, 60)
    done = msgspec.structs.replace(QUEUED, state="succeeded")
    await store.move("acme", [Move("job_1", 0, QUEUED, done, cost_nano=40)], now_ms())
    assert await store.begin(job, 1, 50) == (True, 40), "it was cheaper than expected"
    assert await store.begin(job, 2, 11) == (False, 90)


async def test_a_lease_is_one_broker_s_until_it_ends(any_connection, store):
    await handed_in(store, a_job())
    (taken,) = await store.take("acme", 1, 60_000)
    bound = msgspec.structs.replace(QUEUED, state="bound", bound="pcl-1", tries=1)
    manifest = Manifest("job_1", 0, 1, b"row", PRICE, None, ("blob", 0, 1))
    await store.stage(a_parcel(), [(taken, bound, manifest)], now_ms())
    looked = await store.lease("acme", 5)
    at_ms, (leased,) = looked.now_ms, looked.leased
    assert (looked.next_ms, looked.queued) == (int(leased.until), 0)
    assert abs(at_ms - now_ms()) < 5_000
    assert leased.record.id == "pcl-1"
    other = JobStore(any_connection, "b2", lease_ms=200)
    assert (await other.lease("acme", 5)).leased == []
    await store.unwant("acme", ["pcl-1"], now_ms())
    assert await store.unwanted(leased.record)
    assert (await other.lease("acme", 5)).leased == [], "a nudge does not end a lease"
    assert await store.extend("acme", leased, at_ms, a_parcel(state="uploaded"))
    await asyncio.sleep(0.3)
    (again,) = (await other.lease("acme", 5)).leased
    assert again.record.state == "uploaded"
    assert not await store.give_back("acme", leased, at_ms, a_parcel(state="gone"))
    assert await other.give_back("acme", again, None, forget=True)
    assert await store.parcels("acme") == []
    await store.forget_parcel(a_parcel())
    assert not await store.unwanted(a_parcel())


async def test_what_has_had_its_time_is_told_and_forgotten(store):
    await handed_in(store, a_job())
    await store.expire("acme", now_ms() - 1, "job:job_1", "blob:acme/x")
    await store.expire("acme", now_ms() + 60_000, "blob:acme/y")
    assert sorted(await store.expired("acme", now_ms())) == ["blob:acme/x", "job:job_1"]
    for member in ("job:job_1", "blob:acme/x"):
        await store.forget("acme", member)
    assert await store.expired("acme", now_ms()) == []
    assert await store.tally("acme", "job_1") is None
    assert await store.ids("acme", 10) == []


async def test_a_note_that_comes_late_does_not_bring_a_deleted_job_back(store):
    await handed_in(store, a_job())
    await store.forget("acme", "job:job_1")
    await store.note("acme", "job_1", closed=1)
    assert await store.begin(a_job(cap_nano=9), 0, 5) == (False, 0)
    assert await store.tally("acme", "job_1") is None


async def test_jobs_are_listed_newest_first_page_by_page(store):
    for number in range(4):
        await handed_in(store, a_job(f"job_{number}", created_ms=number + 1))
    assert await store.ids("acme", 2) == ["job_3", "job_2"]
    assert await store.ids("acme", 5, "job_2") == ["job_1", "job_0"]
    await store.note("acme", "job_1", webhook="told")
    assert (await store.tally("acme", "job_1")).notes == {"webhook": "told"}


async def test_what_is_held_is_handed_on_and_a_parcel_is_booked_once(any_connection):
    ledger = JobLedger(any_connection, Machine())
    await ledger.reserve(make_hold("job_1/0/1", tenant="acme", amount_nano=700, not_after_ms=now_ms() + 5_000))
    (held,) = (await stored_holds(any_connection, "acme")).values()
    assert held.startswith("700:")
    assert ":jobs" in held, "it is no worker's"
    await ledger.hand_on("acme", [("job_1/0/1", "job_1/0/2")])
    await ledger.hand_on("acme", [("job_1/0/1", "job_1/0/2")])
    assert list(await stored_holds(any_connection, "acme")) == ["job_1/0/2"]
    rows = [make_row(f"job_1/{number}/2", tenant="acme") for number in range(70)]
    assert len(await ledger.book("acme", "pcl-1", rows)) == 70
    assert await ledger.book("acme", "pcl-1", rows) == []
    assert len(await stored_rows(any_connection, "acme")) == 70
    assert await stored_holds(any_connection, "acme") == {}
    await ledger.reserve(make_hold("job_2/0/1", tenant="acme", not_after_ms=now_ms() + 5_000))
    await ledger.release("acme", ["job_2/0/1"])
    assert await stored_holds(any_connection, "acme") == {}


async def test_outcomes_are_the_fleet_s(any_connection):
    here, there = JobWaits(any_connection, 1.0), JobWaits(any_connection, 1.0)
    before = here.of("openai", "batch").done_ppm(3_600_000)
    for _ in range(20):
        await there.tell("openai", "batch", 3 * 3_600_000, now_ms())
    await here.refresh(now_ms())
    assert here.of("openai", "batch").done_ppm(3_600_000) < before // 2
    await here.refresh(now_ms() + 200 * SLICE_MS)
    assert here.of("openai", "batch").done_ppm(3_600_000) == before
