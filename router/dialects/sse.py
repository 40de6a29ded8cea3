"""Server-sent events in chunks of any size: whole ones, and their data.

Belongs here: where an event ends. Does not belong here: what any of them says.

An event ends at the first blank line, and a line at CR LF, LF or CR (WHATWG HTML, 9.2.5); so any two of these bytes
but CR LF end an event. More of them between events mean nothing and pass at once, wherever chunks are cut.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import Final

from router.core.values import Usage
from router.dialects.neutral import Event

_SEPARATORS: Final = (b"\n\n", b"\n\r", b"\r\r")
END_OF_EVENT: Final = re.compile(rb"\n\n|\n\r|\r\r")
MAX_EVENT_BYTES: Final = 16 * 1024 * 1024


class Cutter:
    """Gathers chunks into whole events."""

    __slots__ = ("_tail",)

    def __init__(self) -> None:
        self._tail = bytearray()

    def whole_events(self, chunk: bytes) -> bytes:
        """The events that are whole by now; what begins after them is kept.

        Raises:
            ValueError: one event is larger than `MAX_EVENT_BYTES`.
        """
        tail = self._tail
        if not tail and chunk.endswith((b"\n\n", b"\r\n\r\n")):
            return chunk
        seen = max(len(tail) - 1, 0)
        tail += chunk
        cut = end_of_events(tail, seen, len(tail))
        if not cut:
            if len(tail) > MAX_EVENT_BYTES:
                raise ValueError(f"one stream event is larger than {MAX_EVENT_BYTES} bytes")
            return b""
        whole = bytes(tail[:cut])
        del tail[:cut]
        return whole


def end_of_events(stream: bytes | bytearray, start: int, stop: int) -> int:
    """Just behind the last event that ends between ``start`` and ``stop`` and the blank lines there, or 0."""
    last = max(stream.rfind(separator, start, stop) for separator in _SEPARATORS)
    cut = 0 if last < 0 else last + 2
    while cut < stop and stream[cut] in b"\r\n":
        cut += 1
    return cut


def data_of(event: bytes) -> bytes:
    """The data of one server-sent event: its ``data:`` lines, joined by line feeds (WHATWG HTML, 9.2.6)."""
    lines = event.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    return b"\n".join(line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:"))


def datas(events: bytes) -> list[bytes]:
    """The data of each of some whole events; comments have none and are passed over."""
    if b"\r" in events:
        events = events.replace(b"\r\n", b"\n")
    apart = END_OF_EVENT.split(events) if b"\r" in events else events.split(b"\n\n")
    found = []
    for between in apart:
        if not between:
            continue
        event = between.strip(b"\r\n")
        # One line of data, and perhaps one with a name before it, is what nearly all of them are.
        last = event.partition(b"\n")[2] if event.startswith(b"event: ") else event
        data = last[6:] if last.startswith(b"data: ") and b"\n" not in last and b"\r" not in last else data_of(event)
        if data:
            found.append(data)
    return found


class EventReader(Cutter, ABC):
    """Reads a stream of events into the neutral form: the part that all such dialects share.

    Attributes:
        usage: the last meters that were reported and can be believed.
        done: the stream has said that it ends.
        failed: it holds an error instead.
        error: that event's data.
    """

    __slots__ = ("done", "error", "failed", "usage")

    def __init__(self) -> None:
        super().__init__()
        self.usage: Usage | None = None
        self.done = False
        self.failed = False
        self.error = b""

    def feed(self, chunk: bytes) -> list[Event]:
        """What bytes say, as they came.

        Raises:
            ValueError: they cannot be read.
        """
        whole = datas(self.whole_events(chunk))
        if len(whole) == 1:
            return self.read(whole[0])
        found: list[Event] = []
        for data in whole:
            found += self.read(data)
            if self.done or self.failed:
                break
        return found

    @abstractmethod
    def read(self, data: bytes) -> list[Event]:
        """What one event's data says. Raises ValueError for what cannot be read."""


def named_event(name: bytes, data: bytes) -> bytes:
    """One event with a name, as Anthropic and OpenAI's Responses send them. ``data`` holds no line break."""
    return b"event: " + name + b"\ndata: " + data + b"\n\n"
