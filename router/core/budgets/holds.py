"""How much is set aside for an attempt under a budget: the most that it can cost, and what a smaller limit saves.

Belongs here: worst cases beside decide's quantile `hold`. Does not belong here: which budgets there are (budget.py),
and asking them for room (the ledger).
"""

from __future__ import annotations

from typing import Final

from router.core.booking.believable import LIMIT_SLACK, most_prompt
from router.core.deciding.decide import Facts, Option, prompt_tokens
from router.core.deciding.work import most
from router.core.pricing import REALTIME, upper_cost
from router.core.values import Needs, Units

_PREDICTS: Final = Needs.PREDICTION.value


def worst_case(option: Option, facts: Facts) -> int:
    """The most that an attempt can cost within its limits, in pico-dollars: the longest prompt that a provider's meters
    are believed to have, and each answer at its limit.

    Where the body only points to some of the prompt, that is all that the window holds. Pictures are taken by their
    formula, and the text beside them by its count: a picture's bytes say nothing of its tokens.
    """
    text = facts.tokens.high if facts.images and facts.text_bytes is not None else facts.text_bytes
    # Rejected predictions are billed as output, beyond the caller's limit.
    limit = option.max_output if facts.needs & _PREDICTS else output_limit(option, facts)
    answer = min(limit + LIMIT_SLACK, option.max_output)
    prompt, output = most_prompt(option, facts, text), facts.choices * answer
    units: Units = ()
    if facts.work is not None:
        ordered = most(option, facts.work, prompt, output)
        prompt, output, units = ordered.prompt_tokens, ordered.completion_tokens, ordered.units
    upper = upper_cost(option.price, prompt, output, an_hour=True, units=units)
    # A provider that has no room in a lesser tier may serve, and bill, the usual one.
    usual = option.prices.get(REALTIME)
    if usual is None or usual is option.price:
        return upper
    return max(upper, upper_cost(usual, prompt, output, an_hour=True, units=units))


def grown_cost(option: Option, facts: Facts, output: int) -> int:
    """The cost of an attempt whose answers have grown to so many tokens each, in pico-dollars, the prompt at its upper
    end by our count; never more than its worst case.
    """
    prompt = option.context_window * facts.inputs
    if facts.text_bytes is not None:
        prompt = min(prompt, prompt_tokens(option, facts, facts.tokens.high))
    return min(upper_cost(option.price, prompt, facts.choices * output), worst_case(option, facts))


def output_limit(option: Option, facts: Facts) -> int:
    """Tokens that one answer can have: by the caller's limit or the model's, whichever is less."""
    return option.max_output if facts.max_output is None else min(facts.max_output, option.max_output)


def likely_output(option: Option, facts: Facts) -> int:
    """Tokens of one answer that decide's `hold` sets aside for, at least 1 where there may be any."""
    return min(max(option.output_p90, option.output_mean, 1), output_limit(option, facts))
