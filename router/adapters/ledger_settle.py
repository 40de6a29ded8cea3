"""Settling for one tenant: numbered batches, each booked exactly once and in order.

Belongs here: gathering rows, making a batch of them, repeating it until the store has it. Does not belong here: when
a batch is due (the ledger owns the timer), and the journal on disk that outlives this process.
"""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from router.adapters.resp import Arg, RespConnection, Script, StoreRefused
from router.adapters.store_layout import (
    DIMENSIONS,
    HOUR_MS,
    MEASURES,
    REQUESTS,
    SEPARATOR,
    encode_row,
    hour_of,
    storable,
)
from router.ports import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from router.core.values import Row

TRIGGER_ROWS: Final = 64
_MOST_ROWS: Final = 128
_KEPT_S: Final = 3.0
"""How long a booked batch is kept. The store writes its file before it answers, but may put that off for up to 2 s
while the disk is busy; a store that dies then comes back without the last batches, and they are sent again."""
_FIRST_PAUSE_S: Final = 0.02
_LAST_PAUSE_S: Final = 1.0

SETTLE: Final = Script("settle")
_dimensions_of: Final = attrgetter(*DIMENSIONS)
_measures_of: Final = attrgetter(*MEASURES.values())
_LETTERS: Final = (REQUESTS, *MEASURES)


class Owner(Protocol):
    """What a lane tells the ledger."""

    def heard(self, now_ms: int) -> None:
        """The store's time."""

    def booked(self, entries: int) -> None:
        """Entries that no longer wait."""

    def monotonic(self) -> float:
        """Seconds; differences only."""

    def failing(self, tenant_prefix: str, failure: BaseException) -> None:
        """A batch failed for the first time."""

    def recovered(self, seconds: float) -> None:
        """It was taken after failing for that long."""

    def doubtful(self, tenant_prefix: str, sequence: int, entries: int) -> None:
        """The store says that it has a batch which it cannot have booked whole."""


class Batch(msgspec.Struct):
    """One script call, encoded once, so that a repetition is the same to the byte."""

    keys: list[str]
    args: list[Arg]
    entries: int
    sequence: int
    booked_at: float = 0.0
    maybe_booked: bool = False
    """True once an answer may have been lost, so that the store may know the number already."""


