"""Answering a question about spend from whatever holds the figures: the store's cubes, its rows, the archive.

Belongs here: choosing the source hour by hour, and keeping an hour whole while it moves to the archive. Does not belong
here: reading each source (spend, ledger/rows.py, archive/query.py), and how a report is shown (format.py).

Bounded dimensions come from the hourly cubes. What only rows know, and hours whose cube has been dropped, come from the
stream and from the archive; a row lies in one of both at every instant, so an hour that moved meanwhile is read again.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final

import msgspec

from router.adapters.archive.finance_extra import need_finance
from router.adapters.ledger.rows import archive_record, hour_state, hours_with_rows, stream_rows
from router.adapters.reports.spend import add_cubes, tenants
from router.core.booking.report import CUBE, Question, Report, Totals, wanted
from router.core.catalog.catalog import did_you_mean
from router.ports import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router.adapters.archive.files import ArchiveFiles
    from router.adapters.store.connection import StoreConnection

_TRIES: Final = 5


async def report(
    connection: StoreConnection,
    archive: str,
    question: Question,
    tenants_asked: Sequence[str] | None = None,
    *,
    kept: int = 0,
    private: bool = False,
    threads: int = 0,
) -> Report:
    """The answer, exact to the nano-dollar for every row that is booked when its hour is read.

    Args:
        connection: to the store, with a timeout that fits long replies.
        archive: a directory or URL; looked at only when rows that lie there are needed.
        question: what is asked.
        tenants_asked: whose spend; every tenant's by default.
        kept: so many of the last filters say what the caller may see, so no other value of theirs is ever named.
        private: whether other tenants must not be named.
        threads: how many may read the archive; 0 means one per core.

    Raises:
        StoreUnavailable: no answer.
        FinanceMissingError: rows of the archive are needed, and its libraries are not installed.
        ArchiveError: the archive cannot be read.
    """
    totals = Totals(question)
    names = await tenants(connection) if tenants_asked is None else list(tenants_asked)
    allowed = wanted(question).get("tenant")
    paths: list[tuple[str, str, int]] = []
    for tenant in names:
        if allowed is None or tenant in allowed:
            paths += await _add_tenant(connection, totals, tenant)
    if paths:
        files = await open_archive(archive)
        await _add_parts(totals, files, [files.path(*place) for place in paths], threads)
    found = totals.report()
    if found.lines or found.other is not None:
        return found
    return msgspec.structs.replace(
        found, notes=tuple(await _why_empty(connection, question, tenants_asked, kept, () if private else None))
    )


async def _why_empty(
    connection: StoreConnection,
    question: Question,
    tenants_asked: Sequence[str] | None,
    kept: int,
    near: Sequence[str] | None,
) -> list[str]:
    """Names in the question that mean nothing here, with their near misses: a typing error must not look like no spend."""
    known = await tenants(connection)
    asked = wanted(question)
    named = sorted(asked.get("tenant", ())) if tenants_asked is None else list(tenants_asked)
    strange = [name for name in named if name not in known]
    if strange:
        hints = [did_you_mean(name, known if near is None else near) for name in strange]
        return [f"nothing was ever booked for tenant {n!r}{hint}" for n, hint in zip(strange, hints, strict=True)]
    own = question.filters[len(question.filters) - kept :]
    mine = {name for name, _ in own}
    notes = []
    for name in [name for name in asked if name in CUBE and name not in mine]:
        totals = Totals(Question(question.since, question.until, (name,), own))
        for tenant in known if tenants_asked is None else tenants_asked:
            await _add_tenant(connection, totals, tenant)
        values = sorted({line.group[0] for line in totals.report().lines} - {""})
        unseen = sorted(asked[name].difference(values))
        notes += [f"nothing in this span has {name} {value!r}{did_you_mean(value, values)}" for value in unseen]
    return notes


async def open_archive(place: str) -> ArchiveFiles:
    """The archive at a directory or URL.

    Raises:
        FinanceMissingError: its libraries are not installed.
        ArchiveError: it cannot be understood.
    """
    need_finance()
    from router.adapters.archive.files import ArchiveFiles  # noqa: PLC0415 - an optional part

    return await asyncio.to_thread(ArchiveFiles, place)


async def _add_parts(totals: Totals, files: ArchiveFiles, paths: list[str], threads: int) -> None:
    from router.adapters.archive.query import add_archive  # noqa: PLC0415 - an optional part

    await asyncio.to_thread(add_archive, totals, files, paths, threads or os.cpu_count() or 1)


async def _add_tenant(connection: StoreConnection, totals: Totals, tenant: str) -> list[tuple[str, str, int]]:
    """Add what the store has; returns the parts of the archive (tenant, hour, number) that hold the rest."""
    question = totals.question
    hours = await hours_with_rows(connection, tenant, question.since, question.until)
    dropped: set[str] = set()
    if hours:
        dropped = {name[:-1] for name in await archive_record(connection, tenant) if name.endswith("!")}
    parts: list[tuple[str, str, int]] = []
    cubes = []
    for hour in hours:
        if question.needs_rows or hour in dropped:
            parts += await _add_rows(connection, totals, tenant, hour)
        else:
            cubes.append(hour)
    await add_cubes(connection, totals, tenant, cubes)
    return parts


async def _add_rows(connection: StoreConnection, totals: Totals, tenant: str, hour: str) -> list[tuple[str, str, int]]:
    for _ in range(_TRIES):
        state = await hour_state(connection, tenant, hour)
        found = Totals(totals.question)
        if state.last_id:
            async for entries in stream_rows(connection, tenant, hour, state.last_id):
                found.add_rows(row for _, row in entries)
                await asyncio.sleep(0)
            after = await hour_state(connection, tenant, hour)
            if after.place != state.place:
                continue
        totals.take(found)
        return [(tenant, hour, number + 1) for number in range(state.archived.parts)]
    raise StoreUnavailable(f"hour {hour} of tenant {tenant} moves to the archive again and again; ask later")
