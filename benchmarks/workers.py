"""One, two and four workers side by side: what an answer costs them, and whether a limit stays exact over them.

    .venv/bin/python benchmarks/workers.py [--seconds 3] [--alternations 3]

On a machine with as many cores as workers, load and upstream need, throughput grows with the workers as long as the processor
time that an answer costs them does not. That is what is compared here, because it can be measured on two cores as well, where
load, upstream and store take much of both: an answer's cost at n workers must be at most 1/0.9 of that at one.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from parts import proxies
from parts.costrouter import ADMIN_KEY, KEY, serve
from parts.generator import Generator
from parts.processes import BenchError, machine, two_cores
from parts.proxies import Place

COUNTS = (1, 2, 4)
CONNECTIONS = 64
LINEAR = 0.9
LIMIT = 500


def main() -> int:
    """Run; the exit status is 1 when something failed or was missed."""
    parser = argparse.ArgumentParser(description="Measure one, two and four workers.")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--alternations", type=int, default=3)
    options = parser.parse_args()
    print(machine(), f"{os.cpu_count()} cores", flush=True)
    cores = two_cores()
    runs: dict[int, list[dict]] = {count: [] for count in COUNTS}
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        port, _ = proxies.upstream(stack, cores[1], directory)
        nodes = {}
        for count in COUNTS:
            place = Place(port, set(cores), cores[1], directory)
            nodes[count] = serve(stack, place, directory / f"w{count}", workers=count)
        generator = Generator(stack, cores[1], directory)
        for _ in range(options.alternations):
            for count, node in nodes.items():
                generator.begin(
                    port=node.port, key=KEY, kind="small", connections=CONNECTIONS, warmup=0.5, seconds=options.seconds
                )
                runs[count].append(generator.finish({"proxy": node.workers}, cores[0]))
        admitted = {count: _limited(node.port) for count, node in nodes.items()}
    missed = False
    base = statistics.median(run["cpu"]["proxy"] for run in runs[1])
    for count in COUNTS:
        rate = statistics.median(run["per_second"] for run in runs[count])
        cost = statistics.median(run["cpu"]["proxy"] for run in runs[count])
        exact = admitted[count] == LIMIT
        missed |= base / cost < LINEAR or not exact
        print(
            f"{count} workers: {rate:,.0f}/s here, {cost:.3f} ms of processor time an answer, "
            f"{base / cost:.2f} of linear; a limit of {LIMIT} requests admitted {admitted[count]}"
        )
    return int(missed)


def _limited(port: int) -> int:
    """How many of twice as many requests as a limit allows are answered, sixteen at a time."""
    _call(
        port, "/costrouter/v1/limits", ADMIN_KEY, {"scope": {"tag": "bench=limit"}, "kind": "requests", "limit": LIMIT}
    )
    time.sleep(1)  # every worker goes by it within a second
    with ThreadPoolExecutor(16) as pool:
        return sum(pool.map(lambda _: _answered(port), range(2 * LIMIT)))


def _answered(port: int) -> bool:
    body = {"model": "auto", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8}
    return _call(port, "/v1/chat/completions", KEY, body, {"x-costrouter-tags": "bench=limit"}) == 200


def _call(port: int, path: str, key: str, body: dict, headers: dict | None = None) -> int:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}",
        json.dumps(body).encode(),
        {"authorization": f"Bearer {key}", "content-type": "application/json", **(headers or {})},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            answer.read()
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        sys.exit(str(error))
