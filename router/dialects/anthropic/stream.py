"""Anthropic's event stream on its way through: bytes pass, and what matters for money is picked out.

Belongs here: finding meters, the end and errors, holding back the last event so that the cost can be told before it. No
object is made for an ordinary event. Does not belong here: I/O and prices, and streams that are translated (events.py).

The patterns look for JSON keys. Inside a JSON string a quote always has a backslash before it, so text that a model
writes can never match one. What matches is then parsed.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from router.dialects.anthropic.answer import said_in
from router.dialects.anthropic.events import LAST
from router.dialects.anthropic.usage import merged, normal
from router.dialects.passing import PassingScanner
from router.dialects.sse import datas

_FINISH: Final = re.compile(rb'"stop_reason"\s*:\s*"')
_SAID: Final = re.compile(rb'"(?:text|thinking|partial_json)"\s*:\s*"([^"\\]*(?:\\.[^"\\]*)*)', re.DOTALL)


class _Event(msgspec.Struct):
    type: str = ""
    index: int = 0
    message: dict[str, Any] = {}
    content_block: dict[str, Any] = {}
    delta: dict[str, Any] = {}
    usage: Any = None


_EVENT: Final = msgspec.json.Decoder(_Event)
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class MessagesScanner(PassingScanner):
    """Reads a message's stream while it passes."""

    __slots__ = ("_reported",)
    telling = re.compile(rb'"(?:usage|error|message_stop)"')
    answering = re.compile(rb'"(?:text|thinking|partial_json|data|name)"\s*:\s*"[^"]')

    def __init__(self) -> None:
        super().__init__()
        self._reported: dict[str, Any] = {}
        self.last = LAST

    def goes_on(self, event: bytes, data: bytes) -> bool:
        """As `PassingScanner`."""
        try:
            said = _EVENT.decode(data)
        except _UNREADABLE:
            return True
        if said.type == "error":
            self.failed = True
            self.error = data
            return False
        if said.type == "message_stop":
            self.done = True
            return False
        self._reported = merged(self._reported, said.message.get("usage") or said.usage)
        if isinstance(said.usage, dict):
            # The first report tells of an answer that has only begun: of one that breaks off, nobody has told all.
            self.usage = normal(self._reported) or self.usage
        self.finished = self.finished or _FINISH.search(event) is not None
        return True


def streamed_text(stream: bytes) -> list[str]:
    """All text that a stream has carried so far: what must be counted when no meters came."""
    said: dict[int, list[str]] = {}
    for data in datas(stream):
        try:
            event = _EVENT.decode(data)
        except _UNREADABLE:
            continue
        said.setdefault(event.index, []).extend([*said_in(event.content_block), *said_in(event.delta)])
    return [text for pieces in said.values() if (text := "".join(pieces))]


def said_so_far(stream: bytes) -> str:
    """About the same at a tenth of the cost: for watching a stream grow, never for what is booked."""
    return b"".join(_SAID.findall(stream)).decode(errors="replace")
