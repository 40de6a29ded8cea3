"""Holds whose worker is gone together with its disk: booked as estimates from what the hold itself says.

Belongs here: finding such holds in the store, and forgetting the marks of journals that are long closed. Does not
belong here: journals on this disk (adoption), which know more.

Whoever was only away finds its journal fenced when it comes back: what was swept is then corrected by the difference.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

import structlog

from router.adapters.journal.adoption import held_by
from router.adapters.journal.journal import Numbers
from router.adapters.ledger.batch import SETTLE, Entry, batch_of, packed_row
from router.adapters.ledger.settle import ESTIMATES, SWEEPS
from router.adapters.store.layout import (
    HELD_DIMENSIONS,
    JOBS_JOURNAL,
    PLATFORM_JOURNALS,
    PLATFORM_SWEEPER,
    PLATFORM_TENANTS,
    Held,
    read_held,
    read_note,
    swept_note,
    tenant_prefix,
)
from router.adapters.store.resp import Arg, Script
from router.core.values import Row

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.adapters.store.connection import StoreConnection

FENCE: Final = Script("fence")
NOTE: Final = Script("note")
DEAD_MS: Final = 30_000
"""A journal that nobody has looked after for so long, by the store's clock, has lost its worker."""
MARKS_MS: Final = 24 * 3_600_000
"""How long the marks of a closed journal are kept."""
TURN_MS: Final = 9_000
"""How long one worker's turn to sweep keeps the fleet's others from it."""
_MOST: Final = 128
_log: Final = structlog.get_logger(__name__)


