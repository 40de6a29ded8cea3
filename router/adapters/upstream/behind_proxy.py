"""The upstream client for use behind an HTTP proxy: the same port as `router.adapters.upstream.client`, over aiohttp's client.

Belongs here: the port's methods in aiohttp's terms, and the translation of its exceptions. Does not belong here: anything
that the raw client does the same way (heads are checked by request.py, bodies decoded by decoding.py).
Costs about seven times the CPU of the raw client.
"""

from __future__ import annotations

import asyncio
import io
import ssl
import zlib
from typing import TYPE_CHECKING, Final, NoReturn

import aiohttp
from yarl import URL

from router.adapters.trust import trusted
from router.adapters.upstream.connection import PAUSE_ABOVE, SLICE
from router.adapters.upstream.decoding import take_decoder
from router.adapters.upstream.head import MAX_FIELDS, MAX_HEAD
from router.adapters.upstream.request import HeadWriter, authority, label
from router.ports import UpstreamFailure, UpstreamRequest

if TYPE_CHECKING:
    from types import SimpleNamespace

    from multidict import CIMultiDictProxy

_SKIP: Final = ("Accept", "User-Agent", "Content-Type")
"""Headers that aiohttp would add of its own accord."""


_TICK: Final = 0.002
"""Timers of the loop have a resolution of 1 ms and may fire that much early."""


class AiohttpUpstream:
    """Implements `router.ports.Upstream`. Belongs to the loop that it is first used on.

    Differs from the raw client in two points that aiohttp leaves no say in: responses are parsed more leniently, and a
    GET or HEAD on a stale connection is repeated once (a POST never is).

    Args:
        proxy: URL of the HTTP proxy, e.g. ``http://proxy.example:3128``; None connects directly.
        ssl_context: for https origins; the system's trust store with verification when None.
        max_connections_per_origin: bound on connections per origin; further requests wait, which counts as connecting.
        keepalive_s: seconds after which an idle connection is closed.
    """

    def __init__(
        self,
        proxy: str | None,
        ssl_context: ssl.SSLContext | None = None,
        *,
        max_connections_per_origin: int = 1024,
        keepalive_s: float = 55.0,
    ) -> None:
        self._proxy = proxy
        self._tls = ssl_context
        self._size = max_connections_per_origin
        self._keepalive_s = keepalive_s
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    async def send(self, request: UpstreamRequest) -> AiohttpResponse:
        """Send the request and return once the response's head is here.

        Raises:
            UpstreamFailure: see `router.ports.UpstreamFault`.
        """
        origin, bounds = request.origin, request.timeouts
        HeadWriter(origin).head(request)
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers]
        if not any(name == "accept-encoding" for name, _ in headers):
            headers.append(("accept-encoding", "identity"))
        session = self._open(label(origin))
        now = asyncio.get_running_loop().time()
        time_bound = asyncio.timeout_at(now + min(bounds.connect, bounds.total))
        progress = _Progress(time_bound, bounds.first_byte, now + bounds.total)
        where = label(origin)
        try:
            async with time_bound:
                response = await session.request(
                    request.method,
                    URL(f"{origin.scheme}://{authority(origin)}{origin.base_path}{request.path}", encoded=True),
                    headers=headers,
                    data=io.BytesIO(request.body) if len(request.body) > SLICE else request.body or None,
                    proxy=self._proxy,
                    allow_redirects=False,
                    trace_request_ctx=progress,
                )
        except TimeoutError:
            if asyncio.get_running_loop().time() >= progress.total_due - _TICK:
                what = f"{where} did not finish within {bounds.total:g} s in total"
            elif progress.sent:
                what = f"{where} sent no response head within {bounds.first_byte:g} s"
            else:
                what = f"no connection to {where} within {bounds.connect:g} s"
            raise UpstreamFailure("timeout", what, sent=progress.sent) from None
        except (aiohttp.ClientError, OSError) as error:
            _translate(error, where, sent=progress.sent)
        return AiohttpResponse(response, where, bounds.between_chunks, progress.total_due, bounds.total)

    async def close(self) -> None:
        """Drop every connection."""
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _open(self, where: str) -> aiohttp.ClientSession:
        if self._closed:
            raise UpstreamFailure("connect", f"the client of {where} has been closed", sent=False)
        if self._session is None:
            trace = aiohttp.TraceConfig()
            trace.on_request_headers_sent.append(_headers_sent)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=0, limit_per_host=self._size, keepalive_timeout=self._keepalive_s, ssl=self._tls or trusted()
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
                auto_decompress=False,
                skip_auto_headers=_SKIP,
                trace_configs=[trace],
                read_bufsize=PAUSE_ABOVE // 2,  # aiohttp pauses at twice this size
                max_line_size=MAX_HEAD,
                max_field_size=MAX_HEAD,
                max_headers=MAX_FIELDS,
            )
        return self._session


