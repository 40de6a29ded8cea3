"""Converse's streams to the neutral form.

Belongs here: one event after another, and what must be counted of a stream that has no meters. Does not belong here: their
binary framing (frames.py).
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from router.core.values import Usage
from router.dialects.bedrock.answer import FINISHES, stop_sequence
from router.dialects.bedrock.frames import Frame, Frames
from router.dialects.bedrock.usage import usage_of
from router.dialects.neutral import Begun, Closed, Ended, Event, Opened, Piece, Signed
from router.dialects.reading import json_text

_FAILED: Final = b'{"message":%b}'
_SAID: Final = re.compile(rb'"(?:text|input)"\s*:\s*"([^"\\]*(?:\\.[^"\\]*)*)', re.DOTALL)


class _Event(msgspec.Struct):
    index: int = msgspec.field(name="contentBlockIndex", default=0)
    start: dict[str, Any] = {}
    delta: dict[str, Any] = {}
    reason: str = msgspec.field(name="stopReason", default="")
    more: Any = msgspec.field(name="additionalModelResponseFields", default=None)


_EVENT: Final = msgspec.json.Decoder(_Event)


class ConverseReader:
    """Reads a stream. Its members are those of `router.dialects.contract.Reader`. Words open their block themselves: only
    calls of tools are announced.
    """

    __slots__ = ("_blocks", "_count", "_frames", "_tools", "done", "error", "failed", "usage")

    def __init__(self) -> None:
        self._frames = Frames()
        self._blocks: dict[int, int] = {}
        """Our numbers of their blocks."""
        self._count = 0
        self._tools: set[int] = set()
        """Tools that have said nothing yet, by our numbers."""
        self.usage: Usage | None = None
        self.done = False
        self.failed = False
        self.error = b""

    def feed(self, chunk: bytes) -> list[Event]:
        """What bytes say, as they came.

        Raises:
            ValueError: they cannot be read.
        """
        found: list[Event] = []
        for frame in self._frames.feed(chunk):
            if self.done or self.failed:
                break
            self._frame(frame, found)
        return found

    def _frame(self, frame: Frame, found: list[Event]) -> None:
        kind = frame.headers.get(":event-type", "")
        if frame.headers.get(":message-type") != "event":
            self.failed = True
            words = frame.headers.get(":error-message", "")
            self.error = frame.payload or _FAILED % json_text(words).encode()
        elif kind == "metadata":
            self.usage = usage_of(frame.payload) or self.usage
            # It is the last event.
            self.done = True
        elif kind == "messageStart":
            found.append(Begun("", ""))
        else:
            self._content(kind, frame.payload, found)

    def _content(self, kind: str, payload: bytes, found: list[Event]) -> None:
        try:
            event = _EVENT.decode(payload)
        except RecursionError:
            raise ValueError("an event is nested too deeply") from None
        if kind == "contentBlockStart":
            call = event.start.get("toolUse")
            if isinstance(call, dict):
                at = self._open(event.index)
                self._tools.add(at)
                found.append(Opened(at, "tool", str(call.get("toolUseId") or ""), str(call.get("name") or "")))
        elif kind == "contentBlockDelta":
            self._delta(event, found)
        elif kind == "contentBlockStop":
            self._close(event.index, found)
        elif kind == "messageStop":
            self._stop(event, found)

    def _open(self, index: int) -> int:
        at = self._blocks[index] = self._count
        self._count += 1
        return at

    def _delta(self, event: _Event, found: list[Event]) -> None:
        delta, thought = event.delta, event.delta.get("reasoningContent")
        call = delta.get("toolUse")
        if isinstance(thought, dict):
            self._thought(event.index, thought, found)
        elif isinstance(call, dict):
            at = self._blocks.get(event.index)
            if at is not None and call.get("input"):
                self._tools.discard(at)
                found.append(Piece(at, str(call["input"])))
        elif isinstance(delta.get("text"), str):
            self._words("text", event.index, delta["text"], found)

    def _thought(self, index: int, thought: dict[str, Any], found: list[Event]) -> None:
        if isinstance(thought.get("text"), str):
            self._words("thought", index, thought["text"], found)
        elif isinstance(thought.get("signature"), str):
            self._words("thought", index, "", found)
            found.append(Signed(self._blocks[index], thought["signature"]))
        elif isinstance(thought.get("redactedContent"), str) and index not in self._blocks:
            found.append(Opened(self._open(index), "hidden", thought["redactedContent"]))

    def _words(self, kind: str, index: int, text: str, found: list[Event]) -> None:
        if index not in self._blocks:
            found.append(Opened(self._open(index), "thought" if kind == "thought" else "text"))
        if text:
            found.append(Piece(self._blocks[index], text))

    def _close(self, index: int, found: list[Event]) -> None:
        at = self._blocks.get(index)
        if at is None:
            return
        if at in self._tools:
            # A tool without arguments says nothing; elsewhere it says so.
            self._tools.discard(at)
            found.append(Piece(at, "{}"))
        found.append(Closed(at))

    def _stop(self, event: _Event, found: list[Event]) -> None:
        if event.reason in FINISHES:
            found.append(Ended(FINISHES[event.reason], stop_sequence(event.more)))
        else:
            self.failed = True
            self.error = _FAILED % json_text(f"the model failed: {event.reason}").encode()


def streamed_text(stream: bytes) -> list[str]:
    """All text that a stream has carried so far: what must be counted when no meters came."""
    reader, said = ConverseReader(), dict[int, list[str]]()
    try:
        events = reader.feed(stream)
    except ValueError:
        return []
    for event in events:
        if isinstance(event, Piece):
            said.setdefault(event.at, []).append(event.text)
        elif isinstance(event, Opened) and event.kind in ("tool", "hidden"):
            said.setdefault(event.at, []).append(event.name or event.id)
    return ["".join(pieces) for pieces in said.values()]


def said_so_far(stream: bytes) -> str:
    """About the same at a tenth of the cost: for watching a stream grow, never for what is booked."""
    return b"".join(_SAID.findall(stream)).decode(errors="replace")
