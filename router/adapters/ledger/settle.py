"""Settling for one tenant: numbered batches, each booked exactly once and in order.

Belongs here: gathering rows, making a batch of them, repeating it until the store has it for good. Does not belong
here: when a batch is due (the ledger owns the timer), and the journal that gives rows their numbers (journal/journal.py).
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, Protocol

from router.adapters.ledger.batch import SETTLE, Batch, Entry, batch_of, packed_row
from router.adapters.store.layout import read_note
from router.adapters.store.resp import Script, StoreRefused
from router.core.booking.corrections import correction, nothing_of
from router.ports import StoreUnavailable

if TYPE_CHECKING:
    from router.adapters.journal.journal import Numbers
    from router.adapters.store.connection import StoreConnection
    from router.core.values import Row

TRIGGER_ROWS: Final = 64
_MOST_ROWS: Final = 128
_KEPT_S: Final = 3.0
"""How long a booked batch is kept in memory. The store writes its file before it answers, but may put that off for up to
2 s while the disk is busy; a store that dies then comes back without the last batches, and they are sent again. What a
replica that took over lacks beyond that is read from the journal."""
_FIRST_PAUSE_S: Final = 0.02
_LAST_PAUSE_S: Final = 1.0

UNFENCE: Final = Script("unfence")
ESTIMATES: Final = "+"
"""Ends the name under which an adopted journal's estimates are numbered, beside its rows."""
SWEEPS: Final = "~"
"""Ends the name under which a journal's sweeps are numbered, and the mark of a journal that was swept."""
_CUT_ANEW: Final = 2


class Owner(Protocol):
    """What a lane tells the ledger."""

    def heard(self, now_ms: int) -> None:
        """The store's time."""

    def booked(self, entries: int) -> None:
        """Entries that no longer wait."""

    def monotonic(self) -> float:
        """Seconds; differences only."""

    def spent(self, tenant_prefix: str, periods: dict[str, int]) -> None:
        """What budget periods have spent by now."""

    def failing(self, tenant_prefix: str, failure: BaseException) -> None:
        """A batch failed for the first time."""

    def recovered(self, seconds: float) -> None:
        """It was taken after failing for that long."""

    def doubtful(self, tenant_prefix: str, number: int, entries: int) -> None:
        """The store says that it has a batch which it cannot have booked whole."""

    def again(self, entries: int) -> None:
        """Entries that wait once more, or that the lane has added."""

    def alive(self, attempt: str) -> bool:
        """Whether an attempt may still end with a row."""

    def read_back(self, tenant_prefix: str, above: int) -> asyncio.Future[list[Entry]]:
        """The store has lost rows above this number: all that the journal still has of them. Does not fail."""


