"""Counters of this worker and the text of /metrics for the fleet.

Belongs here: what is counted, under which bounded labels. Does not belong here: adding up workers (fleet.py).
Labels come from the catalog, the policies and closed vocabularies only: a caller cannot invent a label value.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from typing import TYPE_CHECKING, Final, NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prometheus_client.core import Metric

    from router.core.values import Identity, Row

BUCKETS_MS: Final = (50, 100, 200, 300, 500, 800, 1200, 2000, 3000, 5000, 8000, 12_000, 20_000, 40_000, 80_000, 160_000)
_SEP: Final = "\x1f"
_WHERE: Final = ("model", "provider", "tier")
COUNTERS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "costrouter_attempts": ("Attempts that ended, by how.", (*_WHERE, "outcome", "certainty")),
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
HISTOGRAMS: Final[dict[str, str]] = {
    "costrouter_ttft_seconds": "Time to the first part of a streamed answer.",
    "costrouter_duration_seconds": "Time to the whole answer.",
}


class _Names(NamedTuple):
    """The totals that a kind of attempt adds to, spelt once. Of a histogram: its buckets, then its sum."""

    attempts: str
    cost: str
    baseline: str
    prompt: str
    completion: str
    cached: str
    reasoning: str
    ttft: tuple[str, ...]
    duration: tuple[str, ...]


def total(name: str, *labels: str) -> str:
    """The name under which a total with labels is counted."""
    return _SEP.join((name, *labels))


def _names(model: str, provider: str, tier: str, outcome: str, certainty: str) -> _Names:
    where = _SEP.join((model, provider, tier))

    def slots(name: str) -> tuple[str, ...]:
        return tuple(_SEP.join((name, where, str(slot))) for slot in (*range(len(BUCKETS_MS) + 1), "sum"))

    return _Names(
        _SEP.join(("costrouter_attempts", where, outcome, certainty)),
        _SEP.join(("costrouter_cost_nanodollars", where)),
        _SEP.join(("costrouter_baseline_nanodollars", where)),
        _SEP.join(("costrouter_tokens", where, "prompt")),
        _SEP.join(("costrouter_tokens", where, "completion")),
        _SEP.join(("costrouter_tokens", where, "cached")),
        _SEP.join(("costrouter_tokens", where, "reasoning")),
        slots("costrouter_ttft_seconds"),
        slots("costrouter_duration_seconds"),
    )


class Metrics:
    """A listener that counts. ``totals`` only ever grow."""

    def __init__(self) -> None:
        self.totals: defaultdict[str, int] = defaultdict(int)
        self._names: dict[tuple[str, str, str, str, str], _Names] = {}

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
        if row.ttft_ms:
            self._observe(names.ttft, row.ttft_ms)
        self._observe(names.duration, row.total_ms)

    def on_refusal(self, endpoint: str, code: str, identity: Identity | None) -> None:  # noqa: ARG002 - as above
        """Count a refusal."""
        self.totals[f"costrouter_refusals{_SEP}{endpoint}{_SEP}{code}"] += 1

    def _observe(self, slots: tuple[str, ...], milliseconds: int) -> None:
        self.totals[slots[bisect_left(BUCKETS_MS, milliseconds)]] += 1
        self.totals[slots[-1]] += milliseconds


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
        for name, text in HISTOGRAMS.items():
            yield _histogram(name, text, found[name])
        for name, value in self._gauges.items():
            yield GaugeMetricFamily(name, "State of the worker that answered.", value=value)


def _histogram(name: str, text: str, cells: list[tuple[list[str], int]]) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, text, labels=_WHERE)
    groups: dict[tuple[str, ...], dict[str, int]] = defaultdict(dict)
    for labels, value in cells:
        groups[tuple(labels[:-1])][labels[-1]] = value
    for where, slots in groups.items():
        total = 0
        buckets = []
        for index in range(len(BUCKETS_MS) + 1):
            total += slots.get(str(index), 0)
            bound = f"{BUCKETS_MS[index] / 1000:g}" if index < len(BUCKETS_MS) else "+Inf"
            buckets.append((bound, total))
        family.add_metric(list(where), buckets, slots.get("sum", 0) / 1000)
    return family
