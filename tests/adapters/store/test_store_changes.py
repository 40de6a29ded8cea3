"""Changes of keys and budgets, as workers tell each other of them, in every kind of store. Their clocks stand still: nobody
finds anything out by asking again.
"""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from fakes import FakeClock
from store import PATIENT_S, until
from store_modes import connected

from router.adapters.keys.keys import RedisKeys
from router.adapters.ledger.budgets import RedisBudgets
from router.adapters.store.changes import CHANGES, Changes
from router.core.budgets.budget import Budget
from router.core.values import Identity
from router.ports import StoreUnavailable

BUDGET = Budget("b1", "acme", (), 5, "day")
NOBODY = ("", "", "", "", "", "", ())


class Worker:
    def __init__(self, connection):
        self.keys = RedisKeys(connection, FakeClock())
        self.budgets = RedisBudgets(connection)
        self.changes = Changes(connection)
        self.keys.tell = lambda field: self.changes.tell("key", field)
        self.budgets.tell = lambda tenant: self.changes.tell("budgets", tenant)
        self.heard = []
        self.changes.on = {"key": self.keys.changed, "budgets": self.refreshed, "test": self.heard.append}

    async def refreshed(self, tenant):
        self.heard.append(tenant)
        await self.budgets.refresh()


@contextlib.asynccontextmanager
async def at_work(store):
    """A worker that hears, once it does."""
    async with connected(store) as connection, connected(store, timeout_s=PATIENT_S) as waiting:
        worker = Worker(connection)
        hearing = asyncio.create_task(worker.changes.hear(waiting))

        async def hears():
            worker.changes.tell("test", "ready")
            return "ready" in worker.heard

        await until(hears)
        yield worker
        hearing.cancel()
        await asyncio.gather(hearing, return_exceptions=True)


@pytest.fixture
async def others(any_store):
    """A worker of another machine."""
    async with at_work(any_store) as worker:
        yield worker


@pytest.fixture
def mine(any_connection):
    return Worker(any_connection)


async def test_a_revoked_key_is_refused_everywhere_as_soon_as_it_is_told(mine, others):
    secret, identity = await mine.keys.create("laptop", "acme")
    assert await others.keys.identify(secret) == identity
    await mine.keys.revoke(identity.key)

    async def refused():
        return await others.keys.identify(secret) is None

    await until(refused)


async def test_so_does_a_change_of_whose_it_is_hold(mine, others):
    secret, identity = await mine.keys.create("laptop", "acme", team="search")
    await others.keys.identify(secret)
    await mine.keys.change(identity.key, Identity(tenant="acme", key=identity.key, team="ads"))

    async def moved():
        return (await others.keys.identify(secret)).team == "ads"

    await until(moved)


async def test_and_a_budget(mine, others):
    await mine.budgets.put(BUDGET)

    async def holds():
        return [term.budget for term in others.budgets.terms("acme", NOBODY, 0).terms] == [BUDGET]

    await until(holds)
    assert "acme" in others.heard


async def test_what_was_told_while_nobody_could_hear_is_heard_afterwards(any_store, any_connection):
    worker = Worker(any_connection)
    async with connected(any_store) as first:
        real, cut = first.call, [False]

        def call(*command):
            if command[0] == "XREAD" and cut[0]:
                cut[0] = False
                raise StoreUnavailable("cut off")
            return real(*command)

        first.call = call
        hearing = asyncio.create_task(worker.changes.hear(first))

        async def heard(what):
            return what in worker.heard

        async def ready():
            worker.changes.tell("test", "one")
            return await heard("one")

        await until(ready)
        cut[0] = True
        worker.changes.tell("test", "two")
        worker.changes.tell("test", "three")

        async def all_of_it():
            return await heard("two") and await heard("three")

        await until(all_of_it)
        hearing.cancel()
        await asyncio.gather(hearing, return_exceptions=True)


async def test_what_nobody_can_deal_with_ends_nothing(any_connection, others):
    mine = Worker(any_connection)

    def fails(_):
        raise RuntimeError("no")

    others.changes.on["broken"] = fails
    mine.changes.tell("broken")
    mine.changes.tell("unheard of")
    mine.changes.tell("test", "after")

    async def heard():
        return "after" in others.heard

    await until(heard)


async def test_an_answer_that_is_older_than_the_news_is_not_remembered(any_connection):
    """Asked, then told, then answered: what was answered may be what has changed."""
    mine = Worker(any_connection)
    secret, _ = await mine.keys.create("laptop", "acme")
    asking = asyncio.ensure_future(mine.keys.identify(secret))
    await asyncio.sleep(0)
    mine.keys.changed("key-0000000000000000")
    assert await asking is not None
    await any_connection.call("DEL", "cr:{@}:keys")
    assert await mine.keys.identify(secret) is None


async def test_telling_never_raises(any_store):
    async with connected(any_store) as connection:
        changes = Changes(connection)
    changes.tell("key", "x")


async def test_the_stream_stays_short(any_connection):
    changes = Changes(any_connection)
    for number in range(3_000):
        changes.tell("test", str(number))
    assert await any_connection.call("XLEN", CHANGES) < 1_500
