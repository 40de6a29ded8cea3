"""OpenAI's streams of Responses to and from the neutral form.

Belongs here: one event after another, both ways, for streams that are translated. Does not belong here: streams that pass
untouched (stream.py), and cutting bytes into events (`router.dialects.sse`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Literal

import msgspec

from router.core.values import Usage
from router.dialects.contract import Asked
from router.dialects.neutral import (
    Begun,
    Closed,
    Ended,
    Event,
    Finish,
    Opened,
    Piece,
    Signed,
    Text,
    Thought,
    ToolUse,
    Turning,
)
from router.dialects.responses.answer import Written, a_part, finish_of, status_of
from router.dialects.responses.usage import usage_in, usage_object
from router.dialects.sse import EventReader, named_event

_Kind = Literal["text", "thought", "tool"]
_DELTAS: Final[dict[str, _Kind]] = {
    "response.output_text.delta": "text",
    "response.refusal.delta": "text",
    "response.reasoning_summary_text.delta": "thought",
    "response.reasoning_text.delta": "thought",
    "response.function_call_arguments.delta": "tool",
}
_ENDS: Final = frozenset({"response.completed", "response.incomplete", "response.failed"})
_FRAMES: Final[dict[str, tuple[bytes, dict[str, int], bytes]]] = {
    "text": (b"response.output_text.delta", {"content_index": 0}, b',"logprobs":[]}\n\n'),
    "tool": (b"response.function_call_arguments.delta", {}, b"}\n\n"),
    "thought": (b"response.reasoning_summary_text.delta", {"summary_index": 0}, b"}\n\n"),
}
"""By kind of block: a delta's name, its place within the item, and how it ends."""
_string: Final = msgspec.json.Encoder().encode


class _Event(msgspec.Struct):
    type: str
    output_index: int = 0
    content_index: int = 0
    summary_index: int = 0
    delta: Any = None
    item: dict[str, Any] = {}
    response: dict[str, Any] = {}


_EVENT: Final = msgspec.json.Decoder(_Event)


class ResponsesReader(EventReader):
    """Reads a response's stream. Items that no translated request can lead to are passed over."""

    __slots__ = ("_at", "_begun", "_calls", "_open", "_refused", "_said")

    def __init__(self) -> None:
        super().__init__()
        self._begun = False
        self._at = -1
        """Number of the block that opened last."""
        self._open: tuple[_Kind, int, int] | None = None
        """The kind of the open block, its item, and its part: of words one is a block, of thoughts all are."""
        self._said = False
        """Whether the open block has said something."""
        self._calls: dict[int, Opened] = {}
        """Functions that are called, by their items."""
        self._refused = False

    def read(self, data: bytes) -> list[Event]:
        """What an event says.

        Raises:
            ValueError: it is none, or belongs to a block that has ended.
        """
        try:
            event = _EVENT.decode(data)
        except RecursionError:
            raise ValueError("an event is nested too deeply") from None
        kind, found = event.type, list[Event]()
        if event.response and not self._begun:
            self._begun = True
            found.append(Begun(str(event.response.get("id") or ""), str(event.response.get("model") or "")))
        if kind in _DELTAS:
            self._refused = self._refused or kind == "response.refusal.delta"
            if isinstance(event.delta, str) and event.delta:
                self._piece(_DELTAS[kind], event, found)
        elif kind == "response.reasoning_summary_part.added" and event.summary_index and self._open is not None:
            found.append(Piece(self._at, "\n\n"))
        elif kind == "response.output_item.added" and event.item.get("type") == "function_call":
            self._close(found)
            self._call(event, found)
        elif kind == "response.output_item.done":
            self._item_done(event, found)
        elif kind in _ENDS:
            self._end(kind, event.response, found)
        elif kind == "error":
            self.failed, self.error = True, data
        return found

    def _call(self, event: _Event, found: list[Event]) -> None:
        item = event.item
        self._at += 1
        opened = Opened(self._at, "tool", str(item.get("call_id") or ""), str(item.get("name") or ""))
        self._calls[event.output_index] = opened
        self._open, self._said = ("tool", event.output_index, 0), False
        found.append(opened)

    def _piece(self, kind: _Kind, event: _Event, found: list[Event]) -> None:
        place = (kind, event.output_index, event.content_index if kind == "text" else 0)
        if self._open != place:
            if kind == "tool":
                raise ValueError("arguments of a function that is not being called")
            self._close(found)
            self._at += 1
            self._open = place
            found.append(Opened(self._at, "text" if kind == "text" else "thought"))
        self._said = True
        found.append(Piece(self._at, event.delta))

    def _item_done(self, event: _Event, found: list[Event]) -> None:
        """What an item has not told piece by piece, it tells now."""
        item = event.item
        if item.get("type") == "function_call":
            if event.output_index not in self._calls:
                self._close(found)
                self._call(event, found)
            if self._open == ("tool", event.output_index, 0) and not self._said:
                found.append(Piece(self._at, str(item.get("arguments") or "{}")))
        if self._open is not None and self._open[1] == event.output_index:
            self._close(found)

    def _close(self, found: list[Event]) -> None:
        if self._open is not None:
            found.append(Closed(self._at))
            self._open = None

    def _end(self, kind: str, response: dict[str, Any], found: list[Event]) -> None:
        self.usage = usage_in(response) or self.usage
        if kind == "response.failed":
            self.failed = True
            self.error = msgspec.json.encode({"error": response.get("error")})
            return
        self._close(found)
        finish = finish_of({"status": kind.removeprefix("response."), **response}, blocks=None, refused=self._refused)
        found.append(Ended("tools" if finish == "stop" and self._calls else finish))
        self.done = True


