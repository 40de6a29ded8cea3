"""The HTTP server: sockets to `Call`s, `Reply`s to sockets, errors to bodies.

Belongs here: aiohttp, limits on what is read, the table of paths. Does not belong here: what a path does beyond
reading and writing (pipeline.py for prompts, api.py for the rest).
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import structlog
from aiohttp import web
from multidict import CIMultiDict

from router.adapters.http import connection as http_connection
from router.adapters.http.connection import DirectRequest, Server, body_stopped
from router.adapters.http.doors import stopping
from router.adapters.http.reply import SERVER, StreamedReply, WholeReply
from router.attempt import Headers
from router.core.access.rights import may, refused, right_of, takes_brought
from router.core.errors import RouterError
from router.dialects.anthropic import MESSAGES
from router.dialects.contract import Inbound
from router.dialects.openai.errors import error_body
from router.dialects.ways import INBOUND
from router.once import HEADER
from router.pipeline import Call, Pipeline

if TYPE_CHECKING:
    from router.ports import PartStream

Handler = Callable[[web.BaseRequest, str], Awaitable[web.StreamResponse]]
DIRECT_BYTES: Final = 1024 * 1024
"""Bodies up to this need not be read by aiohttp."""
KEEPALIVE_S: Final = 75.0
"""How long a connection may be silent, or take over the head of its next request."""
CLIENT_LEFT: Final = 499
"""nginx's number for a client that closed the connection before it was answered."""
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_PROMPTS: Final = frozenset(f"{inbound.root}{inbound.path}" for inbound in INBOUND.values())
_log = structlog.get_logger("router.http")


