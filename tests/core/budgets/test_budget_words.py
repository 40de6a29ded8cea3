import datetime as dt

import pytest
from budgets import a_budget

from router.core.budgets.budget import generated_budget, term_at
from router.core.budgets.words import alert_words, budget_refusal, budget_state, period_words, resets_at, scope_words

NOW = int(dt.datetime(2026, 11, 23, 7, 30, 30, tzinfo=dt.UTC).timestamp() * 1000)


def term(*given, **changes):
    return term_at(a_budget(*given, **changes), dt.UTC, NOW)


@pytest.mark.parametrize(
    ("changes", "scope", "period", "reset"),
    [
        ({}, "tenant=acme", "in total", None),
        (
            {"scope": [("team", "search"), ("model", "m/x")], "period": "day"},
            "team=search, model=m/x",
            "per day",
            "2026-11-24T00:00:00Z",
        ),
        (
            {"period": "month", "zone": "Europe/Berlin"},
            "tenant=acme",
            "per month (Europe/Berlin)",
            "2026-12-01T00:00:00Z",
        ),
        ({"period": "hour", "rolling": True}, "tenant=acme", "in any hour", None),
    ],
)
def test_a_budget_in_words(changes, scope, period, reset):
    found = term(**changes)
    assert (scope_words(found.budget), period_words(found.budget), resets_at(found)) == (scope, period, reset)


def test_a_budgets_state_never_has_less_than_nothing_left():
    state = budget_state(term(1_000, mode="statistical", alerts=(80,)), 1_200, 50)
    told = {name: state[name] for name in ("hard", "remaining_usd", "over_usd", "alerts")}
    assert told == {"hard": False, "remaining_usd": "0.000000000", "over_usd": "0.000000200", "alerts": ["80%"]}


def test_only_a_reset_within_a_minute_is_worth_waiting_for():
    assert budget_refusal(term(period="minute"), 0, 0, 1, NOW).retry_after_s == 30
    assert budget_refusal(term(period="hour"), 0, 0, 1, NOW).retry_after_s is None
    assert budget_refusal(term(period="minute", rolling=True), 0, 0, 1, NOW).retry_after_s is None


def test_an_alert_is_one_sentence_and_when_it_ends():
    words = alert_words(term(1_000, period="day"), 800, 80)
    start = "80 % of the budget of tenant=acme are spent: $0.000000800 of $0.000001000 per day."
    assert words == f"{start} It resets at 2026-11-24T00:00:00Z."
    assert alert_words(term(1_000), 800, 80).endswith("in total.")


def test_a_generated_key_may_spend_five_dollars_a_day():
    budget = generated_budget("default", "dev")
    assert (budget.limit_nano, budget.period, budget.mode, budget.built_in) == (5 * 10**9, "day", "hard", True)
