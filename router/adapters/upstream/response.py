"""A response of the raw client: its head, and the body's bytes between the connection and whoever reads them.

Belongs here: buffering, joining, decoding, the failure that ends a body. Does not belong here: parsing and sockets.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Protocol

from router.adapters.upstream.decoding import Decoder, take_decoder
from router.ports import UpstreamFailure, UpstreamFault

if TYPE_CHECKING:
    import asyncio


class Flow(Protocol):
    """What a response needs of its connection while the body is still coming."""

    def resume(self) -> None:
        """The buffer is empty again: read on."""

    def drop(self) -> None:
        """Nobody wants the rest."""


class RawResponse:
    """Filled by the connection, read through the port's methods (`router.ports.UpstreamResponse`)."""

    __slots__ = (
        "_decoder",
        "_failure",
        "_flow",
        "_label",
        "_loop",
        "_pieces",
        "_waiter",
        "buffered",
        "declared",
        "ended",
        "gathers",
        "headers",
        "status",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, flow: Flow, label: str) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.buffered = 0
        """Bytes that arrived and were not taken yet, as they came (not decoded)."""
        self.declared = 0
        """Content-Length of a body that is passed on as it comes; 0 where unknown."""
        self.ended = False
        """The whole body arrived."""
        self.gathers = False
        """Whether pieces that come in quick succession may be read together."""
        self._loop = loop
        self._flow: Flow | None = flow
        self._label = label
        self._pieces: list[bytes] = []
        self._decoder: Decoder | None = None
        self._failure: tuple[UpstreamFault, str] | None = None
        self._waiter: asyncio.Future[None] | None = None

    # The connection's side.

    def head_done(self) -> None:
        """Status and headers are complete."""
        self._decoder = take_decoder(self.headers)
        if self._decoder is None and "content-length" in self.headers:
            self.declared = int(self.headers["content-length"])

    def feed(self, data: bytes) -> None:
        """A piece of the body. Whoever waits is woken by `wake`, once per read of the socket."""
        self._pieces.append(data)
        self.buffered += len(data)

    def wake(self) -> None:
        """Something changed: let the waiting reader look again."""
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def end(self) -> None:
        """The body is complete; the connection has nothing to do with it any more."""
        self.ended = True
        self._flow = None
        self.wake()

    def fail(self, fault: UpstreamFault, message: str) -> None:
        """The exchange broke. What arrived before can still be taken; then `UpstreamFailure` is raised."""
        if self._failure is None and not self.ended:
            self._failure = (fault, message)
        self._flow = None
        self.wake()

    # The reader's side.

    async def arrival(self) -> None:
        """Return once the head is complete.

        Raises:
            UpstreamFailure: the exchange broke before that.
            asyncio.CancelledError: the connection has been dropped.
        """
        try:
            while not self.status and self._failure is None:
                await self._wait()
        except BaseException:
            self.close()
            raise
        if not self.status:
            raise self._broken()

    async def chunk(self) -> bytes:
        """The next bytes, decoded, everything that is here joined; ``b""`` at a clean end.

        Raises:
            UpstreamFailure: reset, timeout or malformed body; always with ``sent`` true.
        """
        while True:
            if self._decoder is not None and self._decoder.pending:
                if data := self._decode(self._decoder):
                    return data
            elif self._pieces:
                data = self._take()
                if self._decoder is None:
                    return data
                self._decoder.push(data)
            elif self._failure is not None:
                raise self._broken()
            elif self.ended:
                if self._decoder is not None and not self._decoder.finished:
                    raise self._undecodable("ends in the middle")
                return b""
            else:
                await self._wait()

    async def read(self, limit: int) -> bytes:
        """The whole body, decoded.

        Raises:
            UpstreamFailure: as `chunk`, and ``too_large`` over ``limit`` bytes.
        """
        if self.ended and self._decoder is None and self.buffered <= limit and self._failure is None:
            return self._take()
        if self.declared > limit:
            raise self._too_large(limit)
        parts: list[bytes] = []
        size = 0
        try:
            while size <= limit and (data := await self.chunk()):
                parts.append(data)
                size += len(data)
        except BaseException:
            self.close()
            raise
        if size > limit:
            raise self._too_large(limit)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def gather(self) -> None:
        """From now on, what arrives in quick succession is read together."""
        self.gathers = True

    def close(self) -> None:
        """Drop the connection unless the body has arrived (then it is back in the pool already)."""
        flow = self._flow
        if flow is not None or self._pieces:
            self._failure = self._failure or ("reset", f"response of {self._label} was closed before its end")
        self._pieces.clear()
        self.buffered = 0
        if flow is not None:
            self._flow = None
            self.wake()
            flow.drop()

    def _take(self) -> bytes:
        pieces = self._pieces
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self.buffered = 0
        if self._flow is not None:
            self._flow.resume()
        return data

    def _decode(self, decoder: Decoder) -> bytes:
        try:
            return decoder.step()
        except zlib.error:
            # zlib's own words can quote nothing of the body, but they add nothing either.
            raise self._undecodable("is not valid") from None

    def _too_large(self, limit: int) -> UpstreamFailure:
        self.close()
        return UpstreamFailure("too_large", f"{self._label} sent a body over {limit} bytes", sent=True)

    def _undecodable(self, how: str) -> UpstreamFailure:
        self.close()
        return UpstreamFailure("protocol", f"{self._label} sent a compressed body that {how}", sent=True)

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        await self._waiter

    def _broken(self) -> UpstreamFailure:
        fault, message = self._failure or ("reset", f"{self._label} broke off")
        return UpstreamFailure(fault, message, sent=True)
