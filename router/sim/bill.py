"""What a provider charges: its own ledger, in exact fractions, folded only when somebody asks.

Belongs here: choosing the price row of a call and adding up dollars. Does not belong here: counting tokens
(the call does), and anything of the router's pricing, which this bill exists to check.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from router.sim.catalog import Model, PriceRow, When

REALTIME = "realtime"
_PICO = 10**12
_SLICE = 500
"""Calls folded before the loop gets its turn again."""


class Meters(NamedTuple):
    """Tokens of one call in normal form: prompt includes cached and cache_write, completion includes reasoning."""

    prompt: int
    cached: int = 0
    cache_write: int = 0
    completion: int = 0
    reasoning: int = 0
    cache_write_1h: int = 0
    """Of the written ones, those that are kept for an hour."""


class Call(NamedTuple):
    """One billed call. ``at`` is the arrival in seconds since the epoch: the price row's instant."""

    provider: str
    model: Model
    request_id: str
    at: float
    meters: Meters
    complete: bool
    tier: str = REALTIME
    units: tuple[tuple[str, Fraction], ...] = ()
    """What is charged beside tokens as text, as `router.sim.catalog.PriceRow.units` names it."""


@dataclass(slots=True)
class _Sum:
    calls: int = 0
    incomplete: int = 0
    tokens: list[int] = field(default_factory=lambda: [0] * 6)
    dollars: Fraction = Fraction(0)
    nano: int = 0

    def add(self, call: Call, dollars: Fraction) -> None:
        self.calls += 1
        self.incomplete += not call.complete
        self.tokens = [have + more for have, more in zip(self.tokens, call.meters, strict=True)]
        self.dollars += dollars
        self.nano += _nano(dollars)

    def report(self) -> dict[str, Any]:
        return {
            "calls": self.calls,
            "incomplete": self.incomplete,
            **dict(zip(Meters._fields, self.tokens, strict=True)),
            "dollars": exact(self.dollars),
            "nano": self.nano,
        }


class Bill:
    """Appends on the request path, prices on demand: a benchmark pays for its list entry only."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget every call."""
        self._calls: list[Call] = []
        self._folded = 0
        self._total = _Sum()
        self._by_model: dict[tuple[str, str], _Sum] = {}

    def add(self, call: Call) -> None:
        """Book one call; never raises."""
        self._calls.append(call)

    async def totals(self) -> dict[str, Any]:
        """Sums by provider and model, and the grand total."""
        while self._folded < len(self._calls):
            for call in self._calls[self._folded : self._folded + _SLICE]:
                dollars = price(call)
                self._total.add(call, dollars)
                self._by_model.setdefault((call.provider, call.model.upstream), _Sum()).add(call, dollars)
                self._folded += 1
            await asyncio.sleep(0)
        models: dict[str, dict[str, Any]] = {}
        for (provider, model), total in sorted(self._by_model.items()):
            models.setdefault(provider, {})[model] = total.report()
        return {"total": self._total.report(), "providers": models}

    def lines(self) -> list[dict[str, Any]]:
        """Every billed call, oldest first."""
        return [
            {
                "provider": call.provider,
                "model": call.model.upstream,
                "id": call.model.id,
                "request_id": call.request_id,
                "at": call.at,
                **call.meters._asdict(),
                "dollars": exact(dollars),
                "nano": _nano(dollars),
                "complete": call.complete,
                "tier": call.tier,
                "units": {name: str(amount) for name, amount in call.units},
            }
            for call, dollars in ((call, price(call)) for call in self._calls)
        ]


def price(call: Call) -> Fraction:
    """Dollars of one call: fresh, cached and written input, output, the request's fee, and units. Exact."""
    meters = call.meters
    row = row_for(call.model, dt.datetime.fromtimestamp(call.at, dt.UTC), meters.prompt)
    if call.tier != REALTIME:
        row = row.tiers[call.tier]
    fresh = meters.prompt - meters.cached - meters.cache_write
    return (
        fresh * row.input
        + meters.cached * row.cached_input
        + (meters.cache_write - meters.cache_write_1h) * row.cache_write
        + meters.cache_write_1h * row.cache_write_1h
        + meters.completion * row.output
        + row.request
        + sum(amount * (row.units[name] - _as_text(row, name)) for name, amount in call.units)
    )


def _as_text(row: PriceRow, name: str) -> Fraction:
    """What the tokens among the units have been charged already."""
    rates = {
        "sound": row.input,
        "picture": row.input,
        "cached picture": row.cached_input,
        "spoken": row.output,
        "painted": row.output,
    }
    return rates.get(name, Fraction(0))


def row_for(model: Model, instant: dt.datetime, prompt_tokens: int) -> PriceRow:
    """The list price that holds: the greatest size band exceeded, then a matching `when`, then the latest row.

    Raises:
        LookupError: no row is valid at that instant. A provider does not serve what it cannot bill.
    """
    valid = [
        row
        for row in model.prices
        if row.valid_from <= instant
        and (row.valid_to is None or instant < row.valid_to)
        and prompt_tokens >= row.above + (row.above > 0)
        and (row.when is None or _matches(row.when, instant))
    ]
    if not valid:
        raise LookupError(f"{model.id} has no price at {instant.isoformat()}")
    return max(valid, key=lambda row: (row.above, row.when is not None, row.valid_from))


def _matches(when: When, instant: dt.datetime) -> bool:
    local = instant
    if when.timezone != "UTC":
        from zoneinfo import ZoneInfo  # noqa: PLC0415 - few catalogs need it, and the start is timed

        local = instant.astimezone(ZoneInfo(when.timezone))
    if when.days and local.weekday() not in when.days:
        return False
    minute = local.hour * 60 + local.minute
    spans = when.hours or ((0, 1440),)
    return any(start <= minute < end if start < end else minute >= start or minute < end for start, end in spans)


def exact(dollars: Fraction) -> str:
    """Dollars with twelve decimals. Loses nothing: catalog rates are whole pico-dollars per token."""
    whole, pico = divmod(int(dollars * _PICO), _PICO)
    return f"{whole}.{pico:012d}"


def _nano(dollars: Fraction) -> int:
    return -(-(dollars * _PICO).numerator // 1000)