class AiohttpResponse:
    """Implements `router.ports.UpstreamResponse`."""

    def __init__(
        self, response: aiohttp.ClientResponse, where: str, between_chunks: float, total_due: float, total: float
    ) -> None:
        self.status = response.status
        self.headers = _joined(response.headers)
        self._until_close = not {"content-length", "transfer-encoding"} & self.headers.keys()
        self._reset = False
        self._decoder = take_decoder(self.headers)
        self._response = response
        self._where = where
        self._between = between_chunks
        self._total_due = total_due
        self._total = total
        self._ended = False
        if response.connection is not None and response.connection.protocol is not None:
            closed = response.connection.protocol.closed
            if closed is None:
                self._lost(None)
            else:
                closed.add_done_callback(self._lost)

    async def chunk(self) -> bytes:
        """The next bytes, decoded; ``b""`` at a clean end. Raises `UpstreamFailure`, ``sent`` true."""
        decoder = self._decoder
        if decoder is None:
            return await self._receive()
        while True:
            while decoder.pending:
                try:
                    data = decoder.step()
                except zlib.error:
                    raise self._broken("sent a compressed body that is not valid") from None
                if data:
                    return data
            received = await self._receive()
            if received:
                decoder.push(received)
            elif decoder.finished:
                return b""
            else:
                raise self._broken("sent a compressed body that ends in the middle")

    async def read(self, limit: int) -> bytes:
        """The whole body, decoded. Raises `UpstreamFailure` as `chunk`, and ``too_large`` over ``limit`` bytes."""
        parts: list[bytes] = []
        size = 0
        if self._decoder is None and self._response.method != "HEAD" and self._response.status != 304:
            declared = int(self.headers.get("content-length", "0"))
            size = declared if declared > limit else 0
        try:
            while size <= limit and (data := await self.chunk()):
                parts.append(data)
                size += len(data)
        except BaseException:
            self.close()
            raise
        if size > limit:
            self.close()
            raise UpstreamFailure("too_large", f"{self._where} sent a body over {limit} bytes", sent=True)
        return b"".join(parts)

    def gather(self) -> None:
        """Aiohttp's client reads as it will."""

    def close(self) -> None:
        """Drop the connection unless the body was consumed (then aiohttp has it back already)."""
        self._response.close()

    async def _receive(self) -> bytes:
        if self._ended:
            return b""
        if self._response.closed and not self._response.content.is_eof():
            raise UpstreamFailure("reset", f"response of {self._where} was closed before its end", sent=True)
        now = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout_at(min(now + self._between, self._total_due)):
                data = await self._response.content.readany()
        except TimeoutError:
            self.close()
            late = now + self._between > self._total_due
            what = f"did not finish within {self._total:g} s in total"
            if not late:
                what = f"sent nothing for {self._between:g} s in the middle of its response"
            raise UpstreamFailure("timeout", f"{self._where} {what}", sent=True) from None
        except (aiohttp.ClientError, OSError) as error:
            self.close()
            _translate(error, self._where, sent=True)
        self._ended = not data
        if self._ended and self._until_close and self._reset:
            raise UpstreamFailure(
                "reset", f"{self._where} closed the connection in the middle of its response", sent=True
            )
        return data

    def _lost(self, closed: asyncio.Future[None] | None) -> None:
        # aiohttp takes a reset for the end of a body without length, and waits for ever after a malformed chunk.
        self._reset = closed is not None and not closed.cancelled() and closed.exception() is not None
        content = self._response.content
        if not content.is_eof() and content.exception() is None:
            content.set_exception(_MalformedBodyError())

    def _broken(self, what: str) -> UpstreamFailure:
        self.close()
        return UpstreamFailure("protocol", f"{self._where} {what}", sent=True)


class _MalformedBodyError(aiohttp.ClientError):
    """The connection ended although aiohttp neither saw the end of the body nor raised."""


class _Progress:
    """How far a request has come; moves its time bound on when the head goes out."""

    __slots__ = ("_bound", "_first_byte", "sent", "total_due")

    def __init__(self, bound: asyncio.Timeout, first_byte: float, total_due: float) -> None:
        self.sent = False
        self.total_due = total_due
        self._bound = bound
        self._first_byte = first_byte

    def head_goes_out(self) -> None:
        """From here on the upstream may bill."""
        self.sent = True
        if not self._bound.expired():
            now = asyncio.get_running_loop().time()
            self._bound.reschedule(min(now + self._first_byte, self.total_due))


async def _headers_sent(
    _session: aiohttp.ClientSession, context: SimpleNamespace, _params: aiohttp.TraceRequestHeadersSentParams
) -> None:
    progress: _Progress = context.trace_request_ctx
    progress.head_goes_out()


def _joined(headers: CIMultiDictProxy[str]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in headers.items():
        key = name.lower()
        joined[key] = f"{joined[key]}, {value}" if key in joined else value
    return joined


def _translate(error: Exception, where: str, *, sent: bool) -> NoReturn:
    # Messages of aiohttp can quote what was received, so only the kind of break is told.
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        reason = getattr(error, "certificate_error", None)
        what = "certificate not trusted" if reason is not None else "handshake failed"
        raise UpstreamFailure("tls", f"TLS with {where} failed: {what}", sent=False) from None
    if isinstance(error, aiohttp.ClientHttpProxyError):
        raise UpstreamFailure(
            "connect", f"cannot connect to {where}: the proxy answered {error.status}", sent=False
        ) from None
    if isinstance(error, aiohttp.ClientPayloadError | aiohttp.ServerDisconnectedError | OSError):
        if not sent:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise UpstreamFailure("connect", f"cannot connect to {where}: {reason}", sent=False) from None
        raise UpstreamFailure(
            "reset", f"{where} closed the connection before its response was complete", sent=True
        ) from None
    raise UpstreamFailure(
        "protocol", f"{where} sent a malformed response ({type(error).__name__})", sent=sent
    ) from None
