"""Reservations that wait for a store that is away, instead of failing at once.

Belongs here: which may wait, how long, and what becomes of those whose fate is unknown. Does not belong here: asking the store
(reserve.py), and when it is there again (ledger.py).

A name that is held already is not held twice, so a reservation that was under way when the connection broke is asked for
again under its own name. Should it fail after all, a hold may lie in the store, and is freed as any orphan's.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec

from router.adapters.store.resp import StoreRefused
from router.ports import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from router.core.values import Hold

    Entry = tuple[Hold, asyncio.Future[int]]

GRACE_MS: Final = 1_000
"""A reservation that is asked for again and reaches the store later than this is refused there."""


class _Mark:
    """What is known of a reservation that has waited."""

    __slots__ = ("doubtful", "hold", "until")

    def __init__(self, hold: Hold, until: float) -> None:
        self.hold = hold
        self.until = until
        """On the loop's clock."""
        self.doubtful = False
        """Whether it may lie in the store."""


class Patience:
    """Keeps reservations while the store is away.

    Args:
        wait_s: how long each may wait, in seconds; 0 for not at all.
        orphaned: told the holds that may lie in the store without a caller to free them.
    """

    __slots__ = ("_loop", "_marks", "_orphaned", "_parked", "_timer", "_wait_s")

    def __init__(self, wait_s: float, orphaned: Callable[[list[Hold]], None]) -> None:
        self._wait_s = wait_s
        self._orphaned = orphaned
        self._loop = asyncio.get_running_loop()
        self._parked: dict[asyncio.Future[int], str] = {}
        """To why the store is away."""
        self._marks: dict[asyncio.Future[int], _Mark] = {}
        self._timer: asyncio.TimerHandle | None = None

    def bars(self, hold: Hold, result: asyncio.Future[int]) -> None:
        """Have it fail at once should the store be away."""
        self._mark(hold, result, 0.0)

    def _mark(self, hold: Hold, result: asyncio.Future[int], until: float) -> _Mark:
        mark = self._marks[result] = _Mark(hold, until)
        result.add_done_callback(self._over)
        return mark

    def keep(self, group: Iterable[Entry], failure: BaseException, *, sent: bool) -> list[Entry]:
        """Keep those that may wait.

        Args:
            group: what the store could not be asked.
            failure: why.
            sent: whether it may have been asked all the same.

        Returns:
            The others, which fail now.
        """
        if not self._wait_s or (isinstance(failure, StoreRefused) and failure.word != "READONLY"):
            return list(group)
        now, others = self._loop.time(), []
        for hold, result in group:
            mark = self._marks.get(result)
            if hold.grows or result.done() or (mark is not None and mark.until <= now):
                others.append((hold, result))
                continue
            if mark is None:
                mark = self._mark(hold, result, now + self._wait_s)
            mark.doubtful = mark.doubtful or sent
            self._parked[result] = str(failure)
        if self._parked and self._timer is None:
            self._timer = self._loop.call_later(self._wait_s, self._give_up)
        return others

    def back(self, now_ms: int) -> list[Entry]:
        """The store is there: all that have waited, to be asked for again.

        Args:
            now_ms: the store's time.
        """
        parked, self._parked = self._parked, {}
        entries = []
        for result in parked:
            mark = self._marks.get(result)
            if mark is not None and not result.done():
                mark.hold = msgspec.structs.replace(mark.hold, not_after_ms=now_ms + GRACE_MS)
                entries.append((mark.hold, result))
        return entries

    def close(self) -> None:
        """Nothing waits any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._fail(list(self._parked))

    def _give_up(self) -> None:
        """Fail those whose time is over; look again when that of the next is."""
        self._timer, now = None, self._loop.time()
        self._fail([result for result in self._parked if self._marks[result].until <= now])
        if self._parked:
            first = min(self._marks[result].until for result in self._parked)
            self._timer = self._loop.call_at(first, self._give_up)

    def _fail(self, results: Iterable[asyncio.Future[int]]) -> None:
        for result in results:
            why = self._parked.pop(result)
            if not result.done():
                result.set_exception(StoreUnavailable(why))

    def _over(self, result: asyncio.Future[int]) -> None:
        """A reservation that has waited is done: admitted, refused, failed, or its caller has gone."""
        self._parked.pop(result, None)
        mark = self._marks.pop(result)
        if mark.doubtful and (result.cancelled() or result.exception() is not None):
            self._orphaned([mark.hold])
