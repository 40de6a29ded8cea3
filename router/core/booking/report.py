"""Spend reports: what they can be grouped by, and adding up, whatever the figures are read from.

Belongs here: names of groups, their near misses, what a row's value in each is, and sums. Does not belong here: reading
rows, cubes or the archive (`router.adapters.reports.report`), and how a report is shown (`router.adapters.reports.format`).

Every figure is an integer sum over ledger rows. A correction row adds its signed differences and counts as no request.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from router.core.catalog.catalog import did_you_mean
from router.core.meters import UNIT_SUMS, unit_sums
from router.core.values import Row

CUBE: Final = (
    "team", "app", "key", "endpoint", "policy", "rule", "model", "provider", "tier", "outcome", "certainty",
)  # fmt: skip  # a line a name would hide that it is one tuple
"""Dimensions that the store keeps sums of, in its order."""
TIMES: Final = {"hour": "%Y-%m-%dT%HZ", "day": "%Y-%m-%d", "month": "%Y-%m"}
"""Spans of admission in UTC, and how they are written."""
ROW_ONLY: Final = ("user", "requested_model", "tag", "unit", "price_version")
"""What callers write freely, so that only rows know it. ``tag:NAME`` is the value of one tag, ``tag`` all of them."""
GROUPS: Final = (*TIMES, "tenant", *CUBE, *ROW_ONLY)
TAG: Final = "tag:"
ATTRIBUTED: Final = "attributed"
"""Not for callers: "1" where a row has a team, "" where it has none."""
CERTAINTIES: Final = ("metered", "counted", "estimated")
HOUR_MS: Final = 3_600_000
MOST_LINES: Final = 10_000
"""Lines of a report: as many as eyes, spreadsheets and an answer's size bear. The rest is one line."""
MOST_GROUPS: Final = 100_000
"""Groups that are kept apart while adding up, about 100 MB: callers write users and tags freely."""

SUMS: Final = (
    "requests",
    "cost_nano",
    "baseline_nano",
    "prompt_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "completion_tokens",
    "reasoning_tokens",
    "cache_saved_nano",
    "would_save_nano",
    *UNIT_SUMS,
)
"""What is added up, in the order of every list of sums. A row has no ``requests``: it is one, a correction none."""

BASELINE: Final = (
    "baseline: the same metered tokens at the price of the model that was asked for, or of the policy's reference where "
    "none was; attempts without either count at their own cost"
)
"""What savings are measured against, in words for whoever reads a report."""
CACHES: Final = "what reading prompts from providers' caches saved, less what writing to them cost beyond fresh input"
WOULD_SAVE: Final = (
    "of policies that only observe: cost less what the same metered tokens would have cost at the model that the policy "
    "would have chosen; nothing where it would have chosen the same, or none"
)
"""What else is modelled, likewise."""


class UnknownGroupError(ValueError):
    """A name that nothing can be grouped by or filtered on; the message has its near misses."""


class Question(msgspec.Struct, frozen=True):
    """What a report is to tell. Hours are since the epoch (UTC), ``until`` not included."""

    since: int
    until: int
    groups: tuple[str, ...] = ()
    filters: tuple[tuple[str, str], ...] = ()
    """(group, value) pairs that all must hold; a group that comes twice may have either value."""
    limit: int = MOST_LINES
    """Most lines, the dearest; at least 1."""

    def __post_init__(self) -> None:
        for name in self.names:
            check_group(name)

    @property
    def names(self) -> tuple[str, ...]:
        """Every group whose value is needed."""
        return (*self.groups, *(name for name, _ in self.filters))

    @property
    def needs_rows(self) -> bool:
        """True when the store's sums by hour do not know all of it."""
        return any(name in ROW_ONLY or name.startswith(TAG) for name in self.names)


class Line(msgspec.Struct, frozen=True):
    """Sums of one group; ``group`` has one text for each name asked for, "" where rows have none."""

    group: tuple[str, ...]
    requests: int = 0
    cost_nano: int = 0
    baseline_nano: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    cache_saved_nano: int = 0
    would_save_nano: int = 0
    tool_calls: int = 0
    images: int = 0
    audio_ms: int = 0
    characters: int = 0
    searches: int = 0
    certainty_nano: dict[str, int] = {}
    """The cost's parts by how the meters were come by."""

    @property
    def saved_nano(self) -> int:
        """Modelled: what the baseline would have cost beyond what was paid. May be negative."""
        return self.baseline_nano - self.cost_nano


class Report(msgspec.Struct, frozen=True):
    """The answer to a `Question`. ``lines`` and ``other`` together are the total."""

    question: Question
    lines: tuple[Line, ...]
    """In time's order where the first group is one, else dearest first."""
    total: Line
    unattributed: Line
    """What has no team; part of the total, whatever it is grouped by."""
    other: Line | None = None
    """The sum of what is beyond the limit of lines."""
    others: int = 0
    """How many groups that is; at least so many where there were more than `MOST_GROUPS`."""
    notes: tuple[str, ...] = ()
    """What whoever reads it should know, in sentences."""


