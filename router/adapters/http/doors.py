"""How a worker stops serving: whom it still answers, how long, and what the others are told.

Belongs here: the order in which listening, idle connections and requests under way end. Does not belong here: answering
(server.py), and what a worker does once nobody is served any more (app.py).

A worker that is *replaced* stops accepting at once, for its successor accepts from the same socket. Connections it has
may still bring a request; each is answered and then closed, so that no caller writes to a connection that is closed under
its hands. A worker that *stops* may linger first: it serves, but says to load balancers that it is leaving.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from router.adapters.http.connection import Connection
from router.core.errors import RouterError

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.adapters.http.connection import Server
    from router.adapters.http.server import HttpServer

POLL_S: Final = 0.02
IDLE_S: Final = 6.0
"""How long a replaced worker waits for requests on connections that it has. HTTP clients that pool connections (httpx, and
with it the SDKs) throw away what was idle for 5 s, so after this nobody writes to one any more."""
WORDS_S: Final = 0.5
"""How long requests that are called off may take to say so."""
CANCEL_S: Final = 1.0
"""What aiohttp's shutdown then waits, twice, for those that did not."""
CLOSE_S: Final = WORDS_S + 2 * CANCEL_S
"""All that `Doors.closed` may take beyond what it was given."""


def stopping() -> RouterError:
    """What is said to callers whose answer cannot be finished."""
    return RouterError("node_stopping", "This node is stopping, so the answer ends here; try again.", retry_after_s=1)


class Doors:
    """A worker's way out.

    Args:
        server: what answers.
        handlers: its connections.
        listening: where it accepts.
        down: to be told why the node takes no more.
    """

    def __init__(
        self, server: HttpServer, handlers: Server, listening: asyncio.Server, down: Callable[[str], None]
    ) -> None:
        self._server = server
        self._handlers = handlers
        self._listening = listening
        self._down = down

    async def closed(self, stop: asyncio.Event, replaced: asyncio.Event, *, linger_s: float, drain_s: float) -> None:
        """Return once nobody is served any more, after ``stop`` or ``replaced``.

        Args:
            stop: set when the worker should stop.
            replaced: set when another has taken its place.
            linger_s: how long it serves on after it was told to stop, in seconds.
            drain_s: how long requests under way may take after that, in seconds.
        """
        waits = [asyncio.ensure_future(event.wait()) for event in (stop, replaced)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        self._handlers.closes = True
        if stop.is_set():
            self._down("the node is stopping")
            await asyncio.sleep(linger_s)
            self._listening.close()
        else:
            self._listening.close()
            await self._emptied(stop, IDLE_S)
        await self._drained(drain_s)

    async def _emptied(self, stop: asyncio.Event, bound_s: float) -> None:
        loop = asyncio.get_running_loop()
        bound = loop.time() + bound_s
        while self._handlers.connections and loop.time() < bound and not stop.is_set():  # noqa: ASYNC110 - three things are waited for
            await asyncio.sleep(POLL_S)

    async def _drained(self, bound_s: float) -> None:
        """Let requests under way end; cancel those that have not after ``bound_s`` seconds."""
        self._handlers.pre_shutdown()
        await self._quiet(bound_s)
        # Whoever is still served is told so before their connection ends: aiohttp's own shutdown would only cut it.
        self._server.cuts = True
        for connection in self._connections():
            connection.call_off()
        await self._quiet(WORDS_S)
        await self._handlers.shutdown(CANCEL_S)
        # Cancelled handlers hand their streams to the pipeline, once it is their turn.
        await asyncio.sleep(POLL_S)

    async def _quiet(self, bound_s: float) -> None:
        loop = asyncio.get_running_loop()
        bound = loop.time() + bound_s
        while loop.time() < bound and any(connection.busy for connection in self._connections()):  # noqa: ASYNC110 - as above
            await asyncio.sleep(POLL_S)

    def _connections(self) -> list[Connection]:
        return [connection for connection in self._handlers.connections if isinstance(connection, Connection)]
