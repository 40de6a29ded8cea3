"""How long deciding takes, by number of candidates; tiers and efforts are on.

    .venv/bin/python benchmarks/decide.py            # a table; ends with status 1 where a limit is missed
    .venv/bin/python benchmarks/decide.py --json out.json

The limits: at most 60 µs for 10 candidates, 150 µs for 50 (medians). A candidate is one way of calling a model: model,
provider, tier and effort. Also measured: finding the plan, keeping the decision for the log, and explaining it.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from router.adapters.policies.files import load_policies, packaged_policies_dir
from router.core.deciding.decide import Facts, Plan, decide, level
from router.core.deciding.decision_log import Made, Packer
from router.core.deciding.explanation import explanation
from router.core.deciding.snapshot import World, compile_snapshot
from router.core.names import Names
from router.core.values import Needs, TokenRange

LIMITS = {10: 60.0, 50: 150.0}
ROUNDS, CALLS = 30, 200


def median_us(call: Callable[[], object]) -> float:
    """Median over rounds of the mean time of one call, in microseconds."""
    found = []
    for _ in range(ROUNDS):
        start = time.perf_counter_ns()
        for _ in range(CALLS):
            call()
        found.append((time.perf_counter_ns() - start) / CALLS / 1000)
    return statistics.median(found)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json")
    arguments = parser.parse_args()
    loaded = load_policies(packaged_policies_dir())
    now = dt.datetime.now(dt.UTC)
    policy = msgspec.structs.replace(
        loaded.policies["default"],
        include=("*",),
        efforts=("none", "minimal", "low"),
        rules=tuple(
            msgspec.structs.replace(rule, tiers=("realtime", "flex", "priority"), ttft=None, floors=())
            for rule in loaded.policies["default"].rules
        ),
    )
    spoken = frozenset(name for name, provider in loaded.catalog.providers.items() if provider.spoken)
    world = World(loaded.catalog, {"default": policy}, Names(loaded.catalog), spoken)
    start = time.perf_counter_ns()
    snapshot = compile_snapshot("bench", world, now, lambda _: None)
    first_ms = (time.perf_counter_ns() - start) / 1e6
    tick_ms = median_us(lambda: compile_snapshot("bench", world, now, lambda _: None, snapshot)) / 1000
    options = [
        option
        for model in loaded.catalog.models
        if (base := snapshot.option(model)) is not None and base.capabilities & Needs.CHAT
        for option in snapshot.ways_of(model)
    ]
    # As the request path asks: a glance at a short prompt (a range), and an exact count.
    glance = TokenRange(150, 190, 230, 270, 1_000)
    exact = TokenRange(230, 230, 230, 230, 230)
    rows = []
    for count in (1, 10, 50, min(100, len(options))):
        some = options[:: max(len(options) // count, 1)][:count]
        plan = Plan("bench@0", "any", (level("", some),), tuple(some), {}, None, None)
        row: dict[str, float] = {"candidates": len(some)}
        for name, tokens in (("exact", exact), ("glance", glance)):
            facts = Facts(endpoint="chat", needs=int(Needs.CHAT), tokens=tokens, messages=2, max_output=400)
            row[name] = median_us(lambda facts=facts, plan=plan, first=some[0]: decide(plan, facts, first))
        found = decide(plan, facts, some[0])
        made = Made("req_0", 0, "t", "k", "", "", "s", facts, plan, some[0], found and found.option, 1)
        packer = Packer()
        row["log"] = median_us(lambda made=made, packer=packer: packer.add(made))
        begun = time.perf_counter_ns()
        explanation(plan, facts, some[0], found, loaded.catalog, snapshot="s", at=now)
        row["explain"] = (time.perf_counter_ns() - begun) / 1000
        rows.append(row)
    print(f"compile a snapshot: {first_ms:.1f} ms; a tick with the same prices: {tick_ms:.1f} ms; {len(options)} ways")
    print("| candidates | decide, exact | decide, glance | to the log | explain |\n|---|---|---|---|---|")
    for row in rows:
        told = [f"{row[name]:,.1f} µs" for name in ("exact", "glance", "log", "explain")]
        print(f"| {row['candidates']:.0f} | {' | '.join(told)} |")
    missed = [row for row in rows if max(row["exact"], row["glance"]) > LIMITS.get(int(row["candidates"]), 1e9)]
    if arguments.json:
        Path(arguments.json).write_text(json.dumps({"rows": rows, "tick_ms": tick_ms}))
    print("limits: met" if not missed else f"limits: missed at {[row['candidates'] for row in missed]}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
