"""Answers on their way from one dialect to another, whole and streamed.

Belongs here: reading with one dialect's reader and writing with another's writer. Does not belong here: any format.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from router.core.values import Usage
from router.dialects.contract import Asked, Cost, Reader, Writer
from router.dialects.neutral import Answer, Begun, Ended, Event, Opened, Piece, Thought

_TELLING: Final = ("tool", "hidden")
"""Blocks that say something by opening."""
_NAMELESS: Final = Begun("", "")


def _named(said: Begun, otherwise: Begun) -> Begun:
    return Begun(said.id or otherwise.id, said.model or otherwise.model)


class Translator:
    """Reads an upstream's stream and writes the caller's. Its members are those of `router.dialects.ways.Scanner`.

    Args:
        reader: of the upstream's dialect.
        writer: of the caller's.
        cost: text of an attempt's cost for these meters, or None for meters that the row will not go by.
        shows_thoughts: whether the caller wants to see what the model thinks.
        name: what an answer is called, where its provider does not say.
    """

    __slots__ = (
        "_cost",
        "_name",
        "_numbers",
        "_reader",
        "_shows",
        "_writer",
        "answered",
        "done",
        "error",
        "failed",
        "finished",
        "last",
        "usage",
    )

    def __init__(
        self, reader: Reader, writer: Writer, cost: Cost, *, shows_thoughts: bool, name: Begun = _NAMELESS
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._cost = cost
        self._name = name
        self._shows = shows_thoughts
        self._numbers: dict[int, int] = {}
        """By a block's number, the one that the caller gets; -1 for a thought that is not shown."""
        self.usage: Usage | None = None
        self.answered = False
        self.finished = False
        self.done = False
        self.failed = False
        self.error = b""
        self.last = writer.last

    def feed(self, chunk: bytes) -> bytes:
        """Take bytes as they came, give the caller's events for the whole ones among them.

        Raises:
            ValueError: what came cannot be read.
        """
        if self.done or self.failed:
            return b""
        reader = self._reader
        events = reader.feed(chunk)
        self.usage, self.done, self.failed, self.error = reader.usage, reader.done, reader.failed, reader.error
        if not events:
            return b""
        if isinstance(events[0], Begun) and not events[0].id:
            events = [_named(events[0], self._name), *events[1:]]
        for event in events:
            if isinstance(event, Piece) or (isinstance(event, Opened) and event.kind in _TELLING):
                self.answered = True
            elif isinstance(event, Ended):
                self.finished = True
        return self._writer.write(events if self._shows else self._shown(events))

    def ending(self) -> bytes:
        """What was held back until the meters were known."""
        usage, writer = self.usage, self._writer
        held = writer.ending(usage, None if usage is None else self._cost(usage))
        self.last = writer.last
        return held

    def _shown(self, events: Sequence[Event]) -> list[Event]:
        """The events without thoughts, blocks numbered anew."""
        shown: list[Event] = []
        for event in events:
            if isinstance(event, Piece) and self._numbers[event.at] == event.at:
                shown.append(event)
                continue
            at = getattr(event, "at", None)
            if at is None:
                shown.append(event)
                continue
            if isinstance(event, Opened):
                before = sum(number >= 0 for number in self._numbers.values())
                self._numbers[at] = -1 if event.kind in ("thought", "hidden") else before
            number = self._numbers[at]
            if number == at:
                shown.append(event)
            elif number >= 0:
                shown.append(msgspec.structs.replace(event, at=number))
        return shown


def translated(
    read: Callable[[bytes], Answer],
    write: Callable[[Answer, Asked], bytes],
    body: bytes,
    asked: Asked,
    *,
    shows_thoughts: bool,
) -> bytes:
    """A plain answer of one dialect in another.

    Args:
        read: of the upstream's dialect.
        write: of the caller's.
        body: the answer as it came.
        asked: what it answers.
        shows_thoughts: whether the caller wants to see what the model thought.

    Raises:
        ValueError: what came cannot be read.
    """
    answer = read(body)
    if not answer.id:
        said = _named(Begun(answer.id, answer.model), Begun(asked.spare_id, asked.spare_model))
        answer = msgspec.structs.replace(answer, id=said.id, model=said.model)
    if not shows_thoughts:
        blocks = tuple(block for block in answer.blocks if not isinstance(block, Thought))
        answer = msgspec.structs.replace(answer, blocks=blocks)
    return write(answer, asked)
