"""What every ledger promises about budgets, asked of the fake and of the real one; and both against a naive model."""

from __future__ import annotations

import asyncio
import random

import pytest
from budgets import a_budget, stored_counts, terms_of
from fakes import FakeClock, FakeLedger
from store import PATIENT_S, Machine, connect, kill, make_hold, make_row, now_ms, stored_holds, stored_rows

from router.adapters.ledger.ledger import RedisLedger
from router.core.budgets.budget import BUCKETS, LENGTHS_MS
from router.ports import BudgetExceeded, NotHeld, PeriodOver, StoreUnavailable


class OverFake:
    def __init__(self):
        self.clock = FakeClock(now_ms())
        self.ledger = FakeLedger(self.clock)

    async def counted(self, term):
        return self.ledger.spent_of(term)

    async def close(self):
        pass


class OverRedis:
    def __init__(self, connection):
        self.connection = connection
        self.ledger = RedisLedger(connection, "w1", Machine(), flush_s=PATIENT_S)

    async def counted(self, term):
        return tuple(count or 0 for count in await stored_counts(self.connection, term.name))

    async def close(self):
        await self.ledger.close()


@pytest.fixture(params=["fake", "redis"])
async def case(request, connection):
    case = OverFake() if request.param == "fake" else OverRedis(connection)
    yield case
    await case.close()


def under(*budgets, attempt="r1/1", amount_nano=1_000, at_ms=None, **changes):
    terms = terms_of(*budgets, at_ms=now_ms() if at_ms is None else at_ms)
    return make_hold(attempt, amount_nano=amount_nano, terms=terms, **changes)


def row_of(hold, cost_nano, **changes):
    return make_row(changes.pop("attempt", hold.attempt), cost_nano=cost_nano, budgets=hold.budgets, **changes)


async def refused(case, hold):
    with pytest.raises(BudgetExceeded) as caught:
        await case.ledger.reserve(hold)
    return caught.value


async def settled(case, *rows):
    for row in rows:
        case.ledger.settle(row)
    await case.ledger.flush()


async def test_a_hold_fills_a_budget_to_its_limit_and_not_over_it(case):
    budget = a_budget(2_000)
    await case.ledger.reserve(under(budget))
    await case.ledger.reserve(under(budget, attempt="r2/1"))
    refusal = await refused(case, under(budget, attempt="r3/1", amount_nano=1))
    assert (refusal.term.budget, refusal.spent_nano, refusal.held_nano, refusal.amount_nano) == (budget, 0, 2_000, 1)


async def test_settling_turns_what_was_held_into_what_was_spent(case):
    budget = a_budget(2_000)
    hold = under(budget, amount_nano=1_500)
    await case.ledger.reserve(hold)
    assert await case.counted(hold.terms.terms[0]) == (0, 1_500)
    await settled(case, row_of(hold, 300))
    assert await case.counted(hold.terms.terms[0]) == (300, 0)
    await case.ledger.reserve(under(budget, attempt="r2/1", amount_nano=1_700))


async def test_a_released_attempt_gives_everything_back(case):
    hold = under(a_budget(1_000))
    await case.ledger.reserve(hold)
    await settled(case, row_of(hold, 0, outcome="released"))
    assert await case.counted(hold.terms.terms[0]) == (0, 0)


async def test_all_budgets_must_have_room_or_nothing_is_held_in_any(case):
    wide, narrow = a_budget(10**9), a_budget(500, scope=[("team", "search")])
    hold = under(wide, narrow)
    refusal = await refused(case, hold)
    assert refusal.term.budget == narrow
    assert [await case.counted(term) for term in hold.terms.terms] == [(0, 0), (0, 0)]
    await case.ledger.reserve(under(wide, narrow, amount_nano=500))


async def test_holds_of_one_group_see_each_other(case):
    budget, other = a_budget(2_500), a_budget(9_000, scope=[("team", "search")])
    holds = [under(budget, other, attempt=f"r{number}/1") for number in range(5)]
    # Only the last asks for less than what is left.
    holds.append(under(budget, attempt="small/1", amount_nano=500))
    answers = await asyncio.gather(*(case.ledger.reserve(hold) for hold in holds), return_exceptions=True)
    assert [isinstance(answer, int) for answer in answers] == [True, True, False, False, False, True]
    assert answers[2].held_nano == 2_000


