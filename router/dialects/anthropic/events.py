"""Anthropic's message streams to and from the neutral form.

Belongs here: one event after another, both ways, for streams that are translated. Does not belong here: streams that pass
untouched (stream.py), and cutting bytes into events (`router.dialects.sse`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from router.core.values import Usage
from router.dialects.anthropic.answer import FINISHES, reason
from router.dialects.anthropic.usage import merged, normal, usage_object
from router.dialects.neutral import Begun, Closed, Ended, Event, Opened, Piece, Signed, Turning
from router.dialects.reading import json_text
from router.dialects.signatures import UNSIGNED
from router.dialects.sse import EventReader, named_event

LAST: Final = named_event(b"message_stop", b'{"type":"message_stop"}')
_STARTS: Final[dict[str, dict[str, Any]]] = {
    "text": {"type": "text", "text": ""},
    "thought": {"type": "thinking", "thinking": "", "signature": ""},
}
_DELTAS: Final = {
    "text": (b"text_delta", b"text"),
    "thought": (b"thinking_delta", b"thinking"),
    "tool": (b"input_json_delta", b"partial_json"),
    "hidden": (b"", b""),
}
"""By kind of block: the delta's type, and where it has what is said. Hidden ones say nothing."""
_FRAME: Final = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"%b","%b":'
_string: Final = msgspec.json.Encoder().encode


class _Event(msgspec.Struct):
    type: str
    index: int = 0
    message: dict[str, Any] | None = None
    content_block: dict[str, Any] | None = None
    delta: dict[str, Any] | None = None
    usage: Any = None


_EVENT: Final = msgspec.json.Decoder(_Event)


class MessagesReader(EventReader):
    """Reads a message's stream. Blocks that no translated request can lead to are passed over."""

    __slots__ = ("_blocks", "_ended", "_reported", "_tools")

    def __init__(self) -> None:
        super().__init__()
        self._reported: dict[str, Any] = {}
        self._blocks: dict[int, int] = {}
        """Our numbers of their blocks."""
        self._tools: set[int] = set()
        """Tools that have said nothing yet."""
        self._ended = False

    def read(self, data: bytes) -> list[Event]:
        """What an event says.

        Raises:
            ValueError: it is none.
        """
        try:
            event = _EVENT.decode(data)
        except RecursionError:
            raise ValueError("an event is nested too deeply") from None
        kind = event.type
        if kind == "content_block_delta":
            return self._delta(event)
        if kind == "message_start":
            # It tells of an answer that has only begun: of one that breaks off, nobody has told all.
            message = event.message or {}
            self._reported = merged(self._reported, message.get("usage"))
            return [Begun(str(message.get("id") or ""), str(message.get("model") or ""))]
        if kind == "content_block_start":
            return self._open(event)
        if kind == "content_block_stop":
            return self._close(event)
        if kind == "message_delta":
            if isinstance(event.usage, dict):
                self._reported = merged(self._reported, event.usage)
                self.usage = normal(self._reported) or self.usage
            return self._end(event.delta or {})
        if kind == "error":
            self.failed = True
            self.error = data
        elif kind == "message_stop":
            self.done = True
        return []

    def _end(self, delta: dict[str, Any]) -> list[Event]:
        said = delta.get("stop_reason")
        if not isinstance(said, str) or self._ended:
            return []
        self._ended = True
        stop = delta.get("stop_sequence")
        return [Ended(FINISHES.get(said, "stop"), stop if isinstance(stop, str) else None)]

    def _open(self, event: _Event) -> list[Event]:
        block, at = event.content_block or {}, len(self._blocks)
        kind = block.get("type")
        if kind == "text":
            found: list[Event] = [Opened(at, "text")]
            found += _first(at, block.get("text"))
        elif kind == "thinking":
            found = [Opened(at, "thought")]
            found += _first(at, block.get("thinking"))
        elif kind == "redacted_thinking":
            found = [Opened(at, "hidden", str(block.get("data") or ""))]
        elif kind == "tool_use":
            found = [Opened(at, "tool", str(block.get("id") or ""), str(block.get("name") or ""))]
            if block.get("input"):
                found.append(Piece(at, json_text(block["input"])))
            else:
                self._tools.add(at)
        else:
            return []
        self._blocks[event.index] = at
        return found

    def _delta(self, event: _Event) -> list[Event]:
        at, delta = self._blocks.get(event.index), event.delta
        if at is None or delta is None:
            return []
        kind = delta.get("type")
        if kind == "signature_delta":
            return [Signed(at, str(delta.get("signature") or ""))]
        text = delta.get("text") or delta.get("thinking") or delta.get("partial_json")
        if not isinstance(text, str) or not text:
            return []
        self._tools.discard(at)
        return [Piece(at, text)]

    def _close(self, event: _Event) -> list[Event]:
        at = self._blocks.get(event.index)
        if at is None:
            return []
        if at in self._tools:
            # A tool without arguments says nothing; elsewhere it says so.
            self._tools.discard(at)
            return [Piece(at, "{}"), Closed(at)]
        return [Closed(at)]


