"""Sending one answer at its pace, spoiling it as the fault says, and billing what was generated.

Belongs here: everything between a finished plan and the socket. Does not belong here: admission (provider.py).
A plain answer exists in full before its first byte goes out, so a fault that spoils it is billed in full.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from aiohttp import web

from router.sim import wire
from router.sim.bill import REALTIME, Call, Meters
from router.sim.faults import CUTS, LIES
from router.sim.personality import usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from fractions import Fraction

    from router.sim.catalog import Model, Provider
    from router.sim.faults import Rule
    from router.sim.plan import Answer, Pace
    from router.sim.world import World

_LIMITS: Final = {
    "x-ratelimit-limit-requests": "10000",
    "x-ratelimit-limit-tokens": "2000000",
    "x-ratelimit-remaining-requests": "9999",
    "x-ratelimit-remaining-tokens": "1999000",
    "x-ratelimit-reset-requests": "6ms",
    "x-ratelimit-reset-tokens": "30ms",
}
_HTML: Final = b"<html><head><title>Oops</title></head><body><h1>Something went wrong</h1></body></html>"
_NOTICE: Final = 0.1
"""Seconds after which a caller's leaving is noticed while nothing is being sent."""
_SLOW_MS: Final = 2000.0
"""What slow_first_byte adds when the rule does not say."""
_BREATH: Final = 16
"""Events sent without waiting before the loop gets a turn."""


class _Left(Exception):  # noqa: N818 - not an error: the caller may leave
    """The caller has closed the connection."""


@dataclass(frozen=True, slots=True)
class Form:
    """What a wire format says at the moments that all share. The defaults of `Exchange` speak OpenAI's."""

    last: bytes
    """The last event of a stream."""
    error: bytes
    """An error within a stream."""
    error_body: bytes
    """The same in place of a plain answer."""
    events: Callable[[Answer, dict[str, object] | None], Iterator[wire.Event]] | None = None
    report: Callable[[Meters], dict[str, object]] | None = None
    """Meters as a usage object."""
    lie: Callable[[dict[str, object]], dict[str, object]] | None = None
    """One of `LIES` in this format."""
    stream_type: str = "text/event-stream; charset=utf-8"


OPENAI: Final = Form(last=wire.DONE, error=wire.STREAM_ERROR, error_body=wire.STREAM_ERROR[6:-2])


