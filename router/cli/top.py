"""`costrouter top`: what a running fleet does right now, from /metrics of one worker.

Belongs here: reading metrics twice and showing what happened in between. Does not belong here: what is counted
(adapters/fleet/metrics.py).
"""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Mapping
from itertools import pairwise
from typing import Final, NamedTuple

import click
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from router.cli.output import console
from router.cli.store import settings_or_fail

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
TTFT: Final = "gen_ai_server_time_to_first_token_seconds"
TPOT: Final = "gen_ai_server_time_per_output_token_seconds"
FAILED: Final = ("upstream_error", "upstream_interrupted")
SHOWN: Final = 8
"""Ways that are not closed."""
Labels = tuple[tuple[str, str], ...]


class Sample(NamedTuple):
    """Everything that /metrics said at one moment."""

    at: float
    """Seconds; differences only."""
    values: Mapping[tuple[str, Labels], float]


def read_sample(text: str, at: float) -> Sample:
    """A sample of a text of /metrics."""
    values = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    return Sample(at, values)


class Between:
    """What happened between two samples."""

    def __init__(self, before: Sample, after: Sample) -> None:
        self.seconds = max(after.at - before.at, 0.001)
        self._grown = {key: value - before.values.get(key, 0.0) for key, value in after.values.items()}
        self._now = after.values

    def total(self, name: str, **wanted: str | tuple[str, ...]) -> float:
        """How much a counter has grown, over all its labels but those wanted."""
        return sum(
            grown
            for (one, labels), grown in self._grown.items()
            if one == name and all(dict(labels).get(label) in _choices(value) for label, value in wanted.items())
        )

    def quantile(self, name: str, share: float, **wanted: str) -> float | None:
        """A quantile of what a histogram has seen, None where it has seen nothing."""
        buckets: defaultdict[float, float] = defaultdict(float)
        for (one, labels), grown in self._grown.items():
            found = dict(labels)
            if one == f"{name}_bucket" and all(found.get(label) == value for label, value in wanted.items()):
                buckets[float(found["le"])] += grown
        counts = sorted(buckets.items())
        if not counts or counts[-1][1] <= 0:
            return None
        rank = share * counts[-1][1]
        for (low, below), (high, count) in pairwise([(0.0, 0.0), *counts]):
            if count >= rank:
                return low if high == float("inf") else low + (high - low) * (rank - below) / max(count - below, 1e-9)
        return counts[-1][0]

    def gauges(self, prefix: str) -> list[tuple[dict[str, str], float]]:
        """Gauges whose names begin so, as they are now."""
        return [(dict(labels), value) for (name, labels), value in self._now.items() if name.startswith(prefix)]

    def groups(self) -> list[tuple[str, str]]:
        """(model, provider) of whatever was attempted, the most attempted first."""
        found: defaultdict[tuple[str, str], float] = defaultdict(float)
        for (name, labels), grown in self._grown.items():
            if name == "costrouter_attempts_total" and grown > 0:
                one = dict(labels)
                found[one["model"], one["provider"]] += grown
        return sorted(found, key=lambda group: (-found[group], group))


def _choices(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


@click.command()
@click.option(
    "--every", default=2.0, show_default=True, type=click.FloatRange(0.2, 60), help="Seconds between two looks."
)
@click.option("--once", is_flag=True, help="One look instead of a live table; for scripts.")
def top(every: float, *, once: bool) -> None:
    """Show rate, spend, saving, latency and goodput of the fleet, live. Ctrl-C ends it."""
    settings = settings_or_fail()
    url = f"http://{settings.host}:{settings.port}/metrics"
    shown = console()
    before = _look(url)
    if once:
        time.sleep(every)
        shown.print(view(Between(before, _look(url))))
        return
    with Live(console=shown, screen=shown.is_terminal, auto_refresh=False) as live:
        try:
            while True:
                time.sleep(every)
                after = _look(url)
                live.update(view(Between(before, after)), refresh=True)
                before = after
        except KeyboardInterrupt:
            return


def _look(url: str) -> Sample:
    try:
        with _DIRECT.open(url, timeout=10) as response:
            return read_sample(response.read().decode(), time.monotonic())
    except (OSError, urllib.error.URLError) as error:
        raise click.ClickException(f"no server at {url} ({error}); start one with `costrouter serve`") from None


def view(between: Between) -> Group:
    """The whole picture."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("model", "provider"):
        table.add_column(name)
    for name in ("req/s", "failed", "$/h", "saved $/h", "TTFT p50", "p95", "TPOT p50", "p95", "goodput"):
        table.add_column(name, justify="right")
    for model, provider in between.groups():
        table.add_row(model, provider, *_cells(between, model, provider))
    table.add_section()
    table.add_row("all", "", *_cells(between, "", ""), style="bold")
    return Group(table, *_notes(between))


def _cells(between: Between, model: str, provider: str) -> list[str]:
    where = {"model": model, "provider": provider} if model else {}
    ai = {"gen_ai_response_model": model, "gen_ai_provider_name": provider} if model else {}
    sent = between.total("costrouter_attempts_total", **where) - between.total(
        "costrouter_attempts_total", outcome="released", **where
    )
    failed = between.total("costrouter_attempts_total", outcome=FAILED, **where)
    hours = between.seconds / 3600
    cost = between.total("costrouter_cost_nanodollars_total", **where) / 1e9
    baseline = between.total("costrouter_baseline_nanodollars_total", **where) / 1e9
    good = between.total("costrouter_good_total", **where)
    return [
        f"{sent / between.seconds:,.1f}",
        f"{failed / sent:.1%}" if sent else "",
        f"{cost / hours:,.4f}",
        f"{(baseline - cost) / hours:,.4f}",
        *(_ms(between.quantile(TTFT, share, **ai)) for share in (0.5, 0.95)),
        *(_ms(between.quantile(TPOT, share, **ai)) for share in (0.5, 0.95)),
        f"{good / sent:.1%}" if sent else "",
    ]


def _ms(seconds: float | None) -> str:
    return "" if seconds is None else f"{1000 * seconds:,.0f} ms"


def _way(labels: Mapping[str, str]) -> str:
    model = "every model" if labels["model"] == "*" else labels["model"]
    phase = labels["phase"].replace("_", " ")
    return f"{model} at {labels['provider']} is {phase}{labels['key'] and ' for '}{labels['key']}"


def _notes(between: Between) -> list[Text]:
    found = []
    refused = between.total("costrouter_refusals_total")
    if refused:
        found.append(Text(f"refused {refused / between.seconds:,.1f}/s", style="yellow"))
    shut = sum(value for _, value in between.gauges("costrouter_ways_shut"))
    if shut:
        found.append(Text(f"breakers keep {shut:,.0f} ways to a model shut", style="red"))
    ways = sorted(_way(labels) for labels, _ in between.gauges("costrouter_breaker_state"))
    found += [Text(f"breaker: {way}", style="red") for way in ways[:SHOWN]]
    if len(ways) > SHOWN:
        found.append(Text(f"and {len(ways) - SHOWN} more", style="red"))
    degraded = [value for _, value in between.gauges("costrouter_degraded") if value]
    if degraded:
        found.append(Text("degraded: /readyz says why", style="yellow"))
    waiting = sum(value for _, value in between.gauges("costrouter_rows_waiting"))
    if waiting:
        found.append(Text(f"{waiting:,.0f} rows wait for the store"))
    return found
