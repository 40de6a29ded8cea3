"""The ledger in Redis or Valkey: holds and rows of every tenant, each tenant in its own lane.

Belongs here: lanes, the flush timer, the bound on what waits. Does not belong here: the two script calls
(reserve.py, settle.py, lua/), reading spend (spend), and the journal's files (journal).
"""

from __future__ import annotations

import asyncio
import secrets
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog

from router.adapters.journal.adoption import BEAT, held_by
from router.adapters.journal.journal import Journal, Numbers
from router.adapters.journal.read_back import ReadBack
from router.adapters.ledger.batch import packed_row
from router.adapters.ledger.reserve import ReserveLane
from router.adapters.ledger.settle import TRIGGER_ROWS, SettleLane
from router.adapters.store.layout import PLATFORM_JOURNALS, PLATFORM_TENANTS, read_held, tenant_prefix
from router.adapters.store.resp import StoreRefused
from router.core.budgets.budget import lasting
from router.ports import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.adapters.ledger.batch import Entry
    from router.adapters.store.connection import StoreConnection
    from router.core.budgets.limits import Limit
    from router.core.values import Hold, Row
    from router.ports import Clock

GATHER_S: Final = 0.025
MOST_WAITING: Final = 100_000
"""Rows that may wait for the store, about 100 MB. Beyond it nothing new is admitted; no row is ever dropped."""
FLUSH_S: Final = 5.0
GONE_S: Final = 0.5
"""How long the end waits for a store that is away, where a journal keeps the rows."""
_LATE_S: Final = 1.0
ANNOUNCED_MS: Final = 1_000
"""A hold that is announced again and reaches the store later than this is refused there."""
_STRAY_MS: Final = 5_000
"""How old a hold must be before it is taken for one that nobody here knows."""
_MOST_HELD: Final = 10_000
_AOF_WAIT_MS: Final = 200

_log: Final = structlog.get_logger(__name__)


