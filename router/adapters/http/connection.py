"""One caller's connection: aiohttp's, with a shorter way for ordinary prompts.

Belongs here: whose turn it is to read the socket, and what becomes of a connection between requests. Does not belong
here: what is answered (server.py), and how (reply.py).

A connection on which only ordinary POSTs to prompt endpoints come (`head.py`) is read and answered without aiohttp's
request, its two tasks and its writer, which together cost as much as deciding, holding and metering. At the first bytes
of any other kind aiohttp takes over, for as long as the connection lives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, cast

import structlog
from aiohttp import HttpVersion11, web

from router.adapters.http.head import Head, Heads
from router.adapters.http.reply import WholeReply
from router.core.errors import RouterError

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

BODY_IDLE_S: Final = 30.0
"""Longest silence within a request body."""
LINGER_S: Final = 10.0
"""How long the rest of a body that nobody wants may take: closing at once could take the answer with it."""
LATE_BYTES: Final = 64 * 1024
"""Of further requests that come before the first is answered; then the socket waits."""
_log = structlog.get_logger("router.http")

Handle = Callable[[Any], Awaitable[web.StreamResponse]]
NotHttp = Callable[[BaseException | None], web.StreamResponse]


class DirectRequest:
    """An ordinary POST whose body is here, or on its way. Has what `HttpServer` asks of a web.BaseRequest.

    Args:
        connection: on which it came.
        head: its head.
        body: what has come of its body.
    """

    __slots__ = ("_connection", "_news", "_pieces", "headers", "keep_alive", "missing", "raw_path", "writer")

    method: Final = "POST"
    version: Final = HttpVersion11

    def __init__(self, connection: Connection, head: Head, body: bytes) -> None:
        self._connection = connection
        self._pieces = [body]
        self._news: asyncio.Future[None] | None = None
        self.headers = head.headers
        self.keep_alive = head.keep_alive
        self.raw_path = head.path
        self.writer = connection
        self.missing = head.body_bytes - len(body)
        """Bytes of the body that have not come."""

    @property
    def transport(self) -> asyncio.Transport | None:
        """None once the caller has gone."""
        return self._connection.transport

    def feed(self, data: bytes) -> bytes:
        """Take what belongs to the body; gives back what comes behind it."""
        piece, rest = data[: self.missing], data[self.missing :]
        self.missing -= len(piece)
        self._pieces.append(piece)
        self.wake()
        return rest

    def wake(self) -> None:
        """Something has come, or nothing will come any more."""
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    async def body(self) -> bytes:
        """The whole of it.

        Raises:
            RouterError: silent for `BODY_IDLE_S`.
            ConnectionResetError: the caller has gone.
        """
        while self.missing:
            if self.transport is None:
                raise ConnectionResetError("the client has gone")
            self._news = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(BODY_IDLE_S):
                    await self._news
            except TimeoutError:
                raise body_stopped() from None
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)


def body_stopped() -> RouterError:
    """A body of which nothing came for too long."""
    return RouterError("request_timeout", f"The body stopped arriving for {BODY_IDLE_S:.0f} s.")


class Connection(web.RequestHandler):
    """aiohttp's, but for the shorter way, for what it answers to bytes that are not HTTP (an error in our shape and no
    traceback in the log), and when the server stops: the body of a request under way still arrives.
    """

    def __init__(self, server: Server, **options: Any) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **options)
        self._server = server
        self._direct = True
        """Until something else than an ordinary prompt comes."""
        self._under_way: DirectRequest | None = None
        self._answering: asyncio.Task[None] | None = None
        self._lingering: asyncio.TimerHandle | None = None
        self._late = b""

    def data_received(self, data: bytes) -> None:
        """To the request under way, to a new one, or to aiohttp."""
        if self._under_way is not None:
            self._more(self._under_way, data)
        elif self._direct and not (self._close or self._force_close):
            head = self._server.heads.read(data)
            if head is not None and head.path in self._server.prompts and head.body_bytes <= self._server.direct_bytes:
                self._begin(head, data)
            else:
                self._direct = False
                super().data_received(data)
        elif self._close and self._awaits_body():
            # Aiohttp drops what comes once the server stops: a caller whose body is on its way would hang.
            self._close = False
            try:
                super().data_received(data)
            finally:
                self._close = True
        else:
            super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Whoever answers learns of it when they next read or write."""
        super().connection_lost(exc)
        if self._lingering is not None:
            self._lingering.cancel()
        if self._under_way is not None:
            self._under_way.wake()

    def close(self) -> None:
        """Take no further request; one under way is answered first."""
        if self._under_way is None:
            super().close()
        else:
            self._close = True

    def call_off(self) -> None:
        """Let whoever answers a request under way know that they must come to an end now."""
        task = self._task_handler if self._answering is None or self._answering.done() else self._answering
        if self._request_in_progress and task is not None:
            task.cancel()

    @property
    def closes(self) -> bool:
        """Whether it is to end with its next answer."""
        return self._server.closes

    @property
    def busy(self) -> bool:
        """Whether a request is under way."""
        return bool(self._request_in_progress)

    async def shutdown(self, timeout: float | None = 15.0) -> None:  # noqa: ASYNC109 - aiohttp's signature
        """As aiohttp's: wait for the answer so long, then call it off."""
        task = self._answering
        if task is not None and not task.done():
            _, late = await asyncio.wait([task], timeout=timeout)
            if late:
                task.cancel()
                await asyncio.wait([task], timeout=timeout)
        super().close()
        await super().shutdown(timeout)

    async def drain(self) -> None:
        """Wait for a reader that is slow."""
        await self._drain_helper()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Called for what could not be parsed (400), and by aiohttp for what went wrong within it."""
        if status >= 500 or request.writer.output_size:
            return super().handle_error(request, status, exc, message)
        return self._server.not_http(exc)

    def _begin(self, head: Head, data: bytes) -> None:
        end = head.size + head.body_bytes
        request = self._under_way = DirectRequest(self, head, data[head.size : end])
        if self._server.closes:
            request.keep_alive = False
        self._request_in_progress = True
        self._server.requests_count += 1
        self._answering = self._loop.create_task(self._answer(request))
        if len(data) > end:
            self._keep(data[end:])

    def _more(self, request: DirectRequest, data: bytes) -> None:
        rest = request.feed(data)
        if rest:
            self._keep(rest)
        if self._lingering is not None and not request.missing:
            self._lingering.cancel()
            self._lingering = None
            self._ready()

    def _keep(self, rest: bytes) -> None:
        self._late += rest
        if len(self._late) > LATE_BYTES and not self._buffer_paused:
            self._pause_reading_for_buffer()

    async def _answer(self, request: DirectRequest) -> None:
        keep = False
        try:
            response: Any = await self._server.handle(request)
            if response.__class__ is not WholeReply and isinstance(response, web.Response):
                response = whole(response)
            # Neither looks for more in it than a DirectRequest has.
            likeness: Any = request
            await response.prepare(likeness)
            await response.write_eof()
            keep = bool(response.keep_alive) and request.keep_alive
        except ConnectionError:
            pass  # nobody is left to tell
        except Exception as error:  # noqa: BLE001 - a flaw of ours must not leave the connection open and silent
            _log.exception("internal_error", kind=type(error).__name__)
        finally:
            self._answered(request, keep=keep)

    def _answered(self, request: DirectRequest, *, keep: bool) -> None:
        self._request_in_progress = False
        if self._handler_waiter is not None and not self._handler_waiter.done():
            self._handler_waiter.set_result(None)
        if not keep or self._close or self._force_close or self.transport is None:
            self._under_way = None
            super().close()
            if self.transport is not None:
                self.transport.close()
        elif request.missing:
            self._lingering = self._loop.call_later(LINGER_S, self.force_close)
        else:
            self._ready()

    def _ready(self) -> None:
        """For the next request."""
        self._under_way = None
        self._wait_for_more()
        if self._late:
            late, self._late = self._late, b""
            if self._buffer_paused:
                self._resume_reading_for_buffer()
            self.data_received(late)

    def _wait_for_more(self) -> None:
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(self._next_keepalive_close_time, self._process_keepalive)

    def _process_keepalive(self) -> None:
        if self._under_way is not None:
            self._keepalive_handle = None
            self._wait_for_more()
        else:
            super()._process_keepalive()

    def _awaits_body(self) -> bool:
        if self._messages:
            return not self._messages[-1][1].is_eof()
        return self._current_request is not None and not self._current_request.content.is_eof()


def whole(response: web.Response) -> web.StreamResponse:
    """The same answer without what aiohttp needs of a request."""
    body = response.body
    headers = [(name.lower(), value) for name, value in response.headers.items() if name.lower() != "content-length"]
    content = bytes(body) if isinstance(body, (bytes, bytearray)) else b""
    return cast("web.StreamResponse", WholeReply(headers, content, status=response.status))


class Server(web.Server):
    """aiohttp's, with our kind of connection.

    Args:
        handle: answers a request; its errors are answers.
        not_http: answers what is not HTTP.
        prompts: paths whose ordinary POSTs take the shorter way; their handlers look for no more in a request than a
            `DirectRequest` has.
        direct_bytes: of a body; larger ones are left to aiohttp.
        request_factory: makes aiohttp's requests.
        options: aiohttp's, for a connection.
    """

    def __init__(
        self,
        handle: Handle,
        not_http: NotHttp,
        *,
        prompts: AbstractSet[str],
        direct_bytes: int,
        request_factory: Any,
        **options: Any,
    ) -> None:
        super().__init__(handle, request_factory=request_factory)
        self.handle = handle
        self.not_http = not_http
        self.prompts = prompts
        self.direct_bytes = direct_bytes
        self.closes = False
        """Whether each connection is to end with its next answer."""
        self.heads = Heads()
        self._options = options

    def __call__(self) -> web.RequestHandler:
        """What answers a new connection."""
        return Connection(self, **self._options)
