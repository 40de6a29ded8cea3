"""OpenAI's event stream on its way through: bytes pass, and what matters for money is picked out.

Belongs here: cutting the stream into events, finding usage, finish and errors, holding back the end so that the
cost can be told before ``[DONE]``. No object is made for an ordinary event. Does not belong here: I/O and prices.

The patterns look for JSON keys. Inside a JSON string a quote always has a backslash before it, so text that a model
writes can never match.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import msgspec

from router.core.values import Usage
from router.dialects.openai_usage import usage_of

_SEPARATORS: Final = (b"\n\n", b"\r\n\r\n", b"\r\r")
_END_OF_EVENT: Final = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_SPECIAL: Final = re.compile(rb'"usage"\s*:\s*\{|"x_groq"|"error"\s*:\s*[{"]|data:\s*\[DONE\]')
_FINISH: Final = re.compile(rb'"finish_reason"\s*:\s*"')
_ANSWER: Final = re.compile(rb'"(?:content|reasoning_content|reasoning|refusal|arguments|name)"\s*:\s*"[^"]')
_DONE: Final = b"[DONE]"
MAX_EVENT_BYTES: Final = 16 * 1024 * 1024


class _Delta(msgspec.Struct):
    content: Any = None
    refusal: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    tool_calls: Any = None
    function_call: Any = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    message: _Delta | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []


_CHUNK: Final = msgspec.json.Decoder(_Chunk)


class StreamScanner:
    """Reads a chat stream while it passes.

    Args:
        wants_usage: the caller asked for the usage event; otherwise it is kept from them.
        cost: text of an attempt's cost in dollars for these meters, put into the usage object.

    Attributes:
        usage: the last meters that were reported and can be believed.
        answered: some part of an answer (text, tool call, reasoning) has come by.
        finished: a finish_reason has come by: the answer is whole.
        done: ``[DONE]`` has come by.
        failed: the upstream put an error into the stream.
    """

    __slots__ = ("_cost", "_held", "_tail", "_wants_usage", "answered", "done", "failed", "finished", "usage")

    def __init__(self, *, wants_usage: bool, cost: Callable[[Usage], str]) -> None:
        self._wants_usage = wants_usage
        self._cost = cost
        self._tail = bytearray()
        self._held = b""
        self.usage: Usage | None = None
        self.answered = False
        self.finished = False
        self.done = False
        self.failed = False

    def feed(self, chunk: bytes) -> bytes:
        """Take bytes as they came, give those that may go on now: whole events only.

        Raises:
            ValueError: one event is larger than `MAX_EVENT_BYTES`.
        """
        whole = self._whole_events(chunk)
        if not whole:
            return b""
        if not self.answered and _ANSWER.search(whole):
            self.answered = True
        if not self.finished and _FINISH.search(whole):
            self.finished = True
        return whole if _SPECIAL.search(whole) is None else self._one_by_one(whole)

    def ending(self) -> bytes:
        """What stands at the end of a whole stream: the usage event if it was asked for."""
        return self._held

    def _whole_events(self, chunk: bytes) -> bytes:
        tail = self._tail
        if not tail and chunk.endswith((b"\n\n", b"\r\n\r\n")):
            return chunk
        seen = max(len(tail) - 3, 0)
        tail += chunk
        cut = 0
        for separator in _SEPARATORS:
            at = tail.rfind(separator, seen)
            if at >= 0:
                cut = max(cut, at + len(separator))
        if not cut:
            if len(tail) > MAX_EVENT_BYTES:
                raise ValueError(f"one stream event is larger than {MAX_EVENT_BYTES} bytes")
            return b""
        whole = bytes(tail[:cut])
        del tail[:cut]
        return whole

    def _one_by_one(self, events: bytes) -> bytes:
        passed: list[bytes] = []
        start = 0
        for end in _END_OF_EVENT.finditer(events):
            passed.append(self._event(events[start : end.end()]))
            start = end.end()
        return b"".join(passed)

    def _event(self, event: bytes) -> bytes:
        data = data_of(event)
        if data == _DONE:
            self.done = True
            return b""
        if _SPECIAL.search(event) is None:
            return event
        usage = usage_of(data)
        if usage is not None:
            self.usage = usage
        elif _is_error(data):
            self.failed = True
            return event
        priced = event if usage is None or not self._wants_usage else _with_cost(data, self._cost(usage))
        if _has_choices(data):
            return priced
        if self._wants_usage:
            self._held = priced
        return b""


def data_of(event: bytes) -> bytes:
    """The data of one server-sent event: its ``data:`` lines, joined by line feeds (WHATWG HTML, 9.2.6)."""
    lines = event.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    return b"\n".join(line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:"))


def streamed_text(stream: bytes) -> list[str]:
    """All text that a stream has carried so far: what must be counted when no usage came."""
    texts: list[str] = []
    for event in _END_OF_EVENT.split(stream):
        try:
            choices = _CHUNK.decode(data_of(event)).choices
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        for choice in choices:
            texts += _texts(choice.delta or choice.message)
    return texts


def answered_text(document: bytes) -> list[str]:
    """All text of a plain response: what must be counted when it has no usage."""
    try:
        choices = _CHUNK.decode(document).choices
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []
    return [text for choice in choices for text in _texts(choice.message or choice.delta)]


def _texts(delta: _Delta | None) -> list[str]:
    if delta is None:
        return []
    said = (
        delta.content,
        delta.refusal,
        delta.reasoning_content,
        delta.reasoning,
        delta.tool_calls,
        delta.function_call,
    )
    return [part if isinstance(part, str) else msgspec.json.encode(part).decode() for part in said if part]


def _is_error(data: bytes) -> bool:
    try:
        return "error" in msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def _has_choices(data: bytes) -> bool:
    try:
        return bool(_CHUNK.decode(data).choices)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return True


def _with_cost(data: bytes, cost: str) -> bytes:
    document = msgspec.json.decode(data)
    usage = document.get("usage")
    if isinstance(usage, dict):
        usage["cost_usd"] = cost
    return b"data: " + msgspec.json.encode(document) + b"\n\n"
