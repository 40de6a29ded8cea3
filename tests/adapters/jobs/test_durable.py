"""Asking whether the store's disk has what was written of jobs."""

from __future__ import annotations

import asyncio

import pytest

from router.adapters.jobs.durable import Durable
from router.adapters.store.resp import StoreRefused
from router.ports import StoreUnavailable


class Spoken:
    """A connection that says what it was asked, and answers the wait as told."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    async def call(self, *command):
        self.asked.append(command[:2])
        if command[0] == "SET":
            await asyncio.sleep(0)
            return b"OK"
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_the_real_store_confirms(connection):
    assert await Durable(connection).confirmed("acme")


async def test_all_who_ask_at_once_are_answered_by_one_wait_that_begins_after_they_asked():
    spoken = Spoken([1, 0], [0, 0])
    durable = Durable(spoken)
    first = [asyncio.create_task(durable.confirmed(tenant)) for tenant in ("a", "b", "a")]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    late = asyncio.create_task(durable.confirmed("a"))
    assert await asyncio.gather(*first) == [True, True, True]
    assert not await late, "the disk did not have it in time"
    assert [command[0] for command in spoken.asked] == ["SET", "SET", "WAITAOF", "SET", "WAITAOF"]


async def test_a_store_that_keeps_nothing_has_nothing_to_wait_for():
    off = StoreRefused("ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.")
    assert await Durable(Spoken(off)).confirmed("a")


@pytest.mark.parametrize("failure", [StoreUnavailable("gone"), StoreRefused("LOADING")])
async def test_a_failure_is_told_to_who_asked_and_to_nobody_after(failure):
    durable = Durable(Spoken(failure, [1, 0]))
    with pytest.raises(StoreUnavailable):
        await durable.confirmed("a")
    assert await durable.confirmed("a")
