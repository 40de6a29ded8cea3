"""Moving closed hours out of the store into the archive, so that every row lies in one of both at every instant.

Belongs here: which hours are closed, and the steps of a part: begin, write, verify, commit. Does not belong here: files
(files.py), when this is done (task.py, the command line).

`archive_begin` fixes which rows a part has; whoever comes later, after a crash or beside us, is told the same part and
writes the same rows under the same name. `archive_commit` takes them out of the stream, once. A writer that reads
fewer rows than the part has is late, and gives up.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec

from router.adapters.archive.files import ArchiveFiles, Content, PartWriter
from router.adapters.archive.finance_extra import ArchiveError
from router.adapters.archive.schema import to_batch
from router.adapters.ledger.cubes import COST, pack_cube
from router.adapters.ledger.rows import (
    Archived,
    Part,
    hour_keys,
    hour_number,
    hour_state,
    hours_with_rows,
    read_part,
    stream_rows,
)
from router.adapters.store.layout import HOUR_MS, tenant_prefix
from router.adapters.store.resp import Script

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from router.adapters.store.connection import StoreConnection

GROUP_ROWS: Final = 50_000
"""Rows of one Parquet row group: what is in memory at once, some 50 MB."""
CUBE_HOURS: Final = 400 * 24
"""How long the store keeps an archived hour's cube. Reports on older hours read rows."""
_BEGIN: Final = Script("archive_begin")
_COMMIT: Final = Script("archive_commit")
_DROP: Final = Script("archive_drop")


class Moved(msgspec.Struct, frozen=True):
    """One part that went to the archive."""

    tenant: str
    hour: str
    part: int
    rows: int
    cost_nano: int
    path: str


async def closed_hours(connection: StoreConnection, tenant: str, now_ms: int, after_hours: int) -> list[str]:
    """Hours (YYYYMMDDHH) that ended ``after_hours`` ago or earlier, have rows in the store and no open hold.

    Raises:
        StoreUnavailable: no answer.
    """
    prefix = tenant_prefix(tenant)
    open_hours = set()
    flat = await connection.call("HVALS", f"{prefix}holds")
    for value in flat:
        # amount:at_ms:worker, and whatever follows.
        open_hours.add(int(value.split(b":", 2)[1]) // HOUR_MS)
    hours = await hours_with_rows(connection, tenant, 0, now_ms // HOUR_MS - after_hours)
    exist = await asyncio.gather(*[connection.call("EXISTS", f"{prefix}rows:{hour}") for hour in hours])
    return [hour for hour, there in zip(hours, exist, strict=True) if there and hour_number(hour) not in open_hours]


async def archive_tenant(
    connection: StoreConnection, files: ArchiveFiles, tenant: str, now_ms: int, after_hours: int
) -> AsyncIterator[Moved]:
    """Archive every closed hour of a tenant, oldest first, and drop the cubes that have become old.

    Raises:
        ArchiveError: the place cannot be written to, or a file there holds what the store knows nothing of.
        StoreUnavailable: no answer; what was not committed is done again the next time.
    """
    for hour in await closed_hours(connection, tenant, now_ms, after_hours):
        moved = await archive_hour(connection, files, tenant, hour)
        if moved is not None:
            yield moved
    for hour in await hours_with_rows(connection, tenant, 0, now_ms // HOUR_MS - CUBE_HOURS):
        await connection.script(_DROP, hour_keys(tenant, hour), [hour])


async def archive_hour(connection: StoreConnection, files: ArchiveFiles, tenant: str, hour: str) -> Moved | None:
    """Archive what an hour has in the store; None when there is nothing, or another archiver was faster.

    Raises:
        ArchiveError: as `archive_tenant`.
        StoreUnavailable: no answer.
    """
    keys = hour_keys(tenant, hour)
    before = await hour_state(connection, tenant, hour)
    told = (await connection.script(_BEGIN, keys[:2], [hour, before.archived.parts + 1])).decode()
    part = read_part(told)
    if part is None or part.number != before.archived.parts + 1:
        return None
    content, path = await _write(connection, files, tenant, hour, part)
    if content is None:
        return None
    archived = Archived(
        part.number, before.archived.rows + content.rows, before.archived.cost_nano + content.sums["cost_nano"]
    )
    packed = await _compare(connection, tenant, hour, before.archived, archived)
    args = [hour, told, part.last_id, _next_id(part.last_id), str(archived), packed]
    done = await connection.script(_COMMIT, keys, args)
    if not done:
        return None
    return Moved(tenant, hour, part.number, content.rows, content.sums["cost_nano"], files.shown(path))


async def _write(
    connection: StoreConnection, files: ArchiveFiles, tenant: str, hour: str, part: Part
) -> tuple[Content | None, str]:
    path = files.path(tenant, hour, part.number)
    with await asyncio.to_thread(PartWriter, files, path) as writer:
        batches, gathered = [], 0
        async for entries in stream_rows(connection, tenant, hour, part.last_id):
            batches.append(to_batch(entries))
            gathered += len(entries)
            if gathered >= GROUP_ROWS:
                await asyncio.to_thread(writer.write, batches)
                batches, gathered = [], 0
        if batches:
            await asyncio.to_thread(writer.write, batches)
        content = writer.content
        now = await hour_state(connection, tenant, hour)
        if now.part != part or content.rows != part.rows:
            if now.part == part:
                raise ArchiveError(
                    f"hour {hour} of tenant {tenant} has {content.rows:,} rows up to {part.last_id}, and had {part.rows:,}"
                    " when its part was begun: rows were lost in the store; `costrouter ledger verify` tells which"
                )
            return None, path
        there = await asyncio.to_thread(files.content, path)
        if there is not None and (difference := there.difference(content)):
            raise ArchiveError(
                f"{files.shown(path)} holds rows that the store knows nothing of ({difference}); was the store restored "
                "from an older copy? Move the file away once its rows are accounted for"
            )
        await asyncio.to_thread(writer.finish)
    return content, path


async def _compare(connection: StoreConnection, tenant: str, hour: str, before: Archived, after: Archived) -> bytes:
    """Hold what was read against the cube, where no row has come since and the cube is whole; gives it packed."""
    state = await hour_state(connection, tenant, hour, cube=True)
    if state.dropped or state.archived != before or state.part is None or state.last_id != state.part.last_id:
        return b""
    cost = sum(sums[COST] for sums in state.cube.values())
    if cost != after.cost_nano:
        raise ArchiveError(
            f"hour {hour} of tenant {tenant}: rows cost {after.cost_nano:,} nano-dollars, the cube says {cost:,}; nothing "
            "was taken out of the store; `costrouter ledger verify` names the first difference"
        )
    return await asyncio.to_thread(pack_cube, state.cube)


def _next_id(entry: str) -> str:
    milliseconds, _, sequence = entry.partition("-")
    return f"{milliseconds}-{int(sequence) + 1}"
