"""A dead worker's journal, adopted: each attempt has one net row, and nothing is held."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest
from store import (
    PATIENT_S,
    Machine,
    connect,
    frozen,
    kill,
    killed,
    make_hold,
    make_row,
    stored_holds,
    stored_rows,
    until,
)

from router.adapters.journal.adoption import Adoption
from router.adapters.journal.journal import Journal
from router.adapters.ledger import settle as ledger_settle
from router.adapters.ledger.ledger import RedisLedger
from router.adapters.reports.spend import spend
from router.adapters.store.layout import PLATFORM_JOURNALS

HOUR = 1_800_000_000_000 // 3_600_000


@pytest.fixture(autouse=True)
def _durable_at_once(monkeypatch):
    monkeypatch.setattr(ledger_settle, "_KEPT_S", 0.05)


def estimate(attempt, **changes):
    return make_row(attempt, outcome="upstream_interrupted", status=500, certainty="estimated", **changes)


class Worker:
    """A ledger with a journal; `die` leaves everything as a killed process would."""

    def __init__(self, connection, root, name="w1", **options):
        self.root = root
        self.connection = connection
        self.journal = Journal(root, name, segment_bytes=20_000)
        self.ledger = RedisLedger(connection, name, Machine(), journal=self.journal, **{"flush_s": PATIENT_S} | options)

    async def send(self, attempt, **changes):
        await self.ledger.reserve(make_hold(attempt))
        self.ledger.sent(estimate(attempt, **changes))

    def die(self):
        killed(self.ledger, self.connection, self.journal)

    async def adopt(self, connection=None):
        return await Adoption(self.root, connection or self.connection, Machine()).adopt_all()


@pytest.fixture
async def worker(connection, tmp_path):
    return Worker(connection, tmp_path / "journal")


async def totals(connection):
    (total,) = await spend(connection, "acme", HOUR, HOUR + 1)
    return total.requests, total.cost_nano


async def test_ends_on_file_are_booked_and_what_has_none_is_estimated(worker, connection):
    for number in range(4):
        await worker.send(f"r{number}/1", cost_nano=5_000)
    worker.ledger.settle(make_row("r0/1"))
    await worker.ledger.flush()
    worker.ledger.settle(make_row("r1/1"))
    worker.ledger.settle(make_row("r2/1", outcome="released", cost_nano=0, cost_pico=0))
    await worker.ledger.reserve(make_hold("never-sent/1"))
    worker.die()
    assert len(await stored_holds(connection)) == 4

    assert await worker.adopt() == 1
    assert await stored_rows(connection) == [make_row("r0/1"), make_row("r1/1"), estimate("r3/1", cost_nano=5_000)]
    assert await stored_holds(connection) == {}
    assert await totals(connection) == (3, 7_000)
    assert list(worker.root.iterdir()) == []
    assert (await connection.call("HGET", PLATFORM_JOURNALS, "w1")).startswith(b"-")
    assert await worker.adopt() == 0


async def test_an_end_that_the_disk_did_not_take_is_not_estimated_once_it_is_booked(worker, connection, monkeypatch):
    def broken(*_):
        raise OSError(5, "Input/output error")

    await worker.send("r0/1", cost_nano=5_000)
    await worker.send("r1/1", cost_nano=5_000)
    with monkeypatch.context() as disk:
        disk.setattr(os, "pwrite", broken)
        worker.ledger.settle(make_row("r0/1"))
    await worker.ledger.flush()
    worker.die()
    await connection.call("HDEL", "cr:{acme}:holds", "r1/1")  # lost with the store's last moments
    assert await worker.adopt() == 1
    assert await stored_rows(connection) == [make_row("r0/1"), estimate("r1/1", cost_nano=5_000)]


async def test_an_adoption_that_is_itself_cut_short_is_done_again(worker, connection, monkeypatch):
    for number in range(300):
        await worker.send(f"r{number}/1")
        if number % 3:
            worker.ledger.settle(make_row(f"r{number}/1"))
    worker.die()
    monkeypatch.setattr(ledger_settle, "_MOST_ROWS", 7)
    for delay in range(1, 12):
        adopting = asyncio.ensure_future(worker.adopt())
        await asyncio.sleep(delay / 500)
        adopting.cancel()
        await asyncio.gather(adopting, return_exceptions=True)
    await worker.adopt()
    assert sorted(row.attempt for row in await stored_rows(connection)) == sorted(f"r{n}/1" for n in range(300))
    assert await stored_holds(connection) == {}
    assert (await totals(connection))[0] == 300


async def test_a_dead_workers_last_call_may_still_arrive(own_store, tmp_path):
    ours, theirs = await connect(own_store.start()), await connect(own_store.start())
    worker = Worker(theirs, tmp_path / "journal")
    for number in range(6):
        await worker.send(f"r{number}/1")
    for number in range(3):
        worker.ledger.settle(make_row(f"r{number}/1"))
    with frozen(own_store):
        worker.ledger._push_gathered()  # rows 0 to 2 lie in the store's socket
        await asyncio.sleep(0.01)
        worker.ledger.settle(make_row("r3/1"))
        worker.ledger.settle(make_row("r4/1"))
        worker.die()
        adopting = asyncio.ensure_future(worker.adopt(ours))
        await asyncio.sleep(0.1)
    assert await adopting == 1
    rows = [row.attempt for row in await stored_rows(ours)]
    assert sorted(rows) == [f"r{number}/1" for number in range(6)]
    await ours.close()
    await theirs.close()


async def test_a_store_killed_while_an_orphan_is_adopted_has_every_row_once(own_store, tmp_path, monkeypatch):
    monkeypatch.setattr(ledger_settle, "_KEPT_S", 0.5)
    connection = await connect(own_store.start())
    worker = Worker(connection, tmp_path / "journal")
    for number in range(200):
        await worker.send(f"r{number}/1")
        if number % 2:
            worker.ledger.settle(make_row(f"r{number}/1"))
    worker.die()
    adopting = asyncio.ensure_future(worker.adopt())
    for _ in range(2):
        await asyncio.sleep(0.03)
        kill(own_store)
        own_store.start()
    done = (await asyncio.gather(adopting, return_exceptions=True))[0]
    if done != 1:  # it had to give up, so it is done again
        await until(lambda: connection.up)
        await worker.adopt()
    assert sorted(row.attempt for row in await stored_rows(connection)) == sorted(f"r{n}/1" for n in range(200))
    assert await stored_holds(connection) == {}
    await connection.close()


async def test_two_processes_that_race_for_orphans_settle_each_once(connection, store_socket, tmp_path):
    root = tmp_path / "journal"
    for number in range(8):
        worker = Worker(connection, root, f"w{number}")
        for attempt in range(20):
            await worker.send(f"w{number}-{attempt}/1")
            if attempt % 2:
                worker.ledger.settle(make_row(f"w{number}-{attempt}/1"))
        worker.die()
    code = """
