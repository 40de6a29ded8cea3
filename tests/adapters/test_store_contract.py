"""What every ledger promises, asked of the fake and of the real one over every kind of store."""

from __future__ import annotations

import pytest
from fakes import FakeClock, FakeLedger
from store import PATIENT_S, Machine, make_hold, make_row, now_ms, stored_holds, stored_rows
from store_modes import MODES, connected

from router.adapters.redis_ledger import RedisLedger
from router.ports import StoreUnavailable


class OverFake:
    def __init__(self):
        self.clock = FakeClock(now_ms())
        self.ledger = FakeLedger(self.clock)

    async def rows(self):
        return self.ledger.rows

    async def holds(self):
        return {attempt: hold.amount_nano for attempt, hold in self.ledger.holds.items()}


class OverRedis:
    def __init__(self, connection):
        self.connection = connection
        self.ledger = RedisLedger(connection, "w1", Machine(), flush_s=PATIENT_S)

    async def rows(self):
        return await stored_rows(self.connection)

    async def holds(self):
        held = await stored_holds(self.connection)
        return {attempt: int(text.split(":")[0]) for attempt, text in held.items()}


@pytest.fixture(params=["fake", *MODES])
async def case(request, store_of):
    if request.param == "fake":
        yield OverFake()
        return
    store = store_of(request.param)
    store.flush()
    async with connected(store) as connection:
        case = OverRedis(connection)
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


async def test_flushing_nothing_returns(case):
    await case.ledger.flush()
    assert await case.rows() == []
