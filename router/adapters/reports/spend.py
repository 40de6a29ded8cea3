"""Spend totals, read from the store's hourly cubes.

Belongs here: adding up cubes by their dimensions. Does not belong here: their form (cubes), writing them (ledger/ledger.py), single rows
(ledger/rows.py), choosing between both (report), and how totals are shown.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from router.adapters.ledger.rows import hour_number, hour_state, hours_with_rows
from router.adapters.store.layout import DIMENSIONS, PLATFORM_TENANTS, SEPARATOR
from router.core.booking.report import ATTRIBUTED, TIMES, Question, Totals, UnknownGroupError, stamp, wanted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router.adapters.ledger.cubes import Sums
    from router.adapters.store.connection import StoreConnection
    from router.core.booking.report import Line

AHEAD: Final = 16
_TEAM: Final = 1 + DIMENSIONS.index("team")
_SLICE: Final = 2000
_GATHERED: Final = 20_000
"""Cells that are kept to be added up together, some 4 MB."""


class CubeAdder:
    """Adds a tenant's cubes to totals. One hour's cells are mostly the next hour's, so each is understood once."""

    def __init__(self, totals: Totals, tenant: str) -> None:
        question = totals.question
        self._names = totals.keys
        # Place 0 gives way to what the hour and the tenant say.
        places = {name: number for number, name in enumerate((*DIMENSIONS, ATTRIBUTED), 1)}
        self._places = [places.get(name, 0) for name in totals.keys]
        filters = wanted(question)
        self._cell_filters = [
            (1 + DIMENSIONS.index(name), allowed) for name, allowed in filters.items() if name in DIMENSIONS
        ]
        self._hour_filters = {name: allowed for name, allowed in filters.items() if name not in DIMENSIONS}
        self._totals = totals
        self._tenant = tenant
        self._times = [name for name in totals.keys if name in TIMES]
        self._said: dict[str, str] = {}
        self._groups: dict[str, tuple[str, ...] | None] = {}
        self._gathered: defaultdict[tuple[str, ...], list[list[int]]] = defaultdict(list)
        self._cells = 0

    async def add(self, hour: str, cube: Sums) -> None:
        """Take one hour's cube; `done` adds what is left to the totals."""
        said = {"tenant": self._tenant}
        said |= {name: stamp(hour_number(hour), form) for name, form in TIMES.items()}
        if any(said[name] not in allowed for name, allowed in self._hour_filters.items()):
            return
        if self._cells > _GATHERED or any(said[name] != self._said.get(name) for name in self._times):
            self.done()
        self._said = said
        groups, gathered = self._groups, self._gathered
        for number, (dimensions, sums) in enumerate(cube.items()):
            if number % _SLICE == 0:
                # A full cube has thousands of tuples; requests on this loop must not wait for all of them.
                await asyncio.sleep(0)
            if dimensions in groups:
                group = groups[dimensions]
            else:
                group = groups[dimensions] = self._understood(dimensions)
            if group is not None:
                gathered[group].append(sums)
        self._cells += len(cube)

    def done(self) -> None:
        """Add what was gathered: hours that are one to the question."""
        said = self._said
        # Many lists are added column by column at a fraction of what one after the other takes.
        for group, lists in self._gathered.items():
            named = zip(self._names, group, strict=True)
            sums = lists[0] if len(lists) == 1 else list(map(sum, zip(*lists, strict=True)))
            self._totals.add(tuple([said.get(name, value) for name, value in named]), sums)
        self._gathered.clear()
        self._cells = 0

    def _understood(self, dimensions: str) -> tuple[str, ...] | None:
        parts = ["", *dimensions.split(SEPARATOR)]
        parts.append("1" if parts[_TEAM] else "")
        if any(parts[place] not in allowed for place, allowed in self._cell_filters):
            return None
        return tuple([parts[place] for place in self._places])


async def add_cubes(connection: StoreConnection, totals: Totals, tenant: str, hours: Sequence[str]) -> None:
    """Add the cubes of these hours (YYYYMMDDHH).

    Raises:
        StoreUnavailable: no answer.
    """
    adder = CubeAdder(totals, tenant)
    # The next few are on their way while one is added up.
    for start in range(0, len(hours), AHEAD):
        ahead = hours[start : start + AHEAD]
        states = await asyncio.gather(*[hour_state(connection, tenant, hour, cube=True) for hour in ahead])
        for hour, state in zip(ahead, states, strict=True):
            await adder.add(hour, state.cube)
    adder.done()


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
