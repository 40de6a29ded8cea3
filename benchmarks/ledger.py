"""The ledger at size: settling, the store's memory, archiving, verifying, and reports over a month.

Belongs here: the ledger alone. Does not belong here: the request path (request_path, store_path). Run it as
``python benchmarks/ledger.py --rows 10000000``; it starts an embedded store of its own in a temporary directory, which
takes about 0.7 GB of disk per million rows while it runs.

One tenant's rows are spread over the 744 hours of a month: 20 teams with 2 applications each, 5 models. Every hour is
settled through the ledger as workers do it, and archived when the next one is full, so that the store holds two hours.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import uvloop

from router.adapters.archive.archiver import archive_hour
from router.adapters.archive.files import ArchiveFiles
from router.adapters.ledger.ledger import RedisLedger
from router.adapters.ledger.verify import verify
from router.adapters.reports.report import report
from router.adapters.store.embedded import EmbeddedStore
from router.adapters.store.layout import hour_of
from router.adapters.store.resp import RespConnection
from router.adapters.store.url import StoreAddress
from router.core.booking.report import Question
from router.core.values import Row

FIRST = 496_728
"""2026-09-01 00:00 UTC, in hours since the epoch."""
HOURS = 744
TENANT = "acme"
AHEAD = 20_000
"""Rows that may wait for the store at once."""
REPORTS = 5


class Machine:
    """The machine's clock."""

    def now_ms(self):
        """Milliseconds since the epoch."""
        return time.time_ns() // 1_000_000

    def monotonic(self):
        """Seconds."""
        return time.monotonic()


def rows_of(hour, count, draw):
    for number in range(count):
        team, model = draw.randrange(20), draw.randrange(5)
        nano = draw.randrange(1_000, 5_000_000)
        yield Row(
            attempt=f"0193f0a1{hour:06x}{number:010x}/1", at_ms=hour * 3_600_000 + draw.randrange(3_600_000),
            tenant=TENANT, team=f"team-{team}", app=f"app-{team}-{number % 2}", key=f"key-{team:04x}-{number % 2}",
            user=f"user-{draw.randrange(5_000)}", tags=("env=prod",), endpoint="chat", policy="default@1a2b3c4d",
            rule="cheapest", requested_model="auto", model=f"deepseek/deepseek-flash-{model}", provider="deepseek",
            tier="standard", outcome="ok", status=200, certainty="metered", prompt_tokens=draw.randrange(50, 4_000),
            cached_tokens=0, cache_write_tokens=0, completion_tokens=draw.randrange(10, 800), reasoning_tokens=0,
            price_version="deepseek/deepseek-flash@deepseek:2026-08-01#1a2b", cost_pico=nano * 1000, cost_nano=nano,
            estimated_nano=nano, baseline_nano=nano * 3, runner_up_nano=nano + 9, ttft_ms=180, total_ms=950,
            snapshot="w0-1a2b3c-17", unit="",
        )  # fmt: skip  # a line a field would hide the shape


async def settle(ledger, rows):
    """Book rows as fast as the store takes them; seconds of the wall clock and of this process."""
    began, cpu = time.monotonic(), time.process_time()
    for number, row in enumerate(rows):
        ledger.settle(row)
        if number % 512 == 0:
            await asyncio.sleep(0)
            while ledger.waiting > AHEAD:  # noqa: ASYNC110 - the ledger tells nobody, and a benchmark may poll
                await asyncio.sleep(0.001)
    await ledger.flush()
    return time.monotonic() - began, time.process_time() - cpu


async def info(connection, section, name):
    text = (await connection.call("INFO", section)).decode()
    return float(dict(line.split(":", 1) for line in text.splitlines() if ":" in line)[name])


async def timed(connection, archive, groups):
    """The median seconds of a month's report."""
    took = []
    for _ in range(REPORTS):
        began = time.monotonic()
        found = await report(connection, archive, Question(FIRST, FIRST + HOURS, groups), [TENANT])
        took.append(time.monotonic() - began)
    return statistics.median(took), found


async def run(total, folder):
    store = EmbeddedStore(folder / "data")
    connection = RespConnection(StoreAddress(path=str(store.start())), timeout_s=60)
    await connection.start()
    files = ArchiveFiles(str(folder / "archive"))
    ledger = RedisLedger(connection, "bench", Machine(), flush_s=600)
    draw = random.Random(1)
    per_hour = max(total // HOURS, 1)
    settled = settled_cpu = archived = 0.0
    before = await info(connection, "memory", "used_memory")
    store_cpu = archive_cpu = 0.0
    memory = freed = cost = 0
    for hour in range(FIRST, FIRST + HOURS):
        rows = list(rows_of(hour, per_hour, draw))
        cost += sum(row.cost_nano for row in rows)
        cpu = await info(connection, "cpu", "used_cpu_user") + await info(connection, "cpu", "used_cpu_sys")
        took, own = await settle(ledger, rows)
        now = await info(connection, "cpu", "used_cpu_user") + await info(connection, "cpu", "used_cpu_sys")
        settled, settled_cpu, store_cpu = settled + took, settled_cpu + own, store_cpu + now - cpu
        if hour == FIRST:
            memory = await info(connection, "memory", "used_memory") - before
        began, cpu = time.monotonic(), time.process_time()
        await archive_hour(connection, files, TENANT, hour_of(hour * 3_600_000))
        archived, archive_cpu = archived + time.monotonic() - began, archive_cpu + time.process_time() - cpu
        if hour == FIRST:
            freed = memory - (await info(connection, "memory", "used_memory") - before)
    count = per_hour * HOURS
    print(f"{count:,} rows, {HOURS} hours, {per_hour:,} rows an hour, ${cost / 1e9:,.2f}")
    print(
        f"settle    {count / settled:,.0f} rows/s; a row: client {settled_cpu / count * 1e6:.1f} µs, store {store_cpu / count * 1e6:.1f} µs of CPU"
    )
    print(
        f"memory    {memory / per_hour * 1e6 / 2**20:,.0f} MiB a million rows, cube included; {freed / memory:.0%} of it freed by archiving"
    )
    size = sum(path.stat().st_size for path in (folder / "archive").rglob("*.parquet"))
    print(
        f"archive   {count / archived:,.0f} rows/s, {archive_cpu / count * 1e6:.1f} µs of CPU a row; {size / count:.0f} bytes a row on disk"
    )
    began = time.monotonic()
    checked = [hour async for hour in verify(connection, files, TENANT, FIRST, FIRST + HOURS)]
    wrong = [hour for hour in checked if hour.difference]
    print(
        f"verify    {time.monotonic() - began:.1f} s, {sum(hour.rows for hour in checked):,} rows, {len(wrong)} differences"
    )
    kept = await info(connection, "memory", "used_memory") - before
    print(f"kept      {kept / 2**20:,.0f} MiB in the store for the month's cubes")
    for groups in (("team", "model"), ("team", "model", "day"), ("team", "unit"), ("user",), ("tag:env", "model")):
        took, found = await timed(connection, files.root, groups)
        right = found.total.cost_nano == cost and found.total.requests == count
        source = "archive" if found.question.needs_rows else "cubes"
        print(
            f"report    {', '.join(groups):18} {took:6.2f} s from {source}, {len(found.lines):,} lines, {'exact' if right else 'WRONG'}"
        )
    await ledger.close()
    await connection.close()
    store.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=200_000)
    rows = parser.parse_args().rows
    folder = Path(tempfile.mkdtemp(prefix="costrouter-bench-"))
    try:
        uvloop.run(run(rows, folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
