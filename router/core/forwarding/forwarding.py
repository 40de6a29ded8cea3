"""What to do after an attempt has failed: the table of faults, the pause before the next try, and a policy's bounds.

Belongs here: pure choices about going on. Does not belong here: which candidate comes next (`decide`, over what
`without` leaves), when a candidate is left alone for a while (`breaker`), and the sending (router/forward.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec

from router.core.forwarding.hedging import Hedge

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from router.core.deciding.decide import Option, Plan

Act = Literal["same", "other", "stop"]
"""same: the same candidate may well do it next time; other: another one should; stop: none will."""
Blame = Literal["caller", "model", "key", "account", "load"]
"""model: this model at this provider; key: our credentials there; account: our credit there; load: our rate there."""


class Reaction(msgspec.Struct, frozen=True):
    """What an error says about going on, and whose fault it is."""

    act: Act
    blame: Blame
    waits: bool = True
    """Whether, where nobody else can serve, the same candidate is worth asking again."""


REACTIONS: Final[dict[str, Reaction]] = {
    "invalid_request": Reaction("stop", "caller"),
    "upstream_billing": Reaction("stop", "account"),
    "upstream_refused_credentials": Reaction("other", "key", waits=False),
    "rate_limited": Reaction("other", "load"),
    "upstream_unavailable": Reaction("other", "model"),
    "upstream_bad_response": Reaction("other", "model", waits=False),
    "upstream_unreachable": Reaction("other", "model"),
    "upstream_timeout": Reaction("other", "model"),
    "upstream_error": Reaction("same", "model"),
    "upstream_interrupted": Reaction("same", "model"),
}
"""By our code for what the provider said or did; the dialect has the table from its status and words to these.

498, 503 and 529 are ``upstream_unavailable``; 408, 500, 502 and 504 ``upstream_error``; 400, 409, 413, 415 and 422
``invalid_request``. A code that is not here is our own, and final."""
FINAL: Final = Reaction("stop", "caller")

Verdict = Literal["", "well", "account", "load", "fault"]
"""What an attempt's end says of the way it went: nothing; it is well; the account is not, the rate is used up, or it is at fault."""


def verdict(code: str, *, brought: bool) -> Verdict:
    """What an error says of the way it came by.

    Args:
        code: ours.
        brought: whether the key is the caller's own: its credit and rate are nobody else's.
    """
    reaction = REACTIONS.get(code, FINAL)
    if reaction.blame == "caller":
        return "well" if code in REACTIONS else ""  # it was read and judged, so the provider is well
    if reaction.blame == "model":
        return "fault"
    if brought:
        return ""
    return "load" if reaction.blame == "load" else "account"


PATIENCE_MS: Final = 1_000
"""Longest pause for the candidate that failed while another one could serve at once."""
AGAIN: Final = 2
"""Most attempts for a request that an SDK sends once more by itself: one, and one elsewhere. What it came back from may have
been no attempt at all, such as a connection that broke, so one way alone would be worse luck than the first time."""


class Queueing(msgspec.Struct, frozen=True):
    """``queue``: how requests wait for room under a rate limit, instead of an instant 429."""

    wait_ms: int
    depth: int = 100
    """Most requests that wait in one worker for one limit."""
    priority: str = ""
    """Name of the tag whose value orders the line; "" for none. See `PRIORITIES`."""


PRIORITIES: Final = {"high": 0, "normal": 1, "low": 2}
"""Values of the priority tag; whole numbers do as well, the lowest first."""


class Forwarding(msgspec.Struct, frozen=True):
    """A policy's bounds on serving one request. Times are milliseconds; None leaves the provider's own."""

    attempts: int = 3
    """Most attempts, the first among them; 0 in a policy that leaves it to the settings. So is ``within_ms``."""
    same: int = 1
    """How often the candidate that failed is tried again while another one could serve."""
    within_ms: int = 30_000
    """No attempt but the first begins later than this after the request came."""
    backoff_ms: int = 250
    backoff_most_ms: int = 8_000
    connect_ms: int | None = None
    first_byte_ms: int | None = None
    between_chunks_ms: int | None = None
    total_ms: int | None = None
    """Of the whole request, whatever the number of attempts."""
    queue: Queueing | None = None
    hedge: Hedge | None = None
    """When a second attempt sets out beside a slow one; None for never."""


def completed(bounds: Forwarding, settings: Forwarding) -> Forwarding:
    """A policy's bounds, with the settings' where it states none."""
    return msgspec.structs.replace(
        bounds, attempts=bounds.attempts or settings.attempts, within_ms=bounds.within_ms or settings.within_ms
    )


