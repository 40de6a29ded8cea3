import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from budgets import a_budget, terms_of
from hypothesis import given
from hypothesis import strategies as st

from router.core.budgets import budget as budget_module
from router.core.budgets.budget import (
    BUCKETS,
    FIELDS,
    FOREVER_MS,
    LENGTHS_MS,
    NO_TERMS,
    Budgets,
    budget_id,
    lasting,
    period_at,
    term_at,
)

UTC = dt.UTC
ZONES = [
    "UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Apia", "America/St_Johns",
    "Africa/Cairo", "America/Sao_Paulo", "Asia/Kathmandu",
]  # fmt: skip  # one a line would be a column of names
PERIODS = ["minute", "hour", "day", "week", "month", "total"]
INSTANTS = st.integers(946_684_800_000, 2_200_000_000_000)
DIMS = ("search", "faq", "k1", "u1", "m/one", "acme", ("env=prod", "app=x"))


def ms(text):
    return int(dt.datetime.fromisoformat(text).timestamp() * 1000)


def compiled(*budgets, zones=("UTC",)):
    return Budgets(budgets, {name: ZoneInfo(name) for name in zones})


# -- calendars


@pytest.mark.parametrize(
    ("period", "zone", "at", "start", "end"),
    [
        ("minute", "UTC", "2026-11-23T07:30:59Z", "2026-11-23T07:30Z", "2026-11-23T07:31Z"),
        ("hour", "Asia/Kolkata", "2026-11-23T07:45:00Z", "2026-11-23T07:30Z", "2026-11-23T08:30Z"),
        ("day", "UTC", "2026-11-23T00:00:00Z", "2026-11-23T00:00Z", "2026-11-24T00:00Z"),
        ("day", "America/New_York", "2026-11-23T04:59:59Z", "2026-11-22T05:00Z", "2026-11-23T05:00Z"),
        ("day", "Europe/Berlin", "2026-03-29T12:00:00Z", "2026-03-28T23:00Z", "2026-03-29T22:00Z"),
        ("day", "Europe/Berlin", "2026-10-25T12:00:00Z", "2026-10-24T22:00Z", "2026-10-25T23:00Z"),
        ("week", "UTC", "2026-11-29T23:59:59Z", "2026-11-23T00:00Z", "2026-11-30T00:00Z"),
        ("month", "UTC", "2028-02-29T12:00:00Z", "2028-02-01T00:00Z", "2028-03-01T00:00Z"),
        ("month", "Europe/Berlin", "2026-12-31T23:30:00Z", "2026-12-31T23:00Z", "2027-01-31T23:00Z"),
    ],
)
def test_calendar_periods_begin_and_end_by_the_clock_on_the_wall(period, zone, at, start, end):
    assert period_at(period, ZoneInfo(zone), ms(at)) == (ms(start), ms(end))


def test_a_total_has_one_period_for_ever():
    assert period_at("total", UTC, ms("2026-11-23T07:30:00Z")) == (0, FOREVER_MS)


def test_an_hour_that_the_clock_shows_twice_is_two_periods():
    zone = ZoneInfo("Europe/Berlin")
    first, second = ms("2026-10-25T00:30:00Z"), ms("2026-10-25T01:30:00Z")
    assert period_at("hour", zone, first) == (ms("2026-10-25T00:00Z"), ms("2026-10-25T01:00Z"))
    assert period_at("hour", zone, second) == (ms("2026-10-25T01:00Z"), ms("2026-10-25T02:00Z"))


def test_a_clock_set_back_over_midnight_does_not_bring_yesterday_back():
    # St. John's set its clocks back from 00:01 to 23:01 until 2011.
    zone = ZoneInfo("America/St_Johns")
    again = ms("2009-11-01T02:45:00Z")
    assert dt.datetime.fromtimestamp(again / 1000, zone).day == 31
    assert period_at("day", zone, again) == (ms("2009-11-01T02:30Z"), ms("2009-11-02T03:30Z"))


@given(INSTANTS, st.sampled_from(ZONES), st.sampled_from(PERIODS))
def test_an_instant_lies_in_its_period_and_periods_do_not_run_backwards(at_ms, zone, period):
    place = ZoneInfo(zone)
    start, end = period_at(period, place, at_ms)
    assert start <= at_ms < end
    if period != "total":
        assert period_at(period, place, end)[0] >= start
        assert period_at(period, place, end)[1] > end


