"""A model at one instant, by default: realtime, and no word on effort. What is known of it, or taken for granted.

Belongs here: from the catalog's entry and live statistics to plain figures. Does not belong here: further ways to call
it (`variants`), prompts of a size (`latency`), applications (`length`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.core.deciding.choices import Cache
from router.core.deciding.decide import Option
from router.core.deciding.variants import ENOUGH, Summaries, blend, flat, prior_ttft
from router.core.pricing import REALTIME
from router.core.statistics.busy import series_of
from router.core.statistics.latency import tries_ppm
from router.core.statistics.warmth import LATE_MS
from router.core.wire import able

if TYPE_CHECKING:
    from router.core.catalog.catalog import Model, PromptCache, Provider
    from router.core.statistics.stats import Summary
    from router.core.values import Price

REASONING: Final = "reasoning"
"""The catalog's tag of models that think before they answer."""


def base_option(model: Model, provider: Provider, sold: dict[str, Price], summary: Summaries) -> Option:
    """The option of a catalog entry.

    Args:
        model: the entry.
        provider: its provider.
        sold: its price now in each tier, `REALTIME` among them.
        summary: live statistics of a series, or None.
    """
    where = (model.id, model.provider, REALTIME)
    ttft, tpot = summary(("ttft", *where)), summary(("tpot", *where))
    total, length = summary(("total", *where)), summary(("output", *where))
    live = ttft is not None and tpot is not None and ttft.n >= ENOUGH
    return Option(
        entry=model.name,
        model=model.id,
        provider=model.provider,
        tier=REALTIME,
        upstream_model=model.upstream,
        dialects=model.dialects,
        capabilities=able(
            model.capabilities, *(model.dialects or provider.dialects), author=model.id.partition("/")[0]
        ),
        context_window=model.context_window,
        max_output=model.max_output,
        ratio_ppm=model.token_ratio_ppm,
        message_overhead=model.message_overhead,
        image=model.image,
        price=sold[REALTIME],
        output_mean=blend(model.output.mean, length.mean if length else 0, length.n if length else 0),
        output_p90=blend(model.output.p90, length.at(90) if length else 0, length.n if length else 0),
        ttft=ttft if live and ttft else prior_ttft(model.latency),
        tpot=tpot if live and tpot else flat(model.latency.tpot_us),
        live=live,
        headroom=model.output.mean if REASONING in model.tags else 0,
        prices=sold,
        total=total if total is not None and total.n >= ENOUGH else None,
        tries_ppm=tries_ppm(summary(("wasted", *where))),
        busy_milli=None if model.self_hosted is None else (load.mean if (load := summary(series_of(model))) else 0),
        cache=None if model.prompt_cache is None else _cache(model.prompt_cache, summary(("cached", *where))),
    )


def _cache(known: PromptCache, seen: Summary | None) -> Cache:
    hits = blend(known.hit_ppm, seen.mean, seen.n) if seen else known.hit_ppm
    late = known.ttl_s * 1000 >= LATE_MS
    return Cache(asked=known.asked, least=known.least, hit_ppm=hits, keyed=known.keyed, chosen=known.chosen, late=late)
