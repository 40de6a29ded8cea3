"""CPU that one request's hold, journal and row cost, client and store, at several group sizes, beside redis-py.

Belongs here: the store path alone. Does not belong here: the whole request (request_path). Run it as
``python benchmarks/store_path.py``; it starts an embedded store of its own in a temporary directory.

As many tasks as the group size reserve, settle and start over, so that reservations go in groups of that size and rows
in groups of 64. redis-py makes the same script calls with the same arguments on its asyncio client with hiredis, one
after the other; batches are built by the same code in both. Shown is the median of alternating rounds, in microseconds
of CPU a request; our columns include the tasks' own switching. "4 budgets" is ours with as many for every hold. With the
journal, each attempt is written down twice: before it is sent, and with its row.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
import statistics
import tempfile
import time
from pathlib import Path

import redis.asyncio
import uvloop

from router.adapters.journal.journal import Journal, Numbers
from router.adapters.ledger.batch import SETTLE, packed_row
from router.adapters.ledger.ledger import RedisLedger
from router.adapters.ledger.reserve import RESERVE
from router.adapters.ledger.settle import TRIGGER_ROWS, SettleLane
from router.adapters.store.embedded import EmbeddedStore
from router.adapters.store.layout import dims_text
from router.adapters.store.resp import RespConnection
from router.adapters.store.url import StoreAddress
from router.core.budgets.budget import NO_TERMS, Budget, Budgets
from router.core.values import Hold, Row

GROUPS = (1, 4, 16, 64)
ROUNDS = 5
REQUESTS = 4_096
MODELS = 5
AT_MS = 1_800_000_000_000


class Machine:
    """The machine's clock."""

    def now_ms(self):
        """Milliseconds since the epoch."""
        return time.time_ns() // 1_000_000

    def monotonic(self):
        """Seconds."""
        return time.monotonic()


def four_budgets(tenant):
    """The terms of an attempt that falls under as many, two of them statistical, one rolling."""
    budgets = [
        Budget(id=f"budget000{n}", tenant=tenant, scope=scope, limit_nano=2**52, period=period, rolling=n == 3, mode=mode)
        for n, (scope, period, mode) in enumerate([
            ((), "month", "hard"), ((("team", "search"),), "day", "hard"), ((("app", "faq"),), "total", "statistical"),
            ((("key", "key-7f32679e79c8d293"),), "hour", "statistical"),
        ])
    ]  # fmt: skip  # as above
    return Budgets(budgets, {"UTC": dt.UTC})


DIMS = ("search", "faq", "key-7f32679e79c8d293", "user-42", "deepseek/deepseek-flash", "deepseek", ("env=prod",))


def holds_and_rows(count, tenant, terms=NO_TERMS):
    """Made before the clock runs: the pipeline has them either way."""
    dims = (*DIMS[:4], "default@1a2b3c4d", "cheapest", *DIMS[4:6], "standard", "chat")
    likely = 4_345_678 if terms.terms else None
    holds = [
        Hold(f"0193f0a1b2c3d4e5f607{n:08x}/1", tenant, 12_345_678, 2**45, likely, terms, dims) for n in range(count)
    ]
    rows = [
        Row(
            attempt=hold.attempt, at_ms=AT_MS, tenant=tenant, team="search", app="faq", key="key-7f32679e79c8d293",
            user="user-42", tags=("env=prod",), endpoint="chat", policy="default@1a2b3c4d", rule="cheapest",
            requested_model="auto", model=f"deepseek/deepseek-flash-{n % MODELS}", provider="deepseek", tier="standard",
            outcome="ok", status=200, certainty="metered", prompt_tokens=812, cached_tokens=256, cache_write_tokens=0,
            completion_tokens=120, reasoning_tokens=33, price_version="2026-11-01", cost_pico=196_123_400,
            cost_nano=196_124, estimated_nano=200_000, baseline_nano=4_100_000, runner_up_nano=230_000, ttft_ms=180,
            total_ms=950, snapshot="s1",
            budgets=terms.names,
        )
        for n, hold in enumerate(holds)
    ]  # fmt: skip  # a line a field would hide the shape
    return holds, rows


async def ours(ledger, holds, rows, group, *, written):
    work = iter(zip(holds, rows, strict=True))

    async def caller():
        for hold, row in work:
            await ledger.reserve(hold)
            if written:
                ledger.sent(row)
            ledger.settle(row)

    await asyncio.gather(*[caller() for _ in range(group)])
    await ledger.flush()


