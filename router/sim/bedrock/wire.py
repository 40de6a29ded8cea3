"""Answers as Bedrock sends them: Converse's object and its stream of binary events.

Belongs here: the shape of an answer. Does not belong here: what it says and when it is sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from router.sim.anthropic.check import signature
from router.sim.bedrock.frames import frame
from router.sim.text import pieces
from router.sim.wire import Event, runs

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from router.sim.bill import Meters
    from router.sim.plan import Answer, Choice

_FINISHES: Final = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
ERROR: Final = frame("exception", "serviceUnavailableException", b'{"message":"The service is overloaded."}')
ERROR_BODY: Final = b'{"message":"The system encountered an unexpected error during processing."}'


@dataclass(frozen=True, slots=True)
class Envelope:
    """What all of one answer has in common."""

    claude: bool
    """Whether the model signs what it thinks, and tells its stop sequence."""
    stops: tuple[str, ...]
    tier: str


def usage(meters: Meters) -> dict[str, Any]:
    """The usage object: what was read and written is not in ``inputTokens``."""
    found = {
        "inputTokens": meters.prompt - meters.cached - meters.cache_write,
        "outputTokens": meters.completion,
        "totalTokens": meters.prompt + meters.completion,
        "cacheReadInputTokens": meters.cached,
        "cacheWriteInputTokens": meters.cache_write,
    }
    short = meters.cache_write - meters.cache_write_1h
    details = [("5m", short), ("1h", meters.cache_write_1h)]
    return found | {"cacheDetails": [{"ttl": ttl, "inputTokens": count} for ttl, count in details if count]}


def lie(openai: dict[str, object]) -> dict[str, object]:
    """A usage object that no meter may believe, in this shape."""
    details = openai.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else 0
    return {
        "inputTokens": openai["prompt_tokens"],
        "outputTokens": openai["completion_tokens"],
        "totalTokens": openai["total_tokens"],
        "cacheReadInputTokens": cached,
    }


def whole(envelope: Envelope, answer: Answer, told: dict[str, Any] | None) -> bytes:
    """The plain answer's body."""
    choice = answer.choices[0]
    content: list[dict[str, Any]] = []
    thinking = "".join(choice.shown_reasoning)
    if thinking:
        content.append({"reasoningContent": {"reasoningText": _signed(envelope, thinking)}})
    if choice.content:
        content.append({"text": "".join(choice.content)})
    for call, arguments in choice.calls:
        used = {"toolUseId": _id(call.id), "name": call.name, "input": _parsed("".join(arguments))}
        content.append({"toolUse": used})
    body = {"output": {"message": {"role": "assistant", "content": content}}, "metrics": {"latencyMs": 300}}
    body |= _end(envelope, choice) | _tier(envelope)
    return orjson.dumps(body if told is None else body | {"usage": told})


def stream(envelope: Envelope, answer: Answer, told: dict[str, Any] | None, rng: random.Random) -> Iterator[Event]:
    """The events of a streamed answer."""
    choice = answer.choices[0]
    yield _event("messageStart", {"role": "assistant"})
    at = 0
    if choice.shown_reasoning:
        for cut in runs(choice.shown_reasoning, rng):
            delta = {"reasoningContent": {"text": "".join(cut)}}
            yield _delta(at, delta, len(cut))._replace(shown_reasoning=len(cut))
        signed = _signed(envelope, "".join(choice.shown_reasoning))
        if "signature" in signed:
            yield _delta(at, {"reasoningContent": {"signature": signed["signature"]}})
        yield _event("contentBlockStop", {"contentBlockIndex": at})
        at += 1
    if choice.content:
        for cut in runs(choice.content, rng):
            yield _delta(at, {"text": "".join(cut)}, len(cut))
        yield _event("contentBlockStop", {"contentBlockIndex": at})
        at += 1
    for call, arguments in choice.calls:
        start = {"toolUse": {"toolUseId": _id(call.id), "name": call.name}}
        opening = _event("contentBlockStart", {"start": start, "contentBlockIndex": at})
        yield opening._replace(shown=len(pieces(call.name)))
        for cut in runs(arguments, rng):
            yield _delta(at, {"toolUse": {"input": "".join(cut)}}, len(cut))
        yield _event("contentBlockStop", {"contentBlockIndex": at})
        at += 1
    yield _event("messageStop", _end(envelope, choice))._replace(finishes=True)
    if told is not None:
        metadata = {"usage": told, "metrics": {"latencyMs": 300}} | _tier(envelope)
        yield _event("metadata", metadata)._replace(finishes=True)


def _signed(envelope: Envelope, thinking: str) -> dict[str, str]:
    return {"text": thinking} | ({"signature": signature(thinking)} if envelope.claude else {})


def _tier(envelope: Envelope) -> dict[str, Any]:
    return {"serviceTier": {"type": envelope.tier}}


def _end(envelope: Envelope, choice: Choice) -> dict[str, Any]:
    if choice.stopped_by in envelope.stops:
        more = {"additionalModelResponseFields": {"stop_sequence": choice.stopped_by}} if envelope.claude else {}
        return {"stopReason": "stop_sequence"} | more
    return {"stopReason": _FINISHES[choice.finish]}


def _id(call_id: str) -> str:
    return call_id.replace("call_", "tooluse_")


def _parsed(arguments: str) -> Any:
    try:
        return orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return {}  # cut off by the limit


def _delta(at: int, delta: dict[str, Any], shown: int = 0) -> Event:
    return _event("contentBlockDelta", {"contentBlockIndex": at, "delta": delta})._replace(shown=shown)


def _event(name: str, document: dict[str, Any]) -> Event:
    # Padding hides the length of what is said.
    return Event(frame("event", name, orjson.dumps(document | {"p": "abcdefghijk"[: len(document) * 3]})))
