"""Counters of this worker and the text of /metrics for the fleet.

Belongs here: what is counted, under which bounded labels. Does not belong here: adding up workers (statistics.py).
Times bear OpenTelemetry's names for GenAI. Labels come from the catalog, the policies and closed vocabularies only: a caller cannot invent a label value.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from typing import TYPE_CHECKING, Final, NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sized

    from prometheus_client.core import Metric

    from router.core.forwarding.breaker import State, Way
    from router.core.policy.policy import Policy
    from router.core.values import Identity, Row

_SEP: Final = "\x1f"
_WHERE: Final = ("model", "provider", "tier")
COUNTERS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "costrouter_attempts": ("Attempts that ended, by how.", (*_WHERE, "outcome", "certainty")),
    "costrouter_good": ("Attempts that were answered within the time limits of their policy's rule.", _WHERE),
    "costrouter_refusals": ("Requests refused before any attempt, by code.", ("endpoint", "code")),
    "costrouter_cost_nanodollars": ("Money booked.", _WHERE),
    "costrouter_baseline_nanodollars": ("What the same tokens cost at the baseline's price.", _WHERE),
    "costrouter_parcels": ("Batches begun at providers.", ("provider", "tier")),
    "costrouter_parcels_given_up": ("Batches that were given up before their end, by why.", ("reason",)),
    "costrouter_escalations": ("Lines that went on in real time, by the tier they left.", ("provider", "tier")),
    "costrouter_jobs_ended": ("Jobs that ended, on time or late.", ("when",)),
    "costrouter_jobs_milliseconds": ("Time that ended jobs took, and what was promised.", ("what",)),
    "costrouter_tier_saved_nanodollars": ("What lines cost less than at once in real time.", ("provider", "tier")),
    "costrouter_tokens": ("Tokens metered; cached are part of prompt, reasoning of completion.", (*_WHERE, "type")),
}
GAUGES: Final[dict[str, str]] = {
    "costrouter_rows_waiting": "Rows that the store does not have yet, of the worker that answered.",
    "costrouter_journal_failing": "1 where the journal of the worker that answered cannot be written.",
    "costrouter_connections": "Callers' connections of the worker that answered.",
    "costrouter_ways_shut": "Ways to a model that breakers keep shut, as the worker that answered knows.",
    "costrouter_policy_set": "Number of the set of policies that the worker that answered goes by.",
    "costrouter_policy_faults": "Policy files that could not be taken as they are, as the worker that answered knows.",
    "costrouter_lines_queued": "Lines of jobs on the fleet's queues, those that a broker is at too, as the worker that answered has seen.",
    "costrouter_lines_taken": "Lines of jobs that the broker of the worker that answered has taken.",
    "costrouter_oldest_line_seconds": "Age of the oldest line of a job that waits, as the worker that answered knows.",
    "costrouter_degraded": "1 where /readyz of the worker that answered gives reasons.",
}
STATES: Final = "costrouter_breaker_state"
MACHINES: Final = "costrouter_machine_busy_percent"
LABELLED: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    STATES: (
        "1 for each way to a model that is not closed, as the worker that answered knows; model * for all of a key's.",
        ("provider", "model", "key", "phase"),
    ),
    MACHINES: (
        "How busy machines of one's own are, in per cent of what they serve at their goodput point.",
        ("machine",),
    ),
}
"""Gauges with labels: those of breakers come from the catalog and from the names of keys in the configuration."""
MOST_STATES: Final = 500
_GEN_AI: Final = ("gen_ai_response_model", "gen_ai_provider_name", "tier")


class Histogram(NamedTuple):
    """What is observed, in whole units, and how Prometheus is told of it."""

    text: str
    bounds: tuple[int, ...]
    per: int
    """Units that are 1 in Prometheus: 1000 where milliseconds become seconds."""


HISTOGRAMS: Final[dict[str, Histogram]] = {
    # OpenTelemetry's names for GenAI, as Prometheus spells them.
    "gen_ai_server_time_to_first_token_seconds": Histogram(
        "Time to the first part of a streamed answer.",
        (50, 100, 200, 300, 500, 800, 1200, 2000, 3000, 5000, 8000, 12_000, 20_000, 40_000, 80_000),
        1000,
    ),
    "gen_ai_server_time_per_output_token_seconds": Histogram(
        "Time a token of a streamed answer, after the first.",
        (2000, 5000, 8000, 12_000, 16_000, 20_000, 25_000, 30_000, 40_000, 50_000, 75_000, 100_000, 200_000, 500_000),
        1_000_000,
    ),
    "gen_ai_server_request_duration_seconds": Histogram(
        "Time to the whole answer.",
        (50, 100, 200, 300, 500, 800, 1200, 2000, 3000, 5000, 8000, 12_000, 20_000, 40_000, 80_000, 160_000),
        1000,
    ),
}
_TTFT, _TPOT, _DURATION = HISTOGRAMS
_TTFT_BOUNDS, _TPOT_BOUNDS, _DURATION_BOUNDS = (one.bounds for one in HISTOGRAMS.values())


class TimeLimits(NamedTuple):
    """What a rule asks of an answer's times; 0 for nothing."""

    ttft_ms: int = 0
    tpot_us: int = 0
    total_ms: int = 0


