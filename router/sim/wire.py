"""Answers as bytes: OpenAI's completion object, its stream of chunks, and each provider's variations on them.

Belongs here: the shape of an answer. Does not belong here: what it says (plan.py), when it is sent (deliver.py),
and the usage object (personality.py).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from router.sim.text import pieces

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from router.sim.personality import Personality
    from router.sim.plan import Answer, Choice

DONE: Final = b"data: [DONE]\n\n"
STREAM_ERROR: Final = (
    b'data: {"error":{"message":"The server had an error while processing your request. Sorry about that!",'
    b'"type":"server_error","param":null,"code":null}}\n\n'
)
_PADDING: Final = "kT3vQ9xLw2RbZ7mC"
_OTHERS: Final = (
    " the", " a", ",", ".", " of", " and", " to", " in", " is", " on", " for", " with", " it", " as", " by", " that",
    " at", " from", " or", " be", "!",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Envelope:
    """What every object of one answer has in common, and what the caller asked to see."""

    id: str
    created: int
    model: str
    who: Personality
    include_usage: bool
    obfuscate: bool
    top_logprobs: int | None
    """None: no log probabilities were asked for."""
    tier: str = "default"
    """That was served, in the provider's word."""


class Event(NamedTuple):
    """One SSE event, with the pieces that it brings to the caller."""

    data: bytes
    shown: int = 0
    shown_reasoning: int = 0
    finishes: bool = False
    """The event has a finish_reason, or comes after one that had."""


def completion(envelope: Envelope, answer: Answer, usage: dict[str, Any] | None) -> bytes:
    """The plain answer's body."""
    body = _head(envelope, "chat.completion")
    if envelope.who.together:
        body["prompt"] = []
    body["choices"] = [_plain_choice(envelope, index, choice) for index, choice in enumerate(answer.choices)]
    if usage is not None:
        body["usage"] = usage
    if envelope.who.x_groq:
        body["usage_breakdown"] = None
        body["x_groq"] = {"id": f"req_{envelope.id[9:]}"}
    return orjson.dumps(body)


def stream(envelope: Envelope, answer: Answer, usage: dict[str, Any] | None, rng: random.Random) -> Iterator[Event]:
    """The events of a streamed answer, [DONE] included. Choices take turns, as in a batch of decoders."""
    deltas = [_deltas(envelope, index, choice, rng) for index, choice in enumerate(answer.choices)]
    if envelope.who.x_groq:
        opening = _chunk(envelope, [_chunk_choice(envelope, 0, {"role": "assistant", "content": ""})], rng)
        yield _event(opening | {"x_groq": {"id": f"req_{envelope.id[9:]}"}})
        next(deltas[0])
    for turn in zip_longest(*deltas):
        for event in turn:
            if event is not None:
                yield event
    for index, choice in enumerate(answer.choices):
        delta = {"content": ""} if envelope.who.mistral else {}
        chunk = _chunk(envelope, [_chunk_choice(envelope, index, delta, finish=choice.finish)], rng)
        if index == len(answer.choices) - 1 and usage is not None:
            if envelope.who.usage_with_finish:
                chunk["usage"] = usage
            if envelope.who.x_groq:
                chunk["x_groq"] = {"id": f"req_{envelope.id[9:]}", "usage": usage}
        yield _event(chunk, finishes=True)
    if envelope.include_usage and usage is not None and not envelope.who.usage_with_finish:
        yield _event(_chunk(envelope, [], rng) | {"usage": usage}, finishes=True)
    yield Event(DONE, finishes=True)


