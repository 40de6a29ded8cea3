"""Reserving for one tenant: a group commit without a timer.

Belongs here: gathering holds while a script call flies, and telling each caller its result. Does not belong here:
waiting for a store that is away (patience.py), and what becomes of a hold whose fate is unknown (the ledger frees it later).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from router.adapters.ledger.patience import Patience
from router.adapters.store.layout import budget_key, dims_text, term_args
from router.adapters.store.resp import Arg, Script
from router.core.budgets.limits import KINDS, Limit
from router.ports import BudgetExceeded, LimitReached, NotHeld, PeriodOver, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.adapters.store.connection import StoreConnection
    from router.core.budgets.budget import Term, Terms
    from router.core.values import Hold

FEW: Final = 2
"""Holds in the last call up to which the next one leaves at once, even if others fly."""
FLIGHTS: Final = 4
"""Most calls under way while each carries but a few: a busy loop hears of a reply only once a turn."""
GROUP: Final = 256
"""Most holds in one call: a call of this size keeps the store busy for well under a millisecond."""

_MOST_HEADS: Final = 256
_TOO_LATE: Final = 0
_NOT_NOW: Final = -1
_NOT_HELD: Final = -2

RESERVE: Final = Script("reserve")

Entry = tuple["Hold", "asyncio.Future[int]"]
"""A hold and who waits for it."""
Head = tuple["list[str]", "list[Arg]", "list[Term | Limit]"]
"""Keys, first arguments, and the budget periods and limits in the order in which the store numbers them, from 1."""


class ReserveLane:
    """The holds of one tenant on their way to the store. Few fly at once; under load one call flies at a time, and the
    next takes all that gathered.

    Args:
        connection: where calls go.
        prefix: of the tenant's keys.
        worker: whose holds these are.
        heard: told the store's time in ms with every answer.
        orphaned: told the holds that may lie in the store without a caller to free them.
        counts: what limits count by now, by their counters' names; filled in.
        wait_s: how long a hold may wait for a store that is away, in seconds; 0 for not at all.
    """

    __slots__ = (
        "_connection", "_counts", "_flying", "_heads", "_heard", "_last", "_loop", "_orphaned", "_patience", "_prefix",
        "_waiting", "_worker",
    )  # fmt: skip  # one name a line would be longer than the class's state is worth

    def __init__(
        self,
        connection: StoreConnection,
        prefix: str,
        worker: str,
        heard: Callable[[int], None],
        orphaned: Callable[[list[Hold]], None],
        *,
        counts: dict[str, int] | None = None,
        wait_s: float = 0.0,
    ) -> None:
        self._connection = connection
        self._prefix = prefix
        self._heads: dict[tuple[Terms, ...], Head] = {}
        self._worker = worker
        self._heard = heard
        self._orphaned = orphaned
        self._counts = {} if counts is None else counts
        self._loop = asyncio.get_running_loop()
        self._last = 0
        self._flying = 0
        self._waiting: list[Entry] = []
        self._patience = Patience(wait_s, orphaned)

    def add(self, hold: Hold, result: asyncio.Future[int], *, waits: bool = True) -> None:
        """Have ``result`` given the store's time in ms, or `StoreUnavailable`; at once if it is not to wait for the store."""
        if not waits:
            self._patience.bars(hold, result)
        self._waiting.append((hold, result))
        # With few callers, a turn of the loop saved is worth more than a call saved; with many, the other way round.
        if self._last <= FEW:
            if self._flying < FLIGHTS:
                self._fly()
        elif not self._flying and len(self._waiting) == 1:
            self._loop.call_soon(self._fly)

    def _fly(self) -> None:
        waiting = [entry for entry in self._waiting if not entry[1].done()]
        group, self._waiting = waiting[:GROUP], waiting[GROUP:]
        if not group:
            return
        self._last = len(group)
        numbers: dict[Terms, int] = {}
        tail: list[Arg] = []
        for hold, _ in group:
            terms, likely = hold.terms, hold.likely_nano
            number = numbers.setdefault(terms, len(numbers) + 1) if terms.terms or terms.limits else 0
            tail += (
                hold.attempt,
                hold.amount_nano,
                hold.amount_nano if likely is None else likely,
                hold.not_after_ms,
                number,
                1 if hold.grows else 0,
                dims_text(hold.dims),
                hold.tokens,
            )
        keys, args, flat = self._head(tuple(numbers))
        try:
            self._connection.script_now(RESERVE, keys, args + tail, _Flight(self, group, flat))
        except StoreUnavailable as failure:
            group += self._waiting
            self._waiting = []
            _fail(self._patience.keep(group, failure, sent=False), failure)
            return
        self._flying += 1

    def _head(self, sets: tuple[Terms, ...]) -> Head:
        """Keys and first arguments of a call, the same for every group that falls under the same budgets."""
        head = self._heads.get(sets)
        if head is None:
            terms: list[Term | Limit] = list({term.name: term for found in sets for term in found.places}.values())
            places = {term.name: place for place, term in enumerate(terms, 1)}
            args: list[Arg] = [self._worker, len(terms), *(arg for term in terms for arg in term_args(term)), len(sets)]
            for found in sets:
                args.append(len(found.places))
                for term in found.places:
                    args += (places[term.name], _kind(term, found))
            keys = [f"{self._prefix}holds", *(budget_key(self._prefix, term.name) for term in terms)]
            if len(self._heads) >= _MOST_HEADS:
                self._heads.clear()
            head = self._heads[sets] = (keys, args, terms)
        return head

    def landed(self, group: list[Entry], terms: list[Term | Limit], reply: list[Any]) -> None:
        """The store's time, and what it says of those of the group that it refuses."""
        self._fly_on()
        now_ms = reply[0]
        if len(reply) % 4 == 2:
            self._counts.update(zip((term.name for term in terms), map(int, reply.pop()), strict=True))
        self._heard(now_ms)
        refused = {reply[i]: reply[i + 1 : i + 4] for i in range(1, len(reply), 4)}
        orphans = []
        for number, (hold, result) in enumerate(group):
            if number in refused:
                if not result.done():
                    result.set_exception(_refusal(hold, terms, now_ms, refused[number]))
            elif result.done():
                if not hold.grows:
                    orphans.append(hold)
            else:
                result.set_result(now_ms)
        if orphans:
            self._orphaned(orphans)

    def lost(self, group: list[Entry], failure: BaseException) -> None:
        """The call failed, or its fate is not known."""
        self._fly_on()
        group = self._patience.keep(group, failure, sent=True)
        _fail(group, failure)
        # One that should have grown has its row still to come.
        if orphans := [hold for hold, _ in group if not hold.grows]:
            self._orphaned(orphans)

    def back(self, now_ms: int) -> None:
        """The store is there again, whose time this is: ask for what has waited."""
        waited = self._patience.back(now_ms)
        if waited:
            self._waiting += waited
            if not self._flying:
                self._fly()

    def stop(self) -> None:
        """Whoever still waits is refused."""
        self._patience.close()

    def _fly_on(self) -> None:
        self._flying -= 1
        if self._waiting and self._last <= FEW:
            self._fly()
        elif self._waiting and not self._flying:
            self._loop.call_soon(self._fly)


