"""Spend totals, read from the store's hourly cubes.

Belongs here: adding up cubes by their dimensions. Does not belong here: writing them (redis_ledger), single rows
(ledger_rows), choosing between both (report), and how totals are shown.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from router.adapters.ledger_rows import hour_number, hours_with_rows
from router.adapters.store_layout import DIMENSIONS, MEASURES, PLATFORM_TENANTS, REQUESTS, SEPARATOR, tenant_prefix
from router.core.report import SUMS, TIMES, Question, Totals, UnknownGroupError, stamp, wanted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router.adapters.store_connection import StoreConnection
    from router.core.report import Line

_COLUMN: Final = {REQUESTS: 0} | {letter: SUMS.index(name) for letter, name in MEASURES.items()}
AHEAD: Final = 8
_SLICE: Final = 2000
_PASSED_OVER: Final = ((), -1)


class CubeAdder:
    """Adds a tenant's cubes to totals. One hour's cells are mostly the next hour's, so each is understood once."""

    def __init__(self, totals: Totals, tenant: str) -> None:
        question = totals.question
        # A cell's text is "measure, dimension 1, …": place 0 gives way to what the hour and the tenant say.
        self._places = [1 + DIMENSIONS.index(name) if name in DIMENSIONS else 0 for name in totals.keys]
        self._names = totals.keys
        filters = wanted(question)
        self._cell_filters = [
            (1 + DIMENSIONS.index(name), allowed) for name, allowed in filters.items() if name in DIMENSIONS
        ]
        self._hour_filters = {name: allowed for name, allowed in filters.items() if name not in DIMENSIONS}
        self._totals = totals
        self._tenant = tenant
        self._cells: dict[bytes, tuple[tuple[str, ...], int]] = {}

    async def add(self, hour: str, cube: Sequence[bytes]) -> None:
        """Add one hour's cube: fields and values, in turns."""
        said = {"tenant": self._tenant}
        said |= {name: stamp(hour_number(hour), form) for name, form in TIMES.items()}
        if any(said[name] not in allowed for name, allowed in self._hour_filters.items()):
            return
        sums: dict[tuple[str, ...], list[int]] = {}
        cells = self._cells
        for at in range(0, len(cube), 2):
            if at % (2 * _SLICE) == 0:
                # A full cube has tens of thousands of cells; requests on this loop must not wait for all of them.
                await asyncio.sleep(0)
            cell = cells.get(cube[at])
            if cell is None:
                cell = cells[cube[at]] = self._understood(cube[at])
            values, column = cell
            if column < 0:
                continue
            have = sums.get(values)
            if have is None:
                have = sums[values] = [0] * len(SUMS)
            have[column] += int(cube[at + 1])
        for values, found in sums.items():
            group = zip(self._names, values, strict=True)
            self._totals.add(tuple([said.get(name, value) for name, value in group]), found)

    def _understood(self, field: bytes) -> tuple[tuple[str, ...], int]:
        parts = field.decode().split(SEPARATOR)
        if any(parts[place] not in allowed for place, allowed in self._cell_filters):
            return _PASSED_OVER
        column = _COLUMN[parts[0]]
        parts[0] = ""
        return tuple([parts[place] for place in self._places]), column


async def add_cubes(connection: StoreConnection, totals: Totals, tenant: str, hours: Sequence[str]) -> None:
    """Add the cubes of these hours (YYYYMMDDHH).

    Raises:
        StoreUnavailable: no answer.
    """
    adder, prefix = CubeAdder(totals, tenant), tenant_prefix(tenant)
    # The next few are on their way while one is added up.
    for start in range(0, len(hours), AHEAD):
        ahead = hours[start : start + AHEAD]
        replies = await asyncio.gather(*[connection.call("HGETALL", f"{prefix}cube:{hour}") for hour in ahead])
        for hour, cube in zip(ahead, replies, strict=True):
            await adder.add(hour, cube)


async def spend(
    connection: StoreConnection, tenant: str, since: int, until: int, group_by: Sequence[str] = ()
) -> list[Line]:
    """A tenant's lines by the cubes alone, whatever lies in the archive; hours since the epoch, ``until`` not included.

    Raises:
        UnknownGroupError: the cubes have no such dimension.
        StoreUnavailable: no answer.
    """
    question = Question(since, until, tuple(group_by))
    if question.needs_rows:
        raise UnknownGroupError(
            f"cubes do not know {', '.join(group_by)}; they have {', '.join((*TIMES, *DIMENSIONS))}"
        )
    totals = Totals(question)
    await add_cubes(connection, totals, tenant, await hours_with_rows(connection, tenant, since, until))
    return list(totals.report().lines)


async def tenants(connection: StoreConnection) -> list[str]:
    """Every tenant that ever had a row, sorted.

    Raises:
        StoreUnavailable: no answer.
    """
    return sorted(name.decode() for name in await connection.call("SMEMBERS", PLATFORM_TENANTS))