@given(INSTANTS, st.sampled_from(sorted(LENGTHS_MS)))
def test_a_bucket_of_a_rolling_period_is_a_sixtieth(at_ms, period):
    term = term_at(a_budget(period=period, rolling=True), UTC, at_ms)
    assert term.from_ms <= at_ms < term.until_ms
    assert (term.until_ms - term.from_ms) * BUCKETS == LENGTHS_MS[period]
    assert term.name.endswith(f"~{term.bucket}")


def test_a_period_is_named_by_its_start():
    budget = a_budget(period="day")
    assert term_at(budget, UTC, ms("2026-11-23T07:30:00Z")).name == f"{budget.id}:{ms('2026-11-23T00:00Z') // 60_000}"


# -- ids


def test_the_same_scope_and_period_have_the_same_id_in_any_order():
    scope = [("team", "search"), ("model", "m")]
    one = budget_id("acme", scope, "day", "UTC", rolling=False)
    assert one == budget_id("acme", reversed(scope), "day", "UTC", rolling=False)
    others = [
        budget_id("other", scope, "day", "UTC", rolling=False),
        budget_id("acme", scope[:1], "day", "UTC", rolling=False),
        budget_id("acme", scope, "week", "UTC", rolling=False),
        budget_id("acme", scope, "day", "Europe/Berlin", rolling=False),
        budget_id("acme", scope, "day", "UTC", rolling=True),
    ]
    assert len({one, *others}) == 6


# -- matching


def falls_under(budget, dims):
    """As the issue words it, without the code under test."""
    return all(
        value in dims[FIELDS.index(field)] if field == "tag" else dims[FIELDS.index(field)] == value
        for field, value in budget.scope
    )


_word = st.sampled_from(["a", "b", "c"])
_dims = st.tuples(*[_word] * 6, st.lists(_word, max_size=3, unique=True).map(tuple))
_scopes = st.dictionaries(st.sampled_from(FIELDS), _word).map(
    lambda scope: tuple(sorted(scope.items(), key=lambda pair: FIELDS.index(pair[0])))
)


@given(st.lists(_scopes, unique=True, max_size=30), _dims)
def test_exactly_the_budgets_whose_every_field_holds_are_found(scopes, dims):
    budgets = [a_budget(scope=scope) for scope in scopes]
    expected = sorted(budget.id for budget in budgets if falls_under(budget, dims))
    assert [budget.id for budget in compiled(*budgets).matching(dims)] == expected
    assert list(compiled(*budgets).terms(dims, 0).names) == [f"{name}:0" for name in expected]


def test_terms_are_the_same_object_until_a_period_ends():
    found = compiled(a_budget(period="minute"), a_budget(period="day", scope=[("team", "search")], mode="statistical"))
    now = ms("2026-11-23T07:30:10Z")
    terms = found.terms(DIMS, now)
    assert (terms.hard, terms.statistical, terms.until_ms) == (True, True, ms("2026-11-23T07:31Z"))
    assert found.terms(DIMS, now + 49_999) is terms
    later = found.terms(DIMS, now + 50_000)
    assert later.until_ms == ms("2026-11-23T07:32Z")
    # A clock that steps back is no reason to name a period that has not begun.
    assert found.terms(DIMS, now).until_ms == terms.until_ms


def test_what_no_budget_asks_about_makes_no_difference():
    found = compiled(a_budget(scope=[("team", "search")]))
    assert found.terms(DIMS, 0) is found.terms(("search", "x", "y", "z", "", "", ()), 0)
    assert found.terms(("other", *DIMS[1:]), 0).names == ()


def test_callers_cannot_fill_the_memory(monkeypatch):
    monkeypatch.setattr(budget_module, "MOST_KNOWN", 10)
    found = compiled(a_budget(scope=[("user", "u1")]))
    for number in range(100):
        found.terms((*DIMS[:3], f"u{number}", *DIMS[4:]), 0)
    assert len(found._known) <= 10


def test_a_tenant_without_budgets_has_no_terms():
    assert compiled().terms(DIMS, 0).terms == NO_TERMS.terms == ()


def test_what_runs_is_held_on_in_rolling_budgets_and_until_a_calendars_period_ends():
    rolling, minute, total = a_budget(rolling=True, period="hour"), a_budget(period="minute"), a_budget()
    terms = terms_of(rolling, minute, total, at_ms=90_000)
    assert lasting(terms, 91_000) is terms
    later = lasting(terms, 130_000)
    assert [term.budget for term in later.terms] == [rolling, total]
    assert later.names == (terms.names[0], terms.names[2])
    assert all(term.from_ms <= 130_000 < term.until_ms for term in later.terms)
