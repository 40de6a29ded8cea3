"""Whether what was written down of jobs is on the store's disk: asked before a promise is given or a batch is begun.

Belongs here: asking, many at once. Does not belong here: writing, and what follows where the disk does not confirm.

A client that waits for the disk has everything behind it on its connection wait as well. So this has a connection of its
own, over which it writes one mark; the disk has that no sooner than what was written before it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from router.adapters.store.layout import tenant_prefix
from router.adapters.store.resp import StoreRefused

if TYPE_CHECKING:
    from router.adapters.store.connection import StoreConnection

WAIT_MS: Final = 1_500
"""How long a disk may take that is written to each second."""


class Durable:
    """Asks for all who ask at once. One event loop.

    Args:
        connection: used for nothing else; bounds a call by more than `WAIT_MS`.
    """

    def __init__(self, connection: StoreConnection) -> None:
        self._connection = connection
        self._asked: dict[str, list[asyncio.Future[bool]]] = {}
        self._asking: asyncio.Task[None] | None = None

    async def confirmed(self, tenant: str) -> bool:
        """Whether all that was written of a tenant's jobs before is on the disk by now; True of a store that keeps nothing
        on a disk. Raises `StoreUnavailable`.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bool] = loop.create_future()
        self._asked.setdefault(tenant, []).append(answer)
        if self._asking is None:
            self._asking = loop.create_task(self._ask())
        return await answer

    async def _ask(self) -> None:
        try:
            while self._asked:
                asked, self._asked = self._asked, {}
                waiting = [answer for answers in asked.values() for answer in answers if not answer.done()]
                try:
                    found = await self._written(list(asked))
                except Exception as failure:  # noqa: BLE001 - it is theirs who asked
                    for answer in waiting:
                        if not answer.done():
                            answer.set_exception(failure)
                    continue
                for answer in waiting:
                    if not answer.done():
                        answer.set_result(found)
        finally:
            self._asking = None

    async def _written(self, tenants: list[str]) -> bool:
        for tenant in tenants:
            await self._connection.call("SET", f"{tenant_prefix(tenant)}jobswritten", 1)
        try:
            on_disk, _ = await self._connection.call("WAITAOF", 1, 0, WAIT_MS)
        except StoreRefused as refusal:
            if "appendonly is disabled" in str(refusal):
                return True
            raise
        return bool(on_disk)
