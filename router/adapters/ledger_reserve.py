"""Reserving for one tenant: a group commit without a timer.

Belongs here: gathering holds while a script call flies, and telling each caller its result. Does not belong here:
what becomes of a hold whose fate is unknown (the ledger frees it later).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from router.adapters.resp import Arg, Script
from router.ports import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.adapters.store_connection import StoreConnection
    from router.core.values import Hold

FEW: Final = 2
"""Holds in the last call up to which the next one leaves at once, even if others fly."""
FLIGHTS: Final = 4
"""Most calls under way while each carries but a few: a busy loop hears of a reply only once a turn."""
GROUP: Final = 256
"""Most holds in one call: a call of this size keeps the store busy for well under a millisecond."""

RESERVE: Final = Script("reserve")

Entry = tuple["Hold", "asyncio.Future[int]"]
"""A hold and who waits for it."""


class ReserveLane:
    """The holds of one tenant on their way to the store. Few fly at once; under load one call flies at a time, and the
    next takes all that gathered.

    Args:
        connection: where calls go.
        keys: the tenant's hash of holds.
        worker: whose holds these are.
        heard: told the store's time in ms with every answer.
        orphaned: told the holds that may lie in the store without a caller to free them.
    """

    __slots__ = ("_connection", "_flying", "_heard", "_keys", "_last", "_loop", "_orphaned", "_waiting", "_worker")

    def __init__(
        self,
        connection: StoreConnection,
        keys: tuple[str, ...],
        worker: str,
        heard: Callable[[int], None],
        orphaned: Callable[[list[Hold]], None],
    ) -> None:
        self._connection = connection
        self._keys = keys
        self._worker = worker
        self._heard = heard
        self._orphaned = orphaned
        self._loop = asyncio.get_running_loop()
        self._last = 0
        self._flying = 0
        self._waiting: list[Entry] = []

    def add(self, hold: Hold, result: asyncio.Future[int]) -> None:
        """Have ``result`` given the store's time in ms, or `StoreUnavailable`."""
        self._waiting.append((hold, result))
        # With few callers, a turn of the loop saved is worth more than a call saved; with many, the other way round.
        if self._last <= FEW:
            if self._flying < FLIGHTS:
                self._fly()
        elif not self._flying and len(self._waiting) == 1:
            self._loop.call_soon(self._fly)

    def _fly(self) -> None:
        waiting = [entry for entry in self._waiting if not entry[1].done()]
        group, self._waiting = waiting[:GROUP], waiting[GROUP:]
        if not group:
            return
        args: list[Arg] = [self._worker]
        for hold, _ in group:
            args += (hold.attempt, hold.amount_nano, hold.not_after_ms)
        self._last = len(group)
        try:
            self._connection.script_now(RESERVE, self._keys, args, _Flight(self, group))
        except StoreUnavailable as failure:
            group += self._waiting
            self._waiting = []
            _fail(group, failure)
            return
        self._flying += 1

    def landed(self, group: list[Entry], reply: list[int]) -> None:
        """The store's time, and the numbers of those of the group that came too late."""
        self._fly_on()
        now_ms, *late = reply
        self._heard(now_ms)
        refused = set(late)
        orphans = []
        for number, (hold, result) in enumerate(group):
            if number in refused:
                if not result.done():
                    result.set_exception(_too_late(hold, now_ms))
            elif result.done():
                orphans.append(hold)
            else:
                result.set_result(now_ms)
        if orphans:
            self._orphaned(orphans)

    def lost(self, group: list[Entry], failure: BaseException) -> None:
        """The call failed, or its fate is not known."""
        self._fly_on()
        _fail(group, failure)
        self._orphaned([hold for hold, _ in group])

    def _fly_on(self) -> None:
        self._flying -= 1
        if self._waiting and self._last <= FEW:
            self._fly()
        elif self._waiting and not self._flying:
            self._loop.call_soon(self._fly)


class _Flight:
    """One call under way: the connection's `Reply`. Replies of several need not come in order (a script sent again)."""

    __slots__ = ("_group", "_lane")

    def __init__(self, lane: ReserveLane, group: list[Entry]) -> None:
        self._lane = lane
        self._group = group

    def done(self) -> bool:
        """Every answer is wanted: even that of a group whose callers have all gone."""
        return False

    def set_result(self, reply: list[int]) -> None:
        """The script's reply."""
        self._lane.landed(self._group, reply)

    def set_exception(self, failure: BaseException) -> None:
        """A `StoreUnavailable`."""
        self._lane.lost(self._group, failure)


def _fail(group: list[Entry], failure: BaseException) -> None:
    for _, result in group:
        if not result.done():
            # One exception a waiter: a shared one would gather every waiter's traceback.
            result.set_exception(StoreUnavailable(str(failure)))


def _too_late(hold: Hold, now_ms: int) -> StoreUnavailable:
    return StoreUnavailable(
        f"the reservation of {hold.attempt} reached the store {now_ms - hold.not_after_ms} ms too late"
    )
