"""What an attempt costs: the price that holds at an instant, and exact arithmetic over metered tokens.

Belongs here: choosing among dated price rows, and integers of pico-dollars. Does not belong here: the catalog's
files and their checks, and rounding to nano-dollars (`router.core.money`, once an attempt).
"""

from __future__ import annotations

import datetime as dt
import hashlib
from decimal import Decimal
from typing import TYPE_CHECKING, Final

import msgspec

from router.core.meters import unit_rates, units_pico
from router.core.values import Band, Price, Rates, Units, Usage

if TYPE_CHECKING:
    from router.core.catalog.catalog import Model, PriceRow

PPM: Final = 1_000_000
REALTIME: Final = "realtime"
"""The tier of a row's own rates."""
CACHED: Final = "cache"
"""The tier of answers that were kept and given again: no provider was asked, so they have no price."""


def price_at(model: Model, instant: dt.datetime, tier: str = REALTIME, region: str = "") -> Price | None:
    """The list price at an instant (aware), as bands by prompt size; None when it is not known.

    For each size the row counts that is valid at the instant (valid_from ≤ instant < valid_to): one whose hours
    match before one without hours, then the latest. None is never a price of zero: the caller refuses the model.

    Args:
        model: whose rows are asked.
        instant: aware.
        tier: ``realtime``, or one that every band must sell then.
        region: its factor is applied where a row has one; elsewhere the row's rates hold. The model's own by default.
    """
    rows = rows_at(model, instant)
    if not rows or (tier != REALTIME and any(tier not in row.tiers for row in rows)):
        return None
    if not region and any(model.region in row.regions for row in rows):
        region = model.region
    latest = max(row.valid_from for row in rows)
    contents = hashlib.sha256("".join(row.digest for row in rows).encode()).hexdigest()
    served = "".join(f"/{name}" for name in (region, tier) if name not in ("", REALTIME))
    return Price(
        version=f"{model.name}:{latest:%Y-%m-%d}#{contents[:4]}{served}",
        bands=tuple(
            Band(row.above, _served(row, tier, region), _an_hour(row, tier, region), _units(row, tier, region))
            for row in rows
        ),
    )


def rows_at(model: Model, instant: dt.datetime) -> tuple[PriceRow, ...]:
    """The price rows that hold at an instant (aware), by ascending size; none when the base price is not known."""
    now = instant.astimezone(dt.UTC)
    chosen: dict[int, PriceRow] = {}
    for row in model.prices:
        if not _holds(row, now):
            continue
        rival = chosen.get(row.above)
        if rival is None or _rank(row) > _rank(rival):
            chosen[row.above] = row
    return tuple(chosen[above] for above in sorted(chosen)) if 0 in chosen else ()


def rates_for(price: Price, prompt_tokens: int) -> Rates:
    """The rates of a prompt of that size. A band is a cliff: past it, every token pays its rates."""
    rates = price.bands[0].rates
    for band in price.bands[1:]:
        if prompt_tokens > band.above:
            rates = band.rates
    return rates


def band_for(price: Price, prompt_tokens: int) -> Band:
    """The band of a prompt of that size."""
    return [band for band in price.bands if band.above == 0 or band.above < prompt_tokens][-1]


def cost_pico(price: Price, usage: Usage) -> int:
    """Exact cost of one attempt in pico-dollars, never negative.

    Cached and written tokens are part of the prompt; where a provider reports more of them than prompt, or
    negative figures, they are cut to what is possible. An attempt without a single token or unit was refused or never
    sent, so it does not pay the fee for a request either.
    """
    prompt, completion = max(usage.prompt_tokens, 0), max(usage.completion_tokens, 0)
    if usage.units:
        return _with_units(price, usage, prompt)
    if not prompt and not completion:
        return 0
    rates = rates_for(price, prompt)
    if not usage.cached_tokens and not usage.cache_write_tokens:
        return rates.request + prompt * rates.input + completion * rates.output
    cached = min(max(usage.cached_tokens, 0), prompt)
    written = min(max(usage.cache_write_tokens, 0), prompt - cached)
    hour = min(usage.cache_write_1h_tokens, written)
    return (
        rates.request
        + (prompt - cached - written) * rates.input
        + cached * rates.cached_input
        + (written - hour) * rates.cache_write
        + (hour * _hourly(price, prompt) if hour else 0)
        + completion * rates.output
    )


