"""Budgets: what they limit, which of them an attempt falls under, and the period that an instant belongs to.

Belongs here: definitions, matching and calendars, as pure functions of what is handed in; a time zone comes in as a
tzinfo. Does not belong here: counters (the store's scripts), definitions in the store (ledger/budgets.py), what a refusal
looks like to a caller (`words.py`).

How far spending can pass a limit. Every attempt is admitted only if spent + Σ held + its own hold ≤ limit. So once
nothing more is admitted, spending ends at most at limit + Σ over the attempts then open of (cost - hold):

- hard: the hold is the worst case, so no cost that keeps to the limits given to the provider passes the limit at all;
- statistical: at most Σ over the attempts then open of (worst case - hold), and only answers that grow past what is
  held for them add to it. That is the stated bound. Streams are topped up as they grow, so that they count in time.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
from collections.abc import Callable, Iterable, Mapping
from operator import itemgetter
from typing import Any, Final, Literal, TypeVar

import msgspec

from router.core.budgets.limits import Limit
from router.core.money import NANO_PER_USD

Field = Literal["team", "app", "key", "user", "model", "provider", "tag"]
Period = Literal["minute", "hour", "day", "week", "month", "total"]
Mode = Literal["hard", "statistical"]
Running = Literal["finish", "stop"]
SetBy = Literal["operator", "tenant"]

FIELDS: Final[tuple[Field, ...]] = ("team", "app", "key", "user", "model", "provider", "tag")
"""What a scope can name beside its tenant. All that it names must hold; a scope that names nothing is the tenant's."""
LENGTHS_MS: Final[Mapping[str, int]] = {
    "minute": 60_000,
    "hour": 3_600_000,
    "day": 86_400_000,
    "week": 7 * 86_400_000,
    "month": 30 * 86_400_000,
}
"""How long a rolling period is. Calendar months are as long as they are."""
BUCKETS: Final = 60
"""A rolling period is counted in so many buckets. The bucket under way and the last 60 whole ones count, so the limit
holds for any stretch of the period's length, and money comes back at most 1/60 of that length late."""
GENERATED_NANO: Final = 5 * NANO_PER_USD
"""What a key may spend in a day if nobody chose it."""
FOREVER_MS: Final = 2**52
MOST_KNOWN: Final = 4_096
_TAG: Final = FIELDS.index("tag")
_MINUTE_MS: Final = 60_000

Dims = tuple[str, str, str, str, str, str, tuple[str, ...]]
"""Of an attempt: team, app, key, user, model, provider, tags, in the order of `FIELDS`."""


Scoped = TypeVar("Scoped", "Budget", Limit)
_Group = tuple[tuple[int, ...], dict[tuple[str, ...], list[Scoped]]]


class Budget(msgspec.Struct, frozen=True):
    """One limit on spending. The same scope, period and calendar have the same `budget_id`, whatever the limit is."""

    id: str
    tenant: str
    scope: tuple[tuple[Field, str], ...]
    """In the order of `FIELDS`."""
    limit_nano: int
    """Nano-dollars, 0 to 2^53 - 1."""
    period: Period
    rolling: bool = False
    zone: str = "UTC"
    """Name of the calendar's time zone; weeks begin on Monday."""
    mode: Mode = "hard"
    running: Running = "finish"
    """What becomes of a stream that no longer fits: it ends by itself, or is stopped."""
    alerts: tuple[int, ...] = ()
    """Percentages of the limit at which somebody is told, ascending."""
    built_in: bool = False
    """True for the ones that the node brings along; they cannot be changed."""
    set_by: SetBy = "operator"
    """Who set it: the node's operator, or an administrator of the tenant, who cannot change the operator's."""


class Term(msgspec.Struct, frozen=True, eq=False):
    """One period of one budget: ``from_ms`` ≤ admission < ``until_ms`` in the store's time. Of a rolling budget, it is one
    bucket.
    """

    budget: Budget
    name: str
    """As the store names it, and rows keep it: ``id:minutes`` by the period's start, ``id~number`` of a bucket."""
    from_ms: int
    until_ms: int
    bucket: int = -1
    """-1 in a calendar."""


