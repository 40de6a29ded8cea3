"""The end of an attempt's row: what its meters make of the row that was written down when it was sent.

Belongs here: the fields that an end changes. Does not belong here: whether meters are believed (believable.py), what
they cost (pricing.py), and rows that correct others (corrections.py).
"""

from __future__ import annotations

import msgspec

from router.core.money import nano_ceil
from router.core.pricing import cache_saved_pico, cost_pico
from router.core.values import Certainty, Outcome, Price, Row, Usage


def ended_row(
    sent: Row,
    usage: Usage,
    cost_pico: int,
    *,
    outcome: Outcome,
    status: int,
    certainty: Certainty,
    baseline_nano: int,
    total_ms: int,
    ttft_ms: int = 0,
    saved: tuple[int, int] = (0, 0),
) -> Row:
    """The row of an attempt that is over. What is known since it was sent changes no more, so only the rest is put in.

    Args:
        sent: the row as it was written down before the first byte went out.
        usage: the meters that are booked.
        cost_pico: what they cost, in pico-dollars.
        outcome: how it ended.
        status: of HTTP.
        certainty: how the meters were come by.
        baseline_nano: what the baseline would have cost, in nano-dollars.
        total_ms: from its start to its end.
        ttft_ms: to its first byte; 0 where none came, or nobody waited for it.
        saved: what `savings` makes of it.
    """
    return msgspec.structs.replace(
        sent,
        outcome=outcome,
        status=status,
        certainty=certainty,
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=usage.cached_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
        completion_tokens=usage.completion_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        units=usage.units,
        cost_pico=cost_pico,
        cost_nano=nano_ceil(cost_pico),
        baseline_nano=baseline_nano,
        ttft_ms=ttft_ms,
        total_ms=total_ms,
        cache_saved_nano=saved[0],
        would_save_nano=saved[1],
    )


def savings(price: Price, usage: Usage, cost_nano: int, could: Price | None) -> tuple[int, int]:
    """(what the provider's cache saved, by how much another choice would have cost less), in nano-dollars, signed.

    Args:
        price: that is paid.
        usage: the meters.
        cost_nano: what they cost.
        could: the price of what a policy that only observes would have chosen.
    """
    cached = usage.cached_tokens or usage.cache_write_tokens
    would = 0 if could is None else cost_nano - nano_ceil(cost_pico(could, usage))
    return (cache_saved_pico(price, usage) // 1000 if cached else 0), would
