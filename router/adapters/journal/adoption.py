"""Journals whose worker is dead: whoever takes the lock settles what is left in them, then removes them.

Belongs here: finding orphans on this disk and settling them. Does not belong here: writing a journal (journal.py), and
workers whose disk is lost too (sweep.py).

An end that is on file is booked under its own number, as the worker would have done. What was sent and has no end is
booked as the estimate that was written before sending, numbered by that record beside the journal's rows. Both numbers
are the same whoever adopts, so an adoption that is itself cut short is simply done again.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections import defaultdict
from typing import TYPE_CHECKING, Final

import structlog

from router.adapters.journal.frames import SENT
from router.adapters.journal.journal import Numbers, lock, read_journal
from router.adapters.ledger.batch import Entry, packed_row
from router.adapters.ledger.rows import stream_rows
from router.adapters.ledger.settle import ESTIMATES, SWEEPS, SettleLane
from router.adapters.store.layout import (
    PLATFORM_JOURNALS,
    PLATFORM_TENANTS,
    hour_of,
    read_held,
    tenant_prefix,
)
from router.adapters.store.resp import Script

if TYPE_CHECKING:
    from pathlib import Path

    from router.adapters.journal.frames import Record
    from router.adapters.store.connection import StoreConnection
    from router.ports import Clock

BEAT: Final = Script("beat")
_POLL_S: Final = 0.02
_SCANNED: Final = 1_000
_log: Final = structlog.get_logger(__name__)


class Adoption:
    """Settles the orphans on one disk.

    Args:
        root: the folder of all journals.
        connection: to the store; slow calls on it hold up nobody.
        clock: the machine's time.
    """

    def __init__(self, root: Path, connection: StoreConnection, clock: Clock) -> None:
        self._root = root
        self._connection = connection
        self._clock = clock
        self.adopting: set[str] = set()
        """Journals that are being settled, so that somebody can say that they are looked after."""

    async def adopt_all(self) -> int:
        """Settle and remove every journal whose worker is dead; returns how many there were.

        Raises:
            StoreUnavailable, OSError: what was not finished is left for the next time.
        """
        claimed = [(folder, held) for folder in self._folders() if (held := _claim(folder)) is not None]
        try:
            self.adopting.update(folder.name for folder, _ in claimed)
            orphans = [_Orphan(folder, self._connection, self._clock) for folder, _ in claimed]
            done = await asyncio.gather(*(orphan.settle() for orphan in orphans), return_exceptions=True)
        finally:
            self.adopting.clear()
            for _, held in claimed:
                os.close(held)
        for failure in done:
            if failure is not None:
                raise failure
        return len(claimed)

    def here(self, journal: str) -> bool:
        """Whether a journal is on this disk, where it needs nobody's guess."""
        return (self._root / journal).is_dir()

    def _folders(self) -> list[Path]:
        try:
            return sorted(path for path in self._root.iterdir() if not path.name.startswith("."))
        except FileNotFoundError:
            return []