_NO_LIMITS: Final = TimeLimits()
MOST_RULES: Final = 1000
"""Rules whose limits are remembered; policies come and go while a worker lives."""


class _Names(NamedTuple):
    """The totals that a kind of attempt adds to, spelt once. Of a histogram: its buckets, then its sum."""

    attempts: str
    good: str
    cost: str
    baseline: str
    prompt: str
    completion: str
    cached: str
    reasoning: str
    ttft: tuple[str, ...]
    tpot: tuple[str, ...]
    duration: tuple[str, ...]


def total(name: str, *labels: str) -> str:
    """The name under which a total with labels is counted."""
    return _SEP.join((name, *labels))


def _names(model: str, provider: str, tier: str, outcome: str, certainty: str) -> _Names:
    where = _SEP.join((model, provider, tier))

    def slots(name: str) -> tuple[str, ...]:
        bounds = HISTOGRAMS[name].bounds
        return tuple(_SEP.join((name, where, str(slot))) for slot in (*range(len(bounds) + 1), "sum"))

    return _Names(
        _SEP.join(("costrouter_attempts", where, outcome, certainty)),
        _SEP.join(("costrouter_good", where)),
        _SEP.join(("costrouter_cost_nanodollars", where)),
        _SEP.join(("costrouter_baseline_nanodollars", where)),
        _SEP.join(("costrouter_tokens", where, "prompt")),
        _SEP.join(("costrouter_tokens", where, "completion")),
        _SEP.join(("costrouter_tokens", where, "cached")),
        _SEP.join(("costrouter_tokens", where, "reasoning")),
        slots(_TTFT),
        slots(_TPOT),
        slots(_DURATION),
    )


class Metrics:
    """A listener that counts. ``totals`` only ever grow.

    Args:
        limits_of: gives the time limits of a policy's version and rule.
    """

    def __init__(self, limits_of: Callable[[str, str], TimeLimits] | None = None) -> None:
        self.totals: defaultdict[str, int] = defaultdict(int)
        self._limits_of = limits_of or _unlimited
        self._names: dict[tuple[str, str, str, str, str], _Names] = {}
        self._limits: dict[tuple[str, str], TimeLimits] = {}

    def on_row(self, row: Row, error: str | None) -> None:  # noqa: ARG002 - the port's shape
        """Count an attempt."""
        key = (row.model, row.provider, row.tier, row.outcome, row.certainty)
        names = self._names.get(key)
        if names is None:
            names = self._names[key] = _names(*key)
        totals = self.totals
        totals[names.attempts] += 1
        if row.outcome == "released":
            return  # nothing was sent, so there is nothing to measure
        totals[names.cost] += row.cost_nano
        totals[names.baseline] += row.baseline_nano
        totals[names.prompt] += row.prompt_tokens
        totals[names.completion] += row.completion_tokens
        if row.cached_tokens:
            totals[names.cached] += row.cached_tokens
        if row.reasoning_tokens:
            totals[names.reasoning] += row.reasoning_tokens
        ttft_ms, total_ms, tpot_us = row.ttft_ms, row.total_ms, 0
        if ttft_ms:
            slots = names.ttft
            totals[slots[bisect_left(_TTFT_BOUNDS, ttft_ms)]] += 1
            totals[slots[-1]] += ttft_ms
            if row.completion_tokens > 1:
                tpot_us = (total_ms - ttft_ms) * 1000 // (row.completion_tokens - 1)
                slots = names.tpot
                totals[slots[bisect_left(_TPOT_BOUNDS, tpot_us)]] += 1
                totals[slots[-1]] += tpot_us
        slots = names.duration
        totals[slots[bisect_left(_DURATION_BOUNDS, total_ms)]] += 1
        totals[slots[-1]] += total_ms
        if row.outcome == "ok":
            limits = self._limits.get((row.policy, row.rule)) or self._learnt(row.policy, row.rule)
            if limits is _NO_LIMITS or (
                (not limits.ttft_ms or ttft_ms <= limits.ttft_ms)
                and (not limits.tpot_us or tpot_us <= limits.tpot_us)
                and (not limits.total_ms or total_ms <= limits.total_ms)
            ):
                totals[names.good] += 1

    def on_refusal(self, endpoint: str, code: str, identity: Identity | None) -> None:  # noqa: ARG002 - as above
        """Count a refusal."""
        self.totals[f"costrouter_refusals{_SEP}{endpoint}{_SEP}{code}"] += 1

    def _learnt(self, policy: str, rule: str) -> TimeLimits:
        if len(self._limits) >= MOST_RULES:
            self._limits.clear()
        limits = self._limits[policy, rule] = self._limits_of(policy, rule)
        return limits


