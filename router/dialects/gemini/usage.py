"""Google's `usageMetadata` to the one normal form of meters.

Belongs here: what each field means. Does not belong here: prices.

Rules, with their sources: ``promptTokenCount`` includes ``cachedContentTokenCount``; ``totalTokenCount`` is the sum of
prompt, candidates, tool-use prompt and thoughts (google-genai's types, GenerateContentResponseUsageMetadata). Thoughts are
billed as output, what tools gave back as input (ai.google.dev/gemini-api/docs/pricing). Some answers count the thoughts
among the candidates already: there the sum without them is the total, and they are not added again. Output that only the
total shows is output. A field that is zero is left out of the JSON, so what is missing beside a prompt is none.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from router.core.values import Usage
from router.dialects.openai.usage import a_count

_TRAFFIC: Final = {"ON_DEMAND": "realtime", "ON_DEMAND_PRIORITY": "priority", "ON_DEMAND_FLEX": "flex"}
"""Vertex's `trafficType`. Of any other, what was asked for is taken to be served."""


class _Answer(msgspec.Struct):
    usage: Any = msgspec.field(name="usageMetadata", default=None)


_ANSWER: Final = msgspec.json.Decoder(_Answer)


def usage_of(document: bytes) -> Usage | None:
    """The meters of a whole answer or one stream event; None when it has none that can be believed."""
    try:
        given = _ANSWER.decode(document).usage
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return normal(given) if isinstance(given, dict) else None


def normal(given: dict[str, Any]) -> Usage | None:
    """The normal form; None for figures that are none, or whose parts are larger than the whole."""
    prompt = a_count(given.get("promptTokenCount"))
    cached, said, thought, tools, total = (
        a_count(given.get(name, 0))
        for name in (
            "cachedContentTokenCount",
            "candidatesTokenCount",
            "thoughtsTokenCount",
            "toolUsePromptTokenCount",
            "totalTokenCount",
        )
    )
    if prompt is None or cached is None or said is None or thought is None or tools is None or total is None:
        return None
    if cached > prompt:
        return None
    within = thought if thought <= said and prompt + said + tools == total else 0
    completion = said + thought - within
    hidden = max(0, total - prompt - tools - completion)
    traffic = given.get("trafficType")
    return Usage(
        prompt_tokens=prompt + tools,
        completion_tokens=completion + hidden,
        cached_tokens=cached,
        reasoning_tokens=thought + hidden,
        tier=_TRAFFIC.get(traffic, "") if isinstance(traffic, str) else "",
    )