@dataclass(slots=True)
class Exchange:
    """One admitted call. ``prompt`` has the input meters; the output's are filled in when it is settled."""

    request: web.Request
    world: World
    provider: Provider
    model: Model
    request_id: str
    envelope: wire.Envelope
    answer: Answer
    render: Callable[[dict[str, object] | None], bytes]
    """The plain answer's body around a usage object, or around none."""
    prompt: Meters
    at: float
    """Arrival, in seconds since the epoch."""
    pace: Pace
    fault: Rule | None
    caches: bool
    form: Form = OPENAI
    tier: str = REALTIME
    """What is served and billed."""
    units: tuple[tuple[str, Fraction], ...] = ()
    """What is charged beside tokens, once the answer is whole or as good as that."""
    told: dict[str, str] = field(default_factory=dict)
    """Headers of this answer, beside those that every one has."""
    shown: int = 0
    shown_reasoning: int = 0
    generated: bool = False
    complete: bool = False
    billed: bool = True

    async def plain(self) -> web.StreamResponse:
        """Send the answer as one JSON body."""
        started = asyncio.get_running_loop().time()
        try:
            await self._first_byte(started)
            await self._until(started + self._delay() + self.pace.first + self.pace.each * self._visible())
            self.generated = True
            body = self.render(self._usage())
            kind = self.fault.kind if self.fault else ""
            if kind == "garbage":
                return self._garbage()
            if kind in CUTS and self.fault:
                return await self._spoil_plain(self.fault, body)
            self.complete = True
            return web.Response(body=body, content_type="application/json", headers=self._headers())
        except _Left:
            self._count_elapsed(started)
            return web.Response()
        finally:
            self._settle()

    async def stream(self) -> web.StreamResponse:
        """Send the answer event by event."""
        started = asyncio.get_running_loop().time()
        response = web.StreamResponse(headers=self._headers() | {"Content-Type": self.form.stream_type})
        cut = self.fault if self.fault and self.fault.kind in CUTS else None
        try:
            await self._first_byte(started)
            if self.fault and self.fault.kind == "garbage":
                return self._garbage()
            if cut and cut.kind == "reset" and cut.after_chunks == 0:
                self._abort()
                return response
            await response.prepare(self.request)
            await self._events(response, cut, started + self._delay() + self.pace.first)
        except (_Left, ConnectionResetError):
            pass  # billed below as far as it came
        finally:
            self._settle()
        return response

    async def _events(self, response: web.StreamResponse, cut: Rule | None, due: float) -> None:
        form, told = self.form, self._usage()
        events = form.events(self.answer, told) if form.events else self._openai_events(told)
        for number, event in enumerate(events):
            if cut and self._is_due(cut, number, event):
                if not await self._cut(response, cut):
                    return
                cut = None
            self.generated = self.generated or event.finishes
            if self.pace.each:
                due += self.pace.each * event.shown
                await self._until(due)
            elif number % _BREATH == 0:
                await asyncio.sleep(0)
            await response.write(event.data)
            self.shown += event.shown
            self.shown_reasoning += event.shown_reasoning
        await response.write_eof()
        self.complete = self.generated = True

    def _openai_events(self, told: dict[str, object] | None) -> Iterator[wire.Event]:
        return wire.stream(self.envelope, self.answer, told, self.world.rng)

    def _is_due(self, cut: Rule, number: int, event: wire.Event) -> bool:
        """Whether an answer is cut before this event: at the rule's, or where the answer is shorter, before it finishes."""
        if cut.after_chunks < 0:
            return event.data is self.form.last
        return number == cut.after_chunks or event.finishes

    async def _cut(self, response: web.StreamResponse, rule: Rule) -> bool:
        """Interrupt a running stream; True when it goes on afterwards."""
        if rule.kind == "stall":
            await self._stall(rule)
            return True
        if rule.kind == "error_event":
            await response.write(self.form.error)
        elif rule.kind == "reset":
            await asyncio.sleep(0.01)  # what was sent reaches the caller before the reset overtakes it
            self._abort()
        return False

    async def _spoil_plain(self, rule: Rule, body: bytes) -> web.StreamResponse:
        if rule.kind == "error_event":
            self.billed = False
            return web.Response(status=500, body=self.form.error_body, content_type="application/json")
        response = web.StreamResponse(headers=self._headers() | {"Content-Type": "application/json"})
        if rule.kind == "reset" and rule.after_chunks == 0:
            self._abort()
            return response
        try:
            await response.prepare(self.request)
            await response.write(body[: len(body) // 2])
            if await self._cut(response, rule):
                await response.write(body[len(body) // 2 :])
                self.complete = True
        except ConnectionResetError:
            pass  # it is billed all the same
        return response

    async def _stall(self, rule: Rule) -> None:
        """Keep the connection open and silent: for ``delay_ms``, or until the caller leaves."""
        loop = asyncio.get_running_loop()
        await self._until(loop.time() + (rule.delay_ms / 1000 if rule.delay_ms is not None else 86_400.0))

    def _garbage(self) -> web.Response:
        self.billed = False  # whoever answered, it was not the model
        return web.Response(body=_HTML, content_type="text/html")

    async def _first_byte(self, started: float) -> None:
        await self._until(started + self._delay() + self.pace.first)

    def _delay(self) -> float:
        if self.fault is None or self.fault.kind == "stall":
            return 0.0
        default = _SLOW_MS if self.fault.kind == "slow_first_byte" else 0.0
        return (self.fault.delay_ms if self.fault.delay_ms is not None else default) / 1000

    async def _until(self, due: float) -> None:
        """Wait for an instant of the loop's clock.

        Raises:
            _Left: the caller has gone.
        """
        loop = asyncio.get_running_loop()
        while (left := due - loop.time()) > 0:
            await asyncio.sleep(min(left, _NOTICE))
            transport = self.request.transport
            if transport is None or transport.is_closing():
                raise _Left

    def _abort(self) -> None:
        """End the connection with a TCP reset."""
        transport = self.request.transport
        if transport is None:
            return
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()

    def _usage(self) -> dict[str, object] | None:
        if self.fault and self.fault.kind == "no_usage":
            return None
        if self.fault and self.fault.kind == "lying_usage":
            lie = LIES[(self.fault.hits - 1) % len(LIES)]
            return self.form.lie(lie) if self.form.lie else lie
        if not self.answer.choices:  # embeddings
            return {"prompt_tokens": self.prompt.prompt, "total_tokens": self.prompt.prompt}
        meters = self.prompt._replace(completion=self.answer.completion, reasoning=self.answer.reasoning)
        if self.form.report is not None:
            return self.form.report(meters)
        seconds = (self.pace.first, self.pace.each * self._visible())
        return usage(self.envelope.who, meters, caches=self.caches, reasons=self.model.reasoning, seconds=seconds)

    def _headers(self) -> dict[str, str]:
        return headers(self.request_id) | self.told

    def _visible(self) -> int:
        return self.answer.completion - sum(choice.hidden for choice in self.answer.choices)

    def _count_elapsed(self, started: float) -> None:
        """How much of a plain answer was decoded when the caller left."""
        decoding = asyncio.get_running_loop().time() - started - self._delay() - self.pace.first
        if decoding > 0 and self.pace.each:
            tokens = int(decoding / self.pace.each)
            self.shown = tokens * self.model.ratio.denominator // self.model.ratio.numerator

    def _settle(self) -> None:
        if not self.billed:
            return
        if self.generated or self.provider.bills_after_disconnect:
            completion, reasoning = self.answer.completion, self.answer.reasoning
        else:
            completion, reasoning = self.answer.partial(self.model, self.shown, self.shown_reasoning)
        meters = self.prompt._replace(completion=completion, reasoning=reasoning)
        self.world.bill.add(
            Call(self.provider.name, self.model, self.request_id, self.at, meters, self.complete, self.tier, self.units)
        )


def headers(request_id: str) -> dict[str, str]:
    """The headers every answer of a provider has."""
    return {"x-request-id": request_id, "openai-version": "2020-10-01", **_LIMITS}
