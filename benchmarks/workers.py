"""One, two and four workers side by side: what an answer costs them, what the store, and whether limits and budgets stay exact.

    .venv/bin/python benchmarks/workers.py [--seconds 3] [--alternations 5]

Throughput grows with the workers as long as three things hold: an answer costs the workers no more processor time than with one, it
costs the store no more, and nobody waits while there is work (what workers cost while idle is told apart: it does not grow with
what they serve). All three can be measured on two cores, though load, upstream
and store take much of both there: the first two as they are, the third as the rate that was reached over the rate that all
processes together have time for (2 cores over what an answer costs everybody). What more cores would give is worked out from
that, and said to be. Ratios are taken within one alternation, whose windows lie seconds apart, and their median is shown.
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
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from parts import proxies
from parts.costrouter import ADMIN_KEY, KEY, Node, serve
from parts.generator import Generator
from parts.processes import BenchError, cpu_ms, machine, two_cores
from parts.proxies import Place

COUNTS = (1, 2, 4)
CONNECTIONS = 64
"""For each worker: as many callers as each has when there is one, so that calls to the store carry as much."""
CORES = 2
LINEAR = 0.9
GROUPS = {"proxy": "workers", "store": "store", "load": "load", "upstream": "upstream"}
LIMIT = 500
"""Requests that a limit allows."""
BUDGET_NANO = 1_000_000
MOST_ASKED = 2_000
IDLE_S = 5.0
FRESH_S = 1.0
"""Within this every worker goes by a new limit, and every row is booked."""


def main() -> int:
    """Run; the exit status is 1 when something failed or was missed."""
    parser = argparse.ArgumentParser(description="Measure one, two and four workers.")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--alternations", type=int, default=5)
    options = parser.parse_args()
    print(machine(), f"{os.cpu_count()} cores", flush=True)
    cores = two_cores()
    runs: dict[int, list[dict]] = {count: [] for count in COUNTS}
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        port, upstream = proxies.upstream(stack, cores[1], directory)
        nodes = {}
        for count in COUNTS:
            place = Place(port, set(cores), cores[1], directory)
            nodes[count] = serve(stack, place, directory / f"w{count}", workers=count)
        generator = Generator(stack, cores[1], directory)
        for _ in range(options.alternations):
            for count, node in nodes.items():
                generator.begin(
                    port=node.port,
                    key=KEY,
                    kind="small",
                    connections=CONNECTIONS * count,
                    warmup=0.5,
                    seconds=options.seconds,
                )
                runs[count].append(generator.finish(_watched(node, upstream), cores[0]))
        idle = {count: _idle(node) for count, node in nodes.items()}
        for count, found in runs.items():
            for run in found:
                # What workers cost with nobody to serve is theirs whatever they serve.
                run["cpu"]["proxy"] -= idle[count] * count / run["per_second"]
        admitted = {count: (_limited(node.port), *_budgeted(node.port)) for count, node in nodes.items()}
    print(
        "ms of processor time a second of an idle worker: "
        + ", ".join(f"{idle[count]:.1f} of {count}" for count in COUNTS)
    )
    missed = [_judged(count, runs, admitted[count]) for count in COUNTS]
    _worked_out(runs)
    return int(any(missed))


def _judged(count: int, runs: dict[int, list[dict]], admitted: tuple[int, int, int]) -> bool:
    """Print a count's figures; True when a bound is missed."""
    mine = runs[count]
    linear = statistics.median(
        one["cpu"]["proxy"] / run["cpu"]["proxy"] for one, run in zip(runs[1], mine, strict=True)
    )
    full = statistics.median(run["per_second"] / _allowed(run, count) for run in mine)
    rate = statistics.median(run["per_second"] for run in mine)
    costs = ", ".join(f"{name} {_cost(mine, group):.3f}" for group, name in GROUPS.items())
    print(
        f"{count} workers: {rate:,.0f}/s, {full:.0%} of what the processor time allows; ms of it an answer: {costs}; "
        f"{linear:.2f} of linear; a limit of {LIMIT} requests admitted {admitted[0]}, a budget of {BUDGET_NANO} nano-dollars spent "
        f"{admitted[1]}, its answers cost {admitted[2]}"
    )
    exact = admitted[0] == LIMIT and admitted[1] == admitted[2] <= BUDGET_NANO
    return linear < LINEAR or not exact