class Terms(msgspec.Struct, frozen=True, eq=False):
    """All budgets that an attempt falls under at an instant. The same object comes again as long as it holds."""

    terms: tuple[Term, ...]
    names: tuple[str, ...]
    since_ms: int
    """The last beginning of any of its periods."""
    until_ms: int
    """The first end of any of its periods."""
    hard: bool
    """Whether any of them is hard."""
    statistical: bool
    limits: tuple[Limit, ...] = ()
    """The limits on rates and attempts at a time that hold for it."""
    counted: frozenset[str] = frozenset()
    """Limits on requests that an earlier attempt of the same request counts in already, by id."""

    @property
    def places(self) -> tuple[Term | Limit, ...]:
        """Everything that must have room."""
        return (*self.terms, *self.limits)


NO_TERMS: Final = Terms((), (), 0, FOREVER_MS, hard=False, statistical=False)


def lasting(terms: Terms, now_ms: int) -> Terms:
    """What of an attempt that runs is still to be held at an instant: in a rolling budget also when the bucket of its
    admission is over; in a calendar's period only until its end, as nothing is admitted to it any more.
    """
    if terms.limits:
        # It has been counted when it was admitted.
        terms = msgspec.structs.replace(terms, limits=tuple(x for x in terms.limits if x.kind == "concurrency"))
    if now_ms < terms.until_ms:
        return terms
    kept = tuple(
        term if term.bucket < 0 else msgspec.structs.replace(term, until_ms=FOREVER_MS)
        for term in terms.terms
        if term.bucket >= 0 or now_ms < term.until_ms
    )
    return msgspec.structs.replace(terms, terms=kept, names=tuple(term.name for term in kept), until_ms=FOREVER_MS)


def budget_id(tenant: str, scope: Iterable[tuple[str, str]], period: str, zone: str, *, rolling: bool) -> str:
    """Names a budget by what it counts: ten letters and digits."""
    said = msgspec.json.encode([tenant, sorted(scope), period, rolling, zone])
    return base64.b32encode(hashlib.sha256(said).digest()[:7])[:10].decode().lower()


def generated_budget(tenant: str, key: str) -> Budget:
    """The limit of a key that the node made for itself."""
    name = f"generated-{key}"
    scope: tuple[tuple[Field, str], ...] = (("key", key),)
    return Budget(name, tenant, scope, GENERATED_NANO, "day", built_in=True)


def term_at(budget: Budget, zone: dt.tzinfo, now_ms: int) -> Term:
    """The period of a budget at an instant.

    Args:
        budget: whose.
        zone: the budget's time zone.
        now_ms: milliseconds since the epoch.
    """
    if budget.rolling:
        size = LENGTHS_MS[budget.period] // BUCKETS
        number = now_ms // size
        return Term(budget, f"{budget.id}~{number}", number * size, (number + 1) * size, number)
    start, end = period_at(budget.period, zone, now_ms)
    return Term(budget, f"{budget.id}:{start // _MINUTE_MS}", start, end)


