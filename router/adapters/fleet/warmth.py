"""What workers tell each other of prompts that providers keep: who has answered which, once a tick.

Belongs here: the exchange and its key. Does not belong here: what is remembered of it (`router.core.statistics.warmth`), and for
which requests (`router.prefixes`).

    cr:{@}:warm    stream of answered requests' links, a minute long; a link is a hash under a key of its tenant

So a conversation finds its warm prefix whichever worker it comes to, and a new worker knows that of the last minute.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec

from router.core.statistics.warmth import Told

if TYPE_CHECKING:
    from router.adapters.store.connection import StoreConnection
    from router.core.statistics.warmth import Warmth

STREAM: Final = "cr:{@}:warm"
FOLLOWED_MS: Final = 60_000
"""How far back the stream reaches."""
_AT_A_TIME: Final = 200
"""Entries that are read at a time: some seconds of a large fleet."""


class _Entry(msgspec.Struct, array_like=True):
    worker: str
    told: list[Told]


_pack: Final = msgspec.msgpack.Encoder().encode
_entry: Final = msgspec.msgpack.Decoder(_Entry).decode


class SharedWarmth:
    """One worker's side of the exchange.

    Args:
        connection: to the store.
        worker: this worker's name, unique to its life.
        memory: what it knows.
    """

    def __init__(self, connection: StoreConnection, worker: str, memory: Warmth) -> None:
        self._connection = connection
        self._worker = worker
        self._memory = memory
        self._last = b"0"

    async def exchange(self, now_ms: int) -> None:
        """Tell what is new, hear what others saw. Raises `StoreUnavailable`; what was to be told then is forgotten."""
        told = self._memory.told()
        if told:
            entry = _pack(_Entry(self._worker, told))
            oldest = str(now_ms - FOLLOWED_MS)
            await self._connection.call("XADD", STREAM, "MINID", "~", oldest, "*", "d", entry)
        heard = await self._connection.call("XREAD", "COUNT", _AT_A_TIME, "STREAMS", STREAM, self._last)
        for identifier, fields in heard[0][1] if heard else ():
            self._last = identifier
            self._hear(fields[1])
            # Requests go on between what one worker says and the next.
            await asyncio.sleep(0)

    def _hear(self, packed: bytes) -> None:
        try:
            entry = _entry(packed)
        except msgspec.DecodeError:
            return  # a worker of another version, while one takes the place of the other
        if entry.worker != self._worker:
            for told in entry.told:
                self._memory.heard(told)
