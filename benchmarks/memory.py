"""Memory of a worker after many requests, and the time from `costrouter serve` to the first answer."""

import argparse
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from parts import proxies
from parts.costrouter import cold_start, costrouter
from parts.generator import Generator
from parts.processes import BenchError, machine, memory_mb, two_cores
from parts.proxies import Place

PSS_MB, COLD_S = 90.0, 1.5
STEPS = 5


def main() -> int:
    """Run; the exit status is 1 when something failed, not when a figure is missed."""
    parser = argparse.ArgumentParser(description="Measure a worker's memory and the cold start.")
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--starts", type=int, default=5, help="cold starts; 0 for none")
    options = parser.parse_args()
    print(machine())
    try:
        with ExitStack() as stack:
            proxy_core, other_core = two_cores()
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
            port, _ = proxies.upstream(stack, other_core, directory)
            place = Place(port, proxy_core, other_core, directory)
            if options.starts:
                _start_cold(place, options.starts)
            os.sched_setaffinity(0, {other_core})
            if options.requests:
                _fill(stack, place, options.requests)
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _start_cold(place, times):
    took = [cold_start(place, place.directory / f"cold{number}") for number in range(times)]
    each = " ".join(f"{seconds:.2f}" for seconds in took)
    print(
        f"cold start to the first 200: {each} s, median {median(took):.2f} s ({_mark(median(took), COLD_S)} s)",
        flush=True,
    )


def _fill(stack, place, requests):
    proxy = costrouter(stack, place)
    generator = Generator(stack, place.other_core, place.directory)
    (worker,) = proxy.watched["proxy"]
    sent = 0
    _tell(worker, sent)
    for _ in range(STEPS):
        generator.begin(port=proxy.port, key=proxy.key, connections=64, warmup=0.0, count=requests // STEPS)
        sent += generator.finish(proxy.watched, place.proxy_core)["sent"]
        _tell(worker, sent)
    proxy.check(sent)
    pss = memory_mb(worker)["pss"]
    print(f"PSS of the worker after {sent:,} requests: {pss:.1f} MB ({_mark(pss, PSS_MB)} MB)")


def _tell(worker, sent):
    found = memory_mb(worker)
    print(
        f"{sent:>8,} requests: " + "  ".join(f"{name} {amount:6.1f} MB" for name, amount in found.items()), flush=True
    )


def _mark(value, limit):
    return f"{'met' if value < limit else 'MISSED'}, wanted < {limit}"


if __name__ == "__main__":
    sys.exit(main())
