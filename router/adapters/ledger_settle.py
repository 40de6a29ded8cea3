"""Settling for one tenant: numbered batches, each booked exactly once and in order.

Belongs here: gathering rows, making a batch of them, repeating it until the store has it for good. Does not belong
here: when a batch is due (the ledger owns the timer), and the journal that gives rows their numbers (journal.py).
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from router.adapters.resp import Arg, Script, StoreRefused
from router.adapters.store_layout import (
    DIMENSIONS,
    HOUR_MS,
    MEASURES,
    REQUESTS,
    SEPARATOR,
    encode_row,
    hour_of,
    read_note,
    storable,
)
from router.core.corrections import correction
from router.core.values import Row
from router.ports import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from router.adapters.journal import Numbers, Segment
    from router.adapters.store_connection import StoreConnection

TRIGGER_ROWS: Final = 64
_MOST_ROWS: Final = 128
_KEPT_S: Final = 3.0
"""How long a booked batch is kept. The store writes its file before it answers, but may put that off for up to 2 s
while the disk is busy; a store that dies then comes back without the last batches, and they are sent again."""
_FIRST_PAUSE_S: Final = 0.02
_LAST_PAUSE_S: Final = 1.0

SETTLE: Final = Script("settle")
UNFENCE: Final = Script("unfence")
ESTIMATES: Final = "+"
"""Ends the name under which an adopted journal's estimates are numbered, beside its rows."""
SWEEPS: Final = "~"
"""Ends the name under which a journal's sweeps are numbered, and the mark of a journal that was swept."""
_CUT_ANEW: Final = 2
_dimensions_of: Final = attrgetter(*DIMENSIONS)
_measures_of: Final = attrgetter(*MEASURES.values())
_LETTERS: Final = (REQUESTS, *MEASURES)


Entry = tuple[int, Row, bytes, "Segment | None"]
"""A row with its number in the journal, its bytes, and where in the journal it lies."""


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


class Batch(msgspec.Struct, eq=False):
    """One script call, encoded once, so that a repetition is the same to the byte."""

    keys: list[str]
    args: list[Arg]
    rows: list[Entry]
    ends: list[str]
    number: int
    """The last of its rows'."""
    periods: list[str]
    """Names of the budget periods that it charges, in the order of its arguments."""
    booked_at: float = 0.0
    maybe_booked: bool = False
    """True once an answer may have been lost, so that the store may know the number already."""

    @property
    def entries(self) -> int:
        """How many wait for this batch."""
        return len(self.rows) + len(self.ends)


