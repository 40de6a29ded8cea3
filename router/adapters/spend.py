"""Spend totals, read from the store's hourly cubes.

Belongs here: adding up cubes by any of their dimensions. Does not belong here: writing them (redis_ledger), single
rows, and how totals are shown.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from router.adapters.store_layout import (
    DIMENSIONS,
    HOUR_MS,
    MEASURES,
    PLATFORM_TENANTS,
    REQUESTS,
    SEPARATOR,
    hour_of,
    tenant_prefix,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router.adapters.store_connection import StoreConnection

Dimension = Literal[
    "hour", "team", "app", "key", "endpoint", "policy", "rule", "model", "provider", "tier", "outcome", "certainty"
]

_MEASURES: Final = (REQUESTS, *MEASURES)
_SLICE: Final = 1000


class SpendRow(msgspec.Struct, frozen=True):
    """Totals of one group; ``group`` has one text for each dimension asked for, in that order."""

    group: tuple[str, ...]
    requests: int
    cost_nano: int
    baseline_nano: int
    prompt_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    completion_tokens: int
    reasoning_tokens: int


async def spend(
    connection: StoreConnection,
    tenant: str,
    since_hour: int,
    until_hour: int,
    group_by: Sequence[Dimension] = (),
) -> list[SpendRow]:
    """A tenant's exact totals, dearest group first; without dimensions one row, or none if there was no request.

    Give it a connection of its own with a longer timeout: an hour of many groups is a large reply, which would
    hold up the reservations that share the socket.

    Args:
        connection: to the store.
        tenant: whose spend.
        since_hour: first hour of admission, in hours since the epoch (UTC).
        until_hour: the hour after the last.
        group_by: dimensions of `DIMENSIONS`, or ``hour`` (as YYYYMMDDHH).

    Raises:
        ValueError: an unknown dimension.
        StoreUnavailable: no answer.
    """
    for name in group_by:
        if name != "hour" and name not in DIMENSIONS:
            raise ValueError(f"spend has no dimension {name!r}; it has hour, {', '.join(DIMENSIONS)}")
    if until_hour <= since_hour:
        return []
    prefix = tenant_prefix(tenant)
    first, last = hour_of(since_hour * HOUR_MS), hour_of((until_hour - 1) * HOUR_MS)
    totals: dict[tuple[str, ...], list[int]] = {}
    for hour in await connection.call("ZRANGEBYSCORE", f"{prefix}hours", first, last):
        text = hour.decode()
        await _add_hour(totals, await connection.call("HGETALL", f"{prefix}cube:{text}"), text, group_by)
    rows = [SpendRow(group, *sums) for group, sums in totals.items()]
    rows.sort(key=lambda row: (-row.cost_nano, row.group))
    return rows


async def tenants(connection: StoreConnection) -> list[str]:
    """Every tenant that ever had a row, sorted.

    Raises:
        StoreUnavailable: no answer.
    """
    return sorted(name.decode() for name in await connection.call("SMEMBERS", PLATFORM_TENANTS))


async def _add_hour(
    totals: dict[tuple[str, ...], list[int]], cube: list[bytes], hour: str, group_by: Sequence[str]
) -> None:
    # A cell's text is "measure, dimension 1, …": position 0 gives way to the hour, so that one index serves both.
    wanted = [0 if name == "hour" else 1 + DIMENSIONS.index(name) for name in group_by]
    column = {letter: number for number, letter in enumerate(_MEASURES)}
    for at in range(0, len(cube), 2):
        parts = cube[at].decode().split(SEPARATOR)
        letter, parts[0] = parts[0], hour
        group = tuple(parts[number] for number in wanted)
        sums = totals.get(group)
        if sums is None:
            sums = totals[group] = [0] * len(_MEASURES)
        sums[column[letter]] += int(cube[at + 1])
        if at % (2 * _SLICE) == 0:
            # A full cube has tens of thousands of cells; requests on this loop must not wait for all of them.
            await asyncio.sleep(0)
