"""OpenAI's streams of Responses on their way through: bytes pass, and what matters for money is picked out.

Belongs here: finding meters, the end and errors, holding back the last event so that the cost can be told in it. No object is
made for an ordinary event. Does not belong here: I/O and prices, and streams that are translated (events.py).

The patterns look for whole JSON strings. Inside one a quote always has a backslash before it, so text that a model writes
can never match. What matches is then parsed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import msgspec

from router.core.values import Usage
from router.dialects.passing import PassingScanner
from router.dialects.responses.answer import said_in
from router.dialects.responses.usage import usage_in
from router.dialects.sse import datas, named_event

_SAID: Final = re.compile(rb'"delta"\s*:\s*"([^"\\]*(?:\\.[^"\\]*)*)', re.DOTALL)
_ENDS: Final = frozenset({"response.completed", "response.incomplete"})
_TOP: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Event(msgspec.Struct):
    type: str = ""
    response: dict[str, Any] = {}


class _Said(msgspec.Struct):
    type: str = ""
    output_index: int = 0
    content_index: int = 0
    summary_index: int = 0
    delta: Any = None
    item: dict[str, Any] = {}


_EVENT: Final = msgspec.json.Decoder(_Event)
_SAYING: Final = msgspec.json.Decoder(_Said)


class ResponsesScanner(PassingScanner):
    """Reads a response's stream while it passes.

    Args:
        cost: text of an attempt's cost in dollars for these meters, put into the usage object; None to put nothing.
    """

    __slots__ = ("_cost",)
    telling = re.compile(rb'"(?:response\.(?:completed|incomplete|failed)|error)"(?!\s*:\s*null)')
    answering = re.compile(rb'"(?:delta|arguments|name)"\s*:\s*"[^"]')

    def __init__(self, cost: Callable[[Usage], str | None]) -> None:
        super().__init__()
        self._cost = cost

    def goes_on(self, event: bytes, data: bytes) -> bool:
        """As `PassingScanner`."""
        try:
            said = _EVENT.decode(data)
        except _UNREADABLE:
            return True
        if said.type == "error":
            self.failed, self.error = True, data
            return False
        if said.type == "response.failed":
            self.usage = usage_in(said.response)
            self.failed = True
            self.error = msgspec.json.encode({"error": said.response.get("error")})
            return False
        if said.type not in _ENDS:
            return True
        self.usage = usage_in(said.response)
        self.done = self.finished = True
        cost = None if self.usage is None else self._cost(self.usage)
        self.last = event if cost is None else _with_cost(data, said.type, cost)
        return False


def _with_cost(data: bytes, kind: str, cost: str) -> bytes:
    top = _TOP.decode(data)
    response = _TOP.decode(top["response"])
    usage: dict[str, Any] = {**_TOP.decode(response["usage"]), "cost_usd": cost}
    told: dict[str, Any] = {**top, "response": {**response, "usage": usage}}
    return named_event(kind.encode(), msgspec.json.encode(told).replace(b"\n", b"\ndata: "))


def streamed_text(stream: bytes) -> list[str]:
    """All text that a stream has carried so far: what must be counted when no meters came."""
    said: dict[tuple[int, str, int], list[str]] = {}
    for data in datas(stream):
        try:
            event = _SAYING.decode(data)
        except _UNREADABLE:
            continue
        if event.type.endswith(".delta") and isinstance(event.delta, str):
            part = event.content_index + event.summary_index
            said.setdefault((event.output_index, event.type, part), []).append(event.delta)
        elif event.type == "response.output_item.added":
            said.setdefault((event.output_index, "", 0), []).extend(said_in(event.item))
    return [text for pieces in said.values() if (text := "".join(pieces))]


def said_so_far(stream: bytes) -> str:
    """About the same at a tenth of the cost: for watching a stream grow, never for what is booked."""
    return b"".join(_SAID.findall(stream)).decode(errors="replace")
