"""News between processes: who waits for a job's end hears of it, whoever brings it about."""

from __future__ import annotations

import asyncio

import msgspec
from jobs import QUEUED, a_job, handed_in
from store import connect, now_ms

from router.adapters.jobs.news import ENDS, Endings, tell_ends
from router.adapters.jobs.records import Move
from router.adapters.jobs.store import JobStore

OVER = msgspec.structs.replace(QUEUED, state="succeeded", status=200)


async def ended(store, job, count=1):
    moves = [Move(job.id, number, QUEUED, OVER) for number in range(count)]
    assert await store.move(job.tenant, moves, now_ms()) == [True] * count


async def test_who_waits_is_told_when_the_last_line_has_its_end(connection, store_socket):
    listening = await connect(store_socket)
    endings, store, job = Endings(listening), JobStore(connection, "b1"), a_job()
    await handed_in(store, job, 2)
    with endings.awaiting(job.id) as first, endings.awaiting(job.id) as second, endings.awaiting("job_2") as other:
        assert await store.move(job.tenant, [Move(job.id, 1, QUEUED, OVER)], now_ms()) == [True]
        assert not await first.news(0.05), "a line is left"
        await ended(store, job)
        assert await first.news(5)
        assert await second.news(5)
        assert not await other.news(0.01)
    assert await connection.call("XLEN", ENDS) == 1, "one reader reads for all, and each end is told once"
    await listening.close()


async def test_an_end_between_waiting_and_reading_is_not_missed(connection, store_socket):
    listening = await connect(store_socket)
    endings = Endings(listening)
    with endings.awaiting("job_1") as end:
        await tell_ends(connection, ["job_1"])  # before the reader has had its turn
        assert await end.news(5)
    with endings.awaiting("job_3") as end:
        await tell_ends(connection, ["job_2", "job_3"])
        assert await end.news(5)
        assert not await end.news(0.01), "news is told once"
    await listening.close()


async def test_a_store_that_does_not_answer_is_a_reason_to_look(connection, store_socket):
    listening = await connect(store_socket)
    endings = Endings(listening)
    with endings.awaiting("job_1") as end:
        assert not await end.news(0.01)
        await listening.close()
        async with asyncio.timeout(10):
            assert await end.news(9)
