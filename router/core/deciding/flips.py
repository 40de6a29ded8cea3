"""What would have changed a decision: how far each figure may move before something else is chosen, and what the caller
or the policy could give up to pay less.

Belongs here: counterfactuals of one decision, each checked by deciding again. Does not belong here: why candidates were
rejected (explain.py), and the one hint that every answer carries (it is compiled with the plan).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from router.core.deciding.decide import (
    PPM,
    Facts,
    Level,
    Option,
    Plan,
    cost_of,
    decide,
    expected_cost,
    expected_output,
    level,
    prompt_tokens,
)
from router.core.deciding.explain import verdicts
from router.core.pricing import rates_for
from router.core.tokens import exactly

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from router.core.deciding.decide import Decision

_LONGEST: Final = 1_000
"""How many times as long a prompt or an answer is looked at, at most."""


class Flip(msgspec.Struct, frozen=True):
    """One change that would have led to another choice."""

    text: str
    option: Option | None
    """What would be chosen then; None where nothing would be left."""


class Saving(msgspec.Struct, frozen=True):
    """One thing to give up, and what would serve then."""

    text: str
    option: Option
    expected_pico: int


def flips(plan: Plan, facts: Facts, decision: Decision) -> list[Flip]:
    """What would flip the decision, the chosen option's own figures first."""
    chosen = decision.option
    without = decide(_without(plan, chosen), facts, None)
    instead = None if without is None else without.option
    found = [Flip("it cannot be called", instead)]
    if decision.runner_up_pico and decision.expected_pico:
        rise = -(-(decision.runner_up_pico - decision.expected_pico) * 100 // decision.expected_pico)
        found.insert(0, Flip(f"its price rises by more than {rise} %", instead))
    found += [
        Flip(f"its {name} p{percentile} passes {wanted_ms} ms (now {_ms(chosen, name, percentile)} ms)", instead)
        for name, percentile, wanted_ms in plan.limits
        if not decision.relaxed and _ms(chosen, name, percentile) <= wanted_ms
    ]
    bound = plan.bounds.get(chosen.name)
    if plan.floor_milli and bound is not None and bound >= plan.floor_milli:
        found.append(Flip(f"its quality bound falls below .{plan.floor_milli:03d} (now .{bound:03d})", instead))
    found += _cold(plan, facts, decision)
    return [*found, *_longer_prompt(plan, facts, chosen), *_longer_answer(plan, facts, chosen)]


def savings(plan: Plan, facts: Facts, decision: Decision) -> list[Saving]:
    """What would cost less if one thing were given up, the cheapest first."""
    cost = decision.expected_pico
    relaxed = [
        Saving(verdict.change, verdict.option, verdict.expected_pico)
        for verdict in verdicts(plan, facts)
        if verdict.change and verdict.expected_pico < cost
    ]
    if plan.hint is not None and (least := expected_cost(plan.hint.option, facts, facts.tokens.expected)) < cost:
        relaxed.append(Saving(plan.hint.words, plan.hint.option, least))
    return sorted(relaxed, key=lambda saving: saving.expected_pico)


def _ms(option: Option, name: str, percentile: int) -> int:
    micro = option.ttft.at(percentile) if name == "ttft" else option.tpot.at(percentile)
    if name == "total":
        micro = option.ttft.at(percentile) + option.output_mean * option.tpot.at(percentile)
    return -(-micro // 1000)


def _without(plan: Plan, option: Option) -> Plan:
    return _changed(plan, lambda options: [other for other in options if other is not option])


def _changed(plan: Plan, change: Callable[[Sequence[Option]], Sequence[Option]]) -> Plan:
    """The plan with other options in its levels."""

    def other(one: Level) -> Level:
        return level(one.relaxed, change(one.options), headroom=any(row[-1] for row in one.figures))

    levels = tuple(map(other, plan.levels))
    asked = next((new for new, old in zip(levels, plan.levels, strict=True) if old is plan.asked), None)
    return msgspec.structs.replace(plan, levels=levels, asked=asked)


def _cold(plan: Plan, facts: Facts, decision: Decision) -> list[Flip]:
    """What would be chosen if the provider did not have the beginning of the prompt any more, where it is another."""
    prefix = facts.prefix
    if prefix is None or not decision.warm_tokens:
        return []
    warm = {entry: share for entry, share in prefix.warm.items() if entry != decision.option.entry}
    colder = msgspec.structs.replace(facts, prefix=msgspec.structs.replace(prefix, warm=warm))
    made = decide(plan, colder, None)
    return [] if made is None or made.option is decision.option else [Flip("cache goes cold", made.option)]


def _longer_prompt(plan: Plan, facts: Facts, chosen: Option) -> list[Flip]:
    """The least prompt, longer than this one, at which another option is chosen, or none."""
    tokens = facts.tokens.expected

    def at(count: int) -> Option | None:
        found = decide(plan, msgspec.structs.replace(facts, tokens=exactly(count)), None)
        return None if found is None else found.option

    if facts.largest is not None or not tokens:
        return []
    far = tokens
    while at(far) is chosen:
        if far >= tokens * _LONGEST:
            return []
        far *= 2
    near = far // 2
    while far - near > 1:
        middle = (near + far) // 2
        near, far = (middle, far) if at(middle) is chosen else (near, middle)
    return [Flip(f"the prompt has {far:,} tokens or more", at(far))] if far > tokens else []


def _longer_answer(plan: Plan, facts: Facts, chosen: Option) -> list[Flip]:
    """How many times as long, or short, answers must be for another of the same level to cost less.

    All lengths grow alike, so costs are straight lines of that factor and cross at most once.
    """
    used = next((one for one in plan.levels if chosen in one.options), None)
    if used is None or facts.max_output is not None:
        return []
    base, slope = _line(chosen, facts)
    crossings = []
    for other in used.options:
        other_base, other_slope = _line(other, facts)
        if other is not chosen and slope != other_slope and (base < other_base) != (slope < other_slope):
            ppm = (other_base - base) * PPM // (slope - other_slope)
            crossings.append((ppm, other))
    found = []
    for ppm in (
        min((p for p, _ in crossings if p > PPM), default=0),
        max((p for p, _ in crossings if p < PPM), default=0),
    ):
        # A little beyond the crossing, for rounding.
        beyond = ppm + ppm // 100 if ppm > PPM else ppm - ppm // 100
        if not 0 < beyond <= _LONGEST * PPM:
            continue
        made = decide(_changed(plan, partial(_all_scaled, beyond)), facts, None)
        if made is not None and made.option.name != chosen.name:
            word = "longer" if ppm > PPM else "shorter"
            text = f"answers are {word}: {ppm * 100 // PPM} % of {expected_output(chosen, facts):,} tokens"
            found.append(Flip(text, made.option))
    return found


def _line(option: Option, facts: Facts) -> tuple[int, int]:
    """Cost without an answer, and what the expected answer adds, in pico-dollars."""
    rates = rates_for(option.price, prompt_tokens(option, facts, facts.tokens.expected))
    return cost_of(option, facts, facts.tokens.expected, 0), facts.choices * option.output_mean * rates.output


def _all_scaled(ppm: int, options: Sequence[Option]) -> list[Option]:
    return [msgspec.structs.replace(option, output_mean=option.output_mean * ppm // PPM) for option in options]