import asyncio, pathlib, sys
from router.adapters.ledger import settle as ledger_settle
from router.adapters.journal.adoption import Adoption
from router.adapters.store.resp import RespConnection
from router.adapters.store.url import StoreAddress
from router.adapters.clock import SystemClock
async def main():
    connection = RespConnection(StoreAddress(path=sys.argv[2]), timeout_s=10)
    await connection.start()
    adoption = Adoption(pathlib.Path(sys.argv[1]), connection, SystemClock())
    sys.stdin.read()
    print(await adoption.adopt_all())
    await connection.close()
ledger_settle._KEPT_S = 0.05
asyncio.run(main())
"""
    racers = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, root, store_socket, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for _ in range(2)
    ]
    await asyncio.sleep(0.5)  # both are up, and wait for their input to end
    said = await asyncio.gather(*(racer.communicate(b"") for racer in racers))
    assert sum(int(out.split()[-1]) for out, _ in said) == 8
    rows = [row.attempt for row in await stored_rows(connection)]
    assert len(rows) == len(set(rows)) == 160
    assert await stored_holds(connection) == {}


async def test_a_journal_that_somebody_holds_is_left_alone(worker, connection):
    await worker.send("r1/1")
    assert await worker.adopt() == 0
    worker.ledger.settle(make_row("r1/1"))
    await worker.ledger.close()
    assert not worker.journal.folder.exists(), "the store has it on its disk, so nothing is left to adopt"
    assert await stored_rows(connection) == [make_row("r1/1")]


async def test_a_store_that_lost_its_last_moments_is_told_what_is_held(own_store, tmp_path):
    connection = await connect(own_store.start())
    worker = Worker(connection, tmp_path / "journal")
    await worker.send("runs/1")
    await worker.send("ended/1")
    worker.ledger.settle(make_row("ended/1"))
    await worker.ledger.reserve(make_hold("not-sent-yet/1"))
    await worker.ledger.flush()
    await connection.call("DEL", "cr:{acme}:holds")
    connects = []
    connection.on_connect.append(lambda: connects.append(1))
    kill(own_store)
    own_store.start()
    await until(lambda: connects)

    async def held():
        return list(await stored_holds(connection)) == ["runs/1"]

    await until(held)
    worker.ledger.settle(make_row("runs/1"))
    await worker.ledger.flush()
    assert await stored_holds(connection) == {}
    await worker.ledger.close()
    await connection.close()


async def test_damage_is_told_and_the_rest_is_booked(worker, connection, capfd):
    for number in range(5):
        await worker.send(f"r{number}/1")
    worker.die()
    (path,) = worker.journal.folder.glob("*.wal")
    descriptor = os.open(path, os.O_RDWR)
    os.pwrite(descriptor, b"#", 40)
    os.close(descriptor)
    assert await worker.adopt() == 1
    assert [row.attempt for row in await stored_rows(connection)] == [f"r{number}/1" for number in range(1, 5)]
    assert await stored_holds(connection) == {}


async def test_a_store_that_loses_rows_while_an_orphan_is_adopted_is_told_of_them_again(
    worker, connection, monkeypatch
):
    for number in range(4):
        await worker.send(f"r{number}/1")
        worker.ledger.settle(make_row(f"r{number}/1"))
    await worker.ledger.flush()
    await worker.send("r4/1")
    worker.die()
    monkeypatch.setattr(ledger_settle, "_KEPT_S", 0.3)
    adopting = asyncio.ensure_future(worker.adopt())

    async def all_booked():
        return len(await stored_rows(connection)) == 5

    await until(all_booked)
    await connection.call("FLUSHALL")
    for callback in connection.on_connect:
        callback()
    assert await adopting == 1
    assert sorted(row.attempt for row in await stored_rows(connection)) == [f"r{number}/1" for number in range(5)]
