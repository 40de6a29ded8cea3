"""Which limits of a rule an option misses, as far as that does not depend on the request: quality and latency.

Belongs here: the limits of one rule on one task. Does not belong here: what becomes of an option that misses one
(snapshot.py), limits on the request's size or cost (decide.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypedDict

from router.core.catalog.catalog import Model
from router.core.deciding.decide import Fault, Option
from router.core.deciding.variants import Summaries, with_effort
from router.core.policy.policy import Policy, Rule
from router.core.statistics.quality import Quality, Score
from router.core.statistics.series import lived_of
from router.core.statistics.stats import PERCENTILES, Series, Summary, above_ppm
from router.core.units import LatencyLimit

ENOUGH_LIVED: Final = 200
"""Answers of a rule from which on what it allows is spent over time."""
_LADDER: Final = ((70, 3), (85, 2), (100, 1), (115, 0))
"""Per cent of the allowance that were used of late, and by how many percentiles the limit is eased below that; beyond, it is
tightened by one."""


def _unseen(series: Series) -> Summary | None:  # noqa: ARG001 - the shape of `Summaries`
    return None


class Terms(TypedDict):
    """Those fields of a plan that say what was required."""

    floor_milli: int
    confidence_milli: int
    limits: tuple[tuple[str, int, int], ...]
    bounds: dict[str, int]
    stated: dict[str, int]


class Judge:
    """The request-independent limits of one rule on one task. ``summary`` tells of the rule's answers, of late."""

    def __init__(
        self,
        policy: Policy,
        rule: Rule,
        task: str,
        quality: int | None,
        reference: Model | None,
        *,
        scores: Quality,
        summary: Summaries = _unseen,
    ) -> None:
        self._scores = scores
        self._policy = policy
        self._rule = rule
        self._task = task
        self._floor = self._floor_milli(quality, reference)
        self._lived = summary(lived_of(policy.name, rule.name))
        self._ttft = self._spending(rule.ttft)

    def faults(self, model: Model, option: Option) -> dict[str, Fault]:
        """Which limits an option misses, by the name under which a policy may relax them."""
        found = {"quality": self._quality(model, option.effort), **self._latency(option)}
        return {name: fault for name, fault in found.items() if fault is not None}

    def terms(self, candidates: Iterable[tuple[Model, Option]]) -> Terms:
        """What is required, and how candidates stand to it: for explanations only."""
        rule = self._rule
        limits = (("ttft", self._ttft), ("tpot", rule.tpot), ("total", rule.total))
        scored = ((option.name, self._score(model, option.effort)) for model, option in candidates)
        return {
            "floor_milli": self._floor,
            "confidence_milli": rule.confidence_milli,
            "limits": tuple((name, limit.percentile, limit.ms) for name, limit in limits if limit is not None),
            "stated": {"ttft": rule.ttft.percentile} if rule.ttft and rule.ttft != self._ttft else {},
            "bounds": {name: rule.lower_milli(score) for name, score in scored if score is not None},
        }

    def reaches(self, model: Model, milli: int) -> bool:
        """Whether the model's lower bound reaches a floor of the caller's."""
        score = self._scores.score(model, self._task)
        return score is not None and self._rule.lower_milli(score) >= milli

    def unknown_quality(self, model: Model) -> bool:
        """Whether there is a floor and nobody knows how the model stands to it."""
        return bool(self._floor) and self._scores.score(model, self._task) is None

    def _floor_milli(self, quality: int | None, reference: Model | None) -> int:
        score = None if reference is None else self._scores.score(reference, self._task)
        return max(self._rule.floor_milli(score), quality or 0)

    def _quality(self, model: Model, effort: str) -> Fault | None:
        if not self._floor:
            return None
        score = self._score(model, effort)
        if score is None:
            return None if self._policy.without_quality == "allow" else Fault("quality", None, self._floor)
        lower = self._rule.lower_milli(score)
        return None if lower >= self._floor else Fault("quality", lower, self._floor)

    def _score(self, model: Model, effort: str) -> Score | None:
        return with_effort(self._scores.score(model, self._task), model.efforts.get(effort))

    def _latency(self, option: Option) -> dict[str, Fault | None]:
        rule = self._rule
        return {
            "ttft": self._limit("ttft", option, self._ttft, option.ttft.at),
            "tpot": self._limit("tpot", option, rule.tpot, option.tpot.at),
            "total": self._limit(
                "total",
                option,
                rule.total,
                lambda percentile: _total(option, percentile),
            ),
        }

    def _spending(self, limit: LatencyLimit | None) -> LatencyLimit | None:
        """The limit as candidates must meet it now. It is a promise about the rule's answers: where fewer of them were late of
        late than it allows, candidates may be late more often for a while; where more were, less often.
        """
        lived = self._lived
        if limit is None or lived is None or lived.n < ENOUGH_LIVED:
            return limit
        used = above_ppm(lived, limit.ms * 1000) * 100 // ((100 - limit.percentile) * 10_000)
        steps = next((steps for most, steps in _LADDER if used < most), -1)
        at = min(max(PERCENTILES.index(limit.percentile) - steps, 0), len(PERCENTILES) - 1)
        return LatencyLimit(PERCENTILES[at], limit.ms)

    def _limit(
        self, name: str, option: Option, limit: LatencyLimit | None, microseconds: Callable[[int], int]
    ) -> Fault | None:
        if limit is None:
            return None
        if not option.live:
            if self._policy.without_latency == "allow":
                return None
            if self._policy.without_latency == "exclude":
                return Fault(name, None, limit.ms)
        found = -(-microseconds(limit.percentile) // 1000)
        return None if found <= limit.ms else Fault(name, found, limit.ms)


def _total(option: Option, percentile: int) -> int:
    """As it was observed; else the sum of the parts' percentiles, which is not exceeded more often than that."""
    if option.total is not None:
        return option.total.at(percentile)
    return option.ttft.at(percentile) + option.output_mean * option.tpot.at(percentile)
