"""One connection of the raw client: an asyncio protocol that writes a request and parses its response.

Belongs here: bytes on and off the wire, framing checks, timeouts and flow control of one exchange after another.
Does not belong here: which connection to use (pool.py) and what happens to the body (response.py).
"""

from __future__ import annotations

import asyncio
import math
from typing import Any, Final, Protocol, cast

import httptools

from router.adapters.upstream.head import MAX_FIELDS, MAX_HEAD, OVERSIZE, head_flaw, header_name, promised_idle
from router.adapters.upstream.response import RawResponse
from router.ports import Timeouts, UpstreamFault

PAUSE_ABOVE: Final = 256 * 1024
"""Untaken bytes at which the socket is not read any more. A reader takes all at once, so it resumes from zero."""

GATHER_S: Final = 0.01
"""A stream whose pieces come faster than this is read once in so much time: each read costs as much as its piece."""

SLICE: Final = 256 * 1024
"""A body is handed to the transport in slices of this size, each once the one before has left."""

_JOIN_BELOW: Final = 64 * 1024
"""Up to this size copying the body behind the head is cheaper than a second write."""

_TICK: Final = 0.002
"""Timers of the loop have a resolution of 1 ms and may fire that much early."""


_HEAD: Final = 0
_BODY: Final = 1
_DONE: Final = 2
"""Where the exchange's response is. Plain ints: an enum member's lookup costs more than the comparison."""


class Owner(Protocol):
    """Who is told what becomes of a connection."""

    keepalive_s: float
    label: str

    def released(self, connection: Connection) -> None:
        """The exchange is over and the connection can carry another."""

    def lost(self, connection: Connection) -> None:
        """The connection is gone."""


