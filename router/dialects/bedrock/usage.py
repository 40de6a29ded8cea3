"""Converse's `usage` to the one normal form of meters.

Belongs here: what each field means. Does not belong here: prices.

Rules, with their sources: ``inputTokens`` leaves out what was read from or written to the cache, and the total counts all of
it (Bedrock user guide, "Prompt caching"); where the total says otherwise, the cached tokens are within. ``cacheDetails`` tells
the written ones apart by how long they are kept; ``outputTokens`` includes reasoning, of which there is no meter
(Converse's types in botocore).
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from router.core.values import Usage
from router.dialects.openai.usage import TIERS, a_count


class _Answer(msgspec.Struct):
    usage: Any = None
    tier: Any = msgspec.field(name="serviceTier", default=None)


_ANSWER: Final = msgspec.json.Decoder(_Answer)


def usage_of(document: bytes) -> Usage | None:
    """The meters of a whole answer, or of a stream's last event; None when it has none that can be believed."""
    try:
        given = _ANSWER.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(given.usage, dict):
        return None
    word = given.tier.get("type") if isinstance(given.tier, dict) else None
    return _normal(given.usage, TIERS.get(word, "") if isinstance(word, str) else "")


def _normal(given: dict[str, Any], tier: str) -> Usage | None:
    fresh, output = a_count(given.get("inputTokens")), a_count(given.get("outputTokens"))
    read, written = (a_count(given.get(name, 0)) for name in ("cacheReadInputTokens", "cacheWriteInputTokens"))
    if fresh is None or output is None or read is None or written is None:
        return None
    within = given.get("totalTokens") == fresh + output and read + written <= fresh
    details = given.get("cacheDetails")
    hour = sum(
        a_count(entry.get("inputTokens")) or 0
        for entry in (details if isinstance(details, list) else ())
        if isinstance(entry, dict) and entry.get("ttl") == "1h"
    )
    return Usage(
        prompt_tokens=fresh if within else fresh + read + written,
        completion_tokens=output,
        cached_tokens=read,
        cache_write_tokens=written,
        tier=tier,
        cache_write_1h_tokens=min(hour, written),
    )