class SettleLane:
    """The rows of one tenant on their way to the store. One batch flies at a time.

    Args:
        connection: where calls go.
        prefix: of the tenant's keys.
        journal: names and numbers this sequence of rows.
        owner: the ledger.
    """

    __slots__ = (
        "_batches", "_booked", "_connection", "_failing_since", "_flying", "_journal", "_owner", "_pause",
        "_prefix", "_pruner", "_retry", "_swept", "due", "ends", "rows",
    )  # fmt: skip  # one name a line would be longer than the class's state is worth

    def __init__(self, connection: StoreConnection, prefix: str, journal: Numbers, owner: Owner) -> None:
        self.rows: list[Entry] = []
        self.ends: list[str] = []
        """Attempts whose holds are to be freed without a row."""
        self.due = False
        """True when what has gathered should go as soon as nothing flies."""
        self._connection = connection
        self._prefix = prefix
        self._journal = journal
        self._owner = owner
        self._batches: deque[Batch] = deque()
        self._booked: deque[Batch] = deque()
        self._swept: dict[str, Row] = {}
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

    def replay(self) -> int:
        """Queue again what was booked in the last seconds, and send at once; returns how many entries were added.

        For a new connection: the store may have lost them. What it has, it knows by number.
        """
        again = sum(batch.entries for batch in self._booked)
        # By number: behind a later mark an earlier batch would never be booked again.
        self._batches = deque(sorted((*self._booked, *self._batches), key=attrgetter("number")))
        self._booked.clear()
        retrying = self._cancel_retry()
        if (self._batches or retrying) and not self._flying:
            self._send()
        return again

    def cut_anew(self) -> None:
        """Ask the store what it has of this journal, and send the rest: whoever held the journal before may have settled
        some of it, and if it was taken for lost, estimates have been booked, so that the truth is a correction.
        """
        base = self._journal.name.removesuffix(ESTIMATES)
        keys = [f"{self._prefix}applied", f"{self._prefix}holds", f"{self._prefix}swept:{base}"]
        try:
            reply = self._connection.script(UNFENCE, keys, [self._journal.name, base + SWEEPS])
        except StoreUnavailable as failure:
            self._failed(failure)
            return
        self._flying = True
        reply.add_done_callback(self._told)

    def stop(self) -> None:
        """Set no timer off any more; for the end."""
        self._cancel_retry()
        if self._pruner is not None:
            self._pruner.cancel()

    def _cancel_retry(self) -> bool:
        retry, self._retry = self._retry, None
        if retry is not None:
            retry.cancel()
        return retry is not None

    def _send(self) -> None:
        self._retry = None
        if not self._batches:
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
        # Not always the first: a replay may have put others before it, when another node of a cluster came back.
        self._batches.remove(batch)
        now = self._owner.monotonic()
        self._well(now)
        if spent:
            self._owner.spent(self._prefix, dict(zip(batch.periods, spent, strict=True)))
        if not fresh and not batch.maybe_booked:
            # Scripts do not roll back: one that failed half-way has left its mark, and the rest of it is missing.
            self._owner.doubtful(self._prefix, batch.number, batch.entries)
        self._keep(batch, now)
        self._owner.heard(now_ms)
        self._owner.booked(batch.entries)
        if self._batches or self.due or len(self.rows) >= TRIGGER_ROWS:
            self.push()

    def _told(self, reply: asyncio.Future[Any]) -> None:
        """The mark, and what was swept, are here."""
        self._flying = False
        failure = reply.exception()
        if failure is not None:
            self._failed(failure)
            return
        now = self._owner.monotonic()
        self._well(now)
        text, *swept = reply.result()
        mark = int(text)
        self._journal.reach(mark)
        rows = [read_note(note) for note in swept[1::2]]
        self._swept = {row.attempt: row for row in rows}
        entries = [entry for batch in self._batches for entry in batch.rows] + self.rows
        self.ends[:0] = [end for batch in self._batches for end in batch.ends]
        self._batches.clear()
        known = [entry for entry in entries if entry[0] <= mark]
        for start in range(0, len(known), _MOST_ROWS):
            self._keep(self._batch(known[start : start + _MOST_ROWS], []), now)
        self.rows = [entry for entry in entries if entry[0] > mark]
        self._owner.booked(len(known))
        self.push()

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
            self._journal.forget(entry[3] for entry in self._booked.popleft().rows)
        again_s = _KEPT_S / 4
        self._pruner = asyncio.get_running_loop().call_later(again_s, self._prune) if self._booked else None

    def _failed(self, failure: BaseException, batch: Batch | None = None) -> None:
        if not self._pause:
            self._failing_since = self._owner.monotonic()
            self._owner.failing(self._prefix, failure)
        if batch is not None and not isinstance(failure, StoreRefused):
            batch.maybe_booked = True
        self._pause = min(max(2 * self._pause, _FIRST_PAUSE_S), _LAST_PAUSE_S)
        self._retry = asyncio.get_running_loop().call_later(self._pause, self._send)

    def _cut(self) -> Batch:
        rows, self.rows = self.rows[:_MOST_ROWS], self.rows[_MOST_ROWS:]
        ends, self.ends = self.ends[:_MOST_ROWS], self.ends[_MOST_ROWS:]
        return self._batch(rows, ends)

    def _batch(self, entries: list[Entry], freed: list[str]) -> Batch:
        if self._swept:
            entries = [self._corrected(entry) for entry in entries]
        first, last = (entries[0][0], entries[-1][0]) if entries else (self._journal.next(),) * 2
        return batch_of(self._prefix, self._journal.name, (first, last), entries, freed)

    def _corrected(self, entry: Entry) -> Entry:
        booked = self._swept.get(entry[1].attempt)
        if booked is None:
            return entry
        return entry[0], *packed_row(correction(entry[1], booked)), entry[3]


