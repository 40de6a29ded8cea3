"""Why a request went where it went, or nowhere: reasons, recomputed from what the decision saw.

Belongs here: a verdict on every candidate, and the smallest change that would help. Does not belong here: choosing
(decide.py), and how reasons are shown (cli/, adapters/http/api.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from router.core.deciding.decide import (
    PPM,
    Facts,
    Option,
    Plan,
    expected_cost,
    has_window,
    highest_cost,
    missing,
    window_tokens,
)
from router.core.deciding.work import lacks_price
from router.core.errors import RouterError
from router.core.money import nano_ceil, usd
from router.core.wire import lacking

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from router.core.deciding.decide import Fault, Level

_SHOWN: Final = 8
"""Candidates named in a refusal."""


class Reason(msgspec.Struct, frozen=True):
    """One limit that a candidate misses."""

    text: str
    change: str
    """What would have to give way."""
    change_ppm: int
    """By how much, in parts of the limit. What has no degrees, such as a capability, gives way as a whole."""


class Verdict(msgspec.Struct, frozen=True):
    """One candidate, as this request sees it."""

    option: Option
    expected_pico: int
    reasons: tuple[str, ...]
    """Why it cannot be chosen; empty when it can."""
    change: str
    """The one change that would admit it; empty when it is feasible or misses more than one limit."""
    change_ppm: int


def verdicts(plan: Plan, facts: Facts) -> list[Verdict]:
    """Every candidate of the plan, feasible ones first, each group by expected cost, then by preference.

    A relaxed level admits its options only where the levels before it have nothing feasible, as in `decide`.
    """
    admitted = {option.name: option for level in reversed(_reached(plan, facts)) for option in level.options}
    options = admitted | {option.name: option for option in plan.candidates}
    judged = [_verdict(plan, option, facts, admitted) for option in options.values()]
    return sorted(judged, key=lambda verdict: (bool(verdict.reasons), verdict.expected_pico))


def refusal(plan: Plan, facts: Facts) -> RouterError:
    """``no_feasible_model``: the smallest change that would help first, then each candidate with its reason."""
    judged = verdicts(plan, facts)
    if not judged:
        order = f" with service_tier {facts.tier}" if facts.tier else ""
        message = f"The policy {plan.policy} has no candidate that can be called here{order}."
        return RouterError("no_feasible_model", message, details={"candidates": []})
    changes = [verdict for verdict in judged if verdict.change]
    near = min(changes, key=lambda verdict: (verdict.change_ppm, verdict.expected_pico), default=None)
    lead = f"{near.change} would admit {_called(near.option)} ({_dollars(near.expected_pico)}). " if near else ""
    shown = "; ".join(f"{verdict.option.name}: {', '.join(verdict.reasons)}" for verdict in judged[:_SHOWN])
    more = f"; and {len(judged) - _SHOWN} more" if len(judged) > _SHOWN else ""
    return RouterError(
        "no_feasible_model",
        f"{lead}No candidate of {plan.policy}, rule {plan.rule}, can serve this request. {shown}{more}.",
        details={"candidates": [{"model": v.option.name, "reasons": list(v.reasons)} for v in judged]},
    )


def _reached(plan: Plan, facts: Facts) -> Sequence[Level]:
    for number, level in enumerate(plan.levels, 1):
        if not all(_obstacles(plan, option, facts) for option in level.options):
            return plan.levels[:number]
    return plan.levels


def _verdict(plan: Plan, option: Option, facts: Facts, admitted: Collection[str]) -> Verdict:
    missed = {} if option.name in admitted else plan.faults.get(option.name, {})
    reasons = [_reason(fault, option) for fault in missed.values()] + _obstacles(plan, option, facts)
    only = reasons[0] if len(reasons) == 1 else None
    return Verdict(
        option=option,
        expected_pico=expected_cost(option, facts, facts.tokens.expected),
        reasons=tuple(reason.text for reason in reasons),
        change=only.change if only else "",
        change_ppm=only.change_ppm if only else 0,
    )


def _reason(fault: Fault, option: Option) -> Reason:
    """A limit of the policy; of a machine of one's own, how busy it is as well."""
    name, found, wanted = fault.limit, fault.found, fault.wanted
    word, show = ("below", _score) if name == "quality" else ("above", _duration)
    if found is None:
        return Reason(f"{name} unknown, must not be {word} {show(wanted)}", f"allowing unknown {name}", PPM)
    busy = "" if name == "quality" or option.busy_milli is None else f" (GPU {option.busy_milli // 10} %)"
    return Reason(
        f"{name} {show(found)} {word} {show(wanted)}{busy}",
        f"{name} {show(wanted)} → {show(found)}",
        abs(found - wanted) * PPM // wanted,
    )


def _excused(plan: Plan, option: Option) -> bool:
    """Whether it may serve whatever the output limit is: the caller named it."""
    return any(row[0] is option and not row[-1] for level in plan.levels for row in level.figures)


def _obstacles(plan: Plan, option: Option, facts: Facts) -> list[Reason]:
    """What of the request itself stands in the way; nothing where `cheapest` finds the option feasible."""
    found = [Reason(f"cannot do {name}", f"leaving out {name}", PPM) for name in missing(facts.needs, option)]
    if option.entry in plan.shut:
        found.append(Reason(plan.shut[option.entry], "waiting", PPM))
    lacks = lacking(facts.needs, facts.native, option.capabilities)
    found += [
        Reason(f"its API has no place for {words}", f"leaving out {words}", PPM)
        for bit, words in facts.notes
        if bit & lacks
    ]
    limit, most, window = facts.max_output, option.max_output, option.context_window
    if limit is not None and limit > most:
        text = f"answers at most {most} tokens"
        found.append(Reason(text, f"max_tokens {limit} → {most}", (limit - most) * PPM // limit))
    if limit is not None and limit < option.headroom and not _excused(plan, option):
        text = f"thinks first, so {limit} tokens may leave no answer"
        change = f"max_tokens {limit} → {option.headroom}"
        found.append(Reason(text, change, (option.headroom - limit) * PPM // max(limit, 1)))
    wanted = window_tokens(option, facts) + (1 if limit is None else limit)
    if wanted > window and has_window(facts):
        text = f"window of {window} tokens is less than {wanted}"
        found.append(Reason(text, f"{wanted - window} tokens less", (wanted - window) * PPM // wanted))
    if facts.work is not None and (unpriced := lacks_price(option, facts.work)):
        text = f"has no price for {', '.join(unpriced)}"
        found.append(Reason(text, "another order", PPM))
    cost = expected_cost(option, facts, facts.tokens.expected)
    for cap in (plan.max_cost_pico, facts.max_cost_pico):
        if cap is not None and cost > cap:
            change = f"max_cost_usd {usd(nano_ceil(cap))} → {usd(nano_ceil(cost))}"
            found.append(
                Reason(f"{_dollars(cost)} is above {_dollars(cap)}", change, (cost - cap) * PPM // max(cap, 1))
            )
    highest = highest_cost(plan, facts, facts.tokens.expected)
    if not found and highest is not None and cost > highest:
        found.append(Reason(f"dearer than the model asked for, {_dollars(highest)}", f"asking for {option.model}", PPM))
    return found


def _called(option: Option) -> str:
    """For people: the model, and tier and effort where they are not the usual."""
    return f"{option.model}{option.name.removeprefix(option.entry)}"


def _score(milli: int) -> str:
    return f"{milli // 1000 or ''}.{milli % 1000:03d}"


def _duration(ms: int) -> str:
    return f"{ms} ms"


def _dollars(pico: int) -> str:
    return f"${usd(nano_ceil(pico))}"
