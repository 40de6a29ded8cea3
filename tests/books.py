"""What the books must say once nothing runs any more, whatever has failed before: rows, budgets and the simulator's bill.

Belongs here: budgets that a fault test goes by, and the proof. Does not belong here: the faults.
"""

from __future__ import annotations

import asyncio
from collections import Counter

from node import bearer
from store import stored_rows, until

from router.adapters.store.layout import budget_key, tenant_prefix
from router.core.values import Row
from router.ports import StoreUnavailable

FRESH_S = 0.6
"""After this every worker goes by a budget that one of them has taken."""
BUDGETS = (
    {"period": "total"},
    {"period": "day", "scope": {"provider": "openai"}},
    {"period": "hour", "rolling": True, "hard": False},
)
"""Hard ones in a calendar, and a statistical one that rolls; wide enough for anything."""


async def budgeted(node, tenant):
    """Give the tenant its budgets, and wait until every worker goes by them."""
    for budget in BUDGETS:
        scope = {"tenant": tenant.name, **budget.get("scope", {})}
        answer = node.http.post(
            f"{node.url}/costrouter/v1/budgets",
            json={"limit_usd": "1000", **budget, "scope": scope},
            headers=bearer(node.admin_key),
        )
        assert answer.status_code == 201, answer.text
    if int(node.environment["COSTROUTER_WORKERS"]) > 1:
        await asyncio.sleep(FRESH_S)


def nano(dollars):
    """Nano-dollars of an amount in dollars as headers say it."""
    whole, _, part = dollars.partition(".")
    return int(whole) * 10**9 + int(part.ljust(9, "0")[:9])


def worst_nano(node, tenant, bodies):
    """Model to the most that an attempt for its body may cost; without those that cannot serve it."""
    found = {}
    for body in bodies:
        answer = node.http.post(f"{node.url}/costrouter/v1/estimate", json=body, headers=tenant.headers)
        if chosen := answer.json().get("chosen"):
            found[body["model"]] = nano(chosen["worst_case_usd"])
    return found


async def at_rest(node, tenant, bound_s=40):
    """Wait until nothing is held, and every journal on the disk is that of a living worker."""

    async def rests():
        journals = [*(node.data_dir / "journal").iterdir()]
        try:
            return len(journals) == len(node.worker_pids()) and not await tenant.holds()
        except StoreUnavailable:
            return False  # it fails over

    await until(rests, bound_s)


async def proven(node, tenant, *, bill=None, worst=None, bound_s=40):
    """One net row for each attempt; budgets, spend and rows agree; nothing is held.

    Args:
        node: it has come to rest, or does so in ``bound_s`` seconds.
        tenant: had `budgeted` before its first attempt.
        bill: lines of everything that providers billed this tenant: by default the node's simulator's own; an empty list
            if it is lost with a simulator that has ended.
        worst: model to the most that one attempt may cost, in nano-dollars, for models with attempts that are not metered.

    Returns:
        the tenant's rows.
    """
    await at_rest(node, tenant, bound_s)
    rows = await stored_rows(tenant.store, tenant.name)
    firsts = {row.attempt: row for row in rows if not row.correction_of}
    assert len(firsts) == sum(not row.correction_of for row in rows), "an attempt has two rows"
    assert {row.correction_of for row in rows} <= {*firsts, ""}
    total = sum(row.cost_nano for row in rows)
    spent = node.spend(tenant=tenant.name)["total"]
    assert (spent["requests"], spent["cost_nano"]) == (len(firsts), total)
    await _charged(tenant, rows)
    assert {row.certainty for row in rows} <= {"metered", *({"counted", "estimated"} if worst else ())}
    assert all(0 < row.cost_nano <= worst[row.model] for row in rows if row.certainty != "metered"), rows
    if bill != []:
        _billed(rows, bill or node.bill(), worst or {})
    return rows


async def _charged(tenant, rows):
    """Every budget has spent what its rows cost together, and holds nothing."""
    prefix = tenant_prefix(tenant.name)
    expected = Counter()
    for row in rows:
        openai = row.provider == "openai"
        assert len(row.budgets) == len(BUDGETS) - (not openai), row
        for name in row.budgets:
            expected[budget_key(prefix, name)] += row.cost_nano
    found = {}
    for key in await tenant.store.call("KEYS", prefix.replace("{", "[{]") + "budget:*"):
        spent, held = await tenant.store.call("HMGET", key, "s", "h")
        assert int(held or 0) == 0, f"{key} still holds {held}"
        found[key.decode()] = int(spent or 0)
    assert {key: spent for key, spent in found.items() if spent} == {
        key: cost for key, cost in expected.items() if cost
    }


def _billed(rows, lines, worst):
    """What is metered is on the bill; what else is there is not more than was sent, nor dearer than the worst case."""
    billed = Counter((line["id"], line["nano"]) for line in lines)
    metered = Counter((row.model, row.cost_nano) for row in rows if row.certainty == "metered" and row.cost_nano)
    assert metered <= billed, (metered - billed, billed - metered)
    unknown = Counter(row.model for row in rows if row.certainty != "metered")
    left = Counter()
    for (model, cost), count in (billed - metered).items():
        left[model] += count
        assert cost <= worst[model], (model, cost)
    assert left <= unknown, f"billed, and in no row: {left - unknown}"


def costs_one_try(row: Row) -> bool:
    """Whether an estimated row has the cost of one try; the estimate that was given may count on more than one."""
    return row.certainty == "estimated" and 0 < row.cost_nano <= row.estimated_nano < 4 * row.cost_nano
