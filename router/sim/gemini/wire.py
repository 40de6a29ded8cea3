"""Answers as Google sends them: the GenerateContentResponse and its stream.

Belongs here: the shape of an answer. Does not belong here: what it says and when it is sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from router.sim.gemini.check import signature
from router.sim.gemini.refusal import body as error_body
from router.sim.text import pieces
from router.sim.wire import Event, runs

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from router.sim.bill import Meters
    from router.sim.plan import Answer, Choice

_FINISHES: Final = {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP"}
ERROR_BODY: Final = error_body(503, "The model is overloaded. Please try again later.")
ERROR: Final = b"data: " + ERROR_BODY + b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Envelope:
    """What all of one answer has in common."""

    id: str
    model: str
    ids: bool
    """Whether calls of tools have ids: Vertex gives none."""
    signs: bool
    """Whether calls of tools are signed: models of the second generation do not ask for that."""


def usage(meters: Meters) -> dict[str, Any]:
    """The usage object. What is zero is left out, as proto3's JSON does; thoughts stand beside the candidates."""
    found = {
        "promptTokenCount": meters.prompt,
        "candidatesTokenCount": meters.completion - meters.reasoning,
        "totalTokenCount": meters.prompt + meters.completion,
        "cachedContentTokenCount": meters.cached,
        "thoughtsTokenCount": meters.reasoning,
    }
    details = [{"modality": "TEXT", "tokenCount": meters.prompt}]
    return {name: count for name, count in found.items() if count} | {"promptTokensDetails": details}


def lie(openai: dict[str, object]) -> dict[str, object]:
    """A usage object that no meter may believe, in this shape."""
    details = openai.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else 0
    return {
        "promptTokenCount": openai["prompt_tokens"],
        "candidatesTokenCount": openai["completion_tokens"],
        "totalTokenCount": openai["total_tokens"],
        "cachedContentTokenCount": cached,
    }


def whole(envelope: Envelope, answer: Answer, told: dict[str, Any] | None) -> bytes:
    """The plain answer's body."""
    choice = answer.choices[0]
    parts: list[dict[str, Any]] = []
    if choice.shown_reasoning:
        parts.append({"text": "".join(choice.shown_reasoning), "thought": True})
    if choice.content:
        parts.append({"text": "".join(choice.content)})
    parts += _calls(envelope, choice)
    return orjson.dumps(_chunk(envelope, parts, told, _FINISHES[choice.finish]), option=orjson.OPT_INDENT_2)


def stream(envelope: Envelope, answer: Answer, told: dict[str, Any] | None, rng: random.Random) -> Iterator[Event]:
    """The events of a streamed answer: each tells the meters so far, and the last one why it ended."""
    choice = answer.choices[0]
    shown = 0
    for cut in runs(choice.shown_reasoning, rng):
        shown += len(cut)
        part = {"text": "".join(cut), "thought": True}
        yield _event(_chunk(envelope, [part], _so_far(told, shown)))._replace(shown=len(cut), shown_reasoning=len(cut))
    for cut in runs(choice.content, rng):
        shown += len(cut)
        yield _event(_chunk(envelope, [{"text": "".join(cut)}], _so_far(told, shown)))._replace(shown=len(cut))
    calls = _calls(envelope, choice)
    for part, (call, arguments) in zip(calls, choice.calls, strict=True):
        length = len(pieces(call.name)) + len(arguments)
        shown += length
        yield _event(_chunk(envelope, [part], _so_far(told, shown)))._replace(shown=length)
    yield _event(_chunk(envelope, [{"text": ""}], told, _FINISHES[choice.finish]))._replace(finishes=True)


def _so_far(told: dict[str, Any] | None, shown: int) -> dict[str, Any] | None:
    if told is None or not isinstance(told["promptTokenCount"], int):
        return told
    names = ("promptTokenCount", "promptTokensDetails", "cachedContentTokenCount")
    kept = {name: told[name] for name in names if name in told}
    return kept | {"candidatesTokenCount": shown, "totalTokenCount": told["promptTokenCount"] + shown}


def _calls(envelope: Envelope, choice: Choice) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    for call, arguments in choice.calls:
        said: dict[str, Any] = {"name": call.name, "args": _parsed("".join(arguments))}
        if envelope.ids:
            said = {"id": call.id.removeprefix("call_")[:12]} | said
        part: dict[str, Any] = {"functionCall": said}
        if envelope.signs and not parts:
            part["thoughtSignature"] = signature(call.name)
        parts.append(part)
    return parts


def _parsed(arguments: str) -> Any:
    try:
        return orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return {}  # cut off by the limit


def _chunk(
    envelope: Envelope, parts: list[dict[str, Any]], told: dict[str, Any] | None, finish: str = ""
) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}}
    if finish:
        candidate["finishReason"] = finish
    candidate["index"] = 0
    found: dict[str, Any] = {"candidates": [candidate]}
    if told is not None:
        found["usageMetadata"] = told
    return found | {"modelVersion": envelope.model, "responseId": envelope.id}


def _event(document: dict[str, Any]) -> Event:
    return Event(b"data: %b\r\n\r\n" % orjson.dumps(document))
