"""Budgets for tests, and what the store has counted for them.

Belongs here: builders and readers that several test files use.
"""

from __future__ import annotations

import datetime as dt

from router.adapters.store.layout import budget_key, tenant_prefix
from router.core.budgets.budget import Budget, Terms, budget_id, term_at


def a_budget(limit_nano=10_000, *, tenant="acme", scope=(), period="total", rolling=False, zone="UTC", **changes):
    found = budget_id(tenant, scope, period, zone, rolling=rolling)
    return Budget(
        **{
            "id": found,
            "tenant": tenant,
            "scope": tuple(scope),
            "limit_nano": limit_nano,
            "period": period,
            "rolling": rolling,
            "zone": zone,
            **changes,
        }
    )


def terms_of(*budgets, at_ms):
    """As an attempt that falls under all of them has them."""
    terms = tuple(term_at(budget, dt.UTC, at_ms) for budget in budgets)
    return Terms(
        terms=terms,
        names=tuple(term.name for term in terms),
        since_ms=max(term.from_ms for term in terms),
        until_ms=min(term.until_ms for term in terms),
        hard=any(budget.mode == "hard" for budget in budgets),
        statistical=any(budget.mode == "statistical" for budget in budgets),
    )


async def stored_counts(connection, name, tenant="acme"):
    """(spent, held) of a budget period as the store counts them; (None, None) where there is no counter."""
    found = await connection.call("HMGET", budget_key(tenant_prefix(tenant), name), "s", "h")
    return tuple(None if value is None else int(value) for value in found)