class Totals:
    """Sums by group, gathered from any number of sources.

    Args:
        question: decides the groups; what is added has to pass its filters already, except for `add_rows`.
    """

    def __init__(self, question: Question) -> None:
        self.question = question
        self.sums: dict[tuple[str, ...], list[int]] = {}
        """By the values of `keys`."""
        self.beyond: dict[tuple[str, ...], list[int]] = {}
        """By the last two of `keys`: what came after `MOST_GROUPS`. A group that is kept apart has all that is its own."""
        self._groups: set[tuple[str, ...]] = set()
        self._values = [value_of(name) for name in self.keys]
        self._wanted = [(value_of(name), allowed) for name, allowed in wanted(question).items()]

    @property
    def keys(self) -> tuple[str, ...]:
        """What is kept apart: the groups asked for, certainty, and whether there is a team (`ATTRIBUTED`)."""
        return (*self.question.groups, "certainty", ATTRIBUTED)

    def add(self, key: tuple[str, ...], sums: Sequence[int]) -> None:
        """Add figures in the order of `SUMS` to the group with these values of `keys`."""
        have = self.sums.get(key)
        if have is None and (len(self._groups) < MOST_GROUPS or key[:-2] in self._groups):
            self._groups.add(key[:-2])
            self.sums[key] = list(sums)
        elif have is None:
            before = self.beyond.get(key[-2:], [0] * len(SUMS))
            self.beyond[key[-2:]] = [a + b for a, b in zip(before, sums, strict=True)]
        else:
            self.sums[key] = [a + b for a, b in zip(have, sums, strict=True)]

    def take(self, found: Totals) -> None:
        """Add all that was added to another one of the same question."""
        for key, sums in found.sums.items():
            self.add(key, sums)
        for key, sums in found.beyond.items():
            before = self.beyond.get(key, [0] * len(SUMS))
            self.beyond[key] = [a + b for a, b in zip(before, sums, strict=True)]

    def add_rows(self, rows: Iterable[Row]) -> None:
        """Add those rows that the question asks about."""
        first, last = self.question.since * HOUR_MS, self.question.until * HOUR_MS
        for row in rows:
            if first <= row.at_ms < last and all(value(row) in allowed for value, allowed in self._wanted):
                self.add(tuple([value(row) for value in self._values]), sums_of(row))

    def report(self) -> Report:
        """All that was added, line by line."""
        lines: dict[tuple[str, ...], _Sum] = {}
        total, unattributed, other = _Sum(), _Sum(), _Sum()
        everything = [(lines.setdefault(key[:-2], _Sum()), key, sums) for key, sums in self.sums.items()]
        everything += [(other, key, sums) for key, sums in self.beyond.items()]
        for line, (*_, certainty, attributed), sums in everything:
            for place in (line, total) if attributed else (line, total, unattributed):
                place.add(certainty, sums)
        limit = self.question.limit
        ordered = sorted(lines.items(), key=lambda item: (-item[1].cost_nano, item[0]))
        found = [line.line(group) for group, line in ordered[:limit]]
        for _, line in ordered[limit:]:
            other.add_all(line)
        others = max(len(ordered) - limit, 0) + bool(self.beyond)
        groups = self.question.groups
        if groups and groups[0] in TIMES:
            found.sort(key=lambda line: (line.group[0], -line.cost_nano, line.group))
        rest = other.line(()) if others else None
        return Report(self.question, tuple(found), total.line(()), unattributed.line(()), rest, others)


class _Sum:
    def __init__(self) -> None:
        self._sums = [0] * len(SUMS)
        self._certainty: dict[str, int] = {}

    @property
    def cost_nano(self) -> int:
        return self._sums[1]

    def add(self, certainty: str, sums: Sequence[int]) -> None:
        self._sums = [a + b for a, b in zip(self._sums, sums, strict=True)]
        self._certainty[certainty] = self._certainty.get(certainty, 0) + sums[1]

    def add_all(self, other: _Sum) -> None:
        self._sums = [a + b for a, b in zip(self._sums, other._sums, strict=True)]
        for certainty, nano in other._certainty.items():
            self._certainty[certainty] = self._certainty.get(certainty, 0) + nano

    def line(self, group: tuple[str, ...]) -> Line:
        return Line(group, **dict(zip(SUMS, self._sums, strict=True)), certainty_nano=self._certainty)


def check_group(name: str) -> None:
    """Nothing, if a report can be grouped by it.

    Raises:
        UnknownGroupError: it cannot; the near misses are named.
    """
    if name in GROUPS or (name.startswith(TAG) and name != TAG):
        return
    hint = did_you_mean(name, GROUPS) or f"; there are {', '.join(GROUPS)} and tag:NAME"
    raise UnknownGroupError(f"nothing can be grouped by {name!r}{hint}")


def wanted(question: Question) -> dict[str, frozenset[str]]:
    """The filters: each group and the values that pass."""
    allowed: dict[str, set[str]] = {}
    for name, value in question.filters:
        allowed.setdefault(name, set()).add(value)
    return {name: frozenset(values) for name, values in allowed.items()}


def value_of(name: str) -> Callable[[Row], str]:
    """Reads a row's value in one group; "" where it has none."""
    if name in TIMES:
        form = TIMES[name]
        return lambda row: stamp(row.at_ms // HOUR_MS, form)
    if name == ATTRIBUTED:
        return lambda row: "1" if row.team else ""
    if name == "tag":
        return lambda row: ",".join(sorted(row.tags))
    if name.startswith(TAG):
        prefix = f"{name.removeprefix(TAG)}="
        return lambda row: next((tag[len(prefix) :] for tag in row.tags if tag.startswith(prefix)), "")
    return lambda row: getattr(row, name)


def sums_of(row: Row) -> tuple[int, ...]:
    """A row's share in every sum, in the order of `SUMS`."""
    return (
        0 if row.correction_of else 1,
        row.cost_nano,
        row.baseline_nano,
        row.prompt_tokens,
        row.cached_tokens,
        row.cache_write_tokens,
        row.completion_tokens,
        row.reasoning_tokens,
        row.cache_saved_nano,
        row.would_save_nano,
        *unit_sums(row.units),
    )


def stamp(hour: int, form: str) -> str:
    """An hour since the epoch in one of `TIMES`' forms."""
    return dt.datetime.fromtimestamp(hour * 3600, dt.UTC).strftime(form)
