"""Which requests and answers may be given again to somebody who asks the same, by what stands in their bodies.

Belongs here: reading bodies for it, whatever the dialect. Does not belong here: the policy's say (core/policy), keeping and
finding (`router.caching`).

Not given again: what acts (tool calls: the caller would do it twice, under one id), what looks at the world meanwhile (tools
that the provider runs), what is part of a conversation that the provider keeps, and answers that were refused or filtered.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from router.core.money import usd

if TYPE_CHECKING:
    from router.dialects.request import Request

_BESIDE: Final = ("user", "metadata", "safety_identifier", "prompt_cache_key")
"""What says who asks, and nothing of what is asked."""
_STATEFUL: Final = (
    "previous_response_id",
    "conversation",
    "background",
    "web_search_options",
    "container",
    "mcp_servers",
)
_OWN_TOOLS: Final = frozenset({None, "function", "custom"})
"""Types of tools that the caller runs; of Anthropic's, None."""
_ACTS: Final = re.compile(
    rb'"(?:tool_calls|function_call)"\s*:\s*+(?!null|\[\s*+\])|"type"\s*:\s*"(?:tool_use|server_tool_use|function_call)"'
)
_REFUSED: Final = re.compile(rb'"(?:finish_reason|stop_reason)"\s*:\s*"(?:content_filter|refusal|error)"')
_COST_LINE: Final = re.compile(rb"(?m)^: x-costrouter-cost-usd=[0-9.]+")
_COST_MEMBER: Final = re.compile(rb'(?<!\\)"cost_usd":"[0-9.]+"')
_NOTHING: Final = usd(0).encode()


def may_be_asked_again(request: Request, *, sampled: bool) -> bool:
    """Whether the same request may be given the same answer.

    Args:
        request: as it was read.
        sampled: whether that goes for requests that ask for variety as well: a temperature above 0, several choices.
    """
    get = request.top.get
    if any(get(name) not in (None, b"null", b"false") for name in _STATEFUL) or get("store") == b"true":
        return False
    if not sampled and (request.choices > 1 or not _is_nought(get("temperature"))):
        return False
    return _callers_tools(get("tools"))


def same_request(request: Request) -> bytes:
    """What two requests have in common that ask the same: their JSON in one order, less who asks. A body with fields that
    cannot be read asks the same as its own bytes.
    """
    body = request.top.edited(dict.fromkeys(_BESIDE))
    try:
        return msgspec.json.encode(msgspec.json.decode(body), order="sorted")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return body


def may_be_given_again(answer: bytes) -> bool:
    """Whether a whole answer, plain or as a stream, does nothing but say something."""
    return _ACTS.search(answer) is None and _REFUSED.search(answer) is None


def for_nothing(stream: bytes) -> bytes:
    """A stream as it is given again: what it says of its cost is nought."""
    stream = _COST_LINE.sub(b": x-costrouter-cost-usd=" + _NOTHING, stream)
    return _COST_MEMBER.sub(b'"cost_usd":"' + _NOTHING + b'"', stream)


def wishes(headers: Mapping[str, str]) -> tuple[bool, bool]:
    """(may be answered from what was kept, may be kept), by the caller's ``Cache-Control``."""
    words = {word.strip().lower() for word in headers.get("cache-control", "").split(",")}
    kept = "no-store" not in words
    return kept and not words & {"no-cache", "max-age=0"}, kept


def _is_nought(value: bytes | None) -> bool:
    if value is None or value == b"null":
        return True
    try:
        return msgspec.json.decode(value, type=float) == 0
    except msgspec.MsgspecError:
        return False


def _callers_tools(value: bytes | None) -> bool:
    if value is None:
        return True
    try:
        tools = msgspec.json.decode(value, type=list[dict[str, object]] | None)
    except msgspec.MsgspecError:
        return False
    return all(tool.get("type") in _OWN_TOOLS for tool in tools or ())
