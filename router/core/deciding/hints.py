"""The one hint that answers carry: a way of calling a model that the request could have had, and that would cost less.

Belongs here: finding that way once, when a plan is compiled, and what it would save on one request. Does not belong here:
the counterfactuals of an explanation (flips.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from router.core.deciding.decide import Hint, expected_cost, missing
from router.core.deciding.variants import list_price
from router.core.jobs.tiers import hours_of, kind_of, word_of
from router.core.money import nano_ceil, usd
from router.core.pricing import REALTIME

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from collections.abc import Set as AbstractSet

    from router.core.catalog.catalog import Model
    from router.core.deciding.decide import Decision, Facts, Option
    from router.core.deciding.judge import Judge
    from router.core.policy.policy import Policy, Rule

WORDS: Final = {
    "flex": "service_tier flex",
    "window": "x-costrouter-deadline {}h",
    "batch": "x-costrouter-deadline 24h",
}
"""What a caller would have to send for a tier, as policies call them."""
WORTH_PPM: Final = 950_000
"""A hint is given for what costs less than this share of what was chosen."""


def hint(
    policy: Policy,
    rule: Rule,
    judge: Judge,
    candidates: Collection[tuple[Model, Option]],
    served: Collection[Option],
    *,
    ways: Callable[[Model], tuple[Option, ...]],
) -> Hint | None:
    """The cheapest way, by list price, to call one of the candidates' models that is no candidate though its quality
    would do; None where every candidate that meets the rule costs as little.

    Args:
        policy: tiers for requests that may wait are hinted at where one of its rules has them.
        rule: the one that governs.
        judge: its limits.
        candidates: what may be chosen, within the rule's limits or not.
        served: those of them that are chosen from first.
        ways: every way to call a model.
    """
    admitted = {option.name for _, option in candidates}
    least = min(map(list_price, served), default=None)
    alike = (other for other in policy.rules if other is rule or not (other.when.endpoints or rule.when.endpoints))
    deferred = {tier for other in alike for tier in other.tiers if tier in WORDS}
    models = {model.name: model for model, _ in candidates}.values()
    every = [(model, option) for model in models for option in (*ways(model), *_later(ways(model), deferred))]
    others = [
        option
        for model, option in every
        if word_of(option.tier) in WORDS
        and option.name not in admitted
        and "quality" not in judge.faults(model, option)
    ]
    best = min(others, key=list_price, default=None)
    if best is None or least is None or list_price(best)[0] >= least[0]:
        return None
    return Hint(_words(best.tier), msgspec.structs.replace(best, prices={}))


def _later(ways: tuple[Option, ...], deferred: AbstractSet[str]) -> Iterator[Option]:
    """A model's plain way, in tiers that are answered later."""
    for option in ways:
        if option.tier == REALTIME and not option.effort:
            for tier in sorted(option.prices.keys() - {option.tier for option in ways}):
                if word_of(tier) not in deferred:
                    continue
                yield msgspec.structs.replace(option, tier=tier, price=option.prices[tier])


def _words(tier: str) -> str:
    words = WORDS[word_of(tier)]
    return words.format(hours_of(tier)) if kind_of(tier) == "window" else words


def cheaper(decision: Decision, facts: Facts) -> str:
    """The hint in words, where it would save something on this request; else ""."""
    found = decision.hint
    if found is None:
        return ""
    option = found.option
    if missing(facts.needs, option) or facts.tokens.expected + option.output_mean > option.context_window:
        return ""
    cost, now = expected_cost(option, facts, facts.tokens.expected), decision.expected_pico
    if not now or cost * 1_000_000 >= now * WORTH_PPM:
        return ""
    return f"{found.words}: {option.model} {option.tier} ${usd(nano_ceil(cost))} (-{(now - cost) * 100 // now} %)"
