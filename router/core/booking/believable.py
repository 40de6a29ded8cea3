"""Whether what a provider claims to have metered can be true.

Belongs here: bounds on a provider's meters, from what is known of the request. Does not belong here: reading meters
(dialects/), what is done instead of believing them (attempt.py).
"""

from __future__ import annotations

from router.core.deciding.decide import Facts, Option, Work, prompt_tokens
from router.core.deciding.work import most
from router.core.meters import PARTS
from router.core.values import Needs, Usage

UNSEEN_TOKENS = 1_024
"""What a provider may put before a prompt on its own: system text, frames of tools and schemas."""
LIMIT_SLACK = 8
"""Tokens by which an answer may pass its limit: not every server counts the one that ends it."""
SLACK_FACTOR = 10
"""By how much a unit may pass what money was held for: that bound is for what is likely at worst, not for what can be."""
MOST_CALLS = 10_000
"""Calls of tools in one answer."""
# Plain integers: arithmetic on enum flags takes a microsecond a piece.
_REASONS = Needs.REASONING_EFFORT.value
_PREDICTS = Needs.PREDICTION.value


def most_prompt(option: Option, facts: Facts, tokens: int | None) -> int:
    """The most that a provider may meter of a prompt whose texts have at most so many tokens, or nobody knows how many."""
    window = option.context_window * facts.inputs
    return window if tokens is None else min(window, prompt_tokens(option, facts, tokens) + UNSEEN_TOKENS)


def believable(usage: Usage, option: Option, facts: Facts, *, answered: bool = False) -> bool:
    """Whether a provider's meters can be true.

    A prompt fits into the window and has no more tokens than the body has bytes, but for what providers add. An
    answer stays below the model's limit and, without its reasoning, below the caller's. Meters of zero are believed
    where nothing came.

    Args:
        usage: the meters.
        option: what was called.
        facts: the request.
        answered: text of an answer has come, which takes a token of prompt and of answer at least.
    """
    if answered and not (usage.prompt_tokens and usage.completion_tokens):
        return False
    if facts.work is not None and facts.endpoint != "chat":
        return _ordered(usage, option, facts, facts.work)
    if any(not 0 <= amount <= MOST_CALLS for _, amount in usage.units):
        return False
    if usage.prompt_tokens > most_prompt(option, facts, facts.text_bytes):
        return False
    limit = max(option.max_output, 1)
    if usage.completion_tokens > limit * facts.choices:
        return False
    # Some servers leave reasoning out of the limit without telling it apart; rejected predictions are billed as output.
    if facts.max_output is None or option.capabilities & _REASONS or facts.needs & _PREDICTS:
        return True
    answer = usage.completion_tokens - usage.reasoning_tokens
    return answer <= (min(facts.max_output, limit) + LIMIT_SLACK) * facts.choices


def _ordered(usage: Usage, option: Option, facts: Facts, work: Work) -> bool:
    """Whether that much can have been metered of what was ordered: tokens within the model's limits, other
    units not far beyond what money was held for.
    """
    bound = most(option, work, most_prompt(option, facts, facts.text_bytes), option.max_output * facts.choices)
    prompt = max(bound.prompt_tokens, option.context_window) + UNSEEN_TOKENS
    if usage.prompt_tokens > prompt or usage.completion_tokens > max(bound.completion_tokens, option.max_output):
        return False
    limits = dict(bound.units)
    return all(
        0 <= amount <= (prompt if meter in PARTS else SLACK_FACTOR * limits.get(meter, 0))
        for meter, amount in usage.units
    )
