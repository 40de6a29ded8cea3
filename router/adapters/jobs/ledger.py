"""Money of work that waits: held for hours whatever becomes of a worker, booked exactly once whoever books it.

Belongs here: holds under a name that no sweep touches, handing them on from one try to the next, and booking a parcel's
rows under numbers that are the same for whoever does it. Does not belong here: holds and rows of requests that are
answered at once (ledger/ledger.py).

A parcel's rows are numbered by its manifest, in a journal of the parcel's own: the settle script knows the last number
that it has booked, so a broker that begins anew after another's death books the rest and nothing twice.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec

from router.adapters.journal.adoption import held_by
from router.adapters.ledger.batch import SETTLE, Entry, batch_of, packed_row
from router.adapters.ledger.reserve import ReserveLane
from router.adapters.store.layout import JOBS_JOURNAL, read_held, tenant_prefix
from router.adapters.store.resp import Script
from router.ports import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router.adapters.store.connection import StoreConnection
    from router.core.budgets.limits import Limit
    from router.core.values import Hold, Row
    from router.ports import Clock

HAND_ON: Final = Script("jobs_hold")
CHUNK: Final = 64
"""Rows in one call."""


class JobLedger:
    """Implements `router.ports.Ledger` as far as planning needs it: `reserve`, `store_ms` and `sent`. One event loop."""

    def __init__(self, connection: StoreConnection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self._ahead_ms = 0
        self._lanes: dict[str, ReserveLane] = {}
        self._sent: dict[str, Row] = {}
        self._freeing: set[asyncio.Task[None]] = set()

    def store_ms(self) -> int:
        """The store's time in ms since the epoch, as far as its last answer tells."""
        return self._clock.now_ms() + self._ahead_ms

    def heard(self, now_ms: int) -> None:
        """The store's time came with an answer."""
        self._ahead_ms = now_ms - self._clock.now_ms()

    def reserve(self, hold: Hold) -> asyncio.Future[int]:
        """As `Ledger.reserve`; what is held stays held until its row is booked or it is released."""
        lane = self._lanes.get(hold.tenant)
        if lane is None:
            prefix = tenant_prefix(hold.tenant)

            def orphaned(holds: list[Hold], tenant: str = hold.tenant) -> None:
                self._free_later(tenant, holds)

            lane = ReserveLane(self._connection, prefix, JOBS_JOURNAL, self.heard, orphaned)
            self._lanes[hold.tenant] = lane
        result: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        if hold.terms.limits:
            # Limits are on calls that somebody waits for; what waits itself would take their room for hours.
            hold = msgspec.structs.replace(hold, terms=msgspec.structs.replace(hold.terms, limits=()), tokens=0)
        lane.add(hold, result)
        return result

    def counted(self, limit: Limit) -> int:  # noqa: ARG002 - the port's shape
        """Nothing here counts."""
        return 0

    def sent(self, row: Row) -> None:
        """Remember the row of a try that is planned, for `planned`."""
        self._sent[row.attempt] = row

    def planned(self, attempt: str) -> Row:
        """The row that was last given for an attempt; once."""
        return self._sent.pop(attempt)

    def settle(self, row: Row) -> None:
        """A try that was planned and not kept: what is held for it goes back."""
        self._free(row.tenant, [row.attempt])

    async def flush(self) -> None:
        """Return once what was given back is free again."""
        await asyncio.gather(*self._freeing, return_exceptions=True)

    async def hand_on(self, tenant: str, pairs: Sequence[tuple[str, str]]) -> None:
        """What is held for the first attempt of a pair is held for the second. Raises `StoreUnavailable`."""
        for start in range(0, len(pairs), CHUNK):
            flat = [name for pair in pairs[start : start + CHUNK] for name in pair]
            await self._connection.script(HAND_ON, [f"{tenant_prefix(tenant)}holds"], flat)

    async def book(self, tenant: str, parcel: str, rows: Sequence[Row]) -> list[Row]:
        """Book a parcel's rows, in their order, each exactly once; those that were not booked before.

        Raises:
            StoreUnavailable: some may be booked; call it again with the same rows.
        """
        prefix, journal = tenant_prefix(tenant), f"{JOBS_JOURNAL}.{parcel}"
        fresh: list[Row] = []
        for start in range(0, len(rows), CHUNK):
            entries: list[Entry] = [
                (start + place, *packed_row(row), None) for place, row in enumerate(rows[start : start + CHUNK], 1)
            ]
            batch = batch_of(prefix, journal, (start + 1, start + len(entries)), entries, [])
            now_ms, booked, *_ = await self._connection.script(SETTLE, batch.keys, batch.args)
            self.heard(now_ms)
            if booked == 1:
                fresh += (entry[1] for entry in entries)
        return fresh

    async def release(self, tenant: str, attempts: Sequence[str]) -> None:
        """What is held for these goes back; nothing was sent. Raises `StoreUnavailable`."""
        prefix = tenant_prefix(tenant)
        for start in range(0, len(attempts), CHUNK):
            part = list(attempts[start : start + CHUNK])
            journal = f"{JOBS_JOURNAL}.{part[0]}"
            batch = batch_of(prefix, journal, (1, 1), [], part)
            await self._connection.script(SETTLE, batch.keys, batch.args)
            await self.forget(tenant, part[0])

    async def held_since(self, tenant: str, before_ms: int) -> list[str]:
        """Attempts of jobs for which money was set aside before this time and still is. Raises `StoreUnavailable`."""
        found = {name: read_held(text) for name, text in (await held_by(self._connection, tenant)).items()}
        return [name for name, held in found.items() if held.journal == JOBS_JOURNAL and held.at_ms < before_ms]

    async def forget(self, tenant: str, name: str) -> None:
        """Remove the mark of a parcel that nobody will book any more. Raises `StoreUnavailable`."""
        await self._connection.call("HDEL", f"{tenant_prefix(tenant)}applied", f"{JOBS_JOURNAL}.{name}")

    def _free_later(self, tenant: str, holds: list[Hold]) -> None:
        # It may still be on its way; once its last moment has passed in the store's time it can only be refused.
        wait_s = (max(hold.not_after_ms for hold in holds) - self.store_ms()) / 1000 + 1
        names = [hold.attempt for hold in holds]
        asyncio.get_running_loop().call_later(max(wait_s, 1.0), self._free, tenant, names)

    def _free(self, tenant: str, attempts: list[str]) -> None:
        async def free() -> None:
            for _ in range(5):
                try:
                    await self.release(tenant, attempts)
                except StoreUnavailable:
                    await asyncio.sleep(1)
                else:
                    return

        task = asyncio.get_running_loop().create_task(free())
        self._freeing.add(task)
        task.add_done_callback(self._freeing.discard)
