"""The connections to one origin: which one a request gets, who waits, and how many there may be.

Belongs here: taking, making and giving back connections. Does not belong here: what travels over them.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque

from router.adapters.upstream.connection import Connection
from router.ports import UpstreamFailure


class Pool:
    """Connections of one (scheme, host, port), the latest used first, with a bound on their number.

    A place in the pool is membership in `connections`, taken before connecting and kept until the connection is
    lost. Whoever finds the pool full waits in line and is handed a connection, idle or yet to be made.

    Args:
        loop: the running loop.
        host: name or address to connect to.
        port: port to connect to.
        tls: context of an https origin, None for plain text.
        label: names the origin in messages.
        size: most connections at a time.
        max_idle: most connections kept idle.
        keepalive_s: seconds after which an idle connection is closed.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
        *,
        label: str,
        size: int,
        max_idle: int,
        keepalive_s: float,
    ) -> None:
        self.label = label
        self.keepalive_s = keepalive_s
        self.connections: set[Connection] = set()
        self.idle: list[Connection] = []
        self.now = loop.time
        self._loop = loop
        self._host = host
        self._port = port
        self._tls = tls
        self._size = size
        self._max_idle = max_idle
        self._waiters: deque[asyncio.Future[Connection]] = deque()
        self._closed = False
        self._emptied: asyncio.Future[None] | None = None

    def take_idle(self) -> Connection | None:
        """The connection used last, if it is still good."""
        idle = self.idle
        while idle:
            connection = idle.pop()
            if connection.is_usable:
                return connection
        return None

    async def take(self, within: float) -> Connection:
        """An idle connection, a new one, or the next that becomes free.

        Args:
            within: seconds for waiting, connecting and the TLS handshake together.

        Raises:
            UpstreamFailure: ``timeout``, ``connect`` or ``tls``; never sent.
        """
        try:
            async with asyncio.timeout(within):
                while True:
                    connection = self.take_idle() or await self._place()
                    if connection.is_new:
                        await self._connect(connection)
                    if connection.is_usable:
                        return connection
        except TimeoutError:
            raise UpstreamFailure("timeout", f"no connection to {self.label} within {within:g} s", sent=False) from None

    def released(self, connection: Connection) -> None:
        """Hand the connection to the first in line, or keep it."""
        if self._hand_over(connection):
            return
        if self._closed or len(self.idle) >= self._max_idle:
            connection.drop()
        else:
            self.idle.append(connection)

    def lost(self, connection: Connection) -> None:
        """Free the connection's place; the first in line gets it. Safe to call twice."""
        if connection not in self.connections:
            return
        self.connections.remove(connection)
        if connection in self.idle:
            self.idle.remove(connection)
        if self._waiters:
            self._hand_over(self._new())
        elif self._emptied is not None and not self.connections and not self._emptied.done():
            self._emptied.set_result(None)

    async def close(self) -> None:
        """Drop every connection, turn away whoever waits, and return once the sockets are closed."""
        self._closed = True
        failure = self._turned_away()
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(failure)
        for connection in tuple(self.connections):
            if connection.is_new:
                self.connections.remove(connection)  # `_connect` drops it once it stands
            connection.fail("reset", failure.message)
        # Transports tell of their end on a later turn of the loop; a loop that stops before would leak sockets.
        if self.connections:
            self._emptied = self._loop.create_future()
            await self._emptied

    def _new(self) -> Connection:
        connection = Connection(self._loop, self)
        self.connections.add(connection)
        return connection

    def _hand_over(self, connection: Connection) -> bool:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return True
        if connection.is_new:
            self.connections.discard(connection)
        return False

    async def _place(self) -> Connection:
        if self._closed:
            raise self._turned_away()
        if len(self.connections) < self._size:
            return self._new()
        waiter: asyncio.Future[Connection] = self._loop.create_future()
        self._waiters.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._give_up(waiter.result())
            raise

    def _turned_away(self) -> UpstreamFailure:
        return UpstreamFailure("connect", f"the client of {self.label} has been closed", sent=False)

    def _give_up(self, connection: Connection) -> None:
        if connection.is_new:
            self.lost(connection)
        elif connection.is_usable:
            self.released(connection)

    async def _connect(self, connection: Connection) -> None:
        try:
            await self._loop.create_connection(
                lambda: connection,
                self._host,
                self._port,
                ssl=self._tls,
                server_hostname=self._host if self._tls is not None else None,
            )
        except BaseException as error:
            connection.drop()
            self.lost(connection)
            if isinstance(error, ssl.SSLError):
                raise UpstreamFailure(
                    "tls", f"TLS with {self.label} failed: {_tls_reason(error)}", sent=False
                ) from None
            if isinstance(error, OSError | UnicodeError):
                reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
                raise UpstreamFailure("connect", f"cannot connect to {self.label}: {reason}", sent=False) from None
            raise
        if self._closed:
            connection.drop()


def _tls_reason(error: ssl.SSLError) -> str:
    """OpenSSL's reason, and for certificates why they were not trusted."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not trusted ({error.verify_message})"
    return error.reason or type(error).__name__