class SettleLane:
    """The rows of one tenant on their way to the store. One batch flies at a time.

    Args:
        connection: where calls go.
        prefix: of the tenant's keys.
        journal: names this sequence of batches in the store; never used by another process or run.
        owner: the ledger.
    """

    __slots__ = (
        "_batches", "_booked", "_connection", "_failing_since", "_flying", "_hours", "_journal", "_owner", "_pause",
        "_prefix", "_pruner", "_retry", "_sequence", "due", "ends", "rows",
    )  # fmt: skip  # one name a line would be longer than the class's state is worth

    def __init__(self, connection: RespConnection, prefix: str, journal: str, owner: Owner) -> None:
        self.rows: list[Row] = []
        self.ends: list[str] = []
        """Attempts whose holds are to be freed without a row."""
        self.due = False
        """True when what has gathered should go as soon as nothing flies."""
        self._connection = connection
        self._prefix = prefix
        self._journal = journal
        self._owner = owner
        self._sequence = 0
        self._batches: deque[Batch] = deque()
        self._booked: deque[Batch] = deque()
        self._hours: dict[int, tuple[str, str, str]] = {}
        self._flying = False
        self._pause = 0.0
        self._failing_since = 0.0
        self._retry: asyncio.TimerHandle | None = None
        self._pruner: asyncio.TimerHandle | None = None

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
        self._batches.extendleft(reversed(self._booked))
        self._booked.clear()
        self._cancel_retry()
        if self._batches:
            self._send()
        return again

    def stop(self) -> None:
        """Set no timer off any more; for the end."""
        self._cancel_retry()
        if self._pruner is not None:
            self._pruner.cancel()

    def _cancel_retry(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def _send(self) -> None:
        self._retry = None
        batch = self._batches[0]
        try:
            reply = self._connection.script(SETTLE, batch.keys, batch.args)
        except StoreUnavailable as failure:
            self._failed(failure)
            return
        self._flying = True
        reply.add_done_callback(self._landed)

    def _landed(self, reply: asyncio.Future[Any]) -> None:
        self._flying = False
        failure = reply.exception()
        if failure is not None:
            self._failed(failure)
            return
        batch = self._batches.popleft()
        now = self._owner.monotonic()
        if self._pause:
            self._pause = 0.0
            self._owner.recovered(now - self._failing_since)
        now_ms, fresh = reply.result()
        if not fresh and not batch.maybe_booked:
            # Scripts do not roll back: one that failed half-way has left its mark, and the rest of it is missing.
            self._owner.doubtful(self._prefix, batch.sequence, batch.entries)
        batch.maybe_booked = True
        batch.booked_at = now
        self._booked.append(batch)
        if self._pruner is None:
            self._pruner = asyncio.get_running_loop().call_later(_KEPT_S, self._prune)
        self._owner.heard(now_ms)
        self._owner.booked(batch.entries)
        if self._batches or self.due or len(self.rows) >= TRIGGER_ROWS:
            self.push()

    def _prune(self) -> None:
        # Without a connection nobody knows what the store has lost, so nothing ages.
        bound = self._owner.monotonic() - _KEPT_S
        while self._connection.up and self._booked and self._booked[0].booked_at <= bound:
            self._booked.popleft()
        again_s = _KEPT_S / 4
        self._pruner = asyncio.get_running_loop().call_later(again_s, self._prune) if self._booked else None

    def _failed(self, failure: BaseException) -> None:
        if not self._pause:
            self._failing_since = self._owner.monotonic()
            self._owner.failing(self._prefix, failure)
        if not isinstance(failure, StoreRefused):
            self._batches[0].maybe_booked = True
        self._pause = min(max(2 * self._pause, _FIRST_PAUSE_S), _LAST_PAUSE_S)
        self._retry = asyncio.get_running_loop().call_later(self._pause, self._send)

    def _cut(self) -> Batch:
        rows, self.rows = self.rows[:_MOST_ROWS], self.rows[_MOST_ROWS:]
        ends, self.ends = self.ends[:_MOST_ROWS], self.ends[_MOST_ROWS:]
        entries = len(rows) + len(ends)
        ends += [row.attempt for row in rows]
        self._sequence += 1
        keys = [f"{self._prefix}applied", f"{self._prefix}holds", f"{self._prefix}hours"]
        args: list[Arg] = [self._journal, self._sequence, len(ends), *ends]
        by_hour: dict[int, list[Row]] = {}
        for row in rows:
            if row.outcome != "released":
                by_hour.setdefault(row.at_ms // HOUR_MS, []).append(row)
        for hour, booked in by_hour.items():
            text, *names = self._hour(hour)
            keys += names
            args += _hour_args(text, booked)
        return Batch(keys, args, entries, self._sequence)

    def _hour(self, hour: int) -> tuple[str, str, str]:
        names = self._hours.get(hour)
        if names is None:
            if len(self._hours) > 100:
                self._hours.clear()
            text = hour_of(hour * HOUR_MS)
            names = self._hours[hour] = (text, f"{self._prefix}rows:{text}", f"{self._prefix}cube:{text}")
        return names


def _hour_args(hour: str, rows: list[Row]) -> Iterable[Arg]:
    packed: list[bytes] = []
    cells: dict[tuple[str, ...], list[tuple[int, ...]]] = {}
    corrections: dict[tuple[str, ...], int] = {}
    for given in rows:
        row = given
        try:
            packed.append(encode_row(row))
        except (UnicodeEncodeError, OverflowError):
            row = storable(given)
            packed.append(encode_row(row))
        cells.setdefault(_dimensions_of(row), []).append(_measures_of(row))
        if row.correction_of:
            # Its request has been counted with the row that it corrects.
            corrections[_dimensions_of(row)] = corrections.get(_dimensions_of(row), 0) + 1
    increments: list[Arg] = []
    for dimensions, values in cells.items():
        text = SEPARATOR.join(dimensions)
        if text.count(SEPARATOR) != len(DIMENSIONS) - 1:
            text = SEPARATOR.join(value.replace(SEPARATOR, " ") for value in dimensions)
        count = len(values) - (corrections.get(dimensions, 0) if corrections else 0)
        sums = values[0] if len(values) == 1 else map(sum, zip(*values, strict=True))
        for letter, amount in zip(_LETTERS, chain((count,), sums), strict=True):
            if amount:
                increments += (f"{letter}{SEPARATOR}{text}", amount)
    return chain((hour, len(packed)), packed, (len(increments) // 2,), increments)