class _Orphan:
    """One journal that was claimed: settles what is left in it. Its lanes' owner."""

    def __init__(self, folder: Path, connection: StoreConnection, clock: Clock) -> None:
        self._folder = folder
        self._name = folder.name
        self._connection = connection
        self._clock = clock
        self._estimated: set[str] = set()
        self._reading: set[asyncio.Task[None]] = set()

    async def settle(self) -> None:
        """All of it, and remove it then.

        Raises:
            StoreUnavailable, OSError: it is to be done again.
        """
        name = self._name
        await self._connection.script(BEAT, [PLATFORM_JOURNALS], ["", name])
        records, damaged = await asyncio.to_thread(read_journal, self._folder)
        if damaged:
            _log.error("journal_damaged", journal=name, bytes=damaged)
        marks = {tenant: await self._mark(tenant) for tenant in {record.row.tenant for record in records}}
        ends, left = await asyncio.to_thread(_left, records, marks)
        sent = {tenant: await self._unbooked(tenant, entries) for tenant, entries in left.items()}
        self._estimated = {entry[1].attempt for entries in sent.values() for entry in entries}
        await self._finish(ends, sent, marks)
        await self._connection.script(BEAT, [PLATFORM_JOURNALS], ["-", name])
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)
        _log.info("journal_adopted", journal=name, records=len(records), estimated=len(self._estimated))

    async def _mark(self, tenant: str) -> int:
        mark = await self._connection.call("HGET", f"{tenant_prefix(tenant)}applied", self._name)
        return 0 if mark is None else int(mark.decode().removesuffix(SWEEPS))

    async def _unbooked(self, tenant: str, entries: list[Entry]) -> list[Entry]:
        """Those that have no row yet: an end that a broken disk did not take may have been settled from memory.

        Booking ends a hold in the same step, so that rows are looked through only where a hold is gone. What was swept
        stays, to be corrected.
        """
        prefix = tenant_prefix(tenant)
        gone: dict[str, str] = {}
        for start in range(0, len(entries), _SCANNED):
            rows = [entry[1] for entry in entries[start : start + _SCANNED]]
            held = await self._connection.call("HMGET", f"{prefix}holds", *[row.attempt for row in rows])
            gone |= {row.attempt: hour_of(row.at_ms) for row, there in zip(rows, held, strict=True) if there is None}
        booked: set[str] = set()
        for hour in sorted(set(gone.values())):
            async for found in stream_rows(self._connection, tenant, hour):
                booked |= {row.attempt for _, row in found} & gone.keys()
        if booked:
            noted = await self._connection.call("HKEYS", f"{prefix}swept:{self._name}")
            booked -= {name.decode() for name in noted}
        return [entry for entry in entries if entry[1].attempt not in booked]

    def _lane(self, tenant: str, journal: str, entries: list[Entry], forgotten: int = 0) -> SettleLane:
        numbers = Numbers(journal)
        if entries:
            numbers.reach(entries[-1][0])
        lane = SettleLane(self._connection, tenant_prefix(tenant), numbers, self, forgotten=forgotten)
        lane.rows = entries
        return lane

    async def _finish(self, ends: dict[str, list[Entry]], sent: dict[str, list[Entry]], marks: dict[str, int]) -> None:
        """Book all of it and free what else is held; return once the store has it for good, however often it goes away
        meanwhile.
        """
        name = self._name
        own = {tenant: self._lane(tenant, name, ends.get(tenant, []), mark) for tenant, mark in marks.items()}
        lanes = [*own.values(), *(self._lane(tenant, name + ESTIMATES, entries) for tenant, entries in sent.items())]

        def replay() -> None:
            for lane in lanes:
                lane.replay()

        self._connection.on_connect.append(replay)
        try:
            for lane in lanes:
                lane.cut_anew()
            while not all(lane.booked for lane in lanes):  # noqa: ASYNC110 - nobody waits for it but this task, for seconds
                await asyncio.sleep(_POLL_S)
            # Of what is still held, or was swept and has had no truth, nothing was ever sent: that would be on file. Freed
            # in the sequence of the tenant's rows: two senders of one sequence could pass each other.
            for tenant in sorted(await self._tenants() | own.keys()):
                held = await self._held(tenant)
                if held or await self._connection.call("EXISTS", f"{tenant_prefix(tenant)}swept:{name}"):
                    if tenant not in own:
                        lanes.append(own.setdefault(tenant, self._lane(tenant, name, [])))
                    lane = own[tenant]
                    lane.takes_back = True
                    lane.ends += held
                    lane.cut_anew()
            while not all(lane.idle for lane in lanes):  # noqa: ASYNC110 - as above
                await asyncio.sleep(_POLL_S)
        finally:
            self._connection.on_connect.remove(replay)
            for lane in lanes:
                lane.stop()

    async def _tenants(self) -> set[str]:
        return {name.decode() for name in await self._connection.call("SMEMBERS", PLATFORM_TENANTS)}

    async def _held(self, tenant: str) -> list[str]:
        """Attempts of a tenant that the journal's worker still holds money for."""
        holds = await held_by(self._connection, tenant)
        return [attempt for attempt, text in holds.items() if read_held(text).journal == self._name]

    # What lanes tell.

    def heard(self, now_ms: int) -> None:
        """The store's time."""

    def booked(self, entries: int) -> None:
        """Entries that no longer wait."""

    def again(self, entries: int) -> None:
        """Entries that wait once more."""

    def alive(self, attempt: str) -> bool:
        """Whether an attempt will have a row: the estimate on file."""
        return attempt in self._estimated

    def read_back(self, tenant_prefix: str, above: int) -> asyncio.Future[list[Entry]]:
        """The store has lost rows that it had when this began: they are still on file."""
        result: asyncio.Future[list[Entry]] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(self._read_again(tenant_prefix, above, result))
        self._reading.add(task)
        task.add_done_callback(self._reading.discard)
        return result

    async def _read_again(self, prefix: str, above: int, result: asyncio.Future[list[Entry]]) -> None:
        try:
            records, _ = await asyncio.to_thread(read_journal, self._folder)
        except OSError as error:
            _log.error("journal_not_read_back", journal=self._name, reason=error.strerror)
            records = []
        ends, _ = _left(records, {})
        of = next((tenant for tenant in ends if tenant_prefix(tenant) == prefix), "")
        result.set_result([entry for entry in ends.get(of, ()) if entry[0] > above])

    def spent(self, tenant_prefix: str, periods: dict[str, int]) -> None:
        """What budget periods have spent by now."""

    def monotonic(self) -> float:
        """Seconds; differences only."""
        return self._clock.monotonic()

    def failing(self, tenant_prefix: str, failure: BaseException) -> None:
        """A batch failed for the first time; it is kept and repeated."""
        _log.warning("adoption_waits", keys=tenant_prefix, error=str(failure))

    def recovered(self, seconds: float) -> None:
        """It was taken after failing for that long."""

    def doubtful(self, tenant_prefix: str, number: int, entries: int) -> None:
        """Rows of this batch may be missing in the store; somebody must look."""
        _log.error("adoption_doubtful", keys=tenant_prefix, seq=number, entries=entries)


