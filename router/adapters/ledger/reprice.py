"""Correcting rows that were booked at a wrong price.

Belongs here: finding what an attempt should have cost by the catalog's price at its admission, and the correction rows
that make up the difference. Does not belong here: booking them (ledger.py), and prices (`router.core.pricing`).

What counts is an attempt's net: its row and every correction so far. So a second run finds nothing to do, and one that
was broken off does the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import secrets
from collections import defaultdict
from typing import TYPE_CHECKING, Final

import msgspec

from router.adapters.archive.finance_extra import NEEDED, FinanceMissingError
from router.adapters.ledger.rows import hour_state, stream_rows
from router.adapters.store.layout import tenant_prefix
from router.core.booking.ending import savings
from router.core.meters import added, unpriced
from router.core.money import nano_ceil
from router.core.pricing import CACHED, cost_pico, price_at
from router.core.values import Row, Usage
from router.ports import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from router.adapters.archive.files import ArchiveFiles
    from router.adapters.ledger.ledger import RedisLedger
    from router.adapters.store.connection import StoreConnection
    from router.core.catalog.catalog import Catalog
    from router.core.values import Price

_METERS: Final = (
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "reasoning_tokens",
)
_ZERO: Final = dict.fromkeys(
    (
        *_METERS,
        "cost_pico",
        "cost_nano",
        "estimated_nano",
        "baseline_nano",
        "runner_up_nano",
        "warm_tokens",
        "cache_saved_nano",
        "would_save_nano",
    ),
    0,
)
_TRIES: Final = 5
_LOCK_MS: Final = 600_000


class RepricingError(Exception):
    """Another process reprices the same rows."""


class Change(msgspec.Struct, frozen=True):
    """One attempt that was booked at another price than the catalog's."""

    row: Row
    """The correction: signed differences."""
    booked_nano: int
    """Net of every correction so far."""
    booked_at: str
    """The price version that was booked last."""


class Unpriced(msgspec.Struct, frozen=True):
    """An attempt that cannot be priced anew, and why."""

    attempt: str
    why: str


async def hour_rows(
    connection: StoreConnection, files: ArchiveFiles | None, tenant: str, hour: str, want: Callable[[Row], bool]
) -> list[Row]:
    """Those rows of an hour that are wanted, archived ones first.

    Raises:
        StoreUnavailable: no answer.
        ArchiveError: rows lie in the archive, and cannot be read.
        FinanceMissingError: they do, and ``files`` is None.
    """
    for _ in range(_TRIES):
        state = await hour_state(connection, tenant, hour)
        found: list[Row] = []
        if state.archived.parts and files is None:
            raise FinanceMissingError(NEEDED)
        if files is not None:
            paths = [files.path(tenant, hour, number + 1) for number in range(state.archived.parts)]
            found += await asyncio.to_thread(_archived, files, paths, want)
        if state.last_id:
            async for entries in stream_rows(connection, tenant, hour, state.last_id):
                found += [row for _, row in entries if want(row)]
        if (await hour_state(connection, tenant, hour)).place == state.place:
            return found
    raise StoreUnavailable(f"hour {hour} of tenant {tenant} moves to the archive again and again; ask later")


