"""Policies, compiled: which rule governs a request, which models it may choose, and what they must meet.

Belongs here: frozen plain figures. Does not belong here: the files' schema (`schema.py`), checks
(`compile.py`), when a rule holds (`conditions`), which policy governs (`binding`), and choosing (`decide`).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from router.core.catalog.catalog import Catalog, Model
from router.core.forwarding.forwarding import Forwarding
from router.core.policy.conditions import ALWAYS, When
from router.core.statistics.quality import Score
from router.core.units import LatencyLimit

if TYPE_CHECKING:
    from collections.abc import Mapping

Step = Literal["relax tpot", "relax ttft", "relax total", "relax quality", "use reference", "refuse"]
NoQuality = Literal["exclude", "use reference", "allow"]
NoLatency = Literal["exclude", "use prior", "allow"]
Mode = Literal["observe", "canary", "live"]
Tier = Literal["realtime", "priority", "flex", "window", "batch"]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]

CONFIDENCES: Final[Mapping[int, int]] = {500: 0, 800: 842, 900: 1282, 950: 1645, 990: 2326}
"""Confidence to the one-sided quantile of the standard normal distribution, both in thousandths."""

SELECTORS: Final = ("tag", "provider", "region", "weights", "quantization")
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
    """Which requests, and what a candidate must meet for them."""

    name: str
    when: When = ALWAYS
    tiers: tuple[Tier, ...] = ("realtime",)
    floors: tuple[Floor, ...] = ()
    """All must be reached: a policy's own, and that of the guardrails where the two cannot be compared."""
    confidence_milli: int = 900
    ttft: LatencyLimit | None = None
    tpot: LatencyLimit | None = None
    total: LatencyLimit | None = None
    max_cost_pico: int | None = None
    on_time_milli: int | None = None
    """How likely a request with a deadline must be to end before it."""

    def lower_milli(self, score: Score) -> int:
        """The score's lower bound at the rule's confidence."""
        return lower_bound(score, self.confidence_milli)

    @property
    def relative(self) -> bool:
        """Whether any floor is a share of the reference's score."""
        return any(floor.relative for floor in self.floors)

    def floor_milli(self, reference: Score | None) -> int:
        """What a lower bound must reach; 0 without a floor. A relative one is a share of the reference's estimate.

        Raises:
            ValueError: a floor is relative and the reference has no score.
        """
        if self.relative and reference is None:
            raise ValueError("the floor is relative to a reference that has no score")
        score = 0 if reference is None else reference.milli
        return max((-(-f.milli * score // 1000) if f.relative else f.milli for f in self.floors), default=0)


class Bind(msgspec.Struct, frozen=True):
    """Which requests a policy governs: each list that is not empty must name the request's own."""

    tenant: tuple[str, ...] = ()
    team: tuple[str, ...] = ()
    app: tuple[str, ...] = ()
    key: tuple[str, ...] = ()
    """Ids of keys."""
    user: tuple[str, ...] = ()
    named: bool = False
    """Only those that name the policy, as their model or in a header."""


class CacheRule(msgspec.Struct, frozen=True):
    """That answers are kept, and given again to who asks the same."""

    ttl_ms: int
    """How long, in milliseconds."""
    share: Literal["tenant", "team", "app", "key", "user"] = "tenant"
    """Who must be the same as well."""
    sampled: bool = False
    """Whether that goes for requests that ask for variety, too."""


class Policy(msgspec.Struct, frozen=True):
    """One policy. Two files that mean the same have the same `version`, whatever their comments."""

    name: str
    mode: Mode
    baseline: Literal["requested", "reference"]
    reference: str | None
    """Canonical id."""
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    """What the guardrails exclude too."""
    rules: tuple[Rule, ...]
    """Empty for guardrails, which only others extend."""
    without_quality: NoQuality
    without_latency: NoLatency
    when_nothing_fits: tuple[Step, ...]
    cache: CacheRule | None = None
    """None: every request is answered anew."""
    clamp: bool = False
    """Whether an answer may be limited to its likely length where a hard budget has no room for the worst case."""
    exhausted: str | None = None
    """Canonical id of the model that takes requests which a budget has no room for; None refuses them."""
    stops_streams: bool = False
    """Whether streams that no longer fit into a budget are stopped, even where the budget lets them finish."""
    bind: Bind | None = None
    """None: no request is governed but those that name it, or that no other policy governs if it is the default."""
    canary_milli: int = 0
    """In ``canary``: of a thousand sessions, how many are treated as in ``live``; the others as in ``observe``."""
    within: tuple[tuple[str, ...], ...] = ()
    """What each of the guardrails includes: a candidate must be in all of them."""
    efforts: tuple[Effort, ...] = ()
    """Reasoning efforts that may be chosen where the caller set none; empty leaves it to the model."""
    probe_quality_milli: int = 0
    probe_latency_milli: int = 0
    """Of a thousand requests, how many may go to candidates without data as though they met the limits."""
    hold_ms: int | None = None
    """How long the connection of a request with a deadline is held, at most; None leaves it to the settings."""
    forwarding: Forwarding | None = None
    """Its bounds on attempts, their times and waiting; None for the settings'."""
    cheapest_listed: bool = False
    """Where a request names several models: whether the cheapest of them serves, instead of the first that can."""
    task: str = ""
    """What its requests are for where the caller does not say; empty leaves that to their looks."""
    prompt_cache: bool = True
    """Whether breakpoints and keys for providers' caches are set where the caller has set none and they pay."""
    version: str = ""
    """``name@hash``; booked with every attempt."""

    @property
    def serves(self) -> bool:
        """Whether requests can go by it; guardrails alone have no rules."""
        return bool(self.rules)

    @property
    def variant(self) -> str:
        """Tells its plans from those of other policies, and of its own probes."""
        probes = bool(self.probe_quality_milli or self.probe_latency_milli)
        return f"{self.name} {self.without_quality} {self.without_latency}" if probes else self.name

    @property
    def budgeted(self) -> bool:
        """Whether a rule asks how full budgets are."""
        return any(rule.when.budget is not None for rule in self.rules)

    def candidates(self, catalog: Catalog) -> tuple[Model, ...]:
        """The models that may be chosen, retired ones included, in the catalog's order."""
        found = frozenset[str]().union(*(catalog.selected(pattern) for pattern in self.include))
        for patterns in self.within:
            found &= frozenset[str]().union(*(catalog.selected(pattern) for pattern in patterns))
        found = found.difference(*(catalog.selected(pattern) for pattern in self.exclude))
        return tuple(model for model in catalog.models if model.name in found)


def versioned(policy: Policy) -> Policy:
    """The policy with its version: the first eight hex digits of the SHA-256 of what it says."""
    contents = msgspec.json.encode(msgspec.structs.replace(policy, version=""), order="deterministic")
    return msgspec.structs.replace(policy, version=f"{policy.name}@{hashlib.sha256(contents).hexdigest()[:8]}")
