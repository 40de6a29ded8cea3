"""The broker: takes up lines that may wait, has each done its way, and takes parcels and jobs further until their end.

Belongs here: the round of work over all tenants, and what happens to a line that comes off the queue. Does not belong
here: planning (planner.py), real-time runs (runs.py), parcels (parcels.py), the ends of jobs (ends.py).

It runs in every worker, of all nodes or of some; any number of them share the work, and whatever one leaves in the middle
another one takes up.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from router.adapters.broker.ends import Ends
from router.adapters.broker.gather import Gatherer, Waiting
from router.adapters.broker.parcels import Parcels
from router.adapters.broker.rota import MOST_S
from router.adapters.broker.runs import Runs
from router.adapters.broker.yard import decode_identity
from router.adapters.jobs.records import Move, Taken
from router.core.errors import RouterError
from router.core.jobs.jobs import LINE_DONE, Answer
from router.core.money import nano_ceil, usd
from router.dialects.ways import INBOUND
from router.ports import BlobMissing, BlobsUnavailable, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from router.adapters.broker.planner import Planned
    from router.adapters.broker.rota import Rota
    from router.adapters.broker.yard import Yard
    from router.adapters.jobs.records import Leased
    from router.core.jobs.jobs import Job

REST_S: Final = 0.25
"""Between two rounds while lines gather."""
KEEP_S: Final = 10.0
"""How often a broker says which lines it is at."""
IDLE_MS: Final = 45_000
"""Lines that a broker has not spoken of for so long are another's; not while the store has been back for less than that,
because then nobody could speak."""
TAKEN: Final = 64
"""Lines taken up at a time."""
MOST_AT_ONCE: Final = 128
"""Lines that this broker is at, gathering ones apart."""
MOST_TURNS: Final = 8
"""Parcels and jobs that this broker is at."""
REFRESH_S: Final = 5.0
FAILED_MS: Final = 5_000
"""After this, what failed for no known reason is tried again."""
_log: Final = structlog.get_logger(__name__)


class Broker:
    """One broker."""

    def __init__(self, yard: Yard, ends: Ends, rota: Rota) -> None:
        self._yard = yard
        self._rota = rota
        self._ends = ends
        self._gatherer = Gatherer(yard)
        self._parcels = Parcels(yard)
        self._runs = Runs(yard)
        self._tasks: set[asyncio.Task[None]] = set()
        self._lines = 0
        self._turns = 0
        self._later: dict[tuple[str, str], int] = {}
        """Lines that must not begin yet: tenant and entry to when."""
        self._hand: dict[tuple[str, str], int] = {}
        """Lines that this broker is at, gathering ones apart: tenant and entry to when their jobs began."""
        self._queued: dict[str, int] = {}
        """Lines on each tenant's queue, as last seen."""
        self._crowded: set[str] = set()
        """Tenants at whom this broker would have looked further, had it not its hands full."""
        self._refreshed = 0.0
        self._claims_from = 0.0
        """When lines that others have left may be taken up, in the loop's time."""

    def wake(self, tenant: str) -> None:
        """There is something new to do."""
        self._rota.at_once(tenant)

    @property
    def depth(self) -> int:
        """Lines that this broker has taken up."""
        return self._lines + self._gatherer.waiting + len(self._later)

    @property
    def queued(self) -> int:
        """Lines that wait, or that some broker is at, in the whole fleet, as far as this one has seen."""
        return sum(self._queued.values())

    @property
    def oldest_s(self) -> int:
        """How long the oldest of them has been a job's, in seconds."""
        since = min(self._hand.values(), default=None)
        return 0 if since is None else max(0, (self._yard.now_ms() - since) // 1000)

    async def run(self) -> None:
        """Until cancelled; then what is under way is left to others."""
        failing = False
        self._claim_later()
        self._start(self._keep())
        self._start(self._rota.listen())
        try:
            while True:
                try:
                    await self._round()
                    failing = False
                except (StoreUnavailable, BlobsUnavailable) as error:
                    if not failing:
                        _log.warning("broker_waits", reason=str(error))
                    failing = True
                    self._claim_later()
                except Exception as error:  # noqa: BLE001 - the work of others must go on; it is tried again
                    _log.exception("broker_failed", kind=type(error).__name__)
                    await asyncio.sleep(REST_S)
                await self._rota.rest(self._yard.now_ms(), REST_S if self._gatherer.waiting or failing else MOST_S)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _round(self) -> None:
        """One look at everything that is due."""
        yard = self._yard
        loop = asyncio.get_running_loop()
        if loop.time() - self._refreshed > REFRESH_S / min(yard.pace, 10):
            await yard.known.refresh(yard.now_ms())
            self._rota.know(await yard.store.tenants())
            self._refreshed = loop.time()
        for tenant in self._rota.due(yard.now_ms()):
            await self._look(tenant)
        await self._gatherer.leave()
        while self._gatherer.left:
            self._rota.at_once(self._gatherer.left.pop())

    async def _look(self, tenant: str) -> None:
        """Take up what there is of a tenant's."""
        yard = self._yard
        looked = await yard.store.lease(tenant, max(MOST_TURNS - self._turns, 0))
        yard.ledger.heard(looked.now_ms)
        self._queued[tenant] = looked.queued
        for found in looked.leased:
            self._turns += 1
            self._start(self._turn(tenant, found))
        if self._turns < MOST_TURNS:
            self._rota.looked(tenant, looked.now_ms, looked.next_ms, queued=bool(looked.queued))
        else:
            self._crowded.add(tenant)
        if looked.queued:
            if self.depth >= MOST_AT_ONCE + self._gatherer.waiting:
                self._crowded.add(tenant)
            elif await self._take_up(tenant):
                self._rota.at_once(tenant)
        await self._ends.tidy(tenant)

    def _freed(self) -> None:
        """There is a hand free for whom it was full."""
        if self._crowded and self._turns < MOST_TURNS and self._lines < MOST_AT_ONCE // 2:
            for tenant in self._crowded:
                self._rota.at_once(tenant)
            self._crowded.clear()

    async def _take_up(self, tenant: str) -> bool:
        """Lines off the queue; whether there may be more."""
        idle_ms = round(IDLE_MS / min(self._yard.pace, 10))
        claims = asyncio.get_running_loop().time() >= self._claims_from
        taken = await self._yard.store.take(tenant, TAKEN, idle_ms if claims else None)
        mine = set(self._mine().get(tenant, ())) if claims else set()
        for line in taken:
            if line.entry not in mine:
                await self._take(tenant, line)
        return len(taken) == TAKEN

    def _claim_later(self) -> None:
        """Nobody could say lately which lines they are at: give them the time to."""
        idle_s = IDLE_MS / 1000 / min(self._yard.pace, 10)
        self._claims_from = asyncio.get_running_loop().time() + idle_s

    def _mine(self) -> dict[str, list[str]]:
        found = self._gatherer.entries()
        for tenant, entry in (*self._later, *self._hand):
            found.setdefault(tenant, []).append(entry)
        return found

    async def _keep(self) -> None:
        """Say which lines this broker is at, whatever else goes on."""
        while True:
            await asyncio.sleep(KEEP_S / min(self._yard.pace, 10))
            for tenant, entries in self._mine().items():
                with contextlib.suppress(StoreUnavailable):
                    await self._yard.store.keep(tenant, entries)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _turn(self, tenant: str, leased: Leased) -> None:
        """Take a parcel or a job further. What fails is tried again when the lease has ended."""
        try:
            if leased.record is not None:
                await self._parcels.turn(leased, leased.record)
            elif leased.member.startswith("j:"):
                await self._ends.turn(tenant, leased)
            else:
                await self._yard.store.give_back(tenant, leased, None)
        except (StoreUnavailable, BlobsUnavailable) as error:
            _log.warning("turn_waits", what=leased.member, reason=str(error))
        except Exception as error:  # noqa: BLE001 - as above
            _log.exception("turn_failed", what=leased.member, kind=type(error).__name__)
            with contextlib.suppress(StoreUnavailable):
                await self._yard.store.give_back(tenant, leased, self._yard.now_ms() + FAILED_MS)
        finally:
            self._turns -= 1
            self._rota.at_once(tenant)
            self._freed()

    async def _take(self, tenant: str, taken: Taken) -> None:
        """A line off the queue: plan it, and have it go its way."""
        yard, line = self._yard, taken.line
        if line.state in LINE_DONE or (line.state == "bound" and not line.bound.startswith("run:")):
            await yard.store.drop(tenant, [taken.entry])
            return
        tally = await yard.store.tally(tenant, taken.job)
        if tally is None:
            await yard.store.drop(tenant, [taken.entry])
            return
        job = tally.job
        if tally.unwanted:
            await self._end(job, taken, RouterError("request_cancelled", "The job was cancelled."), state="cancelled")
            return
        if line.waits_ms > yard.now_ms():
            self._later[tenant, taken.entry] = line.waits_ms
            self._start(self._wait(tenant, taken))
            return
        self._lines += 1
        self._hand[tenant, taken.entry] = job.created_ms
        self._start(self._go(job, taken))

    async def _wait(self, tenant: str, taken: Taken) -> None:
        """Come back to a line that must not begin yet."""
        try:
            await asyncio.sleep(max(0, taken.line.waits_ms - self._yard.now_ms()) / 1000)
            if self._later.pop((tenant, taken.entry), None) is not None:
                (line,) = await self._yard.store.lines(tenant, taken.job, [taken.number])
                if line is not None:
                    await self._take(tenant, Taken(taken.job, taken.number, taken.entry, line))
        except (StoreUnavailable, BlobsUnavailable):
            self._later.pop((tenant, taken.entry), None)  # it is idle by now, and will be taken up anew

    async def _go(self, job: Job, taken: Taken) -> None:
        try:
            await self._way(job, taken)
        except (StoreUnavailable, BlobsUnavailable) as error:
            _log.warning("line_waits", job=taken.job, line=taken.number, reason=str(error))
        except BlobMissing as error:
            await self._end(job, taken, RouterError("internal_error", f"The request is gone: {error}."))
        except Exception as error:  # noqa: BLE001 - as above
            _log.exception("line_failed", job=taken.job, line=taken.number, kind=type(error).__name__)
        finally:
            self._lines -= 1
            self._hand.pop((job.tenant, taken.entry), None)
            self._freed()

    async def _way(self, job: Job, taken: Taken) -> None:
        yard, line = self._yard, taken.line
        identity = decode_identity(job.identity)
        body = await yard.body(job, taken.number, line)
        try:
            left_ms = job.deadline_ms - yard.now_ms()
            seen = await yard.pipeline.consider(
                job.endpoint, identity, job.headers, body, request_id=job.id, deadline_ms=left_ms
            )
            if seen.request.stream:
                message = "A batch's line is answered whole: leave out stream."
                raise RouterError("invalid_request", message, param="stream")  # noqa: TRY301 - told like any other
            seen = yard.planner.wholly(seen)
            planned = yard.planner.plan(seen, left_ms, line.avoid)
            if planned is not None:
                await self._within_cap(job, taken, planned)
            if planned is None or not planned.batched:
                if planned is not None and planned.wait_ms:
                    await self._put_off(job, taken, planned.wait_ms)
                else:
                    await self._runs.run(job, taken, identity, planned)
                return
            row, baseline = await yard.planner.hold(seen, planned, job.id, taken.number, line.tries + 1)
        except RouterError as error:
            if error.code == "store_unavailable":
                raise StoreUnavailable(error.message) from None
            await self._end(job, taken, error)
            return
        attempt = yard.planner.attempt(seen, planned, job.id, taken.number, line.tries + 1)
        shows = seen.request.conversation is not None and seen.request.conversation.shows_thoughts
        body = yard.planner.order(seen, attempt)
        await self._gatherer.add(Waiting(taken, job, planned, row, baseline, body, shows))

    async def _within_cap(self, job: Job, taken: Taken, planned: Planned) -> None:
        """A batch may have a limit of its own: what is begun is finished, and nothing beyond it is begun."""
        if not job.cap_nano or taken.line.tries:
            return
        expected = nano_ceil(planned.cost_pico)
        may, begun = await self._yard.store.begin(job, taken.number, expected)
        if not may:
            message = (
                f"The batch may cost ${usd(job.cap_nano)}, and ${usd(begun)} of that is spent or under way: raise "
                "metadata.costrouter.budget_usd and send this line again."
            )
            raise RouterError("budget_exceeded", message)

    async def _put_off(self, job: Job, taken: Taken, wait_ms: int) -> None:
        """Its hours have not come yet: it waits on the queue."""
        yard = self._yard
        until = yard.now_ms() + wait_ms
        then = msgspec.structs.replace(taken.line, waits_ms=until)
        await yard.store.move(job.tenant, [Move(job.id, taken.number, taken.line, then)], yard.now_ms())
        self._later[job.tenant, taken.entry] = until
        self._start(self._wait(job.tenant, Taken(taken.job, taken.number, taken.entry, then)))

    async def _end(self, job: Job, taken: Taken, error: RouterError, *, state: str = "failed") -> None:
        answer = Answer(error.status, {}, INBOUND[job.endpoint].error_body(error))
        await self._yard.refuse(job, taken.number, taken.line, answer, error.code, state=state, entry=taken.entry)