class HttpServer:
    """Answers requests by the table of paths.

    Args:
        pipeline: serves prompts.
        table: (method, path) to handler, beside the prompt endpoints.
        max_body: bytes of a request body, after decompression.
        direct_bytes: of a body up to which an ordinary prompt is read without aiohttp.
        serves: whether callers are answered; otherwise only who asks for health and metrics.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        table: dict[tuple[str, str], Handler],
        *,
        max_body: int,
        direct_bytes: int = DIRECT_BYTES,
        serves: bool = True,
    ) -> None:
        self._pipeline = pipeline
        self._max_body = max_body
        self._ids = itertools.count(1)
        self.cuts = False
        """Whether requests under way are told that they end here."""
        self._incarnation = f"req_{secrets.token_hex(6)}"
        prompts = {
            ("POST", f"{inbound.root}{inbound.path}"): partial(self._serve, inbound=inbound)
            for inbound in (INBOUND.values() if serves else ())
        }
        self._direct_bytes = direct_bytes
        self._table: dict[tuple[str, str], Handler] = {
            **prompts,
            **{
                endpoint: self._guarded(endpoint, handler)
                for endpoint, handler in table.items()
                if serves or right_of(*endpoint) == "public"
            },
        }
        self._paths = {path for _, path in self._table}
        self._patterns = [path.split("/") for path in self._paths if "*" in path]

    def protocol_factory(self) -> Server:
        """What the event loop's server calls for each connection."""
        return Server(
            self._handle,
            self._not_http,
            prompts=_PROMPTS,
            direct_bytes=self._direct_bytes,
            request_factory=self._request,
            access_log=None,
            keepalive_timeout=KEEPALIVE_S,
            max_line_size=16_384,
            max_field_size=16_384,
        )

    def _not_http(self, failure: BaseException | None) -> web.Response:
        request_id = self._next_id()
        message = f"The request is not valid HTTP/1.1: {type(failure).__name__}."
        response = error_response(RouterError("invalid_request", message), request_id)
        response.force_close()
        return response

    def _next_id(self) -> str:
        return f"{self._incarnation}{next(self._ids):08x}"

    def _request(self, message, payload, protocol, writer, task):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - aiohttp's private types
        loop = asyncio.get_running_loop()
        if protocol.closes:
            message = message._replace(should_close=True)
        return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=self._max_body)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        request_id = self._next_id()
        path = request.raw_path.partition("?")[0]
        try:
            handler = self._table.get((request.method, path)) or self._found(request.method, path)
            return await handler(request, request_id)
        except RouterError as error:
            return error_response(error, request_id, _shape(path))
        except ConnectionError:
            # Nobody is left to read this; raising it would make aiohttp log a traceback for every client that leaves.
            return web.Response(status=CLIENT_LEFT)
        except Exception as error:  # noqa: BLE001 - no traceback may reach a caller
            _log.exception("internal_error", request_id=request_id, path=path[:200], kind=type(error).__name__)
            return error_response(
                RouterError("internal_error", f"The router failed; its log has the reason under {request_id}."),
                request_id,
                _shape(path),
            )

    def _guarded(self, endpoint: tuple[str, str], handler: Handler) -> Handler:
        """The handler behind its right. The pipeline asks for that of prompts, beside what else it does with the key."""
        right = right_of(*endpoint)
        if right == "public":
            return handler

        async def guarded(request: web.BaseRequest, request_id: str) -> web.StreamResponse:
            if takes_brought(*endpoint):
                identity, _ = await self._pipeline.caller(request.headers)
            else:
                identity = await self._pipeline.authenticate(request.headers)
            if not may(identity.role, right):
                raise RouterError("not_allowed", refused(identity.role, right))
            return await handler(request, request_id)

        return guarded

    def _found(self, method: str, path: str) -> Handler:
        """The handler of a path that stands in the table with stars: each for one part of the path, or for all the rest
        in a model's name.
        """
        known = path if path in self._paths else self._pattern(path)
        handler = self._table.get((method, known))
        if handler is not None:
            return handler
        if known:
            allowed = ", ".join(sorted(m for m, p in self._table if p == known))
            message = f"{path[:200]} takes {allowed}, not {method[:16]}."
            raise RouterError("method_not_allowed", message, details={"allowed": allowed})
        raise RouterError("not_found", f"Nothing answers at {path[:200]}{_hint(path)}.")

    def _pattern(self, path: str) -> str:
        parts = path.split("/")
        for pattern in self._patterns:
            if len(pattern) == len(parts) and all(p in ("*", part) for p, part in zip(pattern, parts, strict=True)):
                return "/".join(pattern)
        return "/v1/models/*" if path.startswith("/v1/models/") else ""

    async def _serve(
        self, request: web.BaseRequest | DirectRequest, request_id: str, inbound: Inbound
    ) -> web.StreamResponse:
        def gone() -> bool:
            transport = request.transport
            return transport is None or transport.is_closing()

        def read() -> Awaitable[bytes]:
            return request.body() if isinstance(request, DirectRequest) else read_body(request, self._max_body)

        call = Call(api=inbound.api, headers=request.headers, read=read, request_id=request_id, gone=gone)
        key = request.headers.get(HEADER)
        once = None if key is None else self._pipeline.once
        try:
            reply = await (self._pipeline.serve(call) if key is None or once is None else once.serve(call, key))
        except RouterError as error:
            return error_response(error, request_id, inbound.error_body)
        except asyncio.CancelledError:
            if not self.cuts:
                raise
            return error_response(stopping(), request_id, inbound.error_body)
        if reply.status != 200:
            return web.Response(
                body=reply.body, status=reply.status, headers=CIMultiDict([*reply.headers, ("server", SERVER)])
            )
        if reply.stream is None:
            whole: Any = WholeReply(reply.headers, reply.body, reply.after)
            return whole  # type: ignore[no-any-return]  # what aiohttp and a connection ask of an answer
        return await self._send_stream(request, reply.headers, reply.body, reply.stream)

    async def _send_stream(
        self, request: web.BaseRequest | DirectRequest, headers: Headers, part: bytes, stream: PartStream
    ) -> web.StreamResponse:
        reply = StreamedReply(request, [*headers, ("cache-control", "no-cache")])
        try:
            while part:
                await reply.write(part)
                part = await stream.next_part()
            reply.end()
        except ConnectionError:
            self._pipeline.abandon(stream)
        except BaseException as failure:
            if self.cuts and isinstance(failure, asyncio.CancelledError):
                words = stream.cut(stopping())
                if words is None and request.transport is not None:
                    request.transport.close()
                reply.end_with(words or b"")
                self._pipeline.abandon(stream)
                return cast("web.StreamResponse", reply)
            self._pipeline.abandon(stream)
            # Another head must not follow in the middle of this body: cut off is the only honest end left.
            if reply.started and request.transport is not None:
                request.transport.close()
            raise
        return cast("web.StreamResponse", reply)


