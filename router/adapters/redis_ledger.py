"""The ledger in Redis or Valkey: holds and rows of every tenant, each tenant in its own lane.

Belongs here: lanes, the flush timer, the bound on what waits. Does not belong here: the two script calls
(ledger_reserve, ledger_settle, lua/), reading spend (spend), budgets and the journal on disk.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any, Final

import structlog

from router.adapters.ledger_reserve import ReserveLane
from router.adapters.ledger_settle import TRIGGER_ROWS, SettleLane
from router.adapters.store_layout import PLATFORM_TENANTS, tenant_prefix
from router.ports import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.adapters.store_connection import StoreConnection
    from router.core.values import Hold, Row
    from router.ports import Clock

GATHER_S: Final = 0.025
MOST_WAITING: Final = 100_000
"""Rows that may wait for the store, about 100 MB. Beyond it nothing new is admitted; no row is ever dropped."""
FLUSH_S: Final = 5.0
_LATE_S: Final = 1.0

_log: Final = structlog.get_logger(__name__)


class RedisLedger:
    """Implements `router.ports.Ledger` over one connection. Made and used on one event loop.

    Args:
        connection: started by the caller, closed by the caller after `close`.
        worker_id: marks the holds, so that they can be swept when the worker is dead.
        clock: the machine's time.
        most_waiting: bound on rows not yet in the store.
        flush_s: how long `flush` waits for the store, in seconds.
    """

    def __init__(
        self,
        connection: StoreConnection,
        worker_id: str,
        clock: Clock,
        *,
        most_waiting: int = MOST_WAITING,
        flush_s: float = FLUSH_S,
    ) -> None:
        self._connection = connection
        self._worker = worker_id
        self._clock = clock
        self._most_waiting = most_waiting
        self._flush_s = flush_s
        # Numbers start at 1 in every run, so every run needs a name of its own: old marks would swallow its rows.
        self._journal = f"{worker_id}.{secrets.token_hex(6)}"
        self._loop = asyncio.get_running_loop()
        self._lanes: dict[str, tuple[ReserveLane, SettleLane]] = {}
        self._unregistered: set[str] = set()
        self._gathering: list[SettleLane] = []
        self._timer: asyncio.TimerHandle | None = None
        self._later: set[asyncio.TimerHandle] = set()
        self._waiting = 0
        self._drained: list[asyncio.Future[None]] = []
        self._ahead_ms = 0
        self._failing = 0
        self.on_spent: Callable[[str, dict[str, int]], None] | None = None
        """Told the tenant's prefix and what its budget periods have spent by now."""
        connection.on_connect.append(self._reconnected)

    @property
    def waiting(self) -> int:
        """Rows and releases that are not in the store yet."""
        return self._waiting

    def store_ms(self) -> int:
        """The store's time in ms since the epoch, as far as its last answer tells; for a hold's ``not_after_ms``."""
        return self._clock.now_ms() + self._ahead_ms

    def reserve(self, hold: Hold) -> asyncio.Future[int]:
        """Set the amount aside; the future gives the store's time in ms since the epoch. The call is on its way at once.

        Raises:
            StoreUnavailable: no answer in time, ``not_after_ms`` has passed, or too many rows wait for the store.
        """
        if self._waiting >= self._most_waiting:
            raise StoreUnavailable(f"{self._waiting} rows wait for the store; nothing is admitted until it takes them")
        result: asyncio.Future[int] = self._loop.create_future()
        self._lane(hold.tenant)[0].add(hold, result)
        return result

    def settle(self, row: Row) -> None:
        """Queue the row; its hold is freed in the same atomic step. ``released`` rows only free the hold."""
        lane = self._lane(row.tenant)[1]
        lane.rows.append(row)
        self._gathered(lane, 1, len(lane.rows))

    async def flush(self) -> None:
        """Return once every queued row is in the store.

        Raises:
            StoreUnavailable: rows still wait after ``flush_s`` seconds; they stay queued and are still being sent.
        """
        self._push_gathered()
        if not self._waiting:
            return
        drained: asyncio.Future[None] = self._loop.create_future()
        self._drained.append(drained)
        try:
            async with asyncio.timeout(self._flush_s):
                await drained
        except TimeoutError:
            raise StoreUnavailable(f"{self._waiting} rows still wait for the store after {self._flush_s:g} s") from None

    async def close(self) -> None:
        """Flush, and stop sending whatever the outcome.

        Raises:
            StoreUnavailable: as `flush`; the rows are then lost to the store.
        """
        try:
            await self.flush()
        finally:
            self._connection.on_connect.remove(self._reconnected)
            for _, lane in self._lanes.values():
                lane.stop()
            for timer in self._later:
                timer.cancel()
            if self._timer is not None:
                self._timer.cancel()

    def _lane(self, tenant: str) -> tuple[ReserveLane, SettleLane]:
        lanes = self._lanes.get(tenant)
        if lanes is None:
            prefix = tenant_prefix(tenant)

            def orphaned(holds: list[Hold]) -> None:
                self._free_later(settle, holds)

            settle = SettleLane(self._connection, prefix, self._journal, self)
            reserve = ReserveLane(self._connection, prefix, self._worker, self.heard, orphaned)
            lanes = self._lanes[tenant] = (reserve, settle)
            self._unregistered.add(tenant)
            self._register()
        return lanes

    def _register(self) -> None:
        # Tenants lie under another hash tag than a tenant's own keys, so this cannot be part of the settle script.
        names = tuple(name.encode("utf-8", "replace") for name in self._unregistered)
        if not names or not self._connection.up:
            return
        registered = frozenset(self._unregistered)

        def landed(reply: asyncio.Future[Any]) -> None:
            if reply.exception() is None:
                self._unregistered -= registered

        self._connection.call("SADD", PLATFORM_TENANTS, *names).add_done_callback(landed)

    def _gathered(self, lane: SettleLane, entries: int, depth: int) -> None:
        self._waiting += entries
        if depth >= TRIGGER_ROWS:
            lane.push()
        elif depth == entries:
            self._gathering.append(lane)
            if self._timer is None:
                self._timer = self._loop.call_later(GATHER_S, self._push_gathered)

    def _push_gathered(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lanes, self._gathering = self._gathering, []
        for lane in lanes:
            lane.push()

    def _free_later(self, lane: SettleLane, holds: list[Hold]) -> None:
        # The reservation may still be on its way. Freed before it arrives it would stay for ever; once not_after has
        # passed in the store's time it can only be refused.
        wait_s = (max(hold.not_after_ms for hold in holds) - self.store_ms()) / 1000 + _LATE_S
        attempts = [hold.attempt for hold in holds]

        def free() -> None:
            self._later.discard(timer)
            lane.ends += attempts
            self._gathered(lane, len(attempts), len(lane.ends))

        timer = self._loop.call_later(max(wait_s, _LATE_S), free)
        self._later.add(timer)

    def _reconnected(self) -> None:
        self._register()
        for _, lane in self._lanes.values():
            self._waiting += lane.replay()

    # What lanes tell.

    def heard(self, now_ms: int) -> None:
        """The store's time came with an answer."""
        self._ahead_ms = now_ms - self._clock.now_ms()

    def monotonic(self) -> float:
        """Seconds; differences only."""
        return self._clock.monotonic()

    def spent(self, tenant_prefix: str, periods: dict[str, int]) -> None:
        """What budget periods have spent by now."""
        if self.on_spent is not None:
            self.on_spent(tenant_prefix, periods)

    def failing(self, tenant_prefix: str, failure: BaseException) -> None:
        """A batch failed for the first time; it is kept and repeated. Told once, not for every tenant."""
        if not self._failing:
            _log.warning("ledger_batch_failed", keys=tenant_prefix, error=str(failure), waiting=self._waiting)
        self._failing += 1

    def recovered(self, seconds: float) -> None:
        """A lane's batch was taken after failing for that long."""
        self._failing -= 1
        if not self._failing:
            _log.info("ledger_batch_recovered", after_s=round(seconds, 3), waiting=self._waiting)

    def doubtful(self, tenant_prefix: str, sequence: int, entries: int) -> None:
        """Rows of this batch may be missing in the store; somebody must look."""
        _log.error("ledger_batch_doubtful", keys=tenant_prefix, journal=self._journal, seq=sequence, entries=entries)

    def booked(self, entries: int) -> None:
        """Entries are in the store."""
        self._waiting -= entries
        if self._unregistered:
            self._register()
        if not self._waiting:
            drained, self._drained = self._drained, []
            for future in drained:
                if not future.done():
                    future.set_result(None)
