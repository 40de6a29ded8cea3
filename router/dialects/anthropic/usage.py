"""Anthropic's `usage` to the one normal form of meters.

Belongs here: what each field means. Does not belong here: prices.

Rules, with their sources: ``input_tokens`` leaves out what was read from or written to the prompt cache, so the prompt
is the sum of the three; ``output_tokens`` is inclusive and authoritative (Anthropic API reference, usage object, as its
SDK's types state it). In a stream the figures are cumulative: each report replaces what it repeats. Of ``iterations``,
only ``compaction`` entries are not in the totals (the same, beta types). ``server_tool_use.web_search_requests`` are billed
each; fetching pages costs nothing but tokens (Anthropic pricing).
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from router.core.meters import WEB_SEARCH, added
from router.core.values import Usage
from router.dialects.openai.usage import a_count

_FIELDS: Final = (
    "input_tokens",
    "output_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "cache_creation",
    "output_tokens_details",
    "iterations",
    "service_tier",
    "server_tool_use",
)


_TIERS: Final = {"standard": "realtime", "priority": "priority", "batch": "batch"}


class _Message(msgspec.Struct):
    usage: Any = None


_MESSAGE: Final = msgspec.json.Decoder(_Message)


def usage_of(document: bytes) -> Usage | None:
    """The meters of a whole message; None when it has none that can be believed."""
    try:
        given = _MESSAGE.decode(document).usage
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return normal(given) if isinstance(given, dict) else None


def merged(before: dict[str, Any], later: object) -> dict[str, Any]:
    """What a stream has reported so far: later figures take the place of earlier ones, what is left out stays."""
    if not isinstance(later, dict):
        return before
    return before | {name: later[name] for name in _FIELDS if later.get(name) is not None}


def normal(given: dict[str, Any]) -> Usage | None:
    """The normal form; None for figures that are none."""
    total = _plain(given)
    entries = given.get("iterations")
    for entry in entries if isinstance(entries, list) else ():
        if total is not None and isinstance(entry, dict) and entry.get("type") == "compaction":
            more = _plain(entry)
            total = None if more is None else _sum(total, more)
    return total


def _plain(given: dict[str, Any]) -> Usage | None:
    fresh, output = a_count(given.get("input_tokens")), a_count(given.get("output_tokens"))
    if fresh is None or output is None:
        return None
    written = a_count(given.get("cache_creation_input_tokens")) or 0
    read = a_count(given.get("cache_read_input_tokens")) or 0
    details = given.get("output_tokens_details")
    thought = a_count(details.get("thinking_tokens")) if isinstance(details, dict) else 0
    split = given.get("cache_creation")
    hour = a_count(split.get("ephemeral_1h_input_tokens")) if isinstance(split, dict) else 0
    used = given.get("server_tool_use")
    searches = a_count(used.get("web_search_requests")) if isinstance(used, dict) else 0
    return Usage(
        prompt_tokens=fresh + written + read,
        completion_tokens=output,
        cached_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=min(thought or 0, output),
        cache_write_1h_tokens=min(hour or 0, written),
        tier=_TIERS.get(str(given.get("service_tier")), ""),
        units=((WEB_SEARCH, searches),) if searches else (),
    )


def _sum(one: Usage, other: Usage) -> Usage:
    fields = (name for name in Usage.__struct_fields__ if name not in ("tier", "units"))
    sums = {name: getattr(one, name) + getattr(other, name) for name in fields}
    return Usage(**sums, tier=one.tier, units=added(one.units, other.units))


def usage_object(usage: Usage) -> dict[str, Any]:
    """Meters as Anthropic's usage object."""
    hour = usage.cache_write_1h_tokens
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens - usage.cache_write_tokens,
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write_tokens - hour,
            "ephemeral_1h_input_tokens": hour,
        },
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
        "service_tier": "standard",
    }
