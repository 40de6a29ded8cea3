"""Policies, compiled: which rule governs a request, which models it may choose, and what they must meet.

Belongs here: frozen plain figures and matching. Does not belong here: the files' schema (`policy_schema`), checks
(`policy_compile`), and choosing (`decide`).
"""

from __future__ import annotations

import hashlib
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from router.core.catalog import Catalog, Model, Task
from router.core.quality import Score
from router.core.units import LatencyLimit
from router.core.values import Endpoint

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

Step = Literal["relax tpot", "relax ttft", "relax total", "relax quality", "use reference", "refuse"]
NoQuality = Literal["exclude", "use reference", "allow"]
NoLatency = Literal["exclude", "use prior", "allow"]

CONFIDENCES: Final[Mapping[int, int]] = {500: 0, 800: 842, 900: 1282, 950: 1645, 990: 2326}
"""Confidence to the one-sided quantile of the standard normal distribution, both in thousandths."""

SELECTORS: Final = ("tag", "provider", "weights")
"""What may stand before a colon in ``candidates``; anything else is a glob on the canonical id."""


def lower_bound(score: Score, confidence_milli: int) -> int:
    """What the score reaches with this confidence: score - z · sd, rounded down, at least 0, in thousandths."""
    margin = -(-CONFIDENCES[confidence_milli] * score.sd_milli // 1000)
    return max(score.milli - margin, 0)


class Floor(msgspec.Struct, frozen=True):
    """The least quality, in thousandths of the catalog's scale, or of the reference's own score."""

    milli: int
    relative: bool


class Rule(msgspec.Struct, frozen=True):
    """Which requests, and what a candidate must meet for them. Empty conditions match every request."""

    name: str
    tasks: tuple[Task, ...]
    endpoints: tuple[Endpoint, ...]
    tags: tuple[str, ...]
    models: tuple[str, ...]
    """Globs on the model name that was asked for."""
    paths: tuple[str, ...]
    tiers: tuple[str, ...]
    floor: Floor | None
    confidence_milli: int
    ttft: LatencyLimit | None
    tpot: LatencyLimit | None
    total: LatencyLimit | None
    max_cost_pico: int | None

    def matches(self, *, endpoint: str, task: str, model: str, path: str, tags: Collection[str]) -> bool:
        """Whether the rule is for such a request. ``tags`` are ``key=value``."""
        return (
            (not self.tasks or task in self.tasks)
            and (not self.endpoints or endpoint in self.endpoints)
            and (not self.models or any(fnmatchcase(model, glob) for glob in self.models))
            and (not self.paths or any(fnmatchcase(path, glob) for glob in self.paths))
            and all(any(fnmatchcase(tag, glob) for tag in tags) for glob in self.tags)
        )

    def lower_milli(self, score: Score) -> int:
        """The score's lower bound at the rule's confidence."""
        return lower_bound(score, self.confidence_milli)

    def floor_milli(self, reference: Score | None) -> int:
        """What a lower bound must reach; 0 without a floor. A relative one is a share of the reference's estimate.

        Raises:
            ValueError: the floor is relative and the reference has no score.
        """
        if self.floor is None:
            return 0
        if not self.floor.relative:
            return self.floor.milli
        if reference is None:
            raise ValueError("the floor is relative to a reference that has no score")
        return -(-self.floor.milli * reference.milli // 1000)


class Policy(msgspec.Struct, frozen=True):
    """One policy. Two files that mean the same have the same `version`, whatever their comments."""

    name: str
    mode: Literal["observe", "live"]
    baseline: Literal["requested", "reference"]
    reference: str | None
    """Canonical id."""
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    rules: tuple[Rule, ...]
    without_quality: NoQuality
    without_latency: NoLatency
    when_nothing_fits: tuple[Step, ...]
    clamp: bool = False
    """Whether an answer may be limited to its likely length where a hard budget has no room for the worst case."""
    exhausted: str | None = None
    """Canonical id of the model that takes requests which a budget has no room for; None refuses them."""
    stops_streams: bool = False
    """Whether streams that no longer fit into a budget are stopped, even where the budget lets them finish."""
    efforts: tuple[str, ...] = ()
    """Reasoning efforts that may be chosen where the caller sets none, beside each model's own default."""
    version: str = ""
    """``name@hash``; booked with every attempt."""

    def rule_for(
        self, *, endpoint: str, task: str, model: str = "", path: str = "", tags: Collection[str] = ()
    ) -> Rule | None:
        """The first rule that matches, or None."""
        for rule in self.rules:
            if rule.matches(endpoint=endpoint, task=task, model=model, path=path, tags=tags):
                return rule
        return None

    def candidates(self, catalog: Catalog) -> tuple[Model, ...]:
        """The models that may be chosen, retired ones included, in the catalog's order."""
        return tuple(
            model
            for model in catalog.models
            if any(selects(pattern, model) for pattern in self.include)
            and not any(selects(pattern, model) for pattern in self.exclude)
        )


def versioned(policy: Policy) -> Policy:
    """The policy with its version: the first eight hex digits of the SHA-256 of what it says."""
    contents = msgspec.json.encode(msgspec.structs.replace(policy, version=""), order="deterministic")
    return msgspec.structs.replace(policy, version=f"{policy.name}@{hashlib.sha256(contents).hexdigest()[:8]}")


def selects(pattern: str, model: Model) -> bool:
    """Whether a ``candidates`` pattern means this model: ``tag:chat``, ``provider:groq``, ``weights:open``, or a glob
    on the canonical id (``deepseek/*``), which may name the provider too (``*@together``).
    """
    kind, _, value = pattern.partition(":")
    match kind if value else "":
        case "tag":
            return value in model.tags
        case "provider":
            return value == model.provider
        case "weights":
            return value == model.weights
        case _:
            return fnmatchcase(model.name if "@" in pattern else model.id, pattern)
