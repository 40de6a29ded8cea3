"""What every ledger promises, asked of the fake and of the real one over every kind of store."""

from __future__ import annotations

import pytest
from fakes import FakeClock, FakeLedger
from store import PATIENT_S, Machine, make_hold, make_row, now_ms, stored_holds, stored_rows
from store_modes import MODES, connected

from router.adapters.journal.journal import Journal
from router.adapters.ledger.ledger import RedisLedger
from router.ports import JournalUnavailable, StoreUnavailable


class OverFake:
    def __init__(self):
        self.clock = FakeClock(now_ms())
        self.ledger = FakeLedger(self.clock)

    def fill_disk(self):
        self.ledger.writable = False

    async def rows(self):
        return self.ledger.rows

    async def holds(self):
        return {attempt: hold.amount_nano for attempt, hold in self.ledger.holds.items()}


class OverRedis:
    def __init__(self, connection, folder=None):
        self.connection = connection
        self.journal = None if folder is None else Journal(folder, "w1")
        self.ledger = RedisLedger(connection, "w1", Machine(), journal=self.journal, flush_s=PATIENT_S)

    def fill_disk(self):
        self.journal._bytes = 2**60
        self.journal._segments[-1].bytes = 0

    async def rows(self):
        return await stored_rows(self.connection)

    async def holds(self):
        held = await stored_holds(self.connection)
        return {attempt: int(text.split(":")[0]) for attempt, text in held.items()}


WRITE_DOWN = ["fake", "with a journal"]
"""Those that keep what is sent, should this process die."""


@pytest.fixture(params=[*MODES, *WRITE_DOWN])
async def case(request, store_of, tmp_path):
    if request.param == "fake":
        yield OverFake()
        return
    journal = request.param == "with a journal"
    store = store_of("embedded" if journal else request.param)
    store.flush()
    async with connected(store) as connection:
        case = OverRedis(connection, tmp_path if journal else None)
        yield case
        await case.ledger.close()


async def test_reserving_gives_the_stores_time_and_holds_the_amount(case):
    at_ms = await case.ledger.reserve(make_hold("r1/1", amount_nano=77))
    assert abs(at_ms - now_ms()) < 5_000
    assert await case.holds() == {"r1/1": 77}


async def test_a_reservation_that_comes_too_late_is_refused_and_leaves_nothing(case):
    with pytest.raises(StoreUnavailable, match=r"r1/1 .*too late"):
        await case.ledger.reserve(make_hold("r1/1", not_after_ms=now_ms() - 1_000))
    assert await case.holds() == {}


async def test_a_row_ends_its_own_hold_and_no_other(case):
    await case.ledger.reserve(make_hold("r1/1"))
    await case.ledger.reserve(make_hold("r1/2", amount_nano=5))
    case.ledger.settle(make_row("r1/1"))
    await case.ledger.flush()
    assert await case.rows() == [make_row("r1/1")]
    assert await case.holds() == {"r1/2": 5}


async def test_a_released_attempt_ends_its_hold_and_writes_no_row(case):
    await case.ledger.reserve(make_hold("r1/1"))
    case.ledger.settle(make_row("r1/1", outcome="released", cost_pico=0, cost_nano=0))
    await case.ledger.flush()
    assert await case.rows() == []
    assert await case.holds() == {}


async def test_rows_are_booked_in_the_order_of_settling(case):
    rows = [make_row(f"r{number}/1") for number in range(300)]
    for row in rows:
        case.ledger.settle(row)
    await case.ledger.flush()
    assert await case.rows() == rows


async def test_a_row_without_a_hold_is_booked_all_the_same(case):
    case.ledger.settle(make_row("r9/1"))
    await case.ledger.flush()
    assert await case.rows() == [make_row("r9/1")]


async def test_what_was_written_down_before_it_was_sent_is_booked_once(case):
    await case.ledger.reserve(make_hold("r1/1"))
    case.ledger.sent(make_row("r1/1", certainty="estimated"))
    assert await case.rows() == []
    case.ledger.settle(make_row("r1/1"))
    await case.ledger.flush()
    assert await case.rows() == [make_row("r1/1")]
    assert await case.holds() == {}


@pytest.mark.parametrize("case", WRITE_DOWN, indirect=True)
async def test_a_full_disk_means_that_nothing_may_be_sent_and_what_was_sent_is_booked(case):
    await case.ledger.reserve(make_hold("r1/1"))
    await case.ledger.reserve(make_hold("r2/1"))
    case.ledger.sent(make_row("r1/1", certainty="estimated"))
    case.fill_disk()
    with pytest.raises(JournalUnavailable):
        case.ledger.sent(make_row("r2/1", certainty="estimated"))
    case.ledger.settle(make_row("r2/1", outcome="released"))
    case.ledger.settle(make_row("r1/1"))
    await case.ledger.flush()
    assert await case.rows() == [make_row("r1/1")]
    assert await case.holds() == {}


async def test_flushing_nothing_returns(case):
    await case.ledger.flush()
    assert await case.rows() == []
