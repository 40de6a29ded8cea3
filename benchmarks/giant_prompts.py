"""Small requests beside giants: does a prompt of a million tokens every second hold up everybody else?

An open loop of small requests, first alone, then with one giant (about 4.4 MB) a second, on no proxy and on costrouter.
What `direct` loses is the harness's own part: load and upstream share a core.
"""

import argparse
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from parts import proxies
from parts.costrouter import costrouter
from parts.generator import Generator
from parts.processes import BenchError, machine, two_cores
from parts.proxies import Place

ADDED_MS = 30.0
"""The limit on what giants may add to the p99 of small requests."""


def main() -> int:
    """Run; the exit status is 1 when something failed, not when a figure is missed."""
    parser = argparse.ArgumentParser(description="Measure small requests while giant prompts arrive.")
    parser.add_argument("--rate", type=float, default=200.0, help="small requests a second")
    parser.add_argument("--seconds", type=float, default=12.0, help="length of a window")
    parser.add_argument("--times", type=int, default=3, help="alternations")
    options = parser.parse_args()
    print(machine())
    try:
        with ExitStack() as stack:
            _measure(stack, options)
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _measure(stack, options):
    proxy_core, other_core = two_cores()
    os.sched_setaffinity(0, {other_core})
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
    port, _ = proxies.upstream(stack, other_core, directory)
    place = Place(port, proxy_core, other_core, directory)
    small = Generator(stack, other_core, directory, "small")
    giant = Generator(stack, other_core, directory, "giant")
    for proxy in (proxies.direct(stack, place), costrouter(stack, place)):
        sent, alone, among, giants = 0, [], [], []
        common = {"port": proxy.port, "key": proxy.key}
        flow = {**common, "kind": "small", "connections": 16, "rate": options.rate, "warmup": 1.0}
        for _ in range(options.times):
            small.begin(**flow, seconds=options.seconds)
            alone.append(small.finish(proxy.watched, proxy_core))
            giant.begin(**common, kind="giant", connections=4, rate=1.0, warmup=0.0, seconds=options.seconds + 2)
            small.begin(**flow, seconds=options.seconds)
            among.append(small.finish(proxy.watched, proxy_core))
            giants.append(giant.finish(proxy.watched, proxy_core))
            sent += alone[-1]["sent"] + among[-1]["sent"] + giants[-1]["sent"]
            proxy.check(sent)
        _tell(proxy.name, alone, among, giants)


def _tell(name, alone, among, giants):
    def mid(runs, quantile):
        return median(figures["latency"][quantile] for figures in runs)

    added = median(b["latency"]["p99"] - a["latency"]["p99"] for a, b in zip(alone, among, strict=True))
    print(
        f"{name}: small alone    p50 {mid(alone, 'p50'):7.2f}  p99 {mid(alone, 'p99'):7.2f}  max {mid(alone, 'max'):7.2f} ms"
    )
    print(
        f"{name}: among giants   p50 {mid(among, 'p50'):7.2f}  p99 {mid(among, 'p99'):7.2f}  max {mid(among, 'max'):7.2f} ms"
    )
    print(f"{name}: giants         p50 {mid(giants, 'p50'):7.0f}  max {mid(giants, 'max'):7.0f} ms")
    mark = "met" if added < ADDED_MS else "MISSED"
    print(f"{name}: p99 of small ones grows by {added:.2f} ms (wanted < {ADDED_MS:.0f}): {mark}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