class ResponsesWriter:
    """Writes a response's stream: one item a block.

    Args:
        asked: what it answers.
    """

    __slots__ = ("_asked", "_block", "_end", "_frame", "_items", "_number", "_said", "_signature", "_written", "last")

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._written = Written(asked, "", "")
        self._number = 0
        self._items: list[Text | Thought | ToolUse] = []
        self._block = Opened(0, "text")
        self._frame = b"", b"", b""
        self._said: list[str] = []
        self._signature = ""
        self._end: Finish | None = None
        self.last = b""

    def write(self, events: Iterable[Event]) -> bytes:
        """These events."""
        told: list[bytes] = []
        for event in events:
            if isinstance(event, Piece):
                self._said.append(event.text)
                before, between, behind = self._frame
                told += (before, b"%d" % self._number, between, _string(event.text), behind)
                self._number += 1
            else:
                told.append(self._event(event))
        return b"".join(told)

    def ending(self, usage: Usage | None, cost: str | None) -> bytes:
        """Nothing; what ends the stream is ``last`` from now on, because it holds the meters."""
        if self._end is not None:
            self.last = self._ended(self._end, None if usage is None else usage_object(usage, cost))
        return b""

    def _event(self, event: Turning) -> bytes:
        if isinstance(event, Begun):
            self._written = Written(self._asked, event.id, event.model)
            begun = {"response": self._written.begun()}
            return self._told("response.created", begun) + self._told("response.in_progress", begun)
        if isinstance(event, Opened):
            self._block, self._said, self._signature = event, [], ""
            self._frame = self._around(event)
            return self._opened(event)
        if isinstance(event, Signed):
            self._signature = event.signature
            return b""
        if isinstance(event, Closed):
            return self._closed(event.at)
        self._end = event.finish
        return b""

    def _opened(self, block: Opened) -> bytes:
        at, written = block.at, self._written
        if block.kind == "text":
            item = written.message(at, None, "in_progress")
            part = {"item_id": item["id"], "output_index": at, "content_index": 0, "part": a_part("")}
            return self._added(at, item) + self._told("response.content_part.added", part)
        if block.kind == "tool":
            return self._added(
                at, written.call(at, ToolUse(block.id, block.name, "", signature=block.signature), "in_progress")
            )
        item = written.thought(at, Thought(""))
        if block.kind == "hidden":
            return self._added(at, item)
        part = {"item_id": item["id"], "output_index": at, "summary_index": 0, "part": _summary("")}
        return self._added(at, item) + self._told("response.reasoning_summary_part.added", part)

    def _around(self, block: Opened) -> tuple[bytes, bytes, bytes]:
        """What stands before the number of a delta of this block, between number and words, and behind them."""
        name, place, behind = _FRAMES.get(block.kind, _FRAMES["thought"])
        where = msgspec.json.encode({"item_id": self._id(block.at), "output_index": block.at} | place)
        before = b'event: %b\ndata: {"type":"%b","sequence_number":' % (name, name)
        return before, b"," + where[1:-1] + b',"delta":', behind

    def _closed(self, at: int) -> bytes:
        kind, said = self._block.kind, "".join(self._said)
        where: dict[str, Any] = {"item_id": self._id(at), "output_index": at}
        block: Text | Thought | ToolUse
        if kind == "text":
            block, within = Text(said), where | {"content_index": 0}
            before = self._told("response.output_text.done", within | {"text": said, "logprobs": []})
            before += self._told("response.content_part.done", within | {"part": a_part(said)})
        elif kind == "tool":
            block = ToolUse(self._block.id, self._block.name, said or "{}", signature=self._block.signature)
            told = where | {"name": block.name, "arguments": block.arguments}
            before = self._told("response.function_call_arguments.done", told)
        elif kind == "hidden":
            block, before = Thought("", self._block.id, hidden=True), b""
        else:
            block, within = Thought(said, self._signature), where | {"summary_index": 0}
            before = self._told("response.reasoning_summary_text.done", within | {"text": said})
            before += self._told("response.reasoning_summary_part.done", within | {"part": _summary(said)})
        self._items.append(block)
        done = {"output_index": at, "item": self._written.item(at, block)}
        return before + self._told("response.output_item.done", done)

    def _id(self, at: int) -> str:
        kind = self._block.kind
        empty = Text("") if kind == "text" else ToolUse("", "", "") if kind == "tool" else Thought("")
        return str(self._written.item(at, empty)["id"])

    def _ended(self, finish: Finish, usage: dict[str, Any] | None) -> bytes:
        last = len(self._items) - 1
        items = [
            self._written.item(at, block, status_of(finish) if at == last else "completed")
            for at, block in enumerate(self._items)
        ]
        response = self._written.ended(items, finish, usage)
        return self._told(f"response.{response['status']}", {"response": response})

    def _added(self, at: int, item: dict[str, Any]) -> bytes:
        return self._told("response.output_item.added", {"output_index": at, "item": item})

    def _told(self, kind: str, told: dict[str, Any]) -> bytes:
        document = {"type": kind, "sequence_number": self._number, **told}
        self._number += 1
        return named_event(kind.encode(), msgspec.json.encode(document))


def _summary(text: str) -> dict[str, Any]:
    return {"type": "summary_text", "text": text}
