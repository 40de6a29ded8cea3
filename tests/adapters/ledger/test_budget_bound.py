"""Statistical budgets under load: how far they pass their limit, and how much less they hold."""

from __future__ import annotations

import asyncio
import random

import pytest
from budgets import a_budget, stored_counts, terms_of
from options import facts, option
from store import PATIENT_S, Machine, make_hold, make_row, now_ms

from router.adapters.ledger.ledger import RedisLedger
from router.core.budgets.holds import grown_cost, worst_case
from router.core.deciding.decide import hold
from router.core.money import nano_ceil
from router.core.pricing import cost_pico
from router.core.values import Usage
from router.ports import BudgetExceeded

CALLERS = 64
ASKED = facts(1_000, text_bytes=8_000, max_output=4_000)
ONE = option(output_mean=400, output_p90=900, max_output=8_000)


class Run:
    """Callers that reserve, grow with the answer as a stream would, and settle, until the budget is used up."""

    def __init__(self, ledger, limit_nano, seed, typical):
        self.ledger = ledger
        self.typical = typical
        self.draw = random.Random(seed)
        self.budget = a_budget(limit_nano, mode="statistical")
        self.terms = terms_of(self.budget, at_ms=now_ms())
        self.likely = nano_ceil(hold(ONE, ASKED))
        self.worst = nano_ceil(worst_case(ONE, ASKED))
        self.open = {}
        self.spent = self.bound = self.admitted = self.refused = 0

    def hold(self, attempt, amount_nano, **changes):
        return make_hold(attempt, amount_nano=amount_nano, terms=self.terms, **changes)

    def look(self):
        # What the requests under way may cost beyond their holds, whenever something was admitted.
        self.bound = max(self.bound, sum(self.worst - held for held in self.open.values()))

    async def one(self, number, streams):
        attempt = f"r{number}/1"
        try:
            at_ms = await self.ledger.reserve(self.hold(attempt, self.likely))
        except BudgetExceeded:
            self.refused += 1
            return
        self.admitted += 1
        self.open[attempt] = self.likely
        self.look()
        # A heavy tail: where 270 tokens are typical, one in ten is longer than the p90, and some reach the limit.
        said = min(round(self.typical * self.draw.lognormvariate(0, 1.0)), ASKED.max_output)
        held = 900
        while streams and said > held:
            held = min(2 * held, ASKED.max_output)
            more = nano_ceil(grown_cost(ONE, ASKED, held))
            try:
                await self.ledger.reserve(self.hold(attempt, more, grows=True))
            except BudgetExceeded:
                break
            self.open[attempt] = more
        await asyncio.sleep(self.draw.random() / 500)
        cost = nano_ceil(cost_pico(ONE.price, Usage(1_003, said)))
        self.spent += cost
        self.ledger.settle(make_row(attempt, at_ms=at_ms, cost_nano=cost, budgets=self.terms.names))
        del self.open[attempt]

    async def all(self, requests):
        numbers = iter(range(requests))

        async def caller():
            for number in numbers:
                await self.one(number, streams=number % 2)

        await asyncio.gather(*(caller() for _ in range(CALLERS)))
        await self.ledger.flush()


async def passes(connection, requests, seed, typical=270):
    ledger = RedisLedger(connection, "w1", Machine(), flush_s=PATIENT_S)
    mean_nano = nano_ceil(cost_pico(ONE.price, Usage(1_003, 400)))
    run = Run(ledger, requests * mean_nano // 2, seed, typical)
    await run.all(requests)
    await ledger.close()
    assert await stored_counts(connection, run.terms.names[0]) == (run.spent, 0)
    return run


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_statistical_budget_stays_within_its_stated_bound(connection, seed):
    run = await passes(connection, 3_000, seed)
    assert run.refused > 300
    assert run.admitted > 1_000
    assert run.spent - run.budget.limit_nano <= run.bound
    # And it is used up but for what the last few would have needed.
    assert run.spent > run.budget.limit_nano - CALLERS * run.worst


async def test_the_bound_holds_even_where_answers_are_much_longer_than_was_predicted(connection):
    run = await passes(connection, 2_000, 3, typical=4_000)
    assert 0 < run.spent - run.budget.limit_nano <= run.bound


@pytest.mark.soak
async def test_ten_thousand_requests_stay_within_the_bound(connection):
    for seed in range(5):
        await connection.call("FLUSHALL")
        run = await passes(connection, 10_000, seed)
        assert run.spent - run.budget.limit_nano <= run.bound


def test_likely_holds_are_much_smaller_than_those_of_max_tokens():
    assert hold(ONE, ASKED) * 10 <= worst_case(ONE, ASKED) * 6
