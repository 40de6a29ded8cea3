import asyncio

import pytest
from fakes import FakeBook, FakeClock, FakeCounter, FakeLedger, FakeListener, FakeWays
from options import facts, option, plan
from wired import TIMEOUTS, WHO, asked

from router.attempt import Attempt
from router.core.deciding.decide import decide
from router.core.errors import RouterError
from router.core.values import Usage
from router.desk import Desk
from router.dialects.openai.chat import read_chat
from router.dialects.orders import NONE
from router.dialects.ways import way
from router.ports import Origin, ProviderLink, StoreUnavailable

USAGE = Usage(9, 2)


class Case:
    def __init__(self):
        self.clock = FakeClock()
        self.ledger = FakeLedger(self.clock)
        self.listener = FakeListener()
        self.book = FakeBook()
        self.counter = FakeCounter()
        asked_facts = facts()
        self.attempt = Attempt(
            Desk(self.ledger, self.counter, self.clock, (self.listener,), self.book, FakeWays({})),
            request_id="r1",
            identity=WHO,
            orders=NONE,
            request=read_chat(asked()),
            facts=asked_facts,
            decision=decide(plan(option()), asked_facts, None),
            link=ProviderLink("acme", Origin("http", "h", 80), (), timeouts=TIMEOUTS),
            snapshot="w1-1",
            way=way("chat", ("openai",)),
        )

    @property
    def heard(self):
        return [(row.outcome, error) for row, error in self.listener.rows]


@pytest.fixture
def case():
    return Case()


def settled(case, **changes):
    return case.attempt.settle(USAGE, **{"outcome": "ok", "status": 200, "certainty": "metered", **changes})


async def test_a_row_ends_the_hold_at_the_stores_time(case):
    case.attempt.at_ms = await case.attempt.reserve(1_000)
    assert list(case.ledger.holds) == ["r1/1"]
    row = settled(case)
    assert (case.ledger.rows, case.ledger.holds) == ([row], {})
    assert row.at_ms == case.clock.now_ms()
    assert case.heard == [("ok", None)]


async def test_what_is_settled_first_stands(case):
    row = settled(case)
    assert case.attempt.settle_estimated(outcome="client_left", status=499) is row
    assert case.ledger.rows == [row]
    assert len(case.heard) == 1


async def test_what_is_told_later_is_booked_at_once(case):
    row = settled(case, later=True)
    assert (case.ledger.rows, case.heard) == ([row], [])
    case.attempt.tell()
    case.attempt.tell()
    assert case.ledger.rows == [row]
    assert len(case.heard) == 1


async def test_what_is_left_to_be_told_is_told_by_whoever_settles_again(case):
    row = settled(case, later=True)
    case.attempt.settle_estimated(outcome="upstream_interrupted", status=500)
    assert case.ledger.rows == [row]
    assert case.heard == [("ok", None)]


async def test_a_released_attempt_tells_why_and_frees_its_hold(case):
    await case.attempt.reserve(1_000)
    case.attempt.release(RouterError("upstream_unreachable", "no"))
    assert (case.ledger.rows, case.ledger.holds) == ([], {})
    assert case.heard == [("released", "upstream_unreachable")]


async def test_a_reservation_on_its_way_is_called_off(case):
    reservation = case.attempt.reserve(1_000)
    case.attempt.call_off(reservation)
    await asyncio.sleep(0)
    assert reservation.cancelled()
    assert case.ledger.holds == {}


async def test_a_reservation_that_is_there_already_is_called_off(case):
    reservation = case.attempt.reserve(1_000)
    await asyncio.sleep(0)
    assert case.ledger.holds
    case.attempt.call_off(reservation)
    assert case.ledger.holds == {}


async def test_a_reservation_that_failed_leaves_nothing_to_call_off(case):
    case.ledger.available = False
    reservation = case.attempt.reserve(1_000)
    case.attempt.call_off(reservation)
    assert isinstance(reservation.exception(), StoreUnavailable)
    assert case.heard == []


async def test_times_run_from_the_start(case):
    case.clock.advance(0.25)
    case.attempt.answered()
    case.clock.advance(1)
    case.attempt.answered()
    row = settled(case)
    assert (row.ttft_ms, row.total_ms) == (250, 1250)


async def test_meters_that_cannot_be_true_are_not_believed(case):
    assert case.attempt.believed(USAGE) == USAGE
    assert case.attempt.believed(Usage(10**7, 2)) is None
    assert case.attempt.believed(None) is None


async def test_counting_prices_the_prompt_and_what_was_said(case):
    row = await case.attempt.settle_counted(["four words were said"], outcome="ok", status=200)
    assert (row.certainty, row.completion_tokens) == ("counted", 4)
    assert 3 <= row.prompt_tokens < 20
