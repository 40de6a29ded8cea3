"""When to look at each tenant's jobs: at once where something has come in, when the next thing is due, and now and then.

Belongs here: the times, and listening for news. Does not belong here: looking (broker.py).

Whoever hands in work says so in one stream of the fleet's, on which every broker waits. Nothing hangs on a message: what
nobody heard of is found by the look that comes of itself.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from router.adapters.jobs.news import LISTEN_MS, NEWS
from router.ports import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from router.adapters.store.connection import StoreConnection

BUSY_MS: Final = 5_000
"""A tenant who has jobs is looked at so often at least."""
IDLE_MS: Final = 60_000
"""One who has none."""
LEAST_S: Final = 0.01
MOST_S: Final = 5.0
_AGAIN_S: Final = 1.0


class Rota:
    """One broker's times.

    Args:
        listening: a connection that is used for nothing else.
        pace: how much faster than real time the providers' clocks run.
    """

    def __init__(self, listening: StoreConnection, pace: float) -> None:
        self._listening = listening
        self._pace = min(pace, 10)
        self._at: dict[str, float] = {}
        self._woken = asyncio.Event()

    def know(self, tenants: Iterable[str]) -> None:
        """These tenants have had jobs."""
        for tenant in tenants:
            self._at.setdefault(tenant, 0)

    def at_once(self, tenant: str = "") -> None:
        """Have a tenant looked at, or whatever is due."""
        if tenant:
            self._at[tenant] = 0
        self._woken.set()

    def due(self, now_ms: int) -> list[str]:
        """Who is to be looked at now. Each is put off by the usual time."""
        found = [tenant for tenant, at in self._at.items() if at <= now_ms]
        for tenant in found:
            self._at[tenant] = now_ms + BUSY_MS / self._pace
        return found

    def looked(self, tenant: str, now_ms: int, next_ms: int | None, *, queued: bool) -> None:
        """What a look has shown: when something is due next, and whether lines lie on the queue, taken up or not."""
        if self._at.get(tenant, 0) <= now_ms:
            return  # news came meanwhile
        if next_ms is None and not queued:
            self._at[tenant] = now_ms + IDLE_MS / self._pace
        elif next_ms is not None:
            self._at[tenant] = min(self._at[tenant], max(next_ms, now_ms))

    async def rest(self, now_ms: int, most_s: float = MOST_S) -> None:
        """Until somebody is due, or there is news."""
        first = min(self._at.values(), default=now_ms + MOST_S * 1000)
        try:
            async with asyncio.timeout(min(most_s, max(LEAST_S, (first - now_ms) / 1000))):
                await self._woken.wait()
        except TimeoutError:
            return
        self._woken.clear()

    async def listen(self) -> None:
        """Until cancelled: have looked at whom there is news of."""
        after = "$"
        while True:
            try:
                found = await self._listening.call("XREAD", "COUNT", 100, "BLOCK", LISTEN_MS, "STREAMS", NEWS, after)
            except StoreUnavailable:
                after = "$"
                await asyncio.sleep(_AGAIN_S)
                for tenant in list(self._at):
                    self.at_once(tenant)  # what was said meanwhile was not heard
                continue
            for entry, fields in found[0][1] if found else ():
                after = entry.decode()
                self.at_once(fields[1].decode())
