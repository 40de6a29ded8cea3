"""Reserving for one tenant: a group commit without a timer.

Belongs here: gathering holds while a script call flies, and telling each caller its result. Does not belong here:
what becomes of a hold whose fate is unknown (the ledger frees it later).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from router.adapters.resp import Arg, RespConnection, Script
from router.ports import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.core.values import Hold

FEW: Final = 2
"""Holds in the last call up to which the next one leaves at once."""
GROUP: Final = 256
"""Most holds in one call: a call of this size keeps the store busy for well under a millisecond."""

RESERVE: Final = Script("reserve")


class ReserveLane:
    """The holds of one tenant on their way to the store. One call flies at a time; the next takes all that gathered.

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
        connection: RespConnection,
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
        self._waiting: list[tuple[Hold, asyncio.Future[int]]] = []
        self._flying: list[tuple[Hold, asyncio.Future[int]]] = []

    def add(self, hold: Hold, result: asyncio.Future[int]) -> None:
        """Have ``result`` given the store's time in ms, or `StoreUnavailable`."""
        self._waiting.append((hold, result))
        if not self._flying and len(self._waiting) == 1:
            self._fly_soon()

    def _fly_soon(self) -> None:
        # With few callers, a turn of the loop saved is worth more than a call saved; with many, the other way round.
        if self._last <= FEW:
            self._fly()
        else:
            self._loop.call_soon(self._fly)

    def _fly(self) -> None:
        waiting = [entry for entry in self._waiting if not entry[1].done()]
        group, self._waiting = waiting[:GROUP], waiting[GROUP:]
        if not group:
            return
        args: list[Arg] = [self._worker]
        for hold, _ in group:
            args += (hold.attempt, hold.amount_nano, hold.not_after_ms)
        self._flying = group
        self._last = len(group)
        try:
            self._connection.script_now(RESERVE, self._keys, args, self)
        except StoreUnavailable as failure:
            self._flying = []
            self._fail(group + self._waiting, failure)
            self._waiting = []

    # What the connection tells a `Reply`.

    def done(self) -> bool:
        """Every answer is wanted: even that of a group whose callers have all gone."""
        return False

    def set_exception(self, failure: BaseException) -> None:
        """The call's fate is not known."""
        group, self._flying = self._flying, []
        self._fail(group, failure)
        self._orphaned([hold for hold, _ in group])
        if self._waiting:
            self._fly_soon()

    def set_result(self, reply: list[int]) -> None:
        """The store's time, and the numbers of those that came too late."""
        group, self._flying = self._flying, []
        if self._waiting:
            self._fly_soon()
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

    def _fail(self, group: list[tuple[Hold, asyncio.Future[int]]], failure: BaseException) -> None:
        for _, result in group:
            if not result.done():
                # One exception a waiter: a shared one would gather every waiter's traceback.
                result.set_exception(StoreUnavailable(str(failure)))


def _too_late(hold: Hold, now_ms: int) -> StoreUnavailable:
    return StoreUnavailable(
        f"the reservation of {hold.attempt} reached the store {now_ms - hold.not_after_ms} ms too late"
    )
