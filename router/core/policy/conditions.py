"""When a rule holds: conditions on a request, compiled to plain figures.

Belongs here: matching, and whether a set of conditions is empty or covers another, which is how a rule that nobody
reaches is found. Does not belong here: how people write conditions (`words.py`), what a rule asks for (`policy`).

Some conditions go by words that a caller repeats (`speaks_of`: their result may be kept), the others by figures of the
request (`fits`: integer comparisons); hours go by the instant (`open_at`).
"""

from __future__ import annotations

import datetime as dt
from fnmatch import fnmatchcase
from itertools import product
from typing import TYPE_CHECKING, Any, Final, get_args

import msgspec

from router.core.catalog.catalog import TASKS
from router.core.values import Endpoint

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

ENDPOINTS: Final[tuple[Endpoint, ...]] = get_args(Endpoint)
DAY_MINUTES: Final = 24 * 60
EVERY_DAY: Final = 0b1111111
MOST_POINTS: Final = 20_000
"""Points looked at before a rule is taken to be reachable."""


class Span(msgspec.Struct, frozen=True):
    """Whole numbers from ``low``, up to but without ``high``; None is no bound."""

    low: int = 0
    high: int | None = None

    def has(self, value: int) -> bool:
        """Whether the value lies in it."""
        return self.low <= value and (self.high is None or value < self.high)

    @property
    def empty(self) -> bool:
        """Whether nothing lies in it."""
        return self.high is not None and self.high <= self.low


ANY: Final = Span()


class Hours(msgspec.Struct, frozen=True):
    """A part of the week: minutes of the local day, half-open; what ends before it starts runs past midnight, and
    belongs to the day on which it started.
    """

    zone: str
    days: int = EVERY_DAY
    """Bit 0 is Monday."""
    start: int = 0
    end: int = DAY_MINUTES

    def holds(self, local: dt.datetime) -> bool:
        """Whether an instant, in the zone's own time, lies in it."""
        return self.holds_at(local.weekday(), local.hour * 60 + local.minute)

    def holds_at(self, day: int, minute: int) -> bool:
        """Whether a minute of a day of the week, Monday being 0, lies in it."""
        if self.start < self.end:
            return bool(self.days >> day & 1) and self.start <= minute < self.end
        if minute >= self.start:
            return bool(self.days >> day & 1)
        return minute < self.end and bool(self.days >> (day - 1) % 7 & 1)


class Question(msgspec.Struct, frozen=True):
    """What of a request conditions may ask beyond its words."""

    needs: int = 0
    deadline_ms: int | None = None
    """Time left; None when it may not wait."""
    tokens: int = 0
    budget_milli: int = 0


class When(msgspec.Struct, frozen=True):
    """Which requests a rule is for. Every condition must hold; what is empty or None holds for all."""

    tasks: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    """Globs on ``key=value``; each must be met by some tag."""
    models: tuple[str, ...] = ()
    """Globs on the model name that was asked for."""
    paths: tuple[str, ...] = ()
    needs: int = 0
    """Capabilities of which the request must need each."""
    deadline: Span | None = None
    """Milliseconds that are left."""
    patient: bool | None = None
    """True: only requests with a deadline; False: only those without."""
    tokens: Span | None = None
    """Of the prompt, in the reference encoding."""
    budget: Span | None = None
    """The fullest of the request's budgets, in thousandths of its limit."""
    hours: tuple[Hours, ...] = ()

    def speaks_of(self, *, endpoint: str, task: str, model: str, path: str, tags: Collection[str]) -> bool:
        """Whether it is for requests of these words. ``tags`` are ``key=value``."""
        return (
            (not self.tasks or task in self.tasks)
            and (not self.endpoints or endpoint in self.endpoints)
            and (not self.models or any(fnmatchcase(model, glob) for glob in self.models))
            and (not self.paths or any(fnmatchcase(path, glob) for glob in self.paths))
            and all(any(fnmatchcase(tag, glob) for tag in tags) for glob in self.tags)
        )

    def open_at(self, instant: dt.datetime, zones: Mapping[str, dt.tzinfo]) -> bool:
        """Whether it is for requests of this instant. ``zones`` holds each zone that the hours name."""
        return not self.hours or any(hours.holds(instant.astimezone(zones[hours.zone])) for hours in self.hours)

    def fits(self, asked: Question) -> bool:
        """Whether it is for requests of these figures."""
        left = asked.deadline_ms
        return (
            not self.needs & ~asked.needs
            and (self.patient is None or self.patient is (left is not None))
            and (self.deadline is None or (left is not None and self.deadline.has(left)))
            and (self.tokens is None or self.tokens.has(asked.tokens))
            and (self.budget is None or self.budget.has(asked.budget_milli))
        )

    @property
    def plain(self) -> bool:
        """Whether no figure of a request is asked for, so that words and the hour decide alone."""
        asked: tuple[object, ...] = (self.deadline, self.patient, self.tokens, self.budget)
        return not self.needs and all(condition is None for condition in asked)

    @property
    def everything(self) -> bool:
        """Whether it holds for every request."""
        return self == ALWAYS


