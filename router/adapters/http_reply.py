"""Answers on their way to a socket: a whole one in a single write.

Belongs here: the bytes of a response. Does not belong here: what stands in it. aiohttp's own Response does the same in
five times the processor time, most of it on headers it must be ready to change; it still serves everything else.
"""

from __future__ import annotations

import time
from email.utils import formatdate
from typing import TYPE_CHECKING, Final, cast

from aiohttp import web
from multidict import CIMultiDict

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.attempt import Headers

SERVER: Final = "costrouter"
WHOLE_BYTES: Final = 64 * 1024
"""Larger bodies go by aiohttp's writer, which waits for slow readers."""


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
    """A 200 whose head and body leave in one write. Stands in for a web.Response: the server calls only these three."""

    __slots__ = ("_after", "_body", "_headers", "_request", "keep_alive")

    def __init__(self, headers: Headers, body: bytes, after: Callable[[], None]) -> None:
        self._headers = headers
        self._body = body
        self._after = after
        self._request: web.BaseRequest | None = None
        self.keep_alive = True

    async def prepare(self, request: web.BaseRequest) -> None:
        """Remember whom to answer."""
        self._request = request
        self.keep_alive = request.keep_alive

    async def write_eof(self) -> None:
        """Write everything, then do what was left for after.

        Raises:
            ConnectionResetError: the client has gone.
        """
        try:
            self._write()
        finally:
            self._after()

    def _write(self) -> None:
        transport = None if self._request is None else self._request.transport
        if self._request is None or transport is None or transport.is_closing():
            raise ConnectionResetError("the client has gone")
        lines = [f"{name}: {value}\r\n" for name, value in self._headers]
        # HTTP/1.1 keeps the connection unless told, HTTP/1.0 closes it unless told.
        connection = "" if self.keep_alive else "connection: close\r\n"
        if self.keep_alive and self._request.version.minor == 0:
            connection = "connection: keep-alive\r\n"
        head = (
            f"HTTP/1.1 200 OK\r\n{''.join(lines)}content-length: {len(self._body)}\r\n{connection}"
            f"date: {_clock.now()}\r\nserver: {SERVER}\r\n\r\n"
        )
        transport.write(head.encode() + self._body)


def whole_reply(headers: Headers, body: bytes, after: Callable[[], None]) -> web.StreamResponse:
    """A 200 with this body; ``after`` is called once it is written, or cannot be.

    Header names and values must hold no line break: they come from us or from a parsed head.
    """
    if len(body) > WHOLE_BYTES:
        after()
        return web.Response(body=body, headers=CIMultiDict([*headers, ("server", SERVER)]))
    return cast("web.StreamResponse", WholeReply(headers, body, after))
