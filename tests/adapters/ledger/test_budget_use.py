"""How full budgets are, as rules of policies ask it."""

from budgets import a_budget
from store import PATIENT_S, Machine, make_hold, make_row, now_ms

from router.adapters.ledger.budgets import RedisBudgets
from router.adapters.ledger.ledger import RedisLedger
from router.ports import USAGE_MS, StoreUnavailable

DIMS = ("search", "", "k1", "", "", "", ())


async def test_the_fullest_budget_counts_with_what_is_held_and_is_read_again_after_a_second(connection):
    budgets = RedisBudgets(connection)
    small = a_budget(10_000, scope=(("team", "search"),))
    await budgets.put(small)
    await budgets.put(a_budget(1_000_000))
    ledger = RedisLedger(connection, "w1", Machine(), flush_s=PATIENT_S)
    at = now_ms()
    assert await budgets.used_milli(small.tenant, DIMS, at) == 0
    terms = budgets.terms(small.tenant, DIMS, at)
    await ledger.reserve(make_hold("r1/1", amount_nano=6_000, terms=terms, tenant=small.tenant))
    assert await budgets.used_milli(small.tenant, DIMS, at + USAGE_MS - 1) == 0
    assert await budgets.used_milli(small.tenant, DIMS, at + USAGE_MS) == 600
    ledger.settle(make_row("r1/1", cost_nano=9_000, budgets=terms.names, tenant=small.tenant))
    await ledger.flush()
    assert await budgets.used_milli(small.tenant, DIMS, at + 2 * USAGE_MS) == 900
    assert await budgets.used_milli(small.tenant, ("other", *DIMS[1:]), at + 2 * USAGE_MS) == 9
    await ledger.close()


async def test_what_cannot_be_read_counts_as_it_was(connection, monkeypatch):
    budgets = RedisBudgets(connection)
    await budgets.put(a_budget(10_000))
    at = now_ms()
    await budgets.used_milli("acme", DIMS, at)

    async def silent(*_):
        raise StoreUnavailable("no answer")

    monkeypatch.setattr(budgets, "counted", silent)
    assert await budgets.used_milli(a_budget(1).tenant, DIMS, at + USAGE_MS) == 0