@contextlib.asynccontextmanager
async def repricing(connection: StoreConnection, tenant: str) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Let nobody else reprice this tenant meanwhile; gives what must be called at least every ten minutes.

    Two at once would each book the same correction.

    Raises:
        RepricingError: somebody does, or took over because this process was asleep for too long.
        StoreUnavailable: no answer.
    """
    key, token = f"{tenant_prefix(tenant)}reprice", secrets.token_hex(8)

    async def still() -> None:
        if await connection.call("GET", key) != token.encode():
            raise RepricingError(f"tenant {tenant} is repriced by another process now; run this again when it is done")
        await connection.call("PEXPIRE", key, _LOCK_MS)

    if not await connection.call("SET", key, token, "NX", "PX", _LOCK_MS):
        raise RepricingError(f"tenant {tenant} is being repriced already; run this again in ten minutes")
    try:
        yield still
        await still()
    finally:
        with contextlib.suppress(StoreUnavailable):
            if await connection.call("GET", key) == token.encode():
                await connection.call("DEL", key)


async def apply(ledger: RedisLedger, changes: list[Change], still: Callable[[], Awaitable[None]]) -> None:
    """Book the corrections of an hour, and return once the store has them.

    Raises:
        RepricingError: it is no longer ours to do so; nothing was booked.
        StoreUnavailable: not all of them may be in the store; run it again.
    """
    await still()
    for change in changes:
        ledger.settle(change.row)
    await ledger.flush()


def _archived(files: ArchiveFiles, paths: list[str], want: Callable[[Row], bool]) -> list[Row]:
    return [row for path in paths for row in files.rows(path) if want(row)]


def repriced(rows: list[Row], catalog: Catalog) -> tuple[list[Change], list[Unpriced]]:
    """What must be corrected among the rows of an hour, corrections included, and what cannot be priced."""
    attempts: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        attempts[row.correction_of or row.attempt].append(row)
    changes: list[Change] = []
    unpriced: list[Unpriced] = []
    prices: dict[tuple[str, str, str, int], Price | None] = {}
    for attempt, booked in attempts.items():
        last = booked[-1]
        if last.tier == CACHED:
            continue  # nobody was asked, so no price was wrong
        place = (last.model, last.provider, last.tier, last.at_ms // 60_000)
        if place not in prices:
            prices[place] = _price(catalog, last)
        found = _change(attempt, booked, prices[place])
        if isinstance(found, Change):
            changes.append(found)
        elif found is not None:
            unpriced.append(found)
    return changes, unpriced


def _change(attempt: str, booked: list[Row], price: Price | None) -> Change | Unpriced | None:
    last = booked[-1]
    net = {name: sum(getattr(row, name) for row in booked) for name in _ZERO}
    usage = Usage(**{name: net[name] for name in _METERS}, units=added(*(row.units for row in booked)))
    if price is None:
        return Unpriced(attempt, f"the catalog has no price of {last.model}@{last.provider} at that time")
    if lacking := unpriced(price.bands, usage.units):
        why = f"the catalog has no price of {', '.join(lacking)} for {last.model}@{last.provider} at that time"
        return Unpriced(attempt, why)
    if net["cost_pico"] and not (usage.prompt_tokens or usage.completion_tokens or usage.units):
        return Unpriced(attempt, "its cost does not come from meters")
    pico = cost_pico(price, usage)
    if pico == net["cost_pico"] and nano_ceil(pico) == net["cost_nano"]:
        return None
    difference = nano_ceil(pico) - net["cost_nano"]
    # Where the model itself was the baseline, nothing was saved, and a right price saves nothing either.
    own = net["baseline_nano"] == net["cost_nano"]
    facts = _ZERO | {"cost_pico": pico - net["cost_pico"], "cost_nano": difference}
    cached = savings(price, usage, nano_ceil(pico), None)[0] - net["cache_saved_nano"]
    facts |= {"cache_saved_nano": cached, "would_save_nano": difference if net["would_save_nano"] else 0}
    row = msgspec.structs.replace(
        last,
        **facts | {"baseline_nano": difference if own else 0, "price_version": price.version},
        units=(),
        attempt=f"{attempt}!{len(booked)}",
        correction_of=attempt,
    )
    return Change(row, net["cost_nano"], last.price_version)


def _price(catalog: Catalog, row: Row) -> Price | None:
    instant = dt.datetime.fromtimestamp(row.at_ms / 1000, dt.UTC)
    entry = next((model for model in catalog.by_id(row.model) if model.provider == row.provider), None)
    return None if entry is None else price_at(entry, instant, row.tier, catalog.providers[row.provider].region)
