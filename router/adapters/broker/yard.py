"""What every part of the broker works with: the store, the ledger, payloads, providers, and what is counted.

Belongs here: shared handles, reading and keeping payloads, moving lines on. Does not belong here: any one part's work.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec

from router.adapters.fleet.metrics import total
from router.adapters.jobs.records import Move
from router.adapters.store.layout import tenant_prefix
from router.core.jobs.jobs import Answer, Job, Line, attempt_name
from router.core.jobs.tiers import word_of
from router.core.values import Identity
from router.ports import BlobMissing, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping, Sequence

    from router.adapters.broker.planner import Planner
    from router.adapters.jobs.batch_calls import BatchApi
    from router.adapters.jobs.durable import Durable
    from router.adapters.jobs.ledger import JobLedger
    from router.adapters.jobs.store import JobStore
    from router.adapters.jobs.vault import Vault
    from router.adapters.jobs.waits import JobWaits
    from router.pipeline import Pipeline
    from router.ports import Clock, Listener, ProviderLink

SMALL: Final = 8 * 1024
"""Payloads up to this many bytes lie in the store, larger ones in blobs."""
PROMISE_S: Final = (0.2, 0.5, 1.0)
"""Pauses between attempts to have a job on the store's disk."""
_MOST_KNOWN: Final = 2_000
encode_answer: Final = msgspec.msgpack.Encoder().encode
decode_answer: Final = msgspec.msgpack.Decoder(Answer).decode
encode_identity: Final = msgspec.msgpack.Encoder().encode
decode_identity: Final = msgspec.msgpack.Decoder(Identity).decode


class Yard:
    """One broker's place of work.

    Args:
        name: of this broker; marks what it is at.
        totals: for /metrics, by name.
    """

    def __init__(
        self,
        *,
        name: str,
        store: JobStore,
        durable: Durable,
        ledger: JobLedger,
        vault: Vault,
        planner: Planner,
        pipeline: Pipeline,
        apis: Mapping[tuple[str, str], BatchApi],
        links: Mapping[str, ProviderLink],
        known: JobWaits,
        clock: Clock,
        listeners: Sequence[Listener],
        totals: MutableMapping[str, int],
    ) -> None:
        self.name = name
        self.store = store
        self.durable = durable
        self.ledger = ledger
        self.vault = vault
        self.planner = planner
        self.pipeline = pipeline
        self._apis = apis
        self.links = links
        self.known = known
        self.clock = clock
        self.listeners = listeners
        self._totals = totals
        self._jobs: dict[tuple[str, str], Job] = {}

    def count(self, by: int, name: str, *labels: str) -> None:
        """Add to a total of /metrics."""
        key = total(name, *labels)
        self._totals[key] = self._totals.get(key, 0) + by

    def api(self, provider: str, tier: str) -> BatchApi | None:
        """By which API a provider's tier is reached; None where its key is not here (any more)."""
        return self._apis.get((provider, word_of(tier)))

    @property
    def pace(self) -> float:
        """How much faster than real time the providers' clocks run."""
        return self.known.pace

    def now_ms(self) -> int:
        """The store's time."""
        return self.ledger.store_ms()

    def blob(self, tenant: str, kind: str, name: str) -> str:
        """A blob's name: one folder a tenant."""
        return f"{tenant_prefix(tenant)[4:-2]}/{kind}/{name}"

    async def job(self, tenant: str, job: str) -> Job | None:
        """A job's record, which never changes."""
        found = self._jobs.get((tenant, job))
        if found is None:
            tally = await self.store.tally(tenant, job)
            if tally is None:
                return None
            if len(self._jobs) >= _MOST_KNOWN:
                self._jobs.clear()
            found = self._jobs[tenant, job] = tally.job
        return found

    async def promise(
        self, job: Job, lines: Sequence[tuple[int, Line, bytes]], *, sealed: bool = True, due_ms: int | None = None
    ) -> None:
        """Take a job in so surely that it may be promised: it is on the store's disk.

        Raises:
            StoreUnavailable: that is not certain. It may have been taken in; whoever asked does best to call it off.
        """
        why = StoreUnavailable("the store's disk does not confirm what is written")
        for pause_s in (*PROMISE_S, 0.0):
            try:
                # Taking in twice changes nothing, and brings back what a store forgot that broke down in between.
                await self.store.put(job, lines, sealed=sealed, due_ms=due_ms, now_ms=self.now_ms())
                if await self.durable.confirmed(job.tenant):
                    return
            except StoreUnavailable as failure:
                why = failure
            await asyncio.sleep(pause_s)
        raise why

    async def body(self, job: Job, number: int, line: Line) -> bytes:
        """A line's request. Raises `BlobMissing`."""
        if line.payload[0]:
            return await self.vault.get(line.payload)
        sealed = await self.store.payload(job.tenant, job.id, str(number))
        if sealed is None:
            raise BlobMissing(f"the request of {job.id}/{number} is gone")
        return self.vault.open(f"{job.id}/{number}", 0, sealed)

    async def answer(self, job: Job, number: int, line: Line) -> Answer:
        """What came of a line. Raises `BlobMissing`."""
        if line.result[0]:
            return decode_answer(await self.vault.get(line.result))
        sealed = await self.store.payload(job.tenant, job.id, f"r{number}")
        if sealed is None:
            raise BlobMissing(f"the answer to {job.id}/{number} is gone")
        return decode_answer(self.vault.open(f"{job.id}/r{number}", 0, sealed))

    async def kept(self, job: Job, number: int, answer: Answer) -> tuple[tuple[str, int, int], bytes]:
        """(where an answer lies, what of it is to be kept in the store): sealed, in one place or the other."""
        packed = encode_answer(answer)
        if len(packed) <= SMALL:
            return ("", 0, 0), self.vault.seal(f"{job.id}/r{number}", 0, packed)
        name = self.blob(job.tenant, "answer", f"{job.id}.{number}")
        place = await self.vault.put(name, packed)
        await self.store.expire(job.tenant, job.deadline_ms + job.keep_ms, f"blob:{name}")
        return place, b""

    async def refuse(
        self, job: Job, number: int, seen: Line, answer: Answer, code: str, *, state: str = "failed", entry: str = ""
    ) -> bool:
        """A line ends without an answer of a model's: with an error's body, nothing more held for it, and off the queue."""
        place, sealed = await self.kept(job, number, answer)
        then = msgspec.structs.replace(
            seen, state=state, bound="", status=answer.status, result=place, error=code, ended_ms=self.now_ms()
        )
        move = Move(job.id, number, seen, then, result=sealed, entry=entry)
        (moved,) = await self.store.move(job.tenant, [move], self.now_ms())
        if moved:
            held = [attempt_name(job.id, number, tries) for tries in (seen.tries, seen.tries + 1) if tries]
            await self.ledger.release(job.tenant, held)
        return moved
