"""Which option serves a request: the cheapest that satisfies the policy.

Belongs here: the choice among compiled options, from facts about one request. It is a pure function, cheap enough
for every request; nothing here computes reasons (explain.py does, from the same values, when somebody asks).
Does not belong here: how options get their figures (snapshot.py), nor performing the decision.

    cost(o, r) = fees + prompt(o, r) · p_in + choices · E[out(o, r)] · p_out            in pico-dollars, integers

and of a long prompt what caches add to that or take away (prefixes.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import itemgetter

import msgspec

from router.core.deciding.choices import (
    PPM,
    Decision,
    Facts,
    Fault,
    Figures,
    Hint,
    Level,
    Option,
    Plan,
    Prefix,
    Work,
    level,
)
from router.core.deciding.prefixes import added_cost, breakpoints, warm_tokens
from router.core.deciding.work import expected, lacks_price
from router.core.images import image_tokens_of
from router.core.pricing import cost_pico, rates_for, upper_cost
from router.core.values import Needs
from router.core.wire import MODELS, lacking

__all__ = [
    "PPM",
    "Decision",
    "Facts",
    "Fault",
    "Figures",
    "Hint",
    "Level",
    "Option",
    "Plan",
    "Work",
    "cheapest",
    "cost_of",
    "decide",
    "expected_cost",
    "expected_output",
    "has_window",
    "highest_cost",
    "hold",
    "level",
    "missing",
    "prompt_tokens",
    "window_tokens",
]


def decide(plan: Plan, facts: Facts, baseline: Option | None) -> Decision | None:
    """The cheapest option of the first level that has a feasible one; None when no level has (explain.py says why).

    Args:
        plan: the compiled rule that governs the request.
        facts: the request.
        baseline: what savings are measured against; without one, nothing is saved.
    """
    tokens = facts.tokens
    if not plan.caches and facts.prefix is not None:
        facts = _unasked(facts, facts.prefix)
    cap = highest_cost(plan, facts, tokens.expected)
    for number, used in enumerate(plan.levels, 1):
        best, cost, runner_up = cheapest(used.figures, facts, tokens.expected, cap)
        if best is None:
            continue
        certain = tokens.exact or _certain(plan, plan.levels[:number], facts, best, (cost, runner_up))
        prompt = prompt_tokens(best, facts, tokens.expected)
        output = expected_output(best, facts)
        made = Decision(
            option=best,
            policy=plan.policy,
            rule=plan.rule,
            relaxed=used.relaxed,
            prompt_tokens=prompt,
            output_tokens=output,
            expected_pico=cost,
            hold_pico=hold(best, facts),
            baseline=baseline,
            baseline_pico=cost if baseline is None else expected_cost(baseline, facts, tokens.expected),
            runner_up_pico=runner_up,
            certain=certain,
            hint=plan.hint,
        )
        if facts.work is not None:
            made = _worked(made, facts, facts.work)
        return made if facts.prefix is None else _kept(made, facts.prefix)
    return None


def _worked(made: Decision, facts: Facts, work: Work) -> Decision:
    """The decision with the meters of what is ordered beside text."""
    usage = expected(made.option, work, made.prompt_tokens, facts.choices * made.output_tokens)
    output = -(-usage.completion_tokens // facts.choices)
    return msgspec.structs.replace(made, prompt_tokens=usage.prompt_tokens, output_tokens=output, units=usage.units)


def _kept(made: Decision, prefix: Prefix) -> Decision:
    """The decision with what is known and asked of the provider's cache."""
    option, prompt = made.option, made.prompt_tokens
    if option.cache is None:
        return made
    return msgspec.structs.replace(
        made,
        warm_tokens=warm_tokens(option, prefix, prompt),
        keeps=breakpoints(option, prefix, rates_for(option.price, prompt)),
        cache_key=prefix.key if option.cache.keyed else "",
    )


def _unasked(facts: Facts, prefix: Prefix) -> Facts:
    """The facts where nothing may be asked of caches."""
    return msgspec.structs.replace(facts, prefix=msgspec.structs.replace(prefix, left=True, key=""))


