"""The ends of jobs: what they promised against what came, word to whoever asked for it, and the removal of what is old.

Belongs here: a job's last turn, and retention. Does not belong here: its lines (broker.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

import structlog

from router.adapters.fleet.webhook import Webhook
from router.adapters.jobs.store import CHUNK
from router.core.errors import RouterError
from router.core.jobs.jobs import Answer
from router.dialects.ways import INBOUND

if TYPE_CHECKING:
    from router.adapters.broker.yard import Yard
    from router.adapters.jobs.records import Leased, Tally
    from router.core.jobs.jobs import Job, Line

TIDY_MS: Final = 10_000
"""How often a tenant's old payloads are looked for."""
STRAY_MS: Final = 600_000
"""Age of a hold at which its job must have been stored, if it ever was; and how often that is looked for."""
_log: Final = structlog.get_logger(__name__)


class Ends:
    """Ends jobs.

    Args:
        yard: the broker's.
        secret: signs webhooks; the empty text signs none.
        private: whether webhooks may go to addresses that are not public.
        batches: does what is to be done about a batch of a caller's: reading its lines, writing its results. Gives when
            to come again, or None when it is done.
    """

    def __init__(
        self,
        yard: Yard,
        *,
        secret: str = "",
        private: bool = False,
        batches: Callable[[Tally, Leased], Awaitable[int | None]] | None = None,
    ) -> None:
        self._yard = yard
        self._secret = secret
        self._private = private
        self._batches = batches
        self._tidied: dict[str, int] = {}
        self._freed: dict[str, int] = {}

    async def turn(self, tenant: str, leased: Leased) -> None:
        """Do what is to be done about a job."""
        yard = self._yard
        tally = await yard.store.tally(tenant, leased.member[2:])
        if tally is None:
            await yard.store.give_back(tenant, leased, None)
            return
        if tally.job.kind != "request" and self._batches is not None:
            again_ms = await self._batches(tally, leased)
            if again_ms is not None:
                await yard.store.give_back(tenant, leased, again_ms)
                return
        if tally.ended_ms:
            await self._close(tally)
        await yard.store.give_back(tenant, leased, None)

    async def _close(self, tally: Tally) -> None:
        yard, job = self._yard, tally.job
        if "closed" in tally.notes:
            return
        late_ms = tally.ended_ms - job.deadline_ms
        yard.count(1, "costrouter_jobs_ended", "late" if late_ms > 0 else "on_time")
        yard.count(tally.ended_ms - job.created_ms, "costrouter_jobs_milliseconds", "taken")
        yard.count(max(job.promised_ms - job.created_ms, 0), "costrouter_jobs_milliseconds", "promised")
        if late_ms > 0:
            _log.warning("deadline_missed", job=job.id, tenant=job.tenant, late_ms=late_ms, reason=_why(tally))
            await yard.store.note(job.tenant, job.id, late_ms=late_ms, late_because=_why(tally))
        await yard.store.expire(job.tenant, tally.ended_ms + job.keep_ms, f"job:{job.id}")
        if job.webhook:
            told = await Webhook(job.webhook, self._secret, private=self._private).tell(_message(tally))
            await yard.store.note(job.tenant, job.id, webhook="told" if told else "failed")
        await yard.store.note(job.tenant, job.id, closed=1)

    async def tidy(self, tenant: str) -> None:
        """Remove what has had its time. Raises `StoreUnavailable`, `BlobsUnavailable`."""
        yard, now_ms = self._yard, self._yard.now_ms()
        if now_ms - self._tidied.get(tenant, 0) < TIDY_MS:
            return
        self._tidied[tenant] = now_ms
        for member in await yard.store.expired(tenant, now_ms):
            kind, _, name = member.partition(":")
            if kind == "blob":
                await yard.vault.blobs.delete(name)
            await yard.store.forget(tenant, member)
        if now_ms - self._freed.get(tenant, 0) >= STRAY_MS:
            # All holds of the tenant are read for it, which may be those of a whole batch.
            self._freed[tenant] = now_ms
            await self._free_strays(tenant)
            await yard.store.forget_consumers(tenant)

    async def _free_strays(self, tenant: str) -> None:
        """Give back what is held for jobs that nobody knows: whoever took them died before it stored them."""
        yard = self._yard
        strays = []
        for attempt in await yard.ledger.held_since(tenant, yard.ledger.store_ms() - STRAY_MS):
            job, number, _ = attempt.rsplit("/", 2)
            if await yard.store.lines(tenant, job, [int(number)]) == [None]:
                strays.append(attempt)
        if strays:
            _log.warning("job_holds_freed", tenant=tenant, holds=len(strays))
            await yard.ledger.release(tenant, strays)


async def cancel(yard: Yard, job: Job) -> None:
    """Cancel a job: what waits ends at once, what travels is called back. Raises `StoreUnavailable`."""
    await yard.store.note(job.tenant, job.id, cancel=1)
    tally = await yard.store.tally(job.tenant, job.id)
    parcels: set[str] = set()
    for start in range(0, tally.lines if tally else 0, CHUNK):
        left = list(range(start, min(start + CHUNK, tally.lines if tally else 0)))
        while left:
            found = zip(left, await yard.store.lines(job.tenant, job.id, left), strict=True)
            left = []
            for number, line in found:
                if line is None:
                    continue
                if line.state == "bound" and not line.bound.startswith("run:"):
                    parcels.add(line.bound)
                elif line.state == "queued" and not await _dropped(yard, job, number, line):
                    left.append(number)  # it has just been taken up: where it is now is seen anew
    alone = []
    for parcel in await yard.store.parcels(job.tenant):
        if parcel.id in parcels:
            manifest = await yard.store.manifest(parcel)
            # Others may travel in it; then it goes on, and only this job's lines are dropped when it comes back.
            others = {entry.job for entry in manifest} - {job.id}
            tallies = [await yard.store.tally(job.tenant, other) for other in others]
            if all(other is None or other.unwanted for other in tallies):
                alone.append(parcel.id)
    await yard.store.unwant(job.tenant, alone, yard.now_ms())


async def _dropped(yard: Yard, job: Job, number: int, line: Line) -> bool:
    error = RouterError("request_cancelled", "The job was cancelled.")
    answer = Answer(error.status, {}, INBOUND[job.endpoint].error_body(error))
    return await yard.refuse(job, number, line, answer, error.code, state="cancelled")


def _why(tally: Tally) -> str:
    if tally.cancelled:
        return "cancelled"
    return "no way was fast enough" if tally.succeeded else "every try failed"


def _message(tally: Tally) -> dict[str, object]:
    job = tally.job
    return {
        "type": "costrouter.job.ended",
        "id": job.id,
        "kind": job.kind,
        "succeeded": tally.succeeded,
        "failed": tally.failed,
        "cancelled": tally.cancelled,
        "cost_nano": tally.cost_nano,
        "ended_at": tally.ended_ms // 1000,
        "text": f"Job {job.id} has ended: {tally.succeeded} of {tally.lines} succeeded.",
    }
