"""Lines on their way into parcels: who travels with whom, and when they leave."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import pytest
from jobs import QUEUED, a_job
from store import make_row, now_ms

from router.adapters.broker.gather import LINGER_MS, Gatherer, Waiting
from router.adapters.jobs.records import Taken
from router.core.jobs.deadlines import Reserve
from router.ports import BlobsUnavailable

HOUR = 3_600_000


class Yard:
    """A yard that tells what was staged."""

    pace = 1.0

    def __init__(self, most_lines=3):
        self.store = self.vault = self
        self.most_lines, self.at_ms, self.full = most_lines, now_ms(), False
        self.parcels = []

    def api(self, _provider, _tier):
        return SimpleNamespace(most_lines=self.most_lines)

    def now_ms(self):
        return self.at_ms

    def blob(self, tenant, kind, name):
        return f"{tenant}/{kind}/{name}"

    async def expire(self, *_):
        pass

    async def writer(self, name):
        if self.full:
            raise BlobsUnavailable("the disk is full")

        async def add(body):
            return name, 0, len(body)

        return contextlib.nullcontext(SimpleNamespace(add=add))

    async def stage(self, parcel, lines, _due_ms):
        self.parcels.append((parcel, [taken.entry for taken, _, _ in lines]))


def waiting(number, *, tier="batch", entry="acme/large@acme", hours=24, size=10, yard=None):
    at = now_ms() if yard is None else yard.at_ms
    option = SimpleNamespace(tier=tier, entry=entry, provider="acme", upstream_model="large", price=None)
    planned = SimpleNamespace(option=option, instant=None, reserve=Reserve(run_ms=9_000, cancel_ms=1))
    job = a_job(f"job_{number}", deadline_ms=at + round(hours * HOUR), endpoint="chat")
    return Waiting(Taken(job.id, 0, f"{number}-0", QUEUED), job, planned, make_row(prompt_tokens=7), None, b"x" * size)


async def gathered(yard, *lines):
    gatherer = Gatherer(yard)
    for line in lines:
        await gatherer.add(line)
    return gatherer


def entries(yard):
    return [found for _, found in yard.parcels]


async def test_lines_of_one_model_and_tier_wait_for_each_other():
    yard = Yard()
    gatherer = await gathered(
        yard, waiting(1), waiting(2), waiting(3, tier="window-8h"), waiting(4, entry="acme/b@acme")
    )
    await gatherer.leave()
    assert (yard.parcels, gatherer.waiting) == ([], 4)
    yard.at_ms += LINGER_MS + 1
    await gatherer.leave()
    assert sorted(entries(yard)) == [["1-0", "2-0"], ["3-0"], ["4-0"]]
    (first, *_) = [parcel for parcel, found in yard.parcels if len(found) == 2]
    assert (first.lines, first.tokens, first.tier, first.run_ms) == (2, 14, "batch", 9_000)
    assert gatherer.left == {"acme"}


async def test_a_full_parcel_leaves_before_the_next_line_comes_in():
    yard = Yard(most_lines=2)
    gatherer = await gathered(yard, *map(waiting, range(5)))
    assert entries(yard) == [["0-0", "1-0"], ["2-0", "3-0"]]
    assert gatherer.entries() == {"acme": ["4-0"]}


async def test_where_a_parcel_is_one_line_nobody_waits():
    yard = Yard(most_lines=1)
    gatherer = await gathered(yard, waiting(1, tier="window-8h"), waiting(2, tier="window-8h"))
    assert (entries(yard), gatherer.waiting) == ([["1-0"], ["2-0"]], 0)


async def test_the_urgent_do_not_travel_with_those_who_have_time():
    yard = Yard()
    gatherer = await gathered(yard, waiting(1, hours=24), waiting(2, hours=0.1))
    await gatherer.leave(all_of_them=True)
    assert sorted(entries(yard)) == [["1-0"], ["2-0"]]


async def test_the_largest_leaves_where_too_much_waits(monkeypatch):
    monkeypatch.setattr("router.adapters.broker.gather.MOST_WAITING", 100)
    yard = Yard()
    await gathered(yard, waiting(1, size=60), waiting(2, entry="acme/b@acme", size=30), waiting(3, size=20))
    assert entries(yard) == [["1-0", "3-0"]]


async def test_what_cannot_be_put_down_waits_on():
    yard = Yard()
    gatherer = await gathered(yard, waiting(1))
    yard.full = True
    with pytest.raises(BlobsUnavailable):
        await gatherer.leave(all_of_them=True)
    assert gatherer.waiting == 1
    yard.full = False
    await gatherer.leave(all_of_them=True)
    assert entries(yard) == [["1-0"]]
