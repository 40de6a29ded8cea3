"""The decision log: what was decided lately, in the store, so that any worker can explain any request.

Belongs here: gathering decisions off the hot path, writing them in blocks, finding one, and keeping the whole within
its bounds. Does not belong here: what a block holds (`router.core.deciding.decision_log`), and explaining.

    cr:{@}:decided:<incarnation>   stream of blocks, compressed; a block's id begins with the highest request number
                                   that had been decided by then

A request's id is its server's incarnation and a number that grows, so the block of a request is one of the first that
end at its number or beyond.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import zlib
from typing import TYPE_CHECKING, Final

import structlog

from router.core.deciding.decision_log import Packer, unpack
from router.ports import StoreUnavailable

if TYPE_CHECKING:
    from router.adapters.store.connection import StoreConnection
    from router.core.deciding.decision_log import Made

PREFIX: Final = "cr:{@}:decided:"
WAITING: Final = 4096
"""Decisions that may wait to be written; more in one turn are left out, and counted."""
BLOCK: Final = 256
"""Decisions of one block: what is read and unpacked to find one of them."""
SLICE: Final = 32
"""Decisions packed before the loop gets its turn again."""
LEVEL: Final = 1
"""Of compression: 6 would take an eighth off what is kept, for three times the processor's time."""
EVERY_S: Final = 1.0
AWAITED_S: Final = 4 * EVERY_S
"""How long a decision is awaited that another worker may not have written yet: who explains an answer at once meets any worker."""
ASKED_EVERY_S: Final = 0.1
KEPT_S: Final = 7 * 24 * 3600
LOOKED_AT: Final = 64
"""Blocks that are looked through for one decision: a request may have waited while later ones were decided."""
TRIM_EVERY: Final = 60
"""Turns between two looks at the log's size."""
_ID: Final = re.compile(r"(req_[0-9a-f]{12})([0-9a-f]{8})")
_log: Final = structlog.get_logger("router.decisions")


class StoreDecisions:
    """Writes this worker's decisions, and finds everybody's.

    Args:
        connection: to the store; not the one that reservations wait for.
        most_bytes: what this worker's decisions may take of the store's memory; 0 keeps none.
    """

    def __init__(self, connection: StoreConnection, most_bytes: int) -> None:
        self._connection = connection
        self._most_bytes = most_bytes
        self._waiting: list[Made] = []
        self._writing: list[Made] = []
        self._highest: dict[str, int] = {}
        self._turns = self._blocks = 0
        self._full = asyncio.Event()
        self.left_out = 0
        """Decisions that were not kept, because too many came at once or the store did not answer."""

    def made(self, made: Made) -> None:
        """Keep a decision; for the hot path, so it is only noted here."""
        if self._most_bytes and len(self._waiting) < WAITING:
            self._waiting.append(made)
            if len(self._waiting) == BLOCK:
                self._full.set()
        else:
            self.left_out += 1

    async def run(self) -> None:
        """Write what has gathered, once a second or when a block is full, for ever."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(EVERY_S):
                    await self._full.wait()
            await self.flush()

    async def flush(self) -> None:
        """Write what has gathered. What the store does not take is left out: a log must not hold up what it tells of."""
        waiting = self._writing = self._waiting
        self._waiting = []
        self._full.clear()
        try:
            for start in range(0, len(waiting), BLOCK):
                await self._write(waiting[start : start + BLOCK])
            self._turns += 1
            if not self._turns % TRIM_EVERY:
                await self._trim()
        except StoreUnavailable as error:
            self.left_out += len(waiting)
            _log.warning("decisions_left_out", count=len(waiting), reason=str(error))
        finally:
            self._writing = []

    async def find(self, request_id: str) -> Made | None:
        """A decision by its request's id; None when it is not kept.

        One of this worker is found at once. One that lies beyond what its own worker has written so far is awaited for as
        long as that worker may take to write it.

        Raises:
            StoreUnavailable: no answer.
        """
        match = _ID.fullmatch(request_id)
        if match is None or not self._most_bytes:
            return None
        key, number = PREFIX + match[1], int(match[2], 16)
        last_look = asyncio.get_running_loop().time() + AWAITED_S
        while True:
            for made in (*self._writing, *self._waiting):
                if made.id == request_id:
                    return made
            blocks = await self._connection.call("XRANGE", key, f"{number}-0", "+", "COUNT", LOOKED_AT)
            for _, (_, packed) in blocks:
                found = unpack(await asyncio.to_thread(zlib.decompress, packed), [request_id])
                if found:
                    return found[0]
            if blocks or asyncio.get_running_loop().time() >= last_look:
                return None
            await asyncio.sleep(ASKED_EVERY_S)

    async def _write(self, several: list[Made]) -> None:
        by_server: dict[str, list[Made]] = {}
        for made in several:
            if (match := _ID.fullmatch(made.id)) is not None:
                by_server.setdefault(match[1], []).append(made)
        for server, own in by_server.items():
            packer = Packer()
            for number, made in enumerate(own, 1):
                packer.add(made)
                if not number % SLICE:
                    await asyncio.sleep(0)
            packed = await asyncio.to_thread(zlib.compress, packer.block(), LEVEL)
            key = PREFIX + server
            highest = max(self._highest.get(server, 0), *(int(made.id[-8:], 16) for made in own))
            self._highest[server] = highest
            self._blocks += 1
            await self._connection.call("XADD", key, f"{highest}-{self._blocks}", "b", packed)
            await self._connection.call("EXPIRE", key, KEPT_S)

    async def _trim(self) -> None:
        """The oldest go where all take too much; what is old goes with its key."""
        for server in self._highest:
            key = PREFIX + server
            taken = await self._connection.call("MEMORY", "USAGE", key) or 0
            if taken > self._most_bytes:
                length = await self._connection.call("XLEN", key)
                await self._connection.call("XTRIM", key, "MAXLEN", "~", length * self._most_bytes // taken)
