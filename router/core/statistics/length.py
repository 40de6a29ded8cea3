"""How long answers will be: a mean for what they cost, a 90th percentile for what is held.

Belongs here: from coarse to fine, as far as there are observations. A model's own lengths move its prior; an
application's task scales them, for models that it never called too; what that model answered to that task, and to
prompts of that size, moves them again. Each step weighs what is finer by its observations against `WEIGHT` of what is
coarser, so a fine figure counts once it rests on something. Does not belong here: counting (`stats`, `series`).

Means are for sums: a median of answers is a quarter to a half below their mean (docs/predictors.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

import msgspec

from router.core.deciding.choices import cheapest_first
from router.core.deciding.variants import way
from router.core.statistics.series import MILLION, lengths_of

if TYPE_CHECKING:
    from router.core.deciding.decide import Level, Option, Plan
    from router.core.deciding.variants import Summaries
    from router.core.statistics.stats import Summary

WEIGHT: Final = 20
"""How many observations a coarser figure is worth."""
SCALE: Final = 10
"""An application's answers are taken to be at most so many times as long, or as short, as a model's are."""


class Asker(msgspec.Struct, frozen=True):
    """Who asks for what: the finest that lengths are told apart by."""

    app: str
    task: str
    size: int


def moved(mean: int, p90: int, seen: Summary | None) -> tuple[int, int]:
    """Both figures, moved by what was seen below them."""
    if seen is None:
        return mean, p90
    n, whole = seen.n, seen.n + WEIGHT
    return (mean * WEIGHT + seen.mean * n) // whole, (p90 * WEIGHT + seen.at(90) * n) // whole


def scale_ppm(options: Iterable[Option], asker: Asker, summary: Summaries) -> int | None:
    """How long an application's answers to a task are, by what the models that gave them give at large, in parts per
    million; None where it has been answered too seldom to tell.
    """
    name = lengths_of(asker.app, asker.task)
    n = seen = usual = 0
    for option in options:
        found = summary((name, option.model, option.provider, way(option.tier, option.effort)))
        if found is not None:
            n += found.n
            seen += found.n * found.mean
            usual += found.n * option.output_mean
    if n == 0:
        return None
    # Weighed as well: a few answers say little of others.
    ratio = seen * MILLION // max(usual, 1)
    return (MILLION * WEIGHT + min(max(ratio, MILLION // SCALE), MILLION * SCALE) * n) // (n + WEIGHT)


def lengthened(option: Option, asker: Asker, scale: int, summary: Summaries) -> Option:
    """The option as it will answer this application's task.

    Args:
        option: with the model's lengths at large.
        asker: who asks.
        scale: by `scale_ppm`.
        summary: live statistics of a series, or None.
    """
    where = (option.model, option.provider, way(option.tier, option.effort))
    mean, p90 = option.output_mean * scale // MILLION, option.output_p90 * scale // MILLION
    mean, p90 = moved(mean, p90, summary((lengths_of(asker.app, asker.task), *where)))
    mean, p90 = moved(mean, p90, summary((lengths_of(asker.app, asker.task, asker.size), *where)))
    return msgspec.structs.replace(option, output_mean=mean, output_p90=max(p90, mean))


def plan_for(plan: Plan, asker: Asker, scale: int, summary: Summaries) -> Plan:
    """The plan with each option `lengthened`."""
    return _rewritten(plan, lambda option: lengthened(option, asker, scale, summary))


def _rewritten(plan: Plan, change: Callable[[Option], Option]) -> Plan:
    changed: dict[int, Option] = {}

    def new(option: Option) -> Option:
        found = changed.get(id(option))
        if found is None:
            found = changed[id(option)] = change(option)
        return found

    def rewritten(level: Level) -> Level:
        rows = cheapest_first((option := new(row[0]), *row[1:6], option.output_mean, *row[7:]) for row in level.figures)
        return msgspec.structs.replace(level, options=tuple(map(new, level.options)), figures=rows)

    levels = {id(level): rewritten(level) for level in plan.levels}
    return msgspec.structs.replace(
        plan,
        levels=tuple(levels.values()),
        candidates=tuple(map(new, plan.candidates)),
        reference=plan.reference and new(plan.reference),
        asked=plan.asked and (levels.get(id(plan.asked)) or rewritten(plan.asked)),
        exhausted=plan.exhausted and _rewritten(plan.exhausted, change),
    )
