"""The usage of OpenAI's Responses to the one normal form of meters, and back.

Belongs here: what each field means. Does not belong here: prices.

Rules, with their sources: ``input_tokens`` include cached and cache-written tokens, ``output_tokens`` include reasoning
(OpenAI API reference, ResponseUsage); output that only the total shows is billed output too, as in chat completions
(`router.dialects.openai.usage`). In a stream only the last event has meters, in its ``response``.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from router.core.values import Usage
from router.dialects.openai.usage import TIERS, a_count


class _Response(msgspec.Struct):
    usage: Any = None
    service_tier: Any = None
    response: Any = None


_RESPONSE: Final = msgspec.json.Decoder(_Response)


def usage_of(document: bytes) -> Usage | None:
    """The meters in a whole response or one stream event; None when it has none that can be believed."""
    try:
        found = _RESPONSE.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if isinstance(found.response, dict):
        return normal(found.response.get("usage"), found.response.get("service_tier"))
    return normal(found.usage, found.service_tier)


def normal(given: object, tier: object = None) -> Usage | None:
    """The normal form of a usage object and the tier beside it; None for figures that are none."""
    if not isinstance(given, dict):
        return None
    prompt, output = a_count(given.get("input_tokens")), a_count(given.get("output_tokens"))
    if prompt is None or output is None:
        return None
    before, after = given.get("input_tokens_details"), given.get("output_tokens_details")
    cached = _part(before, "cached_tokens")
    written = _part(before, "cache_write_tokens")
    if cached + written > prompt:
        # Parts larger than the whole: none of these figures can be trusted.
        return None
    hidden = max(0, (a_count(given.get("total_tokens")) or 0) - prompt - output)
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=output + hidden,
        cached_tokens=cached,
        cache_write_tokens=written,
        reasoning_tokens=min(max(_part(after, "reasoning_tokens"), hidden), output + hidden),
        tier=TIERS.get(tier, "") if isinstance(tier, str) else "",
    )


def _part(details: object, name: str) -> int:
    return (a_count(details.get(name)) or 0) if isinstance(details, dict) else 0


def usage_object(usage: Usage, cost: str | None = None) -> dict[str, Any]:
    """Meters as a usage object."""
    found: dict[str, Any] = {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": usage.cache_write_tokens},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
    return found if cost is None else found | {"cost_usd": cost}
