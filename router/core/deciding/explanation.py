"""A decision in full, as plain data: every candidate's figures with what they rest on, reasons, and what would change it.

Belongs here: one form for estimates, for kept decisions and for answers that carry theirs. Does not belong here: reasons
(explain.py) and counterfactuals (flips.py) themselves, and how they are shown (cli/explain.py).

Figures are those that decided. Sources are looked up in today's catalog, and left out where it no longer holds the figure.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Final

from router.core.budgets.holds import worst_case
from router.core.deciding.decide import PPM, cost_of, expected_cost, expected_output, prompt_tokens
from router.core.deciding.explain import verdicts
from router.core.deciding.flips import flips, savings
from router.core.deciding.prefixes import warm_tokens
from router.core.deciding.variants import with_effort
from router.core.money import nano_ceil, usd
from router.core.policy.policy import lower_bound
from router.core.pricing import rates_for, rows_at

if TYPE_CHECKING:
    from router.core.catalog.catalog import Catalog, Model
    from router.core.deciding.decide import Decision, Facts, Option, Plan
    from router.core.deciding.explain import Verdict

_SHOWN: Final = 5
"""Most savings that are told."""


def explanation(
    plan: Plan,
    facts: Facts,
    baseline: Option | None,
    decision: Decision | None,
    catalog: Catalog,
    *,
    snapshot: str,
    at: dt.datetime,
) -> dict[str, Any]:
    """Everything about a decision, ready for JSON. Amounts are dollars as text; times whole milliseconds.

    Args:
        plan: what decided.
        facts: the request.
        baseline: what savings are measured against.
        decision: what was decided; None when nothing is feasible.
        catalog: where sources of figures stand.
        snapshot: the id of the snapshot that the plan is of.
        at: the instant of the decision (aware), for prices' sources.
    """
    tokens = facts.tokens
    teller = _Teller(plan, facts, decision, catalog, at)
    candidates = [teller.candidate(verdict) for verdict in verdicts(plan, facts)]
    return {
        "object": "costrouter.explanation",
        "policy": plan.policy,
        "rule": plan.rule,
        "snapshot": snapshot,
        "at": at.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "task": facts.task,
        "asked_model": facts.asked_model,
        "prompt_tokens": decision.prompt_tokens if decision else tokens.expected,
        "prompt_tokens_exact": tokens.exact,
        "prompt_tokens_likely": [tokens.likely_low, tokens.likely_high],
        "warm": _warm(plan, facts),
        "output_tokens": decision.output_tokens if decision else None,
        "output_tokens_p90": decision.option.output_p90 if decision else None,
        "limits": {
            "quality": _milli(plan.floor_milli) if plan.floor_milli else None,
            "confidence": plan.confidence_milli / 1000,
            **{name: _limit(plan, name, percentile, ms) for name, percentile, ms in plan.limits},
            "max_cost_usd": None if plan.max_cost_pico is None else usd(nano_ceil(plan.max_cost_pico)),
        },
        "chosen": None if decision is None else _chosen(decision, facts),
        "baseline": None if decision is None or baseline is None else _baseline(decision, baseline),
        "candidates": candidates,
        "would_flip": []
        if decision is None
        else [
            {"if": flip.text, "then": None if flip.option is None else _name(flip.option)}
            for flip in flips(plan, facts, decision)
        ],
        "could_be_cheaper": []
        if decision is None
        else [
            {
                "if": saving.text,
                "then": _name(saving.option),
                "estimated_cost_usd": usd(nano_ceil(saving.expected_pico)),
                "percent": _percent(saving.expected_pico, decision.expected_pico),
            }
            for saving in savings(plan, facts, decision)[:_SHOWN]
        ],
    }


def _limit(plan: Plan, name: str, percentile: int, ms: int) -> dict[str, int]:
    stated = plan.stated.get(name, percentile)
    return {"percentile": stated, "ms": ms} | ({"judged_at": percentile} if stated != percentile else {})


def _chosen(decision: Decision, facts: Facts) -> dict[str, Any]:
    option = decision.option
    return {
        "model": option.model,
        "provider": option.provider,
        "tier": option.tier,
        "effort": option.effort or None,
        "relaxed": decision.relaxed or None,
        "estimated_cost_usd": usd(nano_ceil(decision.expected_pico)),
        "runner_up_usd": usd(nano_ceil(decision.runner_up_pico)) if decision.runner_up_pico else None,
        "hold_usd": usd(nano_ceil(decision.hold_pico)),
        "worst_case_usd": usd(nano_ceil(worst_case(option, facts))),
        "price": option.price.version,
        "warm_tokens": decision.warm_tokens,
        "breakpoints": decision.keeps or None,
        "units": dict(decision.units),
    }


def _warm(plan: Plan, facts: Facts) -> list[dict[str, Any]]:
    """Where the beginning of the prompt should be kept already, and how much of it, the most first."""
    if facts.prefix is None:
        return []
    found = {}
    for option in plan.candidates:
        if tokens := warm_tokens(option, facts.prefix, prompt_tokens(option, facts, facts.tokens.expected)):
            found[option.entry] = {"model": option.model, "provider": option.provider, "tokens": tokens}
    return sorted(found.values(), key=lambda one: -one["tokens"])


def _baseline(decision: Decision, baseline: Option) -> dict[str, Any]:
    saved = nano_ceil(decision.baseline_pico) - nano_ceil(decision.expected_pico)
    return {
        "model": baseline.model,
        "estimated_cost_usd": usd(nano_ceil(decision.baseline_pico)),
        "saves_usd": usd(saved),
        "saves_percent": -_percent(decision.expected_pico, decision.baseline_pico),
    }


def _interval(option: Option, facts: Facts) -> tuple[int, int]:
    """Its cost with the shortest likely prompt and half the expected answer, and with the longest and a p90 answer."""
    answers = (expected_output(option, facts) // 2, max(option.output_p90, option.output_mean))
    found = []
    for tokens, answer in zip((facts.tokens.likely_low, facts.tokens.likely_high), answers, strict=True):
        output = answer if facts.max_output is None else min(answer, facts.max_output)
        found.append(cost_of(option, facts, tokens, output))
    return found[0], max(found[1], expected_cost(option, facts, facts.tokens.expected))


class _Teller:
    """Says of candidates of one decision what is known of them."""

    def __init__(self, plan: Plan, facts: Facts, decision: Decision | None, catalog: Catalog, at: dt.datetime) -> None:
        self._plan = plan
        self._facts = facts
        self._decision = decision
        self._quality_of = catalog.quality.score
        self._models = {model.name: model for model in catalog.models}
        self._at = at

    def candidate(self, verdict: Verdict) -> dict[str, Any]:
        """One candidate's figures, reasons and sources."""
        option, facts, decision = verdict.option, self._facts, self._decision
        chosen = decision is not None and option.name == decision.option.name
        latency = f"live, n={option.ttft.n}" if option.live else "prior"
        model = self._models.get(option.entry)
        return {
            "model": option.model,
            "provider": option.provider,
            "tier": option.tier,
            "effort": option.effort or None,
            "name": option.name,
            "estimated_cost_usd": usd(nano_ceil(verdict.expected_pico)),
            "estimated_cost_usd_likely": [usd(nano_ceil(cost)) for cost in _interval(option, facts)],
            "percent": _percent(verdict.expected_pico, decision.expected_pico) if decision and not chosen else None,
            "quality": self._quality(option, model),
            "ttft_p50_ms": -(-option.ttft.at(50) // 1000),
            "ttft_p95_ms": option.ttft.at(95) // 1000,
            "tpot_p95_ms": round(option.tpot.at(95) / 1000, 1),
            "latency": latency,
            "latency_source": latency
            if option.live or model is None
            else f"{model.latency.source}, {model.latency.date}",
            "price": self._price(option, model),
            "output_tokens": expected_output(option, facts),
            "output_tokens_p90": option.output_p90,
            "feasible": not verdict.reasons,
            "reasons": list(verdict.reasons),
            "change": verdict.change or None,
            "chosen": chosen,
        }

    def _quality(self, option: Option, model: Model | None) -> dict[str, Any] | None:
        plan, score = self._plan, None
        if model is not None:
            score = with_effort(self._quality_of(model, self._facts.task), model.efforts.get(option.effort))
        bound = plan.bounds.get(option.name)
        if score is None or (bound is not None and lower_bound(score, plan.confidence_milli) != bound):
            return None if bound is None else {"lower_bound": _milli(bound), "source": "no longer in the catalog"}
        return {
            "lower_bound": _milli(lower_bound(score, plan.confidence_milli)),
            "estimate": _milli(score.milli),
            "sd": _milli(score.sd_milli),
            "n": score.n or None,
            "source": score.source,
            "date": str(score.date),
        }

    def _price(self, option: Option, model: Model | None) -> dict[str, Any]:
        prompt = prompt_tokens(option, self._facts, self._facts.tokens.expected)
        rates = rates_for(option.price, prompt)
        found: dict[str, Any] = {
            "version": option.price.version,
            "input_usd_per_million": usd(rates.input * 1000),
            "output_usd_per_million": usd(rates.output * 1000),
        }
        for row in () if model is None else rows_at(model, self._at):
            if row.above == 0 or row.above < prompt:
                found |= {"source": row.source, "checked": str(row.checked)}
        return found


def _name(option: Option) -> dict[str, Any]:
    return {
        "model": option.model,
        "provider": option.provider,
        "tier": option.tier,
        "effort": option.effort or None,
    }


def _percent(cost: int, other: int) -> float:
    """By how much one cost is above another, in per cent with one decimal; 0 where the other is nothing."""
    return round((cost - other) * PPM / other / (PPM // 100), 1) if other else 0.0


def _milli(value: int) -> str:
    return f"{value // 1000}.{value % 1000:03d}"