class RedisLedger:
    """Implements `router.ports.Ledger` over one connection. Made and used on one event loop.

    Args:
        connection: started by the caller, closed by the caller after `close`.
        worker_id: marks the holds, so that they can be swept when the worker is dead; a journal's name takes its place.
        clock: the machine's time.
        journal: closed by `close`. Without one, what is not in the store dies with this process.
        most_waiting: bound on rows not yet in the store.
        flush_s: how long `flush` waits for the store, in seconds.
        wait_s: how long a reservation waits for a store that is away, in seconds.
    """

    def __init__(
        self,
        connection: StoreConnection,
        worker_id: str,
        clock: Clock,
        *,
        journal: Numbers | None = None,
        most_waiting: int = MOST_WAITING,
        flush_s: float = FLUSH_S,
        wait_s: float = 0.0,
    ) -> None:
        self._connection = connection
        self._worker = worker_id if journal is None else journal.name
        self._clock = clock
        self._most_waiting = most_waiting
        self._flush_s = flush_s
        self._wait_s = wait_s
        # Numbers start at 1 in every run, so every run needs a name of its own: old marks would swallow its rows.
        self._journal = Numbers(f"{worker_id}.{secrets.token_hex(6)}") if journal is None else journal
        self._held: dict[str, Hold] = {}
        self._counts: dict[str, int] = {}
        self._open: dict[str, Hold] = {}
        self._announced: dict[str, asyncio.Future[int]] = {}
        self._loop = asyncio.get_running_loop()
        self._lanes: dict[str, tuple[ReserveLane, SettleLane]] = {}
        self._unregistered: set[str] = set()
        self._read_back = ReadBack(self._journal)
        self._lossy: set[str] = set()
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
            StoreUnavailable: no answer in time, ``not_after_ms`` has passed, too many rows wait for the store, or it has been
                away for ``wait_s``.
        """
        if self._waiting >= self._most_waiting:
            raise StoreUnavailable(f"{self._waiting} rows wait for the store; nothing is admitted until it takes them")
        result: asyncio.Future[int] = self._loop.create_future()
        if hold.grows:
            result.add_done_callback(partial(self._grown, hold))
        else:
            if len(self._held) >= _MOST_HELD:
                self._forget_refused()
            self._held[hold.attempt] = hold
        self._lane(hold.tenant)[0].add(hold, result)
        return result

    def _grown(self, hold: Hold, result: asyncio.Future[int]) -> None:
        if not result.cancelled() and result.exception() is None and hold.attempt in self._open:
            self._open[hold.attempt] = msgspec.structs.replace(hold, grows=False)

    def counted(self, limit: Limit) -> int:
        """What a limit counts, as far as the last reservation under it tells."""
        return self._counts.get(limit.name, 0)

    def sent(self, row: Row) -> None:
        """Write down that the attempt is about to be sent, with the row to book if nothing more is heard of it.

        Raises:
            JournalUnavailable: it could not be written down, so the attempt must not be sent.
        """
        row, packed = packed_row(row)
        self._journal.sent(row.attempt, packed)
        hold = self._held.pop(row.attempt, None)
        if hold is not None:
            self._open[row.attempt] = hold

    def settle(self, row: Row) -> None:
        """Queue the row; its hold is freed in the same atomic step. ``released`` rows only free the hold.

        Written down before it is queued, so that this process may die at once.
        """
        lane = self._lane(row.tenant)[1]
        attempt, (row, packed) = row.attempt, packed_row(row)
        self._open.pop(attempt, None)
        self._held.pop(attempt, None)
        announced = self._announced.pop(attempt, None)
        if announced is not None:
            # Not any more; and if it reaches the store after this row, it is freed again as nobody's.
            announced.cancel()
        number, segment = self._journal.ended(row.attempt, packed, released=row.outcome == "released")
        lane.rows.append((number, row, packed, segment))
        self._gathered(lane, 1, len(lane.rows))

    async def flush(self) -> None:
        """Return once every queued row is in the store.

        Raises:
            StoreUnavailable: rows still wait after ``flush_s`` seconds; they stay queued and are still being sent.
        """
        await self._flush(self._flush_s)

    async def _flush(self, bound_s: float) -> None:
        self._push_gathered()
        if not self._waiting:
            return
        drained: asyncio.Future[None] = self._loop.create_future()
        self._drained.append(drained)
        try:
            async with asyncio.timeout(bound_s):
                await drained
        except TimeoutError:
            raise StoreUnavailable(f"{self._waiting} rows still wait for the store after {bound_s:g} s") from None

    async def close(self) -> None:
        """Flush, and stop sending whatever the outcome. The journal goes if the store has everything for good.

        Raises:
            StoreUnavailable: as `flush`; the rows are then left to who adopts the journal.
        """
        settled = False
        try:
            # What is on this disk need not wait long for a store that is away: it may have ended with the supervisor.
            gone = isinstance(self._journal, Journal) and not self._connection.up
            await self._flush(min(self._flush_s, GONE_S) if gone else self._flush_s)
            settled = await self._is_durable() and await self._sign_off()
        finally:
            self._journal.close(remove=settled)
            self._connection.on_connect.remove(self._reconnected)
            for lanes in self._lanes.values():
                for lane in lanes:
                    lane.stop()
            for timer in self._later:
                timer.cancel()
            if self._timer is not None:
                self._timer.cancel()

    async def _is_durable(self) -> bool:
        """Whether the store has on its disk what it has booked, as far as it has one. Within a call's time."""
        try:
            on_disk, _ = await self._connection.call("WAITAOF", 1, 0, _AOF_WAIT_MS)
        except StoreRefused as refusal:
            return "appendonly is disabled" in str(refusal)
        except StoreUnavailable:
            return False
        return bool(on_disk)

    async def _sign_off(self) -> bool:
        """Say that nothing is left in the journal: what is still held was called off, and is no money spent."""
        if self._open or not isinstance(self._journal, Journal):
            return not self._open
        try:
            await self._connection.script(BEAT, [PLATFORM_JOURNALS], ["-", self._journal.name])
        except StoreUnavailable:
            return False
        return True

    def _lane(self, tenant: str) -> tuple[ReserveLane, SettleLane]:
        lanes = self._lanes.get(tenant)
        if lanes is None:
            prefix = tenant_prefix(tenant)

            def orphaned(holds: list[Hold]) -> None:
                self._free_later(settle, holds)

            settle = SettleLane(self._connection, prefix, self._journal, self, takes_back=True)
            whose = (self._connection, prefix, self._worker, self.heard, orphaned)
            reserve = ReserveLane(*whose, counts=self._counts, wait_s=self._wait_s)
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

        def free() -> None:
            self._later.discard(timer)
            # What runs was only announced again; it ends its hold itself.
            attempts = [hold.attempt for hold in holds if hold.attempt not in self._open]
            for attempt in attempts:
                self._held.pop(attempt, None)
            self._free(lane, attempts)

        timer = self._loop.call_later(max(wait_s, _LATE_S), free)
        self._later.add(timer)

    def _free(self, lane: SettleLane, attempts: list[str]) -> None:
        if attempts:
            self._gathered(lane, lane.free(attempts), max(len(lane.ends), len(lane.rows)))

    async def tidy(self) -> None:
        """Free what the store still holds for this worker and no attempt here knows of, where it has lost what freed it.

        Raises:
            StoreUnavailable: it is to be called again.
        """
        for tenant in tuple(self._lossy):
            bound = self.store_ms() - _STRAY_MS
            held = await held_by(self._connection, tenant)
            holds = {attempt: read_held(text) for attempt, text in held.items()}
            mine = [name for name, hold in holds.items() if hold.journal == self._worker and hold.at_ms < bound]
            self._lossy.discard(tenant)
            self._free(self._lane(tenant)[1], [name for name in mine if not self.alive(name)])

    def _reconnected(self) -> None:
        self._register()
        self._announce()
        for reserve, settle in self._lanes.values():
            settle.replay()
            reserve.back(self.store_ms())

    def _announce(self) -> None:
        # The store may have lost its last moments, and with them holds of attempts that still run. Asking again for
        # one that it has changes nothing.
        now_ms = self.store_ms()
        for hold in self._open.values():
            result: asyncio.Future[int] = self._loop.create_future()
            self._announced[hold.attempt] = result
            result.add_done_callback(partial(self._heard_of, hold.attempt))
            again = msgspec.structs.replace(hold, not_after_ms=now_ms + ANNOUNCED_MS, terms=lasting(hold.terms, now_ms))
            self._lane(hold.tenant)[0].add(again, result, waits=False)

    def _heard_of(self, attempt: str, result: asyncio.Future[int]) -> None:
        """An announcement has landed; its attempt goes on whatever came of it."""
        if not result.cancelled():
            result.exception()
            if self._announced.get(attempt) is result:
                del self._announced[attempt]

    def _forget_refused(self) -> None:
        """Drop holds that were refused or called off: their attempts will not be sent."""
        bound = self.store_ms() - ANNOUNCED_MS - 1_000 * self._wait_s
        self._held = {name: hold for name, hold in self._held.items() if hold.not_after_ms > bound}

    # What lanes tell.

    def heard(self, now_ms: int) -> None:
        """The store's time came with an answer."""
        self._ahead_ms = now_ms - self._clock.now_ms()

    def monotonic(self) -> float:
        """Seconds; differences only."""
        return self._clock.monotonic()

    def again(self, entries: int) -> None:
        """Entries wait once more."""
        self._waiting += entries

    def alive(self, attempt: str) -> bool:
        """Whether an attempt may still end with a row."""
        return attempt in self._open or attempt in self._held

    def read_back(self, tenant_prefix: str, above: int) -> asyncio.Future[list[Entry]]:
        """The store has lost rows above this number: all that the journal still has of them."""
        self._lossy |= {tenant for tenant, lanes in self._lanes.items() if lanes[1].prefix == tenant_prefix}
        return self._read_back.entries(tenant_prefix, above)

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

    def doubtful(self, tenant_prefix: str, number: int, entries: int) -> None:
        """Rows of this batch may be missing in the store; somebody must look."""
        _log.error("ledger_batch_doubtful", keys=tenant_prefix, journal=self._journal.name, seq=number, entries=entries)

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