class Captured(Machine):
    """A connection and a ledger for a settle lane: keeps the script call instead of sending it."""

    up = True

    def script(self, script, keys, args):
        """Keep the call; answer at once."""
        self.call = (script.sha, len(keys), *keys, *args)
        reply = asyncio.get_running_loop().create_future()
        reply.set_result([0, 1])
        return reply

    def heard(self, now_ms):
        """Not needed here."""

    def booked(self, entries):
        """Not needed here."""

    def spent(self, prefix, periods):
        """Not needed here."""


async def theirs(client, holds, rows, group):
    captured = Captured()
    lane = SettleLane(captured, "cr:{acme}:", Numbers(f"bench{time.monotonic_ns()}"), captured)
    for start in range(0, len(holds), group):
        args = ["w1", 0, 0]
        for hold in holds[start : start + group]:
            args += (hold.attempt, hold.amount_nano, hold.amount_nano, hold.not_after_ms, 0, 0, dims_text(hold.dims))
        await client.evalsha(RESERVE.sha, 1, "cr:{acme}:holds", *args)
        lane.rows += [(n, *packed_row(row), None) for n, row in enumerate(rows[start : start + group], start + 1)]
        if len(lane.rows) >= TRIGGER_ROWS:
            lane.push()
            await client.evalsha(*captured.call)
    lane.stop()


async def store_cpu_s(connection):
    info = (await connection.call("INFO", "cpu")).decode()
    facts = dict(line.split(":") for line in info.splitlines() if ":" in line)
    return float(facts["used_cpu_user"]) + float(facts["used_cpu_sys"])


async def measured(connection, work):
    """(client, store) CPU in microseconds a request."""
    gc.collect()
    store, client = await store_cpu_s(connection), time.process_time()
    await work
    client, store = time.process_time() - client, await store_cpu_s(connection) - store
    return client / REQUESTS * 1e6, store / REQUESTS * 1e6


async def main(path):
    connection = RespConnection(StoreAddress(path=str(path)))
    await connection.start()
    client = redis.asyncio.Redis(unix_socket_path=str(path))
    for script in (RESERVE, SETTLE):
        await client.script_load(script.source)
    print(f"CPU µs a request, median of {ROUNDS} rounds of {REQUESTS}: reserve + settle + row + cube, {MODELS} models")
    print(
        f"{'group':>6} {'ours':>8} {'+journal':>9} {'4 budgets':>10} {'redis-py':>9} {'ratio':>6} "
        f"{'store, ours':>12} {'4 budgets':>10}"
    )
    budgets = four_budgets("acme")
    for group in GROUPS:
        figures = {"ours": [], "journal": [], "redis-py": [], "budgets": []}
        for _ in range(ROUNDS):
            holds, rows = holds_and_rows(REQUESTS, "acme")
            for name in ("ours", "journal"):
                await connection.call("FLUSHALL")
                written = name == "journal"
                journal = Journal(path.parent / "journal", f"w{time.monotonic_ns()}") if written else None
                ledger = RedisLedger(connection, "w1", Machine(), journal=journal)
                work = ours(ledger, holds, rows, group, written=written)
                figures[name].append(await measured(connection, work))
                await ledger.close()
            await connection.call("FLUSHALL")
            ledger = RedisLedger(connection, "w1", Machine())
            # The store refuses other periods than its own; none ends during a round but by bad luck.
            holds, rows = holds_and_rows(REQUESTS, "acme", budgets.terms(DIMS, Machine().now_ms()))
            figures["budgets"].append(await measured(connection, ours(ledger, holds, rows, group, written=False)))
            await ledger.close()
            await connection.call("FLUSHALL")
            holds, rows = holds_and_rows(REQUESTS, "acme")
            figures["redis-py"].append(await measured(connection, theirs(client, holds, rows, group)))
        mine, store = (statistics.median(column) for column in zip(*figures["ours"], strict=True))
        other, kept = (statistics.median(us for us, _ in figures[name]) for name in ("redis-py", "journal"))
        four, store_four = (statistics.median(column) for column in zip(*figures["budgets"], strict=True))
        print(
            f"{group:>6} {mine:>8.1f} {kept:>9.1f} {four:>10.1f} {other:>9.1f} {other / mine:>5.1f}x "
            f"{store:>12.1f} {store_four:>10.1f}"
        )
    await client.aclose()
    await connection.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        store = EmbeddedStore(Path(directory))
        try:
            uvloop.run(main(store.start()))
        finally:
            store.stop()