async def held_by(connection: StoreConnection, tenant: str) -> dict[str, str]:
    """Every hold of a tenant, attempt to value.

    Raises:
        StoreUnavailable: no answer.
    """
    key, cursor = f"{tenant_prefix(tenant)}holds", b"0"
    found: dict[str, str] = {}
    while True:
        cursor, flat = await connection.call("HSCAN", key, cursor, "COUNT", _SCANNED)
        found.update(zip((a.decode() for a in flat[::2]), (v.decode() for v in flat[1::2]), strict=True))
        if cursor == b"0":
            return found


def _claim(folder: Path) -> int | None:
    """The journal's lock, or None if somebody has it or has removed it meanwhile."""
    try:
        held = lock(folder)
    except (BlockingIOError, FileNotFoundError, NotADirectoryError):
        return None
    try:
        if os.fstat(held).st_ino == (folder / "lock").stat().st_ino:
            return held
    except FileNotFoundError:
        pass
    os.close(held)
    return None


def _left(records: list[Record], marks: dict[str, int]) -> tuple[dict[str, list[Entry]], dict[str, list[Entry]]]:
    """(ends above the tenant's mark, beginnings without an end), by tenant, in the order of their numbers."""
    ends: defaultdict[str, list[Entry]] = defaultdict(list)
    sent: dict[str, Record] = {}
    ended: set[str] = set()
    for record in records:
        if record.kind == SENT:
            sent[record.row.attempt] = record
        else:
            ended.add(record.row.attempt)
            if record.number > marks.get(record.row.tenant, 0):
                ends[record.row.tenant].append(_entry(record))
    unanswered: defaultdict[str, list[Entry]] = defaultdict(list)
    for attempt, record in sent.items():
        if attempt not in ended:
            unanswered[record.row.tenant].append(_entry(record))
    return ends, unanswered


def _entry(record: Record) -> Entry:
    return record.number, *packed_row(record.row), None
