"""The circuit breaker: one table that says how a way to a model opens, is probed and closes again.

Belongs here: states, events, the table, and when counts are reason enough to open. A way is (provider, model, key); a
whole account has the model ``""``. Does not belong here: counting and telling the fleet (adapters/upstream/breakers.py).

                 trip          limit          claim           ok          fault
    closed       open          limited        .               .           .
    open         .             .              half_open       .           .
    half_open    open          limited        half_open       closed      open, twice as long
    limited      open          limited        closed          .           .

``claim`` is only heard once the state's time is over: of a half-open way it means that whoever probed it was lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

Phase = Literal["closed", "open", "half_open", "limited"]
Event = Literal["trip", "limit", "claim", "ok", "fault"]
Way = tuple[str, str, str]
"""Provider, model (``""`` for all of an account's), id of the key."""


SOON_MS: Final = 1_000


class Rules(msgspec.Struct, frozen=True):
    """When a way opens, and for how long. Times are milliseconds."""

    in_a_row: int = 5
    """Faults one after the other in one worker."""
    volume: int = 20
    """Fewer attempts than this in the window say nothing about a share."""
    share_milli: int = 500
    """Share of faults in the window, fleet-wide."""
    window_ms: int = 10_000
    open_ms: int = 2_000
    most_open_ms: int = 60_000
    account_ms: int = 60_000
    """For an account without credit or with a wrong key."""
    claim_ms: int = 2_000
    """How long a claim to probe holds without a probe: a worker that dies with one, or has no request for it, leaves it to the
    others then."""
    probe_ms: int = 10_000
    """How long a probe under way keeps the claim: one that has not ended after this is taken for lost."""
    limit_ms: int = 1_000
    """For a 429 that does not say when to come back."""
    most_limit_ms: int = 30_000


class State(msgspec.Struct, frozen=True, array_like=True):
    """One way's state. ``until_ms`` is the store's time."""

    phase: Phase = "closed"
    until_ms: int = 0
    trips: int = 0
    """How often it has opened since it was last closed."""
    why: str = ""
    """For people: what opened it."""


CLOSED: Final = State()

TABLE: Final[dict[tuple[Phase, Event], Phase]] = {
    ("closed", "trip"): "open",
    ("closed", "limit"): "limited",
    ("open", "claim"): "half_open",
    ("half_open", "trip"): "open",
    ("half_open", "limit"): "limited",
    ("half_open", "claim"): "half_open",
    ("half_open", "ok"): "closed",
    ("half_open", "fault"): "open",
    ("limited", "trip"): "open",
    ("limited", "limit"): "limited",
    ("limited", "claim"): "closed",
}
"""(phase, event) to the next phase. What is not here changes nothing."""


class Happening(msgspec.Struct, frozen=True):
    """An event, and what it brings along."""

    event: Event
    why: str = ""
    for_ms: int | None = None
    """How long the way asked to be left alone."""
    account: bool = False
    """Whether it is the account that is at fault: then even the first time is long."""


def step(state: State, happening: Happening, now_ms: int, rules: Rules) -> State:
    """The state after an event; the same object where it changes nothing."""
    phase = TABLE.get((state.phase, happening.event))
    if phase is None or (happening.event == "claim" and now_ms < state.until_ms):
        return state
    if phase == "closed":
        return CLOSED
    if phase == "half_open":
        return State("half_open", now_ms + rules.claim_ms, state.trips, state.why)
    trips = state.trips + 1
    first, most = (
        (rules.limit_ms, rules.most_limit_ms)
        if phase == "limited"
        else (rules.account_ms, 10 * rules.account_ms)
        if happening.account
        else (rules.open_ms, rules.most_open_ms)
    )
    for_ms = min(first * 2 ** min(trips - 1, 16), most) if happening.for_ms is None else happening.for_ms
    until_ms = max(now_ms + for_ms, state.until_ms if state.phase == phase else 0)
    return State(phase, until_ms, trips, happening.why or state.why)


def keeps(claims: Mapping[Way, int], states: Mapping[Way, State], now_ms: int, rules: Rules) -> dict[Way, State]:
    """What a worker holds on to: ways that it still probes, for a while longer each.

    Args:
        claims: ways with a probe of its own under way, to when that set out.
        states: of all ways.
        now_ms: the store's time.
        rules: the bounds.
    """
    return {
        way: State("half_open", now_ms + rules.claim_ms, state.trips, state.why)
        for way, since_ms in claims.items()
        if (state := states.get(way, CLOSED)).phase == "half_open" and now_ms < since_ms + rules.probe_ms
    }


def shut(state: State, now_ms: int) -> bool:
    """Whether nothing but a probe may go this way."""
    return state.phase in ("open", "half_open") or (state.phase == "limited" and now_ms < state.until_ms)


def due(state: State, now_ms: int) -> int:
    """In how many ms a way that is shut is worth another try: that of a probe under way is mostly known within a second."""
    return min(state.until_ms - now_ms, SOON_MS) if state.phase == "half_open" else state.until_ms - now_ms


def too_many(ok: int, faults: int, in_a_row: int, rules: Rules) -> str:
    """Why a closed way should open, from its counts; "" while it should not.

    Args:
        ok: attempts of the window that went well, fleet-wide.
        faults: and those that did not.
        in_a_row: faults one after the other, up to now.
        rules: the bounds.
    """
    if in_a_row >= rules.in_a_row:
        return f"{in_a_row} faults in a row"
    total = ok + faults
    if total >= rules.volume and faults * 1000 >= rules.share_milli * total:
        return f"{faults} of {total} attempts failed"
    return ""


def words(state: State, now_ms: int) -> str:
    """The state for people, as a reason why an option is not chosen."""
    wait_s = max(state.until_ms - now_ms, 0) / 1000
    if state.phase == "limited":
        return f"is about to refuse: {state.why}; free again in {wait_s:.1f} s"
    if state.phase == "half_open":
        return f"circuit breaker is half open ({state.why}): a probe is under way"
    return f"circuit breaker is open ({state.why}); probed again in {wait_s:.1f} s"
