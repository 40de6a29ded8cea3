"""OpenAI-shaped `usage` objects to the one normal form of meters, with the quirks of those who imitate the shape.

Belongs here: what each field means. Does not belong here: prices, and what to do when there is no usage at all.

Rules, with their sources: OpenAI's prompt_tokens include cached and cache-written tokens, completion_tokens include
reasoning (OpenAI API reference, usage object). DeepSeek repeats the cached part as prompt_cache_hit_tokens
(DeepSeek API reference). xAI and Gemini's compatible endpoint leave reasoning out of completion_tokens but not out of
total_tokens, so output that only the total shows is billed output too. Groq puts a stream's usage in `x_groq`.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec

from router.core.values import Usage

MAX_TOKENS: Final = 2**40
"""A figure beyond this is no token count."""
TIERS: Final = {
    "default": "realtime",
    "standard": "realtime",
    "on_demand": "realtime",
    "flex": "flex",
    "priority": "priority",
    "fast": "priority",
    "performance": "priority",
    "batch": "batch",
}
"""Providers' words for the tier that was served. Of any other, what was asked for is taken to be served."""


_Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_TOKENS)]


class _Parts(msgspec.Struct):
    cached_tokens: _Count | None = None
    cache_write_tokens: _Count | None = None
    reasoning_tokens: _Count | None = None


class _Counts(msgspec.Struct):
    prompt_tokens: _Count
    completion_tokens: _Count | None = None
    total_tokens: _Count | None = None
    prompt_tokens_details: _Parts | None = None
    completion_tokens_details: _Parts | None = None
    prompt_cache_hit_tokens: _Count | None = None
    service_tier: Any = None


class _Plain(msgspec.Struct):
    """A document whose usage is as it should be in every part."""

    usage: _Counts
    service_tier: Any = None


class _Envelope(msgspec.Struct):
    usage: Any = None
    service_tier: Any = None
    x_groq: Any = None


_PLAIN: Final = msgspec.json.Decoder(_Plain)
_ENVELOPE: Final = msgspec.json.Decoder(_Envelope)
_NONE: Final = _Parts()


def usage_of(document: bytes) -> Usage | None:
    """The meters in a whole response or one stream event; None when it has none that can be believed."""
    try:
        told = _PLAIN.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _looked_into(document)
    counts = told.usage
    of_prompt, of_answer = counts.prompt_tokens_details or _NONE, counts.completion_tokens_details or _NONE
    word = told.service_tier if told.service_tier is not None else counts.service_tier
    return _meters(
        counts.prompt_tokens,
        counts.completion_tokens or 0,
        cached=of_prompt.cached_tokens or counts.prompt_cache_hit_tokens or 0,
        written=of_prompt.cache_write_tokens or 0,
        reasoning=of_answer.reasoning_tokens or 0,
        total=counts.total_tokens or 0,
        tier=TIERS.get(word, "") if isinstance(word, str) else "",
    )


def _looked_into(document: bytes) -> Usage | None:
    """The meters where some part of them is elsewhere, or is none."""
    try:
        envelope = _ENVELOPE.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    tier = _tier(envelope)
    found = _normal(envelope.usage, tier)
    if found is None and isinstance(envelope.x_groq, dict):
        found = _normal(envelope.x_groq.get("usage"), tier)
    return found


def _tier(envelope: _Envelope) -> str:
    """The tier that was served: beside the usage, or in it (Mistral)."""
    word = envelope.service_tier
    if word is None and isinstance(envelope.usage, dict):
        word = envelope.usage.get("service_tier")
    return TIERS.get(word, "") if isinstance(word, str) else ""


def _normal(given: Any, tier: str) -> Usage | None:
    if not isinstance(given, dict):
        return None
    prompt = a_count(given.get("prompt_tokens"))
    said = given.get("completion_tokens")
    completion = 0 if said is None else a_count(said)
    if prompt is None or completion is None:
        return None
    of_prompt = given.get("prompt_tokens_details")
    return _meters(
        prompt,
        completion,
        cached=_part(of_prompt, "cached_tokens") or a_count(given.get("prompt_cache_hit_tokens")) or 0,
        written=_part(of_prompt, "cache_write_tokens"),
        reasoning=_part(given.get("completion_tokens_details"), "reasoning_tokens"),
        total=a_count(given.get("total_tokens")) or 0,
        tier=tier,
    )


def _meters(
    prompt: int, completion: int, *, cached: int, written: int, reasoning: int, total: int, tier: str
) -> Usage | None:
    hidden = max(0, total - prompt - completion)
    completion += hidden
    if cached + written > prompt:
        # Parts larger than the whole: none of these figures can be trusted.
        return None
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        cached_tokens=cached,
        cache_write_tokens=written,
        reasoning_tokens=min(max(reasoning, hidden), completion),
        tier=tier,
    )


def _part(details: object, name: str) -> int:
    count = a_count(details.get(name)) if isinstance(details, dict) else None
    return count or 0


def a_count(value: object) -> int | None:
    """A number of tokens, or None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_TOKENS:
        return None
    return value
