"""What a budget says to people: its scope in words, its state in figures, and the refusal of what it has no room for.

Belongs here: texts and bodies. Does not belong here: matching and periods (budget.py).
"""

from __future__ import annotations

import datetime as dt
from typing import Final

from router.core.budgets.budget import FOREVER_MS, Budget, Term
from router.core.errors import RouterError
from router.core.money import usd

SOON_MS: Final = 60_000
"""Up to here a reset is worth waiting for, so the refusal says when to come back."""
_SHOWN: Final = 80


def scope_words(budget: Budget) -> str:
    """``team=search, model=openai/gpt-4o`` or, of a budget for all of it, ``tenant=acme``."""
    return ", ".join(f"{field}={value[:_SHOWN]}" for field, value in budget.scope) or f"tenant={budget.tenant}"


def period_words(budget: Budget) -> str:
    """``per day (Europe/Berlin)``, ``within any 24 hours`` and the like."""
    if budget.period == "total":
        return "in total"
    if budget.rolling:
        return f"in any {budget.period}"
    return f"per {budget.period}" + ("" if budget.zone == "UTC" else f" ({budget.zone})")


def resets_at(term: Term) -> str | None:
    """When the period ends, in UTC; None where it never does, or money comes back bit by bit."""
    if term.bucket >= 0 or term.until_ms >= FOREVER_MS:
        return None
    return f"{dt.datetime.fromtimestamp(term.until_ms // 1000, dt.UTC):%Y-%m-%dT%H:%M:%SZ}"


def budget_state(term: Term, spent_nano: int, held_nano: int) -> dict[str, object]:
    """A budget and where it stands, for bodies."""
    budget = term.budget
    left = budget.limit_nano - spent_nano - held_nano
    return {
        "id": budget.id,
        "tenant": budget.tenant,
        "scope": dict(budget.scope),
        "limit_usd": usd(budget.limit_nano),
        "period": budget.period,
        "rolling": budget.rolling,
        "time_zone": budget.zone,
        "hard": budget.mode == "hard",
        "running_streams": budget.running,
        "alerts": [f"{percent}%" for percent in budget.alerts],
        "built_in": budget.built_in,
        "set_by": budget.set_by,
        "spent_usd": usd(spent_nano),
        "held_usd": usd(held_nano),
        "remaining_usd": usd(max(left, 0)),
        "over_usd": usd(max(spent_nano - budget.limit_nano, 0)),
        "resets_at": resets_at(term),
    }


def alert_words(term: Term, spent_nano: int, percent: int) -> str:
    """One sentence for people: a threshold was reached."""
    budget = term.budget
    reset = resets_at(term)
    return (
        f"{percent} % of the budget of {scope_words(budget)} are spent: ${usd(spent_nano)} of ${usd(budget.limit_nano)} "
        f"{period_words(budget)}." + (f" It resets at {reset}." if reset else "")
    )


def budget_refusal(term: Term, spent_nano: int, held_nano: int, amount_nano: int, now_ms: int) -> RouterError:
    """402 ``budget_exceeded``: which budget, and its figures.

    Args:
        term: the budget and its period.
        spent_nano: spent in that period.
        held_nano: held in it for requests under way.
        amount_nano: what the refused request needs.
        now_ms: the store's time.
    """
    budget = term.budget
    left = budget.limit_nano - spent_nano - held_nano
    reset = resets_at(term)
    words = [
        (
            f"The budget of {scope_words(budget)}, ${usd(budget.limit_nano)} {period_words(budget)}, has no room for this "
            f"request: ${usd(spent_nano)} is spent, ${usd(held_nano)} held for requests under way, and it can cost "
            f"${usd(amount_nano)}."
        )
    ]
    if reset:
        words.append(f"It resets at {reset}.")
    elif budget.rolling:
        words.append("Money comes back as what was spent grows old.")
    if left > 0 and budget.mode == "hard":
        words.append("A smaller max_completion_tokens would need less.")
    if budget.built_in:
        words.append("Generated keys have this limit; set a key of your own, or create one, for more.")
    retry = max(term.until_ms - now_ms, 1_000) / 1000 if reset and term.until_ms - now_ms <= SOON_MS else None
    details = budget_state(term, spent_nano, held_nano) | {"needed_usd": usd(amount_nano)}
    return RouterError("budget_exceeded", " ".join(words), retry_after_s=retry, details={"budget": details})