def _deltas(envelope: Envelope, index: int, choice: Choice, rng: random.Random) -> Iterator[Event]:
    who = envelope.who

    def make(delta: dict[str, Any], shown: int = 0, reasoning: int = 0, logprobs: list[Any] | None = None) -> Event:
        choices = [_chunk_choice(envelope, index, delta, logprobs=logprobs)]
        return _event(_chunk(envelope, choices, rng), shown=shown, shown_reasoning=reasoning)

    first: dict[str, Any] = {"role": "assistant", "content": None if choice.calls or choice.shown_reasoning else ""}
    if who.strict:
        first["refusal"] = None
    if choice.shown_reasoning:
        first["reasoning_content"] = ""
    yield make(first)
    for cut in runs(choice.shown_reasoning, rng):
        yield make({"content": None, "reasoning_content": "".join(cut)}, len(cut), len(cut))
    for cut in runs(choice.content, rng):
        delta: dict[str, Any] = {"content": "".join(cut)}
        if choice.shown_reasoning:
            delta["reasoning_content"] = None
        yield make(delta, len(cut), 0, cut)
    for number, (call, arguments) in enumerate(choice.calls):
        function = {"name": call.name, "arguments": ""}
        yield make(
            {"tool_calls": [{"index": number, "id": call.id, "type": "function", "function": function}]},
            len(pieces(call.name)),
        )
        for cut in runs(arguments, rng):
            yield make({"tool_calls": [{"index": number, "function": {"arguments": "".join(cut)}}]}, len(cut))


def runs(run: list[str], rng: random.Random) -> Iterator[list[str]]:
    """Pieces as they come in a stream: a few at a time."""
    start = 0
    while start < len(run):
        size = 1 + int(rng.random() * 4)
        yield run[start : start + size]
        start += size


def _head(envelope: Envelope, kind: str) -> dict[str, Any]:
    head: dict[str, Any] = {"id": envelope.id, "object": kind, "created": envelope.created, "model": envelope.model}
    if envelope.who.service_tier:
        head["service_tier"] = envelope.tier
    if envelope.who.fingerprint:
        head["system_fingerprint"] = f"fp_{hashlib.blake2b(envelope.model.encode(), digest_size=5).hexdigest()}"
    return head


def _chunk(envelope: Envelope, choices: list[dict[str, Any]], rng: random.Random) -> dict[str, Any]:
    chunk = _head(envelope, "chat.completion.chunk")
    chunk["choices"] = choices
    if envelope.include_usage:
        chunk["usage"] = None
    if envelope.obfuscate:
        chunk["obfuscation"] = _PADDING[: 1 + int(rng.random() * len(_PADDING))]
    return chunk


def _chunk_choice(
    envelope: Envelope,
    index: int,
    delta: dict[str, Any],
    *,
    finish: str | None = None,
    logprobs: list[str] | None = None,
) -> dict[str, Any]:
    choice: dict[str, Any] = {"index": index, "delta": delta}
    if not envelope.who.mistral:
        choice["logprobs"] = _logprobs(envelope, logprobs)
    if envelope.who.together:
        choice |= {"text": delta.get("content") or "", "seed": None}
    choice["finish_reason"] = finish
    return choice


def _plain_choice(envelope: Envelope, index: int, choice: Choice) -> dict[str, Any]:
    who = envelope.who
    message: dict[str, Any] = {"role": "assistant", "content": None if choice.calls else "".join(choice.content)}
    if choice.shown_reasoning:
        message["reasoning_content"] = "".join(choice.shown_reasoning)
    if choice.calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": "".join(arguments)}}
            for call, arguments in choice.calls
        ]
    if who.strict:
        message |= {"refusal": None, "annotations": []}
    elif who.mistral:
        message.setdefault("tool_calls", None)
    made: dict[str, Any] = {"index": index, "message": message}
    if not who.mistral:
        made["logprobs"] = _logprobs(envelope, None if choice.calls else choice.content)
    if who.together:
        made["seed"] = None
    made["finish_reason"] = choice.finish
    return made


def _logprobs(envelope: Envelope, tokens: list[str] | None) -> dict[str, Any] | None:
    if envelope.top_logprobs is None or tokens is None:
        return None
    entries = []
    for piece in tokens:
        best = [piece, *(other for other in _OTHERS if other != piece)][: envelope.top_logprobs]
        entries.append(
            _logprob(piece, 0) | {"top_logprobs": [_logprob(token, rank) for rank, token in enumerate(best)]}
        )
    return {"content": entries, "refusal": None}


def _logprob(token: str, rank: int) -> dict[str, Any]:
    return {"token": token, "logprob": -0.05 - 1.5 * rank - len(token) / 100, "bytes": list(token.encode())}


def _event(chunk: dict[str, Any], *, shown: int = 0, shown_reasoning: int = 0, finishes: bool = False) -> Event:
    return Event(b"data: %b\n\n" % orjson.dumps(chunk), shown, shown_reasoning, finishes)
