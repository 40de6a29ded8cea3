"""When a broker looks at whose jobs."""

from __future__ import annotations

import asyncio

import pytest
from jobs import a_job, handed_in
from store import connect, now_ms, until

from router.adapters.broker.rota import BUSY_MS, IDLE_MS, Rota
from router.adapters.jobs.store import JobStore


class Deaf:
    """A connection over which no news comes."""

    async def call(self, *_):
        await asyncio.Event().wait()


@pytest.fixture
def rota():
    found = Rota(Deaf(), pace=1)
    found.know(["a", "b"])
    return found


def test_who_has_jobs_is_looked_at_often_and_who_has_none_now_and_then(rota):
    assert rota.due(1_000) == ["a", "b"]
    rota.looked("a", 1_000, None, queued=True)
    rota.looked("b", 1_000, None, queued=False)
    assert rota.due(1_000 + BUSY_MS - 1) == []
    assert rota.due(1_000 + BUSY_MS) == ["a"]
    assert "b" in rota.due(1_000 + IDLE_MS)


def test_what_is_due_sooner_is_looked_at_sooner(rota):
    rota.due(1_000)
    rota.looked("a", 1_000, 1_200, queued=False)
    rota.looked("b", 1_000, 900_000, queued=False)
    assert rota.due(1_199) == []
    assert rota.due(1_200) == ["a"]
    assert rota.due(1_000 + BUSY_MS) == ["b"]


async def test_news_is_looked_at_once_and_a_look_under_way_does_not_hide_it(rota):
    rota.due(1_000)
    rota.at_once("b")
    rota.looked("b", 1_000, None, queued=False)
    assert rota.due(1_000) == ["b"]
    async with asyncio.timeout(1):
        await rota.rest(1_000)  # it returns at once


async def test_rest_ends_when_somebody_is_due(rota):
    rota.due(1_000)
    rota.looked("a", 1_000, 1_020, queued=False)
    async with asyncio.timeout(1):
        await rota.rest(1_000)
    assert rota.due(1_019) == []
    assert rota.due(1_020) == ["a"]


async def test_what_is_handed_in_is_heard_of(connection, store_socket):
    listening = await connect(store_socket)
    rota = Rota(listening, pace=1)
    task = asyncio.create_task(rota.listen())
    store = JobStore(connection, "b1")
    await asyncio.sleep(0.05)  # until it listens
    await handed_in(store, a_job())

    async def heard():
        return rota.due(now_ms()) == ["acme"]

    await until(heard, 5)
    await listening.close()
    assert not task.done(), "a connection that is lost is waited for"
    task.cancel()
