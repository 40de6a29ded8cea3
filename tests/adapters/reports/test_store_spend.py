from __future__ import annotations

import itertools
from collections import Counter

import pytest
from store import PATIENT_S, Machine, make_row

from router.adapters.ledger.ledger import RedisLedger
from router.adapters.reports.report import report
from router.adapters.reports.spend import spend, tenants
from router.adapters.store.layout import DIMENSIONS
from router.core.booking.report import Question

HOUR = 500_000
"""2027-01-15 08:00 UTC, in hours since the epoch."""


@pytest.fixture
async def rows(connection):
    """Rows over three hours, several in each cell, booked."""
    kinds = itertools.product(("a", "b"), ("m1", "m2"), ("ok", "client_left"), range(3), range(3))
    rows = [
        make_row(
            f"r{number}/1",
            team=team,
            model=model,
            outcome=outcome,
            at_ms=(HOUR + hour) * 3_600_000 + 3_599_999 * (again % 2),
            cost_nano=10**number % 999_983,
            cached_tokens=number % 3,
            reasoning_tokens=again,
        )
        for number, (team, model, outcome, hour, again) in enumerate(kinds)
    ]
    ledger = RedisLedger(connection, "w1", Machine(), flush_s=PATIENT_S)
    for row in rows:
        ledger.settle(row)
    ledger.settle(make_row("r0/1", tenant="other"))
    await ledger.close()
    return rows


@pytest.mark.parametrize("group_by", [(), ("team",), ("model", "team"), ("outcome", "endpoint"), DIMENSIONS])
async def test_totals_are_those_of_the_rows(connection, rows, group_by):
    wanted = {}
    for row in rows:
        sums = wanted.setdefault(tuple(getattr(row, name) for name in group_by), Counter())
        sums.update(requests=1)
        for measure in ("cost_nano", "baseline_nano", "prompt_tokens", "cached_tokens", "reasoning_tokens"):
            sums[measure] += getattr(row, measure)
    totals = await spend(connection, "acme", HOUR, HOUR + 3, group_by)
    assert {total.group: {name: getattr(total, name) for name in wanted[total.group]} for total in totals} == wanted
    assert [total.cost_nano for total in totals] == sorted((total.cost_nano for total in totals), reverse=True)


async def test_an_attempt_belongs_to_the_hour_of_its_admission(connection, rows):
    totals = await spend(connection, "acme", HOUR + 1, HOUR + 3, ("hour",))
    assert [(total.group, total.requests) for total in totals] == [(("2027-01-15T09Z",), 24), (("2027-01-15T10Z",), 24)]


async def test_an_empty_span_and_an_unknown_tenant_spend_nothing(connection, rows):
    assert await spend(connection, "acme", HOUR, HOUR) == []
    assert await spend(connection, "acme", HOUR + 3, HOUR + 9) == []
    assert await spend(connection, "nobody", HOUR, HOUR + 3) == []


async def test_every_tenant_can_be_told_apart(connection, rows):
    assert await tenants(connection) == ["acme", "other"]
    found = await report(connection, "", Question(HOUR - 999, HOUR + 9, ("tenant",)))
    assert {line.group: line.requests for line in found.lines} == {("acme",): 72, ("other",): 1}
    only = await report(connection, "", Question(HOUR - 999, HOUR + 9, (), (("tenant", "other"),)))
    assert only.total.requests == 1


async def test_a_correction_is_no_further_request(connection, rows):
    ledger = RedisLedger(connection, "w2", Machine(), flush_s=PATIENT_S)
    facts = {"at_ms": HOUR * 3_600_000, "team": "a", "model": "m1"}
    ledger.settle(make_row("r0/1!1", **facts, cost_nano=-7, correction_of="r0/1"))
    await ledger.close()
    found = await report(connection, "", Question(HOUR, HOUR + 3), ["acme"])
    assert found.total.requests == len(rows)
    assert found.total.cost_nano == sum(row.cost_nano for row in rows) - 7


async def test_a_dimension_that_only_rows_know_is_refused_by_name(connection):
    with pytest.raises(ValueError, match="cubes do not know user; they have hour, day, month, team, app"):
        await spend(connection, "acme", HOUR, HOUR + 1, ("user",))
