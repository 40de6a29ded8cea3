"""Lines that are answered in real time: those whose way that is, and those whose way out it is.

Belongs here: one run from its binding to its answer. Does not belong here: which way a line goes (planner.py), and
attempts within a run (the pipeline's).
"""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from router.adapters.jobs.records import Move
from router.core.errors import RouterError
from router.core.jobs.jobs import Answer, again_ms, attempt_name
from router.core.money import parse_usd
from router.dialects.ways import INBOUND
from router.pipeline import Call
from router.ports import BlobsUnavailable, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from router.adapters.broker.planner import Planned
    from router.adapters.broker.yard import Yard
    from router.adapters.jobs.records import Taken
    from router.core.jobs.jobs import Job, Line
    from router.core.values import Identity

URGENT: Final = 16
"""Runs at a time of lines whose deadline is near."""
PATIENT: Final = 4
"""Runs at a time of all others: they must not crowd out those who wait for their answer."""
IDLE_RUNS: Final = 8
"""Runs at a time on machines of one's own that have room: what they take shows in the load before it grows too much."""
PUT_OFF_MS: Final = 10_000
"""After this a line looks for a machine with room again."""
NEAR_MS: Final = 120_000
PAUSES_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Before each further attempt to keep an answer; the last one again and again."""
_T = TypeVar("_T")
_TOLD: Final = frozenset({"x-costrouter-model", "x-costrouter-provider", "x-costrouter-tier", "x-costrouter-policy"})


class Runs:
    """Runs lines, few at a time."""

    def __init__(self, yard: Yard) -> None:
        self._yard = yard
        self._urgent = asyncio.Semaphore(URGENT)
        self._patient = asyncio.Semaphore(PATIENT)
        self._idle = asyncio.Semaphore(IDLE_RUNS)

    async def run(self, job: Job, taken: Taken, identity: Identity, planned: Planned | None) -> None:
        """Answer a line now. It leaves the queue in the step that keeps its answer, or queues it again."""
        if planned is not None and planned.idle:
            async with self._idle:
                await self._on_idle(job, taken, identity, planned)
            return
        near = job.deadline_ms - self._yard.now_ms() <= NEAR_MS
        async with self._urgent if near else self._patient:
            await self._bound(job, taken, identity)

    async def _on_idle(self, job: Job, taken: Taken, identity: Identity, planned: Planned) -> None:
        """On a machine of one's own that had room when this was planned; where others have come meanwhile it is planned
        anew, a little later.
        """
        yard, entry = self._yard, planned.option.entry
        now_ms = yard.now_ms()
        if yard.planner.has_room(yard.pipeline.snapshot, entry):
            await self._bound(job, taken, identity, entry)
            return
        pause = min(PUT_OFF_MS, max(job.deadline_ms - now_ms, 0) // 4)
        then = msgspec.structs.replace(taken.line, waits_ms=now_ms + pause)
        await yard.store.move(
            job.tenant, [Move(job.id, taken.number, taken.line, then, queue=True, entry=taken.entry)], now_ms
        )

    async def _bound(self, job: Job, taken: Taken, identity: Identity, stays: str = "") -> None:
        yard, line = self._yard, taken.line
        tries = line.tries + 1
        bound = msgspec.structs.replace(line, state="bound", bound=f"run:{yard.name}", tries=tries)
        (mine,) = await yard.store.move(job.tenant, [Move(job.id, taken.number, line, bound)], yard.now_ms())
        if not mine:
            return  # another one is at it; the entry is theirs
        name = attempt_name(job.id, taken.number, tries)
        # A run may make several attempts, each with a row of its own; the first takes over what is held.
        await yard.ledger.hand_on(job.tenant, [(name, f"{name}/1")])
        body = await yard.body(job, taken.number, line)

        async def read() -> bytes:
            return body

        # The same rule is to govern it as governed the plan.
        due = dt.datetime.fromtimestamp(max(job.deadline_ms, yard.now_ms() + 1_000) / 1000, dt.UTC)
        headers = {**job.headers, "x-costrouter-deadline": due.isoformat(timespec="milliseconds")}
        call = Call(api=job.endpoint, headers=headers, read=read, request_id=name, identity=identity, stays=stays)
        try:
            reply = await yard.pipeline.serve(call)
        except RouterError as error:
            await self._failed(job, taken, bound, error)
            return
        reply.after()
        told = dict(reply.headers)
        answer = Answer(200, {key: value for key, value in told.items() if key in _TOLD}, reply.body)
        cost_nano = parse_usd(told.get("x-costrouter-cost-usd", "0")) // 1000
        await self._done(job, taken, bound, answer, cost_nano)

    async def _done(self, job: Job, taken: Taken, bound: Line, answer: Answer, cost_nano: int) -> None:
        yard, number = self._yard, taken.number
        answer = msgspec.structs.replace(answer, headers={**answer.headers, "x-costrouter-cost-nano": str(cost_nano)})
        place, sealed = await _surely(lambda: yard.kept(job, number, answer))
        then = msgspec.structs.replace(
            bound, state="succeeded", bound="", status=200, result=place, ended_ms=yard.now_ms()
        )
        move = Move(job.id, number, bound, then, result=sealed, cost_nano=cost_nano, entry=taken.entry)
        await _surely(lambda: yard.store.move(job.tenant, [move], yard.now_ms()))

    async def _failed(self, job: Job, taken: Taken, bound: Line, error: RouterError) -> None:
        yard, now_ms, number = self._yard, self._yard.now_ms(), taken.number
        told_ms = None if error.retry_after_s is None else round(error.retry_after_s * 1000)
        pause = again_ms(error.code, bound.tries, job.deadline_ms - now_ms, told_ms) if error.retryable else None
        if pause is not None:
            then = msgspec.structs.replace(bound, state="queued", bound="", waits_ms=now_ms + pause)
            await yard.store.move(
                job.tenant, [Move(job.id, number, bound, then, queue=True, entry=taken.entry)], now_ms
            )
            return
        answer = Answer(error.status, {}, INBOUND[job.endpoint].error_body(error))
        await yard.refuse(job, number, bound, answer, error.code, entry=taken.entry)


async def _surely(work: Callable[[], Awaitable[_T]]) -> _T:
    """Do it, again and again for as long as the store does not answer: an answer that is not kept would be paid for once
    more. Whoever ends this process meanwhile leaves the line to be run anew.
    """
    pauses = itertools.chain(PAUSES_S, itertools.repeat(PAUSES_S[-1]))
    while True:
        try:
            return await work()
        except (StoreUnavailable, BlobsUnavailable):
            await asyncio.sleep(next(pauses))
