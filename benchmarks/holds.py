"""What statistical budgets hold beside max_tokens holds, and how far they are passed, on recorded traffic.

Belongs here: the sizes of holds on real lengths of prompts and answers, and a budget that is used up by them. Does not
belong here: the store's speed (store_path), and random lengths (tests/adapters/ledger/test_budget_bound.py). Run it as
``python benchmarks/holds.py --traces DIR``: a directory with ``azure_conv_2023.csv`` (Azure/AzurePublicDataset) and
``mooncake_conversation.jsonl.gz`` (kvcache-ai/Mooncake), or either. COSTROUTER_TRACES names it as well.

The first third of a trace teaches the lengths of answers as workers learn them; only the rest is measured. A max_tokens
hold is what gateways commonly set aside: the counted prompt and the whole output limit, at the model's price.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import datetime as dt
import gzip
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from router.adapters.fleet.statistics import Observations
from router.adapters.ledger.ledger import RedisLedger
from router.adapters.policies.files import load_policies, packaged_policies_dir
from router.adapters.store.embedded import EmbeddedStore
from router.adapters.store.layout import budget_key, tenant_prefix
from router.adapters.store.resp import RespConnection
from router.adapters.store.url import StoreAddress
from router.core.budgets.budget import Budget, Terms, term_at
from router.core.budgets.holds import grown_cost, likely_output, worst_case
from router.core.deciding.decide import Facts, TokenRange, hold
from router.core.deciding.snapshot import World, compile_snapshot
from router.core.money import nano_ceil, usd
from router.core.names import Names
from router.core.pricing import cost_pico
from router.core.values import Hold, Needs, Row, Usage
from router.ports import BudgetExceeded

MODEL = "openai/gpt-4o"
LIMITS = (None, 4_096, 2_048, 1_024)
"""What callers say of the output; None: nothing, so that the model's own limit holds."""
REQUESTS = 10_000
CALLERS = 64
TENANT = "acme"


class Machine:
    """The machine's clock."""

    def now_ms(self):
        """Milliseconds since the epoch."""
        return time.time_ns() // 1_000_000

    def monotonic(self):
        """Seconds."""
        return time.monotonic()


def azure(path):
    with path.open() as lines:
        return [(int(row["ContextTokens"]), int(row["GeneratedTokens"])) for row in csv.DictReader(lines)]


def mooncake(path):
    with gzip.open(path, "rt") as lines:
        return [(row["input_length"], row["output_length"]) for row in map(json.loads, lines)]


TRACES = {"azure_conv_2023.csv": azure, "mooncake_conversation.jsonl.gz": mooncake}


def option_after(lengths):
    """The model as a worker sees it that has answered with these lengths."""
    loaded = load_policies(packaged_policies_dir())
    catalog = loaded.catalog
    world = World(
        catalog=catalog, policies=loaded.policies, names=Names(catalog), offered=frozenset({MODEL.partition("/")[0]})
    )
    seen = Observations()
    for length in lengths:
        seen.add(("output", MODEL, "openai", "realtime"), length)
    now_ms = Machine().now_ms()
    seen.take(now_ms)
    seen.refresh(now_ms)
    snapshot = compile_snapshot("bench", world, dt.datetime.now(dt.UTC), seen.summary)
    return next(found for found in snapshot.offered if found.model == MODEL)


def facts_of(prompt, limit):
    return Facts(
        endpoint="chat",
        needs=int(Needs.CHAT),
        tokens=TokenRange(prompt, prompt, prompt, prompt, prompt),
        fixed_tokens=0,
        messages=1,
        images=(),
        max_output=limit,
        choices=1,
        task="chat",
        stream=True,
        asked_model=MODEL,
        text_bytes=4 * prompt,
    )


def sizes(option, requests, limit):
    """(mean hold, mean max_tokens hold, mean hard hold, mean cost), in nano-dollars, and the median request's saving."""
    held, most, hard, costs, shares = [], [], [], [], []
    top = option.max_output if limit is None else min(limit, option.max_output)
    for prompt, output in requests:
        facts = facts_of(prompt, limit)
        held.append(nano_ceil(hold(option, facts)))
        most.append(nano_ceil(cost_pico(option.price, Usage(prompt, top))))
        hard.append(nano_ceil(worst_case(option, facts)))
        costs.append(nano_ceil(cost_pico(option.price, Usage(prompt, min(output, top)))))
        shares.append(1 - held[-1] / most[-1])
    return *(statistics.fmean(values) for values in (held, most, hard, costs)), statistics.median(shares)


