"""Corrections after a wrong price: by the difference, once."""

from __future__ import annotations

import datetime as dt

import pytest
from catalogs import a_catalog, a_model, a_price
from store import PATIENT_S, Machine, make_row, stored_rows

from router.adapters.archive.archiver import archive_hour
from router.adapters.archive.files import ArchiveFiles
from router.adapters.archive.finance_extra import FinanceMissingError
from router.adapters.ledger.ledger import RedisLedger
from router.adapters.ledger.reprice import RepricingError, apply, hour_rows, repriced, repricing
from router.adapters.ledger.verify import verify
from router.adapters.reports.spend import spend

HOUR = 500_000
"""2027-01-15 08:00 UTC."""
CHANGE = dt.datetime(2027, 1, 15, 8, 30, tzinfo=dt.UTC)
CATALOG = a_catalog(
    a_model(prices=[a_price(), a_price(valid_from=CHANGE, input="2.00")]), a_model("acme/small")
)  # fmt: skip
OLD, NEW = 180_000, 280_000
"""What 100 tokens in and 20 out cost before and after the change, in nano-dollars."""


def row(attempt="r1/1", **changes):
    facts = {"model": "acme/large", "provider": "acme", "at_ms": HOUR * 3_600_000, "budgets": ("b1:day",)}
    return make_row(attempt, **facts | {"cost_nano": OLD, "cost_pico": OLD * 1000} | changes)


def test_what_was_rightly_priced_needs_no_correction():
    assert repriced(
        [row(), row("r2/1", at_ms=HOUR * 3_600_000 + 1_800_000, cost_nano=NEW, cost_pico=NEW * 1000)], CATALOG
    ) == (
        [],
        [],
    )


