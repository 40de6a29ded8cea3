"""A catalog's prices on one day, the difference between two such lists, and what looks wrong in them.

Belongs here: comparing and doubting list prices. Does not belong here: reading catalogs, showing tables, and doubts
that are told at every start (`compile.py`).
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from typing import TYPE_CHECKING, Final

import msgspec

from router.core.pricing import price_at, rows_at
from router.core.values import Needs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from router.core.catalog.catalog import Catalog, Model, PriceRow

STALE: Final = dt.timedelta(days=90)
"""Age from which a source should be looked at again."""
JUMP: Final = 10
"""Factor between two prices of one model that is mostly a slipped decimal point."""


class Listed(msgspec.Struct, frozen=True):
    """One size band of one entry's price. Rates in pico-dollars a token."""

    entry: str
    model: str
    provider: str
    above: int
    rates: dict[str, int]
    """By meter: ``input``, ``cached_input``, ``cache_write``, ``cache_write_1h``, ``output``; tiers as ``batch.input``;
    ``request`` in pico-dollars a request, ``search`` a search, ``tool.<name>`` a call, ``audio.…`` and ``image.…`` a token,
    minute, character or image."""
    regions: dict[str, int]
    """Factor by region in parts per million."""
    version: str
    valid_from: dt.datetime
    source: str
    checked: dt.date
    offered: bool
    """False: its provider's dialect is not spoken here yet."""


class Change(msgspec.Struct, frozen=True):
    """What two lists disagree about. One side is None where only the other has it."""

    entry: str
    above: int
    meter: str
    """Empty where the whole band came or went."""
    before: int | None
    after: int | None


class Doubt(msgspec.Struct, frozen=True):
    """A figure that is possible, but mostly a mistake."""

    entry: str
    message: str


def price_list(catalog: Catalog, instant: dt.datetime) -> tuple[Listed, ...]:
    """Every price that holds at an instant (aware), in the catalog's order; retired and unpriced models are left out."""
    return tuple(
        listed
        for model in catalog.models
        if not model.retired_at(instant)
        for listed in _bands(model, instant, offered=catalog.providers[model.provider].spoken)
    )


def _bands(model: Model, instant: dt.datetime, *, offered: bool) -> Iterator[Listed]:
    price = price_at(model, instant)
    for row in rows_at(model, instant):
        yield Listed(
            entry=model.name,
            model=model.id,
            provider=model.provider,
            above=row.above,
            rates=_meters(row),
            regions=row.regions,
            version=price.version if price else "",
            valid_from=row.valid_from,
            source=row.source,
            checked=row.checked,
            offered=offered,
        )


def _meters(row: PriceRow) -> dict[str, int]:
    rates = {**msgspec.structs.asdict(row.rates), "cache_write_1h": row.cache_write_1h}
    found = {name: rates[name] for name in ("input", "cached_input", "cache_write", "cache_write_1h", "output")}
    if row.rates.request:
        found["request"] = row.rates.request
    if row.search is not None:
        found["search"] = row.search
    for tier, variant in row.tiers.items():
        own = {**msgspec.structs.asdict(variant.rates), "cache_write_1h": variant.cache_write_1h}
        found |= {f"{tier}.{name}": own[name] for name in own if name != "request"}
    for kind, prices in (("tool", row.tools), ("audio", row.audio), ("image", row.images)):
        found |= {f"{kind}.{name}": rate for name, rate in prices.items()}
    return found


def difference(before: tuple[Listed, ...], after: tuple[Listed, ...]) -> tuple[Change, ...]:
    """What changed from one list to the other: bands that came and went, meters whose price moved, region factors."""
    old = {(listed.entry, listed.above): listed for listed in before}
    new = {(listed.entry, listed.above): listed for listed in after}
    changes: list[Change] = []
    for entry, above in dict.fromkeys([*old, *new]):
        one, other = old.get((entry, above)), new.get((entry, above))
        if one is None or other is None:
            gone, come = (None if listed is None else listed.rates["output"] for listed in (one, other))
            changes.append(Change(entry, above, "", gone, come))
            continue
        earlier, later = _comparable(one), _comparable(other)
        changes += [
            Change(entry, above, meter, earlier.get(meter), later.get(meter))
            for meter in dict.fromkeys([*earlier, *later])
            if earlier.get(meter) != later.get(meter)
        ]
    return tuple(changes)


def _comparable(listed: Listed) -> dict[str, int]:
    return listed.rates | {f"region.{name}": factor for name, factor in listed.regions.items()}


def doubts(catalog: Catalog, today: dt.date) -> tuple[Doubt, ...]:
    """Ratios that look wrong, prices that jump, hosts that differ a lot, and sources not looked at for `STALE`."""
    found: list[Doubt] = []
    instant = dt.datetime(today.year, today.month, today.day, tzinfo=dt.UTC)
    by_id: dict[str, list[tuple[str, PriceRow]]] = defaultdict(list)
    for model in catalog.models:
        if model.retired_at(instant):
            continue
        found += [Doubt(model.name, message) for message in _own_doubts(model, instant)]
        by_id[model.id] += [(model.name, row) for row in rows_at(model, instant) if row.above == 0]
    for hosts in by_id.values():
        cheapest_name, cheapest = min(hosts, key=lambda host: host[1].rates.output, default=("", None))
        found += [
            Doubt(name, f"output costs over {JUMP} times what {cheapest_name} asks")
            for name, row in hosts
            if cheapest is not None
            and row.rates.output > JUMP * cheapest.rates.output > 0
            and not _self_made(row, cheapest)
        ]
    return tuple(found)


def _own_doubts(model: Model, instant: dt.datetime) -> Iterator[str]:
    chat = bool(model.capabilities & Needs.CHAT)
    for row in rows_at(model, instant):
        size = f" above {row.above:,} tokens" if row.above else ""
        yield from (f"{message}{size}" for message in _row_doubts(row, chat=chat))
        age = (instant.date() - row.checked).days
        if age > STALE.days:
            yield f"its source was last looked at {age} days ago ({row.source}){size}"
    ordered = sorted(model.prices, key=lambda row: row.valid_from)
    for later, newer in enumerate(ordered):
        alike = (row for row in reversed(ordered[:later]) if (row.above, row.when) == (newer.above, newer.when))
        older = next(alike, None)
        if older is not None and _jumps(older, newer):
            yield f"its price changes {JUMP} times or more on {newer.valid_from:%Y-%m-%d}"


def _row_doubts(row: PriceRow, *, chat: bool) -> Iterator[str]:
    rates = row.rates
    if chat and rates.output < rates.input:
        yield "output costs less than input"
    if rates.cached_input > rates.input:
        yield "cached input costs more than fresh input"
    if row.cache_write_1h < rates.cache_write:
        yield "writing to the cache for an hour costs less than for five minutes"
    for tier, variant in row.tiers.items():
        share = variant.rates.input * 100 // rates.input if rates.input else 100
        low, high = (100, 300) if tier == "priority" else (30, 100)
        if not low <= share <= high:
            yield f"{tier} input costs {share} % of realtime"


def _jumps(older: PriceRow, newer: PriceRow) -> bool:
    pairs = ((older.rates.input, newer.rates.input), (older.rates.output, newer.rates.output))
    return any(min(pair) > 0 and max(pair) >= JUMP * min(pair) for pair in pairs)


def _self_made(row: PriceRow, other: PriceRow) -> bool:
    """Whether one of two prices is a derivation, which may well differ that much from a bill."""
    return any("derivation" in one.source or "derived" in one.source for one in (row, other))