class Connection(asyncio.Protocol):
    """Carries one exchange at a time. Created unconnected; connected once it `is_usable`."""

    __slots__ = (
        "_armed_for",
        "_between",
        "_bodiless",
        "_choked",
        "_due",
        "_exchange",
        "_fields",
        "_flaw",
        "_head_bytes",
        "_headers",
        "_idle_s",
        "_keep_alive",
        "_last_piece",
        "_loop",
        "_owner",
        "_parser",
        "_paused",
        "_phase",
        "_resting",
        "_seen_eof",
        "_surplus",
        "_timeouts",
        "_timer",
        "_total_due",
        "_transport",
        "_unsent",
        "_until_close",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, owner: Owner) -> None:
        self._loop = loop
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._parser: Any = None  # httptools ships no types for its callbacks
        self._exchange: RawResponse | None = None
        self._headers: dict[str, str] | None = None
        self._phase = _DONE
        self._bodiless = False
        self._until_close = False
        self._keep_alive = False
        self._surplus = False
        self._seen_eof = False
        self._flaw = ""
        self._fields = 0
        self._head_bytes = 0
        self._unsent: memoryview | None = None
        self._choked = False
        self._paused = False
        self._resting = False
        self._last_piece = 0.0
        self._timeouts = Timeouts()
        self._total_due = math.inf
        self._due = math.inf
        self._armed_for = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._idle_s = owner.keepalive_s

    @property
    def is_new(self) -> bool:
        """True until the connection has been made."""
        return self._parser is None

    @property
    def is_usable(self) -> bool:
        """True when a request may be written: connected, and the peer has not hung up as far as we know."""
        transport = self._transport
        return transport is not None and not self._seen_eof and not transport.is_closing()

    def start(self, head: bytes, body: bytes, timeouts: Timeouts, began: float, *, bodiless: bool) -> RawResponse:
        """Write a request; its response fills as bytes arrive. Only on a usable connection without an exchange.

        Args:
            head: everything up to and including the empty line.
            body: may be empty.
            timeouts: seconds; ``connect`` is over already.
            began: loop time from which the total counts.
            bodiless: the response has no body whatever its headers say (HEAD).
        """
        transport = self._transport
        if transport is None:
            raise RuntimeError("a request needs a connection that is usable")
        exchange = self._exchange = RawResponse(self._loop, self, self._owner.label)
        self._headers = exchange.headers
        self._phase = _HEAD
        self._surplus = False
        self._bodiless = bodiless
        self._fields = self._head_bytes = 0
        self._timeouts = timeouts
        self._total_due = began + timeouts.total
        self._expect(timeouts.first_byte)
        if len(body) <= _JOIN_BELOW:
            transport.write(head + body)
        else:
            transport.write(head)
            self._unsent = memoryview(body)
            self._write_on()
        return exchange

    # The response's side.

    def resume(self) -> None:
        """The reader has taken what was buffered."""
        if self._paused and self._transport is not None:
            self._paused = False
            self._expect(self._timeouts.between_chunks)
            if not self._resting:
                self._transport.resume_reading()

    def drop(self) -> None:
        """End the connection now, whatever it carries. `Owner.lost` follows."""
        self._exchange = None
        self._unsent = None
        self._seen_eof = True
        if self._transport is not None:
            self._transport.abort()

    def fail(self, fault: UpstreamFault, message: str) -> None:
        """End the connection now, and with it the exchange, if one is open."""
        exchange = self._exchange
        self.drop()
        if exchange is not None:
            exchange.fail(fault, message)

    # asyncio's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands, TLS included."""
        self._transport = cast("asyncio.Transport", transport)
        self._parser = httptools.HttpResponseParser(self)

    def data_received(self, data: bytes) -> None:
        """Parse, then tell the reader once."""
        exchange = self._exchange
        if exchange is None:
            # Nothing was asked: a late 408, or the tail of a response that lied about its length.
            self.drop()
            return
        if self._phase == _HEAD:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if self._phase != _DONE:
                self._flaw = self._flaw or str(error)
            self._surplus = True
        if self._flaw:
            self.fail("protocol", f"{self._owner.label} sent a malformed response: {self._flaw}")
        elif self._phase == _BODY:
            if exchange.buffered > PAUSE_ABOVE:
                self._pause()
            else:
                self._expect(self._timeouts.between_chunks)
            exchange.wake()
            self._rest(exchange)
        elif self._phase == _DONE:
            self._finish(exchange)
        elif self._head_bytes > MAX_HEAD:
            self.fail("protocol", f"{self._owner.label} sent a malformed response: {OVERSIZE}")

    def eof_received(self) -> None:
        """The peer has said all; the transport closes itself and `connection_lost` follows."""
        self._seen_eof = True

    def connection_lost(self, exc: Exception | None) -> None:
        """Settle the exchange, if one is open, and give the place in the pool back."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            if self._phase == _BODY and self._until_close and exc is None:
                exchange.end()
            else:
                part = "before its response began" if self._phase == _HEAD else "in the middle of its response"
                exchange.fail("reset", f"{self._owner.label} closed the connection {part}")
        if self._timer is not None:
            self._timer.cancel()
        # The parser holds bound methods of this object: without this every connection would be garbage in a cycle.
        self._transport = self._timer = self._unsent = None
        self._parser = False
        self._owner.lost(self)

    def pause_writing(self) -> None:
        """The transport's buffer is full."""
        self._choked = True

    def resume_writing(self) -> None:
        """The transport's buffer has drained."""
        self._choked = False
        self._write_on()

    # The parser's side.

    def on_message_begin(self) -> None:
        """A further message after the one that was asked for makes the connection unfit for reuse."""
        if self._phase == _DONE:
            self._surplus = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header of the awaited response; others (trailers, surplus messages) are only counted."""
        headers = self._headers
        if headers is None:
            self._ignore_header()
            return
        self._fields += 1
        key = header_name(name)
        text = value.decode("latin-1").strip(" \t")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text

    def on_headers_complete(self) -> None:
        """Framing is decided here. Interim responses (1xx) are skipped."""
        headers, exchange = self._headers, self._exchange
        if headers is None or exchange is None:
            return
        status = self._parser.get_status_code()
        coding = headers.get("transfer-encoding")
        if self._fields > MAX_FIELDS or self._head_bytes > MAX_HEAD or coding is not None or status < 200:
            self._flaw = head_flaw(status, headers, self._fields, self._head_bytes)
            if status < 200:
                headers.clear()
            if self._flaw or status < 200:
                return
        exchange.status = status
        self._headers = None
        self._phase = _BODY
        self._until_close = coding is None and "content-length" not in headers
        self._keep_alive = self._parser.should_keep_alive() and self._unsent is None
        if "keep-alive" in headers:
            self._idle_s = min(self._owner.keepalive_s, promised_idle(headers["keep-alive"]))
        if status >= 400:
            # The upstream has refused: the rest of the request is of no use to it.
            self._unsent = None
        exchange.head_done()
        if self._bodiless:
            # The parser does not know of HEAD and would wait for the body.
            self._phase, self._keep_alive = _DONE, False

    def on_body(self, data: bytes) -> None:
        """A piece of the body, chunk framing removed."""
        if self._phase == _BODY and self._exchange is not None:
            self._exchange.feed(data)

    def on_message_complete(self) -> None:
        """The end of the body, or of an interim response."""
        if self._phase == _BODY:
            self._phase = _DONE

    # Own steps.

    def _ignore_header(self) -> None:
        if self._phase == _BODY:
            self._fields += 1
            if self._fields > MAX_FIELDS:
                self._flaw = f"more than {MAX_FIELDS} header lines"

    def _write_on(self) -> None:
        while self._unsent is not None and not self._choked and self._transport is not None:
            piece, rest = self._unsent[:SLICE], self._unsent[SLICE:]
            self._unsent = rest if rest.nbytes else None
            self._transport.write(piece)

    def _pause(self) -> None:
        if not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
            # The upstream cannot be blamed for a slow reader; only the total still runs.
            self._due = self._total_due

    def _rest(self, exchange: RawResponse) -> None:
        """Leave what comes next in the socket for a moment, if pieces come fast: then several are read at once."""
        if not exchange.gathers:
            return
        now = self._loop.time()
        if now - self._last_piece < GATHER_S and not self._resting and self._transport is not None:
            self._resting = True
            self._transport.pause_reading()
            self._loop.call_at(now + GATHER_S, self._rested)
        self._last_piece = now

    def _rested(self) -> None:
        self._resting = False
        if not self._paused and self.is_usable and self._transport is not None:
            self._transport.resume_reading()

    def _finish(self, exchange: RawResponse) -> None:
        self._exchange = None
        exchange.end()
        transport = self._transport
        if (
            not self._keep_alive
            or self._surplus
            or self._seen_eof
            or self._idle_s <= 0
            or transport is None
            or transport.get_write_buffer_size()
        ):
            self.drop()
            return
        self._total_due = math.inf
        self._expect(self._idle_s)
        self._owner.released(self)

    def _expect(self, seconds: float) -> None:
        """Set the time by which something must happen. A pending timer that fires too early re-arms itself."""
        due = self._loop.time() + seconds
        self._due = due = min(due, self._total_due)
        if due < self._armed_for:
            if self._timer is not None:
                self._timer.cancel()
            self._arm(due)

    def _arm(self, due: float) -> None:
        self._armed_for = due
        self._timer = self._loop.call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        self._timer, self._armed_for = None, math.inf
        now = self._loop.time()
        if self._due > now + _TICK:
            if self._due < math.inf:
                self._arm(self._due)
            return
        bounds = self._timeouts
        if self._total_due <= now + _TICK:
            what = f"did not finish within {bounds.total:g} s in total"
        elif self._phase == _HEAD:
            what = f"sent no response head within {bounds.first_byte:g} s"
        else:
            what = f"sent nothing for {bounds.between_chunks:g} s in the middle of its response"
        self.fail("timeout", f"{self._owner.label} {what}")
