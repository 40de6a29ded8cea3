"""Google's streams to the neutral form.

Belongs here: one event after another. Does not belong here: what a part is (answer.py), and cutting bytes into events
(`router.dialects.sse`).

There is no event that ends a stream: the connection does. Every event tells the meters so far, so they are believed only
from the one that finishes the answer on: an answer that broke off is counted by us.
"""

from __future__ import annotations

from router.dialects.gemini.answer import FINISHES, Candidate, Content, Part, Response, call_id, failure, response
from router.dialects.gemini.usage import usage_of
from router.dialects.neutral import Begun, Closed, Ended, Event, Opened, Piece, Signed
from router.dialects.reading import json_text
from router.dialects.signatures import GEMINI
from router.dialects.sse import EventReader

_METERS = b'"usageMetadata"'
_FAILED = b'{"error":{"message":%b}}'


class GeminiReader(EventReader):
    """Reads a stream of one candidate."""

    __slots__ = ("_at", "_begun", "_calls", "_ended", "_id", "_kind", "_metered")

    def __init__(self) -> None:
        super().__init__()
        self._begun = False
        self._ended = False
        self._id = ""
        self._at = -1
        """Number of the block that opened last."""
        self._kind = ""
        """Its kind while it is open."""
        self._calls = 0
        self._metered = b""
        """The last event before the end that may tell meters: they are read only if the end tells none."""

    def read(self, data: bytes) -> list[Event]:
        """What an event says.

        Raises:
            ValueError: it is none.
        """
        found = response(data)
        if found.error is not None:
            self.failed = True
            self.error = data
            return []
        if not self._ended and (usual := self._usual(found.candidates)) is not None:
            self._metered = data
            return [usual]
        events: list[Event] = []
        if not self._begun:
            self._begun = True
            self._id = found.id or ""
            events.append(Begun(self._id, found.model or ""))
        if not self._ended:
            self._candidates(found, events)
        if self._ended or self.failed:
            self.usage = usage_of(data) or self.usage or usage_of(self._metered)
        elif _METERS in data:
            self._metered = data
        return events

    def _usual(self, candidates: list[Candidate] | None) -> Piece | None:
        """More words of the block that is open, as nearly every event has them; None for all else."""
        if candidates is None or len(candidates) != 1:
            return None
        candidate = candidates[0]
        if candidate.index or candidate.finish or candidate.content is None:
            return None
        parts = candidate.content.parts
        if parts is None or len(parts) != 1:
            return None
        part = parts[0]
        if not part.text or part.signature or part.call is not None:
            return None
        return Piece(self._at, part.text) if self._kind == ("thought" if part.thought else "text") else None

    def _candidates(self, found: Response, events: list[Event]) -> None:
        if found.feedback is not None and found.feedback.blocked and not found.candidates:
            self._end(Candidate(finish="SAFETY"), events)
        for candidate in found.candidates or ():
            if candidate.index != 0:
                continue
            for part in (candidate.content or Content()).parts or ():
                self._part(part, events)
            if candidate.finish:
                self._end(candidate, events)

    def _end(self, candidate: Candidate, events: list[Event]) -> None:
        why = failure(candidate)
        if why:
            self.failed = True
            self.error = _FAILED % json_text(f"the model failed: {why}").encode()
            return
        self._ended = True
        self._close(events)
        finish = FINISHES[candidate.finish or "STOP"]
        events.append(Ended("tools" if self._calls and finish == "stop" else finish))

    def _part(self, part: Part, events: list[Event]) -> None:
        signature = GEMINI + part.signature if part.signature else ""
        if part.text and part.call is None:
            self._words("thought" if part.thought else "text", part.text, events)
        if signature:
            self._sign(signature, events)
        if part.call is not None:
            self._close(events)
            at = self._at = self._at + 1
            name = call_id(part.call, self._id, self._calls)
            self._calls += 1
            arguments = json_text(part.call.args or {})
            events += [Opened(at, "tool", name, part.call.name, signature), Piece(at, arguments), Closed(at)]

    def _words(self, kind: str, text: str, events: list[Event]) -> None:
        if self._kind != kind:
            self._open("thought" if kind == "thought" else "text", events)
        events.append(Piece(self._at, text))

    def _sign(self, signature: str, events: list[Event]) -> None:
        """Sign the thought that is open, or one without words; a thought has one signature."""
        if self._kind != "thought":
            self._open("thought", events)
        events.append(Signed(self._at, signature))
        self._close(events)

    def _open(self, kind: str, events: list[Event]) -> None:
        self._close(events)
        self._at, self._kind = self._at + 1, kind
        events.append(Opened(self._at, "thought" if kind == "thought" else "text"))

    def _close(self, events: list[Event]) -> None:
        if self._kind:
            events.append(Closed(self._at))
            self._kind = ""