def batch_of(prefix: str, journal: str, numbers: tuple[int, int], entries: list[Entry], freed: list[str]) -> Batch:
    """One call of the settle script.

    Args:
        prefix: of the tenant's keys.
        journal: the field of the mark.
        numbers: first and last of the entries'; one of its own, twice, for a batch without any.
        entries: rows to book; each ends its attempt's hold.
        freed: attempts whose holds are to be ended without a row.
    """
    # Each once: what is freed twice would be money that somebody else holds. A correction speaks of another's hold.
    ends = list(dict.fromkeys(chain(freed, (entry[1].correction_of or entry[1].attempt for entry in entries))))
    keys = [f"{prefix}applied", f"{prefix}holds", f"{prefix}hours"]
    charges = _charges(entry[1] for entry in entries)
    args: list[Arg] = [journal, f"{numbers[0]}:{numbers[1]}", len(ends), *ends, len(charges)]
    for charge in charges.items():
        args += charge
    by_hour: dict[int, list[Entry]] = {}
    for entry in entries:
        row = entry[1]
        if row.outcome != "released" or row.correction_of:
            by_hour.setdefault(row.at_ms // HOUR_MS, []).append(entry)
    for hour, booked in by_hour.items():
        text = hour_of(hour * HOUR_MS)
        keys += (f"{prefix}rows:{text}", f"{prefix}cube:{text}")
        args += _hour_args(text, booked)
    return Batch(keys, args, entries, freed, numbers[1], list(charges))


def _charges(rows: Iterable[Row]) -> dict[str, int]:
    """Budget periods and what these rows spend in each, in nano-dollars."""
    alike: dict[tuple[str, ...], int] = {}
    for row in rows:
        if row.budgets and row.cost_nano:
            alike[row.budgets] = alike.get(row.budgets, 0) + row.cost_nano
    sums: dict[str, int] = {}
    for names, spent in alike.items():
        for name in names:
            sums[name] = sums.get(name, 0) + spent
    return {name: spent for name, spent in sums.items() if spent}


def packed_row(row: Row) -> tuple[Row, bytes]:
    """The row and its bytes; of a row that cannot be stored, of the nearest that can."""
    try:
        return row, encode_row(row)
    except (UnicodeEncodeError, OverflowError):
        row = storable(row)
        return row, encode_row(row)


def _hour_args(hour: str, entries: list[Entry]) -> Iterable[Arg]:
    cells: dict[tuple[str, ...], list[tuple[int, ...]]] = {}
    for _, row, _, _ in entries:
        # A correction is no further request.
        cells.setdefault(_dimensions_of(row), []).append((not row.correction_of, *_measures_of(row)))
    increments: list[Arg] = []
    for dimensions, values in cells.items():
        text = SEPARATOR.join(dimensions)
        if text.count(SEPARATOR) != len(DIMENSIONS) - 1:
            text = SEPARATOR.join(value.replace(SEPARATOR, " ") for value in dimensions)
        sums = values[0] if len(values) == 1 else map(sum, zip(*values, strict=True))
        for letter, amount in zip(_LETTERS, sums, strict=True):
            if amount:
                increments += (f"{letter}{SEPARATOR}{text}", int(amount))
    packed = [entry[2] for entry in entries]
    return chain((hour, len(packed)), packed, (len(increments) // 2,), increments)