class Trial(msgspec.Struct, frozen=True):
    """How a request stands after an attempt has failed."""

    code: str
    attempts: int
    """Made by now."""
    same: int
    """Of these, on the candidate that failed last."""
    others: bool
    """Whether another candidate could serve."""
    elapsed_ms: int
    retry_after_ms: int | None = None
    failing: bool = False
    """Whether the candidate has failed before without having answered since: another who may serve is the better bet."""
    probing: bool = False
    """Whether the attempt was a probe of a breaker that is half open: its failure is not to be the caller's."""
    again: bool = False
    """Whether an SDK has sent the request before. It waits and comes back by itself, so nothing is waited for here."""


class Step(msgspec.Struct, frozen=True):
    """What comes next."""

    act: Act
    wait_ms: int = 0


STOP: Final = Step("stop")


def after(trial: Trial, bounds: Forwarding, draw: float) -> Step:
    """What to do after a failed attempt.

    Args:
        trial: what has happened.
        bounds: the policy's.
        draw: a random number, 0 ≤ draw < 1, for the jitter.
    """
    reaction = REACTIONS.get(trial.code, FINAL)
    act: Act = reaction.act
    if act == "stop" and trial.probing and reaction.blame != "caller":
        act = "other"
    if act == "same" and trial.failing and trial.others:
        act = "other"
    if act == "stop" or trial.attempts >= most_attempts(bounds, again=trial.again):
        return STOP
    if trial.again:
        return Step("other") if trial.others and trial.elapsed_ms <= bounds.within_ms else STOP
    wait_ms = pause_ms(trial.same, trial.retry_after_ms, bounds, draw)
    in_time = trial.elapsed_ms + wait_ms <= bounds.within_ms
    if act == "same" and in_time and trial.same <= bounds.same and (wait_ms <= PATIENCE_MS or not trial.others):
        return Step("same", wait_ms)
    if trial.others:
        return Step("other") if trial.elapsed_ms <= bounds.within_ms else STOP
    return Step("same", wait_ms) if reaction.waits and in_time else STOP


def most_attempts(bounds: Forwarding, *, again: bool) -> int:
    """How many attempts a request may have, by whether an SDK has sent it before."""
    return min(bounds.attempts, AGAIN) if again else bounds.attempts


def pause_ms(tried: int, retry_after_ms: int | None, bounds: Forwarding, draw: float) -> int:
    """How long to wait before the same candidate is asked again, in ms.

    Without a Retry-After anywhere up to the backoff, which doubles; with one never less than that, and up to a tenth of
    it more, so that callers who were refused together do not come back together.

    Args:
        tried: how often it has failed, at least 1.
        retry_after_ms: what it asked for.
        bounds: the policy's.
        draw: 0 ≤ draw < 1.
    """
    if retry_after_ms is not None:
        return retry_after_ms + int(draw * (min(retry_after_ms // 10, 1_000) + 1))
    return int(draw * min(bounds.backoff_ms * 2 ** min(tried - 1, 20), bounds.backoff_most_ms))


def entries_shut(options: Mapping[str, Option], shut: Mapping[tuple[str, str], str]) -> dict[str, str]:
    """Entries that may not be called, to the reason, from (provider, model) with ``""`` for all of a provider's models."""
    whys = {
        entry: shut.get((option.provider, option.model)) or shut.get((option.provider, ""))
        for entry, option in options.items()
    }
    return {entry: why for entry, why in whys.items() if why}


def shutting(plan: Plan, shut: Mapping[str, str]) -> Plan:
    """The plan while some entries may not be called; it knows why, and what it was.

    Args:
        plan: the policy's.
        shut: entry to the reason.
    """
    exhausted = None if plan.exhausted is None else without(plan.exhausted, shut)
    return msgspec.structs.replace(without(plan, shut), shut=shut, whole=plan, exhausted=exhausted)


def entries_of(plan: Plan, provider: str) -> set[str]:
    """The entries of a provider's that a plan may choose."""
    return {row[0].entry for level in plan.levels for row in level.figures if row[0].provider == provider}


def without(plan: Plan, gone: Container[str]) -> Plan:
    """The plan, less these entries: what is left to decide between. What the model asked for would cost stays the cap.

    Args:
        plan: of the request.
        gone: entries (``author/name@provider``) that are not to be chosen.
    """
    levels = []
    for level in plan.levels:
        rows = tuple(row for row in level.figures if row[0].entry not in gone)
        if len(rows) == len(level.figures):
            levels.append(level)
        elif rows:
            options = tuple(option for option in level.options if option.entry not in gone)
            levels.append(msgspec.structs.replace(level, options=options, figures=rows))
    return msgspec.structs.replace(plan, levels=tuple(levels))
