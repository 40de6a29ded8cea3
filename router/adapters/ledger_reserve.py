"""Reserving for one tenant: a group commit without a timer.

Belongs here: gathering holds while a script call flies, and telling each caller its result. Does not belong here:
what becomes of a hold whose fate is unknown (the ledger frees it later).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from router.adapters.resp import Arg, RespConnection, Script
from router.ports import StoreUnavailable

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from router.core.values import Hold

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

    __slots__ = ("_connection", "_flying", "_heard", "_keys", "_orphaned", "_waiting", "_worker")

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
        self._waiting: list[tuple[Hold, asyncio.Future[int]]] = []
        self._flying: list[tuple[Hold, asyncio.Future[int]]] = []

    def add(self, hold: Hold, result: asyncio.Future[int]) -> None:
        """Have ``result`` given the store's time in ms, or `StoreUnavailable`."""
        self._waiting.append((hold, result))
        if len(self._waiting) == 1 and not self._flying:
            self._connection.at_write(self._fly)

    def _fly(self) -> None:
        waiting = [entry for entry in self._waiting if not entry[1].done()]
        group, self._waiting = waiting[:GROUP], waiting[GROUP:]
        if not group:
            return
        args: list[Arg] = [self._worker]
        for hold, _ in group:
            args += (hold.attempt, hold.amount_nano, hold.not_after_ms)
        try:
            reply = self._connection.script(RESERVE, self._keys, args)
        except StoreUnavailable as failure:
            self._fail(group + self._waiting, failure)
            self._waiting = []
            return
        self._flying = group
        reply.add_done_callback(self._landed)

    def _landed(self, reply: asyncio.Future[Any]) -> None:
        group, self._flying = self._flying, []
        if self._waiting:
            self._connection.at_write(self._fly)
        failure = reply.exception()
        if failure is not None:
            self._fail(group, failure)
            self._orphaned([hold for hold, _ in group])
            return
        now_ms, *late = reply.result()
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
