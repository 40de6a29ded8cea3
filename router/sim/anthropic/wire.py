"""Answers as Anthropic sends them: the message object and its stream of events.

Belongs here: the shape of an answer. Does not belong here: what it says and when it is sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from router.sim.anthropic.check import signature
from router.sim.text import pieces
from router.sim.wire import Event, runs

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from router.sim.bill import Meters
    from router.sim.plan import Answer, Choice

_FINISHES: Final = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
STOP: Final = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
ERROR: Final = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'
ERROR_BODY: Final = b'{"type":"error","error":{"type":"api_error","message":"Internal server error"}}'


@dataclass(frozen=True, slots=True)
class Envelope:
    """What all of one answer has in common."""

    id: str
    model: str
    prompt: Meters
    stops: tuple[str, ...]
    shows_thinking: bool
    searches: int = 0
    """Of the web, run by the provider."""


def usage(meters: Meters) -> dict[str, Any]:
    """The usage object: what was read and written is not in ``input_tokens``."""
    return {
        "input_tokens": meters.prompt - meters.cached - meters.cache_write,
        "cache_creation_input_tokens": meters.cache_write,
        "cache_read_input_tokens": meters.cached,
        "cache_creation": {
            "ephemeral_5m_input_tokens": meters.cache_write - meters.cache_write_1h,
            "ephemeral_1h_input_tokens": meters.cache_write_1h,
        },
        "output_tokens": meters.completion,
        "output_tokens_details": {"thinking_tokens": meters.reasoning},
        "server_tool_use": None,
        "service_tier": "standard",
        "inference_geo": "global",
    }


def lie(openai: dict[str, object]) -> dict[str, object]:
    """A usage object that no meter may believe, in this shape."""
    details = openai.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else 0
    return {
        "input_tokens": openai["prompt_tokens"],
        "output_tokens": openai["completion_tokens"],
        "cache_read_input_tokens": cached,
        "cache_creation_input_tokens": 0,
    }


def message(envelope: Envelope, answer: Answer, told: dict[str, Any] | None) -> bytes:
    """The plain answer's body."""
    choice = answer.choices[0]
    content: list[dict[str, Any]] = []
    thinking = "".join(choice.shown_reasoning)
    if thinking:
        content.append({"type": "thinking", "thinking": thinking, "signature": signature(thinking)})
    if choice.content:
        content.append({"type": "text", "text": "".join(choice.content)})
    for call, arguments in choice.calls:
        content.append(_tool_use(call.id, call.name) | {"input": _parsed("".join(arguments))})
    body = _head(envelope) | {"content": content, **_end(envelope, choice)}
    return orjson.dumps(body if told is None else body | {"usage": _searched(told, envelope)})


def _searched(told: dict[str, Any], envelope: Envelope) -> dict[str, Any]:
    """The usage object with the searches that were made."""
    if not envelope.searches:
        return told
    return told | {"server_tool_use": {"web_search_requests": envelope.searches, "web_fetch_requests": 0}}


def stream(envelope: Envelope, answer: Answer, told: dict[str, object] | None, rng: random.Random) -> Iterator[Event]:
    """The events of a streamed answer."""
    choice = answer.choices[0]
    start = _head(envelope) | {"content": [], "stop_reason": None, "stop_sequence": None}
    if told is not None:
        # The meters of the prompt are known; of the answer, that it has begun.
        start["usage"] = told | {"output_tokens": 1, "output_tokens_details": None} if "service_tier" in told else told
    yield _event("message_start", {"message": start})
    yield _event("ping", {})
    at = 0
    if choice.shown_reasoning:
        thinking = "".join(choice.shown_reasoning)
        yield _event(
            "content_block_start", {"index": at, "content_block": {"type": "thinking", "thinking": "", "signature": ""}}
        )
        for cut in runs(choice.shown_reasoning, rng):
            yield _delta(at, {"type": "thinking_delta", "thinking": "".join(cut)}, len(cut), len(cut))
        yield _delta(at, {"type": "signature_delta", "signature": signature(thinking)})
        yield _event("content_block_stop", {"index": at})
        at += 1
    if choice.content:
        yield _event("content_block_start", {"index": at, "content_block": {"type": "text", "text": ""}})
        for cut in runs(choice.content, rng):
            yield _delta(at, {"type": "text_delta", "text": "".join(cut)}, len(cut))
        yield _event("content_block_stop", {"index": at})
        at += 1
    for call, arguments in choice.calls:
        opening = _event("content_block_start", {"index": at, "content_block": _tool_use(call.id, call.name)})
        yield opening._replace(shown=len(pieces(call.name)))
        yield _delta(at, {"type": "input_json_delta", "partial_json": ""})
        for cut in runs(arguments, rng):
            yield _delta(at, {"type": "input_json_delta", "partial_json": "".join(cut)}, len(cut))
        yield _event("content_block_stop", {"index": at})
        at += 1
    end: dict[str, Any] = {"delta": _end(envelope, choice)}
    if told is not None:
        told = _searched(told, envelope)
        end["usage"] = {name: value for name, value in told.items() if name not in ("service_tier", "inference_geo")}
    yield _event("message_delta", end)._replace(finishes=True)
    yield Event(STOP, finishes=True)


def _head(envelope: Envelope) -> dict[str, Any]:
    return {"id": envelope.id, "type": "message", "role": "assistant", "model": envelope.model}


def _end(envelope: Envelope, choice: Choice) -> dict[str, Any]:
    reason: str = _FINISHES[choice.finish]
    # The plan cuts before a stop sequence without saying which; with one there is no doubt.
    if choice.stopped_by in envelope.stops:
        return {"stop_reason": "stop_sequence", "stop_sequence": choice.stopped_by}
    return {"stop_reason": reason, "stop_sequence": None}


def _tool_use(call_id: str, name: str) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id.replace("call_", "toolu_"), "name": name, "input": {}}


def _parsed(arguments: str) -> Any:
    try:
        return orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return {}  # cut off by the limit


def _delta(at: int, delta: dict[str, Any], shown: int = 0, reasoning: int = 0) -> Event:
    event = _event("content_block_delta", {"index": at, "delta": delta})
    return event._replace(shown=shown, shown_reasoning=reasoning)


def _event(name: str, document: dict[str, Any]) -> Event:
    return Event(b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps({"type": name, **document})))
