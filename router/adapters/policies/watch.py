"""Notices that a directory of policies has changed, and hands over what is in force then.

Belongs here: when to look. Does not belong here: what is in force (`store.py`), what becomes of it (app.py).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog
from watchfiles import awatch

from router.adapters.policies.yaml_document import PolicyFileError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from router.adapters.policies.store import PolicySet, PolicyStore

SETTLE_MS: Final = 50
"""An editor writes a file in several steps; this long without another one ends them."""
MOST_MS: Final = 300
LOOK_MS: Final = 2_000
"""Where the kernel tells nothing, as on some network disks and after a mount was swapped, times and sizes are looked at."""
_log: Final = structlog.get_logger(__name__)


class PolicyWatch:
    """One worker's look-out.

    Args:
        store: reads the directory.
        current: what is in force.
        takes: is called with each new set, on the event loop.
    """

    def __init__(self, store: PolicyStore, current: PolicySet, takes: Callable[[PolicySet], None]) -> None:
        self._store = store
        self._takes = takes
        self.current = current

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            # What changed before the first look of the kernel's would not be told.
            await self.look()
            try:
                async for _ in _told(self._store):
                    await self.look()
            except (OSError, RuntimeError) as error:
                # The directory itself is gone, mostly because it is being put in place anew.
                _log.debug("policies_unwatched", reason=str(error))
                await asyncio.sleep(MOST_MS / 1000)

    async def look(self) -> None:
        """Take over what has changed. Whatever is wrong with that, what is in force stays."""
        if not await asyncio.to_thread(self._store.changed):
            return
        try:
            self._take(await asyncio.to_thread(self._store.load))
        except PolicyFileError as error:
            _log.error("policies_unusable", problems=[problem.brief for problem in error.problems])
        except Exception as error:  # noqa: BLE001 - a look-out that ends would leave edits unseen
            _log.exception("policies_failed", kind=type(error).__name__)

    def _take(self, found: PolicySet) -> None:
        before = self.current
        if (found.number, found.faults) == (before.number, before.faults):
            return
        for fault in found.faults if found.faults != before.faults else ():
            _log.error("policy_held", problem=fault.brief, set=found.number)
        if found.number != before.number:
            _log.info("policies_taken", set=found.number, policies=len(found.loaded.policies))
        self._takes(found)
        self.current = found


async def _told(store: PolicyStore) -> AsyncIterator[object]:
    """Something for every change that the kernel tells of, and now and then without one."""
    async for changes in awatch(
        store.directory,
        watch_filter=None,
        debounce=MOST_MS,
        step=SETTLE_MS,
        rust_timeout=LOOK_MS,
        yield_on_timeout=True,
    ):
        yield changes
