"""Google's answers: to the neutral form, and what must be counted of those that have no meters.

Belongs here: candidates and their parts, whole or as a stream brings them. Does not belong here: the order of a stream's
events (events.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from router.dialects.gemini.usage import usage_of
from router.dialects.neutral import Answer, Finish, Text, Thought, ToolUse
from router.dialects.reading import json_text
from router.dialects.signatures import GEMINI
from router.dialects.sse import datas

FINISHES: Final[dict[str, Finish]] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "refusal",
    "RECITATION": "refusal",
    "LANGUAGE": "refusal",
    "BLOCKLIST": "refusal",
    "PROHIBITED_CONTENT": "refusal",
    "SPII": "refusal",
    "IMAGE_SAFETY": "refusal",
    "IMAGE_PROHIBITED_CONTENT": "refusal",
    "IMAGE_RECITATION": "refusal",
    "MODEL_ARMOR": "refusal",
}
"""`finishReason` (google-genai's types) to ours. Any other means that the model failed to say what it wanted to: a call of a
tool that it could not write, for example. That is an error, not an answer."""
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_SAID: Final = re.compile(rb'"text"\s*:\s*"([^"\\]*(?:\\.[^"\\]*)*)', re.DOTALL)
_ANSWERS: Final = frozenset({"candidates", "promptFeedback"})
_TOP: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


class FunctionCall(msgspec.Struct):
    """The model asks for a tool."""

    name: str = ""
    id: str | None = None
    args: dict[str, Any] | None = None


class Part(msgspec.Struct):
    """What translated requests can lead to: words, thoughts, calls of tools."""

    text: str | None = None
    thought: bool | None = None
    call: FunctionCall | None = msgspec.field(name="functionCall", default=None)
    signature: str | None = msgspec.field(name="thoughtSignature", default=None)


class Content(msgspec.Struct):
    """One turn's parts."""

    parts: list[Part] | None = None


class Candidate(msgspec.Struct):
    """An answer, or a piece of one."""

    content: Content | None = None
    finish: str | None = msgspec.field(name="finishReason", default=None)
    message: str | None = msgspec.field(name="finishMessage", default=None)
    index: int = 0


class Feedback(msgspec.Struct):
    """Why a prompt is not answered."""

    blocked: str | None = msgspec.field(name="blockReason", default=None)


class Response(msgspec.Struct):
    """An answer, or one event of its stream."""

    candidates: list[Candidate] | None = None
    feedback: Feedback | None = msgspec.field(name="promptFeedback", default=None)
    id: str | None = msgspec.field(name="responseId", default=None)
    model: str | None = msgspec.field(name="modelVersion", default=None)
    error: Any = None


_RESPONSE: Final = msgspec.json.Decoder(Response)


def response(data: bytes) -> Response:
    """A body or an event's data.

    Raises:
        ValueError: it is none.
    """
    try:
        return _RESPONSE.decode(data)
    except RecursionError:
        raise ValueError("an answer is nested too deeply") from None


def call_id(call: FunctionCall, answer: str, number: int) -> str:
    """A call's id; Vertex and older models give none, so it is the answer's with the number of the call."""
    return call.id or f"call_{answer}_{number}"


def failure(candidate: Candidate) -> str:
    """Why an answer is none, in Google's words; "" for one that is."""
    if not candidate.finish or candidate.finish in FINISHES:
        return ""
    return f"{candidate.finish}: {candidate.message}" if candidate.message else candidate.finish


def read_answer(body: bytes) -> Answer:
    """A plain answer. A prompt that was blocked is one that was refused.

    Raises:
        ValueError: it is none, or the model failed.
    """
    found = response(body)
    first = next((candidate for candidate in found.candidates or () if candidate.index == 0), None)
    if first is None:
        if found.feedback is None or not found.feedback.blocked:
            raise ValueError("no candidate")
        first = Candidate(finish="SAFETY")
    why = failure(first)
    if why:
        raise ValueError(f"the model failed: {why}")
    blocks = _blocks((first.content or Content()).parts or (), found.id or "")
    finish = FINISHES[first.finish] if first.finish else "stop"
    calls = any(isinstance(block, ToolUse) for block in blocks)
    return Answer(
        id=found.id or "",
        model=found.model or "",
        blocks=tuple(blocks),
        finish="tools" if calls and finish == "stop" else finish,
        usage=usage_of(body),
    )


def _blocks(parts: Iterable[Part], answer: str) -> list[Text | Thought | ToolUse]:
    blocks: list[Text | Thought | ToolUse] = []
    calls = 0
    for part in parts:
        signature = _marked(part.signature)
        if part.text and part.call is None:
            _say(blocks, Thought(part.text) if part.thought else Text(part.text))
        if signature:
            _sign(blocks, signature)
        if part.call is not None:
            arguments = json_text(part.call.args or {})
            name = call_id(part.call, answer, calls)
            blocks.append(ToolUse(name, part.call.name, arguments, signature=signature))
            calls += 1
    return blocks


def _say(blocks: list[Text | Thought | ToolUse], said: Text | Thought) -> None:
    """Add words: to the block before, where they go on with it."""
    last = blocks[-1] if blocks else None
    if isinstance(said, Text) and isinstance(last, Text):
        blocks[-1] = Text(last.text + said.text)
    elif isinstance(said, Thought) and isinstance(last, Thought) and not last.signature:
        blocks[-1] = Thought(last.text + said.text)
    else:
        blocks.append(said)


def _sign(blocks: list[Text | Thought | ToolUse], signature: str) -> None:
    """Put a signature where callers keep one: with the thought before it, or one without words."""
    last = blocks[-1] if blocks else None
    if isinstance(last, Thought) and not last.signature:
        blocks[-1] = Thought(last.text, signature)
    else:
        blocks.append(Thought("", signature))


def _marked(signature: str | None) -> str:
    return GEMINI + signature if signature else ""


def is_answer(document: bytes) -> bool:
    """Whether a plain response is an answer, or says why there is none."""
    try:
        return not _ANSWERS.isdisjoint(_TOP.decode(document))
    except _UNREADABLE:
        return False


def answered_text(document: bytes) -> list[str]:
    """All that a plain response says."""
    return _joined([document])


def streamed_text(stream: bytes) -> list[str]:
    """All text that a stream has carried so far: what must be counted when no meters came."""
    return _joined(datas(stream))


def said_so_far(stream: bytes) -> str:
    """About the same at a tenth of the cost: for watching a stream grow, never for what is booked."""
    return b"".join(_SAID.findall(stream)).decode(errors="replace")


def _joined(documents: Iterable[bytes]) -> list[str]:
    """Text in whole, however many pieces it came in."""
    said: dict[str, list[str]] = {}
    for document in documents:
        try:
            found = _RESPONSE.decode(document)
        except _UNREADABLE:
            continue
        for candidate in found.candidates or ():
            for place, text in _texts(candidate.content or Content()):
                said.setdefault(place, []).append(text)
    return [text for pieces in said.values() if (text := "".join(pieces))]


def _texts(content: Content) -> Iterator[tuple[str, str]]:
    for part in content.parts or ():
        if part.text:
            yield "thought" if part.thought else "text", part.text
        if part.call is not None:
            yield "calls", part.call.name
            yield "calls", json_text(part.call.args or {})
