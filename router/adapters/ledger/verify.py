"""Proving that journal, stream, cube and archive agree, and naming the first difference.

Belongs here: comparing one hour's sources. Does not belong here: repairing anything.

Per hour of a tenant: every archived part reads back whole and holds what it says; parts are those that the store
recorded; no attempt is booked twice; rows (archive and stream) sum up to the cube, cell by cell; a journal's rows
that the store has taken are there, at their cost.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from router.adapters.archive.finance_extra import ArchiveError
from router.adapters.ledger.cubes import COST
from router.adapters.ledger.rows import HourState, archive_record, hour_number, hour_state, hours_with_rows, stream_rows
from router.adapters.store.layout import DIMENSIONS, SEPARATOR, hour_of
from router.core.booking.report import SUMS, sums_of
from router.ports import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from router.adapters.archive.files import ArchiveFiles
    from router.adapters.ledger.cubes import Sums
    from router.adapters.store.connection import StoreConnection
    from router.core.values import Row

_TRIES: Final = 5


class JournalRows(Protocol):
    """What verification needs of the journals on this machine's disk."""

    def rows(self, tenant: str) -> Iterable[tuple[Row, bool]]:
        """Each row that a journal still holds, and whether the store's mark says that it has been booked."""


class Checked(msgspec.Struct, frozen=True):
    """What one hour came to."""

    tenant: str
    hour: str
    rows: int
    cost_nano: int
    waiting: int
    """Rows of the journal that are not yet due in the store."""
    difference: str
    """The first one, in words; empty when all agree."""


class _Moved(Exception):  # noqa: N818 - no error: the hour changed while it was read
    pass


async def verify(
    connection: StoreConnection,
    files: ArchiveFiles | None,
    tenant: str,
    since: int,
    until: int,
    *,
    journal: JournalRows | None = None,
) -> AsyncIterator[Checked]:
    """Every hour that has rows, oldest first; hours since the epoch, ``until`` not included.

    Args:
        connection: to the store.
        files: the archive; None when it cannot be read, which is a difference only where rows lie in it.
        tenant: whose ledger.
        since: first hour.
        until: the hour after the last.
        journal: None leaves it out.

    Raises:
        StoreUnavailable: no answer.
    """
    known = await hours_with_rows(connection, tenant, since, until)
    record = await archive_record(connection, tenant)
    hours = set(known) | {name.rstrip("?!") for name in record}
    listed: dict[tuple[str, int], str] = {} if files is None else await asyncio.to_thread(files.listed, tenant)
    hours |= {hour for hour, _ in listed}
    noted: dict[str, list[tuple[Row, bool]]] = defaultdict(list)
    for row, booked in journal.rows(tenant) if journal is not None else ():
        noted[hour_of(row.at_ms)].append((row, booked))
    for hour in sorted(hours | noted.keys()):
        if since <= hour_number(hour) < until:
            parts = {number for place, number in listed if place == hour}
            yield await _verified(connection, files, (tenant, hour), parts, noted.get(hour, []))


async def _verified(
    connection: StoreConnection,
    files: ArchiveFiles | None,
    place: tuple[str, str],
    parts: set[int],
    noted: list[tuple[Row, bool]],
) -> Checked:
    tenant, hour = place
    for _ in range(_TRIES):
        state = await hour_state(connection, tenant, hour, cube=True)
        check = _Hour(tenant, hour, state)
        try:
            await check.read(connection, files, parts, noted)
        except _Moved:
            parts |= set(range(1, (await hour_state(connection, tenant, hour)).archived.parts + 1))
            continue
        return check.result()
    raise StoreUnavailable(f"hour {hour} of tenant {tenant} moves to the archive again and again; ask later")


