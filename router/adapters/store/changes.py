"""What workers tell each other at once: that a key, a budget or a limit is no longer what it was.

Belongs here: telling, and waiting to be told. Does not belong here: what a change means (keys.py, ledger/budgets.py), which
also look for changes by themselves: what is told here only makes it quicker.

A stream that every worker waits on, rather than a channel: what came while a connection was made anew is read after it, and
in a cluster it lies on one node like any other key.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import structlog

from router.ports import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from router.adapters.store.connection import StoreConnection

CHANGES: Final = "cr:{@}:changes"
KEPT: Final = 1_000
"""Changes that stay in the stream. Whoever misses more finds out by asking."""
BLOCK_MS: Final = 5_000
WAIT_S: Final = 8.0
"""For the connection that waits: more than `BLOCK_MS`."""
PAUSE_S: Final = 0.2
_log: Final = structlog.get_logger(__name__)


class Changes:
    """Tells of changes, and hears of those of all workers, its own among them.

    Args:
        connection: for telling.
    """

    def __init__(self, connection: StoreConnection) -> None:
        self._connection = connection
        self.on: dict[str, Callable[[str], Awaitable[None] | None]] = {}
        """By kind: who hears what has changed."""

    def tell(self, kind: str, what: str = "") -> None:
        """Tell every worker. Never blocks, never raises; what does not arrive is found out later."""
        try:
            told = self._connection.call("XADD", CHANGES, "MAXLEN", "~", KEPT, "*", kind, what)
        except StoreUnavailable:
            return
        told.add_done_callback(_ended)

    async def hear(self, waiting: StoreConnection) -> None:
        """Hand on what is told from now on, until cancelled.

        Args:
            waiting: a connection of its own, since it is mostly waiting; `WAIT_S` bounds its calls.
        """
        last = ""
        while True:
            try:
                last = last or await _newest(waiting)
                found = await waiting.call("XREAD", "COUNT", 100, "BLOCK", BLOCK_MS, "STREAMS", CHANGES, last)
                for entry, fields in found[0][1] if found else ():
                    last = entry.decode()
                    for kind, what in zip(fields[::2], fields[1::2], strict=True):
                        await self._hand_on(kind.decode(), what.decode())
            except StoreUnavailable:
                await asyncio.sleep(PAUSE_S)  # what is told meanwhile is read afterwards

    async def _hand_on(self, kind: str, what: str) -> None:
        hears = self.on.get(kind)
        try:
            waited = None if hears is None else hears(what)
            if waited is not None:
                await waited
        except StoreUnavailable:
            pass  # whoever hears it looks for changes by themselves too
        except Exception as error:  # noqa: BLE001 - one change that nobody can deal with must not end the hearing
            _log.exception("change_failed", kind=kind, error=type(error).__name__)


async def _newest(connection: StoreConnection) -> str:
    entries = await connection.call("XREVRANGE", CHANGES, "+", "-", "COUNT", 1)
    return entries[0][0].decode() if entries else "0"


def _ended(told: asyncio.Future[Any]) -> None:
    if not told.cancelled():
        told.exception()
