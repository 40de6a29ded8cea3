"""Why a request went where it went, or nowhere: reasons, recomputed from what the decision saw.

Belongs here: a verdict on every candidate, and the smallest change that would help. Does not belong here: choosing
(decide.py), and how reasons are shown (cli/, http_api.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from router.core.decide import Facts, Option, Plan, expected_cost, missing, prompt_tokens
from router.core.errors import RouterError
from router.core.money import nano_ceil, usd

if TYPE_CHECKING:
    from collections.abc import Iterable

    from router.core.decide import Fault

_SHOWN: Final = 8
"""Candidates named in a refusal."""
_UNITS: Final = {
    "quality": ("below", ""),
    "ttft": ("above", " ms"),
    "tpot": ("above", " ms"),
    "total": ("above", " ms"),
}


class Verdict(msgspec.Struct, frozen=True):
    """One candidate, as this request sees it."""

    option: Option
    expected_pico: int
    reasons: tuple[str, ...]
    """Why it cannot be chosen; empty when it can."""
    change: str
    """The one change that would admit it; empty when it is feasible or misses more than one limit."""


def verdicts(plan: Plan, facts: Facts) -> list[Verdict]:
    """Every candidate of the plan, feasible ones first, each group by expected cost."""
    judged = [_verdict(plan, option, facts) for option in _candidates(plan)]
    return sorted(judged, key=lambda verdict: (bool(verdict.reasons), verdict.expected_pico, verdict.option.entry))


def refusal(plan: Plan, facts: Facts) -> RouterError:
    """``no_feasible_model``: the smallest change that would help first, then each candidate with its reason."""
    judged = verdicts(plan, facts)
    if not judged:
        message = f"The policy {plan.policy} has no candidate that can be called here."
        return RouterError("no_feasible_model", message, details={"candidates": []})
    near = [verdict for verdict in judged if verdict.change]
    lead = f"{near[0].change} would admit {near[0].option.model} ({_dollars(near[0])}). " if near else ""
    shown = "; ".join(f"{verdict.option.entry}: {', '.join(verdict.reasons)}" for verdict in judged[:_SHOWN])
    more = f"; and {len(judged) - _SHOWN} more" if len(judged) > _SHOWN else ""
    return RouterError(
        "no_feasible_model",
        f"{lead}No candidate of {plan.policy}, rule {plan.rule}, can serve this request. {shown}{more}.",
        details={"candidates": [{"model": v.option.entry, "reasons": list(v.reasons)} for v in judged]},
    )


def _candidates(plan: Plan) -> Iterable[Option]:
    seen = {option.entry: option for option in plan.candidates}
    for level in plan.levels:
        seen.update((option.entry, option) for option in level.options)
    return seen.values()


def _verdict(plan: Plan, option: Option, facts: Facts) -> Verdict:
    cost = expected_cost(option, facts, facts.tokens.expected)
    # One that a relaxed level admits is feasible, whatever limit it misses.
    admitted = any(option is other for level in plan.levels for other in level.options)
    faults = [] if admitted else [_fault(fault) for fault in plan.faults.get(option.entry, {}).values()]
    faults += _request_faults(plan, option, facts, cost)
    return Verdict(
        option=option,
        expected_pico=cost,
        reasons=tuple(reason for reason, _ in faults),
        change=faults[0][1] if len(faults) == 1 else "",
    )


def _fault(fault: Fault) -> tuple[str, str]:
    word, unit = _UNITS[fault.limit]
    if fault.limit == "quality":
        found = "unknown" if fault.found is None else f".{fault.found:03d}"
        return (f"quality {found} {word} .{fault.wanted:03d}", f"quality .{fault.wanted:03d} → {found}")
    found = "unknown" if fault.found is None else f"{fault.found}{unit}"
    return (f"{fault.limit} {found} {word} {fault.wanted}{unit}", f"{fault.limit} {fault.wanted} → {found}")


def _request_faults(plan: Plan, option: Option, facts: Facts, cost: int) -> list[tuple[str, str]]:
    found = [(f"cannot do {name}", f"leaving out {name}") for name in missing(facts.needs, option)]
    prompt = prompt_tokens(option, facts, facts.tokens.expected)
    limit = facts.max_output
    if limit is not None and limit > option.max_output:
        found.append((f"answers at most {option.max_output} tokens", f"max_tokens {limit} → {option.max_output}"))
    wanted = prompt + (limit or 1)
    if wanted > option.context_window:
        change = f"{wanted - option.context_window} tokens less"
        found.append((f"window of {option.context_window} tokens is less than {wanted}", change))
    for cap in (plan.max_cost_pico, facts.max_cost_pico):
        if cap is not None and cost > cap:
            price = usd(nano_ceil(cost))
            found.append((f"${price} is above ${usd(nano_ceil(cap))}", f"max_cost_usd {usd(nano_ceil(cap))} → {price}"))
    return found


def _dollars(verdict: Verdict) -> str:
    return f"${usd(nano_ceil(verdict.expected_pico))}"