class _Flight:
    """One call under way: the connection's `Reply`. Replies of several need not come in order (a script sent again)."""

    __slots__ = ("_group", "_lane", "_terms")

    def __init__(self, lane: ReserveLane, group: list[Entry], terms: list[Term | Limit]) -> None:
        self._lane = lane
        self._group = group
        self._terms = terms

    def done(self) -> bool:
        """Every answer is wanted: even that of a group whose callers have all gone."""
        return False

    def set_result(self, reply: list[Any]) -> None:
        """The script's reply."""
        self._lane.landed(self._group, self._terms, reply)

    def set_exception(self, failure: BaseException) -> None:
        """A `StoreUnavailable`."""
        self._lane.lost(self._group, failure)


def _kind(term: Term | Limit, found: Terms) -> int:
    """How the script is told what an attempt adds."""
    if not isinstance(term, Limit):
        return 1 if term.budget.mode == "hard" else 2
    return 0 if term.id in found.counted else 3 + KINDS.index(term.kind)


def _fail(group: list[Entry], failure: BaseException) -> None:
    for _, result in group:
        if not result.done():
            # One exception a waiter: a shared one would gather every waiter's traceback.
            result.set_exception(StoreUnavailable(str(failure)))


def _refusal(hold: Hold, terms: list[Term | Limit], now_ms: int, said: list[Any]) -> Exception:
    why, spent, held = said
    if why == _TOO_LATE:
        late_ms = now_ms - hold.not_after_ms
        return StoreUnavailable(f"the reservation of {hold.attempt} reached the store {late_ms} ms too late")
    if why == _NOT_NOW:
        return PeriodOver(now_ms)
    if why == _NOT_HELD:
        return NotHeld(f"{hold.attempt} is not held, so it cannot grow")
    term = terms[why - 1]
    if isinstance(term, Limit):
        amount = hold.tokens if term.kind == "tokens" else 1
        # Nobody knows when the next attempt ends.
        return (
            LimitReached(term, int(spent), amount, int(held))
            if term.kind != "concurrency"
            else LimitReached(term, int(held), amount, 1_000)
        )
    likely = hold.amount_nano if hold.likely_nano is None else hold.likely_nano
    amount = hold.amount_nano if term.budget.mode == "hard" else likely
    return BudgetExceeded(term, int(spent), int(held), amount)