class SettleLane:
    """The rows of one tenant on their way to the store. One batch flies at a time.

    Args:
        connection: where calls go.
        prefix: of the tenant's keys.
        journal: names and numbers this sequence of rows.
        owner: the ledger.
        forgotten: the highest number that the store had before, of what is not in memory.
        takes_back: whether what was swept and will have no row is to be corrected to nothing.
    """

    __slots__ = (
        "_batches", "_booked", "_connection", "_doubt", "_failing_since", "_flying", "_forgotten", "_journal", "_owner",
        "_pause", "_pruner", "_retry", "_swept", "due", "ends", "prefix", "rows", "takes_back",
    )  # fmt: skip  # one name a line would be longer than the class's state is worth

    def __init__(
        self,
        connection: StoreConnection,
        prefix: str,
        journal: Numbers,
        owner: Owner,
        *,
        forgotten: int = 0,
        takes_back: bool = False,
    ) -> None:
        self.rows: list[Entry] = []
        self.ends: list[str] = []
        """Attempts whose holds are to be freed without a row."""
        self.due = False
        """True when what has gathered should go as soon as nothing flies."""
        self.takes_back = takes_back
        self._connection = connection
        self.prefix = prefix
        self._journal = journal
        self._owner = owner
        self._batches: deque[Batch] = deque()
        self._booked: deque[Batch] = deque()
        self._swept: dict[str, Row] = {}
        self._forgotten = forgotten
        self._doubt = False
        self._flying = False
        self._pause = 0.0
        self._failing_since = 0.0
        self._retry: asyncio.TimerHandle | None = None
        self._pruner: asyncio.TimerHandle | None = None

    @property
    def booked(self) -> bool:
        """True when the store has everything, though it may yet lose the last of it."""
        return not (self.rows or self.ends or self._batches or self._flying)

    @property
    def idle(self) -> bool:
        """True when the store has everything for good."""
        return self.booked and not self._booked

    def push(self) -> None:
        """Send what has gathered, now or when the batch under way has landed."""
        if self._flying or self._retry is not None:
            self.due = True
            return
        if not self._batches:
            if not self.rows and not self.ends:
                self.due = False
                return
            self._batches.append(self._cut())
            self.due = bool(self.rows or self.ends)
        self._send()

    def replay(self) -> None:
        """Ask what the store has, and send the rest again. For a new connection: the store may have lost some of it."""
        if not (self._flying or self._forgotten or self._booked or self._batches or self.rows or self.ends):
            return
        self._doubt = True
        self._cancel_retry()
        if not self._flying:
            self._send()

    def cut_anew(self) -> None:
        """Ask the store what it has of this journal, and send the rest: it may have lost some, whoever held the journal
        before may have settled some, and if it was taken for lost, estimates have been booked, so that the truth is a
        correction.
        """
        self._doubt = False
        base = self._journal.name.removesuffix(ESTIMATES)
        keys = [f"{self.prefix}applied", f"{self.prefix}holds", f"{self.prefix}swept:{base}"]
        try:
            reply = self._connection.script(UNFENCE, keys, [self._journal.name, base + SWEEPS])
        except StoreUnavailable as failure:
            self._doubt = True
            self._failed(failure)
            return
        self._flying = True
        reply.add_done_callback(self._told)

    def free(self, attempts: list[str]) -> int:
        """Have these holds ended without a row, or what was swept of them corrected; returns how many. `push` sends."""
        rows = [self._swept[attempt] for attempt in attempts if attempt in self._swept]
        self.rows += [(self._journal.next(), *packed_row(nothing_of(row)), None) for row in rows]
        self.ends += [attempt for attempt in attempts if attempt not in self._swept]
        return len(attempts)

    def stop(self) -> None:
        """Set no timer off any more; for the end."""
        self._cancel_retry()
        if self._pruner is not None:
            self._pruner.cancel()

    def _cancel_retry(self) -> None:
        retry, self._retry = self._retry, None
        if retry is not None:
            retry.cancel()

    def _send(self) -> None:
        self._retry = None
        if self._doubt or not self._batches:
            self.cut_anew()
            return
        batch = self._batches[0]
        try:
            reply = self._connection.script(SETTLE, batch.keys, batch.args)
        except StoreUnavailable as failure:
            self._failed(failure, batch)
            return
        self._flying = True
        reply.add_done_callback(partial(self._landed, batch))

    def _landed(self, batch: Batch, reply: asyncio.Future[Any]) -> None:
        self._flying = False
        failure = reply.exception()
        if failure is not None:
            self._failed(failure, batch)
            return
        now_ms, fresh, *spent = reply.result()
        if fresh == _CUT_ANEW:
            self.cut_anew()
            return
        self._batches.popleft()
        now = self._owner.monotonic()
        self._well(now)
        if spent:
            self._owner.spent(self.prefix, dict(zip(batch.periods, spent, strict=True)))
        if not fresh and not batch.maybe_booked:
            # Scripts do not roll back: one that failed half-way has left its mark, and the rest of it is missing.
            self._owner.doubtful(self.prefix, batch.number, batch.entries)
        self._keep(batch, now)
        self._owner.heard(now_ms)
        self._owner.booked(batch.entries)
        if self._doubt:
            self._send()
        elif self._batches or self.due or len(self.rows) >= TRIGGER_ROWS:
            self.push()

    def _told(self, reply: asyncio.Future[Any]) -> None:
        """The mark, and what was swept, are here."""
        self._flying = False
        failure = reply.exception()
        if failure is not None:
            self._doubt = True
            self._failed(failure)
            return
        self._well(self._owner.monotonic())
        text, *swept = reply.result()
        mark = int(text)
        self._journal.reach(mark)
        rows = [read_note(note) for note in swept[1::2]]
        self._swept = {row.attempt: row for row in rows}
        if mark >= self._forgotten:
            self._resume(mark, [])
            return
        self._flying = True
        self._owner.read_back(self.prefix, mark).add_done_callback(partial(self._read_back, mark))

    def _read_back(self, mark: int, found: asyncio.Future[list[Entry]]) -> None:
        self._flying = False
        if not found.cancelled():
            self._resume(mark, found.result())

    def _resume(self, mark: int, found: list[Entry]) -> None:
        """Everything above the mark goes out again, in the order of its numbers."""
        lost = [batch for batch in self._booked if batch.number > mark]
        self._booked = deque(batch for batch in self._booked if batch.number <= mark)
        redone = [*lost, *self._batches]
        entries = {entry[0]: entry for entry in (*(row for batch in redone for row in batch.rows), *self.rows)}
        older = [entry for entry in found if entry[0] not in entries]
        self._journal.forget(entry[3] for entry in found if entry[0] in entries)
        self._owner.again(len(older) + sum(batch.entries for batch in lost))
        self.ends[:0] = [end for batch in redone for end in batch.ends]
        self._batches.clear()
        ordered = sorted((*older, *entries.values()), key=itemgetter(0))
        known = [entry for entry in ordered if entry[0] <= mark]
        now = self._owner.monotonic()
        for start in range(0, len(known), _MOST_ROWS):
            self._keep(self._batch(known[start : start + _MOST_ROWS], []), now)
        self.rows = [entry for entry in ordered if entry[0] > mark]
        self._owner.booked(len(known))
        if self.takes_back and self._swept:
            self._take_back()
        if self._doubt:
            self._send()
        else:
            self.push()

    def _take_back(self) -> None:
        # The store forgets a note when it books the truth, so what is still noted has only the sweep's row.
        ends = {entry[1].attempt for entry in self.rows}
        never = [name for name in self._swept if name not in ends and not self._owner.alive(name)]
        self._owner.again(self.free(never))

    def _keep(self, batch: Batch, now: float) -> None:
        batch.maybe_booked = True
        batch.booked_at = now
        self._booked.append(batch)
        if self._pruner is None:
            self._pruner = asyncio.get_running_loop().call_later(_KEPT_S, self._prune)

    def _well(self, now: float) -> None:
        if self._pause:
            self._pause = 0.0
            self._owner.recovered(now - self._failing_since)

    def _prune(self) -> None:
        # Without a connection nobody knows what the store has lost, so nothing ages.
        bound = self._owner.monotonic() - _KEPT_S
        while self._connection.up and self._booked and self._booked[0].booked_at <= bound:
            batch = self._booked.popleft()
            self._forgotten = max(self._forgotten, batch.number)
            self._journal.forget(entry[3] for entry in batch.rows)
        again_s = _KEPT_S / 4
        self._pruner = asyncio.get_running_loop().call_later(again_s, self._prune) if self._booked else None

    def _failed(self, failure: BaseException, batch: Batch | None = None) -> None:
        if not self._pause:
            self._failing_since = self._owner.monotonic()
            self._owner.failing(self.prefix, failure)
        if batch is not None and not isinstance(failure, StoreRefused):
            batch.maybe_booked = True
        self._pause = min(max(2 * self._pause, _FIRST_PAUSE_S), _LAST_PAUSE_S)
        self._retry = asyncio.get_running_loop().call_later(self._pause, self._send)

    def _cut(self) -> Batch:
        rows, self.rows = self.rows[:_MOST_ROWS], self.rows[_MOST_ROWS:]
        ends, self.ends = self.ends[:_MOST_ROWS], self.ends[_MOST_ROWS:]
        return self._batch(rows, ends)

    def _batch(self, entries: list[Entry], freed: list[str]) -> Batch:
        numbers = (entries[0][0], entries[-1][0]) if entries else (self._journal.next(),) * 2
        if not self._swept:
            return batch_of(self.prefix, self._journal.name, numbers, entries, freed)
        answered = [entry[1].attempt for entry in entries if entry[1].attempt in self._swept]
        corrected = [self._corrected(entry) for entry in entries]
        batch = batch_of(self.prefix, self._journal.name, numbers, corrected, freed, answered=answered)
        batch.rows = entries  # as they are: the store may lose what was swept, too
        return batch

    def _corrected(self, entry: Entry) -> Entry:
        booked = self._swept.get(entry[1].attempt)
        if booked is None:
            return entry
        truth = nothing_of(entry[1]) if entry[1].outcome == "released" else entry[1]
        return entry[0], *packed_row(correction(truth, booked)), entry[3]
