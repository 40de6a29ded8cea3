"""OpenAI's event stream on its way through: bytes pass, and what matters for money is picked out.

Belongs here: cutting the stream into events, finding usage, finish and errors, holding back the end so that the
cost can be told before ``[DONE]``. No object is made for an ordinary event. Does not belong here: I/O and prices.

The patterns look for JSON keys. Inside a JSON string a quote always has a backslash before it, so text that a model
writes can never match one. What matches is then parsed, and only its top level counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import msgspec

from router.core.values import Usage
from router.dialects.openai.usage import usage_of
from router.dialects.sse import END_OF_EVENT, Cutter, data_of, datas, end_of_events

_USAGE: Final = re.compile(rb'"usage"\s*:(?!\s*null)')
_ERROR: Final = re.compile(rb'"error"\s*:(?!\s*null)')
_FINISH: Final = re.compile(rb'"finish_reason"\s*:\s*"')
_ANSWER: Final = re.compile(rb'"(?:content|reasoning_content|reasoning|refusal|arguments|name)"\s*:\s*"[^"]')
_SAID: Final = re.compile(
    rb'"(?:content|reasoning_content|refusal|arguments|input)"\s*:\s*"([^"\\]*(?:\\.[^"\\]*)*)', re.DOTALL
)
_REASONING: Final = re.compile(rb'"reasoning"\s*:\s*"([^"\\]*(?:\\.[^"\\]*)*)', re.DOTALL)
_DONE: Final = b"[DONE]"
_LAST: Final = b"data: [DONE]\n\n"
_NO_ERROR: Final = (None, False, "")
_TELLING: Final[tuple[str, ...]] = ("choices", "usage", "error", "x_groq")
_ANSWERS: Final = frozenset({"choices", "data"})
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Delta(msgspec.Struct):
    content: Any = None
    refusal: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    tool_calls: Any = None
    function_call: Any = None


class _Choice(msgspec.Struct):
    index: Any = 0
    delta: _Delta | None = None
    message: _Delta | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None


_CHUNK: Final = msgspec.json.Decoder(_Chunk)
_TOP: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


class StreamScanner(Cutter):
    """Reads a chat stream while it passes.

    Args:
        wants_usage: the caller asked for the usage event; otherwise it is kept from them.
        cost: text of an attempt's cost in dollars for these meters, put into the usage object; None to put nothing.

    Attributes:
        usage: the last meters that were reported and can be believed.
        answered: some part of an answer (text, tool call, reasoning) has come by.
        finished: a finish_reason has come by: the answer is whole.
        done: ``[DONE]`` has come by.
        failed: the upstream put an error into the stream. The event is withheld: it may name the router's account.
        error: that event's data.
        last: what ends a whole stream.
    """

    __slots__ = (
        "_cost",
        "_held",
        "_wants_usage",
        "answered",
        "done",
        "error",
        "failed",
        "finished",
        "last",
        "usage",
    )

    def __init__(self, *, wants_usage: bool, cost: Callable[[Usage], str | None]) -> None:
        super().__init__()
        self._wants_usage = wants_usage
        self._cost = cost
        self._held = b""
        self.usage: Usage | None = None
        self.answered = False
        self.finished = False
        self.done = False
        self.failed = False
        self.error = b""
        self.last = _LAST

    def feed(self, chunk: bytes) -> bytes:
        """Take bytes as they came, give those that may go on now: whole events only.

        Raises:
            ValueError: one event is larger than `MAX_EVENT_BYTES`.
        """
        whole = b"" if self.done else self.whole_events(chunk)
        if not whole:
            return b""
        special = _first_special(whole)
        if special >= 0:
            ordinary = end_of_events(whole, 0, special)
            whole = whole[:ordinary] + self._one_by_one(whole[ordinary:])
        if not self.answered and _ANSWER.search(whole):
            self.answered = True
        if not self.finished and _FINISH.search(whole):
            self.finished = True
        return whole

    def ending(self) -> bytes:
        """What stands at the end of a whole stream: the usage event if it was asked for."""
        return self._held

    def _one_by_one(self, events: bytes) -> bytes:
        passed: list[bytes] = []
        start = 0
        for end in END_OF_EVENT.finditer(events):
            padded = events[start : end.end()]
            event = padded.lstrip(b"\r\n")
            passed += (padded[: len(padded) - len(event)], self._event(event))
            start = end.end()
            if self.done:
                return b"".join(passed)
        passed.append(events[start:])
        return b"".join(passed)

    def _event(self, event: bytes) -> bytes:
        if _first_special(event) < 0:
            return event
        data = data_of(event)
        if data.strip() == _DONE:
            self.done = True
            return b""
        usage = usage_of(data)
        if usage is not None:
            self.usage = usage
        try:
            top = _TOP.decode(data)
            head = {name: msgspec.json.decode(top[name]) for name in _TELLING if name in top}
        except _UNREADABLE:
            return event
        if _is_error(head):
            self.failed = True
            self.error = data
            return b""
        if usage is None and head.get("usage") is None:
            return event
        if usage is not None and self._wants_usage and isinstance(head.get("usage"), dict):
            cost = self._cost(usage)
            event = event if cost is None else _with_cost(top, cost)
        if head.get("choices"):
            return event
        if self._wants_usage:
            self._held = event
        return b""


def _first_special(events: bytes) -> int:
    """Where something that may matter stands, at the earliest; -1 if nowhere."""
    usage = _USAGE.search(events)
    # Nearly every event has none of these, and plain words are looked for many times quicker than patterns.
    if usage is None and b'"error"' not in events and b"[DONE]" not in events and b'"x_groq"' not in events:
        return -1
    error = _ERROR.search(events)
    places = (usage and usage.start(), error and error.start(), events.find(b"[DONE]"), events.find(b'"x_groq"'))
    return min((place for place in places if place is not None and place >= 0), default=-1)


def streamed_text(stream: bytes) -> list[str]:
    """All text that a stream has carried so far: what must be counted when no usage came."""
    return _joined(datas(stream))


def said_so_far(stream: bytes) -> str:
    """What a stream has said until now, all together and with JSON's escapes: about its tokens, at a tenth of the cost
    of `streamed_text`. For watching a stream grow; never for what is booked.
    """
    said = _SAID.findall(stream)
    # Some send the same reasoning under both names.
    if b'"reasoning_content"' not in stream:
        said += _REASONING.findall(stream)
    return b"".join(said).decode(errors="replace")


def is_answer(document: bytes) -> bool:
    """Whether a plain response is one of OpenAI's kinds: a completion (``choices``) or embeddings (``data``)."""
    try:
        return not _ANSWERS.isdisjoint(_TOP.decode(document))
    except _UNREADABLE:
        return False


