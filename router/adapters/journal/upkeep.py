"""What a worker does for the ledger beside serving: says that it lives, adopts orphans, sweeps up after lost machines.

Belongs here: when each of it is due. Does not belong here: how it is done (adoption, sweep).
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

import structlog

from router.adapters.journal.adoption import BEAT, Adoption
from router.adapters.journal.sweep import Sweep
from router.adapters.store.layout import PLATFORM_JOURNALS
from router.ports import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path
    from typing import Any

    from router.adapters.journal.journal import Numbers
    from router.adapters.store.connection import StoreConnection
    from router.ports import Clock

BEAT_S: Final = 1.0
SWEEP_S: Final = 5.0
_log: Final = structlog.get_logger(__name__)


class Upkeep:
    """One worker's part in it.

    Args:
        connection: to the store; slow calls on it hold up nobody.
        journal: the worker's own.
        root: the folder of all journals.
        clock: the machine's time.
        tidy: frees what a store that lost its last moments holds for nobody.
        sync_s: how often the journal is brought to the disk itself, in seconds; 0 leaves that to the kernel.
    """

    def __init__(
        self,
        connection: StoreConnection,
        journal: Numbers,
        root: Path,
        clock: Clock,
        *,
        tidy: Callable[[], Coroutine[Any, Any, None]],
        sync_s: float = 0,
    ) -> None:
        self._connection = connection
        self._journal = journal
        self._sync_s = sync_s
        self._tidy = tidy
        self._adoption = Adoption(root, connection, clock)
        self._sweep = Sweep(connection, self._adoption.here)

    async def beat(self) -> None:
        """Say that this worker lives. Raises `StoreUnavailable`."""
        names = [self._journal.name, *self._adoption.adopting]
        await self._connection.script(BEAT, [PLATFORM_JOURNALS], ["", *names])

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._every(BEAT_S, self.beat, "heartbeat"))
            group.create_task(self._every(BEAT_S, self._adoption.adopt_all, "adoption"))
            group.create_task(self._every(SWEEP_S, self._sweep.turn, "sweep"))
            group.create_task(self._every(SWEEP_S, self._tidy, "tidying"))
            if self._sync_s:
                group.create_task(self._every(self._sync_s, self._sync, "journal_sync"))

    async def end(self, task: asyncio.Task[None]) -> None:
        """Stop `run`; what is not finished is left for whoever comes next."""
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def _sync(self) -> None:
        await asyncio.to_thread(self._journal.syncing())

    async def _every(self, seconds: float, work: Callable[[], Coroutine[Any, Any, object]], what: str) -> None:
        failed = False
        while True:
            try:
                await work()
                failed = False
            except (StoreUnavailable, OSError) as error:
                if not failed:
                    _log.warning("upkeep_failed", what=what, reason=str(error))
                failed = True
            except Exception as error:  # noqa: BLE001 - the others must go on; it is tried again
                _log.exception("upkeep_failed", what=what, kind=type(error).__name__)
            await asyncio.sleep(seconds)
