"""The upstream client of the hot path: HTTP/1.1 over pooled connections, httptools parsing, nothing more than needed.

Belongs here: the port's methods, and finding the pool of an origin. Does not belong here: retries, provider errors.
Cost: about 16 µs of CPU a request, where a general client takes 117; see benchmarks/upstream_client.py.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from router.adapters.trust import trusted
from router.adapters.upstream.pool import Pool
from router.adapters.upstream.request import HeadWriter, label
from router.ports import Origin, UpstreamFailure, UpstreamRequest

if TYPE_CHECKING:
    import ssl

    from router.adapters.upstream.response import RawResponse


class RawUpstream:
    """Implements `router.ports.Upstream`. Belongs to the loop that it is first used on.

    Redirects are not followed and nothing is retried: a request is written once, to a connection that was good at
    that moment. Not for use behind an HTTP proxy; `router.adapters.upstream.behind_proxy` is.

    Args:
        ssl_context: for https origins; the system's trust store with verification when None.
        max_connections_per_origin: bound on connections per scheme, host and port. Further requests wait in line, which
            counts as connecting.
        keepalive_s: seconds after which an idle connection is closed; less where the upstream says so.
        max_idle: idle connections kept per origin.
    """

    def __init__(
        self,
        ssl_context: ssl.SSLContext | None = None,
        *,
        max_connections_per_origin: int = 1024,
        keepalive_s: float = 55.0,
        max_idle: int = 256,
    ) -> None:
        self._tls = ssl_context
        self._size = max_connections_per_origin
        self._keepalive_s = keepalive_s
        self._max_idle = max_idle
        self._pools: dict[tuple[str, str, int], Pool] = {}
        self._known: dict[Origin, tuple[Pool, HeadWriter]] = {}
        self._closed = False

    async def send(self, request: UpstreamRequest) -> RawResponse:
        """Write the request and return once the response's head is here.

        Raises:
            UpstreamFailure: see `router.ports.UpstreamFault`; ``sent`` is true from the first write on.
        """
        origin = request.origin
        pool, writer = self._known.get(origin) or self._introduce(origin)
        began = pool.now()
        head = writer.head(request)
        timeouts = request.timeouts
        connection = pool.take_idle() or await pool.take(min(timeouts.connect, timeouts.total))
        response = connection.start(head, request.body, timeouts, began, bodiless=request.method == "HEAD")
        await response.arrival()
        return response

    async def close(self) -> None:
        """Drop every connection, those of running exchanges too. Later sends fail."""
        self._closed = True
        for pool in self._pools.values():
            await pool.close()

    def _introduce(self, origin: Origin) -> tuple[Pool, HeadWriter]:
        key = (origin.scheme, origin.host, origin.port)
        pool = self._pools.get(key)
        if pool is None:
            if self._closed:
                raise UpstreamFailure("connect", f"the client of {label(origin)} has been closed", sent=False)
            pool = self._pools[key] = Pool(
                asyncio.get_running_loop(),
                origin.host,
                origin.port,
                (self._tls or trusted()) if origin.scheme == "https" else None,
                label=label(origin),
                size=self._size,
                max_idle=self._max_idle,
                keepalive_s=self._keepalive_s,
            )
        known = self._known[origin] = (pool, HeadWriter(origin))
        return known
