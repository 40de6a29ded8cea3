"""Streams that are translated beside streams that pass as they are, in one node: `.venv/bin/python benchmarks/translated.py`.

Callers of two APIs, providers of three dialects, 64 streams at a time. Each run is held against the one of the same API whose
provider speaks the same, seconds before it. README.md tells how to read it.
"""

import argparse
import contextlib
import datetime as dt
import json
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from parts import proxies
from parts.costrouter import KEY, prepare_dialects, serve
from parts.generator import Generator
from parts.processes import BenchError, machine, two_cores
from parts.proxies import Place
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

KINDS = {"chat": ("stream", "openai"), "messages": ("messages", "anthropic")}
"""By API: the kind of body, and the dialect that passes."""
DIALECTS = ("openai", "anthropic", "gemini")
CONNECTIONS, SECONDS, WARMUP = 64, 1.5, 0.4
WANTED = 0.5


def ways():
    """(API, dialect), the one that passes first."""
    return [
        (api, dialect)
        for api, (_, native) in KINDS.items()
        for dialect in sorted(DIALECTS, key=lambda name, native=native: name != native)
    ]


def measure(times: int, seconds: float) -> dict[tuple[str, str], list[dict]]:
    """Figures of every way, so many times."""
    proxy_core, other_core = two_cores()
    os.sched_setaffinity(0, {other_core})
    runs: dict[tuple[str, str], list[dict]] = {}
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        port, _ = proxies.upstream(stack, other_core, directory)
        place = Place(port, proxy_core, other_core, directory)
        node = serve(stack, place, directory / "costrouter", files=prepare_dialects)
        generator = Generator(stack, other_core, directory)
        for turn in range(times):
            for api, dialect in ways():
                plan = {"kind": KINDS[api][0], "model": f"bench/model-0@{dialect}", "connections": CONNECTIONS}
                generator.begin(port=node.port, key=KEY, warmup=WARMUP, seconds=seconds, **plan)
                found = generator.finish({"proxy": node.workers, "store": node.store}, proxy_core)
                runs.setdefault((api, dialect), []).append(found)
                print(f"{turn + 1}/{times} {api} to {dialect}: {found['per_second']:,.0f}/s", flush=True)
    return runs


def ratios(runs, api, dialect, value):
    """Of a way to the one that passes, each within one turn: the median."""
    usual = runs[api, KINDS[api][1]]
    return median(value(one) / value(other) for one, other in zip(runs[api, dialect], usual, strict=True))


def show(runs) -> None:
    """Print the table."""
    table = Table(title=f"{CONNECTIONS} streams, times in ms", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("API", "provider", "streams/s", "x passed", "CPU", "x passed", "TTFT p50", "x passed", "foreign"):
        table.add_column(heading, justify="right", no_wrap=True)
    for (api, dialect), found in runs.items():
        cells = []
        for value, form, better in (
            (lambda run: run["per_second"], ",.0f", ">"),
            (lambda run: run["cpu"]["proxy"], ".3f", "<"),
            (lambda run: run["first"]["p50"], ".1f", "<"),
        ):
            times = ratios(runs, api, dialect, value)
            met = times >= WANTED if better == ">" else times <= 1 / WANTED
            cells += [format(median(map(value, found)), form), f"{times:.2f}{'' if met else ' MISSED'}"]
        table.add_row(api, dialect, *cells, f"{median(run['foreign'] for run in found):.0%}")
    Console(width=140).print(table)


def main() -> int:
    """Run; the exit status is 1 when something failed, not when a figure is missed."""
    parser = argparse.ArgumentParser(description="Measure translated streams beside those that pass.")
    parser.add_argument("--quick", action="store_true", help="one turn, for development")
    parser.add_argument("--json", metavar="FILE", help="write every figure to a file")
    options = parser.parse_args()
    print(f"{dt.datetime.now(dt.UTC).isoformat(timespec='seconds')}  {machine()}", flush=True)
    try:
        runs = measure(1 if options.quick else 5, SECONDS)
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    show(runs)
    if options.json:
        Path(options.json).write_text(json.dumps({" to ".join(way): found for way, found in runs.items()}, indent=1))
    return 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
