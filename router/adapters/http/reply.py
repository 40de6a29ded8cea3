"""Answers on their way to a socket: a whole one in a single write, a stream in one for each part.

Belongs here: the bytes of a response. Does not belong here: what stands in it. aiohttp's own Response does the same in
five times the processor time, most of it on headers it must be ready to change; it still serves everything else.
"""

from __future__ import annotations

import time
from email.utils import formatdate
from http.client import responses
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from aiohttp import web

    from router.adapters.http.connection import DirectRequest
    from router.attempt import Headers

SERVER: Final = "costrouter"
SLOW_BYTES: Final = 64 * 1024
"""Unsent bytes at which an answer waits for its reader."""


class _Clock:
    """The text of the Date header, made once a second."""

    second = 0
    text = ""

    def now(self) -> str:
        second = int(time.time())
        if second != self.second:
            self.second, self.text = second, formatdate(second, usegmt=True)
        return self.text


_clock: Final = _Clock()


class WholeReply:
    """An answer whose head and body leave in one write. Stands in for a web.Response: the server calls only these three.

    Args:
        headers: names and values without line breaks: they come from us or from a parsed head.
        body: all of it.
        after: called once it is written, or cannot be.
        status: of HTTP.
    """

    __slots__ = ("_after", "_body", "_headers", "_request", "_status", "keep_alive")

    def __init__(
        self, headers: Headers, body: bytes, after: Callable[[], None] | None = None, status: int = 200
    ) -> None:
        self._headers = headers
        self._body = body
        self._after = after
        self._status = status
        self._request: web.BaseRequest | DirectRequest | None = None
        self.keep_alive = True

    async def prepare(self, request: web.BaseRequest | DirectRequest) -> None:
        """Remember whom to answer."""
        self._request = request
        self.keep_alive = request.keep_alive

    async def write_eof(self) -> None:
        """Write everything, do what was left for after, and wait for a reader that is slow.

        Raises:
            ConnectionResetError: the client has gone.
        """
        request = self._request
        if request is None:
            raise ConnectionResetError("nobody has asked")
        try:
            transport = self._write(request)
        finally:
            if self._after is not None:
                self._after()
        if transport.get_write_buffer_size() > SLOW_BYTES:
            await request.writer.drain()

    def _write(self, request: web.BaseRequest | DirectRequest) -> asyncio.Transport:
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client has gone")
        # HTTP/1.1 keeps the connection unless told, HTTP/1.0 closes it unless told.
        connection = "" if self.keep_alive else "connection: close\r\n"
        if self.keep_alive and request.version.minor == 0:
            connection = "connection: keep-alive\r\n"
        head = _head(self._headers, f"content-length: {len(self._body)}\r\n{connection}", status=self._status)
        transport.write(head + self._body)
        return transport


class StreamedReply:
    """A 200 whose parts leave as they come. Stands in for a web.StreamResponse, as `WholeReply` does.

    Args:
        request: whom to answer.
        headers: without line breaks.
    """

    __slots__ = ("_chunked", "_headers", "_request", "keep_alive", "started")

    def __init__(self, request: web.BaseRequest | DirectRequest, headers: Headers) -> None:
        self._request = request
        self._headers = headers
        # HTTP/1.0 knows no chunks: there the end of the connection is the end of the stream.
        self._chunked = request.version.minor > 0
        self.keep_alive = request.keep_alive and self._chunked
        self.started = False

    async def write(self, part: bytes) -> None:
        """One part, the head before the first; waits for a reader that is slow.

        Raises:
            ConnectionResetError: the client has gone.
        """
        framed = b"%x\r\n%b\r\n" % (len(part), part) if self._chunked else part
        transport = self._transport()
        if not self.started:
            self.started = True
            how = "transfer-encoding: chunked\r\n" if self._chunked else ""
            closes = "" if self.keep_alive else "connection: close\r\n"
            framed = _head(self._headers, how + closes, minor=self._request.version.minor) + framed
        transport.write(framed)
        if transport.get_write_buffer_size() > SLOW_BYTES:
            await self._request.writer.drain()

    def end(self) -> None:
        """The last part has been written.

        Raises:
            ConnectionResetError: the client has gone.
        """
        if self._chunked:
            self._transport().write(b"0\r\n\r\n")

    def end_with(self, part: bytes) -> None:
        """Last words, waiting for nobody; a client that has gone is spared them."""
        transport = self._request.transport
        self.keep_alive = False
        if transport is None or transport.is_closing():
            return
        if part:
            transport.write(b"%x\r\n%b\r\n" % (len(part), part) if self._chunked else part)
        self.end()

    async def prepare(self, request: web.BaseRequest | DirectRequest) -> None:
        """Nothing is left to prepare when the server asks."""

    async def write_eof(self) -> None:
        """As `prepare`."""

    def _transport(self) -> asyncio.Transport:
        transport = self._request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client has gone")
        return transport


def _head(headers: Headers, framing: str, *, minor: int = 1, status: int = 200) -> bytes:
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
    first = f"HTTP/1.{minor} {status} {_phrase(status)}"
    return f"{first}\r\n{lines}{framing}date: {_clock.now()}\r\nserver: {SERVER}\r\n\r\n".encode()


def _phrase(status: int) -> str:
    return "OK" if status == 200 else responses.get(status, "")