ALWAYS: Final = When()


def contradiction(when: When) -> str:
    """Why no request can meet these conditions, by the key at fault; the empty text where one can."""
    spans = {"deadline": when.deadline, "input_tokens": when.tokens, "budget_used": when.budget}
    return next((key for key, span in spans.items() if span is not None and span.empty), "")


def covered(rule: When, earlier: Sequence[When]) -> bool:
    """Whether every request that meets ``rule`` meets one of ``earlier``. True only if that is certain.

    Globs and tags are compared as wholes (each earlier rule that is considered must take whatever the later one
    takes); the other conditions are finite, and looked at point by point between all bounds.
    """
    near = [other for other in _of_one_zone(rule, earlier) if _words_cover(other, rule)]
    if not near:
        return False
    axes = _axes(rule, near)
    size = 1
    for axis in axes:
        size *= len(axis)
    if size > MOST_POINTS:
        return any(other.everything for other in near)
    needs = rule.needs  # a request that needs more only meets more rules
    points = (point for point in product(*axes) if _meets(rule, needs, point))
    return all(any(_meets(other, needs, point) for other in near) for point in points)


def _of_one_zone(rule: When, earlier: Sequence[When]) -> list[When]:
    """Those that can be compared minute by minute: clocks of two zones run apart."""
    zones = [hours.zone for when in (rule, *earlier) for hours in when.hours]
    if len(set(zones)) < 2:
        return list(earlier)
    kept = {zones[0]}
    if {hours.zone for hours in rule.hours} - kept:
        kept = set()
    return [when for when in earlier if {hours.zone for hours in when.hours} <= kept]


def _words_cover(wide: When, narrow: When) -> bool:
    """Whether whatever names and tags the narrow rule takes, the wide one takes."""
    return (
        _globs_cover(wide.models, narrow.models)
        and _globs_cover(wide.paths, narrow.paths)
        and all(any(_glob_covers(glob, other) for other in narrow.tags) for glob in wide.tags)
    )


def _globs_cover(wide: Sequence[str], narrow: Sequence[str]) -> bool:
    return not wide or (bool(narrow) and all(any(_glob_covers(glob, other) for glob in wide) for other in narrow))


def _glob_covers(wide: str, narrow: str) -> bool:
    """Whether all that one glob takes, another takes. Only where that is plain to see."""
    if wide == narrow:
        return True
    # As text, `a-b*` meets `a-*`; with other signs on either side that would prove nothing.
    return not set(wide + narrow) & set("?[") and fnmatchcase(narrow, wide)


Point = tuple[str, str, int | None, int, int, tuple[int, int]]
"""Task, endpoint, deadline, tokens, budget, (day, minute)."""


def _axes(rule: When, near: Sequence[When]) -> tuple[Sequence[Any], ...]:
    """Enough values of each condition to tell any two answers apart."""
    every = [rule, *near]
    return (
        TASKS if any(when.tasks for when in every) else TASKS[:1],
        ENDPOINTS if any(when.endpoints for when in every) else ENDPOINTS[:1],
        [None, *_edges(when.deadline for when in every)],
        _edges(when.tokens for when in every),
        _edges(when.budget for when in every),
        _moments(every),
    )


def _edges(spans: Iterable[Span | None]) -> list[int]:
    bounds = {bound for span in spans if span is not None for bound in (span.low, span.high) if bound is not None}
    return sorted({0, *bounds, *(bound - 1 for bound in bounds if bound)})


def _moments(every: Iterable[When]) -> list[tuple[int, int]]:
    """The (day, minute) of the week at which some hours begin or end."""
    minutes = {0} | {edge for when in every for hours in when.hours for edge in (hours.start, hours.end % DAY_MINUTES)}
    days = range(7) if len(minutes) > 1 or any(when.hours for when in every) else range(1)
    return [(day, minute) for day in days for minute in sorted(minutes)]


def _meets(when: When, needs: int, point: Point) -> bool:
    task, endpoint, deadline, tokens, budget, (day, minute) = point
    return (
        (not when.tasks or task in when.tasks)
        and (not when.endpoints or endpoint in when.endpoints)
        and (not when.hours or any(hours.holds_at(day, minute) for hours in when.hours))
        and when.fits(Question(needs, deadline, tokens, budget))
    )
