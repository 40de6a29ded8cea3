"""What journals on disk still hold, held against the ledger."""

from __future__ import annotations

import pytest
from store import PATIENT_S, Machine, make_hold, make_row, now_ms

from router.adapters.journal.journal import Journal
from router.adapters.journal.rows import noted_rows
from router.adapters.ledger.ledger import RedisLedger
from router.adapters.ledger.verify import verify
from router.adapters.store.layout import encode_row


@pytest.fixture
async def ledger(connection, tmp_path):
    ledger = RedisLedger(connection, "w1", Machine(), journal=Journal(tmp_path / "journal", "w1"), flush_s=PATIENT_S)
    yield ledger
    await ledger.close()


async def send(ledger, attempt):
    at_ms = await ledger.reserve(make_hold(attempt))
    row = make_row(attempt, at_ms=at_ms)
    ledger.sent(row)
    return row


async def checked(connection, root):
    noted = await noted_rows(connection, root)
    hour = now_ms() // 3_600_000
    found = [hour async for hour in verify(connection, None, "acme", hour - 1, hour + 1, journal=noted)]
    return sum(hour.rows for hour in found), sum(hour.waiting for hour in found), "".join(h.difference for h in found)


async def test_a_running_workers_rows_are_booked_or_wait(connection, tmp_path, ledger):
    for number in range(3):
        ledger.settle(await send(ledger, f"r{number}/1"))
    await send(ledger, "runs/1")
    never = await send(ledger, "never/1")
    ledger.settle(make_row("never/1", at_ms=never.at_ms, outcome="released", cost_nano=0))
    await ledger.flush()
    assert await checked(connection, tmp_path / "journal") == (3, 0, "")
    assert (await noted_rows(connection, tmp_path / "journal")).tenants == {"acme"}
    waits = await send(ledger, "waits/1")
    ledger.settle(waits)
    ledger._timer.cancel()
    assert await checked(connection, tmp_path / "journal") == (3, 1, "")


async def test_what_the_mark_says_is_booked_must_be_there_at_its_cost(connection, tmp_path, ledger):
    row = await send(ledger, "r1/1")
    ledger.settle(row)
    await ledger.flush()
    stream = next(key for key in await connection.call("KEYS", "*rows*"))
    ((entry, _),) = await connection.call("XRANGE", stream, "-", "+")
    await connection.call("XDEL", stream, entry)
    rows, _, difference = await checked(connection, tmp_path / "journal")
    assert (rows, difference.startswith("attempt r1/1 (1,000 nano-dollars) is booked by the journal's mark")) == (
        0,
        True,
    )


async def test_a_row_of_another_cost_than_the_journals_is_a_difference(connection, tmp_path, ledger):
    row = await send(ledger, "r1/1")
    lane = ledger._lane("acme")[1]
    ledger.settle(row)
    number, _, _, segment = lane.rows[0]
    wrong = make_row("r1/1", at_ms=row.at_ms, cost_nano=7)
    lane.rows[0] = (number, wrong, encode_row(wrong), segment)
    await ledger.flush()
    _, _, difference = await checked(connection, tmp_path / "journal")
    assert difference == "cost_nano of r1/1: the journal 1,000, its row 7"


async def test_where_there_is_no_journal_nothing_is_noted(connection, tmp_path):
    noted = await noted_rows(connection, tmp_path / "none")
    assert (noted.tenants, list(noted.rows("acme"))) == (set(), [])


async def test_a_segment_that_goes_meanwhile_is_needed_no_more(connection, tmp_path, ledger, monkeypatch):
    ledger.settle(await send(ledger, "r1/1"))
    await ledger.flush()
    gone = tmp_path / "journal" / "w1" / "00000000.wal"
    monkeypatch.setattr(type(gone), "glob", lambda folder, pattern: [gone, folder / "00000001.wal"])
    assert await checked(connection, tmp_path / "journal") == (1, 0, "")
