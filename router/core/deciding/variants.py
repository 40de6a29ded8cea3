"""The ways in which a model can be called: by tier, and by reasoning effort.

Belongs here: a model's further options, from the one that it has by default, and the order of tiers. Does not belong
here: which of them a policy admits (snapshot.py), and tiers that are answered later (`window`, `batch`): their options
are bids of jobs, and no request that waits for its answer is sent there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from router.core.pricing import REALTIME, price_at, share
from router.core.statistics.stats import Series, Summary

if TYPE_CHECKING:
    import datetime as dt

    from router.core.catalog.catalog import Catalog, Effort, Latency, Model, Provider
    from router.core.deciding.decide import Option
    from router.core.statistics.quality import Score
    from router.core.values import Price

ENOUGH: Final = 20
"""Observations from which live latency takes the prior's place."""
PRIOR_WEIGHT: Final = 20
"""How many observations a prior for answer lengths is worth."""
TIERS: Final[tuple[str, ...]] = ("batch", "window", "flex", REALTIME, "priority")
"""As policies call them, from the least service to the most."""
WAITS: Final[Mapping[str, int]] = {"flex": 10}
"""How many times realtime's first token is awaited while nothing has been observed: a provider's flex may take minutes."""

Summaries = Callable[[Series], Summary | None]
Tariff = Mapping[str, dict[str, "Price"]]
"""By catalog entry and tier."""


def tariff(catalog: Catalog, now: dt.datetime) -> Tariff:
    """The prices of an instant (aware) of all models that can be called then, in every tier that is sold."""
    found: dict[str, dict[str, Price]] = {}
    for model in catalog.models:
        provider = catalog.providers[model.provider]
        if not provider.spoken or model.retired_at(now):
            continue
        sold = {REALTIME, *(tier for row in model.prices for tier in row.tiers)}
        prices = ((tier, price_at(model, now, tier)) for tier in sorted(sold))
        known = {tier: price for tier, price in prices if price is not None}
        if REALTIME in known:
            found[model.name] = known
    return found


def same_minute(one: dt.datetime, other: dt.datetime) -> bool:
    """Whether the same prices hold at both instants: they begin and end on whole minutes."""
    return one.replace(second=0, microsecond=0) == other.replace(second=0, microsecond=0)


def way(tier: str, effort: str) -> str:
    """How statistics tell the ways of calling a model apart: ``realtime``, ``flex``, ``realtime+low``."""
    return f"{tier}+{effort}" if effort else tier


def may_order(order: str, allowed: Collection[str]) -> bool:
    """Whether a caller may ask for a tier: for no more service than the best that is allowed."""
    return any(TIERS.index(order) <= TIERS.index(tier) for tier in allowed)


def variants(
    base: Option, model: Model, provider: Provider, efforts: Collection[str], summary: Summaries
) -> Iterator[Option]:
    """Every further way to call a model now.

    Args:
        base: the model by default: realtime, and no word on effort.
        model: its catalog entry.
        provider: its provider.
        efforts: the reasoning efforts that some policy may choose.
        summary: live statistics of a series, or None.
    """
    thinking = [base, *(_with_effort(base, model, effort, summary) for effort in model.efforts if effort in efforts)]
    yield from thinking[1:]
    for tier, word in provider.service_tiers.items():
        if (price := base.prices.get(tier)) is not None:
            for option in thinking:
                found = msgspec.structs.replace(option, tier=tier, tier_word=word, price=price, live=False)
                yield _in_tier(found, model, summary)


def with_effort(score: Score | None, effort: Effort | None) -> Score | None:
    """A model's score with a reasoning effort that is not its own default: so far less certain. The score itself where
    nobody knows what the effort changes.
    """
    if score is None or effort is None:
        return score
    return msgspec.structs.replace(
        score,
        milli=min(score.milli * effort.quality_ppm // 1_000_000, 1000),
        sd_milli=score.sd_milli + effort.sd_milli,
        source=f"{score.source}; with another effort: {effort.source}",
        date=max(score.date, effort.date),
    )


def blend(prior: int, seen: int, n: int) -> int:
    """A prior, moved by the mean of so many observations."""
    return (prior * PRIOR_WEIGHT + seen * n) // (PRIOR_WEIGHT + n)


def prior_ttft(latency: Latency) -> Summary:
    """The catalog's prior for the first token, in microseconds."""
    # Log-normal through the two known quantiles; p50 and p95 lie 1.645 standard deviations apart.
    p50, p95 = latency.ttft_p50_ms * 1000, latency.ttft_p95_ms * 1000
    growth = p95 / p50
    quantiles = tuple(round(p50 * growth ** (z / 1.645)) for z in (0.0, 0.674, 1.282, 1.645, 2.326))
    return Summary(n=0, mean=p50, quantiles=quantiles)


def flat(value: int) -> Summary:
    """A figure without a spread."""
    return Summary(n=0, mean=value, quantiles=(value,) * 5)


def _with_effort(base: Option, model: Model, effort: str, summary: Summaries) -> Option:
    factor = model.efforts[effort].output_ppm
    where = (model.id, model.provider, way(base.tier, effort))
    length = summary(("output", *where))
    seen, n = (length.mean, length.n) if length else (0, 0)
    most = length.at(90) if length else 0
    option = msgspec.structs.replace(
        base,
        effort=effort,
        output_mean=blend(share(base.output_mean, factor), seen, n),
        output_p90=blend(share(base.output_p90, factor), most, n),
        headroom=0 if effort == "none" else share(base.headroom, factor),
    )
    return _observed(option, where, summary)


def _in_tier(option: Option, model: Model, summary: Summaries) -> Option:
    waits, ttft = WAITS.get(option.tier, 1), option.ttft
    slow = msgspec.structs.replace(ttft, mean=ttft.mean * waits, quantiles=tuple(q * waits for q in ttft.quantiles))
    where = (model.id, model.provider, way(option.tier, option.effort))
    return _observed(msgspec.structs.replace(option, ttft=slow), where, summary)


def _observed(option: Option, where: tuple[str, str, str], summary: Summaries) -> Option:
    ttft, tpot = summary(("ttft", *where)), summary(("tpot", *where))
    if ttft is None or tpot is None or ttft.n < ENOUGH:
        return msgspec.structs.replace(option, live=False)
    return msgspec.structs.replace(option, ttft=ttft, tpot=tpot, live=True)


def preference(option: Option) -> tuple[int, str, str]:
    """The order at equal cost: the quicker first."""
    return (option.ttft.at(50), option.model, option.provider)


def list_price(option: Option) -> tuple[int, str]:
    """The order of list prices, for a usual prompt and answer."""
    rates = option.price.bands[0].rates
    return (rates.input * 4 + rates.output, option.provider)