def limits_in(policies: Iterable[Policy], version: str, rule: str) -> TimeLimits:
    """The time limits of a rule, none where policy or rule are not (any more) there."""
    for policy in policies:
        if policy.version == version:
            for one in policy.rules:
                if one.name == rule:
                    ttft, tpot, total = (limit.ms if limit else 0 for limit in (one.ttft, one.tpot, one.total))
                    return TimeLimits(ttft, tpot * 1000, total) if ttft or tpot or total else _NO_LIMITS
    return _NO_LIMITS


def _unlimited(policy: str, rule: str) -> TimeLimits:  # noqa: ARG001 - where nobody knows of rules
    return _NO_LIMITS


def ways_told(shut: Sized, states: Mapping[Way, State]) -> dict[str, int]:
    """Gauges of what breakers keep shut, and in what state each way is that is not closed."""
    told = {
        total(STATES, provider, model or "*", key, state.phase): 1 for (provider, model, key), state in states.items()
    }
    return {"costrouter_ways_shut": len(shut), **dict(list(told.items())[:MOST_STATES])}


def machines_told(loads: Mapping[str, int]) -> dict[str, int]:
    """Gauges of machines of one's own, from their loads in thousandths: by pool, or by catalog entry."""
    return {total(MACHINES, machine): milli // 10 for machine, milli in loads.items()}


def exposed() -> dict[str, frozenset[str]]:
    """Every metric of /metrics as it is queried, with its labels."""
    found = {f"{name}_total": frozenset(labels) for name, (_, labels) in COUNTERS.items()}
    for name in HISTOGRAMS:
        found |= {f"{name}_{part}": frozenset(_GEN_AI) for part in ("count", "sum")}
        found[f"{name}_bucket"] = frozenset((*_GEN_AI, "le"))
    found |= {name: frozenset(labels) for name, (_, labels) in LABELLED.items()}
    return found | dict.fromkeys(GAUGES, frozenset())


def render(totals: Mapping[str, int], gauges: Mapping[str, int]) -> bytes:
    """The Prometheus text of a fleet's totals. Takes milliseconds: not for the event loop under load."""
    registry = CollectorRegistry()
    registry.register(_Fleet(totals, gauges))
    return generate_latest(registry)


class _Fleet:
    def __init__(self, totals: Mapping[str, int], gauges: Mapping[str, int]) -> None:
        self._totals = totals
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        found: dict[str, list[tuple[list[str], int]]] = defaultdict(list)
        for name, value in self._totals.items():
            metric, *labels = name.split(_SEP)
            found[metric].append((labels, value))
        for name, (text, label_names) in COUNTERS.items():
            family = CounterMetricFamily(name, text, labels=label_names)
            for labels, value in found[name]:
                family.add_metric(labels, value)
            yield family
        for name, shape in HISTOGRAMS.items():
            yield _histogram(name, shape, found[name])
        states: dict[str, list[tuple[list[str], int]]] = defaultdict(list)
        for name, value in self._gauges.items():
            metric, *labels = name.split(_SEP)
            if labels:
                states[metric].append((labels, value))
            else:
                yield GaugeMetricFamily(name, GAUGES.get(name, "State of the worker that answered."), value=value)
        for name, (text, label_names) in LABELLED.items():
            labelled = GaugeMetricFamily(name, text, labels=label_names)
            for labels, value in states[name]:
                labelled.add_metric(labels, value)
            yield labelled


def _histogram(name: str, shape: Histogram, cells: list[tuple[list[str], int]]) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, shape.text, labels=_GEN_AI)
    groups: dict[tuple[str, ...], dict[str, int]] = defaultdict(dict)
    for labels, value in cells:
        groups[tuple(labels[:-1])][labels[-1]] = value
    bounds = [*(f"{bound / shape.per:g}" for bound in shape.bounds), "+Inf"]
    for where, slots in groups.items():
        total = 0
        buckets = []
        for index, bound in enumerate(bounds):
            total += slots.get(str(index), 0)
            buckets.append((bound, total))
        family.add_metric(list(where), buckets, slots.get("sum", 0) / shape.per)
    return family