class _Hour:
    def __init__(self, tenant: str, hour: str, state: HourState) -> None:
        self._tenant = tenant
        self._hour = hour
        self._state = state
        self._cells: Sums = {}
        self._attempts: set[str] = set()
        self._noted: dict[str, list[int]] = {}
        """Attempts of the journal: what their own rows in the stream cost, and with corrections."""
        self._rows = self._waiting = self._cost = 0
        self._streamed: set[str] = set()
        self._differences: list[str] = []

    async def read(
        self, connection: StoreConnection, files: ArchiveFiles | None, parts: set[int], noted: list[tuple[Row, bool]]
    ) -> None:
        state = self._state
        self._noted = {row.attempt: [0, 0] for row, _ in noted}
        for number in range(1, state.archived.parts + 1):
            await self._read_part(files, number)
        self._compare("archived rows", self._rows, "the store's record", state.archived.rows)
        self._compare("archived cost_nano", self._cost, "the store's record", state.archived.cost_nano)
        expected = set(range(1, state.archived.parts + 1)) | ({state.part.number} if state.part else set())
        if files is not None and parts - expected:
            path = files.shown(files.path(self._tenant, self._hour, min(parts - expected)))
            self._differences.append(f"{path} lies in the archive, and the store knows nothing of it")
        if state.last_id:
            async for entries in stream_rows(connection, self._tenant, self._hour, state.last_id):
                for entry, row in entries:
                    self._take(row, f"in the stream at {entry}")
                await asyncio.sleep(0)
        self._compare_journal(noted)
        if (await hour_state(connection, self._tenant, self._hour)).place != state.place:
            raise _Moved
        if not state.dropped:
            self._compare_cube()

    def result(self) -> Checked:
        difference = self._differences[0] if self._differences else ""
        return Checked(self._tenant, self._hour, self._rows, self._cost, self._waiting, difference)

    async def _read_part(self, files: ArchiveFiles | None, number: int) -> None:
        if files is None:
            self._differences.append("rows lie in the archive, which cannot be read here")
            return
        path = files.path(self._tenant, self._hour, number)
        try:
            found = await asyncio.to_thread(_part_sums, files, path, self._attempts)
        except ArchiveError as error:
            self._differences.append(str(error))
            return
        cells, rows, twice = found
        for dimensions, sums in cells.items():
            _add(self._cells, dimensions, sums)
            self._cost += sums[COST]
        self._rows += rows
        if twice:
            self._differences.append(f"attempt {twice} is booked twice, the second time in {files.shown(path)}")

    def _take(self, row: Row, where: str) -> None:
        if row.attempt in self._attempts:
            self._differences.append(f"attempt {row.attempt} is booked twice, the second time {where}")
        self._attempts.add(row.attempt)
        self._rows += 1
        self._cost += row.cost_nano
        costs = self._noted.get(row.correction_of or row.attempt)
        if costs is not None:
            costs[0] += 0 if row.correction_of else row.cost_nano
            costs[1] += row.cost_nano
            self._streamed.add(row.attempt)
        dimensions = dimensions_text([getattr(row, name) for name in DIMENSIONS])
        _add(self._cells, dimensions, sums_of(row))

    def _compare_journal(self, noted: list[tuple[Row, bool]]) -> None:
        for row, booked in noted:
            there = row.attempt in self._attempts
            self._waiting += not booked and not there
            streamed = row.attempt in self._streamed
            if booked and streamed and row.cost_nano not in self._noted[row.attempt]:
                self._compare(
                    f"cost_nano of {row.attempt}: the journal", row.cost_nano, "its row", self._noted[row.attempt][1]
                )
            if booked and not there and row.outcome != "released":
                self._differences.append(
                    f"attempt {row.attempt} ({row.cost_nano:,} nano-dollars) is booked by the journal's mark, and is neither "
                    "in the stream nor in the archive"
                )

    def _compare_cube(self) -> None:
        cube, nothing = self._state.cube, [0] * len(SUMS)
        for dimensions in sorted(self._cells.keys() | cube.keys()):
            ours, theirs = self._cells.get(dimensions, nothing), cube.get(dimensions, nothing)
            if list(ours) != theirs:
                values = zip(DIMENSIONS, dimensions.split(SEPARATOR), strict=False)
                of = ", ".join(f"{name} {value or '—'}" for name, value in values)
                # Cost first: it is what everybody asks about.
                for place in sorted(range(len(SUMS)), key=lambda place: place != COST):
                    self._compare(f"{SUMS[place]} of {of}: rows", ours[place], "the cube", theirs[place])

    def _compare(self, name: str, one: int, other_name: str, other: int) -> None:
        if one != other:
            self._differences.append(f"{name} {one:,}, {other_name} {other:,}")


def dimensions_text(dimensions: list[str]) -> str:
    """A cube field's second half, as settling writes it."""
    return SEPARATOR.join(value.encode("utf-8", "replace").decode().replace(SEPARATOR, " ") for value in dimensions)


def _add(cells: Sums, dimensions: str, sums: Sequence[int]) -> None:
    have = cells.get(dimensions)
    cells[dimensions] = list(sums) if have is None else [a + b for a, b in zip(have, sums, strict=True)]


def _part_sums(files: ArchiveFiles, path: str, attempts: set[str]) -> tuple[Sums, int, str]:
    """A part's cells, its count of rows and an attempt that is booked twice; ``attempts`` takes all in. Blocks."""
    import pyarrow as pa  # noqa: PLC0415 - an optional part
    import pyarrow.compute as pc  # noqa: PLC0415 - as above

    cells: Sums = {}
    rows, twice = 0, ""

    def take(read: pa.Table) -> None:
        nonlocal rows, twice
        table = read.append_column("requests", pc.cast(pc.equal(read["correction_of"], ""), pa.int64()))
        rows += table.num_rows
        for attempt in table["attempt"].to_pylist():
            if attempt in attempts:
                twice = twice or attempt
            attempts.add(attempt)
        for name in SUMS:
            if name not in table.column_names:
                # Written by an earlier version.
                table = table.append_column(name, pa.array([0] * table.num_rows, pa.int64()))
        grouped = table.group_by(list(DIMENSIONS)).aggregate([(name, "sum") for name in SUMS])
        groups = zip(*[grouped[name].to_pylist() for name in DIMENSIONS], strict=True)
        sums = zip(*[grouped[f"{name}_sum"].to_pylist() for name in SUMS], strict=True)
        for group, amounts in zip(groups, sums, strict=True):
            _add(cells, dimensions_text(list(group)), amounts)

    files.checked(path, take)
    return cells, rows, twice