async def test_what_costs_nothing_passes_a_budget_that_is_used_up(case):
    budget = a_budget(100)
    spender = under(budget, amount_nano=100)
    await case.ledger.reserve(spender)
    await settled(case, row_of(spender, 150))
    await refused(case, under(budget, attempt="r2/1", amount_nano=1))
    free = under(budget, attempt="r3/1", amount_nano=0)
    assert await case.ledger.reserve(free) > 0
    assert await case.counted(free.terms.terms[0]) == (150, 0)


async def test_a_row_whose_hold_is_gone_is_counted_all_the_same(case):
    hold = under(a_budget(1_000))
    await settled(case, row_of(hold, 70))
    assert await case.counted(hold.terms.terms[0]) == (70, 0)


async def test_a_correction_changes_what_its_attempts_period_has_spent(case):
    day = a_budget(10_000, period="day")
    yesterday = terms_of(day, at_ms=now_ms() - 86_400_000)
    paid = make_row("r1/1", cost_nano=900, budgets=yesterday.names)
    await settled(case, paid)
    await settled(case, make_row("r1/1!1", cost_nano=-200, budgets=yesterday.names, correction_of="r1/1"))
    assert await case.counted(yesterday.terms[0]) == (700, 0)
    assert await case.counted(terms_of(day, at_ms=now_ms()).terms[0]) == (0, 0)


async def test_a_late_row_belongs_to_the_period_of_its_admission(case):
    minute = a_budget(10_000, period="minute")
    hold = under(minute)
    await case.ledger.reserve(hold)
    (term,) = hold.terms.terms
    (later,) = terms_of(minute, at_ms=term.until_ms).terms
    await settled(case, row_of(hold, 400, at_ms=term.until_ms + 1))
    assert (await case.counted(term), await case.counted(later)) == ((400, 0), (0, 0))


@pytest.mark.parametrize("rolling", [False, True])
async def test_a_period_that_is_not_the_stores_own_is_refused(case, rolling):
    budget = a_budget(period="minute", rolling=rolling)
    for away_ms in (-120_000, 120_000):
        hold = under(budget, at_ms=now_ms() + away_ms)
        with pytest.raises(PeriodOver) as caught:
            await case.ledger.reserve(hold)
        assert abs(caught.value.now_ms - now_ms()) < 5_000
    await case.ledger.reserve(under(budget))


async def test_a_hold_that_is_asked_for_again_is_held_once(case):
    budget = a_budget(1_500)
    hold = under(budget)
    await case.ledger.reserve(hold)
    await case.ledger.reserve(hold)
    assert await case.counted(hold.terms.terms[0]) == (0, 1_000)


async def test_statistical_budgets_hold_the_likely_and_hard_ones_the_worst(case):
    hard, likely = a_budget(5_000), a_budget(5_000, scope=[("team", "search")], mode="statistical")
    hold = under(hard, likely, amount_nano=4_000, likely_nano=700)
    await case.ledger.reserve(hold)
    assert [await case.counted(term) for term in hold.terms.terms] == [(0, 4_000), (0, 700)]
    await settled(case, row_of(hold, 900))
    assert [await case.counted(term) for term in hold.terms.terms] == [(900, 0), (900, 0)]


async def test_a_hold_grows_where_there_is_room_and_is_freed_whole(case):
    hard, likely = a_budget(5_000), a_budget(2_000, scope=[("team", "search")], mode="statistical")
    first = under(hard, likely, amount_nano=4_000, likely_nano=700, dims=("search", "faq"))
    await case.ledger.reserve(first)
    grown = under(hard, likely, amount_nano=4_000, likely_nano=1_900, grows=True, dims=("search", "faq"))
    await case.ledger.reserve(grown)
    await case.ledger.reserve(grown)
    assert [await case.counted(term) for term in grown.terms.terms] == [(0, 4_000), (0, 1_900)]
    refusal = await refused(case, under(hard, likely, amount_nano=4_000, likely_nano=2_001, grows=True))
    assert refusal.term.budget == likely
    await settled(case, row_of(grown, 1_950))
    assert [await case.counted(term) for term in grown.terms.terms] == [(1_950, 0), (1_950, 0)]