def answered_text(document: bytes) -> list[str]:
    """All text of a plain response: what must be counted when it has no usage."""
    return _joined([document])


def _joined(documents: Iterable[bytes]) -> list[str]:
    """Text in whole, however many chunks it came in: counted piece by piece it would have more tokens."""
    said: dict[tuple[str, str], list[str]] = {}
    for document in documents:
        try:
            choices = _CHUNK.decode(document).choices
        except _UNREADABLE:
            continue
        for choice in choices or ():
            for place, text in _texts(choice.delta or choice.message or _Delta()):
                said.setdefault((str(choice.index), place), []).append(text)
    return ["".join(pieces) for pieces in said.values()]


def _texts(delta: _Delta) -> Iterator[tuple[str, str]]:
    # Some send the same reasoning under both names (vLLM while it renames the field).
    fields = (("content", delta.content), ("refusal", delta.refusal))
    for place, text in (*fields, ("reasoning", delta.reasoning_content or delta.reasoning)):
        if text:
            yield place, text if isinstance(text, str) else msgspec.json.encode(text).decode()
    calls = delta.tool_calls if isinstance(delta.tool_calls, list) else []
    for number, call in enumerate([*calls, {"function": delta.function_call}]):
        if isinstance(call, dict):
            asked = call.get("function") or call.get("custom")
            place = f"call {call.get('index', number)}"
            said = [asked.get(key) for key in ("name", "arguments", "input")] if isinstance(asked, dict) else []
            yield from ((place, text) for text in said if isinstance(text, str))


def _is_error(head: dict[str, Any]) -> bool:
    """Groq tells in ``x_groq.error`` why it broke off (its SDK's types)."""
    groq = head.get("x_groq")
    return head.get("error") not in _NO_ERROR or (isinstance(groq, dict) and groq.get("error") not in _NO_ERROR)


def _with_cost(top: dict[str, msgspec.Raw], cost: str) -> bytes:
    priced = msgspec.json.encode({**top, "usage": {**_TOP.decode(top["usage"]), "cost_usd": cost}})
    return b"data: " + priced.replace(b"\n", b"\ndata: ") + b"\n\n"