async def read_body(request: web.BaseRequest, limit: int) -> bytes:
    """The whole request body.

    Raises:
        RouterError: too large, unreadable, or silent for `BODY_IDLE_S`.
    """
    declared = request.content_length
    if declared is not None and declared > limit:
        raise _too_large(limit)
    try:
        if request.content.is_eof():
            return await request.read()
        if request.headers.get("expect", "").lower() == "100-continue":
            # curl waits a second for this before it sends more than a megabyte.
            await request.writer.write(_CONTINUE)
            request.writer.output_size = 0
        async with asyncio.timeout(None) as patience:
            loop = asyncio.get_running_loop()
            pieces = bytearray()
            while True:
                patience.reschedule(loop.time() + http_connection.BODY_IDLE_S)
                piece = await request.content.readany()
                if not piece:
                    return bytes(pieces)
                pieces += piece
                if len(pieces) > limit:
                    raise _too_large(limit)
    except web.HTTPRequestEntityTooLarge:
        raise _too_large(limit) from None
    except TimeoutError:
        raise body_stopped() from None
    except (web.HTTPException, web.RequestPayloadError, ValueError) as error:
        raise RouterError("invalid_request", f"The body could not be read: {type(error).__name__}.") from None


def error_response(
    error: RouterError, request_id: str, shape: Callable[[RouterError], bytes] = error_body
) -> web.Response:
    """An error as the caller's SDK expects it, its body in the shape of the dialect that was spoken."""
    headers: Headers = [
        ("content-type", "application/json"),
        ("server", SERVER),
        ("x-request-id", request_id),
        ("x-costrouter-request-id", request_id),
        ("x-should-retry", "true" if error.retryable else "false"),
    ]
    if error.retry_after_s is not None:
        headers.append(("retry-after", str(max(1, round(error.retry_after_s)))))
        headers.append(("retry-after-ms", str(round(error.retry_after_s * 1000))))
    headers += error.headers
    if error.attempts is not None:
        headers.append(("x-costrouter-attempts", str(error.attempts)))
    if error.code == "method_not_allowed":
        headers.append(("allow", str(error.details["allowed"])))
    if error.code == "invalid_api_key":
        headers.append(("www-authenticate", "Bearer"))
    return web.Response(body=shape(error), status=error.status, headers=CIMultiDict(headers))


def _shape(path: str) -> Callable[[RouterError], bytes]:
    """How an error is told at a path: as the SDK expects it that calls such paths."""
    return MESSAGES.error_body if MESSAGES.path in path else error_body


def _hint(path: str) -> str:
    if path.startswith("/v1/v1/"):
        return f": the base URL ends in /v1 and the SDK adds another; leave it out of the base URL, for {path[3:200]}"
    if f"/v1{path}" in _PROMPTS:
        return f": the base URL lacks /v1; prompts go to /v1{path}"
    return "; prompts go to /v1/chat/completions, /v1/messages and /v1/embeddings" if path == "/" else ""


def _too_large(limit: int) -> RouterError:
    return RouterError("request_too_large", f"The body is larger than {limit} bytes.")