async def test_a_hold_without_hard_budgets_grows_too(case):
    budget = a_budget(2_000, mode="statistical")
    await case.ledger.reserve(under(budget, amount_nano=500))
    grown = under(budget, amount_nano=1_200, grows=True)
    await case.ledger.reserve(grown)
    assert await case.counted(grown.terms.terms[0]) == (0, 1_200)
    await settled(case, row_of(grown, 1_000))
    assert await case.counted(grown.terms.terms[0]) == (1_000, 0)


async def test_what_is_not_held_cannot_grow(case):
    with pytest.raises(NotHeld):
        await case.ledger.reserve(under(a_budget(), grows=True))


async def test_a_reservation_called_off_gives_its_money_back(case):
    hold = under(a_budget(), not_after_ms=now_ms() + 200)
    case.ledger.reserve(hold).cancel()
    if isinstance(case, OverRedis):
        await asyncio.sleep(1.5)
        await case.ledger.flush()
    else:
        await asyncio.sleep(0)
    assert await case.counted(hold.terms.terms[0]) == (0, 0)


async def test_the_largest_limit_is_exact_to_the_nano_dollar(case):
    most = 2**53 - 1
    budget = a_budget(most)
    await case.ledger.reserve(under(budget, amount_nano=most - 1))
    await refused(case, under(budget, attempt="r2/1", amount_nano=2))
    hold = under(budget, attempt="r3/1", amount_nano=1)
    await case.ledger.reserve(hold)
    assert await case.counted(hold.terms.terms[0]) == (0, most)
    await settled(case, row_of(hold, 1), make_row("r1/1", cost_nano=most - 1, budgets=hold.budgets))
    assert await case.counted(hold.terms.terms[0]) == (most, 0)


async def test_a_rolling_budget_counts_what_was_spent_within_its_length(case):
    budget = a_budget(1_000, period="hour", rolling=True)
    size = LENGTHS_MS["hour"] // BUCKETS
    now = now_ms()
    for back, cost in ((0, 100), (BUCKETS, 200), (BUCKETS + 1, 400)):
        # A hold makes the counter, if there is none yet.
        hold = under(budget, attempt=f"r{back}/1", amount_nano=1)
        await case.ledger.reserve(hold)
        spent = terms_of(budget, at_ms=now - back * size)
        await settled(case, row_of(hold, 0), make_row(f"s{back}/1", cost_nano=cost, budgets=spent.names))
    refusal = await refused(case, under(budget, amount_nano=701))
    assert refusal.spent_nano == 300
    await case.ledger.reserve(under(budget, amount_nano=700))