def period_at(period: Period, zone: dt.tzinfo, now_ms: int) -> tuple[int, int]:
    """(start, end) of the calendar period around an instant, in ms since the epoch: start ≤ instant < end."""
    if period == "total":
        return 0, FOREVER_MS
    if period in ("minute", "hour"):
        # By the offset of the instant: an hour that a clock shows twice is two hours.
        size = LENGTHS_MS[period]
        offset = _offset_ms(zone, now_ms)
        start = (now_ms + offset) // size * size - offset
        return start, start + size
    day = dt.datetime.fromtimestamp(now_ms // 1000, zone).date()
    first = _first_day(period, day)
    start, end = _midnight(first, zone), _midnight(_next_day(period, first), zone)
    while end <= now_ms:
        # A clock that was set back over midnight shows a date of the period that has ended.
        first = _next_day(period, first)
        start, end = end, _midnight(_next_day(period, first), zone)
    return start, end


def _offset_ms(zone: dt.tzinfo, now_ms: int) -> int:
    offset = dt.datetime.fromtimestamp(now_ms // 1000, zone).utcoffset() or dt.timedelta()
    return offset // dt.timedelta(milliseconds=1)


def _midnight(day: dt.date, zone: dt.tzinfo) -> int:
    return int(dt.datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()) * 1000


def _first_day(period: Period, day: dt.date) -> dt.date:
    if period == "week":
        return day - dt.timedelta(days=day.weekday())
    return day.replace(day=1) if period == "month" else day


def _next_day(period: Period, first: dt.date) -> dt.date:
    if period == "month":
        return (first + dt.timedelta(days=31)).replace(day=1)
    return first + dt.timedelta(days=7 if period == "week" else 1)


class Budgets:
    """One tenant's budgets, compiled: finding those of an attempt costs as much as those that match, not as all.

    Args:
        budgets: all of one tenant.
        zones: time zones by name, those of the budgets among them.
        limits: the tenant's limits on rates and attempts at a time.
    """

    def __init__(self, budgets: Iterable[Budget], zones: Mapping[str, dt.tzinfo], limits: Iterable[Limit] = ()) -> None:
        self._zones = zones
        self._groups, self._limits = _grouped(budgets), _grouped(limits)
        used = sorted({field for named, _ in (*self._groups, *self._limits) for field in named})
        self._key: Callable[[Dims], Any] = itemgetter(*used) if used else lambda _: ()
        self._known: dict[Any, Terms] = {}

    def terms(self, dims: Dims, now_ms: int) -> Terms:
        """The budgets of an attempt, each with its period at ``now_ms`` (store's time)."""
        key = self._key(dims)
        known = self._known.get(key)
        if known is not None and known.since_ms <= now_ms < known.until_ms:
            return known
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        limits = tuple(sorted(_matching(self._limits, dims), key=lambda limit: limit.id))
        found = self._known[key] = self._compiled(self.matching(dims), now_ms, limits)
        return found

    def matching(self, dims: Dims) -> list[Budget]:
        """The budgets whose scope an attempt falls under, those that stop running streams first: of several without room
        the first one speaks.
        """
        found = _matching(self._groups, dims)
        return sorted(found, key=lambda budget: (budget.running != "stop", budget.id))

    def _compiled(self, budgets: list[Budget], now_ms: int, limits: tuple[Limit, ...]) -> Terms:
        terms = tuple(term_at(budget, self._zones[budget.zone], now_ms) for budget in budgets)
        return Terms(
            terms=terms,
            names=tuple(term.name for term in terms),
            since_ms=max((term.from_ms for term in terms), default=0),
            until_ms=min((term.until_ms for term in terms), default=FOREVER_MS),
            hard=any(budget.mode == "hard" for budget in budgets),
            statistical=any(budget.mode == "statistical" for budget in budgets),
            limits=limits,
        )


def _grouped(scoped: Iterable[Scoped]) -> tuple[_Group[Scoped], ...]:
    """By the fields that scopes name, then by their values."""
    groups: dict[tuple[int, ...], dict[tuple[str, ...], list[Scoped]]] = {}
    for one in scoped:
        named = tuple(FIELDS.index(field) for field, _ in one.scope)
        groups.setdefault(named, {}).setdefault(tuple(value for _, value in one.scope), []).append(one)
    return tuple(groups.items())


def _matching(groups: Iterable[_Group[Scoped]], dims: Dims) -> list[Scoped]:
    found: list[Scoped] = []
    for named, by_values in groups:
        tagged = named[-1:] == (_TAG,)
        plain: tuple[str, ...] = tuple(str(dims[field]) for field in (named[:-1] if tagged else named))
        for values in ((*plain, tag) for tag in dims[_TAG]) if tagged else (plain,):
            found += by_values.get(values, ())
    return found