def _with_units(price: Price, usage: Usage, prompt: int) -> int:
    band = band_for(price, prompt)
    plain = Usage(usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens, usage.cache_write_tokens)
    plain = msgspec.structs.replace(plain, cache_write_1h_tokens=usage.cache_write_1h_tokens)
    # Without a token there is still the fee for the request.
    tokens = cost_pico(price, plain) or band.rates.request
    return max(tokens + units_pico(band, usage.units), 0)


def cache_saved_pico(price: Price, usage: Usage) -> int:
    """By how much these meters cost less than if all of the prompt had been fresh; below 0 where writing cost more."""
    fresh = Usage(max(usage.prompt_tokens, 0), usage.completion_tokens)
    return cost_pico(price, fresh) - cost_pico(price, msgspec.structs.replace(usage, units=()))


def _hourly(price: Price, prompt_tokens: int) -> int:
    """What a token costs that is written for an hour."""
    return hour_rate(band_for(price, prompt_tokens))


def hour_rate(band: Band) -> int:
    """Pico-dollars a token that a cache keeps for an hour; where a provider has no such rate, that of minutes."""
    return band.rates.cache_write if band.cache_write_1h is None else band.cache_write_1h


def cost_per_meaningful_response(
    tokens: Decimal,
    attempts: Decimal,
    token_usd: Decimal,
    side_tokens: Decimal = Decimal(0),
    side_token_usd: Decimal = Decimal(0),
) -> Decimal:
    """Dollars per accepted answer: E_t · A · C_t + P_t · C_p.

    Source: the literature's formula as DESIGN §1 of this project states it, with its golden case
    150 · 1.2 · $0.00015 + 150 · $0.000002 = $0.0273.

    Args:
        tokens: tokens per response, reasoning included (E_t).
        attempts: expected tries per accepted answer, at least 1 (A).
        token_usd: dollars per token (C_t).
        side_tokens: tokens of pre- and post-processing (P_t).
        side_token_usd: dollars per such token (C_p).
    """
    return tokens * attempts * token_usd + side_tokens * side_token_usd


def _served(row: PriceRow, tier: str, region: str) -> Rates:
    rates = row.rates if tier == REALTIME else row.tiers[tier].rates
    return scaled(rates, row.regions[region]) if region in row.regions else rates


def _an_hour(row: PriceRow, tier: str, region: str) -> int:
    rate = row.cache_write_1h if tier == REALTIME else row.tiers[tier].cache_write_1h
    return share(rate, row.regions[region]) if region in row.regions else rate


def _units(row: PriceRow, tier: str, region: str) -> dict[str, int]:
    tier_ppm = PPM if tier == REALTIME else row.tiers[tier].factor_ppm
    return unit_rates(row, row.regions.get(region, PPM), tier_ppm)


def scaled(rates: Rates, ppm: int) -> Rates:
    """Rates times a factor in parts per million, each rounded up to a pico-dollar. A fee for a request stays."""
    return Rates(
        input=share(rates.input, ppm),
        output=share(rates.output, ppm),
        cached_input=share(rates.cached_input, ppm),
        cache_write=share(rates.cache_write, ppm),
        request=rates.request,
    )


def share(rate: int, ppm: int) -> int:
    """A rate times a factor in parts per million, rounded up."""
    return -(-rate * ppm // 1_000_000)


def _holds(row: PriceRow, now: dt.datetime) -> bool:
    if now < row.valid_from or (row.valid_to is not None and now >= row.valid_to):
        return False
    window = row.when
    if window is None:
        return True
    local = now + dt.timedelta(minutes=window.offset_minutes)
    minute = local.hour * 60 + local.minute
    return local.weekday() in window.days and any(start <= minute < end for start, end in window.spans)


def _rank(row: PriceRow) -> tuple[bool, dt.datetime]:
    return row.when is not None, row.valid_from


def upper_cost(price: Price, prompt: int, output: int, *, an_hour: bool = False, units: Units = ()) -> int:
    """Pico-dollars for so many tokens and no more, at the dearest band that they may reach, caches written.

    Args:
        price: as it holds now.
        prompt: tokens.
        output: tokens, of all answers together.
        an_hour: whether the caches may be written for an hour, which costs more than minutes.
        units: what else may be metered.
    """
    most = 0
    for band in price.bands:
        if band.above and band.above >= prompt:
            continue
        rates, hourly = band.rates, band.cache_write_1h
        token = max(rates.input, rates.cached_input, rates.cache_write)
        if an_hour and hourly is not None:
            token = max(token, hourly)
        cost = rates.request + prompt * token + output * rates.output
        most = max(most, cost + units_pico(band, units) if units else cost)
    return most
