"""The request path side by side: no proxy, nginx, a bare aiohttp pass-through, costrouter. `make bench` runs it.

The proxy has one core; load, upstream and store share another. Runs alternate (A B C D A B C D …) and every ratio is
taken within one alternation, so that a machine that slows down slows all of them. README.md tells how to read it.
"""

import argparse
import contextlib
import datetime as dt
import json
import os
import signal
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from parts import proxies
from parts.costrouter import costrouter
from parts.generator import Generator
from parts.processes import BenchError, machine, tail, two_cores
from parts.proxies import Place, Proxy, SkippedError
from parts.report import foreign, show, verdicts

PROXIES = {
    "direct": proxies.direct,
    "nginx": proxies.nginx,
    "bare": proxies.bare,
    "costrouter": costrouter,
}
ALTERNATIONS, SECONDS, WARMUP = 5, 1.5, 0.4
QUICK_SECONDS = 1.0


@dataclass(frozen=True)
class Scenario:
    """A kind of request (bodies.py) at a number of connections."""

    name: str
    kind: str
    connections: int


SCENARIOS = [
    Scenario("small-1", "small", 1),
    Scenario("small-16", "small", 16),
    Scenario("small-64", "small", 64),
    Scenario("small-256", "small", 256),
    Scenario("large-64", "large", 64),
    Scenario("stream-64", "stream", 64),
]


class Bench:
    """The processes of one benchmark, and the figures so far: ``runs[scenario][proxy]`` is a list, one an alternation."""

    def __init__(self, stack: ExitStack, table: dict) -> None:
        self._proxy_core, other_core = two_cores()
        os.sched_setaffinity(0, {other_core})
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        port, upstream = proxies.upstream(stack, other_core, directory)
        place = Place(port, self._proxy_core, other_core, directory)
        self._upstream = upstream
        self._generator = Generator(stack, other_core, directory)
        self._sent: dict[str, int] = {}
        self.proxies: list[Proxy] = []
        self.skipped: list[str] = []
        self.runs: dict[str, dict[str, list[dict]]] = {}
        for name, begin in table.items():
            try:
                self.proxies.append(begin(stack, place))
            except SkippedError as reason:
                self.skipped.append(f"{name}: {reason}")
                print(f"skipped {name}: {reason}", flush=True)

    def alternate(self, scenarios: list[Scenario], times: int, seconds: float) -> None:
        """Run every scenario on every proxy, and all of that several times."""
        for turn in range(times):
            for scenario in scenarios:
                row = self.runs.setdefault(scenario.name, {})
                told = []
                for proxy in self.proxies:
                    figures = self._run(scenario, proxy, seconds)
                    row.setdefault(proxy.name, []).append(figures)
                    told.append(f"{proxy.name} {figures['per_second']:,.0f}/s")
                print(f"{turn + 1}/{times} {scenario.name}: {', '.join(told)}", flush=True)

    def _run(self, scenario: Scenario, proxy: Proxy, seconds: float) -> dict:
        try:
            self._generator.begin(
                port=proxy.port,
                key=proxy.key,
                kind=scenario.kind,
                connections=scenario.connections,
                warmup=WARMUP * proxy.patience,
                seconds=seconds * proxy.patience,
            )
            figures = self._generator.finish({**proxy.watched, "upstream": [self._upstream]}, self._proxy_core)
            self._sent[proxy.name] = self._sent.get(proxy.name, 0) + figures["sent"]
            proxy.check(self._sent[proxy.name])
        except BenchError as error:
            log = f"\nThe end of its log:\n{tail(proxy.log)}" if proxy.log else ""
            raise BenchError(f"{scenario.name} on {proxy.name}: {error}{log}") from None
        return figures


def main() -> int:
    """Run; the exit status is 1 when something failed, not when a figure is missed."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    names = set(options.only)
    table = {name: begin for name, begin in PROXIES.items() if name in names} or PROXIES
    scenarios = [scenario for scenario in SCENARIOS if scenario.name in names] or SCENARIOS
    times, seconds = (1, QUICK_SECONDS) if options.quick else (ALTERNATIONS, SECONDS)
    about = {"at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"), "machine": machine(), "alternations": times}
    print(f"{about['at']}  {about['machine']}", flush=True)
    try:
        with ExitStack() as stack:
            bench = Bench(stack, table)
            bench.alternate(scenarios, times, seconds)
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    found = verdicts(bench.runs)
    show(bench.runs, found, bench.skipped)
    if options.json:
        document = {
            **about,
            "skipped": bench.skipped,
            "foreign": foreign(bench.runs),
            "runs": bench.runs,
            "verdicts": found,
        }
        Path(options.json).write_text(json.dumps(document, indent=1) + "\n")
    return 0


def _options() -> argparse.Namespace:
    known = [*PROXIES, *(scenario.name for scenario in SCENARIOS)]
    parser = argparse.ArgumentParser(description="Measure the request path beside nginx and a bare pass-through.")
    parser.add_argument("--quick", action="store_true", help="one alternation, short windows: for development")
    parser.add_argument("--only", action="append", default=[], choices=known, help="a proxy or a scenario; repeatable")
    parser.add_argument("--json", metavar="FILE", help="write every figure to a file")
    return parser.parse_args()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
