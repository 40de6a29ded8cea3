from __future__ import annotations

import pytest
from store import make_row

from router.core.booking import report as core_report
from router.core.booking.report import (
    CUBE,
    GROUPS,
    SUMS,
    Line,
    Question,
    Totals,
    UnknownGroupError,
    check_group,
    stamp,
    sums_of,
    value_of,
)

HOUR = 500_000
"""2027-01-15 08:00 UTC."""


def report(rows, *groups, filters=(), since=HOUR, until=HOUR + 24 * 40):
    totals = Totals(Question(since, until, groups, filters))
    totals.add_rows(rows)
    return totals.report()


def row(**changes):
    return make_row(**({"at_ms": HOUR * 3_600_000} | changes))


def test_groups_have_the_values_of_the_rows():
    one = row(tags=("env=prod", "app=faq"), unit="ticket", user="u1")
    found = {name: value_of(name)(one) for name in (*GROUPS, "tag:env", "tag:none")}
    assert found["hour"] == "2027-01-15T08Z"
    assert found["day"] == "2027-01-15"
    assert found["month"] == "2027-01"
    assert found["tag"] == "app=faq,env=prod"
    assert (found["tag:env"], found["tag:none"]) == ("prod", "")
    assert (found["tenant"], found["team"], found["unit"], found["user"]) == ("acme", "search", "ticket", "u1")


def test_an_hour_is_named_in_utc_whatever_the_clocks_of_the_place_do():
    # 2026-10-25 01:00 UTC is the hour that Berlin has twice.
    assert [stamp(hour, "%Y-%m-%dT%HZ") for hour in (498_024, 498_025)] == ["2026-10-25T00Z", "2026-10-25T01Z"]


def test_lines_come_dearest_first_or_in_times_order():
    rows = [row(team="b", cost_nano=5, at_ms=(HOUR + 1) * 3_600_000), row(team="a", cost_nano=3), row(team="a")]
    assert [line.group for line in report(rows, "team").lines] == [("a",), ("b",)]
    assert [line.group for line in report(rows, "hour", "team").lines] == [
        ("2027-01-15T08Z", "a"),
        ("2027-01-15T09Z", "b"),
    ]


def test_the_total_says_how_certain_it_is_and_what_nobody_owns():
    rows = [
        row(cost_nano=70),
        row(cost_nano=20, certainty="counted"),
        row(cost_nano=10, certainty="estimated", team="", baseline_nano=15),
    ]
    found = report(rows, "model")
    assert found.total.certainty_nano == {"metered": 70, "counted": 20, "estimated": 10}
    assert found.total.cost_nano == 100
    assert (found.unattributed.cost_nano, found.unattributed.requests, found.unattributed.saved_nano) == (10, 1, 5)
    assert found.lines[0].certainty_nano == found.total.certainty_nano


def test_a_correction_changes_amounts_but_is_no_request():
    corrected = row(attempt="r1/1!1", correction_of="r1/1", cost_nano=-400, prompt_tokens=-3)
    (line,) = report([row(), corrected]).lines
    assert (line.requests, line.cost_nano, line.prompt_tokens) == (1, 600, 97)
    assert sums_of(corrected)[0] == 0


def test_groups_beyond_the_bound_are_summed_and_every_group_that_is_shown_is_whole(monkeypatch):
    monkeypatch.setattr(core_report, "MOST_GROUPS", 2)
    rows = [row(user=user, certainty=certainty) for certainty in ("metered", "counted") for user in "abcd"]
    found = report([*rows, row(user="d", team="")], "user")
    assert [(line.group, line.requests) for line in found.lines] == [(("a",), 2), (("b",), 2)]
    assert (found.other.requests, found.others, found.total.requests) == (5, 1, 9)
    assert found.unattributed.requests == 1
    assert found.other.certainty_nano == {"metered": 3_000, "counted": 2_000}
    both = Totals(found.question)
    for _ in range(2):
        part = Totals(found.question)
        part.add_rows(rows)
        both.take(part)
    assert (both.report().total.requests, both.report().other.requests) == (16, 8)


def test_lines_by_time_stay_in_order_where_only_the_dearest_are_shown():
    rows = [row(at_ms=(HOUR + hour) * 3_600_000, cost_nano=cost) for hour, cost in enumerate((5, 1, 9))]
    totals = Totals(Question(HOUR, HOUR + 9, ("hour",), (), 2))
    totals.add_rows(rows)
    assert [line.cost_nano for line in totals.report().lines] == [5, 9]


def test_filters_must_all_hold_and_one_name_may_have_several_values():
    rows = [row(team=team, tags=(f"env={env}",)) for team in "abc" for env in ("prod", "test")]
    assert report(rows, filters=(("team", "a"), ("team", "b"), ("tag:env", "prod"))).total.requests == 2
    assert report(rows, filters=(("team", "nobody"),)).lines == ()


def test_only_rows_of_the_span_count():
    rows = [row(at_ms=at) for at in (HOUR * 3_600_000 - 1, HOUR * 3_600_000, (HOUR + 1) * 3_600_000)]
    assert report(rows, until=HOUR + 1).total.requests == 1
    assert report(rows, until=HOUR + 1).total == report([row()]).total
    assert Line(()).saved_nano == 0


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tema", "did you mean team"),
        ("zzzz", "there are hour, day"),
        ("tag:", "nothing can be grouped by"),
        ("Day", "day"),
    ],
)
def test_what_cannot_be_grouped_by_is_refused_with_its_near_misses(name, said):
    with pytest.raises(UnknownGroupError, match=said):
        check_group(name)
    with pytest.raises(UnknownGroupError):
        Question(0, 1, (name,))


def test_the_stores_sums_suffice_unless_a_group_is_the_callers_own_word():
    assert not Question(0, 1, ("month", "tenant", *CUBE)).needs_rows
    assert all(Question(0, 1, (name,)).needs_rows for name in ("user", "tag", "tag:env", "unit"))
    assert Question(0, 1, (), (("user", "u1"),)).needs_rows
    assert SUMS[:2] == ("requests", "cost_nano")