class Sweep:
    """The fleet's sweeping, as far as one worker does it.

    Args:
        connection: to the store; slow calls on it hold up nobody.
        here: whether a journal is on this machine's disk.
    """

    def __init__(self, connection: StoreConnection, here: Callable[[str], bool]) -> None:
        self._connection = connection
        self._here = here

    async def turn(self) -> int:
        """Sweep, if no other worker has done so lately; returns how many holds were ended.

        Raises:
            StoreUnavailable: the rest is left for the next turn.
        """
        call = self._connection.call
        if await call("SET", PLATFORM_SWEEPER, "1", "NX", "PX", TURN_MS) is None:
            return 0
        tenants = [name.decode() for name in await call("SMEMBERS", PLATFORM_TENANTS)]
        journals = await self._journals()
        swept = 0
        for tenant in tenants:
            held: defaultdict[str, dict[str, Held]] = defaultdict(dict)
            for attempt, text in (await held_by(self._connection, tenant)).items():
                hold = read_held(text)
                if hold.journal != JOBS_JOURNAL:
                    held[hold.journal][attempt] = hold
            for journal, holds in held.items():
                swept += await self._end(tenant, journal, holds, journals)
        await self._forget(tenants, journals)
        return swept

    async def _journals(self) -> dict[str, int]:
        """Milliseconds since each journal was looked after; negative, since it was closed."""
        seconds, micros = await self._connection.call("TIME")
        now = int(seconds) * 1000 + int(micros) // 1000
        flat = await self._connection.call("HGETALL", PLATFORM_JOURNALS)
        found = {}
        for name, text in zip(flat[::2], flat[1::2], strict=True):
            at_ms = int(text)
            found[name.decode()] = now - at_ms if at_ms > 0 else -(now + at_ms) - 1
        return {"": now, **found}

    async def _end(self, tenant: str, journal: str, holds: dict[str, Held], journals: dict[str, int]) -> int:
        now = journals[""]
        # Of a journal that nobody has heard of, or that is closed, the hold's own age counts.
        away = journals.get(journal, -1)
        if away < 0:
            holds = {attempt: hold for attempt, hold in holds.items() if hold.at_ms < now - DEAD_MS}
        elif away < DEAD_MS:
            return 0
        if not holds or self._here(journal):
            return 0
        closed = journal in journals and away < 0
        ended = 0
        attempts = list(holds)
        for start in range(0, len(attempts), _MOST):
            part = {attempt: holds[attempt] for attempt in attempts[start : start + _MOST]}
            if closed:
                ended += await self._book(tenant, journal, [], list(part))
            elif await self._still_away(journal):
                ended += await self._estimate(tenant, journal, part)
        _log.warning("holds_swept", journal=journal, tenant=tenant, holds=ended, sent=not closed)
        return ended

    async def _still_away(self, journal: str) -> bool:
        return (await self._journals()).get(journal, DEAD_MS) >= DEAD_MS

    async def _estimate(self, tenant: str, journal: str, holds: dict[str, Held]) -> int:
        prefix = tenant_prefix(tenant)
        fence = [journal + SWEEPS, journal, journal + ESTIMATES]
        before = int(await self._connection.script(FENCE, [f"{prefix}applied"], fence))
        # From here on nothing of the journal is settled, so what is still held now is not booked.
        there = await self._connection.call("HMGET", f"{prefix}holds", *holds)
        left = {name: read_held(text.decode()) for name, text in zip(holds, there, strict=True) if text is not None}
        if not left:
            return 0
        # A sweep that was cut short has noted its rows: these are the ones to book.
        noted = f"{prefix}swept:{journal}"
        args: list[Arg] = [journal + SWEEPS, before]
        for attempt, hold in left.items():
            args += (attempt, swept_note(packed_row(_row(attempt, tenant, hold))[0]))
        rows = [read_note(note) for note in await self._connection.script(NOTE, [f"{prefix}applied", noted], args)]
        if not rows:
            return 0
        # A note of another time than the hold's was booked before its worker came back, and told of it, and went again.
        news = [row for row in rows if row.at_ms == left[row.attempt].at_ms]
        ends = [row.attempt for row in rows if row.at_ms != left[row.attempt].at_ms]
        return await self._book(tenant, journal, news, ends, before)

    async def _book(
        self, tenant: str, journal: str, rows: list[Row], ends: list[str], before: int | None = None
    ) -> int:
        prefix = tenant_prefix(tenant)
        numbers = Numbers(journal + SWEEPS)
        if before is None:
            before = int(await self._connection.call("HGET", f"{prefix}applied", numbers.name) or 0)
        numbers.reach(before)
        number = numbers.next()
        entries: list[Entry] = [(number, *packed_row(row), None) for row in rows]
        batch = batch_of(prefix, numbers.name, (number, number), entries, ends)
        _, fresh, *_ = await self._connection.script(SETTLE, batch.keys, batch.args)
        return batch.entries if fresh == 1 else 0

    async def _forget(self, tenants: list[str], journals: dict[str, int]) -> None:
        for journal in [name for name, away in journals.items() if name and away < -MARKS_MS]:
            for tenant in tenants:
                prefix = tenant_prefix(tenant)
                marks = (journal, journal + ESTIMATES, journal + SWEEPS)
                await self._connection.call("HDEL", f"{prefix}applied", *marks)
                await self._connection.call("DEL", f"{prefix}swept:{journal}")
            await self._connection.call("HDEL", PLATFORM_JOURNALS, journal)


def _row(attempt: str, tenant: str, held: Held) -> Row:
    """All that is left to say: it was held, so it is taken to have cost that much."""
    dimensions = (*held.dimensions, *("" for _ in HELD_DIMENSIONS))
    known: dict[str, Any] = dict(zip(HELD_DIMENSIONS, dimensions, strict=False))
    return Row(
        attempt=attempt,
        at_ms=held.at_ms,
        tenant=tenant,
        **known,
        tags=(),
        requested_model="",
        outcome="upstream_interrupted",
        status=500,
        certainty="estimated",
        prompt_tokens=0,
        cached_tokens=0,
        cache_write_tokens=0,
        completion_tokens=0,
        reasoning_tokens=0,
        price_version="",
        cost_pico=held.amount_nano * 1000,
        cost_nano=held.amount_nano,
        estimated_nano=held.amount_nano,
        baseline_nano=held.amount_nano,
        runner_up_nano=0,
        ttft_ms=0,
        total_ms=0,
        snapshot="",
        budgets=held.budgets,
    )
