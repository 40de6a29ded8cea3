"""Streams of named events on their way through: bytes pass, and only events that may tell something are looked at.

Belongs here: the part that Anthropic's Messages and OpenAI's Responses share. Does not belong here: which events tell what
(their stream.py), and chat completions, whose events have no names (openai/stream.py).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from router.dialects.sse import END_OF_EVENT, Cutter, data_of, end_of_events

if TYPE_CHECKING:
    import re

    from router.core.values import Usage


class PassingScanner(Cutter, ABC):
    """Reads a stream while it passes. Its members are those of `router.dialects.contract.Scanner`.

    Attributes:
        telling: what an event that must be looked at has in it.
        answering: what shows that some of an answer has come.
    """

    __slots__ = ("answered", "done", "error", "failed", "finished", "last", "usage")
    telling: ClassVar[re.Pattern[bytes]]
    answering: ClassVar[re.Pattern[bytes]]

    def __init__(self) -> None:
        super().__init__()
        self.usage: Usage | None = None
        self.answered = False
        self.finished = False
        self.done = False
        self.failed = False
        self.error = b""
        self.last = b""

    def feed(self, chunk: bytes) -> bytes:
        """Take bytes as they came, give those that may go on now: whole events only, and none after the last.

        Raises:
            ValueError: one event is larger than `router.dialects.sse.MAX_EVENT_BYTES`.
        """
        whole = b"" if self.done or self.failed else self.whole_events(chunk)
        if not whole:
            return b""
        telling = self.telling.search(whole)
        if telling is not None:
            ordinary = end_of_events(whole, 0, telling.start())
            whole = whole[:ordinary] + self._one_by_one(whole[ordinary:])
        if not self.answered and self.answering.search(whole):
            self.answered = True
        return whole

    def ending(self) -> bytes:
        """Nothing is held back but the last event."""
        return b""

    def _one_by_one(self, events: bytes) -> bytes:
        passed: list[bytes] = []
        start = 0
        for end in END_OF_EVENT.finditer(events):
            event = events[start : end.end()]
            start = end.end()
            if self.telling.search(event) is None or self.goes_on(event, data_of(event)):
                passed.append(event)
            if self.done or self.failed:
                return b"".join(passed)
        passed.append(events[start:])
        return b"".join(passed)

    @abstractmethod
    def goes_on(self, event: bytes, data: bytes) -> bool:
        """Look at an event that may tell something, whole and its data; whether it goes on to the caller now."""
