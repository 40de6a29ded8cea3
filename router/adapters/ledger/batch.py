"""What one call of the settle script carries: rows, the holds that they end, budgets and cube cells that they add to.

Belongs here: from rows to arguments. Does not belong here: when a batch goes out, and again (settle.py).
"""

from __future__ import annotations

from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Final

import msgspec

from router.adapters.store.layout import (
    DIMENSIONS,
    HOUR_MS,
    MEASURES,
    REQUESTS,
    SEPARATOR,
    UNIT_MEASURES,
    encode_row,
    hour_of,
    storable,
)
from router.adapters.store.resp import Arg, Script
from router.core.budgets.limits import corrections
from router.core.meters import unit_sums
from router.core.values import Row

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from router.adapters.journal.journal import Segment

SETTLE: Final = Script("settle")
_dimensions_of: Final = attrgetter(*DIMENSIONS)
_measures_of: Final = attrgetter(*MEASURES.values())
_LETTERS: Final = (REQUESTS, *MEASURES)


Entry = tuple[int, Row, bytes, "Segment | None"]
"""A row with its number in the journal, its bytes, and where in the journal it lies."""


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


def batch_of(
    prefix: str,
    journal: str,
    numbers: tuple[int, int],
    entries: list[Entry],
    freed: list[str],
    *,
    answered: Iterable[str] = (),
) -> Batch:
    """One call of the settle script.

    Args:
        prefix: of the tenant's keys.
        journal: the field of the mark.
        numbers: first and last of the entries'; one of its own, twice, for a batch without any.
        entries: rows to book; each ends its attempt's hold.
        freed: attempts whose holds are to be ended without a row.
        answered: swept attempts whose truth is among the entries.
    """
    # Each once: what is freed twice would be money that somebody else holds. A correction speaks of another's hold.
    ends = list(dict.fromkeys(chain(freed, (entry[1].correction_of or entry[1].attempt for entry in entries))))
    keys = [f"{prefix}applied", f"{prefix}holds", f"{prefix}hours"]
    charges = _charges([entry[1] for entry in entries])
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
    args += answered
    return Batch(keys, args, entries, freed, numbers[1], list(charges))


def _charges(rows: Sequence[Row]) -> dict[str, int]:
    """Budget periods and what these rows spend in each, in nano-dollars; rates, and what these rows change in each."""
    alike: dict[tuple[str, ...], int] = {}
    for row in rows:
        if row.budgets and row.cost_nano:
            alike[row.budgets] = alike.get(row.budgets, 0) + row.cost_nano
    sums: dict[str, int] = {}
    for names, spent in alike.items():
        for name in names:
            sums[name] = sums.get(name, 0) + spent
    for row in rows:
        for name, difference in corrections(row) if row.limits else ():
            sums[name] = sums.get(name, 0) + difference
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
    units: dict[tuple[str, ...], list[tuple[int, ...]]] = {}
    for _, row, _, _ in entries:
        # A correction is no further request.
        cells.setdefault(_dimensions_of(row), []).append((not row.correction_of, *_measures_of(row)))
        if row.units:
            units.setdefault(_dimensions_of(row), []).append(unit_sums(row.units))
    increments: list[Arg] = []
    for dimensions, values in cells.items():
        text = _cell(dimensions)
        sums = values[0] if len(values) == 1 else map(sum, zip(*values, strict=True))
        for letter, amount in zip(_LETTERS, sums, strict=True):
            if amount:
                increments += (f"{letter}{SEPARATOR}{text}", int(amount))
    for dimensions, values in units.items():
        text = _cell(dimensions)
        for letter, amount in zip(UNIT_MEASURES, map(sum, zip(*values, strict=True)), strict=True):
            if amount:
                increments += (f"{letter}{SEPARATOR}{text}", amount)
    packed = [entry[2] for entry in entries]
    return chain((hour, len(packed)), packed, (len(increments) // 2,), increments)


def _cell(dimensions: tuple[str, ...]) -> str:
    """A cube field's second half."""
    text = SEPARATOR.join(dimensions)
    if text.count(SEPARATOR) != len(DIMENSIONS) - 1:
        text = SEPARATOR.join(value.replace(SEPARATOR, " ") for value in dimensions)
    return text