def test_what_was_written_for_an_hour_is_priced_at_its_own_rate():
    catalog = a_catalog(a_model(prices=[a_price(cache_write="1.25", cache_write_1h="2.00")]))
    # 100 tokens of prompt: 60 written for an hour, 30 for minutes, 10 plain; and 20 of an answer.
    right = (60 * 2_000 + 30 * 1_250 + 10 * 1_000 + 20 * 4_000) * 1_000
    written = {"cache_write_tokens": 90, "cache_write_1h_tokens": 60}
    assert repriced([row(cost_nano=right // 1_000, cost_pico=right, **written)], catalog) == ([], [])


def test_a_correction_is_the_signed_difference_at_the_price_of_the_admission():
    wrong = row(cost_nano=1, cost_pico=7, baseline_nano=3_000)
    late = row("r2/1", at_ms=HOUR * 3_600_000 + 1_800_000, baseline_nano=OLD)
    changes, unpriced = repriced([wrong, late], CATALOG)
    assert unpriced == []
    first, second = (change.row for change in changes)
    assert (first.attempt, first.correction_of) == ("r1/1!1", "r1/1")
    assert (first.cost_nano, first.cost_pico) == (OLD - 1, OLD * 1000 - 7)
    assert (first.at_ms, first.team, first.certainty, first.budgets) == (wrong.at_ms, "search", "metered", ("b1:day",))
    assert (first.prompt_tokens, first.completion_tokens, first.estimated_nano) == (0, 0, 0)
    assert first.price_version.startswith("acme/large@acme:2026-01-01#")
    assert second.cost_nano == NEW - OLD
    # The baseline of the first was another model; the second's was the model itself.
    assert (first.baseline_nano, second.baseline_nano) == (0, NEW - OLD)


def test_a_net_of_earlier_corrections_is_what_counts():
    wrong = row(cost_nano=1, cost_pico=7, certainty="estimated", prompt_tokens=90)
    truth = row("r1/1!1", correction_of="r1/1", cost_nano=4, cost_pico=4_000, prompt_tokens=10, completion_tokens=0)
    ((change,), _) = repriced([wrong, truth], CATALOG)
    assert change.booked_nano == 5
    assert change.row.cost_nano == OLD - 5
    assert change.row.attempt == "r1/1!2"
    assert change.row.certainty == "metered"
    assert repriced([wrong, truth, change.row], CATALOG) == ([], [])


def test_what_has_no_price_or_no_meters_is_left_alone_and_named():
    rows = [row("a/1", model="acme/gone"), row("b/1", prompt_tokens=0, completion_tokens=0)]
    changes, unpriced = repriced(rows, CATALOG)
    assert changes == []
    assert [(one.attempt, one.why) for one in unpriced] == [
        ("a/1", "the catalog has no price of acme/gone@acme at that time"),
        ("b/1", "its cost does not come from meters"),
    ]


def test_units_are_priced_anew_and_what_has_no_price_is_named():
    sold = {"request": "0.001", "tools": {"web_search": "0.01"}, "images": {"each": {"hd/1024x1024": "0.08"}}}
    catalog = a_catalog(a_model(prices=[a_price(**sold)]))
    units = (("image.output_each/hd/1024x1024", 2), ("tool.web_search", 3))
    # 100 tokens in, 20 out, a fee, three searches and two images.
    right = OLD * 1000 + 1_000_000_000 + 3 * 10_000_000_000 + 2 * 80_000_000_000
    wrong = row(units=units)
    ((change,), ()) = repriced([wrong], catalog)
    assert change.row.cost_pico == right - OLD * 1000
    assert change.row.units == ()
    assert repriced([wrong, change.row], catalog) == ([], [])
    only_units = row(units=(("tool.web_search", 1),), prompt_tokens=0, completion_tokens=0, cost_pico=0, cost_nano=0)
    ((change,), ()) = repriced([only_units], catalog)
    assert change.row.cost_pico == 11_000_000_000
    ((), (unpriced,)) = repriced([row(units=(("search", 1),))], catalog)
    assert unpriced.why == "the catalog has no price of search for acme/large@acme at that time"


async def reprice(connection, files):
    """As the command does it, for one hour; how many corrections were booked."""
    ledger = RedisLedger(connection, "reprice", Machine(), flush_s=PATIENT_S)
    try:
        async with repricing(connection, "acme") as still:
            rows = await hour_rows(connection, files, "acme", "2027011508", lambda row: row.model == "acme/large")
            changes, _ = repriced(rows, CATALOG)
            await apply(ledger, changes, still)
            return len(changes)
    finally:
        await ledger.close()


@pytest.mark.parametrize("archived", ["no", "before", "between"])
async def test_applied_twice_it_changes_nothing_the_second_time(connection, tmp_path, archived):
    files = ArchiveFiles(str(tmp_path))
    ledger = RedisLedger(connection, "w1", Machine(), flush_s=PATIENT_S)
    for number in range(50):
        ledger.settle(row(f"r{number}/1", cost_nano=number, cost_pico=number * 1000))
    ledger.settle(row("other/1", model="acme/small", cost_nano=5))
    await ledger.close()
    if archived == "before":
        await archive_hour(connection, files, "acme", "2027011508")
    assert await reprice(connection, files) == 50
    if archived == "between":
        await archive_hour(connection, files, "acme", "2027011508")
    assert await reprice(connection, files) == 0
    lines = {line.group: line for line in await spend(connection, "acme", HOUR, HOUR + 1, ("model",))}
    assert lines["acme/large",].cost_nano == 50 * OLD
    assert lines["acme/large",].requests == 50
    assert lines["acme/small",].cost_nano == 5
    assert [hour.difference async for hour in verify(connection, files, "acme", HOUR, HOUR + 1)] == [""]


async def test_one_that_was_broken_off_is_finished_by_the_next(connection, tmp_path):
    ledger = RedisLedger(connection, "w1", Machine(), flush_s=PATIENT_S)
    rows = [row(f"r{number}/1", cost_nano=0, cost_pico=0) for number in range(6)]
    for one in rows:
        ledger.settle(one)
    for change in repriced(rows, CATALOG)[0][:4]:
        ledger.settle(change.row)
    await ledger.close()
    assert await reprice(connection, ArchiveFiles(str(tmp_path))) == 2
    assert sum(one.cost_nano for one in await stored_rows(connection)) == 6 * OLD


async def test_two_at_once_are_one_too_many(connection):
    async with repricing(connection, "acme") as still:
        with pytest.raises(RepricingError, match="is being repriced already"):
            async with repricing(connection, "acme"):
                pass
        await still()
    async with repricing(connection, "acme"):
        pass


async def test_one_that_slept_too_long_books_nothing(connection):
    ledger = RedisLedger(connection, "w1", Machine(), flush_s=PATIENT_S)
    changes, _ = repriced([row(cost_nano=0, cost_pico=0)], CATALOG)

    async def asleep():
        async with repricing(connection, "acme") as still:
            await connection.call("SET", "cr:{acme}:reprice", "somebody else")
            await apply(ledger, changes, still)

    with pytest.raises(RepricingError, match="by another process now"):
        await asleep()
    await ledger.close()
    assert await stored_rows(connection) == []
    assert await connection.call("GET", "cr:{acme}:reprice") == b"somebody else"


async def test_rows_that_lie_in_the_archive_are_not_passed_over_without_its_libraries(connection, tmp_path):
    ledger = RedisLedger(connection, "w1", Machine(), flush_s=PATIENT_S)
    ledger.settle(row())
    await ledger.close()
    await archive_hour(connection, ArchiveFiles(str(tmp_path)), "acme", "2027011508")
    with pytest.raises(FinanceMissingError, match=r"costrouter\[finance\]"):
        await hour_rows(connection, None, "acme", "2027011508", lambda _: True)
