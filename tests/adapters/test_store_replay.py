"""In which order batches go out when a node of a cluster comes back while a batch is under way on another."""

from __future__ import annotations

import asyncio

import pytest
from store import Machine, make_row, now_ms

from router.adapters.redis_ledger import RedisLedger
from router.ports import StoreUnavailable


class ByHand:
    """A connection whose replies the test gives; knows the numbers of the batches it was sent."""

    up = True

    def __init__(self):
        self.on_connect = []
        self.sent = []
        self.replies = []

    def call(self, *command):
        reply = asyncio.get_running_loop().create_future()
        if command[0] == "WAITAOF":
            reply.set_result([1, 0])
        return reply

    def script(self, script, keys, args):
        self.sent.append(int(args[1].partition(":")[0]))
        self.replies.append(asyncio.get_running_loop().create_future())
        return self.replies[-1]

    async def take(self, *, fresh=1):
        """The latest batch is booked."""
        self.replies[-1].set_result([now_ms(), fresh])
        await asyncio.sleep(0)

    def come_back(self):
        for callback in self.on_connect:
            callback()


@pytest.fixture
async def store():
    return ByHand()


@pytest.fixture
async def ledger(store):
    return RedisLedger(store, "w1", Machine(), flush_s=5)


def batch(ledger, number):
    ledger.settle(make_row(f"r{number}/1"))
    return asyncio.ensure_future(ledger.flush())


async def two_booked_one_flying(store, ledger):
    for number in (1, 2):
        flushed = batch(ledger, number)
        await asyncio.sleep(0)
        await store.take()
        await flushed
    flushed = batch(ledger, 3)
    await asyncio.sleep(0)
    store.come_back()
    return flushed


async def test_what_flies_lands_first_then_the_booked_come_again_in_order(store, ledger):
    flushed = await two_booked_one_flying(store, ledger)
    assert store.sent == [1, 2, 3]
    for fresh in (1, 0, 0):
        await store.take(fresh=fresh)
    assert store.sent == [1, 2, 3, 1, 2]
    await flushed
    assert ledger.waiting == 0
    await ledger.close()


async def test_what_flies_and_fails_comes_again_behind_the_booked(store, ledger):
    flushed = await two_booked_one_flying(store, ledger)
    store.replies[-1].set_exception(StoreUnavailable("lost"))
    await asyncio.sleep(0.05)
    for fresh in (0, 0, 1):
        await store.take(fresh=fresh)
    assert store.sent == [1, 2, 3, 1, 2, 3]
    await flushed
    await ledger.close()


async def test_a_second_return_repeats_all_in_the_order_of_their_numbers(store, ledger):
    flushed = await two_booked_one_flying(store, ledger)
    for fresh in (1, 0, 0):
        await store.take(fresh=fresh)
    await flushed
    store.come_back()
    for _ in range(3):
        await store.take(fresh=0)
    assert store.sent[5:] == [1, 2, 3]
    await ledger.flush()
    await ledger.close()