class Run:
    """Callers that reserve, grow as a stream would, and settle, until a statistical budget is used up."""

    def __init__(self, ledger, option, requests, limit):
        self.ledger, self.option, self.limit = ledger, option, limit
        self.requests = requests
        top = min(limit, option.max_output)
        costs = [nano_ceil(cost_pico(option.price, Usage(p, min(o, top)))) for p, o in requests]
        self.budget = Budget(
            id="bench", tenant=TENANT, scope=(), limit_nano=sum(costs) // 2, period="total", mode="statistical"
        )
        term = term_at(self.budget, dt.UTC, Machine().now_ms())
        self.terms = Terms((term,), (term.name,), term.from_ms, term.until_ms, hard=False, statistical=True)
        self.open = {}
        self.spent = self.bound = self.admitted = self.refused = 0

    def hold(self, attempt, amount, *, grows=False):
        """What is asked of the ledger."""
        return Hold(
            attempt=attempt, tenant=TENANT, amount_nano=amount, not_after_ms=Machine().now_ms() + 60_000,
            terms=self.terms, grows=grows,
        )  # fmt: skip  # a line a field would hide the shape

    def look(self):
        """The stated bound: what the requests under way may cost beyond their holds, whenever one was admitted."""
        self.bound = max(self.bound, sum(worst - held for held, worst in self.open.values()))

    async def one(self, number):
        """One request of the trace."""
        prompt, output = self.requests[number]
        facts = facts_of(prompt, self.limit)
        attempt, option = f"r{number}/1", self.option
        likely, worst = nano_ceil(hold(option, facts)), nano_ceil(worst_case(option, facts))
        try:
            at_ms = await self.ledger.reserve(self.hold(attempt, likely))
        except BudgetExceeded:
            self.refused += 1
            return
        self.admitted += 1
        self.open[attempt] = (likely, worst)
        self.look()
        said, held = min(output, self.limit), likely_output(option, facts)
        while number % 2 and said > held:  # every other one streams
            held = min(2 * held, self.limit)
            more = nano_ceil(grown_cost(option, facts, held))
            try:
                await self.ledger.reserve(self.hold(attempt, more, grows=True))
            except BudgetExceeded:
                break
            self.open[attempt] = (more, worst)
        await asyncio.sleep(said / 100_000)
        cost = nano_ceil(cost_pico(option.price, Usage(prompt, said)))
        self.spent += cost
        self.ledger.settle(row_of(attempt, at_ms, cost, self.terms.names))
        del self.open[attempt]

    async def all(self):
        """All of them, by so many callers."""
        numbers = iter(range(len(self.requests)))

        async def caller():
            for number in numbers:
                await self.one(number)

        await asyncio.gather(*(caller() for _ in range(CALLERS)))
        await self.ledger.flush()


def row_of(attempt, at_ms, cost, budgets):
    return Row(
        attempt=attempt, at_ms=at_ms, tenant=TENANT, team="", app="", key="", user="", tags=(), endpoint="chat",
        policy="", rule="", requested_model=MODEL, model=MODEL, provider="openai", tier="realtime", outcome="ok",
        status=200, certainty="metered", prompt_tokens=0, cached_tokens=0, cache_write_tokens=0, completion_tokens=0,
        reasoning_tokens=0, price_version="", cost_pico=cost * 1000, cost_nano=cost, estimated_nano=cost,
        baseline_nano=cost, runner_up_nano=cost, ttft_ms=0, total_ms=0, snapshot="", budgets=budgets,
    )  # fmt: skip  # a line a field would hide the shape


async def overshoot(folder, option, requests, limit):
    store = EmbeddedStore(folder)
    connection = RespConnection(StoreAddress(path=str(store.start())), timeout_s=10)
    await connection.start()
    ledger = RedisLedger(connection, "bench", Machine())
    run = Run(ledger, option, requests, limit)
    await run.all()
    counted = await connection.call("HMGET", budget_key(tenant_prefix(TENANT), run.terms.names[0]), "s", "h")
    await ledger.close()
    await connection.close()
    store.stop()
    if [int(value) for value in counted] != [run.spent, 0]:
        sys.exit(f"the store has counted {counted}, and {run.spent} was spent")
    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--traces", type=Path, default=os.environ.get("COSTROUTER_TRACES"))
    folder = parser.parse_args().traces
    found = [(name, folder / name) for name in TRACES if folder is not None and (folder / name).exists()]
    if not found:
        parser.error(f"--traces must name a directory with {' or '.join(TRACES)}")
    failed = False
    for name, path in found:
        requests = TRACES[name](path)
        third = len(requests) // 3
        taught, rest = requests[:third], requests[third:]
        option = option_after([output for _, output in taught])
        print(
            f"{name}: {MODEL}, lengths of {len(taught):,} answers seen, {len(rest):,} requests measured: "
            f"mean prompt {statistics.fmean(p for p, _ in rest):,.0f}, answer {statistics.fmean(o for _, o in rest):,.0f} tokens, "
            f"held for {option.output_p90:,}"
        )
        print("  caller's limit   statistical $   max_tokens $   smaller   median   hard $     cost $")
        for limit in LIMITS:
            held, most, hard, cost, median = sizes(option, rest, limit)
            words = f"{'model' if limit is None else format(limit, ','):>14}"
            figures = [usd(round(value)) for value in (held, most, hard, cost)]
            print(
                f"  {words}   {figures[0]:>13}   {figures[1]:>12}   {1 - held / most:>6.1%}   {median:>6.1%}   {figures[2]}  {figures[3]}"
            )
        for limit in (4_096, 1_024):
            with tempfile.TemporaryDirectory(prefix="costrouter-bench-") as place:
                run = uvloop.run(overshoot(Path(place), option, rest[:REQUESTS], limit))
            over = run.spent - run.budget.limit_nano
            failed |= over > run.bound
            print(
                f"  budget of ${usd(run.budget.limit_nano)}, {min(len(rest), REQUESTS):,} requests, limit {limit:,}: {run.admitted:,} admitted, "
                f"{run.refused:,} refused, passed by ${usd(max(over, 0))} ({max(over, 0) / run.budget.limit_nano:.3%}), "
                f"stated bound ${usd(run.bound)} ({run.bound / run.budget.limit_nano:.2%})"
            )
    sys.exit("the bound was passed" if failed else 0)


if __name__ == "__main__":
    main()
