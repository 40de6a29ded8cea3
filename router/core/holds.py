"""How much is set aside for an attempt under a budget: the most that it can cost, and what a smaller limit saves.

Belongs here: worst cases beside decide's quantile `hold`. Does not belong here: which budgets there are (budget.py),
and asking them for room (the ledger).
"""

from __future__ import annotations

from router.core.decide import Facts, Option, prompt_tokens, upper_cost


def worst_case(option: Option, facts: Facts, output: int | None = None) -> int:
    """The most that an attempt can cost within its limits, in pico-dollars: the prompt at its certain upper end, each
    answer at its limit. Where the body only points to some of the prompt, that is all that the window holds.

    Args:
        option: what is called.
        facts: the request.
        output: tokens of one answer, where they are limited further than by caller and model.
    """
    prompt = option.context_window * facts.inputs
    if facts.text_bytes is not None:
        prompt = min(prompt, prompt_tokens(option, facts, facts.tokens.high))
    return upper_cost(option, prompt, facts.choices * (output_limit(option, facts) if output is None else output))


def output_limit(option: Option, facts: Facts) -> int:
    """Tokens that one answer can have: by the caller's limit or the model's, whichever is less."""
    return option.max_output if facts.max_output is None else min(facts.max_output, option.max_output)


def likely_output(option: Option, facts: Facts) -> int:
    """Tokens of one answer that decide's `hold` sets aside for, at least 1 where there may be any."""
    return min(max(option.output_p90, option.output_mean, 1), output_limit(option, facts))