def _allowed(run: dict, count: int) -> float:
    """Answers a second that two cores have time for, when the workers have one of them each at most."""
    everybody = 1_000 * CORES / sum(run["cpu"][group] for group in GROUPS)
    return min(everybody, 1_000 * count / run["cpu"]["proxy"])


def _worked_out(runs: dict[int, list[dict]]) -> None:
    """What more cores would give, by the costs at the most workers."""
    most = runs[COUNTS[-1]]
    worker, store = _cost(most, "proxy"), _cost(most, "store")
    print(
        f"Worked out, not measured: {1_000 / worker:,.0f}/s for each core of a worker; the store, one thread, is full at "
        f"{1_000 / store:,.0f}/s, which is {worker / store:.0f} workers."
    )


def _cost(runs: list[dict], name: str) -> float:
    return statistics.median(run["cpu"][name] for run in runs)


def _idle(node: Node) -> float:
    """Processor time that each worker takes in a second with nobody to serve, in ms."""
    began, before = time.perf_counter(), cpu_ms(node.workers)
    time.sleep(IDLE_S)
    return (cpu_ms(node.workers) - before) / len(node.workers) / (time.perf_counter() - began)


def _watched(node: Node, upstream: int) -> dict[str, list[int]]:
    return {"proxy": node.workers, "store": node.store, "upstream": [upstream]}


def _limited(port: int) -> int:
    """How many of twice as many requests as a limit allows are answered, sixteen at a time."""
    _call(
        port, "/costrouter/v1/limits", ADMIN_KEY, {"scope": {"tag": "bench=limit"}, "kind": "requests", "limit": LIMIT}
    )
    time.sleep(FRESH_S)
    with ThreadPoolExecutor(16) as pool:
        return sum(status == 200 for status, _ in pool.map(lambda _: _asked(port, "bench=limit"), range(2 * LIMIT)))


def _budgeted(port: int) -> tuple[int, int]:
    """What a hard budget has spent once it has no room any more, and what the answers say that they cost; nano-dollars."""
    limit = {
        "scope": {"tag": "bench=budget"},
        "period": "total",
        "limit_usd": f"{BUDGET_NANO / 10**9:.9f}",
        "hard": True,
    }
    _, answer = _call(port, "/costrouter/v1/budgets", ADMIN_KEY, limit)
    name = json.loads(answer.body)["id"]
    time.sleep(FRESH_S)
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: _asked(port, "bench=budget"), range(MOST_ASKED)))
    told = sum(_nano(answer.headers["x-costrouter-cost-usd"]) for status, answer in found if status == 200)
    if {status for status, _ in found} != {200, 402}:
        raise BenchError("The budget was never reached, or something else went wrong.")
    time.sleep(FRESH_S)
    _, answer = _call(port, "/costrouter/v1/budgets", ADMIN_KEY)
    (spent,) = [one["spent_usd"] for one in json.loads(answer.body)["data"] if one["id"] == name]
    return _nano(spent), told


def _nano(usd: str) -> int:
    whole, _, part = usd.partition(".")
    return int(whole) * 10**9 + int(part.ljust(9, "0"))


@dataclass(frozen=True)
class Answer:
    """What came back."""

    headers: Mapping[str, str]
    body: bytes


def _asked(port: int, tag: str) -> tuple[int, Answer]:
    body = {"model": "auto", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8}
    return _call(port, "/v1/chat/completions", KEY, body, {"x-costrouter-tags": tag})


def _call(port: int, path: str, key: str, body: dict | None = None, headers: dict | None = None) -> tuple[int, Answer]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}",
        None if body is None else json.dumps(body).encode(),
        {"authorization": f"Bearer {key}", "content-type": "application/json", **(headers or {})},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, Answer(answer.headers, answer.read())
    except urllib.error.HTTPError as error:
        return error.code, Answer(error.headers, error.read())


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        sys.exit(str(error))
