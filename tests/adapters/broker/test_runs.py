"""Runs on machines of one's own: only while they have room, whatever was planned."""

from __future__ import annotations

from types import SimpleNamespace

from jobs import QUEUED, a_job
from store import now_ms

from router.adapters.broker.runs import PUT_OFF_MS, Runs
from router.adapters.jobs.records import Taken

IDLE = SimpleNamespace(idle=True, option=SimpleNamespace(entry="self/model@vllm"))


class Yard:
    """Where nobody is to be run: it tells what was moved instead."""

    def __init__(self):
        self.moves = []
        self.store = self
        self.pipeline = SimpleNamespace(snapshot="now")
        self.planner = SimpleNamespace(has_room=lambda snapshot, entry: (snapshot, entry) != ("now", "self/model@vllm"))

    def now_ms(self):
        return now_ms()

    async def move(self, tenant, moves, at_ms):
        self.moves += [(tenant, move, move.then.waits_ms - at_ms) for move in moves]


async def put_off(left_ms):
    yard = Yard()
    await Runs(yard).run(a_job(deadline_ms=now_ms() + left_ms), Taken("job_1", 0, "1-0", QUEUED), None, IDLE)
    ((tenant, move, pause),) = yard.moves
    assert (tenant, move.queue, move.entry, move.then.state, move.then.tries) == ("acme", True, "1-0", "queued", 0)
    return pause


async def test_where_others_have_come_meanwhile_it_is_planned_anew_a_little_later():
    assert await put_off(600_000) == PUT_OFF_MS


async def test_and_sooner_where_the_deadline_is_near():
    assert 0 < await put_off(4_000) <= 1_000
    assert await put_off(-1) == 0
