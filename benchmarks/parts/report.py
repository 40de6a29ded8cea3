"""Figures to tables and verdicts.

Belongs here: medians, ratios within an alternation, the limits of the issue. Does not belong here: measuring.
"""

from statistics import median

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

YARDSTICK, SUBJECT = "bare", "costrouter"
NOISY = 0.05
"""Share of the proxy's core; above it, wall-clock figures are not comparable."""
Runs = dict[str, dict[str, list[dict]]]


def show(runs: Runs, found: list[dict], skipped: list[str]) -> None:
    """Print a table for each scenario, then the verdicts."""
    console = Console(width=160)
    for scenario, by_proxy in runs.items():
        console.print(_table(scenario, by_proxy))
    for line in skipped:
        console.print(f"skipped {line}", markup=False, highlight=False)
    for verdict in found:
        mark = "met   " if verdict["met"] else "MISSED"
        console.print(f"{mark}  {verdict['what']}: {verdict['value']:.3f}  (wanted {verdict['wanted']})", markup=False)
    busy = foreign(runs)
    if busy > NOISY:
        console.print(
            f"NOISY   others took {busy:.0%} of the proxy's core: trust the CPU columns, not requests/s and latencies"
        )


def foreign(runs: Runs) -> float:
    """The share of the proxy's core that went to others while a proxy was measured, in the median."""
    shares = [
        figures["foreign"]
        for by_proxy in runs.values()
        for of_one in by_proxy.values()
        for figures in of_one
        if "proxy" in figures["cpu"]
    ]
    return median(shares) if shares else 0.0


def verdicts(runs: Runs) -> list[dict]:
    """What of the issue's limits these runs can tell: what, value, wanted, met."""
    found = []

    def judge(what, value, wanted, met):
        if value is not None:
            found.append({"what": what, "value": round(value, 4), "wanted": wanted, "met": met(value)})

    speed = ratio(runs, "small-64", _per_second)
    judge("1 KB, 64 connections, requests/s over the bare pass-through's", speed, ">= 0.8", lambda value: value >= 0.8)
    added = _between(
        runs, "small-1", lambda figures: figures["latency"]["p50"], SUBJECT, "direct", relate=lambda a, b: a - b
    )
    judge("1 KB, 1 connection, p50 added to direct, ms", added, "< 0.6", lambda value: value < 0.6)
    speed = ratio(runs, "large-64", _per_second)
    judge("32 KB, 64 connections, requests/s over the bare pass-through's", speed, ">= 0.5", lambda value: value >= 0.5)
    for quantile, limit in (("p50", 1.2), ("p99", 1.5)):
        first = ratio(runs, "stream-64", lambda figures, quantile=quantile: figures["first"][quantile])
        judge(
            f"64 streams, TTFT {quantile} over the bare pass-through's", first, f"<= {limit}", lambda v, m=limit: v <= m
        )
    return found


def ratio(runs: Runs, scenario: str, value, subject: str = SUBJECT) -> float | None:
    """Median over the alternations of subject / yardstick; None when one of them did not run."""
    return _between(runs, scenario, value, subject, YARDSTICK, relate=lambda a, b: a / b if b else 0.0)


def _between(runs, scenario, value, *pair, relate):
    one, two = (runs.get(scenario, {}).get(proxy, ()) for proxy in pair)
    pairs = zip(one, two, strict=False)
    found = [relate(value(one), value(two)) for one, two in pairs]
    return median(found) if found else None


def _per_second(figures):
    return figures["per_second"]


def _table(scenario, by_proxy):
    streams = any(figures["first"]["max"] for runs in by_proxy.values() for figures in runs)
    table = Table(title=f"{scenario}, times in ms", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    headings = ["req/s", "lowest-highest", "x bare", "p50", "p95", "p99"]
    headings += ["TTFT p50", "p99"] if streams else []
    headings += ["CPU", "x bare", "store", "load", "upstream", "foreign"]
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for proxy, runs in by_proxy.items():
        table.add_row(proxy, *_cells(by_proxy, proxy, runs, streams=streams))
    return table


def _cells(by_proxy, proxy, runs, *, streams):
    def mid(*path, form):
        values = []
        for figures in runs:
            found = figures
            for key in path:
                found = found.get(key)
            if found is None:
                return ""
            values.append(found)
        return format(median(values), form)

    speeds = [figures["per_second"] for figures in runs]
    alone = {"": by_proxy}
    cells = [mid("per_second", form=",.0f"), f"{min(speeds):,.0f}-{max(speeds):,.0f}"]
    cells.append(_times(ratio(alone, "", _per_second, proxy)))
    cells += [mid("latency", quantile, form=".2f") for quantile in ("p50", "p95", "p99")]
    if streams:
        cells += [mid("first", quantile, form=".2f") for quantile in ("p50", "p99")]
    cells.append(mid("cpu", "proxy", form=".3f"))
    cells.append(_times(ratio(alone, "", _proxy_cpu, proxy)) if cells[-1] else "")
    cells += [mid("cpu", part, form=".3f") for part in ("store", "load", "upstream")]
    cells.append(mid("foreign", form=".0%"))
    return cells


def _proxy_cpu(figures):
    return figures["cpu"]["proxy"]


def _times(value):
    return "" if value is None else f"{value:.2f}"