def cheapest(  # noqa: C901, PLR0912 - one loop without calls: every request runs it over every option
    figures: Iterable[Figures], facts: Facts, tokens: int, cap: int | None
) -> tuple[Option | None, int, int]:
    """(option, its expected cost, the next one's cost), costs in pico-dollars; (None, 0, 0) when none is feasible.

    The rows come by `cheapest_first`: once all that follow must be dearer than the second, they are not looked at. What
    caches take away has no such floor. At equal cost the order of preference decides.
    """
    if facts.work is not None:
        return _cheapest_at_work(figures, facts, tokens, cap)
    needs, limit, choices, native = facts.needs, facts.max_output, facts.choices, facts.native
    fixed, messages, images = facts.fixed_tokens, facts.messages, facts.images
    largest = None if facts.largest is None else facts.largest.expected
    prefix = facts.prefix
    best: Option | None = None
    best_cost = second = preferred = -1
    for row in figures:
        (
            option, able, ratio, overhead, window, most, mean, request, input_rate, output_rate, banded, tries,
            rank, token_floor, mean_floor, answer_floor, least,
        ) = row  # fmt: skip
        if second >= 0 and prefix is None:
            answer = mean_floor if limit is None or mean_floor < limit else limit
            if tokens * token_floor // PPM + choices * answer * answer_floor > second:
                break
        if (lacks := needs & ~able) and (lacks & MODELS or not native & able):
            continue
        prompt = -(-tokens * ratio // PPM) + fixed + messages * overhead
        if images:
            prompt += image_tokens_of(option.image, images)
        output = mean
        filled = prompt if largest is None else -(-largest * ratio // PPM)
        if limit is None:
            if filled >= window:
                continue
        elif limit > most or limit < least or filled + limit > window:
            continue
        elif limit < mean:
            output = limit
        if banded:
            rates = rates_for(option.price, prompt)
            cost = rates.request + prompt * rates.input + choices * output * rates.output
        else:
            cost = request + prompt * input_rate + choices * output * output_rate
        if prefix is not None:
            rates = rates_for(option.price, prompt)
            cost += added_cost(option, prefix, prompt, rates)
        cost = cost if tries == PPM else cost * tries // PPM
        if cap is not None and cost > cap:
            continue
        if best is None or cost < best_cost or (cost == best_cost and rank < preferred):
            second = best_cost
            best, best_cost, preferred = option, cost, rank
        elif second < 0 or cost < second:
            second = cost
    return best, max(best_cost, 0), max(second, 0)


def _cheapest_at_work(
    figures: Iterable[Figures], facts: Facts, tokens: int, cap: int | None
) -> tuple[Option | None, int, int]:
    """The same where more is ordered than text: by meters instead of tokens, so the rows' floors say nothing."""
    able = []
    for row in figures:
        option, rank, least = row[0], row[12], row[-1]
        if lacking(facts.needs, facts.native, option.capabilities) or not _fits(option, facts, tokens, least):
            continue
        if facts.work is not None and lacks_price(option, facts.work):
            continue
        cost = expected_cost(option, facts, tokens)
        if cap is None or cost <= cap:
            able.append((cost, rank, option))
    if not able:
        return None, 0, 0
    able.sort(key=itemgetter(0, 1))
    return able[0][2], able[0][0], able[1][0] if len(able) > 1 else 0


def _fits(option: Option, facts: Facts, tokens: int, least: int) -> bool:
    """Whether prompt and answer fit into the window, and the answer's limit is one that the model can keep."""
    if not has_window(facts):
        return True
    limit, prompt = facts.max_output, prompt_tokens(option, facts, tokens)
    if limit is None:
        return prompt < option.context_window
    return least <= limit <= option.max_output and prompt + limit <= option.context_window


def has_window(facts: Facts) -> bool:
    """Whether a model's window bounds the request. Of what is no conversation, providers cut or divide what is too long."""
    return facts.work is None or facts.endpoint == "chat"


def highest_cost(plan: Plan, facts: Facts, tokens: int) -> int | None:
    """The most that an option may be expected to cost: by the policy, by the caller, by the model asked for."""
    cap = _least(plan.max_cost_pico, facts.max_cost_pico)
    if plan.asked is None:
        return cap
    asked, cost, _ = cheapest(plan.asked.figures, facts, tokens, cap)
    return cap if asked is None else cost


def _certain(plan: Plan, tried: Sequence[Level], facts: Facts, best: Option, figures: tuple[int, int]) -> bool:
    """Whether no count of the prompt within its likely range would change the choice.

    Mostly the runner-up is too dear for that whoever it is: with a prompt of a share of the expected tokens, an option
    costs at least that share; with a longer one, at least as much. So one look at the best decides.
    """
    tokens = facts.tokens
    if _window_in_doubt(tried, facts):
        return False
    looked_at = tried if plan.asked is None else (*tried, plan.asked)
    # Images, frames and the answer come on top: far below the first bend, none of them reaches it.
    room = tokens.likely_high + facts.fixed_tokens + (facts.max_output or 0) + 64 * facts.messages
    for used in looked_at:
        if facts.images or room * used.densest_ppm >= used.bend * PPM:
            return all(_first(plan, tried, facts, other) is best for other in _turns(looked_at, facts))
    plain = facts.prefix is None and plan.asked is None
    if plain and len(tried) == 1 and plan.max_cost_pico is None and facts.max_cost_pico is None:
        cost, runner_up = figures
        token = -(-best.price.bands[0].rates.input * best.tries_ppm // PPM)
        longest = cost + -(-(tokens.likely_high - tokens.expected) * token * best.ratio_ppm // PPM) + 2 * token + 1
        # A token more or less by rounding: that is what the share leaves out.
        share = cost * tokens.expected < runner_up * (tokens.likely_low - 1) - tokens.expected
        if runner_up == 0 or (longest < runner_up and share):
            return True
    return all(_first(plan, tried, facts, other) is best for other in (tokens.likely_low, tokens.likely_high))


def _first(plan: Plan, levels: Sequence[Level], facts: Facts, tokens: int) -> Option | None:
    """What would be chosen, were this the count of the prompt."""
    cap = highest_cost(plan, facts, tokens)
    found = (cheapest(tried.figures, facts, tokens, cap)[0] for tried in levels)
    return next((option for option in found if option is not None), None)


def _turns(levels: Sequence[Level], facts: Facts) -> set[int]:
    """Counts that show whether the choice holds for the whole likely range: its ends, and both sides of every price
    band and context window in between. From each to the next, costs are straight lines but for the rounding of
    tokens, so what is the cheapest at both ends is not dearer in between by more than a token's price.
    """
    low, high = facts.tokens.likely_low, facts.tokens.likely_high
    answer = 1 if facts.max_output is None else facts.max_output
    found = {low, high}
    for option in (option for tried in levels for option in tried.options):
        besides = prompt_tokens(option, facts, 0)
        for edge in (option.context_window - answer, *(band.above for band in option.price.bands[1:])):
            last = (edge - besides) * PPM // option.ratio_ppm
            if low <= last < high:
                found |= {last, last + 1}
    return found


def _window_in_doubt(levels: Sequence[Level], facts: Facts) -> bool:
    """Whether the largest of several inputs may fill a window or not, by its count."""
    if facts.largest is None:
        return False
    answer = 1 if facts.max_output is None else facts.max_output
    low, high = facts.largest.likely_low, facts.largest.likely_high
    return any(
        -(-low * option.ratio_ppm // PPM) + answer
        <= option.context_window
        < -(-high * option.ratio_ppm // PPM) + answer
        for tried in levels
        for option in tried.options
    )


def window_tokens(option: Option, facts: Facts) -> int:
    """What the prompt is expected to fill of the window: all of it, or the largest of several inputs."""
    if facts.largest is None:
        return prompt_tokens(option, facts, facts.tokens.expected)
    return -(-facts.largest.expected * option.ratio_ppm // PPM)


def prompt_tokens(option: Option, facts: Facts, tokens: int) -> int:
    """The prompt as this option's provider is expected to meter it."""
    own = -(-tokens * option.ratio_ppm // PPM) + facts.fixed_tokens + facts.messages * option.message_overhead
    return own + image_tokens_of(option.image, facts.images) if facts.images else own


def expected_output(option: Option, facts: Facts) -> int:
    """Expected completion tokens of one choice, within the caller's limit."""
    return option.output_mean if facts.max_output is None else min(option.output_mean, facts.max_output)


def expected_cost(option: Option, facts: Facts, tokens: int) -> int:
    """Expected cost of the request on this option, in pico-dollars, feasible or not."""
    return cost_of(option, facts, tokens, expected_output(option, facts)) * option.tries_ppm // PPM


def cost_of(option: Option, facts: Facts, tokens: int, output: int) -> int:
    """What one try costs with a prompt of so many tokens (in the reference encoding) and answers of so many each."""
    prompt = prompt_tokens(option, facts, tokens)
    rates = rates_for(option.price, prompt)
    if facts.work is None:
        cost = rates.request + prompt * rates.input + facts.choices * output * rates.output
    else:
        cost = cost_pico(option.price, expected(option, facts.work, prompt, facts.choices * output))
    if facts.prefix is not None:
        cost += added_cost(option, facts.prefix, prompt, rates)
    return cost


def hold(option: Option, facts: Facts) -> int:
    """What to set aside for an attempt, in pico-dollars: the prompt at its likely upper end, the output at its p90.

    The dearest band up to that end counts, and cache writes are taken to be billed. Never less than one
    try is expected to cost.
    """
    prompt = prompt_tokens(option, facts, facts.tokens.likely_high)
    output = max(option.output_p90, option.output_mean)
    if facts.max_output is not None:
        output = min(output, facts.max_output)
    if facts.work is not None:
        usage = expected(option, facts.work, prompt, facts.choices * output)
        return upper_cost(option.price, usage.prompt_tokens, usage.completion_tokens, units=usage.units)
    return upper_cost(option.price, prompt, facts.choices * output)


def missing(needs: int, option: Option) -> list[str]:
    """Names of the capabilities that a request needs and an option lacks."""
    return [need.name.lower() for need in Needs(needs & ~option.capabilities) if need.name]


def _least(first: int | None, second: int | None) -> int | None:
    if first is None or second is None:
        return second if first is None else first
    return min(first, second)
