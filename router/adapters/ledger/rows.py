"""Reading a tenant's ledger in the store: which hours there are, what an hour has at one instant, its rows.

Belongs here: calls that read, and the record of what lies in the archive. Does not belong here: adding up (spend,
report), writing rows (ledger.py) and archiving them (archive).

The archive's record is the hash ``cr:{tenant}:archive``:

    YYYYMMDDHH      parts:rows:cost_nano    committed: parts 1 … parts hold that many rows and that cost
    YYYYMMDDHH?     part:last id:rows       a part under way, of exactly the rows up to that id
    YYYYMMDDHH!     1                       the cube was dropped; rows alone tell what the hour cost

A row lies either in the stream or in a committed part, at every instant.
"""

from __future__ import annotations

import calendar
import time
from typing import TYPE_CHECKING, Final

import msgspec

from router.adapters.ledger.cubes import Sums, read_cube
from router.adapters.store.layout import HOUR_MS, decode_row, hour_of, tenant_prefix
from router.adapters.store.resp import Script

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from router.adapters.store.connection import StoreConnection
    from router.core.values import Row

CHUNK: Final = 500
"""Rows a call: a few milliseconds of the loop, and a reply of some 300 KB."""
_HOUR: Final = Script("ledger_hour")


class Archived(msgspec.Struct, frozen=True):
    """What of an hour lies in the archive."""

    parts: int = 0
    rows: int = 0
    cost_nano: int = 0

    def __str__(self) -> str:
        return f"{self.parts}:{self.rows}:{self.cost_nano}"


class Part(msgspec.Struct, frozen=True):
    """A part of the archive under way: rows of the stream up to an id."""

    number: int
    last_id: str
    rows: int

    def __str__(self) -> str:
        return f"{self.number}:{self.last_id}:{self.rows}"


class HourState(msgspec.Struct, frozen=True):
    """One hour of one tenant, all of it at one instant of the store."""

    archived: Archived
    part: Part | None
    dropped: bool
    """True when the cube is no longer complete."""
    length: int
    """Rows in the stream."""
    last_id: str
    cube: Sums
    """Empty unless asked for."""

    @property
    def place(self) -> tuple[Archived, bool]:
        """What changes when rows move to the archive."""
        return self.archived, self.dropped


def read_archived(text: str) -> Archived:
    """The committed record; nothing archived where it is empty."""
    return Archived(*map(int, text.split(":"))) if text else Archived()


def read_part(text: str) -> Part | None:
    """The record of a part under way."""
    if not text:
        return None
    number, last_id, rows = text.split(":")
    return Part(int(number), last_id, int(rows))


def hour_number(text: str) -> int:
    """YYYYMMDDHH as hours since the epoch."""
    return calendar.timegm(time.strptime(text, "%Y%m%d%H")) // 3600


def hour_keys(tenant: str, hour: str) -> list[str]:
    """What the scripts on one hour take: the archive's record, the stream, the cube, the packed cube."""
    prefix = tenant_prefix(tenant)
    return [f"{prefix}archive", f"{prefix}rows:{hour}", f"{prefix}cube:{hour}", f"{prefix}packed:{hour}"]


async def hours_with_rows(connection: StoreConnection, tenant: str, since: int, until: int) -> list[str]:
    """Every hour (YYYYMMDDHH) from ``since`` to before ``until``, in hours since the epoch, that ever had a row.

    Raises:
        StoreUnavailable: no answer.
    """
    if until <= since:
        return []
    first, last = hour_of(since * HOUR_MS), hour_of((until - 1) * HOUR_MS)
    found = await connection.call("ZRANGEBYSCORE", f"{tenant_prefix(tenant)}hours", first, last)
    return [hour.decode() for hour in found]


async def archive_record(connection: StoreConnection, tenant: str) -> dict[str, str]:
    """The whole hash, as the head of this module says.

    Raises:
        StoreUnavailable: no answer.
    """
    flat = await connection.call("HGETALL", f"{tenant_prefix(tenant)}archive")
    return {flat[at].decode(): flat[at + 1].decode() for at in range(0, len(flat), 2)}


async def hour_state(connection: StoreConnection, tenant: str, hour: str, *, cube: bool = False) -> HourState:
    """What the store has of an hour, at one instant.

    Raises:
        StoreUnavailable: no answer.
    """
    keys = hour_keys(tenant, hour)
    archived, part, dropped, length, last_id, cells, packed = await connection.script(_HOUR, keys, [hour, int(cube)])
    sums = read_cube(cells, packed)
    return HourState(
        read_archived(archived.decode()), read_part(part.decode()), bool(dropped), length, last_id.decode(), sums
    )


async def stream_rows(
    connection: StoreConnection, tenant: str, hour: str, last_id: str = "+", after: str = "-"
) -> AsyncIterator[list[tuple[str, Row]]]:
    """An hour's rows in the stream with their ids, oldest first, up to ``last_id``, in lists of at most `CHUNK`.

    Raises:
        StoreUnavailable: no answer.
    """
    key = f"{tenant_prefix(tenant)}rows:{hour}"
    start = f"({after}" if after != "-" else "-"
    while True:
        entries = await connection.call("XRANGE", key, start, last_id, "COUNT", CHUNK)
        if not entries:
            return
        yield [(entry.decode(), decode_row(fields[1])) for entry, fields in entries]
        if len(entries) < CHUNK:
            return
        start = f"({entries[-1][0].decode()}"
