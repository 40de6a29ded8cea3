"""News of jobs between processes: that there is something to do for a tenant, and that a job has its end.

Belongs here: two streams of the fleet's, what is said in them, and waiting for an end. Does not belong here: listening for
what there is to do (broker/rota.py), and states (store.py).

    cr:{@}:jobnews   stream  whose jobs have something new, for brokers that wait
    cr:{@}:jobends   stream  jobs that have their end, for connections that are held for them

Nothing hangs on a message: brokers look of themselves now and then, and so do those who wait for an end.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final, TypeVar

from router.ports import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    from router.adapters.store.connection import StoreConnection

NEWS: Final = "cr:{@}:jobnews"
ENDS: Final = "cr:{@}:jobends"
LISTEN_MS: Final = 4_000
"""How long the store keeps a listener waiting, at most; less than the connection's bound on a call."""
LOOK_S: Final = 5.0
"""Who waits for an end looks of himself after so long."""
_KEPT: Final = 1_000
_AGAIN_S: Final = 1.0
_T = TypeVar("_T")


async def tell_news(connection: StoreConnection, tenant: str) -> None:
    """There is something new to do: a hint, so nothing is lost with it."""
    with contextlib.suppress(StoreUnavailable):
        await connection.call("XADD", NEWS, "MAXLEN", "~", 500, "*", "t", tenant)


async def tell_ends(connection: StoreConnection, jobs: Iterable[str]) -> None:
    """These jobs have their end: a hint as well."""
    with contextlib.suppress(StoreUnavailable):
        for job in jobs:
            await connection.call("XADD", ENDS, "MAXLEN", "~", _KEPT, "*", "j", job)


class Awaited:
    """One who waits for a job's end."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def told(self) -> None:
        """It may have come."""
        self._event.set()

    async def news(self, most_s: float = LOOK_S) -> bool:
        """Wait for news, so long at most; whether there is any."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(most_s):
                await self._event.wait()
        told = self._event.is_set()
        self._event.clear()
        return told


class Endings:
    """Ends of jobs, as one process hears of them: one reader for all who wait, and none while nobody does.

    Args:
        connection: used for nothing else, because reading keeps it waiting.
    """

    def __init__(self, connection: StoreConnection) -> None:
        self._connection = connection
        self._awaited: dict[str, set[Awaited]] = {}
        self._reading: asyncio.Task[None] | None = None
        self._after = "0"
        """Where reading goes on: what was said while nobody read is read then, as far as it is kept."""

    @contextlib.contextmanager
    def awaiting(self, job: str) -> Iterator[Awaited]:
        """Hear of a job's end from now on: begin before looking whether it is there."""
        awaited = Awaited()
        self._awaited.setdefault(job, set()).add(awaited)
        if self._reading is None or self._reading.done():
            self._reading = asyncio.get_running_loop().create_task(self._read())
        try:
            yield awaited
        finally:
            those = self._awaited[job]
            those.discard(awaited)
            if not those:
                del self._awaited[job]

    async def first(self, job: str, look: Callable[[], Awaitable[_T | None]], most_s: float) -> _T | None:
        """What a look finds: the first one, or one after news of a job's end. None where none does for so many seconds."""
        loop = asyncio.get_running_loop()
        until = loop.time() + most_s
        with self.awaiting(job) as end:
            while True:
                found = await look()
                if found is not None or (left_s := until - loop.time()) <= 0:
                    return found
                await end.news(min(left_s, LOOK_S))

    async def _read(self) -> None:
        while self._awaited:
            try:
                found = await self._connection.call(
                    "XREAD", "COUNT", _KEPT, "BLOCK", LISTEN_MS, "STREAMS", ENDS, self._after
                )
            except StoreUnavailable:
                await asyncio.sleep(_AGAIN_S)
                self._after = "0"  # a store that lost its last moments may count anew
                for those in self._awaited.values():
                    for awaited in those:
                        awaited.told()
                continue
            for entry, fields in found[0][1] if found else ():
                self._after = entry.decode()
                for awaited in self._awaited.get(fields[1].decode(), ()):
                    awaited.told()