@pytest.mark.parametrize("seed", range(4))
async def test_any_course_of_events_has_the_sums_of_a_naive_model(connection, seed):
    """Random holds, growth, settles, releases and corrections, against the fake, which adds everything up anew."""
    draw = random.Random(seed)
    real, fake = OverRedis(connection), OverFake()
    now = now_ms()
    fake.clock.advance((now - fake.clock.now_ms()) / 1000)
    budgets = [
        a_budget(draw.randint(0, 6_000), scope=[("team", f"t{number}")], mode=mode, period=period, rolling=rolling)
        for number, (mode, period, rolling) in enumerate(
            [
                ("hard", "total", False),
                ("statistical", "month", False),
                ("hard", "week", True),
                ("hard", "month", False),
            ]
        )
    ]
    known = {budget.id: terms_of(budget, at_ms=now).terms[0] for budget in budgets}
    open_holds, count = {}, 0
    for _ in range(60):
        group = []
        for _ in range(draw.randint(1, 6)):
            count += 1
            chosen = draw.sample(budgets, draw.randint(0, 4))
            amount = draw.choice((0, draw.randint(1, 900)))
            facts = {"amount_nano": amount, "likely_nano": draw.choice((None, amount // 2))}
            if open_holds and draw.random() < 0.2:
                before = open_holds[draw.choice(list(open_holds))]
                more = before.amount_nano + draw.randint(0, 200)
                likely = None if before.likely_nano is None else before.likely_nano + draw.randint(0, 100)
                facts = {"amount_nano": more, "likely_nano": likely, "terms": before.terms, "grows": True}
                if any(hold.attempt == before.attempt for hold in group):
                    continue
                group.append(make_hold(before.attempt, **facts))
            elif chosen:
                group.append(under(*chosen, attempt=f"r{count}/1", at_ms=now, **facts))
        answers = [
            await asyncio.gather(*(case.ledger.reserve(hold) for hold in group), return_exceptions=True)
            for case in (real, fake)
        ]
        told = [
            [
                (answer.term.budget.id, answer.spent_nano, answer.held_nano)
                if isinstance(answer, BudgetExceeded)
                else isinstance(answer, int)
                for answer in heard
            ]
            for heard in answers
        ]
        assert told[0] == told[1]
        open_holds |= {
            hold.attempt: hold for hold, answer in zip(group, answers[0], strict=True) if isinstance(answer, int)
        }
        for attempt in draw.sample(list(open_holds), draw.randint(0, len(open_holds))):
            hold = open_holds.pop(attempt)
            cost = draw.randint(0, hold.amount_nano + 50)
            outcome = draw.choice(("ok", "ok", "released"))
            row = row_of(hold, cost if outcome == "ok" else 0, outcome=outcome, at_ms=now)
            correction = row_of(hold, -cost // 3, attempt=attempt + "!1", at_ms=now)
            rows = [row, correction] if draw.random() < 0.2 else [row]
            for case in (real, fake):
                await settled(case, *rows)
        for term in known.values():
            assert await real.counted(term) == fake.ledger.spent_of(term)
    rows = await stored_rows(connection)
    assert sorted(row.attempt for row in rows) == sorted(row.attempt for row in fake.ledger.rows)
    await real.close()


# -- of the real one alone


async def test_a_batch_that_comes_again_counts_once(connection):
    case = OverRedis(connection)
    hold = under(a_budget())
    await case.ledger.reserve(hold)
    await settled(case, row_of(hold, 300))
    lane = case.ledger._lane("acme")[1]
    lane._batches.append(lane._booked.popleft())
    case.ledger._waiting += 1
    lane.push()
    await case.ledger.flush()
    assert await case.counted(hold.terms.terms[0]) == (300, 0)
    await case.close()


async def test_a_hold_tells_what_it_is_for(connection):
    case = OverRedis(connection)
    dims = ("search", "faq", "k1", "u\x1e\x1f1", "p@1", "r", "m", "prov", "realtime", "chat")
    hold = under(a_budget(), a_budget(scope=[("team", "search")]), dims=dims)
    await case.ledger.reserve(hold)
    ((attempt, text),) = (await stored_holds(connection)).items()
    head, periods, told = text.split("\x1e")
    assert (attempt, head.split(":")[0], head.split(":")[2]) == ("r1/1", "1000", "w1")
    assert periods.split("\x1f") == list(hold.budgets)
    assert told.split("\x1f") == [*dims[:3], "u  1", *dims[4:]]
    await case.close()


async def test_counters_are_kept_for_a_while_and_then_go(connection):
    case = OverRedis(connection)
    kinds = [("minute", False), ("month", False), ("day", True), ("total", False)]
    hold = under(*(a_budget(period=period, rolling=rolling) for period, rolling in kinds))
    await case.ledger.reserve(hold)
    keys = [key for key in await connection.call("KEYS", "*") if b":budget:" in key]
    left_s = sorted([await connection.call("TTL", key) for key in keys])
    assert left_s[0] == -1  # total
    assert 2 * 86_400 < left_s[1] <= 3 * 86_400
    assert 7 * 86_400 < left_s[2] < 8 * 86_400
    assert left_s[3] > 400 * 86_400
    await case.close()


async def test_freeing_a_hold_whose_counter_has_gone_makes_no_debt(connection):
    case = OverRedis(connection)
    hold = under(a_budget())
    await case.ledger.reserve(hold)
    await connection.call("DEL", *[key for key in await connection.call("KEYS", "*") if b":budget:" in key])
    await settled(case, row_of(hold, 0, outcome="released"))
    assert await stored_counts(connection, hold.budgets[0]) == (None, None)
    await case.close()


async def test_a_store_that_is_down_admits_nothing(own_store):
    connection = await connect(own_store.start())
    case = OverRedis(connection)
    kill(own_store)
    with pytest.raises(StoreUnavailable):
        await case.ledger.reserve(under(a_budget()))
    await case.close()
    await connection.close()
