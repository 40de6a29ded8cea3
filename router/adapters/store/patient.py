"""Reading from a store that may be away for a moment.

Belongs here: asking again once it is back. Only for what may be asked twice. Does not belong here: reservations, which may not
(ledger/patience.py).
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from router.adapters.store.resp import StoreRefused
from router.ports import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from router.adapters.store.connection import StoreConnection
    from router.adapters.store.resp import Arg, Script


class Patient:
    """Calls that wait for the connection.

    Args:
        connection: to the store.
        wait_s: how long one call waits for it, in seconds; 0 for not at all.
    """

    __slots__ = ("_connection", "_wait_s", "_waiting")

    def __init__(self, connection: StoreConnection, wait_s: float) -> None:
        self._connection = connection
        self._wait_s = wait_s
        self._waiting: set[asyncio.Future[None]] = set()
        if wait_s:
            connection.on_connect.append(self._back)

    async def __call__(self, *command: Arg) -> Any:
        """A command's reply.

        Raises:
            StoreUnavailable: the store refuses, or has been away for ``wait_s``.
        """
        return await self._asked(lambda: self._connection.call(*command))

    async def script(self, script: Script, keys: Sequence[str], args: Sequence[Arg]) -> Any:
        """A script's reply; the script must do nothing a second time. Raises as a call."""
        return await self._asked(lambda: self._connection.script(script, keys, args))

    async def _asked(self, ask: Callable[[], asyncio.Future[Any]]) -> Any:
        until = 0.0
        while True:
            try:
                return await ask()
            except StoreUnavailable as failure:
                until = until or time.monotonic() + self._wait_s
                if isinstance(failure, StoreRefused) or not await self._comes_back(until - time.monotonic()):
                    raise

    async def _comes_back(self, bound_s: float) -> bool:
        if bound_s <= 0:
            return False
        back: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(back)
        try:
            async with asyncio.timeout(bound_s):
                await back
        except TimeoutError:
            return False
        finally:
            self._waiting.discard(back)
        return True

    def _back(self) -> None:
        for one in self._waiting:
            if not one.done():
                one.set_result(None)