def _first(at: int, words: object) -> list[Event]:
    """What a block says as it opens; mostly nothing yet."""
    return [Piece(at, words)] if isinstance(words, str) and words else []


class MessagesWriter:
    """Writes a message's stream.

    Args:
        expected: tokens of the prompt as they are expected: the first event tells them before any meters are known, and
            the last one what they were.
    """

    __slots__ = ("_end", "_expected", "_frames", "_signed", "_thoughts", "last")

    def __init__(self, expected: int) -> None:
        self._expected = expected
        self._frames: dict[int, bytes] = {}
        """By a block: what stands before what it says."""
        self._thoughts: set[int] = set()
        self._signed: set[int] = set()
        self._end: Ended | None = None
        self.last = LAST

    def write(self, events: Iterable[Event]) -> bytes:
        """These events."""
        told: list[bytes] = []
        for event in events:
            if isinstance(event, Piece):
                told += (self._frames[event.at], _string(event.text), b"}}\n\n")
            else:
                told.append(self._event(event))
        return b"".join(told)

    def ending(self, usage: Usage | None, cost: str | None) -> bytes:
        """Why it ended, and the meters."""
        end = self._end or Ended("stop")
        meters: dict[str, Any] = usage_object(usage or Usage(self._expected))
        meters.pop("service_tier")
        if cost is not None:
            meters["cost_usd"] = cost
        delta = {"stop_reason": reason(end.finish, end.stop_sequence), "stop_sequence": end.stop_sequence}
        return _named(b"message_delta", {"type": "message_delta", "delta": delta, "usage": meters})

    def _event(self, event: Turning) -> bytes:
        if isinstance(event, Begun):
            return self._start(event)
        if isinstance(event, Opened):
            self._frames[event.at] = _FRAME % (event.at, *_DELTAS[event.kind])
            if event.kind == "thought":
                self._thoughts.add(event.at)
            start = {"type": "content_block_start", "index": event.at, "content_block": _opening(event)}
            return _named(b"content_block_start", start)
        if isinstance(event, Signed):
            self._signed.add(event.at)
            return self._signature(event.at, event.signature)
        if isinstance(event, Closed):
            unsigned = event.at in self._thoughts and event.at not in self._signed
            before = self._signature(event.at, UNSIGNED) if unsigned else b""
            return before + _named(b"content_block_stop", {"type": "content_block_stop", "index": event.at})
        self._end = event
        return b""

    def _start(self, event: Begun) -> bytes:
        message: dict[str, Any] = {
            "id": event.id,
            "type": "message",
            "role": "assistant",
            "model": event.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage_object(Usage(self._expected)),
        }
        return _named(b"message_start", {"type": "message_start", "message": message})

    def _signature(self, at: int, signature: str) -> bytes:
        return _delta(at, b'{"type":"signature_delta","signature":' + msgspec.json.encode(signature) + b"}")


def _opening(event: Opened) -> dict[str, Any]:
    if event.kind == "tool":
        return {"type": "tool_use", "id": event.id, "name": event.name, "input": {}}
    return {"type": "redacted_thinking", "data": event.id} if event.kind == "hidden" else _STARTS[event.kind]


def _named(name: bytes, document: dict[str, Any]) -> bytes:
    return named_event(name, msgspec.json.encode(document))


def _delta(at: int, delta: bytes) -> bytes:
    head = b'{"type":"content_block_delta","index":' + str(at).encode() + b',"delta":'
    return named_event(b"content_block_delta", head + delta + b"}")
