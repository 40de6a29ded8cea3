"""The usage of OpenAI's Responses to the one normal form of meters, and back.

Belongs here: what each field means. Does not belong here: prices.

Rules, with their sources: ``input_tokens`` include cached and cache-written tokens, ``output_tokens`` include reasoning
(OpenAI API reference, ResponseUsage); output that only the total shows is billed output too, as in chat completions
(`router.dialects.openai.usage`). In a stream only the last event has meters, in its ``response``. Calls of tools that the
provider runs for a fee are items of the output: searches of the web but for pages that are opened, searches of files, and
the containers that code ran in (OpenAI pricing, built-in tools).
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from router.core.meters import CODE_INTERPRETER, FILE_SEARCH, WEB_SEARCH, units_of
from router.core.values import Usage
from router.dialects.openai.usage import TIERS, a_count


class _Response(msgspec.Struct):
    usage: Any = None
    service_tier: Any = None
    response: Any = None


class _WithOutput(msgspec.Struct):
    output: Any = None


_RESPONSE: Final = msgspec.json.Decoder(_Response)
_OUTPUT: Final = msgspec.json.Decoder(_WithOutput)


def usage_of(document: bytes) -> Usage | None:
    """The meters in a whole response or one stream event; None when it has none that can be believed."""
    try:
        found = _RESPONSE.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if isinstance(found.response, dict):
        return usage_in(found.response)
    usage = normal(found.usage, found.service_tier)
    return _with_calls(usage, _OUTPUT.decode(document).output) if _called(document) else usage


def _called(document: bytes) -> bool:
    """Whether some tool of the provider's may have been called; a look that costs next to nothing."""
    return b'search_call"' in document or b'interpreter_call"' in document


def _with_calls(usage: Usage | None, output: object) -> Usage | None:
    items = [item for item in output if isinstance(item, dict)] if isinstance(output, list) else []
    calls = {WEB_SEARCH: 0, FILE_SEARCH: 0}
    containers: set[str] = set()
    for item in items:
        kind, action = item.get("type"), item.get("action")
        if kind == "web_search_call":
            calls[WEB_SEARCH] += not isinstance(action, dict) or action.get("type", "search") == "search"
        elif kind == "file_search_call":
            calls[FILE_SEARCH] += 1
        elif kind == "code_interpreter_call":
            containers.add(str(item.get("container_id")))
    units = units_of(calls | {CODE_INTERPRETER: len(containers)})
    return usage if usage is None or not units else msgspec.structs.replace(usage, units=units)


def usage_in(response: dict[str, Any]) -> Usage | None:
    """The meters of a response that has been decoded, as a stream's last event has it."""
    return _with_calls(normal(response.get("usage"), response.get("service_tier")), response.get("output"))


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
